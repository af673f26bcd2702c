"""`lightmem undo`: gives a memory back what a command changed in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightmem_cli.engine.undo import ChangedSince
    from lightmem_cli.records import Entry

EXAMPLES = examples(
    "lightmem undo --dry-run         # the last update, summarize, forget or pin that stands",
    "lightmem undo 7",
    "lightmem undo --revision 31     # lightmem log ID prints the numbers",
    "lightmem undo 9                 # where run 9 is an undo: does it again",
)
_LISTED = 10  # of the entries that stand in the way
_CUT = 60  # characters of each one's text


def undo(
    run: Annotated[
        int | None,
        typer.Argument(metavar="RUN", min=1, help="Else the last update, summarize, forget or pin that stands."),
    ] = None,
    revision: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only this revision, with those made in one step with it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be given back.")] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back what a run changed.

    Entries are again as they were, and what was born in the run is hidden. That is a run of its own: undo it, and all
    is as before. A run is not undone when an entry changed since; `lightmem log` lists the runs. What an ingest brought
    in is only hidden when its RUN is given.
    """
    if run is not None and revision is not None:
        raise InputError("a run and a revision are two things to undo", hint="give RUN or --revision, not both")
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.undo import ChangedSince, plan
    from lightmem_cli.engine.undo import undo as take_back

    chosen = open_chosen(profile, home=home)
    out = render.for_output(chosen.settings.transcript.zone)
    with Memory(chosen, notice=notice) as memory:
        try:
            planned = plan(memory, run=run, revision=revision)
            entries = planned.entries if dry_run else take_back(memory, planned)
        except ChangedSince as changed:
            _list(changed)
            raise
    for entry in entries:
        if as_json:
            render.as_json(out.entry_json(entry) | {"reason": planned.reason})
        else:
            state = "" if entry.state == "active" else f"({entry.state}) "
            typer.echo(f"{entry.id}  {state}{out.entry_line(entry)}")
    step = f"revision {planned.revision} of " if planned.revision is not None else ""
    did = "would undo" if dry_run else "undid"
    notice(f"{did} {step}run {planned.run.id} ({planned.run.command}): {_became(entries)}")


def _became(entries: Sequence[Entry]) -> str:
    """How many entries are as they were, and how many are hidden now."""
    hidden = sum(entry.state == "deleted" for entry in entries)
    back = len(entries) - hidden
    as_they_were = "1 entry as it was" if back == 1 else f"{back:,} entries as they were"
    parts = [as_they_were] if back or not hidden else []
    if hidden:
        parts.append(f"{hidden:,} hidden" if parts else f"{hidden:,} {'entry' if hidden == 1 else 'entries'} hidden")
    return ", ".join(parts)


def _list(changed: ChangedSince) -> None:
    """Say which entries stand in the way, before the error says that they do."""
    for entry, run in changed.conflicts[:_LISTED]:
        text = render.one_line(entry.text)
        cut = text if len(text) <= _CUT else f"{text[:_CUT].rstrip()} …"
        notice(f"{entry.id}  {cut}  (run {run.id}, {run.command})")
    if len(changed.conflicts) > _LISTED:
        notice(f"and {len(changed.conflicts) - _LISTED:,} more")
