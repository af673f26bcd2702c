"""Keeps how each message of an ended topic is sent to a language model: what was said stays whole beside it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from lightmem_cli.records import Compressed, Message
from lightmem_cli.store.history.faults import Fault
from lightmem_cli.store.history.messages import COLUMNS, message_from

# The messages m of each ended topic s.
_IN_TOPICS = (
    "segments s JOIN messages f ON f.id = s.first JOIN messages l ON l.id = s.last"
    " JOIN messages m ON m.conversation = s.conversation AND m.session = s.session"
    " AND m.position BETWEEN f.position AND l.position"
)


class Shortened(NamedTuple):
    """A message by history's integer, the content that was shortened, and what it was shortened to."""

    message: int
    content: str
    compressed: Compressed


class CompressedTexts:
    """The table compressed. A message has no row until its topic has ended, nor when its words were replaced since."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def keep(self, texts: Iterable[Shortened], *, made_by: str) -> None:
        """Keep shortened texts of those messages that still say what was shortened: not of one purged meanwhile.

        Of a blank message there is nothing to keep.
        """
        self._connection.executemany(
            "INSERT OR REPLACE INTO compressed (message, text, kept, made_by)"
            " SELECT id, ?, ?, ? FROM messages WHERE id = ? AND content = ? AND purged IS NULL",
            (
                (one.compressed.text, one.compressed.kept, made_by, one.message, one.content)
                for one in texts
                if one.content.strip()
            ),
        )

    def of(self, messages: Iterable[int]) -> dict[int, tuple[Compressed, str]]:
        """The shortened texts of `messages` that have one, each with what made it."""
        rows = self._connection.execute(
            "SELECT message, text, kept, made_by FROM compressed WHERE message IN (SELECT value FROM json_each(?))",
            (json.dumps(list(messages)),),
        )
        return {message: (Compressed(text, kept), made_by) for message, text, kept, made_by in rows}

    def drop(self, messages: Iterable[int]) -> None:
        """Drop the shortened texts of `messages`."""
        self._connection.executemany("DELETE FROM compressed WHERE message = ?", ((id,) for id in messages))

    def missing(self, topic: int | None = None) -> dict[int, list[int]]:
        """The messages of ended topics that have no shortened text, by history's integer for their topic, in order.

        What is forgotten, purged or blank needs none. With `topic` only the messages of that one.
        """
        rows = self._connection.execute(
            f"SELECT s.id, m.id, m.content FROM {_IN_TOPICS} LEFT JOIN entries e ON e.id = m.turn"
            " WHERE s.id = coalesce(?, s.id) AND m.purged IS NULL AND coalesce(e.state, '') <> 'deleted'"
            " AND NOT EXISTS (SELECT 1 FROM compressed c WHERE c.message = m.id) ORDER BY s.id, m.position",
            (topic,),
        )
        found: dict[int, list[int]] = {}
        for its, message, content in rows:
            if content.strip():
                found.setdefault(its, []).append(message)
        return found

    def messages_of(self, topic: int) -> dict[int, Message]:
        """All messages of an ended topic by history's integers, in the order said; none where there is no such one."""
        columns = ", ".join(f"m.{name}" for name in COLUMNS.split(", "))
        rows = self._connection.execute(
            f"SELECT m.id, {columns} FROM {_IN_TOPICS} WHERE s.id = ? ORDER BY m.position", (topic,)
        )
        return {id: message_from(tuple(row)) for id, *row in rows}

    def unlike_messages(self) -> list[Fault]:
        """Messages whose shortened text is not made of their own characters, in order, white space aside.

        Or that have nothing to be shortened, or of which another share was kept than there can be.
        """
        rows = self._connection.execute(
            "SELECT m.id, m.name, m.content, c.text, c.kept FROM compressed c JOIN messages m ON m.id = c.message"
            " ORDER BY m.id"
        )
        return [Fault(id, name) for id, name, content, text, kept in rows if not _is_of(content, text, kept)]


def _is_of(content: str, text: object, kept: object) -> bool:
    """Whether `text` can be what a compressor made of `content`, and `kept` how much of it that is."""
    if not isinstance(text, str) or not isinstance(kept, float) or not 0 <= kept <= 1 or not content.strip():
        return False
    left = iter(content)
    return all(character.isspace() or character in left for character in text)
