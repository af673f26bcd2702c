"""Talks on stderr to whoever waits for a conversation's memory: one-line notices, and a progress bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


def notice(line: str) -> None:
    """Say one line on stderr."""
    typer.echo(line, err=True)


@contextmanager
def progress(label: str, *, unit: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar that shows how far `label` is, on a terminal only.

    Call what it yields with the number of `unit`s done so far and, where that is not what `total` counts, with `at`,
    the part of `total` that is behind.
    """
    if not sys.stderr.isatty():
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
