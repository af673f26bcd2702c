"""Reads and sets single settings of the profile that keeps a conversation."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from lightmem_cli.errors import ProfileError
from lightmem_cli.profiles import FILE, Profile, require, write_file
from lightmem_cli.profiles.sources import (
    check_document,
    check_key,
    find_line,
    looks_secret,
    parse_value,
    read_toml,
    tables,
)


def read_keys(profile: Profile, prefix: str = "") -> dict[str, object]:
    """The settled values of one `table.key`, of all keys of one table, or of every key there is."""
    names = [prefix] if "." in prefix else [f"{table}.{key}" for table, keys in tables().items() for key in keys]
    if prefix in tables():
        names = [name for name in names if name.startswith(f"{prefix}.")]
    elif prefix:
        names = [prefix]
    return {name: read_key(profile, name) for name in names}


def read_key(profile: Profile, dotted: str) -> object:
    """The settled value of one `table.key`."""
    table, key = check_key(dotted)
    return getattr(getattr(profile.settings, table), key)


def set_key(name: str, dotted: str, text: str, *, home: Path | None = None) -> object:
    """Set one `table.key` in a profile's file to what `text` says, after checking the whole; returns the value.

    The file is replaced in one step, and its comments stay.
    """
    import tomli_w

    path = require(name, home=home) / FILE
    if looks_secret(dotted):
        raise ProfileError(f"{dotted} is not written to a profile", hint="keep API keys in the environment")
    table, key = check_key(dotted)
    value = parse_value(table, key, text)
    document = read_toml(path)
    check_document(document, path=path)
    wanted = {**document, table: {**_keys(document, table), key: value}}
    # A list on one line, as JSON and TOML both have it: the next edit finds it whole.
    assignment = f"{key} = {json.dumps(value)}" if isinstance(value, list) else tomli_w.dumps({key: value}).strip()
    edited = _edited(path.read_text(encoding="utf-8-sig"), table, key, assignment)
    write_file(path, edited if _says(edited, wanted) else tomli_w.dumps(wanted))
    return value


def _keys(document: dict[str, object], table: str) -> dict[str, object]:
    keys = document.get(table)
    return keys if isinstance(keys, dict) else {}


def _edited(text: str, table: str, key: str, assignment: str) -> str:
    """`text` with one line changed or added, whatever comment stands behind the old value kept."""
    lines = text.splitlines()
    number = find_line(lines, table, key)
    if number is not None:
        comment = re.search(r"\s+#[^\"']*$", lines[number])
        lines[number] = assignment + (comment[0] if comment else "")
    else:
        header = find_line(lines, table, None)
        if header is None:
            lines += ["", f"[{table}]"]
            header = len(lines) - 1
        lines.insert(header + 1, assignment)
    return "\n".join(lines) + "\n"


def _says(text: str, wanted: dict[str, object]) -> bool:
    """Whether a line-wise edit did what it should: unusual but valid TOML can mislead it."""
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False
