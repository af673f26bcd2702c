"""Names what reading a conversation yields: its rows, what could not be read, and what says nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from lightmem_cli.records import Row

BOM = b"\xef\xbb\xbf"
RAW_LIMIT = 4096  # bytes kept of what is too long to keep
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a decimal number",
    str: "text",
    list: "a list",
    dict: "an object",
}
_SPACE = re.compile(r"[ \t\r\n]*")
_SHOWN = 40  # characters of a wrong value that an error message repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A place that could not be read. `raw` is its bytes, cut to RAW_LIMIT where they exceed what is read at once."""

    origin: str
    reason: str
    raw: bytes

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A message that says nothing by design, such as a bare tool call."""

    origin: str
    reason: str


Item: TypeAlias = Row | BadLine | Skipped


class Unreadable(ValueError):
    """Why a piece of a transcript cannot be read, as a person should be told; `at` is the place in what was given."""

    def __init__(self, reason: str, *, at: int = 0) -> None:
        super().__init__(reason)
        self.at = at


def decode(data: bytes) -> str:
    """Read bytes as UTF-8, or say which byte is not."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start
        raise Unreadable(f"invalid UTF-8 at byte {at + 1} (0x{data[at]:02x})", at=at) from None


def decode_json(text: str, *, at: int = 0) -> tuple[object, int]:
    """Read the JSON value that starts at `at`; also returns where it ends."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise Unreadable(f"invalid JSON at column {error.colno}: {_plain(error.msg)}", at=error.pos) from None
    except RecursionError:
        raise Unreadable("invalid JSON: nested too deeply", at=at) from None
    except Unreadable as error:
        raise Unreadable(str(error), at=at) from None
    except ValueError:  # int() refuses more than 4,300 digits
        raise Unreadable("invalid JSON: a number has too many digits", at=at) from None


def skip_space(text: str, at: int) -> int:
    """The first place from `at` on that is not JSON's white space."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


def kind_of(value: object) -> str:
    """What a JSON value is, in words: "a number", "a list"."""
    return _KINDS.get(type(value), "null")


def shown(value: str) -> str:
    """A wrong value as an error message repeats it: quoted, escaped and short."""
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"


def _plain(message: str) -> str:
    """The decoder's message in the tone of ours."""
    return message[:1].lower() + message[1:].removesuffix(" at")


def _refuse_constant(name: str) -> NoReturn:
    raise Unreadable(f"invalid JSON: {name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
