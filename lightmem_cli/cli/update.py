"""`lightmem update`: merges what a memory holds twice, while nobody waits, and shows what it did or would do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.ingest import tell_quarantined
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, QuietOption, examples, open_chosen
from lightmem_cli.cli.talk import interruptible, notice, progress
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.consolidate import Consolidated
    from lightmem_cli.update.plan import Merge

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
    quiet: QuietOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge facts that say the same.

    First the memory's pending work is done. Then facts in the same words, and facts that differ only in how they say
    it, become one that rests on all their messages; the others stay, superseded, and `lightmem undo` brings them back.
    Run again, only what is new since is compared. With --json each merge is printed as in the plan of --dry-run.
    """
    if dry_run and apply is not None:
        raise InputError("--dry-run and --apply are two different things", hint=_PLAN_HINT)
    from lightmem_cli.engine import Memory

    merges = None if apply is None else list(_read_plan(apply))
    chosen = open_chosen(profile, home=home)
    with Memory(chosen, notice=_say_nothing if quiet else notice, reader=dry_run) as memory:
        if dry_run:
            _show_plan(memory, quiet=quiet)
            return
        with interruptible("the same command goes on from there"):
            done = _merge(memory, merges)
        quarantined = memory.history.work.quarantined()
    if not quiet:
        _show(done, as_json=as_json)
    tell_quarantined(quarantined)


def _merge(memory: Memory, merges: Sequence[Merge] | None) -> Consolidated:
    """Do a reviewed plan, or all that is to be done."""
    from lightmem_cli.engine.consolidate import apply_plan, consolidate
    from lightmem_cli.engine.pending import work_first

    if merges is not None:
        return apply_plan(memory, merges)
    with progress("working off", unit="items") as report:
        work_first(memory, progress=report)
    with progress("comparing", unit="facts") as report:
        return consolidate(memory, progress=report)


def _show_plan(memory: Memory, *, quiet: bool) -> None:
    from lightmem_cli.engine.consolidate import propose
    from lightmem_cli.update.plan import to_json

    waiting = memory.history.work.pending()
    with progress("comparing", unit="facts") as report:
        proposed = propose(memory, progress=report)
    for merge in proposed.merges:
        render.as_json(to_json(merge))
    if quiet:
        return
    if any(waiting.values()):
        messages, entries = waiting.get("extract", 0), waiting.get("embed", 0)
        parts = [render.counted(messages, "message")] if messages else []
        parts += [f"{entries:,} {'entry' if entries == 1 else 'entries'}"] if entries else []
        what = " and ".join(parts) or render.counted(sum(waiting.values()), "step")
        notice(f"{what} still waiting, and not in this plan (lightmem extract)")
    _tell_apart(proposed.apart)
    if not proposed.merges:
        notice("nothing to merge")


def _show(done: Consolidated, *, as_json: bool) -> None:
    """Print each merge on stdout, and on stderr what it came to."""
    from lightmem_cli.update.plan import to_json

    for merge in done.merged:
        if as_json:
            render.as_json(to_json(merge))
            continue
        typer.echo(f"kept {merge.keep}  {render.one_line(merge.text)}")
        for dropped in merge.drop:
            typer.echo(f"  merged {dropped.id}  {render.one_line(dropped.text)} ({dropped.why})")
    _tell_apart(done.apart)
    notice(done.summary)


def _tell_apart(pairs: int) -> None:
    """Say why facts that are alike are left as they are."""
    if pairs:
        notice(f"{render.counted(pairs, 'pair')} of facts left apart: their merger was undone (lightmem log)")


def _read_plan(name: str) -> Iterator[Merge]:
    """The merges of a plan, a JSON object a line."""
    from lightmem_cli.update.plan import from_json

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
