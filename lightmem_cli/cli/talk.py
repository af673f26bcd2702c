"""Talks on stderr to whoever waits for a conversation's memory: one-line notices, and a progress bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lightmem_cli.engine import Memory
    from lightmem_cli.records import Filter

_SOME = 10  # of the names there are


def notice(line: str) -> None:
    """Say one line on stderr."""
    typer.echo(line, err=True)


def tell_nothing_found(memory: Memory, where: Filter) -> None:
    """Say why a query may have found nothing: an empty memory, or a name nobody has."""
    speakers = memory.history.reading.speakers(where)
    unknown = [name for name in where.speakers if name.casefold() not in {one.casefold() for one in speakers}]
    if memory.history.counts.messages() == 0:
        notice("nothing found: this memory is empty (lightmem ingest FILE)")
    elif (said := unknown_conversation(memory, where.conversation)) is not None:
        notice(f"nothing found: {said}")
    elif unknown and speakers:
        notice(f"nothing found: nobody is called {unknown[0]!r}; there is {', '.join(speakers[:_SOME])}")
    else:
        notice("nothing found")


def unknown_conversation(memory: Memory, name: str | None) -> str | None:
    """What to say where a conversation is named of which there is no message, and others are there."""
    names = memory.history.reading.conversations() if name is not None else []
    if name is None or not names or name in names:
        return None
    some = ", ".join(map(repr, names[:_SOME])) + (" …" if len(names) > _SOME else "")
    return f"there is no message of conversation {name!r}; there are: {some}"


@contextmanager
def interruptible(state: str) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM ends what is done inside, say in which `state` that leaves things."""
    try:
        yield
    except KeyboardInterrupt:
        notice(f"interrupted; {state}")
        raise


@contextmanager
def progress(
    label: str, *, unit: str, total: int | None = None, beside_output: bool = False
) -> Iterator[Callable[..., None]]:
    """A bar that shows how far `label` is, on a terminal only; `beside_output`: not where stdout goes there meanwhile.

    Call what it yields with the number of `unit`s done so far and, where that is not what `total` counts, with `at`,
    the part of `total` that is behind; `also` is said behind it.
    """
    if not sys.stderr.isatty() or (beside_output and sys.stdout.isatty()):
        yield lambda done, at=None, also="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    count = TextColumn("{task.fields[count]:,} " + unit + "{task.fields[also]}")
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, count=0, also="")

        def report(done: int, at: int | None = None, also: str = "") -> None:
            bar.update(task, completed=done if at is None else at, count=done, also=also)

        yield report
