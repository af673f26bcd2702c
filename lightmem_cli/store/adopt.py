"""Makes a history that came from elsewhere one that every command can read, or says why it is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from lightmem_cli.store.history.connection import explained
from lightmem_cli.store.migrations import migrate
from lightmem_cli.store.read_through import read_through
from lightmem_cli.store.schema import drop_extras, unlike_ours

_OF_THE_DISK = (  # what is no fault of the file
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
)


def adopt(path: Path, *, progress: Callable[[int], None]) -> str | None:
    """Bring the history at `path` up to today's tables and read each of its records; why it is none, if so.

    Its schema is compared first: nothing is ever run but what our own migrations make.

    Raises:
        StoreError: it was made by a newer lightmem, or does not fit on the disk.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            if fault := unlike_ours(connection):
                return fault
            drop_extras(connection)
            migrate(connection)
            if found := read_through(connection, most=1, progress=progress):
                return str(found[0])
            _page_as_ours(connection)
            sound = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            return None if sound == "ok" else str(sound)
    except sqlite3.Error as error:
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _OF_THE_DISK:
            raise explained(error, path) from error
        return str(error)


def _page_as_ours(connection: sqlite3.Connection) -> None:
    """Give a file of another SQLite the page size of ours: it cannot be put in the place of one that has another."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        ours = fresh.execute("PRAGMA page_size").fetchone()[0]
    if connection.execute("PRAGMA page_size").fetchone()[0] != ours:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA page_size = {ours}")
        connection.execute("VACUUM")
