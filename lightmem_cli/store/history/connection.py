"""Opens the one file that holds a conversation's truth, and turns SQLite's failures into errors a person can act on."""

from __future__ import annotations

import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightmem_cli.errors import LightmemError, ProfileBusy, StoreError
from lightmem_cli.store.migrations import migrate
from lightmem_cli.store.sqlite import all_or_nothing, closed_on_error

BUSY_SECONDS = 20.0


def connect(path: Path) -> sqlite3.Connection:
    """Open `path` (made with mode 0600 if absent) in WAL mode, current to the last migration.

    Raises:
        StoreError: the file is not a history, is damaged, newer than this program, cannot be written, or is gone.
        ProfileBusy: another process kept it locked for 20 s.
    """
    with translated(path):
        _refuse_lost(path)
        if not path.exists():
            path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        with closed_on_error(connection):
            _write_ahead(connection)
            # FULL: a journalled message survives a power cut, not only a killed process.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA cache_size = -65536")
            # SQLite's own lower() knows ASCII alone: Élodie would not be élodie.
            connection.create_function("folded", 1, _folded, deterministic=True)
            migrate(connection)
        return connection


def _refuse_lost(path: Path) -> None:
    """Refuse to begin anew where a history was: indexes are made of one, and outlive it only by an accident."""
    if path.exists() and path.stat().st_size:
        return
    left = [folder for name in ("vectors", "words") if any((folder := path.parent / name).glob("*"))]
    if left:
        raise StoreError(
            f"{path} is {'empty' if path.exists() else 'missing'}, and the indexes made of it are there",
            hint=f"lightmem restore FILE brings a backup back; to begin anew: rm -r {shlex.join(map(str, left))}",
        )


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL; of two processes that do so at once, SQLite refuses one without waiting."""
    until = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's and the system's errors about `path` as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except OSError as error:
        hint = "choose a writable place with --home or LIGHTMEM_HOME, or free some space"
        raise StoreError(f"cannot write {path}: {error.strerror or error}", hint=hint) from error


def explained(error: sqlite3.Error, path: Path) -> LightmemError:
    """What an error of SQLite means for the person whose memory `path` holds."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return ProfileBusy(f"{path} is held by another process", hint="try again in a moment")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            hint = f"put back a copy of {path.parent}, or move it away to begin anew; nothing was changed"
            return StoreError(f"{path} is damaged: {error}", hint=hint)
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return StoreError(f"cannot write {path}: {error}", hint="free some space and run the command again")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreError(
                f"cannot write {path}: {error}", hint="choose a writable place with --home or LIGHTMEM_HOME"
            )
        case _:
            return StoreError(f"{path}: {error}", hint="lightmem doctor")


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """One all-or-nothing step; nested uses join the outer one."""
    if connection.in_transaction:
        yield connection
        return
    with translated(path), all_or_nothing(connection):
        yield connection
