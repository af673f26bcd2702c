"""Completes a row's identity, so that a conversation ingested twice, or grown since, is recognised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from lightmem_cli.records import Message, MessageKey, Role, Row, message_id, row_text, session_name
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


_Said: TypeAlias = tuple[str, str | None, str]  # role, speaker and text


class _Order:
    """The rows of one session that have neither id nor time.

    Of a purged message nothing is left but an id that its words gave it. Its place takes any row, as the others tell
    whether this is the same transcript; where there are no others, the row must have the words that the id is made of.
    """

    def __init__(self, journalled: list[Message], *, append: bool) -> None:
        self._journalled = journalled
        self._next = len(journalled) if append else 0
        self._taken = {message.id for message in journalled}
        self._purged = _purged(journalled)
        self._seen = Counter(_said(message) for message in journalled)
        self._given: Counter[_Said] = Counter()

    def id_of(self, row: Row, session: str) -> str:
        place, self._next = self._next, self._next + 1
        self._given[_said(row)] += 1
        if place >= len(self._journalled):
            return self._new_id(row, session)
        id = self._journalled[place].id
        if not self._fits(row, place, session):
            how = "was purged, and said something else," if id in self._purged else "is journalled with other words,"
            raise NotAContinuation(
                f"message {place + 1} of session {session!r} {how} and this row has "
                "neither id nor time to tell it by (--append takes such rows as new)"
            )
        return id

    def _fits(self, row: Row, place: int, session: str) -> bool:
        known = self._journalled[place]
        if known.id not in self._purged:
            return _said(known) == _said(row)
        if len(self._purged) < len(self._journalled):
            return True
        return message_id(row, session, occurrence=self._given[_said(row)]) == known.id

    def _new_id(self, row: Row, session: str) -> str:
        """The id of a row that was not there before; one that a purged message had is not given again."""
        while True:
            self._seen[_said(row)] += 1
            id = message_id(row, session, occurrence=self._seen[_said(row)])
            if id not in self._taken:
                return id


def _said(row: Row | Message) -> _Said:
    return (row.role.value, row.speaker, row_text(row))


def _purged(journalled: list[Message]) -> set[str]:
    """The ids of those that say nothing and whose ids are not those of messages that say nothing."""
    empty = [message for message in journalled if not row_text(message) and not message.speaker]
    counted: Counter[Role] = Counter()
    of_nothing: set[str] = set()
    for message in empty:
        counted[message.role] += 1
        row = Row(content="", role=message.role)
        of_nothing.add(message_id(row, message.session, occurrence=counted[message.role]))
    return {message.id for message in empty} - of_nothing


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
