"""Lends a copied conversation a private folder for as long as a command works on it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightmem_cli.store.files import storing
from lightmem_cli.store.locks import exclusive, is_held

_LOCK = "lock"
_YOUNG_SECONDS = 60.0  # between the making of a folder and its lock there is a moment


@contextmanager
def staging(folder: Path, *, prefix: str) -> Iterator[Path]:
    """A new folder inside `folder`, gone at the end; what killed processes left of theirs goes first."""
    with storing(folder):
        for left in folder.glob(f"{prefix}*"):
            if _abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        with exclusive(path / _LOCK, wait=0, busy=f"{path} is held by another process"):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    """Whether no living process works in `path`: the system frees a dead one's lock."""
    try:
        if not (path / _LOCK).exists():
            return time.time() - path.stat().st_mtime > _YOUNG_SECONDS
    except OSError:
        return False
    return not is_held(path / _LOCK)
