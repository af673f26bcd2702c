"""`lightmem stats`: counts what a memory holds, and draws who spoke and when."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice

if TYPE_CHECKING:
    from lightmem_cli.store.history.counts import Day

EXAMPLES = examples("lightmem stats", "lightmem stats --json | jq .entries", "watch lightmem stats -p work")
_WIDTH = 100  # columns of the charts, at most
_VOICES = 5


def stats(profile: ProfileOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Count what a memory holds.

    Messages, topics, entries by kind and state, pending work and disk; on a terminal, who spoke and when.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.care import stats as count
    from lightmem_cli.engine.extraction import waits_for_topics
    from lightmem_cli.engine.shorten import not_shortened

    with Memory(open_chosen(profile, home=home), notice=notice) as memory:
        counted = count(memory)
        if as_json:
            render.as_json(counted)
            return
        counts = memory.history.counts
        places = render.counted(counts.conversations(), "conversation"), render.counted(counts.sessions(), "session")
        waiting, topics_open = not_shortened(memory), waits_for_topics(memory)
        days, voices = counts.days(), counts.voices(limit=_VOICES)
    for line in _totals(counted, in_places=", ".join(places), not_shortened=waiting, topics_open=topics_open):
        typer.echo(line)
    if sys.stdout.isatty() and counted["messages"]:
        width = min(_WIDTH, shutil.get_terminal_size().columns - 40)
        for line in (*_spoken(voices, width=width), *_over_time(days, width=width)):
            typer.echo(line)


def _totals(counted: Mapping[str, Any], *, in_places: str, not_shortened: int, topics_open: bool) -> Iterator[str]:
    from lightmem_cli.engine.doctor import mends_of
    from lightmem_cli.store.history.work import Owner

    yield _total("messages", counted["messages"], f"in {in_places}")
    if counted["forgotten"]:
        yield _total("forgotten", counted["forgotten"], "of these messages (lightmem log)")
    yield _total("topics", counted["segments"])
    if counted["compressed"]["messages"]:
        kept = counted["compressed"]["kept"]
        yield _total("shortened", counted["compressed"]["messages"], f"to {100 * kept:.0f} % of these messages' tokens")
    if not_shortened:
        of_topics = "message of an ended topic is" if not_shortened == 1 else "messages of ended topics are"
        yield _total("unshortened", not_shortened, f"{of_topics} not shortened (lightmem segment)")
    for kind, states in counted["entries"].items():
        aside = ", ".join(f"{count:,} {_aside(kind, state)}" for state, count in states.items() if state != "active")
        name = {"summary": "summaries"}.get(kind, f"{kind}s")
        yield _total(name, states.get("active", 0), f"and {aside}" if aside else "")
    if counted["pinned"]:
        yield _total("pinned", counted["pinned"], "(lightmem pin)")
    for stage, waiting in counted["pending"].items():
        yield _total(f"to {stage}", waiting, f"({mends_of([stage], topics_open=topics_open)})")
    for owner in (Owner(**held) for held in counted.get("held", ())):
        yield _total("held", owner.items, f"of these by {owner.named}")
    if counted["quarantined"]:
        yield _total("quarantined", counted["quarantined"], "(lightmem doctor)")
    for purpose, its in counted["llm"].items():
        yield _total("asked", its["calls"], f"to {purpose}: {_cost(its)}")
    yield f"{'disk':<12} {counted['disk_bytes'] / 1e6:>9,.1f}  MB"


def _aside(kind: str, state: str) -> str:
    """What it means that an entry of this kind is not active."""
    if state != "unsupported":
        return state
    return "unsupported by what was said" if kind in ("fact", "relation") else "set aside"


def _cost(its: Mapping[str, Any]) -> str:
    cached = f", {its['cached_tokens']:,} of them cached" if its["cached_tokens"] else ""
    return f"{its['prompt_tokens']:,} tokens{cached}; {its['completion_tokens']:,} in reply; {its['seconds']:,.0f} s"


def _total(name: str, count: int, remark: str = "") -> str:
    return f"{name:<12} {count:>9,}  {remark}".rstrip()


def _spoken(voices: Sequence[tuple[str, int]], *, width: int) -> Iterator[str]:
    """Who says most: a bar each."""
    yield ""
    most = max(count for _, count in voices)
    for voice, count in voices:
        name = render.one_line(voice)
        yield f"{name[:16]:<16} {'█' * max(1, round(width * count / most))} {count:,}"


def _over_time(days: Sequence[Day], *, width: int) -> Iterator[str]:
    """Messages and entries over time, as two rows of bars from the first day to the last."""
    from datetime import date

    dated = [(date.fromisoformat(day.day), day) for day in days if day.day != "undated"]
    if not dated:
        return
    first, last = dated[0][0], dated[-1][0]
    span = (last - first).days + 1
    columns = max(1, min(width, span))
    messages, entries = [0] * columns, [0] * columns
    for day, counted in dated:
        column = (day - first).days * columns // span
        messages[column] += counted.messages
        entries[column] += counted.entries
    yield ""
    yield f"{'messages':<16} {render.bars(messages)} at most {max(messages):,} a column"
    yield f"{'entries':<16} {render.bars(entries)} at most {max(entries):,} a column"
    yield f"{'':<16} {first} to {last}, a column is {render.counted(-(-span // columns), 'day')}"
