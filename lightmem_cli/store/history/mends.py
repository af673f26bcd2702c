"""Puts right in the tables what no conversation and no command has made so: damage leaves no revision behind."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from lightmem_cli.records import LinkKind
from lightmem_cli.store.history.columns import are_names, epoch, is_time, to_time
from lightmem_cli.store.history.runs import Runs, What

_OUT_OF_THE_WAY = 1 << 40  # no session has so many messages
_TIMES = ("happened_from", "happened_to", "valid_until")


class Mends:
    """Call inside a transaction. What a repaired entry says is indexed anew."""

    def __init__(self, connection: sqlite3.Connection, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs

    def reindex(self) -> None:
        """Make SQLite's own indexes again from the tables."""
        self._connection.execute("REINDEX")

    def drop_orphans(self) -> list[int]:
        """Drop what points to a missing row and is of no use without it; the entries that are to be embedded anew."""
        gone = "NOT IN (SELECT id FROM {})"
        unseen = self._ids(f"SELECT DISTINCT entry FROM views WHERE vector {gone.format('vectors')}")
        self._connection.execute(  # a reply that no purge would reach any more
            "UPDATE model_calls SET reply = NULL, refused = NULL, input_hash = x'' WHERE id IN"
            f" (SELECT call FROM model_inputs WHERE message {gone.format('messages')})"
        )
        for table, column, parent in (
            ("views", "vector", "vectors"),
            ("views", "entry", "entries"),
            ("views", "space", "spaces"),
            ("vectors", "space", "spaces"),
            ("links", "source", "entries"),
            ("links", "target", "entries"),
            ("sources", "entry", "entries"),
            ("compressed", "message", "messages"),
            ("model_inputs", "call", "model_calls"),
            ("model_inputs", "message", "messages"),
        ):
            self._connection.execute(f"DELETE FROM {table} WHERE {column} {gone.format(parent)}")
        self._connection.execute(f"UPDATE jobs SET lease = NULL WHERE lease {gone.format('leases')}")
        return unseen

    def set_entry(self, id: int, **columns: object) -> None:
        """Set columns of one entry."""
        self._set("entries", id, columns)
        self._runs.changed("entry", [id])

    def set_message(self, id: int, **columns: object) -> None:
        """Set columns of one message."""
        self._set("messages", id, columns)

    def empty_names(self, ids: Iterable[int]) -> None:
        """Empty those keywords and entities of entries that are no lists of names."""
        for id in ids:
            for column in ("keywords", "entities"):
                row = self._connection.execute(f"SELECT {column} FROM entries WHERE id = ?", (id,)).fetchone()
                if not are_names(row[0]):
                    self.set_entry(id, **{column: "[]"})

    def tell_times(self, table: str, ids: Iterable[int]) -> None:
        """Keep each time of `messages` or `entries` as its seconds; one that cannot be read is taken from these."""
        for id in ids:
            said_at, seconds = self._connection.execute(
                f"SELECT said_at, said_epoch FROM {table} WHERE id = ?", (id,)
            ).fetchone()
            columns: dict[str, object] = {}
            if is_time(said_at):
                columns["said_epoch"] = epoch(to_time(said_at))
            else:
                known = isinstance(seconds, int | float)
                columns["said_at"] = datetime.fromtimestamp(seconds, UTC).isoformat() if known else None
                columns["said_epoch"] = seconds if known else None
            if table == "entries":
                others = self._connection.execute(f"SELECT {', '.join(_TIMES)} FROM entries WHERE id = ?", (id,))
                row = dict(zip(_TIMES, others.fetchone(), strict=True))
                columns |= {name: None for name, value in row.items() if not is_time(value)}
            self._set(table, id, columns)

    def place_messages(self) -> None:
        """Number the messages of each session from 0, in their order."""
        places = self._connection.execute(
            "SELECT id, row_number() OVER (PARTITION BY conversation, session ORDER BY position) - 1 FROM messages"
        ).fetchall()
        self._connection.execute("UPDATE messages SET position = -? - id", (_OUT_OF_THE_WAY,))
        self._connection.executemany("UPDATE messages SET position = ? WHERE id = ?", ((at, id) for id, at in places))

    def rest_on(self, entry: int, messages: Iterable[tuple[int, int]]) -> None:
        """Let an entry rest on (message, born) besides what it rests on."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO sources (entry, message, born) VALUES (?, ?, ?)",
            ((entry, message, born) for message, born in messages),
        )

    def drop_foreign_sources(self, entry: int) -> None:
        """Let an entry rest on messages of its own conversation alone."""
        self._connection.execute(
            "DELETE FROM sources WHERE entry = ?1 AND message IN"
            " (SELECT m.id FROM messages m JOIN entries e ON e.id = ?1 WHERE m.conversation <> e.conversation)",
            (entry,),
        )

    def link(self, source: int, links: Iterable[tuple[int, str]], *, run: int) -> None:
        """Let an entry point to (target, kind) again, where the target is there."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO links (source, target, kind, run) SELECT ?1, ?2, ?3, ?4"
            " WHERE EXISTS (SELECT 1 FROM entries WHERE id = ?2)",
            ((source, target, kind, run) for target, kind in links),
        )

    def drop_unknown_links(self) -> None:
        """Drop the links of no known kind."""
        known = json.dumps([kind.value for kind in LinkKind])
        self._connection.execute("DELETE FROM links WHERE kind NOT IN (SELECT value FROM json_each(?))", (known,))

    def set_as_recorded(self, id: int, recorded: Mapping[str, Any], *, run: int) -> None:
        """Let an entry be again what its revisions made of it: columns, `sources` and `links`, see `Revision`."""
        columns = {name: value for name, value in recorded.items() if name not in ("sources", "links")}
        if "said_at" in columns:
            columns["said_epoch"] = epoch(to_time(columns["said_at"]))
        if columns:
            self.set_entry(id, **columns)
        if "sources" in recorded:
            self._connection.execute("DELETE FROM sources WHERE entry = ?", (id,))
            self.rest_on(id, recorded["sources"])
        if "links" in recorded:
            self._connection.execute("DELETE FROM links WHERE source = ?", (id,))
            self.link(id, recorded["links"], run=run)

    def rename(self, entry: int, full: str) -> None:
        """Give an entry the id that its identity `full` begins with."""
        for length in range(12, len(full) + 1):
            query = "SELECT 1 FROM entries WHERE name = ? AND id <> ?"
            if self._connection.execute(query, (full[:length], entry)).fetchone() is None:
                self.set_entry(entry, name=full[:length])
                return

    def number_versions(self, ids: Iterable[int]) -> None:
        """Let the version of each entry count its revisions."""
        self._connection.executemany(
            "UPDATE entries SET version = 1 + (SELECT count(*) FROM revisions WHERE entry = ?1) WHERE id = ?1",
            ((id,) for id in ids),
        )

    def drop_jobs(self, ids: Iterable[int]) -> None:
        self._connection.executemany("DELETE FROM jobs WHERE id = ?", ((id,) for id in ids))

    def unbatch(self, ids: Iterable[int]) -> None:
        """Take jobs out of their batches."""
        self._connection.executemany("UPDATE jobs SET batch = NULL WHERE id = ?", ((id,) for id in ids))

    def drop_topics_from(self, segment: int) -> None:
        """Drop a topic and those behind it in what it gives for its session."""
        self._connection.execute(
            "DELETE FROM segments WHERE id >= ?1 AND (conversation, session) ="
            " (SELECT conversation, session FROM segments WHERE id = ?1)",
            (segment,),
        )

    def drop_vectors(self, ids: Iterable[int], *, space: int) -> list[int]:
        """Drop vectors; the entries that were seen through them in `space`, which are to be embedded anew."""
        wanted = json.dumps(list(ids))
        among = "IN (SELECT value FROM json_each(?))"
        unseen = self._ids(f"SELECT DISTINCT entry FROM views WHERE vector {among} AND space = ?", wanted, space)
        self._connection.execute(f"DELETE FROM views WHERE vector {among}", (wanted,))
        self._connection.execute(f"DELETE FROM vectors WHERE id {among}", (wanted,))
        self.note("vector", json.loads(wanted))
        return unseen

    def note(self, what: What, ids: Iterable[int]) -> None:
        """Let indexes look at entries or vectors again."""
        self._runs.changed(what, ids)

    def _set(self, table: str, id: int, columns: dict[str, object]) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._connection.execute(f"UPDATE OR IGNORE {table} SET {assignments} WHERE id = ?", (*columns.values(), id))

    def _ids(self, query: str, *values: object) -> list[int]:
        return [id for (id,) in self._connection.execute(query, values)]
