"""Completes a row's identity, so that a conversation ingested twice, or grown since, is recognised."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from lightmem_cli.records import Message, MessageKey, Row, message_id, row_text, session_name
from lightmem_cli.store.history.messages import IdentifiedBy


class Identified(NamedTuple):
    """A message whose identity is settled (its position is not), and what it was identified by."""

    message: Message
    by: IdentifiedBy


class NotAContinuation(ValueError):
    """A row with neither id nor time differs from what its session holds at that place."""


class Identifier:
    """Settles the rows of one stream or file, in order.

    A row keeps the id it came with. One that came with a time is named by its session, time, speaker, role and
    text, and by how many equal rows came before it in this stream. One with neither is matched by its place
    against the session's journal: a transcript may be given again, whole or in part, and may have grown.
    """

    def __init__(
        self,
        journalled: Callable[[str, str], list[Message]],
        *,
        conversation: str | None = None,
        session: str | None = None,
        append: bool = False,
    ) -> None:
        """`journalled` gives the messages of a (conversation, session) that came with neither id nor time, in order.

        `conversation` and `session` name what rows leave unnamed; `append` takes unplaceable rows as new.
        """
        self._journalled = journalled
        self._conversation = conversation or ""
        self._session = session
        self._append = append
        self._streams: dict[str, str] = {}  # conversation → the session of rows that name none
        self._timed: Counter[tuple[str, str]] = Counter()  # by conversation and what an id is made of
        self._ordered: dict[tuple[str, str], _Order] = {}

    def settle(self, row: Row) -> Identified:
        """Complete `row` to a message.

        Raises:
            NotAContinuation: see the class.
        """
        conversation = row.conversation if row.conversation is not None else self._conversation
        row = replace(row, conversation=conversation)
        session = row.session or self._session or self._streams.setdefault(conversation, session_name(row))
        if row.id is not None:
            return Identified(_message(row, MessageKey(conversation, session, row.id)), "given")
        if row.said_at is not None:
            equal = (conversation, message_id(row, session, occurrence=0))
            self._timed[equal] += 1
            id = message_id(row, session, occurrence=self._timed[equal])
            return Identified(_message(row, MessageKey(conversation, session, id)), "time")
        place = (conversation, session)
        if place not in self._ordered:
            self._ordered[place] = _Order(self._journalled(*place), append=self._append)
        id = self._ordered[place].id_of(row, session)
        return Identified(_message(row, MessageKey(conversation, session, id)), "order")


class _Order:
    """The rows of one session that have neither id nor time."""

    def __init__(self, journalled: list[Message], *, append: bool) -> None:
        self._journalled = journalled
        self._next = len(journalled) if append else 0
        self._seen: defaultdict[tuple[str, str | None, str], int] = defaultdict(int)
        for message in journalled:
            self._seen[_said(message)] += 1

    def id_of(self, row: Row, session: str) -> str:
        place, self._next = self._next, self._next + 1
        if place < len(self._journalled):
            if _said(self._journalled[place]) != _said(row):
                raise NotAContinuation(
                    f"message {place + 1} of session {session!r} is journalled with other words, and this row has "
                    "neither id nor time to tell it by (--append takes such rows as new)"
                )
            return self._journalled[place].id
        self._seen[_said(row)] += 1
        return message_id(row, session, occurrence=self._seen[_said(row)])


def _said(row: Row | Message) -> tuple[str, str | None, str]:
    return (row.role.value, row.speaker, row_text(row))


def _message(row: Row, key: MessageKey) -> Message:
    return Message(
        conversation=key.conversation,
        session=key.session,
        id=key.id,
        position=-1,
        role=row.role,
        speaker=row.speaker,
        content=row.content,
        image_caption=row.image_caption,
        said_at=row.said_at,
        agent=row.agent,
    )
