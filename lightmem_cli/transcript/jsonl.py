"""Reads a conversation of JSON lines, each line as soon as it has arrived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import tzinfo

from lightmem_cli.transcript.fields import read_value
from lightmem_cli.transcript.items import RAW_LIMIT, BadLine, Item, Unreadable, decode, decode_json, skip_space

LINE_LIMIT = 32 * 1024 * 1024  # bytes


def read_lines(chunks: Iterable[bytes], *, name: str, zone: tzinfo, keep_raw: bool = False) -> Iterator[list[Item]]:
    """Read the lines that each chunk completes. Memory is bounded by the longest line, and that by LINE_LIMIT."""
    number = 0
    for lines in _split(chunks):
        items: list[Item] = []
        for line in lines:
            number += 1
            items += _read_line(line, origin=f"{name}:{number}", zone=zone, keep_raw=keep_raw)
        if items:
            yield items


def _read_line(line: bytes, *, origin: str, zone: tzinfo, keep_raw: bool) -> Iterator[Item]:
    try:
        value = _decode_line(line)
    except Unreadable as error:
        raw = line[:RAW_LIMIT] if len(line) > LINE_LIMIT else line
        return iter([BadLine(origin=origin, reason=str(error), raw=raw)])
    if value is None:
        return iter(())
    return read_value(value[0], origin=origin, raw=line, zone=zone, keep_raw=keep_raw)


def _decode_line(line: bytes) -> tuple[object] | None:
    """The one JSON value of a line, in a tuple because it may be null; None for a blank line."""
    if len(line) > LINE_LIMIT:
        raise Unreadable(f"a line is at most {LINE_LIMIT // 1024**2} MiB")
    if b"\0" in line:
        raise Unreadable(f"the line has a NUL byte (byte {line.index(0) + 1}): this is not JSON text")
    text = decode(line)
    start = skip_space(text, 1 if text.startswith("\ufeff") else 0)  # joined files have a byte order mark midway
    if start == len(text):
        return None
    value, end = decode_json(text, at=start)
    end = skip_space(text, end)
    if end < len(text):
        raise Unreadable(f"invalid JSON at column {end + 1}: more text after the first value of the line")
    return (value,)


def _split(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut chunks into lines. Of a line above LINE_LIMIT only one byte more is kept, which is how it is known."""
    held = bytearray()
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        held += first[: LINE_LIMIT + 1 - len(held)]
        if others:
            *lines, rest = others
            yield [_without_return(line) for line in (bytes(held), *lines)]
            held = bytearray(rest)
    if held:
        yield [_without_return(bytes(held))]


def _without_return(line: bytes) -> bytes:
    return line[:-1] if line.endswith(b"\r") else line
