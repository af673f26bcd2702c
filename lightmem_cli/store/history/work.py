"""Hands out a conversation's pending work under leases, so that two processes never do one thing twice.

A lease is a row, and a lock on a file that its owner holds (store/locks.py). The lock alone says whether the owner is
there; the row says, for people, who it is.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from lightmem_cli.store.locks import Leases

Stage: TypeAlias = Literal["extract", "embed", "segment", "close"]

_OFTEN_ENOUGH = 3


class Quarantined(NamedTuple):
    """One piece of work that failed: its stage, history's integer of its message or entry, and why."""

    stage: str
    item: int
    attempts: int
    reason: str


class Owner(NamedTuple):
    """A process at work on this memory, as it named itself; `since` is in epoch seconds, `items` are those it holds."""

    pid: int
    host: str
    since: float
    items: int

    @property
    def named(self) -> str:
        """For a person: "process 4711 on box, at work since 2024-05-08 10:32:05"."""
        try:
            since = f"{datetime.fromtimestamp(self.since).astimezone():%Y-%m-%d %H:%M:%S}"
        except (ValueError, TypeError, OverflowError, OSError):  # a damaged row: no such time
            since = "nobody knows when"
        return f"process {self.pid} on {self.host}, at work since {since}"

    @property
    def holds(self) -> str:
        """For a person: who it is, and how much it holds."""
        return f"{self.named}, holds {self.items:,} {'item' if self.items == 1 else 'items'}"

    @property
    def waiting(self) -> str:
        """What waits for it, in words for a person: nobody else takes it as long as its owner is there."""
        items = "1 item waits" if self.items == 1 else f"{self.items:,} items wait"
        return f"{items} for {self.named}; if it is stopped, continue it or end it"


