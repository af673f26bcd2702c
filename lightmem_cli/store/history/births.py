"""Derives again what each piece of a conversation was born as, and what its revisions have made of it since."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from lightmem_cli.records import MessageKey, entry_id

_ENTRIES = """
WITH texts AS (SELECT entry, min(id) AS first FROM revisions WHERE json_type(before, '$.text') IS NOT NULL GROUP BY 1),
rests AS (SELECT entry, min(id) AS first FROM revisions WHERE json_type(before, '$.sources') IS NOT NULL GROUP BY 1)
SELECT e.id, e.name, e.birth, e.kind, e.conversation, e.session, e.text, v.before, w.before FROM entries e
LEFT JOIN texts t ON t.entry = e.id LEFT JOIN revisions v ON v.id = t.first
LEFT JOIN rests r ON r.entry = e.id LEFT JOIN revisions w ON w.id = r.first
WHERE {} ORDER BY e.id"""
_SOURCES = """
SELECT s.entry, m.conversation, m.session, m.name FROM sources s JOIN messages m ON m.id = s.message
WHERE s.born = 1 AND {} ORDER BY s.entry, s.message"""
_RELATIONS = {
    "sources": "SELECT message, born FROM sources WHERE entry = ?",
    "links": "SELECT target, kind FROM links WHERE source = ?",
}
_MESSAGE = "SELECT conversation, session, name FROM messages WHERE id = ?"


class Born(NamedTuple):
    """An entry's integer, id and identity, and `full`, the identity derived again: 64 hexadecimal characters.

    `full` is None where it cannot be derived: messages it was born of are gone, or their order is not known.
    """

    id: int
    name: str
    birth: bytes
    full: str | None

    @property
    def is_itself(self) -> bool:
        """Whether id and identity are those of `full`, or where that is None, of each other."""
        full = self.full or self.birth.hex()
        beginning = full.startswith(self.name) or (self.full is None and self.name.startswith(full))
        return len(self.name) >= 12 and beginning and full.startswith(self.birth.hex())


def births(connection: sqlite3.Connection, *, only: int | None = None) -> Iterator[Born]:
    """Every entry, or one, with its first text and messages: as the first revision of these found them, else as now."""
    values = () if only is None else (only,)
    sources, entries = (query.format("1" if only is None else "{0} = ?") for query in (_SOURCES, _ENTRIES))
    now = groupby(connection.execute(sources.format("s.entry"), values), key=lambda row: int(row[0]))
    entry, rows = next(now, (None, iter(())))
    for id, name, birth, kind, conversation, session, text, reworded, rested in connection.execute(
        entries.format("e.id"), values
    ):
        keys: list[MessageKey] = []
        while entry is not None and entry < id:
            entry, rows = next(now, (None, iter(())))
        if entry == id:
            keys = [MessageKey(*key) for _, *key in rows]
        first = str(text if reworded is None else json.loads(reworded)["text"])
        if rested is not None:
            messages = sorted(message for message, born in json.loads(rested)["sources"] if born)
            found = [connection.execute(_MESSAGE, (message,)).fetchone() for message in messages]
            keys = [MessageKey(*key) for key in found if key is not None]
        full = entry_id(kind, conversation, session, first, keys, length=64) if keys else None
        born = Born(id, name, birth, full)
        # What was made of several messages was hashed in an order that the tables do not keep.
        yield born if len(keys) < 2 or born.is_itself else born._replace(full=None)


def unlike_recorded(connection: sqlite3.Connection) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The entries that are not what their revisions made of them: integer, id, and what differs, as it was recorded."""
    rows = connection.execute("SELECT entry, after FROM revisions ORDER BY entry, id")
    for entry, its in groupby(rows, key=lambda row: int(row[0])):
        recorded: dict[str, Any] = {}
        for _, after in its:
            recorded |= json.loads(after)
        cursor = connection.execute("SELECT * FROM entries WHERE id = ?", (entry,))
        row = cursor.fetchone()
        if row is None:
            continue
        now: dict[str, Any] = dict(zip((column[0] for column in cursor.description), row, strict=True))
        for name, query in _RELATIONS.items():
            now[name] = sorted([list(found) for found in connection.execute(query, (entry,))])
            if name in recorded:
                recorded[name] = sorted(recorded[name])
        differing = {
            name: value for name, value in recorded.items() if name != "version" and name in now and now[name] != value
        }
        if differing:
            yield entry, now["name"], differing
