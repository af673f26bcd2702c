"""Takes a person's questions about a conversation, one after the other, and speaks the answers while they come."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

import typer

from lightmem_cli.errors import InputError


def at_a_terminal(typed: str | None) -> bool:
    """Whether there is somebody to ask one question after the other."""
    return typed is None and sys.stdin.isatty()


def questions(typed: str | None) -> Iterator[str]:
    """The typed question; else all of a pipe as one; else, on a terminal, one line after the other until Ctrl-D."""
    if at_a_terminal(typed):
        yield from _from_terminal()
        return
    text = typed if typed is not None else sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        raise InputError("an empty question has no answer", hint='lightmem ask "When did Gina lose her job?"')
    yield text.strip()


def _from_terminal() -> Iterator[str]:
    editable = sys.stdout.isatty()
    if editable:
        with suppress(ImportError):  # Windows has none, and needs none: its console edits lines by itself
            import readline  # noqa: F401 - input() edits and remembers lines with it; nothing is kept on disk
    while True:
        try:
            line = _edited_line() if editable else _line()
        except KeyboardInterrupt:
            typer.echo(err=True)
            raise
        if line is None:
            typer.echo(err=True)
            return
        if line.strip():
            yield line.strip()


def _edited_line() -> str | None:
    try:
        return input("? ")
    except EOFError:
        return None


def _line() -> str | None:
    typer.echo("? ", nl=False, err=True)
    return sys.stdin.readline() or None


@contextmanager
def interrupted(*, goes_on: bool) -> Iterator[None]:
    """Where somebody `goes_on` asking, let Ctrl-C end only what is done inside; SIGTERM ends all."""
    try:
        yield
    except KeyboardInterrupt as error:
        if not goes_on or signal.SIGTERM in error.args:
            raise


class Spoken:
    """An answer on stdout, piece by piece, whose last line is ended, whatever ends it; `any`: something was said."""

    def __init__(self) -> None:
        self.any = False

    def say(self, piece: str) -> None:
        """Print a piece of the answer, without the characters with which it could steer a terminal."""
        self.any = True
        typer.echo("".join(c for c in piece if c.isprintable() or c in "\n\t "), nl=False)

    def __enter__(self) -> Spoken:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.any and (error is None or isinstance(error, KeyboardInterrupt)):
            typer.echo()
        elif isinstance(error, KeyboardInterrupt):
            typer.echo(err=True)  # behind the terminal's ^C
