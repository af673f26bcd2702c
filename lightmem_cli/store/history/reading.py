"""Reads what retrieval needs of a conversation, in batches: a query asks a handful of times, not once an entry."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lightmem_cli.records import Entry, Filter
from lightmem_cli.store.history.entries import Entries
from lightmem_cli.store.history.selection import Selector

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, Vectors


class Place(NamedTuple):
    """Where a message stands: its integer, its turn entry's, a number per (conversation, session), and its position."""

    message: int
    turn: int
    session: int
    position: int
    speaker: str


class Embedded(NamedTuple):
    """Unit vectors, float32, shape (n, dimension), and the entry each belongs to, int64, shape (n,)."""

    owners: Ids
    vectors: Vectors


class Reading:
    """Batched reads by history's integers; ids may repeat or be unknown."""

    def __init__(self, connection: sqlite3.Connection, entries: Entries, selector: Selector) -> None:
        self._connection = connection
        self._entries = entries
        self._selector = selector
        self._sessions: dict[tuple[str, str], int] = {}

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        """The entries themselves; unknown ids are left out."""
        return self._entries.get(ids)

    def users(self, vectors: Sequence[int], *, space: int) -> list[tuple[int, int]]:
        """(vector, entry) for every entry that one of the `vectors` stands for."""
        return self._connection.execute(
            "SELECT DISTINCT vector, entry FROM views WHERE vector IN (SELECT value FROM json_each(?)) AND space = ?",
            (_listed(vectors), space),
        ).fetchall()

    def sources(self, entries: Sequence[int]) -> list[tuple[int, int]]:
        """(entry, message) for every message that an entry rests on."""
        return self._connection.execute(
            "SELECT entry, message FROM sources WHERE entry IN (SELECT value FROM json_each(?))", (_listed(entries),)
        ).fetchall()

    def around(self, messages: Sequence[int], *, radius: int) -> list[Place]:
        """The places of `messages` and of those up to `radius` positions away in the same session, each once."""
        rows = self._connection.execute(
            "SELECT DISTINCT n.id, n.turn, n.conversation, n.session, n.position, coalesce(n.speaker, n.role)"
            " FROM messages m JOIN messages n ON n.conversation = m.conversation AND n.session = m.session"
            " AND n.position BETWEEN m.position - ?1 AND m.position + ?1"
            " WHERE m.id IN (SELECT value FROM json_each(?2)) AND n.turn IS NOT NULL",
            (radius, _listed(messages)),
        )
        return [
            Place(message, turn, self._session(conversation, session), position, speaker)
            for message, turn, conversation, session, position, speaker in rows
        ]

    def embedded(self, entries: Sequence[int], *, space: int) -> Embedded:
        """All vectors of `entries` in `space`; an entry without vectors has no row."""
        import numpy as np

        rows = self._connection.execute(
            "SELECT v.entry, x.embedding FROM views v JOIN vectors x ON x.id = v.vector"
            " WHERE v.entry IN (SELECT value FROM json_each(?)) AND v.space = ? ORDER BY v.entry, v.view",
            (_listed(entries), space),
        ).fetchall()
        owners = np.array([entry for entry, _ in rows], dtype=np.int64)
        flat = np.frombuffer(b"".join(embedding for _, embedding in rows), dtype="<f2")
        return Embedded(owners, flat.reshape(len(rows), -1 if rows else 0).astype(np.float32))

    def admitted(self, entries: Sequence[int], where: Filter) -> set[int]:
        """Those of `entries` that pass `where`."""
        return set(self._selector.passing(where, [int(entry) for entry in entries]))

    def speakers(self, where: Filter) -> list[str]:
        """The names that speak in `where`'s conversation, or in all of them, sorted."""
        # One step of the index per name: `SELECT DISTINCT` would read it whole.
        rows = self._connection.execute(
            "WITH RECURSIVE voices (voice) AS (SELECT min(speaker) FROM messages UNION ALL"
            " SELECT (SELECT min(speaker) FROM messages WHERE speaker > voice) FROM voices WHERE voice IS NOT NULL)"
            " SELECT voice FROM voices WHERE voice IS NOT NULL AND (?1 IS NULL OR EXISTS"
            " (SELECT 1 FROM messages WHERE speaker = voice AND conversation = ?1))",
            (where.conversation,),
        )
        return [voice for (voice,) in rows]

    def conversations(self) -> list[str]:
        """The names of all conversations, sorted."""
        rows = self._connection.execute(  # one step of the index per name, as above
            "WITH RECURSIVE talks (talk) AS (SELECT min(conversation) FROM messages UNION ALL"
            " SELECT (SELECT min(conversation) FROM messages WHERE conversation > talk) FROM talks"
            " WHERE talk IS NOT NULL) SELECT talk FROM talks WHERE talk IS NOT NULL"
        )
        return [name for (name,) in rows]

    def _session(self, conversation: str, session: str) -> int:
        return self._sessions.setdefault((conversation, session), len(self._sessions))


def _listed(ids: Sequence[int]) -> str:
    return json.dumps([int(id) for id in ids])
