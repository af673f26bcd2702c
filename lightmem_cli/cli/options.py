"""Holds the options that every command on a conversation's memory shares, and opens the profile they choose.

Nothing heavy is imported here: `lightmem --help` reads this module.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.profiles import Profile

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", "-p", envvar="LIGHTMEM_PROFILE", metavar="NAME", help="The memory to use; else default."),
]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="LIGHTMEM_HOME", metavar="DIR", help="Where profiles live; else the user's data."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something fails.")]
BudgetOption = Annotated[
    int | None,
    typer.Option("--budget-tokens", min=1, metavar="N", help="Stop before the language model takes more tokens."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def examples(*lines: str) -> str:
    """The end of a command's help, for Typer's `epilog`: one example per line, kept as written."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def open_chosen(
    name: str | None, *, home: Path | None, overrides: Mapping[str, Mapping[str, object]] | None = None
) -> Profile:
    """Open the profile that --profile and --home choose, saying on stderr where it was just made."""
    from lightmem_cli.profiles import open_profile

    profile = open_profile(name, home=home, overrides=overrides)
    if profile.created:
        typer.echo(f"made profile {profile.name} in {profile.folder}", err=True)
    return profile


def confirm(question: str, *, yes: bool) -> bool:
    """Ask before something is destroyed: on a terminal by a question, elsewhere `--yes` is needed."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"{question} There is no terminal to ask on", hint="add --yes to do it without asking")
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C and Ctrl-D alike: 130, not 1
        raise KeyboardInterrupt from None
