"""Journals messages word for word, each under its own identity and its place in its session."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, TypeAlias

from lightmem_cli.records import Message, MessageKey, Role
from lightmem_cli.store.history.columns import epoch, from_time, now, to_time

IdentifiedBy: TypeAlias = Literal["given", "time", "order"]

COLUMNS = "conversation, session, name, position, role, speaker, content, image_caption, said_at, agent"


class Messages:
    """The table messages."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, key: MessageKey) -> tuple[int, Message] | None:
        """The message under `key` with history's integer for it, or None."""
        row = self._connection.execute(
            f"SELECT id, {COLUMNS} FROM messages WHERE conversation = ? AND session = ? AND name = ?", key
        ).fetchone()
        return None if row is None else (row[0], message_from(row[1:]))

    def add(self, message: Message, *, identified_by: IdentifiedBy, run: int) -> int:
        """Journal a new message (its position is given by `next_position`) and return history's integer for it."""
        values = (
            *message.key,
            message.position,
            message.role,
            message.speaker,
            message.content,
            message.image_caption,
            from_time(message.said_at),
            message.agent,
            epoch(message.said_at),
            identified_by,
            run,
            now(),
        )
        row = self._connection.execute(
            f"INSERT INTO messages ({COLUMNS}, said_epoch, identified_by, run, recorded_at)"
            f" VALUES ({', '.join('?' * len(values))})",
            values,
        )
        return int(row.lastrowid or 0)

    def replace(self, id: int, message: Message) -> None:
        """Rewrite what was said under an identity that stays (`--on-conflict replace`)."""
        self._connection.execute(
            "UPDATE messages SET role = ?, speaker = ?, content = ?, image_caption = ?, said_at = ?, said_epoch = ?,"
            " agent = ? WHERE id = ?",
            (
                message.role,
                message.speaker,
                message.content,
                message.image_caption,
                from_time(message.said_at),
                epoch(message.said_at),
                message.agent,
                id,
            ),
        )

    def set_turn(self, id: int, entry: int) -> None:
        """Note which entry is the message's own turn, so that neighbours are found without a search for it."""
        self._connection.execute("UPDATE messages SET turn = ? WHERE id = ?", (entry, id))

    def next_position(self, conversation: str, session: str) -> int:
        row = self._connection.execute(
            "SELECT max(position) FROM messages WHERE conversation = ? AND session = ?", (conversation, session)
        ).fetchone()
        return 0 if row[0] is None else int(row[0]) + 1

    def identified_by_order(self, conversation: str, session: str) -> list[Message]:
        """The messages of a session that came with neither id nor time, in order."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM messages WHERE conversation = ? AND session = ? AND identified_by = 'order'"
            " ORDER BY position",
            (conversation, session),
        )
        return [message_from(row) for row in rows]

    def get(self, ids: Iterable[int]) -> dict[int, Message]:
        """Messages by history's integers; unknown ones are left out."""
        found: dict[int, Message] = {}
        for id in ids:
            row = self._connection.execute(f"SELECT {COLUMNS} FROM messages WHERE id = ?", (id,)).fetchone()
            if row is not None:
                found[id] = message_from(row)
        return found

    def around(self, key: MessageKey, *, radius: int) -> list[Message]:
        """The message under `key` with up to `radius` neighbours on each side, in order; [] if unknown."""
        found = self.find(key)
        if found is None:
            return []
        position = found[1].position
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM messages WHERE conversation = ? AND session = ? AND position BETWEEN ? AND ?"
            " ORDER BY position",
            (key.conversation, key.session, position - radius, position + radius),
        )
        return [message_from(row) for row in rows]


def message_from(row: tuple[object, ...]) -> Message:
    """A message from a row of `COLUMNS`."""
    conversation, session, name, position, role, speaker, content, image_caption, said_at, agent = row
    return Message(
        conversation=str(conversation),
        session=str(session),
        id=str(name),
        position=int(position),  # type: ignore[call-overload]  # SQLite gives back what was put in
        role=Role(str(role)),
        speaker=_text(speaker),
        content=str(content),
        image_caption=_text(image_caption),
        said_at=to_time(_text(said_at)),
        agent=_text(agent),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
