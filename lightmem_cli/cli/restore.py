"""`lightmem restore`: makes a profile from a backup, with all that its conversations left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, YesOption, confirm, examples
from lightmem_cli.cli.talk import interruptible, notice, progress
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine.backup.archive import Manifest

EXAMPLES = examples(
    "lightmem restore memory.zip",
    "lightmem restore memory.zip copy",
    "lightmem restore /backups/memory-2026-01-31.zip work --yes",
    "ssh box 'cat memory.zip' | lightmem restore - --yes",
)


def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `lightmem backup` wrote; - is stdin.")],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The profile to make; else --profile, else as it was named.")
    ] = None,
    yes: YesOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a profile from a backup.

    The backup is read first, every record of it, beside what is there: a damaged one changes nothing, and the table and
    row are named. A profile of that name that holds messages is replaced: that asks on a terminal, and needs --yes
    elsewhere. A process that has it open goes on with what was restored.
    """
    from lightmem_cli.engine.backup import held_by, unpacked
    from lightmem_cli.profiles import profile_folder

    named, source = _source(file)
    with ExitStack() as stack:
        stack.enter_context(interruptible("the profile is replaced whole or not at all: run it again"))
        with progress("checking", unit="bytes") as report:  # gone before anything is asked
            unpack, read = _counts(report)
            backup = stack.enter_context(unpacked(source, named=named, home=home, progress=unpack, reading=read))
        chosen = name or profile or backup.manifest.profile
        held = held_by(profile_folder(chosen, home=home))
        if held != 0 and not confirm(_question(chosen, held, backup.manifest, named), yes=yes):
            notice("kept")
            return
        folder = backup.put(chosen, home=home, notice=notice)
    manifest = backup.manifest
    if as_json:
        counts = {"messages": manifest.messages, "entries": manifest.entries, "replaced": held}
        render.as_json({"profile": chosen, "folder": str(folder), **counts})
    else:
        what = f"{render.counted(manifest.messages, 'message')}, {manifest.entries:,} entries"
        notice(f"restored profile {chosen}: {what}, as {_of(manifest)}")


def _counts(report: Callable[..., None]) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """What takes the bytes that were unpacked, and what then takes the rows that were read, for one bar."""
    unpacked = 0

    def unpack(done: int) -> None:
        nonlocal unpacked
        unpacked = done
        report(done)

    return unpack, lambda rows: report(unpacked, also=f", {rows:,} rows read")


def _source(file: str) -> tuple[str, Path | BinaryIO]:
    """What to call the backup, and where to read it."""
    if file != "-":
        path = Path(file).expanduser()
        if not path.is_file():
            raise InputError(f"there is no file {file}", hint="name what `lightmem backup FILE` wrote")
        return file, path
    if sys.stdin.isatty():
        raise InputError("no backup comes from a terminal", hint="lightmem restore memory.zip")
    return "stdin", sys.stdin.buffer


def _question(name: str, held: int | None, manifest: Manifest, named: str) -> str:
    there = "what cannot be read" if held is None else f"the {render.counted(held, 'message')}"
    return f"Replace {there} in profile {name} by the {manifest.messages:,} of {named}, as {_of(manifest)}?"


def _of(manifest: Manifest) -> str:
    return f"profile {manifest.profile} was at {manifest.made_at}"
