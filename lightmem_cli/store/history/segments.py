"""Keeps the topics of each session, laid end to end from its first message; what lies behind the last is still open."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from lightmem_cli.records import Message, MessageKey, Segment
from lightmem_cli.store.history.columns import to_time
from lightmem_cli.store.history.messages import COLUMNS, message_from

_SEGMENTS = (
    "SELECT s.name, s.conversation, s.session, f.name, l.name, s.cut_by, s.score FROM segments s"
    " JOIN messages f ON f.id = s.first JOIN messages l ON l.id = s.last"
)


class Said(NamedTuple):
    """A message with history's integers for it and for its turn entry, which a blank one has not."""

    id: int
    turn: int | None
    message: Message


class Segments:
    """The table segments, and the messages that are in none yet.

    Segments of a session are only ever added behind its last one, so their integers rise with their places.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, messages: Sequence[Said], *, cut_by: str, score: float, run: int) -> Segment:
        """Close the topic of `messages`, which are the first ones of their session's open tail."""
        first, last = messages[0], messages[-1]
        conversation, session, _ = first.message.key
        segment = Segment(
            id=segment_id(first.message.key),
            conversation=conversation,
            session=session,
            first=first.message.key,
            last=last.message.key,
            cut_by=cut_by,
            score=score,
        )
        self._connection.execute(
            "INSERT INTO segments (name, conversation, session, first, last, cut_by, score, run)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (segment.id, conversation, session, first.id, last.id, cut_by, score, run),
        )
        return segment

    def of_session(self, conversation: str, session: str) -> list[Segment]:
        """The topics of a session that have ended, in order."""
        return self._select("WHERE s.conversation = ? AND s.session = ? ORDER BY s.id", conversation, session)

    def of_message(self, key: MessageKey) -> Segment | None:
        """The topic that a message is of; None while that is still open."""
        found = self._select(
            "JOIN messages m ON m.position BETWEEN f.position AND l.position"
            " WHERE s.conversation = ?1 AND s.session = ?2"
            " AND m.conversation = ?1 AND m.session = ?2 AND m.name = ?3",
            *key,
        )
        return found[0] if found else None

    def all(self) -> list[Segment]:
        """Every topic that has ended, by conversation and session, in order."""
        return self._select("ORDER BY s.conversation, s.session, s.id")

    def ends(self, conversation: str, session: str, *, count: int) -> list[tuple[int, str]]:
        """The last `count` topics of a session, the last one first: the position behind it, and what cut it there."""
        return self._connection.execute(
            "SELECT l.position + 1, s.cut_by FROM segments s JOIN messages l ON l.id = s.last"
            " WHERE s.conversation = ? AND s.session = ? ORDER BY s.id DESC LIMIT ?",
            (conversation, session, count),
        ).fetchall()

    def open_from(self, conversation: str, session: str) -> int:
        """The position at which the open tail of a session begins."""
        last = self.ends(conversation, session, count=1)
        return last[0][0] if last else 0

    def said(self, conversation: str, session: str, *, since: int) -> list[Said]:
        """The messages of a session from position `since` on, in order."""
        rows = self._connection.execute(
            f"SELECT id, turn, {COLUMNS} FROM messages WHERE conversation = ? AND session = ? AND position >= ?"
            " ORDER BY position",
            (conversation, session, since),
        )
        return [Said(id, turn, message_from(tuple(row))) for id, turn, *row in rows]

    def dated_before(self, conversation: str, session: str, *, position: int, ends: Sequence[str]) -> datetime | None:
        """When the last dated message before `position` was said, if no topic ended by one of `ends` in between."""
        row = self._connection.execute(
            "SELECT position, said_at FROM messages WHERE conversation = ?1 AND session = ?2 AND position < ?3"
            " AND said_at IS NOT NULL ORDER BY position DESC LIMIT 1",
            (conversation, session, position),
        ).fetchone()
        ended = self._connection.execute(
            "SELECT l.position FROM segments s JOIN messages l ON l.id = s.last WHERE s.conversation = ?"
            f" AND s.session = ? AND s.cut_by IN ({', '.join('?' * len(ends))}) ORDER BY s.id DESC LIMIT 1",
            (conversation, session, *ends),
        ).fetchone()
        return None if row is None or (ended is not None and row[0] <= ended[0]) else to_time(row[1])

    def places(self, messages: Iterable[int]) -> dict[int, tuple[str, str]]:
        """The (conversation, session) of each of `messages`."""
        rows = self._connection.execute(
            "SELECT id, conversation, session FROM messages WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(messages)),),
        )
        return {id: (conversation, session) for id, conversation, session in rows}

    def ending_at(self, messages: Iterable[int]) -> set[int]:
        """Those of `messages` behind which somebody asked for the topic to end."""
        rows = self._connection.execute(
            "SELECT item FROM jobs WHERE stage = 'close' AND space = 0 AND item IN (SELECT value FROM json_each(?))",
            (json.dumps(list(messages)),),
        )
        return {item for (item,) in rows}

    def unembedded(self, conversation: str, session: str, *, since: int) -> bool:
        """Whether a turn from position `since` on waits for its vectors; one whose embedding failed does not."""
        row = self._connection.execute(
            "SELECT 1 FROM messages m JOIN jobs j ON j.stage = 'embed' AND j.space = 0 AND j.item = m.turn"
            " WHERE m.conversation = ? AND m.session = ? AND m.position >= ? AND j.reason IS NULL LIMIT 1",
            (conversation, session, since),
        ).fetchone()
        return row is not None

    def last_of_open(self) -> list[int]:
        """The last message of each session whose last topic is still open."""
        rows = self._connection.execute(
            "SELECT m.id FROM (SELECT conversation, session, max(position) AS position FROM messages"
            " GROUP BY conversation, session) last JOIN messages m USING (conversation, session, position)"
            " WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.conversation = m.conversation"
            " AND s.session = m.session AND s.last = m.id) ORDER BY m.id"
        )
        return [id for (id,) in rows]

    def _select(self, where: str, *values: object) -> list[Segment]:
        return [
            Segment(
                id=name,
                conversation=conversation,
                session=session,
                first=MessageKey(conversation, session, first),
                last=MessageKey(conversation, session, last),
                cut_by=cut_by,
                score=score,
            )
            for name, conversation, session, first, last, cut_by, score in self._connection.execute(
                f"{_SEGMENTS} {where}", values
            )
        ]


def segment_id(first: MessageKey) -> str:
    """Derive a segment's id from its first message: 16 hexadecimal characters."""
    return hashlib.blake2b(json.dumps(first).encode(), digest_size=8).hexdigest()
