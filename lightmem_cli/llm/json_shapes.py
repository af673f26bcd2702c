"""Holds a reply about a conversation against the JSON schema it was asked for, and says plainly what differs.

Of JSON Schema it knows what a prompt needs: types (one or several), properties, required, additionalProperties, items,
enum, anyOf and the limits of numbers, lengths and lists. What a small model commonly gets wrong and can mean only one
thing is read as it was meant: digits in quotes, a number alone where a list of numbers belongs, null for nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from lightmem_cli.protocols import JsonSchema

_MOST_PROBLEMS = 3  # that are named at once
_ABSENT: Final = object()

_NAMES: Final[Mapping[str, tuple[str, str]]] = {  # one, several
    "object": ("an object", "objects"),
    "array": ("an array", "arrays"),
    "string": ("a string", "strings"),
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "boolean": ("true or false", "booleans"),
    "null": ("null", "nulls"),
}


class Differs(Exception):
    """What is wrong with a value: up to three things, each with its path."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = "" if len(problems) <= _MOST_PROBLEMS else f", and {len(problems) - _MOST_PROBLEMS} more such mistakes"
        super().__init__("; ".join(problems[:_MOST_PROBLEMS]) + more)


def shaped(value: object, *, like: JsonSchema) -> object:
    """`value` as `like` wants it.

    Raises:
        Differs: it cannot be read so.
    """
    problems: list[str] = []
    read = _shape(value, like, "", problems)
    if problems:
        raise Differs(problems)
    return read


def described(schema: JsonSchema) -> str:
    """What `schema` wants, in a few words: "an array of integers"."""
    if isinstance(choices := schema.get("enum"), Sequence):
        return f"one of {', '.join(map(_quoted, choices))}"
    names = [name for name in _types(schema) if name != "null"]
    if names == ["array"] and isinstance(items := schema.get("items"), Mapping):
        inner = [_NAMES[name][1] for name in _types(items) if name in _NAMES and name != "null"]
        return f"an array of {' or '.join(inner)}" if inner else "an array"
    return " or ".join(_NAMES[name][0] for name in names if name in _NAMES) or "something else"


def _shape(value: object, schema: JsonSchema, path: str, problems: list[str]) -> object:
    if isinstance(branches := schema.get("anyOf"), Sequence):
        return _any(value, branches, path, problems)
    if isinstance(choices := schema.get("enum"), Sequence):
        return _choice(value, schema, path, problems, choices=choices)
    types = _types(schema)
    for name in types:
        read = _as(name, value, schema)
        if read is _ABSENT:
            continue
        if isinstance(read, dict):
            return _object(read, schema, path, problems)
        problems += _beyond(read, schema, path)
        return _array(read, schema, path, problems) if isinstance(read, list) else read
    if not types:
        return value
    problems.append(f"{path or 'the reply'} must be {described(schema)}, and is {_kind(value)}")
    return value


def _any(value: object, branches: Sequence[JsonSchema], path: str, problems: list[str]) -> object:
    """`value` as the first of `branches` that takes it; else what the last one that says more than a type has said."""
    found: list[str] = []
    for branch in branches:
        said: list[str] = []
        read = _shape(value, branch, path, said)
        if not said:
            return read
        found = said if _types(branch) != ["null"] else found or said
    problems += found
    return value


def _choice(value: object, schema: JsonSchema, path: str, problems: list[str], *, choices: Sequence[object]) -> object:
    """The one of `choices` that `value` is, whatever its case and the spaces around it."""
    for choice in choices:
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
    if isinstance(value, str):
        for choice in choices:
            if str(choice).casefold() == value.strip().casefold():
                return choice
    problems.append(f"{path or 'the reply'} must be {described(schema)}")
    return value


def _object(value: dict[str, object], schema: JsonSchema, path: str, problems: list[str]) -> dict[str, object]:
    properties, required = schema.get("properties"), schema.get("required")
    known: Mapping[str, JsonSchema] = properties if isinstance(properties, Mapping) else {}
    needed = list(required) if isinstance(required, Sequence) else []
    read: dict[str, object] = {}
    unknown: list[str] = []
    for key, one in value.items():
        if key in known:
            if one is not None or "null" in _types(known[key]):
                read[key] = _shape(one, known[key], f"{path}.{key}" if path else key, problems)
        elif schema.get("additionalProperties") is False:
            unknown.append(key)
        else:
            read[key] = one
    where = f" in {path}" if path else ""
    problems += [f"the key {_quoted(key)} is missing{where}" for key in needed if key not in read]
    problems += [f"the key {_quoted(key)}{where} is none of those asked for" for key in unknown]
    return read


def _array(value: list[object], schema: JsonSchema, path: str, problems: list[str]) -> list[object]:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return value
    return [_shape(one, items, f"{path}[{at}]", problems) for at, one in enumerate(value)]


def _as(name: str, value: object, schema: JsonSchema) -> object:  # noqa: PLR0911 - one for each type that JSON has
    """`value` as the type `name`, or _ABSENT where it is none."""
    match name:
        case "integer":
            return _integer(value)
        case "number":
            return _number(value)
        case "string":
            return _storable(value) if isinstance(value, str) else _ABSENT
        case "boolean":
            return _boolean(value)
        case "array":
            return _listed(value, schema)
        case "object":
            return value if isinstance(value, dict) else _ABSENT
        case "null":
            return None if value is None else _ABSENT
        case _:
            return _ABSENT


def _integer(value: object) -> object:
    if isinstance(value, bool):
        return _ABSENT
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        return int(value)
    return _ABSENT


def _number(value: object) -> object:
    whole = _integer(value)
    if whole is not _ABSENT:
        return whole
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}[.][0-9]{1,18}\s*", value):
        return float(value)
    return value if isinstance(value, float) and math.isfinite(value) else _ABSENT


def _boolean(value: object) -> object:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().casefold(), _ABSENT) if isinstance(value, str) else _ABSENT


def _listed(value: object, schema: JsonSchema) -> object:
    if isinstance(value, list):
        return value
    items = schema.get("items")
    if isinstance(items, Mapping) and _types(items) == ["integer"] and (one := _integer(value)) is not _ABSENT:
        return [one]
    return _ABSENT


def _beyond(value: object, schema: JsonSchema, path: str) -> Iterator[str]:
    """Which of the schema's limits `value` passes."""
    size: float | None = None
    names = ("minimum", "maximum", "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        size, names = len(value.strip()), ("minLength", "maxLength", " characters")
    elif isinstance(value, list):
        size, names = len(value), ("minItems", "maxItems", " items")
    if size is None:
        return
    low, high, unit = schema.get(names[0]), schema.get(names[1]), names[2]
    has = f" and has {size:,}" if unit else ""
    if isinstance(low, (int, float)) and size < low:
        yield f"{path} must {'have' if unit else 'be'} at least {low}{unit}{has}"
    if isinstance(high, (int, float)) and size > high:
        yield f"{path} must {'have' if unit else 'be'} at most {high}{unit}{has}"


def _types(schema: JsonSchema) -> list[str]:
    named = schema.get("type")
    if isinstance(named, str):
        return [named]
    if isinstance(named, Sequence):
        return [str(name) for name in named]
    if isinstance(branches := schema.get("anyOf"), Sequence):
        return [name for branch in branches for name in _types(branch)]
    return []


def _storable(text: str) -> str:
    """`text` as SQLite and UTF-8 take it: half of a pair of surrogates is no character, and NUL ends a text."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return "a string" if value.strip() else "an empty string"
        case _:
            return "a number"


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if len(text) <= 40 else f'"{text[:40]}…"'
