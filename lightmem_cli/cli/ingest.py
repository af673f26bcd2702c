"""`lightmem ingest`: takes a conversation in, from files or a pipe, and makes it findable."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, TextIO

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice, progress
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine.ingest import Ingested
    from lightmem_cli.profiles.settings import Settings
    from lightmem_cli.transcript import BadLine, Item

EXAMPLES = examples(
    "lightmem ingest chat.jsonl",
    "cat chat.jsonl | lightmem ingest - --conversation family",
    "lightmem ingest logs/*.jsonl --on-error skip --rejects bad.jsonl",
    "tail -f live.jsonl | lightmem ingest -",
)


def ingest(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="Transcripts; - is stdin.")] = None,
    conversation: Annotated[str | None, typer.Option(metavar="NAME", help="For rows that name none.")] = None,
    session: Annotated[str | None, typer.Option(metavar="NAME", help="For rows that name none.")] = None,
    format: Annotated[Literal["auto", "jsonl", "json"], typer.Option(help="How the input is written.")] = "auto",
    append: Annotated[bool, typer.Option("--append", help="Take rows with neither id nor time as new.")] = False,
    on_conflict: Annotated[
        Literal["refuse", "replace"], typer.Option(help="When a known id comes with other words.")
    ] = "refuse",
    on_error: Annotated[Literal["stop", "skip"], typer.Option(help="At a line that cannot be read.")] = "stop",
    rejects: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where skipped lines go, with their reasons.")
    ] = None,
    journal_only: Annotated[
        bool, typer.Option("--journal-only", help="Only keep the messages; `lightmem extract` does the rest.")
    ] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a conversation: every message word for word, then its facts, then an index of both.

    The same transcript twice adds nothing; a grown one adds only its tail. Input is one JSON object a line with
    content and, where known, role, speaker, timestamp, session, conversation, id and image_caption.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.ingest import HowToIngest
    from lightmem_cli.engine.ingest import ingest as ingest_into

    chosen = open_chosen(profile, home=home)
    how = HowToIngest(
        conversation=conversation,
        session=session,
        append=append,
        on_conflict=on_conflict,
        on_error=on_error,
        journal_only=journal_only,
    )
    with ExitStack() as open_files:
        streams = [(name, open_files.enter_context(_opened(name))) for name in _named(files)]
        reject = _Rejects(open_files.enter_context(_for_rejects(rejects)) if rejects else None)
        memory = open_files.enter_context(Memory(chosen, notice=notice))
        report = open_files.enter_context(progress("ingesting", unit="messages", total=_size(streams)))
        total = ingest_into(
            memory,
            [_batches(name, stream, chosen.settings, format) for name, stream in streams],
            how,
            reject=reject,
            progress=lambda so_far: report(so_far.messages + so_far.known, at=_read_so_far(streams)),
        )
    _tell(total, as_json=as_json)


def read_named(files: list[str] | None, settings: Settings, format: Literal["auto", "jsonl", "json"]) -> Iterator[Item]:
    """All items of the named transcripts, for commands that only filter."""
    for name in _named(files):
        with _opened(name) as stream:
            for batch in _batches(name, stream, settings, format):
                yield from batch


def _named(files: list[str] | None) -> list[str]:
    if files:
        return files
    if sys.stdin.isatty():
        raise InputError("no transcript given", hint="name a FILE, or pipe one in: cat chat.jsonl | lightmem ingest -")
    return ["-"]


def _opened(name: str) -> BinaryIO:
    """The named file, or stdin for `-`.

    Raises:
        InputError: it is not there, a directory, or cannot be read.
    """
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise InputError(
            f"cannot read {name}: {error.strerror}", hint="name a transcript file, or - for stdin"
        ) from error


def _for_rejects(path: Path) -> TextIO:
    """The file that skipped lines go to, begun anew.

    Raises:
        InputError: it cannot be written.
    """
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", hint="name another file with --rejects") from error


def _batches(
    name: str, stream: BinaryIO, settings: Settings, format: Literal["auto", "jsonl", "json"]
) -> Iterator[list[Item]]:
    from lightmem_cli.transcript import read_transcript

    label = "stdin" if name == "-" else name
    return read_transcript(stream, name=label, zone=settings.transcript.zone, format=format)


def _size(streams: Sequence[tuple[str, BinaryIO]]) -> int | None:
    """The bytes of all files together; None where one is a pipe."""
    paths = [Path(name) for name, _ in streams]
    return sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else None


def _read_so_far(streams: Sequence[tuple[str, BinaryIO]]) -> int | None:
    return sum(stream.tell() for _, stream in streams) if _size(streams) is not None else None


class _Rejects:
    """Says of each skipped line why, and keeps it with its reason in the file of rejects, if there is one."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def __call__(self, line: BadLine) -> None:
        notice(f"skipped {line}")
        if self._file is not None:
            row = {"origin": line.origin, "reason": line.reason, "line": line.raw.decode("utf-8", "replace")}
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _tell(total: Ingested, *, as_json: bool) -> None:
    """One line of what was taken in: a person reads it on stderr, a program gets JSON."""
    from dataclasses import asdict

    if as_json:
        render.as_json(asdict(total))
        return
    if total.messages + total.known + total.rejected + total.skipped == 0:
        notice("nothing to ingest: the input is empty")
        return
    parts = [f"{total.messages:,} new messages", f"{total.facts:,} facts"]
    extras = {"known already": total.known, "replaced": total.replaced, "rejected": total.rejected}
    extras["without content"] = total.skipped
    parts += [f"{count:,} {what}" for what, count in extras.items() if count]
    notice(", ".join(parts))
