"""`lightmem stats`: counts what a memory holds, and draws it over time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice

if TYPE_CHECKING:
    from lightmem_cli.store.history.counts import Day

EXAMPLES = examples("lightmem stats", "lightmem stats --json | jq .entries")
_WIDTH = 60  # columns of the chart


def stats(profile: ProfileOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Count what a memory holds.

    Messages, entries by kind and state, pending work and disk; on a terminal, over time.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.care import stats as count

    with Memory(open_chosen(profile, home=home), notice=notice) as memory:
        counted = count(memory)
        days = memory.history.counts.days()
        places = (memory.history.counts.conversations(), memory.history.counts.sessions())
    if as_json:
        render.as_json(counted)
        return
    in_places = (render.counted(places[0], "conversation"), render.counted(places[1], "session"))
    typer.echo(f"messages     {counted['messages']:>9,}  in {', '.join(in_places)}")
    entries = counted["entries"]
    assert isinstance(entries, Mapping)
    for kind, states in entries.items():
        aside = ", ".join(f"{count:,} {state}" for state, count in states.items() if state != "active")
        typer.echo(f"{kind + 's':<12} {states.get('active', 0):>9,}{'  and ' + aside if aside else ''}")
    pending = counted["pending"]
    assert isinstance(pending, Mapping)
    for stage, waiting in pending.items():
        typer.echo(f"to {stage:<9} {waiting:>9,}  (lightmem extract)")
    if counted["quarantined"]:
        typer.echo(f"quarantined  {counted['quarantined']:>9,}  (lightmem doctor)")
    disk = counted["disk_bytes"]
    assert isinstance(disk, int)
    typer.echo(f"disk         {disk / 1e6:>9,.1f}  MB")
    if sys.stdout.isatty() and days:
        _draw(days)


def _draw(days: Sequence[Day]) -> None:
    """Messages and entries over time, as two rows of bars from the first day to the last."""
    from datetime import date

    dated = [(date.fromisoformat(day.day), day) for day in days if day.day != "undated"]
    if not dated:
        return
    first, last = dated[0][0], dated[-1][0]
    span = (last - first).days + 1
    columns = min(_WIDTH, span)
    messages, entries = [0] * columns, [0] * columns
    for day, counted in dated:
        column = (day - first).days * columns // span
        messages[column] += counted.messages
        entries[column] += counted.entries
    typer.echo()
    typer.echo(f"messages {render.bars(messages)} at most {max(messages):,} a column")
    typer.echo(f"entries  {render.bars(entries)} at most {max(entries):,} a column")
    typer.echo(f"         {first} to {last}, a column is {render.counted(-(-span // columns), 'day')}")
