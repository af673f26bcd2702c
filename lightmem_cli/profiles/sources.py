"""Settles how a conversation is treated from command line, environment and profile.toml, naming every mistake.

A typed flag beats the environment (`LIGHTMEM_TABLE__KEY`), which beats the profile, which beats the default.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lightmem_cli.errors import ProfileError, StoreError
from lightmem_cli.profiles.settings import SECRETS, VERSION, Settings

PREFIX = "LIGHTMEM_"

_MAY_HOLD_SECRETS = (
    "api_key_env",
    "options",
    "base_url",
)  # where somebody may have written the key itself: not said again

_SEE = "`lightmem config get` lists every key"
_TYPED = "command line"

_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "list": "a list"}
_BOUNDS = {
    "greater_than_equal": "at least",
    "greater_than": "more than",
    "less_than_equal": "at most",
    "less_than": "less than",
}

Values = dict[str, dict[str, object]]


def settle(path: Path, *, environment: Mapping[str, str], overrides: Mapping[str, Mapping[str, object]]) -> Settings:
    """Read `path` and lay environment and typed flags (None: not typed) over it."""
    document = read_toml(path)
    check_document(document, path=path)
    origins: dict[tuple[str, str], str] = {}
    values: Values = {table: dict(keys) for table, keys in document.items() if isinstance(keys, dict)}
    for variable, (table, key), text in _variables(environment):
        values.setdefault(table, {})[key] = text
        origins[table, key] = variable
    for table, keys in overrides.items():
        for key, value in keys.items():
            if value is not None:
                values.setdefault(table, {})[key] = value
                origins[table, key] = _TYPED
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        loc = error.errors()[0]["loc"]
        where = origins[str(loc[0]), str(loc[1])]  # the file alone passed
        hint = "see --help" if where == _TYPED else f"unset {where}"
        raise _mistake(error, where=where, hint=hint) from error


def read_toml(path: Path) -> dict[str, object]:
    """The document of `path`, unchecked; a byte order mark is allowed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r" \(at line (\d+), column \d+\)", str(error))
        at, what = (f"{path}:{line[1]}", str(error).replace(line[0], "")) if line else (str(path), str(error))
        raise ProfileError(f"{at}: not TOML: {what}", hint=f"edit {path}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path}: not UTF-8 text (byte {error.start})", hint="save the file as UTF-8") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}", hint="check the file's permissions") from error


def check_document(document: Mapping[str, object], *, path: Path) -> Settings:
    """Refuse what a profile must not hold: a newer format, unknown keys, values of the wrong type or range."""
    version = document.get("version", VERSION)
    if isinstance(version, int) and version > VERSION:
        raise ProfileError(
            f"{path}: written by a newer lightmem (profile version {version}, this one reads up to {VERSION})",
            hint="pip install --upgrade lightmem-cli",
        )
    try:
        return Settings.model_validate(document, strict=True)
    except ValidationError as error:
        raise _mistake(error, where=_place(path, error.errors()[0]["loc"]), hint=f"edit {path}") from error


def check_key(dotted: str) -> tuple[str, str]:
    """Split `table.key`, refusing what no table has."""
    table, _, key = dotted.partition(".")
    if not key:
        known = [f"{name}.{option}" for name in tables() for option in tables()[name]]
        near = [name for name in known if name.endswith(f".{table}")] or get_close_matches(dotted, known, n=1)
        raise ProfileError(f'"{dotted}" is no key: keys are written TABLE.KEY{_suggest(near)}', hint=_SEE)
    if table not in tables():
        raise ProfileError(f"unknown table [{table}]{_near(table, tables())}", hint=_SEE)
    if key not in tables()[table]:
        raise ProfileError(f'unknown key "{key}" in [{table}]{_near(key, tables()[table])}', hint=_SEE)
    return table, key


def parse_value(table: str, key: str, text: str) -> object:
    """What `text` means as the value of a key: a number, a truth value or the text itself."""
    try:
        settings = Settings.model_validate({table: {key: text}})
    except ValidationError as error:
        raise _mistake(error, where="not set", hint=_SEE) from error
    return getattr(getattr(settings, table), key)