class Work:
    """The tables jobs and leases. A job is pending while it has a row; done work leaves none."""

    def __init__(self, connection: sqlite3.Connection, *, leases: Path) -> None:
        """`leases` is the folder of the files whose locks owners hold."""
        self._connection = connection
        self._leases = Leases(leases)

    def add(self, stage: Stage, items: Iterable[int], *, space: int = 0) -> None:
        """Ask for `stage` to be done on `items` (messages to extract from, entries to embed in `space`).

        Whoever works on one of them already loses its claim: what it read may have changed since. For the same reason
        it belongs to no batch any more.
        """
        self._connection.executemany(
            "INSERT INTO jobs (stage, space, item) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET lease = NULL, reason = NULL, batch = NULL, attempts = 0",
            ((stage, space, item) for item in items),
        )

    def claim(self, stage: Stage, *, limit: int, space: int = 0) -> list[int]:
        """Take up to `limit` items nobody else holds, oldest first. Call inside a transaction."""
        lease = self._take_lease()
        rows = self._connection.execute(
            "SELECT id, item FROM jobs WHERE stage = ? AND space = ? AND lease IS NULL AND reason IS NULL"
            " ORDER BY id LIMIT ?",
            (stage, space, limit),
        ).fetchall()
        self._connection.executemany("UPDATE jobs SET lease = ? WHERE id = ?", ((lease, id) for id, _ in rows))
        return [item for _, item in rows]

    def batch(self, messages: Iterable[int]) -> int:
        """Let `messages` be extracted from together, by one call of a language model; the number of their batch.

        Whoever held one of them holds it no more. Call inside a transaction.
        """
        [(last,)] = self._connection.execute("SELECT coalesce(max(batch), 0) FROM jobs WHERE batch IS NOT NULL")
        self._connection.executemany(
            "UPDATE jobs SET batch = ?, lease = NULL WHERE stage = 'extract' AND space = 0 AND item = ?",
            ((last + 1, message) for message in messages),
        )
        return int(last) + 1

    def batches(self) -> list[tuple[int, list[int]]]:
        """The batches that wait, and that nobody holds: their numbers and messages, in the order they were made."""
        rows = self._connection.execute(
            "SELECT batch, item FROM jobs WHERE batch IS NOT NULL AND lease IS NULL AND reason IS NULL"
            " ORDER BY batch, item"
        )
        return [(batch, [item for _, item in its]) for batch, its in groupby(rows, key=lambda row: int(row[0]))]

    def claim_batch(self, *, first: Iterable[int] = (), smallest: bool = False) -> tuple[int, list[int], int] | None:
        """Take a whole batch that nobody else holds: its number, its messages, and how often it failed in earlier runs.

        Those numbered in `first` go before all others, and those that failed come last; of what is left, the oldest is
        taken, or the one of the fewest messages where the `smallest` is wanted. Call inside a transaction.
        """
        lease = self._take_lease()
        row = self._connection.execute(
            "SELECT batch, attempts FROM jobs j WHERE batch IS NOT NULL AND lease IS NULL AND reason IS NULL"
            " ORDER BY batch IN (SELECT value FROM json_each(?)) DESC, attempts,"
            " CASE WHEN ? THEN (SELECT count(*) FROM jobs WHERE batch = j.batch) END, batch LIMIT 1",
            (json.dumps(list(first)), smallest),
        ).fetchone()
        if row is None:
            return None
        self._connection.execute(
            "UPDATE jobs SET lease = ? WHERE batch = ? AND lease IS NULL AND reason IS NULL", (lease, row[0])
        )
        return int(row[0]), self.held_of(row[0]), int(row[1])

    def held_of(self, batch: int) -> list[int]:
        """The messages of a claimed batch that are still ours. Call it as `held`."""
        rows = self._connection.execute(
            "SELECT item FROM jobs WHERE batch = ? AND lease = ? ORDER BY item", (batch, self._leases.mine)
        )
        return [item for (item,) in rows]

    def give_back(self, batch: int) -> None:
        """Let whoever comes next take a batch that was claimed and not done."""
        ours = (batch, self._leases.mine)
        self._connection.execute("UPDATE jobs SET lease = NULL WHERE batch = ? AND lease = ?", ours)

    def held(self, stage: Stage, items: Iterable[int], *, space: int = 0) -> list[int]:
        """Those of the claimed `items` that are still ours. Call in the transaction that writes what came of them."""
        rows = self._connection.execute(
            "SELECT item FROM jobs WHERE stage = ? AND space = ? AND lease = ?", (stage, space, self._leases.mine)
        )
        ours = {item for (item,) in rows}
        return [item for item in items if item in ours]

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

    def reopen(self, *, often: bool = False) -> None:
        """Begin a run: sign up as its owner, free what dead ones held, and let quarantined work be tried again.

        A run of those that come `often` leaves alone what a language model failed on three times: to try costs money.
        """
        self.free()
        self._take_lease()
        self._connection.execute(
            "UPDATE jobs SET reason = NULL WHERE reason IS NOT NULL"
            " AND NOT (? AND batch IS NOT NULL AND attempts >= ?)",
            (often, _OFTEN_ENOUGH),
        )

    def release(self) -> None:
        """End a run: give back what was claimed and not done."""
        lease = self._leases.mine
        if lease is not None:
            self._connection.execute("UPDATE jobs SET lease = NULL WHERE lease = ?", (lease,))
            self._connection.execute("DELETE FROM leases WHERE id = ?", (lease,))
            self._leases.drop(lease)

    def pending(self) -> dict[str, int]:
        """How many items wait, by stage: not what is quarantined, nor what a reindex goes through beside."""
        rows = self._connection.execute(
            "SELECT stage, count(*) FROM jobs WHERE reason IS NULL AND space = 0 GROUP BY stage"
        )
        return {stage: count for stage, count in rows}

    def waits(self, stage: Stage, *, space: int) -> bool:
        """Whether any item waits for `stage` in `space`, or is held by another process."""
        query = "SELECT 1 FROM jobs WHERE stage = ? AND space = ? AND reason IS NULL LIMIT 1"
        return self._connection.execute(query, (stage, space)).fetchone() is not None

    def quarantined(self) -> list[Quarantined]:
        rows = self._connection.execute(
            "SELECT stage, item, attempts, reason FROM jobs WHERE reason IS NOT NULL ORDER BY id"
        )
        return [Quarantined(*row) for row in rows]

    def owners(self) -> list[Owner]:
        """The other processes at work on this memory, or other openings of it in this one; who began first, first."""
        rows = self._connection.execute(
            "SELECT l.id, l.pid, l.host, l.started, (SELECT count(*) FROM jobs WHERE lease = l.id AND space = 0)"
            " FROM leases l ORDER BY l.started, l.id"
        ).fetchall()
        return [Owner(*owner) for lease, *owner in rows if lease != self._leases.mine and self._leases.held(lease)]

    def holders(self) -> list[Owner]:
        """Those of them that hold work which waits here until they have done it, or are gone."""
        return [owner for owner in self.owners() if owner.items]

    @property
    def locks_work(self) -> bool:
        """Whether the file system has locks. Without, every owner looks gone: two may do, and pay for, one thing."""
        return self._leases.locks_work

    def free(self) -> None:
        """Let whoever comes next take what processes held that are gone. Call inside a transaction."""
        for lease in self._dead_leases():
            self._connection.execute("UPDATE jobs SET lease = NULL WHERE lease = ?", (lease,))
            self._connection.execute("DELETE FROM leases WHERE id = ?", (lease,))
            self._leases.drop(lease)
        self._leases.sweep([lease for (lease,) in self._connection.execute("SELECT id FROM leases")])

    def dead(self) -> int:
        """How many processes died at work; what they held is free, and the next one that claims work takes it."""
        return len(self._dead_leases())

    def close(self) -> None:
        """Let go of the lease, if it was not released: what it holds is free, as if this process had died."""
        self._leases.close()

    def _dead_leases(self) -> list[int]:
        rows = self._connection.execute("SELECT id FROM leases").fetchall()
        return [lease for (lease,) in rows if not self._leases.held(lease)]

    def _take_lease(self) -> int:
        """This process's lease, by the number of its row. Call inside a transaction."""
        lease = self._leases.mine
        if lease is None:
            self.free()
            lease = self._leases.take()
        self._connection.execute(  # where a transaction was rolled back, so was the row
            "INSERT INTO leases (id, pid, started, host) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (lease, os.getpid(), time.time(), socket.gethostname()),
        )
        return lease
