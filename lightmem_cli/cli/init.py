"""`lightmem init`: makes a new profile, a memory with settings of its own, for conversations to come."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples

EXAMPLES = examples(
    "lightmem init work",
    "lightmem init travel --from embedded",
    "lightmem init copy --from ~/old/profile.toml",
)


def init(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The new profile; else --profile.")] = None,
    template: Annotated[
        str, typer.Option("--from", metavar="TEMPLATE", help="An example profile's name, or a profile.toml's path.")
    ] = "embedded",
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new profile. It is a folder with settings, and later with all it remembers."""
    from lightmem_cli.profiles import DEFAULT, init_profile

    made = init_profile(name or profile or DEFAULT, template=template, home=home)
    typer.echo(f"made profile {made.name} from {template}", err=True)
    typer.echo(json.dumps({"profile": made.name, "folder": str(made.folder)}) if as_json else made.folder)