def tables() -> dict[str, list[str]]:
    """Every table with its keys, in the order of the settings."""
    found = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[name] = list(field.annotation.model_fields)
    return found


def looks_secret(key: str) -> bool:
    """Whether a key asks for a secret itself; one that ends in _env asks where that is kept."""
    return not key.endswith("_env") and re.search(SECRETS, key.lower()) is not None


def find_line(lines: list[str], table: str, key: str | None) -> int | None:
    """Where `key` is set in [table], or where the table begins (key None); counted from 0."""
    current = ""
    for number, line in enumerate(lines):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            current = header[1]
            if key is None and current == table:
                return number
        elif key is not None and current == table and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
    return None


def _variables(environment: Mapping[str, str]) -> Iterable[tuple[str, tuple[str, str], str]]:
    """The variables that set a key; an empty one counts as unset."""
    for variable, text in sorted(environment.items()):
        table, separator, key = variable.removeprefix(PREFIX).lower().partition("__")
        if not (variable.startswith(PREFIX) and separator and text):
            continue
        try:
            yield variable, check_key(f"{table}.{key}"), text
        except ProfileError as error:
            raise ProfileError(f"{variable}: {error.message}", hint=error.hint) from error


def _mistake(error: ValidationError, *, where: str, hint: str) -> ProfileError:
    mistakes = error.errors()
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return ProfileError(f"{where}: {_say(mistakes[0])}{more}", hint=hint)


def _say(mistake: ErrorDetails) -> str:
    """One mistake in a person's words."""
    loc = [str(part) for part in mistake["loc"]]
    if mistake["type"] == "extra_forbidden":
        if looks_secret(loc[-1]):
            return f"{'.'.join(loc)} stands in a profile: API keys are kept in the environment"
        if len(loc) > 1:
            return f'unknown key "{loc[1]}" in [{loc[0]}]{_near(loc[1], tables().get(loc[0], []))}'
        what = f"table [{loc[0]}]" if isinstance(mistake["input"], dict) else f'key "{loc[0]}"'
        return f"unknown {what}{_near(loc[0], [*tables(), 'version'])}"
    value = json.dumps(mistake["input"], ensure_ascii=False, default=str)
    if loc[-1] in _MAY_HOLD_SECRETS:
        return f"{'.'.join(loc)} must be {mistake.get('ctx', {}).get('error', 'of another type')}"
    if mistake["type"] == "value_error":
        wanted = f"it must be {mistake['ctx']['error']}"
    elif mistake["type"] == "model_type":
        wanted = f"it must be a table, [{loc[0]}]"
    else:
        wanted = f"it must be {_wanted(mistake)}"
    near = _near(str(mistake["input"]), re.findall(r'"([^"]+)"', wanted))
    return f"{'.'.join(loc)} is {value}: {wanted}{near}"


def _wanted(mistake: ErrorDetails) -> str:
    """What a value should have been, without a word of how it is checked."""
    if of_type := re.fullmatch(r"(int|float|bool|string|list)_(type|parsing|parsing_size|from_float)", mistake["type"]):
        return _TYPES[of_type[1]]
    if mistake["type"] in _BOUNDS:
        [bound] = mistake["ctx"].values()
        return f"{_BOUNDS[mistake['type']]} {str(bound).removesuffix('.0')}"
    return mistake["msg"].removeprefix("Input should be ").replace("'", '"')


def _place(path: Path, loc: tuple[int | str, ...]) -> str:
    """`path:line` of a mistake, or the path alone where the line is written unusually."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = [str(part) for part in loc]
    line = find_line(lines, names[0], names[1]) if len(names) > 1 else find_line(lines, names[0], None)
    if line is None and len(names) == 1:
        line = find_line(lines, "", names[0])
    return str(path) if line is None else f"{path}:{line + 1}"


def _near(word: str, known: Iterable[str]) -> str:
    return _suggest(get_close_matches(word, list(known), n=1))


def _suggest(near: list[str]) -> str:
    return f'; did you mean "{near[0]}"?' if near else ""
