"""`lightmem update`: merges what a memory holds twice, while nobody waits, and shows what it did or would do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, assert_never

import typer

from lightmem_cli.cli import render
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
from lightmem_cli.cli.talk import interruptible, notice, progress
from lightmem_cli.errors import InputError, LightmemError, Unavailable

if TYPE_CHECKING:
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.consolidate import Consolidated
    from lightmem_cli.update.steps import Step

EXAMPLES = examples(
    "lightmem update",
    "lightmem update --quiet           # from cron: does nothing, and says nothing, when nothing is new",
    "lightmem update --dry-run | jq -r '.text'",
    "lightmem update --dry-run > plan.jsonl; lightmem update --apply plan.jsonl",
)
_PLAN_HINT = "lightmem update --dry-run > plan.jsonl prints a plan to edit"

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan as JSON lines; change nothing.")]
ApplyOption = Annotated[
    str | None, typer.Option("--apply", metavar="PLAN", help="Do what this file says, a plan you edited; - is stdin.")
]


def update(
    dry_run: DryRunOption = False,
    apply: ApplyOption = None,
    use: Annotated[
        Literal["rules", "llm"] | None,
        typer.Option(help="llm judges what is near, too; else update.use."),
    ] = None,
    budget_tokens: BudgetOption = None,
    quiet: QuietOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge facts that say the same, and correct those that hold no more.

    First the memory's pending work is done. Then facts in the same words, and facts that differ only in how they say
    it, become one that rests on all their messages; the others stay, superseded, and `lightmem undo` brings them back.
    With a language model, older facts that newer ones correct are superseded too, and those that contradict each other
    are noted. Run again, only what is new since is compared. With --json each step is printed as in the plan of
    --dry-run.
    """
    if dry_run and apply is not None:
        raise InputError("--dry-run and --apply are two different things", hint=_PLAN_HINT)
    from lightmem_cli.engine import Budget, Memory

    steps = None if apply is None else list(_read_plan(apply))
    chosen = open_chosen(profile, home=home, overrides={"update": {"use": use}})
    with Memory(chosen, notice=_say_nothing if quiet else notice, reader=dry_run) as memory:
        memory.budget = None if budget_tokens is None else Budget(budget_tokens)
        if dry_run:
            _show_plan(memory, quiet=quiet)
            return
        with interruptible("the same command goes on from there"):
            done = _consolidate(memory, steps)
        quarantined, holders = memory.history.work.quarantined(), memory.history.work.holders()
    if not quiet:
        _show(done, as_json=as_json)
        _tell_left(done.stopped)
    tell_held(holders)
    tell_quarantined(quarantined)
    _raise_first(done.faults)


def _consolidate(memory: Memory, steps: Sequence[Step] | None) -> Consolidated:
    """Do a reviewed plan, or all that is to be done."""
    from lightmem_cli.engine.consolidate import apply_plan, consolidate
    from lightmem_cli.engine.pending import work_first

    if steps is not None:
        return apply_plan(memory, steps)
    with progress("working off", unit="items") as report:
        work_first(memory, progress=report)
    with progress("comparing", unit="facts") as report:
        return consolidate(memory, progress=report)


def _show_plan(memory: Memory, *, quiet: bool) -> None:
    from lightmem_cli.engine.consolidate import Foreseen, foresee, propose
    from lightmem_cli.engine.extraction import waits_for_topics
    from lightmem_cli.update.lines import to_json

    waiting = memory.history.work.pending()
    with progress("comparing", unit="facts") as report:
        proposed = propose(memory, progress=report)
    for merge in proposed.merges:
        render.as_json(to_json(merge))
    foreseen = Foreseen(())
    if memory.settings.update.use == "llm":
        with progress("asking about", unit="facts") as report:
            foreseen = foresee(memory, proposed.merges, progress=report)
    for step in foreseen.steps:
        render.as_json(to_json(step))
    if not quiet:
        _tell_waiting(waiting, topics_open=waits_for_topics(memory))
        _tell_apart(proposed.apart)
        _tell_left(foreseen.stopped)
        if not (proposed.merges or foreseen.steps or foreseen.faults):
            notice("nothing to merge")
    _raise_first(foreseen.faults)


def _tell_waiting(waiting: Mapping[str, int], *, topics_open: bool) -> None:
    """Say what a plan does not know of yet."""
    from lightmem_cli.engine.doctor import mends_of

    if any(waiting.values()):
        messages, entries = waiting.get("extract", 0), waiting.get("embed", 0)
        parts = [render.counted(messages, "message")] if messages else []
        parts += [f"{entries:,} {'entry' if entries == 1 else 'entries'}"] if entries else []
        what = " and ".join(parts) or render.counted(sum(waiting.values()), "step")
        notice(f"{what} still waiting, and not in this plan ({mends_of(waiting, topics_open=topics_open)})")


def _show(done: Consolidated, *, as_json: bool) -> None:
    """Print each step on stdout, and on stderr what it came to."""
    from lightmem_cli.update.lines import to_json

    for step in done.steps:
        if as_json:
            render.as_json(to_json(step))
            continue
        for line in _lines(step):
            typer.echo(line)
    _tell_apart(done.apart)
    if done.steps or not done.faults:
        notice(done.summary)


def _lines(step: Step) -> Iterator[str]:
    """A step as a person reads it: what stands, and under it what became of the other facts."""
    from lightmem_cli.update.steps import Conflict, Correction, Merge

    match step:
        case Merge():
            yield f"kept {step.keep}  {render.one_line(step.text)}"
            for dropped in step.drop:
                yield f"  merged {dropped.id}  {render.one_line(dropped.text)} ({dropped.why})"
        case Correction():
            yield f"kept {step.by.id}  {render.one_line(step.by.text)}"
            yield f"  corrected {step.old.id}  {render.one_line(step.old.text)} ({step.why})"
        case Conflict():
            yield f"kept {step.other.id}  {render.one_line(step.other.text)}"
            yield f"  contradicts {step.one.id}  {render.one_line(step.one.text)} ({step.why})"
        case _:
            assert_never(step)


def _tell_left(stopped: str | None) -> None:
    """Say why not all was asked."""
    if stopped:
        notice(f"stopped: {stopped}; the next update goes on from there")


def _raise_first(faults: Sequence[LightmemError]) -> None:
    """End with what the language model failed on: what was done stands, and the rest is asked next time.

    Why nothing more was asked tells more than what went wrong before.
    """
    if faults:
        fault = next((one for one in faults if isinstance(one, Unavailable)), faults[0])
        kept = "what was done stands, and lightmem update goes on from here"
        fault.hint = f"{fault.hint}; {kept}" if fault.hint else kept
        raise fault


def _tell_apart(pairs: int) -> None:
    """Say why facts that are alike are left as they are."""
    if pairs:
        notice(f"{render.counted(pairs, 'pair')} of facts left apart: their merger was undone (lightmem log)")


def _read_plan(name: str) -> Iterator[Step]:
    """The steps of a plan, a JSON object a line."""
    from lightmem_cli.update.lines import from_json

    try:
        lines = (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).splitlines()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}", hint=_PLAN_HINT) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}:{number}: invalid JSON: {error}", hint=_PLAN_HINT) from error
        yield from_json(row, origin=f"{name}:{number}")


def _say_nothing(_line: str) -> None:
    """Swallow what a person who waits would be told."""
