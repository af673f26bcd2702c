"""Writes into a history what no command does, as a bad disk would or a stranger: past NOT NULL, CHECK and STRICT."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_KEPT = re.compile(r" NOT NULL|(?<=\))\s*STRICT|(?<=WITHOUT ROWID),\s*STRICT")


@contextmanager
def unguarded(history: Path) -> Iterator[sqlite3.Connection]:
    """A connection to which any value of any type can be written; the schema is as it was at the end."""
    with closing(sqlite3.connect(history, isolation_level=None)) as connection:
        given = connection.execute("SELECT sql, rowid FROM sqlite_master WHERE type = 'table'").fetchall()
        _write_schema(connection, [(_KEPT.sub("", sql), row) for sql, row in given])
    with closing(sqlite3.connect(history, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA foreign_keys = OFF")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    with closing(sqlite3.connect(history, isolation_level=None)) as connection:
        _write_schema(connection, given)


def damage(history: Path, *statements: str) -> int:
    """Run `statements`; how many rows they changed."""
    with unguarded(history) as connection:
        for statement in statements:
            connection.execute(statement)
        changed = connection.total_changes
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed


def _write_schema(connection: sqlite3.Connection, rows: list[tuple[str, int]]) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("BEGIN")
    connection.executemany("UPDATE sqlite_master SET sql = ? WHERE rowid = ?", rows)
    [(version,)] = connection.execute("PRAGMA schema_version").fetchall()
    connection.execute(f"PRAGMA schema_version = {version + 1}")
    connection.execute("COMMIT")
