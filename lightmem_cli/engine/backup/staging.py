"""Lends a copied conversation a private folder for as long as a command works on it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightmem_cli.store.files import storing
from lightmem_cli.store.locks import exclusive, is_free, is_held

_LOCK = "lock"
_NEW = ".new"  # how the name of a folder begins that is not locked yet
_YOUNG_SECONDS = 60.0  # that this takes at most


@contextmanager
def staging(folder: Path, *, prefix: str) -> Iterator[Path]:
    """A new folder inside `folder`, gone at the end; what killed processes left of theirs goes first."""
    with storing(folder):
        _sweep(folder, prefix=prefix)
        new = Path(tempfile.mkdtemp(prefix=f"{_NEW}{prefix}", dir=folder))
    path = new.with_name(new.name.removeprefix(_NEW))
    try:
        with exclusive(new / _LOCK, wait=0, busy=f"{new} is held by another process"):
            with storing(path):
                new.rename(path)
            yield path
    finally:
        for left in (new, path):
            shutil.rmtree(left, ignore_errors=True)


def _sweep(folder: Path, *, prefix: str) -> None:
    """Remove the folders of processes that are gone: the system has freed their locks."""
    for left in (*folder.glob(f"{prefix}*"), *folder.glob(f"{_NEW}{prefix}*")):
        with suppress(OSError):
            is_made = not left.name.startswith(_NEW) and (left / _LOCK).exists()
            is_old = time.time() - left.stat().st_mtime > _YOUNG_SECONDS
            if is_free(left / _LOCK) if is_made else (is_old and not is_held(left / _LOCK)):
                shutil.rmtree(left, ignore_errors=True)
