"""`lightmem backup`: puts a whole memory into one file, while others read and write it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, QuietOption, examples, open_chosen
from lightmem_cli.cli.talk import interruptible, notice, progress
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine.backup import Backup
    from lightmem_cli.profiles import Profile

EXAMPLES = examples(
    "lightmem backup memory.zip",
    "lightmem backup /backups/memory-$(date +%F).zip --quiet    # from cron",
    "lightmem backup - | ssh box 'cat > memory.zip'",
    "lightmem restore memory.zip copy",
)


def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The zip file to write; - is stdout.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE where it is there already.")] = False,
    quiet: QuietOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a whole memory into one file.

    The file holds the settings and the history as they are at one moment, also while others write, and nothing of what
    was purged. The indexes are left out: `lightmem restore` makes them again. A FILE that is there already is kept.
    """
    chosen = open_chosen(profile, home=home)
    if file == "-":
        with interruptible("what went to stdout is no backup: run it again"):
            _to_stdout(chosen, as_json=as_json, quiet=quiet)
        return
    target = _target(Path(file), chosen, force=force)
    with interruptible(f"nothing was written to {file}: run it again"):
        made, size = _take(chosen, target)
    if as_json:
        held = made.manifest
        render.as_json({"file": str(target), "bytes": size, "messages": held.messages, "entries": held.entries})
    elif not quiet:
        _tell(made, size, where=str(target))


def _take(chosen: Profile, target: Path) -> tuple[Backup, int]:
    from lightmem_cli.engine.backup import back_up

    with (
        progress("backing up", unit="bytes") as report,
        back_up(chosen, beside=target.parent, progress=report) as made,
    ):
        size = made.bytes
        made.move_to(target)
    return made, size


def _to_stdout(chosen: Profile, *, as_json: bool, quiet: bool) -> None:
    import shutil
    import tempfile

    from lightmem_cli.cli import ClosedPipe
    from lightmem_cli.engine.backup import back_up

    if as_json:
        raise InputError("--json and the backup itself cannot both go to stdout", hint="name a file instead of -")
    if sys.stdout.isatty():
        raise InputError("a backup is no text for a terminal", hint="name a file: lightmem backup memory.zip")
    with (
        progress("backing up", unit="bytes") as report,
        back_up(chosen, beside=Path(tempfile.gettempdir()), progress=report) as made,
    ):
        try:
            with made.path.open("rb") as source:
                shutil.copyfileobj(source, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise ClosedPipe from error
        size = made.bytes
    if not quiet:
        _tell(made, size, where="stdout")


def _target(path: Path, chosen: Profile, *, force: bool) -> Path:
    """Where the backup goes, or why it cannot."""
    target = path.expanduser().resolve()
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}", hint=f"mkdir -p {target.parent}")
    if target.exists() and not target.is_file():
        raise InputError(f"{path} is not a file", hint="name a file, or - for stdout")
    if target.exists() and not force:
        raise InputError(f"{path} is there already", hint="name another file, or replace it with --force")
    if target.is_relative_to(chosen.folder.resolve()):
        message = f"{path} lies in the profile it is a backup of, and would be deleted with it"
        raise InputError(message, hint="name a file elsewhere")
    return target


def _tell(made: Backup, size: int, *, where: str) -> None:
    held = made.manifest
    messages, entries = render.counted(held.messages, "message"), f"{held.entries:,} entries"
    notice(f"backed up profile {held.profile} to {where}: {messages}, {entries}, {size:,} bytes")
