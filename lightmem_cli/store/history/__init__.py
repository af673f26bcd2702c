"""Keeps the one truth about a conversation: every message, entry, vector and change, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightmem_cli.errors import LightmemError, ProfileBusy
from lightmem_cli.store.history.buffer import Buffer
from lightmem_cli.store.history.calls import Calls
from lightmem_cli.store.history.checks import Checks
from lightmem_cli.store.history.compressed import CompressedTexts
from lightmem_cli.store.history.connection import BUSY_SECONDS, connect, explained, transaction
from lightmem_cli.store.history.copying import Copying
from lightmem_cli.store.history.counts import Counts
from lightmem_cli.store.history.entries import Entries
from lightmem_cli.store.history.facts import Facts
from lightmem_cli.store.history.mends import Mends
from lightmem_cli.store.history.messages import Messages
from lightmem_cli.store.history.purge import Purge
from lightmem_cli.store.history.reading import Reading
from lightmem_cli.store.history.revisions import Revisions
from lightmem_cli.store.history.runs import Runs
from lightmem_cli.store.history.segments import Segments
from lightmem_cli.store.history.selection import Selector
from lightmem_cli.store.history.state import CanonicalState
from lightmem_cli.store.history.vectors import VectorShelf
from lightmem_cli.store.history.windows import Windows
from lightmem_cli.store.history.work import Work

__all__ = ["History"]


class History:
    """An open history. Each attribute is one group of tables; `transaction()` joins their steps into one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection = connect(path)
        self.runs = Runs(self.connection)
        self.messages = Messages(self.connection)
        self.entries = Entries(self.connection, self.runs)
        self.revisions = Revisions(self.connection, self.entries, self.runs)
        self.vectors = VectorShelf(self.connection, self.runs)
        self.work = Work(self.connection, leases=path.parent / "leases")
        self.facts = Facts(self.connection)
        self.windows = Windows(self.connection)
        self.segments = Segments(self.connection)
        self.compressed = CompressedTexts(self.connection)
        self.buffer = Buffer(self.connection)
        self.calls = Calls(self.connection)
        self.purge = Purge(self.connection, path, revisions=self.revisions, vectors=self.vectors, runs=self.runs)
        self.selector = Selector(self.connection)
        self.reading = Reading(self.connection, self.entries, self.selector)
        self.copying = Copying(self.connection, path)
        self.checks = Checks(self.connection, path)
        self.mends = Mends(self.connection, self.runs)
        self.counts = Counts(self.connection)
        self.state = CanonicalState(self.connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that happens inside is kept, or none of it.

        Raises:
            ProfileBusy: another process kept it locked for 20 s; who is at work is named.
        """
        try:
            with transaction(self.connection, self.path):
                yield
        except ProfileBusy as busy:
            if isinstance(busy.__cause__, sqlite3.Error) and (owners := self.work.owners()):
                busy.message += f": {owners[0].named}"
            raise

    @contextmanager
    def impatient(self, *, seconds: float = 0) -> Iterator[None]:
        """Inside, a writer elsewhere is ProfileBusy at once, or after so many seconds, instead of after a long wait."""
        self.connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        try:
            yield
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def explained(self, error: sqlite3.Error) -> LightmemError:
        """What an error that SQLite raised outside a transaction means."""
        return explained(error, self.path)

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file and its references; [] when all is well."""
        found = [str(row[0]) for row in self.connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        orphans = self.connection.execute("PRAGMA foreign_key_check").fetchmany(20)
        return found + [f"{table} row {row} points to a missing {parent}" for table, row, parent, _ in orphans]

    def close(self) -> None:
        self.work.close()
        self.connection.close()
