"""Reads a conversation that is one JSON document: a list of messages or sessions, or one object that holds messages."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from datetime import tzinfo
from typing import NamedTuple

from lightmem_cli.transcript.fields import read_value
from lightmem_cli.transcript.items import RAW_LIMIT, BadLine, Item, Unreadable, decode, decode_json, skip_space

DOCUMENT_LIMIT = 128 * 1024 * 1024  # bytes; a document is held whole, JSON lines are not
_BATCH = 512  # items


class _Element(NamedTuple):
    value: object
    start: int  # characters from the beginning of the document
    end: int


def read_document(chunks: Iterable[bytes], *, name: str, zone: tzinfo, keep_raw: bool = False) -> Iterator[list[Item]]:
    """Read every element of a document; where its JSON breaks off, the elements before are still good."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > DOCUMENT_LIMIT:
            reason = f"a JSON document is at most {DOCUMENT_LIMIT // 1024**2} MiB; write one message a line instead"
            yield [BadLine(origin=f"{name}:1", reason=reason, raw=bytes(data[:RAW_LIMIT]))]
            return
    text = data.decode("utf-8", "surrogateescape")  # a wrong byte is refused with its element, not with the document
    items: list[Item] = []
    for item in _read_text(text, name=name, zone=zone, keep_raw=keep_raw):
        items.append(item)
        if len(items) == _BATCH:
            yield items
            items = []
    if items:
        yield items


def _read_text(text: str, *, name: str, zone: tzinfo, keep_raw: bool) -> Iterator[Item]:
    line, counted, read_to = 1, 0, 0
    try:
        for value, start, end in _elements(text):
            line += text.count("\n", counted, start)
            counted, read_to = start, end
            raw = _bytes(text[start:end])
            yield from _read_element(value, origin=f"{name}:{line}", raw=raw, zone=zone, keep_raw=keep_raw)
    except Unreadable as error:
        line += text.count("\n", counted, error.at)
        yield BadLine(origin=f"{name}:{line}", reason=str(error), raw=_bytes(text[read_to : read_to + RAW_LIMIT]))


def _read_element(value: object, *, origin: str, raw: bytes, zone: tzinfo, keep_raw: bool) -> Iterator[Item]:
    try:
        decode(raw)
    except Unreadable as error:
        return iter([BadLine(origin=origin, reason=str(error), raw=raw)])
    return read_value(value, origin=origin, raw=raw, zone=zone, keep_raw=keep_raw)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _elements(text: str) -> Iterator[_Element]:
    """The elements of a document's list, or the document itself where it is no list."""
    at = skip_space(text, 1 if text.startswith("\ufeff") else 0)
    if at == len(text):
        return
    if text[at] == "[":
        at = yield from _listed(text, at + 1)
    else:
        value, end = decode_json(text, at=at)
        yield _Element(value, at, end)
        at = end
    at = skip_space(text, at)
    if at < len(text):
        raise Unreadable("invalid JSON: more text after the end of the document", at=at)


def _listed(text: str, at: int) -> Generator[_Element, None, int]:
    """The elements of a list whose bracket opened just before `at`; returns the place after its end."""
    at = skip_space(text, at)
    if text.startswith("]", at):
        return at + 1
    while True:
        value, end = decode_json(text, at=at)
        yield _Element(value, at, end)
        end = skip_space(text, end)
        if text.startswith("]", end):
            return end + 1
        if not text.startswith(",", end):
            raise Unreadable("invalid JSON: expecting a comma or the end of the list", at=end)
        at = skip_space(text, end + 1)
