"""Puts a whole memory of conversations into one file, and makes a profile from such a file again.

A backup holds the settings and the history. The indexes are made again from these.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from lightmem_cli.engine import Memory
from lightmem_cli.engine.backup.archive import HISTORY, SETTINGS, Manifest, pack, unpack
from lightmem_cli.engine.backup.staging import staging
from lightmem_cli.errors import InputError, ProfileBusy, ProfileError, StoreError
from lightmem_cli.profiles import FILE, Profile, open_profile, profile_folder, sources, write_file
from lightmem_cli.protocols import Progress
from lightmem_cli.store.files import private_folder, storing
from lightmem_cli.store.history import History
from lightmem_cli.store.history.copying import fault_of, put_in_place

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
        whoever has it open goes on with the new one; then its settings are; then the indexes are made.

        Raises:
            ProfileBusy: another process writes to the profile.
        """
        folder = profile_folder(name, home=home)
        if folder.exists():
            held_by(folder)
            put_in_place(self.folder / HISTORY, folder / HISTORY)
            settings = (self.folder / SETTINGS).read_text(encoding="utf-8-sig")
            with suppress(FileNotFoundError):
                if (folder / FILE).read_text(encoding="utf-8-sig") == settings:
                    settings = ""
            if settings:
                write_file(folder / FILE, settings)
            shutil.rmtree(folder / "vectors", ignore_errors=True)
        else:
            with storing(folder):
                self.folder.rename(folder)
        with Memory(open_profile(name, home=home), notice=notice) as memory:
            memory.indexes.rebuild(space=memory.history.vectors.active_space())
        return folder


@contextmanager
def unpacked(source: Path | BinaryIO, *, named: str, home: Path | None, progress: Count) -> Iterator[Unpacked]:
    """Unpack the backup `source` where profiles live, and check it in all its parts; gone at the end if not put.

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
        _make_own(inside / HISTORY, manifest, named=named)
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
    except StoreError:
        return None


def _check_settings(path: Path, *, named: str) -> None:
    try:
        sources.check_document(sources.read_toml(path), path=path)
    except ProfileError as error:
        message = error.message.replace(str(path), f"{SETTINGS} in {named}")
        raise ProfileError(
            message, hint="was it made by a newer lightmem? pip install --upgrade lightmem-cli"
        ) from error


def _make_own(path: Path, manifest: Manifest, *, named: str) -> None:
    """Check the history of a backup, and bring it up to today's tables."""
    fault = fault_of(path)
    if fault is None:
        with closing(History(path)) as history:
            fault = history.copying.lacks()
            if fault is None and history.counts.messages() != manifest.messages:
                fault = "it does not hold as many messages as it says"
            if fault is None:
                history.copying.come_apart()
    if fault is not None:
        raise InputError(f"{named} was damaged: {fault}", hint="try another backup")
