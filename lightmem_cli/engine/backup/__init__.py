"""Puts a whole memory of conversations into one file, and makes a profile from such a file again.

A backup holds the settings and the history. The indexes are made again from these.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from lightmem_cli.engine import NO_LOCKS, Memory
from lightmem_cli.engine.backup.archive import HISTORY, SETTINGS, Manifest, pack, unpack
from lightmem_cli.engine.backup.staging import staging
from lightmem_cli.errors import InputError, LightmemError, ProfileBusy, ProfileError, StoreError
from lightmem_cli.profiles import FILE, Profile, await_history, profile_folder, settle_restored, sources
from lightmem_cli.protocols import Progress
from lightmem_cli.store.adopt import adopt
from lightmem_cli.store.files import private_folder, storing
from lightmem_cli.store.history import History
from lightmem_cli.store.history.copying import put_in_place
from lightmem_cli.store.history.counts import Counts
from lightmem_cli.store.locks import exclusive

_MAKING, _RESTORING = ".lightmem-backup-", ".restoring-"  # a name that begins with a dot names no profile

Count = Callable[[int], None]  # takes the bytes done so far


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that lies at `path` for now, and what it says about itself."""

    path: Path
    manifest: Manifest

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    def move_to(self, target: Path) -> None:
        """Put it where it was asked for, in one step; `target` is on the same disk."""
        with storing(target):
            self.path.replace(target)


@contextmanager
def back_up(profile: Profile, *, beside: Path, progress: Count) -> Iterator[Backup]:
    """Take a backup in a folder of its own in `beside`, gone at the end, while others read and write the profile."""
    with staging(beside, prefix=_MAKING) as folder:
        with closing(History(profile.folder / HISTORY)) as history:
            history.copying.write_to(folder / HISTORY)
        with storing(folder):
            shutil.copyfile(profile.folder / FILE, folder / SETTINGS)
        with closing(History(folder / HISTORY)) as copy:
            manifest = Manifest(
                lightmem=version("lightmem-cli"),
                profile=profile.name,
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                messages=copy.counts.messages(),
                entries=sum(sum(its.values()) for its in copy.counts.entries().values()),
                files={},
            )
        yield Backup(pack(folder, manifest, progress=progress), manifest)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A backup that was unpacked and is sound: what it says about itself, and where its settings and history lie."""

    manifest: Manifest
    folder: Path

    def put(self, name: str, *, home: Path | None, notice: Progress) -> Path:
        """Make profile `name` from it, in place of what it may hold; the profile's folder.

        A new profile is there all at once. In one that exists the history is replaced in one transaction, so that
        whoever has it open goes on with the new one. Its settings wait beside it until then: should this process end
        right after, whoever opens the profile next puts them in their place. Then the indexes are made; what is
        missing of them is made by the next command.

        Raises:
            ProfileBusy: another process writes to the profile, or restores it.
        """
        folder = profile_folder(name, home=home)
        settings = sources.settle(self.folder / SETTINGS, environment=os.environ, overrides={})
        with ExitStack() as stack:
            if folder.exists():
                busy = "another process restores this profile"
                stack.enter_context(exclusive(folder / "restore.lock", wait=0, busy=busy))
                self._replace(folder)
            else:
                self._make(folder)
            self._index(Profile(name=name, folder=folder, settings=settings), notice=notice)
        return folder

    def _replace(self, folder: Path) -> None:
        """Put history and settings in the place of those of a profile."""
        held_by(folder)
        with closing(History(self.folder / HISTORY)) as history:
            await_history(folder, history.runs.uuid(), (self.folder / SETTINGS).read_text(encoding="utf-8-sig"))
        try:
            put_in_place(self.folder / HISTORY, folder / HISTORY)
        finally:
            settle_restored(folder, last=True)
        shutil.rmtree(folder / "vectors", ignore_errors=True)

    def _make(self, folder: Path) -> None:
        try:
            with storing(folder):
                self.folder.rename(folder)
        except StoreError as error:
            if folder.exists():
                raise ProfileBusy("another process has just made this profile", hint="try again") from error
            raise

    @staticmethod
    def _index(profile: Profile, *, notice: Progress) -> None:
        try:
            with Memory(profile, notice=notice) as memory:
                if not memory.history.work.locks_work:
                    notice(NO_LOCKS)
                memory.indexes.rebuild(space=memory.history.vectors.active_space())
        except LightmemError as error:  # what was to be restored is, and its indexes follow from it
            notice(f"the indexes are not made yet: {error.message} (the next command tries again)")


@contextmanager
def unpacked(
    source: Path | BinaryIO,
    *,
    named: str,
    home: Path | None,
    progress: Count,
    reading: Count = lambda rows: None,
) -> Iterator[Unpacked]:
    """Unpack the backup `source` where profiles live, and read all of it; gone at the end if not put.

    `progress` gets the bytes unpacked so far, and `reading` the rows read then.

    Raises:
        InputError: it is not a backup, or was damaged.
        ProfileError: its settings are not ones of this version.
        StoreError: it was made by a newer lightmem, or does not fit on the disk.
    """
    with staging(private_folder(profile_folder("any", home=home).parent), prefix=_RESTORING) as folder:
        path = source if isinstance(source, Path) else folder / "backup.zip"
        if not isinstance(source, Path):
            with storing(path), path.open("wb") as spooled:
                shutil.copyfileobj(source, spooled)
        inside = private_folder(folder / "profile")
        manifest = unpack(path, inside, named=named, progress=progress)
        _check_settings(inside / SETTINGS, named=named)
        _make_own(inside / HISTORY, manifest, named=named, reading=reading)
        yield Unpacked(manifest, inside)


def held_by(folder: Path) -> int | None:
    """How many messages the profile in `folder` holds: 0 also where there is none, None where it cannot be read.

    Raises:
        ProfileBusy: another process writes to it.
    """
    if not (folder / HISTORY).is_file():
        return 0
    try:
        with closing(History(folder / HISTORY)) as history:
            if owners := history.work.owners():
                message = f"{owners[0].named}, is writing to this memory"
                raise ProfileBusy(message, hint="let it finish, or end it, and try again")
            return history.counts.messages()
    except (StoreError, sqlite3.Error):
        return None


def _check_settings(path: Path, *, named: str) -> None:
    try:
        sources.check_document(sources.read_toml(path), path=path)
    except ProfileError as error:
        message = error.message.replace(str(path), f"{SETTINGS} in {named}")
        raise ProfileError(
            message, hint="was it made by a newer lightmem? pip install --upgrade lightmem-cli"
        ) from error


def _make_own(path: Path, manifest: Manifest, *, named: str, reading: Count) -> None:
    """Read the history of a backup whole, bring it up to today's tables, and make it nobody else's."""
    fault = adopt(path, progress=reading)
    if fault is None:
        with closing(History(path)) as history:
            fault = _miscounted(manifest, history.counts)
            if fault is None:
                history.copying.come_apart()
    if fault is not None:
        raise InputError(f"{named} was damaged: {fault}", hint="try another backup")


def _miscounted(manifest: Manifest, counts: Counts) -> str | None:
    if counts.messages() != manifest.messages:
        return "it does not hold as many messages as it says"
    if sum(sum(its.values()) for its in counts.entries().values()) != manifest.entries:
        return "it does not hold as many entries as it says"
    return None
