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


def notice(line: str) -> None:
    """Say one line on stderr."""
    typer.echo(line, err=True)


def tell_nothing_found(memory: Memory, where: Filter) -> None:
    """Say why a query may have found nothing: an empty memory, or a name nobody has."""
    speakers = memory.history.reading.speakers(where)
    unknown = [name for name in where.speakers if name.casefold() not in {one.casefold() for one in speakers}]
    if memory.history.counts.messages() == 0:
        notice("nothing found: this memory is empty (lightmem ingest FILE)")
    elif unknown and speakers:
        notice(f"nothing found: nobody is called {unknown[0]!r}; there is {', '.join(speakers[:10])}")
    else:
        notice("nothing found")


@contextmanager
def progress(
    label: str, *, unit: str, total: int | None = None, beside_output: bool = False
) -> Iterator[Callable[..., None]]:
    """A bar that shows how far `label` is, on a terminal only; `beside_output`: not where stdout goes there meanwhile.

    Call what it yields with the number of `unit`s done so far and, where that is not what `total` counts, with `at`,
    the part of `total` that is behind.
    """
    if not sys.stderr.isatty() or (beside_output and sys.stdout.isatty()):
        yield lambda done, at=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    count = TextColumn("{task.fields[count]:,} " + unit)
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, count=0)

        def report(done: int, at: int | None = None) -> None:
            bar.update(task, completed=done if at is None else at, count=done)

        yield report
