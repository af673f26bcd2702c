"""`lightmem summarize`: retells each day of a conversation in a few sentences, its own or a language model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.filters import ConversationOption
from lightmem_cli.cli.ingest import tell_held, tell_quarantined
from lightmem_cli.cli.options import (
    BudgetOption,
    HomeOption,
    JsonOption,
    ProfileOption,
    QuietOption,
    examples,
    open_chosen,
)
from lightmem_cli.cli.talk import interruptible, notice, progress, unknown_conversation
from lightmem_cli.errors import LightmemError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.summaries import Summarized, Summary
    from lightmem_cli.summarize import Window

EXAMPLES = examples(
    "lightmem summarize",
    "lightmem summarize --window week --sentences 10",
    "lightmem summarize --use llm --budget-tokens 50000",
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
    use: Annotated[
        Literal["rules", "llm"] | None,
        typer.Option(help="The facts that say most word for word, or a language model; else summarize.use."),
    ] = None,
    budget_tokens: BudgetOption = None,
    conversation: ConversationOption = None,
    every: Annotated[bool, typer.Option("--all", help="Look at every window, not only where facts changed.")] = False,
    quiet: QuietOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Summarize each day, or session, week or month.

    First the memory's pending work is done. Then the facts that say most of what was said in a window become a summary,
    which `lightmem retrieve --kind summary` finds. With --use llm a language model writes it, and is also shown what
    was said earlier about the same things. Run again, only windows whose facts changed are summarized anew, and the old
    summary is superseded; what the model has replied once is not paid again. Each new summary is printed.
    """
    from lightmem_cli.engine import Budget, Memory

    overrides = {"summarize": {"window": window, "sentences": sentences, "use": use}}
    chosen = open_chosen(profile, home=home, overrides=overrides)
    written: list[Summary] = []
    with Memory(chosen, notice=_say_nothing if quiet else notice) as memory:
        memory.budget = None if budget_tokens is None else Budget(budget_tokens)
        try:
            with interruptible("what was summarized is kept, and the same command goes on from there"):
                done = _summarize(memory, conversation=conversation, anew=every, tell=written.append)
        except LightmemError as error:
            if written:
                kept = f"{render.counted(len(written), 'window')} summarized"
                error.hint = f"kept: {kept}; {error.hint or 'run the same command again'}"
            raise
        finally:
            if not quiet:
                _show(written, chosen.settings.transcript.zone, as_json=as_json)
        unknown = unknown_conversation(memory, conversation)
        quarantined, holders = memory.history.work.quarantined(), memory.history.work.holders()
    for said in () if quiet else filter(None, (_outcome(done), unknown)):
        notice(said)
    tell_held(holders)
    tell_quarantined(quarantined)
    _tell_unmade(done)


def _summarize(memory: Memory, *, conversation: str | None, anew: bool, tell: Callable[[Summary], None]) -> Summarized:
    """Do what is pending, then summarize, each with a bar."""
    from lightmem_cli.engine.pending import work_first
    from lightmem_cli.engine.summaries import summarize as summarize_memory

    with progress("working off", unit="items") as report:
        work_first(memory, progress=report)
    with progress("summarizing", unit="windows", total=100) as report:
        return summarize_memory(
            memory,
            conversation=conversation,
            anew=anew,
            tell=tell,
            progress=lambda done, among: report(done, at=100 * done // among),
        )


def _show(written: Sequence[Summary], zone: tzinfo, *, as_json: bool) -> None:
    """Print each summary on stdout."""
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


def _outcome(done: Summarized) -> str:
    """What became of the windows, in one line for a person."""
    counts = {
        "unchanged": done.unchanged,
        "with too few facts": done.too_few,
        "set aside": done.set_aside,
        "left out as forgotten or undone": done.left_out,
        "failed": done.failed,
        f"left for the next run: {done.stopped}": done.left,
    }
    others = [f"{count:,} {what}" for what, count in counts.items() if count]
    if done.run is None:
        looked_at = f" ({', '.join(others)})" if others else ": no fact has changed (--all looks at every window)"
        return f"{'no window summarized' if done.left or done.failed else 'nothing to summarize'}{looked_at}"
    parts = [f"{render.counted(done.written, 'window')} summarized", *others]
    return f"{', '.join(parts)}; lightmem undo {done.run} takes that back"


def _tell_unmade(done: Summarized) -> None:
    """
    Raises:
        ModelError: of some windows no summary could be had.
    """
    if not done.unmade:
        return
    first = done.unmade[0]
    which = render.counted(len(done.unmade), "window")
    raise ModelError(
        f"{which} could not be summarized, the first ({_place(first.window)}) because of this: {first.reason}",
        hint="nothing is lost: the next lightmem summarize tries again",
    )


def _place(window: Window) -> str:
    place = [render.span(window.days)] if window.days else []
    place += [f"session {window.session}"] if window.session else []
    place += [f"conversation {window.conversation}"] if window.conversation else []
    return render.one_line(", ".join(place))


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
