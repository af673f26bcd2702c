"""Copies a whole conversation history while others write to it, and puts a copy in the place of another history."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from lightmem_cli.errors import ProfileBusy
from lightmem_cli.store.history.connection import BUSY_SECONDS, explained
from lightmem_cli.store.sqlite import all_or_nothing

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Copying:
    """What turns one history into another file, and another file into a history of its own."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def write_to(self, copy: Path) -> None:
        """Write all that was committed to the new file `copy`, and nothing of what was ever erased.

        Its pages are written anew: SQLite's page by page backup would take free pages with it, and old words in them.
        """
        copy.touch(mode=0o600)
        try:
            self._connection.execute("VACUUM INTO ?", (str(copy),))
        except sqlite3.Error as error:
            ours = (*_DAMAGED, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            at = self._path if _code(error) in ours else copy
            raise explained(error, at) from error

    def come_apart(self) -> None:
        """Make this copy a history of its own: nobody works on it, and no index of the one it came from is its own."""
        with all_or_nothing(self._connection):
            self._connection.execute("UPDATE jobs SET lease = NULL WHERE lease IS NOT NULL")
            self._connection.execute("DELETE FROM leases")
            self._connection.execute("DELETE FROM profile WHERE key LIKE 'llm failed %'")  # another server may do well
            self._connection.execute("UPDATE profile SET value = ? WHERE key = 'uuid'", (uuid.uuid4().hex,))


def put_in_place(copy: Path, target: Path) -> None:
    """Make the history `target` hold what `copy` does, in one transaction: whoever has it open sees either.

    A target too damaged for that is replaced as a file.

    Raises:
        ProfileBusy: another process kept `target` locked for 20 s.
    """
    if not target.exists():
        target.touch(mode=0o600)
    try:
        there = f"{copy.absolute().as_uri()}?mode=rw"  # one that is gone is no empty one
        with (
            closing(sqlite3.connect(there, uri=True)) as source,
            closing(sqlite3.connect(target, isolation_level=None)) as into,
        ):
            into.execute("PRAGMA synchronous = FULL")
            source.backup(into, progress=_patience(target), sleep=0.05)
            with suppress(sqlite3.OperationalError):  # a reader is still at the old pages: the next writer does it
                into.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        if _code(error) not in _DAMAGED:
            raise explained(error, target) from error
        for left in ("-wal", "-shm"):  # SQLite would replay another file's log into this one
            target.with_name(target.name + left).unlink(missing_ok=True)
        copy.replace(target)


def _patience(target: Path) -> Callable[[int, int, int], None]:
    """What SQLite reports each step of a copy to: it gives up after a while of not getting the lock."""
    until = time.monotonic() + BUSY_SECONDS

    def step(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise ProfileBusy(f"{target} is held by another process", hint="try again in a moment")

    return step


def _code(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
