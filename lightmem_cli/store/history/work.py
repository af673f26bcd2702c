"""Hands out a conversation's pending work under leases, so that two processes never do one thing twice."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

Stage: TypeAlias = Literal["extract", "embed"]


class Quarantined(NamedTuple):
    """One piece of work that failed: its stage, history's integer of its message or entry, and why."""

    stage: str
    item: int
    attempts: int
    reason: str


class Work:
    """The tables jobs and leases. A job is pending while it has a row; done work leaves none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lease: int | None = None

    def add(self, stage: Stage, items: Iterable[int], *, space: int = 0) -> None:
        """Ask for `stage` to be done on `items` (messages to extract from, entries to embed in `space`)."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO jobs (stage, space, item) VALUES (?, ?, ?)", ((stage, space, item) for item in items)
        )

    def claim(self, stage: Stage, *, limit: int, space: int = 0) -> list[int]:
        """Take up to `limit` items nobody else holds, oldest first. Call inside a transaction."""
        if self._lease is None:
            self._lease = self._new_lease()
        rows = self._connection.execute(
            "SELECT id, item FROM jobs WHERE stage = ? AND space = ? AND lease IS NULL AND reason IS NULL"
            " ORDER BY id LIMIT ?",
            (stage, space, limit),
        ).fetchall()
        self._connection.executemany("UPDATE jobs SET lease = ? WHERE id = ?", ((self._lease, id) for id, _ in rows))
        return [item for _, item in rows]

    def done(self, stage: Stage, items: Iterable[int], *, space: int = 0) -> None:
        self._connection.executemany(
            "DELETE FROM jobs WHERE stage = ? AND space = ? AND item = ?", ((stage, space, item) for item in items)
        )

    def quarantine(self, stage: Stage, item: int, reason: str, *, space: int = 0) -> None:
        """Set one item aside with its reason; the next run tries it again."""
        self._connection.execute(
            "UPDATE jobs SET lease = NULL, reason = ?, attempts = attempts + 1"
            " WHERE stage = ? AND space = ? AND item = ?",
            (reason, stage, space, item),
        )

    def reopen(self) -> None:
        """Begin a run: free what dead owners held, and let quarantined work be tried again."""
        for lease, pid, started, host in self._connection.execute("SELECT * FROM leases").fetchall():
            if lease != self._lease and not _alive(pid, started, host):
                self._connection.execute("UPDATE jobs SET lease = NULL WHERE lease = ?", (lease,))
                self._connection.execute("DELETE FROM leases WHERE id = ?", (lease,))
        self._connection.execute("UPDATE jobs SET reason = NULL WHERE reason IS NOT NULL")

    def release(self) -> None:
        """End a run: give back what was claimed and not done."""
        if self._lease is not None:
            self._connection.execute("UPDATE jobs SET lease = NULL WHERE lease = ?", (self._lease,))
            self._connection.execute("DELETE FROM leases WHERE id = ?", (self._lease,))
            self._lease = None

    def pending(self) -> dict[str, int]:
        """How many items wait, by stage (quarantined ones apart)."""
        rows = self._connection.execute("SELECT stage, count(*) FROM jobs WHERE reason IS NULL GROUP BY stage")
        return {stage: count for stage, count in rows}

    def quarantined(self) -> list[Quarantined]:
        rows = self._connection.execute(
            "SELECT stage, item, attempts, reason FROM jobs WHERE reason IS NOT NULL ORDER BY id"
        )
        return [Quarantined(*row) for row in rows]

    def _new_lease(self) -> int:
        import psutil  # 30 ms, and only a writer needs it

        owner = (os.getpid(), psutil.Process().create_time(), socket.gethostname())
        row = self._connection.execute("INSERT INTO leases (pid, started, host) VALUES (?, ?, ?)", owner)
        return int(row.lastrowid or 0)


def _alive(pid: int, started: float, host: str) -> bool:
    """Whether the process that took a lease still runs; of another host we cannot know, so yes."""
    import psutil

    if host != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) < 1.0)
    except psutil.Error:
        return False
