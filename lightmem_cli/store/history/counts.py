"""Counts what a memory holds: messages, entries by kind and state, over time."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from lightmem_cli.records import Usage


class Day(NamedTuple):
    """One calendar day (or "undated") and what was said on it."""

    day: str
    messages: int
    entries: int


class Asked(NamedTuple):
    """What asking a language model cost, and how many seconds its calls took, each counted for itself."""

    usage: Usage
    seconds: float


class Counts:
    """Reads totals; writes nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def messages(self) -> int:
        return self._one("SELECT count(*) FROM messages")

    def segments(self) -> int:
        return self._one("SELECT count(*) FROM segments")

    def compressed(self) -> tuple[int, float]:
        """How many messages have a shortened text, and the share that was kept of them all, the longest weighing most.

        1.0 where there is none.
        """
        count, kept = self._connection.execute(
            "SELECT count(*), sum(c.kept * length(m.content)) / sum(length(m.content))"
            " FROM compressed c JOIN messages m ON m.id = c.message"
        ).fetchone()
        return int(count), 1.0 if kept is None else float(kept)

    def conflicts(self) -> int:
        return self._one("SELECT count(*) FROM links WHERE kind = 'conflicts'")

    def vectors(self) -> int:
        return self._one("SELECT count(*) FROM vectors")

    def entries(self) -> dict[str, dict[str, int]]:
        """{kind: {state: count}}"""
        counted: dict[str, dict[str, int]] = {}
        for kind, state, count in self._connection.execute(
            "SELECT kind, state, count(*) FROM entries GROUP BY kind, state ORDER BY kind, state"
        ):
            counted.setdefault(kind, {})[state] = count
        return counted

    def days(self) -> list[Day]:
        """What was said on each day that has a message, in order; undated messages last."""
        rows = self._connection.execute(
            "SELECT coalesce(substr(m.said_at, 1, 10), 'undated') AS day, count(DISTINCT m.id), count(s.entry)"
            " FROM messages m LEFT JOIN sources s ON s.message = m.id GROUP BY day ORDER BY day = 'undated', day"
        )
        return [Day(*row) for row in rows]

    def conversations(self) -> int:
        return self._one("SELECT count(DISTINCT conversation) FROM messages")

    def sessions(self) -> int:
        return self._one("SELECT count(*) FROM (SELECT DISTINCT conversation, session FROM messages)")

    def pinned(self) -> int:
        return self._one("SELECT count(*) FROM entries WHERE pinned = 1 AND state <> 'deleted'")

    def forgotten(self) -> int:
        """The messages whose turn is hidden, and those that were erased."""
        return self._one(
            "SELECT count(*) FROM messages m LEFT JOIN entries e ON e.id = m.turn"
            " WHERE e.state = 'deleted' OR m.purged IS NOT NULL"
        )

    def voices(self, *, limit: int) -> list[tuple[str, int]]:
        """(speaker, or role where there is no name; messages) of those who say most."""
        return self._connection.execute(
            "SELECT coalesce(speaker, role) AS voice, count(*) FROM messages GROUP BY voice ORDER BY 2 DESC, 1 LIMIT ?",
            (limit,),
        ).fetchall()

    def model_calls(self) -> dict[str, Asked]:
        """{purpose: what it cost}"""
        rows = self._connection.execute(
            "SELECT purpose, count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), sum(seconds)"
            " FROM model_calls GROUP BY purpose ORDER BY purpose"
        )
        return {
            purpose: Asked(
                Usage(calls=calls, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached), seconds
            )
            for purpose, calls, prompt, completion, cached, seconds in rows
        }

    def _one(self, sql: str) -> int:
        return int(self._connection.execute(sql).fetchone()[0])
