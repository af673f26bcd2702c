"""Shelves the vectors of what was said, one per distinct text and space, and remembers which entry uses which."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence

from lightmem_cli.records import Space
from lightmem_cli.store.history.runs import Runs

_AT_ONCE = 500


def text_hash(text: str) -> bytes:
    """What a vector is shelved under: 16 bytes of the text's BLAKE2b."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class VectorShelf:
    """The tables spaces, vectors and views. Embeddings are float16, little-endian: dimension × 2 bytes."""

    def __init__(self, connection: sqlite3.Connection, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs

    def active_space(self) -> tuple[int, Space] | None:
        """The space that queries are compared in, with history's integer; None before the first vector."""
        row = self._connection.execute("SELECT id, name, revision, dimension FROM spaces WHERE active = 1").fetchone()
        return None if row is None else (row[0], Space(name=row[1], revision=row[2], dimension=row[3]))

    def space_id(self, space: Space) -> int:
        """History's integer for `space`, made on first sight; the first space ever becomes the active one."""
        values = (space.name, space.revision, space.dimension)
        self._connection.execute(
            "INSERT OR IGNORE INTO spaces (name, revision, dimension, active)"
            " SELECT ?, ?, ?, NOT EXISTS (SELECT 1 FROM spaces)",
            values,
        )
        row = self._connection.execute(
            "SELECT id FROM spaces WHERE name = ? AND revision = ? AND dimension = ?", values
        ).fetchone()
        return int(row[0])

    def activate(self, space: int) -> None:
        """Compare queries in `space` from now on."""
        self._connection.execute("UPDATE spaces SET active = (id = ?)", (space,))

    def drop_other_spaces(self, space: int) -> None:
        """Remove the vectors of every space but `space`; its entries' texts make them again."""
        for table in ("views", "vectors"):
            self._connection.execute(f"DELETE FROM {table} WHERE space <> ?", (space,))
        self._connection.execute("DELETE FROM jobs WHERE stage = 'embed' AND space <> ?", (space,))
        self._connection.execute("DELETE FROM spaces WHERE id <> ?", (space,))

    def known(self, space: int, hashes: Iterable[bytes]) -> dict[bytes, int]:
        """Which of `hashes` have a vector in `space`, with its id."""
        found: dict[bytes, int] = {}
        for hash in hashes:
            row = self._connection.execute(
                "SELECT id FROM vectors WHERE space = ? AND text_hash = ?", (space, hash)
            ).fetchone()
            if row is not None:
                found[hash] = row[0]
        return found

    def add(self, space: int, vectors: Iterable[tuple[bytes, bytes]]) -> dict[bytes, int]:
        """Shelve (text hash, embedding) pairs not shelved yet; the ids of all of them."""
        ids: dict[bytes, int] = {}
        for hash, embedding in vectors:
            row = self._connection.execute(
                "INSERT OR IGNORE INTO vectors (space, text_hash, embedding) VALUES (?, ?, ?)", (space, hash, embedding)
            )
            if row.rowcount:
                ids[hash] = int(row.lastrowid or 0)
                self._runs.changed("vector", [ids[hash]])
            else:
                ids |= self.known(space, [hash])
        return ids

    def set_views(self, entry: int, space: int, vectors: Sequence[int]) -> None:
        """Say that `entry` is seen in `space` through `vectors`, in order."""
        self._connection.execute("DELETE FROM views WHERE entry = ? AND space = ?", (entry, space))
        self._connection.executemany(
            "INSERT INTO views (entry, space, view, vector) VALUES (?, ?, ?, ?)",
            ((entry, space, view, vector) for view, vector in enumerate(vectors)),
        )

    def forget_views(self, entry: int) -> None:
        """Drop what `entry` was seen through, in every space, with the vectors that no other entry uses."""
        used = [id for (id,) in self._connection.execute("SELECT vector FROM views WHERE entry = ?", (entry,))]
        self._connection.execute("DELETE FROM views WHERE entry = ?", (entry,))
        for vector in used:
            gone = self._connection.execute(
                "DELETE FROM vectors WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM views WHERE vector = ?1)", (vector,)
            )
            if gone.rowcount:
                self._runs.changed("vector", [vector])

    def embeddings(self, space: int, ids: Iterable[int]) -> list[tuple[int, bytes]]:
        """(id, embedding) of the vectors of `space` among `ids`."""
        wanted = list(ids)
        found: list[tuple[int, bytes]] = []
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._connection.execute(
                f"SELECT id, embedding FROM vectors WHERE id IN ({marks}) AND space = ? ORDER BY id", (*some, space)
            )
            found.extend(rows)
        return found

    def entries_without_views(self, space: int) -> list[int]:
        """The entries that were not embedded in `space` yet."""
        rows = self._connection.execute(
            "SELECT e.id FROM entries e WHERE e.text <> '' AND NOT EXISTS"
            " (SELECT 1 FROM views v WHERE v.entry = e.id AND v.space = ?) ORDER BY e.id",
            (space,),
        )
        return [id for (id,) in rows]

    def count(self, space: int) -> int:
        row = self._connection.execute("SELECT count(*) FROM vectors WHERE space = ?", (space,)).fetchone()
        return int(row[0])
