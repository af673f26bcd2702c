"""Packs a conversation's settings and history into one zip file, and unpacks such a file without trusting it."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from lightmem_cli.errors import InputError, StoreError
from lightmem_cli.store.files import new_file

FORMAT = 1
SETTINGS, HISTORY, MANIFEST = "profile.toml", "history.db", "manifest.json"

_BLOCK = 1 << 20
_LARGEST_TEXT = 1 << 20  # bytes of a manifest, or of settings
# What zipfile raises; a damaged offset has it seek to where no file goes.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    ValueError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Packed:
    """One file of a backup: its bytes, and their SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says about itself: of which profile, when and by which version it was made, and what it holds."""

    lightmem: str
    profile: str
    made_at: str
    messages: int
    entries: int
    files: dict[str, Packed]
    format: int = FORMAT


def pack(folder: Path, manifest: Manifest, *, progress: Callable[[int], None]) -> Path:
    """Zip the settings and the history in `folder`, with `manifest` (its `files` are filled in here)."""
    path = folder / "backup.zip"
    files: dict[str, Packed] = {}
    done = 0
    with new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (SETTINGS, HISTORY):
            digest, size = hashlib.sha256(), 0
            with (folder / name).open("rb") as source, archive.open(name, "w", force_zip64=True) as out:
                for block in _blocks(source):
                    digest.update(block)
                    out.write(block)
                    size += len(block)
                    progress(done + size)
            files[name], done = Packed(size, digest.hexdigest()), done + size
        archive.writestr(MANIFEST, json.dumps(asdict(manifest) | {"files": _plain(files)}, indent=1))
    return path


def unpack(path: Path, folder: Path, *, named: str, progress: Callable[[int], None]) -> Manifest:
    """Write the settings and the history of the backup at `path` into `folder`; `named`: what a person calls it.

    Raises:
        InputError: it is not a backup, or was damaged.
        StoreError: it was made by a newer lightmem, or does not fit on the disk.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            manifest = _manifest(_member(archive, MANIFEST, named=named), named=named)
            needed = sum(packed.bytes for packed in manifest.files.values())
            if needed > shutil.disk_usage(folder).free:
                raise StoreError(f"{named} needs {needed:,} bytes, more than are free", hint=f"df -h {folder}")
            done = 0
            for name, packed in manifest.files.items():
                found = _digest_of(_copied(archive, name, folder / name, packed, named=named), progress, done=done)
                if found != packed.sha256:
                    raise _damaged(named, f"{name} is not what was packed")
                done += packed.bytes
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a full disk is not the archive's fault
            raise
        if _begins_as_one(path):
            raise _damaged(named, str(error)) from error
        raise InputError(
            f"{named} is not a backup of lightmem: {error}", hint="lightmem backup FILE makes one"
        ) from error
    return manifest


def _begins_as_one(path: Path) -> bool:
    """Whether a file that is no sound archive begins as every backup does, with the settings."""
    with path.open("rb") as file:
        head = file.read(30 + len(SETTINGS))  # of a zip file's first 30 bytes, the rest says how that is packed
    return head.startswith(b"PK\x03\x04") and head[30:] == SETTINGS.encode()


def _manifest(data: bytes, *, named: str) -> Manifest:
    hint = "lightmem backup FILE makes one"
    try:
        found = json.loads(data)
        if found["format"] > FORMAT:
            message = f"{named} was made by a newer lightmem (its format is {found['format']})"
            raise StoreError(message, hint="pip install --upgrade lightmem-cli")
        if found["format"] < FORMAT:
            raise ValueError
        files = {
            name: Packed(int(found["files"][name]["bytes"]), str(found["files"][name]["sha256"]))
            for name in (SETTINGS, HISTORY)
        }
        manifest = Manifest(
            lightmem=str(found["lightmem"]),
            profile=str(found["profile"]),
            made_at=str(found["made_at"]),
            messages=int(found["messages"]),
            entries=int(found["entries"]),
            files=files,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{named} is not a backup of lightmem: its manifest is not one", hint=hint) from error
    if files[SETTINGS].bytes > _LARGEST_TEXT:
        raise _damaged(named, f"{SETTINGS} is too large")
    return manifest


def _member(archive: zipfile.ZipFile, name: str, *, named: str) -> bytes:
    """A small member's bytes."""
    with _opened(archive, name, named=named) as file:
        data = file.read(_LARGEST_TEXT + 1)
    if len(data) > _LARGEST_TEXT:
        raise _damaged(named, f"{name} is too large")
    return data


def _copied(archive: zipfile.ZipFile, name: str, target: Path, packed: Packed, *, named: str) -> Iterator[bytes]:
    """Copy a member to `target`, block by block, and no more of it than the manifest speaks of."""
    size = 0
    with _opened(archive, name, named=named) as source, new_file(target) as out:
        for block in _blocks(source):
            size += len(block)
            if size > packed.bytes:
                raise _damaged(named, f"{name} is larger than its manifest says")
            out.write(block)
            yield block


def _digest_of(blocks: Iterator[bytes], progress: Callable[[int], None], *, done: int) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        done += len(block)
        progress(done)
    return digest.hexdigest()


def _opened(archive: zipfile.ZipFile, name: str, *, named: str) -> IO[bytes]:
    """One of the three members that are known; what else an archive holds is never looked at."""
    try:
        found = archive.getinfo(name)
    except KeyError as error:
        message = f"{named} is not a backup of lightmem: there is no {name} in it"
        raise InputError(message, hint="lightmem backup FILE makes one") from error
    if archive.namelist().count(name) > 1:
        raise _damaged(named, f"{name} is in it more than once")
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _damaged(named, f"{name} is packed in an unknown way")
    return archive.open(found)


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _plain(files: dict[str, Packed]) -> dict[str, object]:
    return {name: asdict(packed) for name, packed in files.items()}


def _damaged(named: str, why: str) -> InputError:
    return InputError(f"{named} was damaged: {why}", hint="try another backup")
