"""Reads a conversation's facts by the stretch of time they were said in, and the summaries that stand for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from lightmem_cli.records import Kind, TimeRange
from lightmem_cli.store.history.columns import from_time, to_time

# In the order said. Facts of one message follow each other as they were born. CROSS JOIN: from what a fact rests on to
# its messages, never through all messages of the session.
_IN_ITS_SESSION = (
    "(SELECT min(m.position) FROM sources s CROSS JOIN messages m ON m.id = s.message"
    " WHERE s.entry = e.id AND m.conversation = e.conversation AND m.session = e.session)"
)

# A summary of a stretch of time, made by rules or asked for as such: those of topics are made with their facts.
_OF_A_WINDOW = "(e.prompt IS NULL OR e.prompt GLOB 'summary-*')"
_FACTS: Final = (Kind.FACT,)


class Place(NamedTuple):
    """Where and when a fact was said."""

    conversation: str
    session: str
    said_at: datetime | None


class Ranged(NamedTuple):
    """A summary by history's integer, and the days that it retells."""

    id: int
    days: TimeRange


class Told(NamedTuple):
    """Something said in a conversation, by history's integer: its id, its session, and the second it was said at."""

    id: int
    name: str
    session: str
    said: float | None


class Windows:
    """Reads of facts and summaries, by history's integers; writes nothing.

    A + keeps SQLite from the index by kind and state, which would read all facts for those of one day.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def changed_after(self, position: int, *, kinds: Iterable[Kind] = _FACTS) -> list[Place]:
        """The places of the facts that changed after `position` in `changes`, now and before each of their revisions.

        With other `kinds`, those of these. Facts that are active no more are among them. Where entries were purged
        since, of which no place is left, the places of all purged messages are.
        """
        rows = self._connection.execute(
            "WITH changed AS (SELECT DISTINCT e.id, e.conversation, e.session, e.said_at"
            "  FROM changes c JOIN entries e ON e.id = c.item"
            f"  WHERE c.position > ?1 AND c.what = 'entry' AND e.kind {_in(kinds)})"
            " SELECT conversation, session, said_at FROM changed UNION"
            " SELECT conversation, session, json_extract(before, '$.said_at')"
            "  FROM changed JOIN revisions r ON r.entry = changed.id WHERE json_type(before, '$.said_at') IS NOT NULL"
            " UNION SELECT conversation, session, said_at FROM messages WHERE purged IS NOT NULL AND EXISTS"
            "  (SELECT 1 FROM changes c WHERE c.position > ?1 AND c.what = 'entry'"
            "   AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.id = c.item))",
            (position,),
        )
        return [Place(conversation, session, to_time(said_at)) for conversation, session, said_at in rows]

    def left_bare_after(self, position: int) -> bool:
        """Whether a summary that a model made may have gone after `position`, of whatever window: erased, or hidden."""
        row = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM changes c LEFT JOIN entries e ON e.id = c.item"
            " WHERE c.position > ? AND c.what = 'entry' AND (e.id IS NULL OR (e.kind = 'summary'"
            "  AND e.state IN ('deleted', 'unsupported') AND e.prompt GLOB 'summary-*')))",
            (position,),
        ).fetchone()
        return bool(row[0])

    def around(self, conversation: str, *, most: int) -> list[Told]:
        """The newest active facts, relations and summaries of topics in a conversation, in the order said.

        Summaries of windows are not among them.
        """
        rows = self._connection.execute(
            "SELECT e.id, e.name, e.session, e.said_epoch FROM entries e"
            " WHERE e.conversation = ? AND +e.state = 'active'"
            f" AND (+e.kind IN ('fact', 'relation') OR (+e.kind = 'summary' AND NOT {_OF_A_WINDOW}))"
            " ORDER BY e.said_epoch DESC, e.name LIMIT ?",
            (conversation, most),
        ).fetchall()
        return sorted((Told(*row) for row in rows), key=lambda one: (one.said is None, one.said or 0.0, one.name))

    def facts_between(self, conversation: str, days: TimeRange, *, kinds: Iterable[Kind] = _FACTS) -> list[int]:
        """The active facts (or `kinds`) that were said in `days`, in the order said."""
        return self._ids(
            f"+e.kind {_in(kinds)} AND +e.state = 'active' AND e.conversation = ?"
            f" AND e.said_epoch >= ? AND e.said_epoch < ? ORDER BY e.said_epoch, e.session, {_IN_ITS_SESSION}, e.id",
            (conversation, days.start.timestamp(), days.end.timestamp()),
        )

    def facts_of_session(
        self, conversation: str, session: str, *, undated: bool, kinds: Iterable[Kind] = _FACTS
    ) -> list[int]:
        """The active facts (or `kinds`) of a session, in its order; with `undated` those said nobody knows when."""
        when = " AND +e.said_epoch IS NULL" if undated else ""
        return self._ids(
            f"+e.kind {_in(kinds)} AND +e.state = 'active' AND e.conversation = ? AND e.session = ?{when}"
            f" ORDER BY {_IN_ITS_SESSION}, e.id",
            (conversation, session),
        )

    def summaries_of_days(self, conversation: str, days: TimeRange) -> list[int]:
        """The active summaries of exactly these days."""
        return self._ids(
            "+e.kind = 'summary' AND +e.state = 'active' AND e.conversation = ? AND e.session = ''"
            f" AND e.happened_from = ? AND e.happened_to = ? AND {_OF_A_WINDOW} ORDER BY e.id",
            (conversation, from_time(days.start), from_time(days.end)),
        )

    def summaries_of_session(self, conversation: str, session: str, *, undated: bool) -> list[int]:
        """The active summaries of a session; with `undated` only those of what was said nobody knows when."""
        when = " AND e.happened_from IS NULL" if undated else ""
        return self._ids(
            f"+e.kind = 'summary' AND +e.state = 'active' AND e.conversation = ? AND e.session = ?{when}"
            f" AND {_OF_A_WINDOW} ORDER BY e.id",
            (conversation, session),
        )

    def calendar_summaries(self, conversation: str | None) -> list[Ranged]:
        """The active summaries of days, weeks and months, of all conversations where none is named."""
        rows = self._connection.execute(
            "SELECT id, happened_from, happened_to FROM entries e WHERE kind = 'summary' AND state = 'active'"
            " AND session = '' AND happened_from IS NOT NULL AND (?1 IS NULL OR conversation = ?1)"
            f" AND {_OF_A_WINDOW} ORDER BY id",
            (conversation,),
        )
        found = [(id, to_time(start), to_time(end)) for id, start, end in rows]
        return [Ranged(id, TimeRange(start, end)) for id, start, end in found if start and end]

    def _ids(self, where: str, values: tuple[object, ...]) -> list[int]:
        return [id for (id,) in self._connection.execute(f"SELECT e.id FROM entries e WHERE {where}", values)]


def _in(kinds: Iterable[Kind]) -> str:
    return f"IN ({', '.join(repr(kind.value) for kind in kinds)})"
