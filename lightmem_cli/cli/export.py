"""`lightmem export`: prints what a memory holds, as JSON lines."""

from __future__ import annotations

from typing import Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice
from lightmem_cli.errors import InputError

EXAMPLES = examples("lightmem export --state > state.jsonl", "lightmem export --state | sha256sum")


def export(
    state: Annotated[
        bool, typer.Option("--state", help="The canonical state: messages and entries, sorted, without clocks.")
    ] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,  # noqa: ARG001  # every command takes --json; this one prints nothing else
) -> None:
    """Print a memory's canonical state.

    It holds no clocks: two memories of the same conversation print the same.
    """
    from lightmem_cli.engine import Memory

    if not state:
        raise InputError("say what to export", hint="lightmem export --state")
    with Memory(open_chosen(profile, home=home), notice=notice) as memory:
        for row in memory.history.state.rows():
            render.as_json(row)
