"""`lightmem pin`: keeps entries of a memory from being merged away, or lists those that are kept."""

from __future__ import annotations

from typing import Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice
from lightmem_cli.errors import InputError

EXAMPLES = examples(
    "lightmem pin 3fa9 D1:3", "lightmem pin                    # lists what is pinned", "lightmem pin --off 3fa9"
)


def pin(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Beginnings of entries' ids, or messages' ids; else list."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Let go of them.")] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pin entries.

    What is pinned is never merged away by `lightmem update`.
    """
    if off and not ids:
        raise InputError("--off needs the entries to let go of", hint="lightmem pin lists what is pinned")
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.pin import pin as pin_entries
    from lightmem_cli.engine.pin import pinned

    chosen = open_chosen(profile, home=home)
    out = render.for_output(chosen.settings.transcript.zone)
    with Memory(chosen, notice=notice, reader=not ids) as memory:
        done = pin_entries(memory, ids, pinned=not off) if ids else None
        entries = pinned(memory) if done is None else done.entries
    for entry in entries:
        if as_json:
            changed = {} if done is None else {"changed": entry.id in done.changed}
            render.as_json(out.entry_json(entry) | changed)
        elif done is None:
            state = "" if entry.state == "active" else f"({entry.state}) "
            typer.echo(f"{entry.id}  {state}{out.entry_line(entry)}")
        else:
            did = "unpinned" if off else "pinned"
            if entry.id not in done.changed:
                did = "was not pinned" if off else "already pinned"
            typer.echo(f"{did} {entry.id}  {out.entry_line(entry)}")
    if not entries:
        notice("nothing is pinned: lightmem pin ID")
