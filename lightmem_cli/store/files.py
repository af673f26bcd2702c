"""Writes a conversation's derived files so that a crash leaves each as it was before or as it is after."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lightmem_cli.errors import StoreError

_WHOLE = 1 << 20  # bytes: a file up to this size is checked in full (1 ms), a larger one by its samples
_SAMPLES, _SAMPLE = 64, 4096


class IndexBroken(StoreError):
    """A derived file is damaged, foreign or of another version: whoever opens it may rebuild it from history."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}", hint="lightmem reindex")


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses (a full disk, missing rights) into a StoreError that names `path`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise StoreError(f"cannot write {path}: {why}", hint=f"see `df -h` and `ls -ld` for {path.parent}") from error


def private_folder(path: Path) -> Path:
    """Make `path` and what is missing above it, each readable by its owner alone."""
    with storing(path):
        for folder in (*reversed(path.parents), path):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write `path` anew: what the block writes takes its place at once, or, where the block fails, never."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with storing(path):
        try:
            with os.fdopen(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        _sync_folder(path.parent)


def stamp_of(path: Path) -> tuple[int, ...] | None:
    """What changes whenever `path` is replaced: how a process notices, for one `stat`, what another one wrote."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_dev, found.st_ino, found.st_size


def append(path: Path, data: bytes, *, at: int) -> None:
    """Put `data` behind the first `at` bytes of `path`; what a crash once left there is overwritten."""
    with storing(path), os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def fingerprint(path: Path, *, size: int) -> int:
    """A checksum of the first `size` bytes of `path`: of all of them up to 1 MiB, else of 64 samples, ends included.

    Raises FileNotFoundError, and EOFError where the file is shorter.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < size:
            raise EOFError
        if size <= _WHOLE:
            return zlib.crc32(file.read(size))
        checksum = 0
        for n in range(_SAMPLES):
            file.seek((size - _SAMPLE) * n // (_SAMPLES - 1))
            checksum = zlib.crc32(file.read(_SAMPLE), checksum)
        return checksum


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None where there is no file. Raises IndexBroken where it is anything else."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IndexBroken(path, f"is not JSON ({error})") from error
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", hint=f"ls -ld {path}") from error
    if not isinstance(value, dict):
        raise IndexBroken(path, "is not a JSON object")
    return value


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can (Windows cannot open a folder)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
