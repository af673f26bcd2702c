"""Reads a transcript into the rows of a conversation, as they arrive and without ever holding more than it must."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import BinaryIO, Literal, TypeAlias, assert_never

from lightmem_cli.transcript.items import BOM, RAW_LIMIT, BadLine, Item, Skipped
from lightmem_cli.transcript.json_document import read_document
from lightmem_cli.transcript.jsonl import read_lines
from lightmem_cli.transcript.redact import redact

__all__ = ["BadLine", "Format", "Item", "Skipped", "read_transcript", "redact"]

Format: TypeAlias = Literal["auto", "jsonl", "json"]
_Detected: TypeAlias = Literal["jsonl", "json", "utf-16"]

_CHUNK = 64 * 1024  # bytes
_HEAD = 1024 * 1024  # bytes looked at, at most, to tell one format from another


def read_transcript(
    stream: BinaryIO, *, name: str, zone: tzinfo, format: Format = "auto", keep_raw: bool = False
) -> Iterator[list[Item]]:
    """Read a binary stream in batches: of some 64 KiB from a file, of the lines that have arrived from a pipe.

    A place that cannot be read is a BadLine among the rows, in order, so that the caller decides whether to stop there.
    `name` begins every origin; `zone` is where times without an offset belong. Only the stream itself may raise.
    `keep_raw` gives messages from inside a session a `raw` too; where a message is an object of its own it is free.
    """
    chunks = _chunks(stream)
    head, detected = _detect(chunks)
    chunks = itertools.chain([head], chunks)
    form = detected if format == "auto" or detected == "utf-16" else format
    match form:
        case "jsonl":
            yield from read_lines(chunks, name=name, zone=zone, keep_raw=keep_raw)
        case "json":
            yield from read_document(chunks, name=name, zone=zone, keep_raw=keep_raw)
        case "utf-16":
            reason = "this is UTF-16 text, not UTF-8; convert it first: iconv -f UTF-16 -t UTF-8"
            yield [BadLine(origin=f"{name}:1", reason=reason, raw=head.partition(b"\n")[0][:RAW_LIMIT])]
        case _:
            assert_never(form)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    # read() of a buffered stream waits for all it was asked for; read1() returns what a pipe holds.
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    while chunk := read(_CHUNK):
        yield chunk


def _detect(chunks: Iterator[bytes]) -> tuple[bytes, _Detected]:
    """Look at the beginning of a stream; returns what was looked at, and the format it shows."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= _HEAD:
            break
        if b"\n" in chunk and (detected := _format_of(bytes(head))):
            return bytes(head), detected
    window = bytes(head[:_HEAD])
    # Nothing follows, or enough was seen: what could still be one document is one.
    return bytes(head), _format_of(window) or ("json" if _begins(window) == b"[" else "jsonl")


def _begins(head: bytes) -> bytes:
    return head.removeprefix(BOM).lstrip()[:1]


def _format_of(head: bytes) -> _Detected | None:
    """The format that the beginning of a stream shows; None where more must be seen.

    The first of JSON lines is complete; the first line of a document is not, and an object's then ends in a bracket or
    a comma. A list that is complete on its line is a document only if nothing follows it.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    first, newline, rest = head.removeprefix(BOM).lstrip().partition(b"\n")
    if not first or not newline:
        return None
    if first[:1] == b"{":
        return "json" if first.rstrip().endswith((b"{", b"[", b",")) else "jsonl"
    if first[:1] == b"[":
        if not first.rstrip().endswith(b"]"):
            return "json"
        return "jsonl" if rest.strip() else None
    return "jsonl"
