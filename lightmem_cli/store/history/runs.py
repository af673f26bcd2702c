"""Records each command that wrote to the memory, what it revised, and the order in which things changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, TypeAlias

from lightmem_cli.store.history.columns import now

What: TypeAlias = Literal["entry", "vector"]


class Runs:
    """The tables runs, revisions and changes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self, command: str) -> int:
        """Open a run and return its number."""
        row = self._connection.execute("INSERT INTO runs (command, started_at) VALUES (?, ?)", (command, now()))
        return int(row.lastrowid or 0)

    def end(self, run: int, outcome: str) -> None:
        self._connection.execute("UPDATE runs SET ended_at = ?, outcome = ? WHERE id = ?", (now(), outcome, run))

    def changed(self, what: What, items: Iterable[int]) -> None:
        """Append to `changes`: indexes catch up from there."""
        self._connection.executemany("INSERT INTO changes (what, item) VALUES (?, ?)", ((what, i) for i in items))

    def revised(self, entry: int, run: int, *, before: str, after: str, reason: str) -> None:
        """Keep what an entry was before a change, as JSON texts of its columns."""
        self._connection.execute(
            "INSERT INTO revisions (entry, run, before, after, reason, recorded_at) VALUES (?, ?, ?, ?, ?, ?)",
            (entry, run, before, after, reason, now()),
        )

    def uuid(self) -> str:
        """The name this history was born with: what is derived from another one is not this one's."""
        return str(self._connection.execute("SELECT value FROM profile WHERE key = 'uuid'").fetchone()[0])

    def position(self) -> int:
        """The last place in `changes`; 0 when nothing has changed yet."""
        row = self._connection.execute("SELECT coalesce(max(position), 0) FROM changes").fetchone()
        return int(row[0])

    def changes_after(self, position: int, what: What, *, limit: int) -> tuple[list[int], int]:
        """The distinct items that changed in the next `limit` changes after `position`, and the position reached."""
        row = self._connection.execute(
            "SELECT max(position) FROM (SELECT position FROM changes WHERE position > ? ORDER BY position LIMIT ?)",
            (position, limit),
        ).fetchone()
        if row[0] is None:
            return [], position
        rows = self._connection.execute(
            "SELECT DISTINCT item FROM changes WHERE position > ? AND position <= ? AND what = ?",
            (position, row[0], what),
        )
        return [item for (item,) in rows], int(row[0])
