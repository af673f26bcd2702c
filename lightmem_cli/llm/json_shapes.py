"""Holds a reply about a conversation against the JSON schema it was asked for, and says plainly what differs.

Of JSON Schema it knows what our prompts need: type, properties, required, additionalProperties, items and enum. What a
small model commonly gets wrong and can mean only one thing is read as it was meant: digits in quotes, a number alone
where a list of numbers belongs, null for nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from lightmem_cli.local_models.surrogates import mended
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
    named, items = _NAMES[str(schema["type"])][0], schema.get("items")
    return f"{named} of {_NAMES[str(items['type'])][1]}" if isinstance(items, Mapping) else named


def _shape(value: object, schema: JsonSchema, path: str, problems: list[str]) -> object:
    if isinstance(choices := schema.get("enum"), Sequence):
        return _choice(value, schema, path, problems, choices=choices)
    read = _as(schema["type"], value, schema)
    if read is _ABSENT:
        problems.append(f"{path or 'the reply'} must be {described(schema)}, and is {_kind(value)}")
        return value
    if isinstance(read, dict):
        return _object(read, schema, path, problems)
    return _array(read, schema, path, problems) if isinstance(read, list) else read


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
            if one is not None:
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


def _as(name: object, value: object, schema: JsonSchema) -> object:  # noqa: PLR0911 - one for each type of JSON
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
    if isinstance(items, Mapping) and items.get("type") == "integer" and (one := _integer(value)) is not _ABSENT:
        return [one]
    return _ABSENT


def _storable(text: str) -> str:
    """`text` as SQLite and UTF-8 take it: half of a pair of surrogates is no character, and NUL ends a text."""
    return mended(text.replace("\0", ""))


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
