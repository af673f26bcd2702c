"""Prints the canonical state of a memory: what two runs must agree on, and nothing that depends on when they ran."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from lightmem_cli.store.history.columns import to_names

_MESSAGES = """
SELECT conversation, session, name, position, role, speaker, content, image_caption, said_at, agent
FROM messages ORDER BY conversation, session, position"""
_ENTRIES = """
SELECT id, name, kind, text, conversation, session, speaker, agent, said_at, happened_from, happened_to, valid_until,
  importance, keywords, entities, state, pinned, prompt, model
FROM entries ORDER BY name"""
_SOURCES = """
SELECT m.conversation, m.session, m.name FROM sources s JOIN messages m ON m.id = s.message
WHERE s.entry = ? ORDER BY 1, 2, 3"""
_LINKS = """
SELECT l.kind, t.name FROM links l JOIN entries t ON t.id = l.target WHERE l.source = ? ORDER BY 1, 2"""


class CanonicalState:
    """Messages, then entries with current text, state, links and sources, sorted; no clock, run, revision or vector."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self) -> Iterator[dict[str, object]]:
        """One JSON-ready object per message and per entry."""
        message_names = ["conversation", "session", "id", "position", "role", "speaker", "content"]
        message_names += ["image_caption", "timestamp", "agent"]
        for row in self._connection.execute(_MESSAGES):
            yield {"record": "message"} | dict(zip(message_names, row, strict=True))
        cursor = self._connection.execute(_ENTRIES)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            entry = dict(zip(names, row, strict=True))
            id = entry.pop("id")
            entry["id"] = entry.pop("name")
            entry |= {"keywords": to_names(entry["keywords"]), "entities": to_names(entry["entities"])}
            entry["sources"] = [list(key) for key in self._connection.execute(_SOURCES, (id,))]
            entry["links"] = [list(link) for link in self._connection.execute(_LINKS, (id,))]
            yield {"record": "entry", **entry}
