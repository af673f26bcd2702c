"""Reads from a conversation's history what a language model has not read of it yet: that is short-term memory."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import NamedTuple, TypeAlias

from lightmem_cli.records import Message
from lightmem_cli.store.history.messages import COLUMNS, message_from

Place: TypeAlias = tuple[str, str]  # a conversation and a session
_MESSAGE = ", ".join(f"m.{name}" for name in COLUMNS.split(", "))
_UNREAD = "j.stage = 'extract' AND j.space = 0 AND j.batch IS NULL AND j.lease IS NULL AND j.reason IS NULL"


class Unread(NamedTuple):
    """A message that is still to be read, with history's integer for it.

    `topic` is the place of its topic among the ended ones of its session, None where that is still open. `shortened` is
    its shortened text, where it has one. What is `hidden` was forgotten or purged.
    """

    id: int
    message: Message
    topic: int | None
    shortened: str | None
    hidden: bool

    @property
    def place(self) -> Place:
        return self.message.conversation, self.message.session


class Buffer:
    """Messages that wait to be extracted from, by their jobs; those of a batch wait for their call alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def places(self) -> dict[Place, list[int]]:
        """The sessions of which messages wait that are in no batch yet, with these, in order.

        Conversations come in the order of their names, sessions of one in that of their first messages.
        """
        rows = self._connection.execute(
            f"SELECT m.conversation, m.session, m.id FROM jobs j CROSS JOIN messages m ON m.id = j.item WHERE {_UNREAD}"
            " ORDER BY m.conversation, m.position, m.id"
        )
        found: dict[Place, list[int]] = {}
        for conversation, session, id in rows:
            found.setdefault((conversation, session), []).append(id)
        began = self._began(found)
        return {place: found[place] for place in sorted(found, key=lambda place: (place[0], began[place]))}

    def read(self, ids: Iterable[int]) -> list[Unread]:
        """`ids` with what they say: by conversation, by when their session began, and as they were said."""
        rows = self._connection.execute(
            f"SELECT m.id, c.text, m.purged IS NOT NULL OR coalesce(e.state, '') = 'deleted', {_MESSAGE}"
            " FROM messages m LEFT JOIN entries e ON e.id = m.turn LEFT JOIN compressed c ON c.message = m.id"
            " WHERE m.id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        ).fetchall()
        messages = [(id, message_from(tuple(message)), text, bool(hidden)) for id, text, hidden, *message in rows]
        places = {message.key[:2] for _, message, *_ in messages}
        began, ends = self._began(places), {place: self._ends(*place) for place in places}
        found = []
        for id, message, text, hidden in messages:
            its = ends[message.key[:2]]
            topic = bisect_left(its, message.position)
            found.append(Unread(id, message, topic if topic < len(its) else None, text, hidden))
        return sorted(found, key=lambda one: (one.message.conversation, began[one.place], one.message.position))

    def turns(self, messages: Iterable[int]) -> dict[int, int]:
        """The turn entries of those of `messages` that have one."""
        rows = self._connection.execute(
            "SELECT id, turn FROM messages WHERE turn IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(messages)),),
        )
        return dict(rows.fetchall())

    def all_ended(self, place: Place) -> bool:
        """Whether every message of a session is in a topic that has ended."""
        row = self._connection.execute(
            "SELECT max(position) FROM messages WHERE conversation = ? AND session = ?", place
        ).fetchone()
        ends = self._ends(*place)
        return row[0] is None or bool(ends and ends[-1] == row[0])

    def unsettled(self) -> set[str]:
        """The conversations of which somebody is still to look for topics."""
        rows = self._connection.execute(
            "SELECT DISTINCT m.conversation FROM jobs j JOIN messages m ON m.id = j.item"
            " WHERE j.stage IN ('segment', 'close') AND j.space = 0 AND j.reason IS NULL"
        )
        return {conversation for (conversation,) in rows}

    def waiting(self) -> tuple[int, int]:
        """How many messages wait that can be read now, and how many for their topic to end."""
        row = self._connection.execute(
            "SELECT coalesce(sum(j.batch IS NOT NULL OR EXISTS (SELECT 1 FROM segments s"
            " JOIN messages l ON l.id = s.last WHERE s.conversation = m.conversation AND s.session = m.session"
            " AND l.position >= m.position)), 0), count(*) FROM jobs j JOIN messages m ON m.id = j.item"
            " WHERE j.stage = 'extract' AND j.space = 0 AND j.reason IS NULL"
        ).fetchone()
        return int(row[0]), int(row[1]) - int(row[0])

    def _ends(self, conversation: str, session: str) -> list[int]:
        """The positions of the last messages of the topics of a session that have ended, in order."""
        rows = self._connection.execute(
            "SELECT l.position FROM segments s JOIN messages l ON l.id = s.last"
            " WHERE s.conversation = ? AND s.session = ? ORDER BY s.id",
            (conversation, session),
        )
        return [position for (position,) in rows]

    def _began(self, places: Collection[Place]) -> dict[Place, int]:
        """The first message of each session, by history's integer."""
        query = "SELECT id FROM messages WHERE conversation = ? AND session = ? ORDER BY position LIMIT 1"
        return {place: self._connection.execute(query, place).fetchone()[0] for place in places}
