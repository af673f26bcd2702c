"""`lightmem summarize`: retells each day of a conversation in a few of its own sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.filters import ConversationOption
from lightmem_cli.cli.ingest import tell_quarantined
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, QuietOption, examples, open_chosen
from lightmem_cli.cli.talk import interruptible, notice, progress, unknown_conversation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from lightmem_cli.engine.summaries import Summarized, Summary

EXAMPLES = examples(
    "lightmem summarize",
    "lightmem summarize --window week --sentences 10",
    "lightmem summarize --quiet        # from cron: says nothing",
    'lightmem retrieve "What happened in January?" --kind summary',
)


def summarize(
    window: Annotated[
        Literal["session", "day", "week", "month"] | None, typer.Option(help="Else summarize.window.")
    ] = None,
    sentences: Annotated[
        int | None, typer.Option(min=1, max=100, metavar="N", help="Of each, at most; else summarize.sentences.")
    ] = None,
    conversation: ConversationOption = None,
    every: Annotated[bool, typer.Option("--all", help="Look at every window, not only where facts changed.")] = False,
    quiet: QuietOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Summarize each day, or session, week or month.

    First the memory's pending work is done. Then the facts that say most of what was said in a window become a summary,
    which `lightmem retrieve --kind summary` finds. Run again, only windows whose facts changed are summarized anew, and
    the old summary is superseded. Each new summary is printed.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.pending import work_first
    from lightmem_cli.engine.summaries import summarize as summarize_memory

    chosen = open_chosen(profile, home=home, overrides={"summarize": {"window": window, "sentences": sentences}})
    written: list[Summary] = []
    with Memory(chosen, notice=_say_nothing if quiet else notice) as memory:
        with interruptible("what was summarized is kept, and the same command goes on from there"):
            with progress("working off", unit="items") as report:
                work_first(memory, progress=report)
            with progress("summarizing", unit="windows", total=100) as report:
                done = summarize_memory(
                    memory,
                    conversation=conversation,
                    anew=every,
                    tell=written.append,
                    progress=lambda done, among: report(done, at=100 * done // among),
                )
        unknown = unknown_conversation(memory, conversation)
        quarantined = memory.history.work.quarantined()
    if not quiet:
        _show(written, done, chosen.settings.transcript.zone, as_json=as_json)
    if unknown is not None and not quiet:
        notice(unknown)
    tell_quarantined(quarantined)


def _show(written: Sequence[Summary], done: Summarized, zone: tzinfo, *, as_json: bool) -> None:
    """Print each summary on stdout, and on stderr what it came to."""
    out = render.Renderer(zone)
    for summary in written:
        if as_json:
            render.as_json(_json(summary, out))
            continue
        entry = summary.entry
        place = [render.span(entry.happened)] if entry.happened else []
        place += [f"session {entry.session}"] if entry.session else []
        place += [f"conversation {entry.conversation}"] if entry.conversation else []
        facts = f"{len(summary.facts)} of {render.counted(summary.among, 'fact')}"
        typer.echo(f"{render.one_line(', '.join(place))}: {facts}, {entry.id}")
        typer.echo(f"  {render.one_line(entry.text)}")
    notice(_outcome(done))


def _outcome(done: Summarized) -> str:
    """What became of the windows, in one line for a person."""
    counts = {
        "unchanged": done.unchanged,
        "with too few facts": done.too_few,
        "set aside": done.set_aside,
        "left out as forgotten or undone": done.left_out,
    }
    others = [f"{count:,} {what}" for what, count in counts.items() if count]
    if done.run is None:
        looked_at = f" ({', '.join(others)})" if others else ": no fact has changed (--all looks at every window)"
        return f"nothing to summarize{looked_at}"
    parts = [f"{render.counted(done.written, 'window')} summarized", *others]
    return f"{', '.join(parts)}; lightmem undo {done.run} takes that back"


def _json(summary: Summary, out: render.Renderer) -> dict[str, object]:
    entry = summary.entry
    happened = entry.happened
    return {
        "id": entry.id,
        "conversation": entry.conversation,
        "session": entry.session,
        "from": out.time(happened.start) if happened else None,
        "to": out.time(happened.end) if happened else None,
        "text": entry.text,
        "facts": [fact.id for fact in summary.facts],
        "sources": [key.id for key in entry.sources],
    }


def _say_nothing(_line: str) -> None:
    """Swallow what a person who waits would be told."""
