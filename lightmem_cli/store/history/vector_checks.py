"""Tells through which vectors a conversation's entries are seen, and which vectors are of no use."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator

from lightmem_cli.store.history.faults import Fault, faults


class VectorChecks:
    """Reads; writes nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def embeddings(self, space: int) -> Iterator[tuple[int, bytes]]:
        """Every vector of `space`, float16, by rising id."""
        return self._connection.execute("SELECT id, embedding FROM vectors WHERE space = ? ORDER BY id", (space,))

    def spaces(self) -> list[tuple[int, int, bool]]:
        """Every space: its integer, its dimension, and whether queries are compared in it."""
        rows = self._connection.execute("SELECT id, dimension, active FROM spaces ORDER BY id")
        return [(id, dimension, bool(active)) for id, dimension, active in rows]

    def unused_vectors(self) -> list[Fault]:
        """Vectors through which no entry is seen."""
        return faults(
            self._connection,
            "SELECT id, 'vector ' || id FROM vectors WHERE id NOT IN (SELECT vector FROM views) ORDER BY id",
        )

    def entries_after(self, id: int, *, limit: int) -> list[int]:
        """The next `limit` entries behind `id`."""
        rows = self._connection.execute("SELECT id FROM entries WHERE id > ? ORDER BY id LIMIT ?", (id, limit))
        return [entry for (entry,) in rows]

    def seen_through(self, entries: Iterable[int], *, space: int) -> dict[int, list[bytes]]:
        """The text hashes of the vectors of `entries` in `space`, in order; an entry without one is left out."""
        rows = self._connection.execute(
            # The plus keeps SQLite from going through all vectors of the space.
            "SELECT v.entry, x.text_hash FROM views v JOIN vectors x ON x.id = v.vector AND +x.space = v.space"
            " WHERE v.space = ? AND v.entry IN (SELECT value FROM json_each(?)) ORDER BY v.entry, v.view",
            (space, json.dumps(list(entries))),
        )
        found: dict[int, list[bytes]] = {}
        for entry, hash in rows:
            found.setdefault(entry, []).append(hash)
        return found

    def to_be_embedded(self) -> set[int]:
        """The entries that wait for their vectors, or were set aside while they did."""
        return {item for (item,) in self._connection.execute("SELECT item FROM jobs WHERE stage = 'embed'")}
