"""Makes each change to a conversation's SQLite files all or nothing, and leaves none open that could not be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def all_or_nothing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that holds the write lock from its start; rolled back however its block is left early."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close `connection` where the block, which makes it ready, fails."""
    with ExitStack() as undo:
        undo.callback(connection.close)
        yield
        undo.pop_all()
