"""Turns a filter on what was said, by whom and when into the ids that an index may return."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from lightmem_cli.protocols import Selection
from lightmem_cli.records import Filter, Kind, State

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids

_NOT_SUPERSEDED_BY_THEN = """NOT EXISTS (
  SELECT 1 FROM links l JOIN entries n ON n.id = CASE l.kind WHEN 'supersedes' THEN l.source ELSE l.target END
  WHERE e.id = CASE l.kind WHEN 'supersedes' THEN l.target ELSE l.source END
    AND l.kind IN ('supersedes', 'merged_into') AND (l.source = e.id OR l.target = e.id) AND n.said_epoch <= ?)"""


def condition(where: Filter) -> tuple[str, list[object]]:
    """`where` as an SQL condition on entries `e`, with its parameters."""
    parts: list[str] = []
    values: list[object] = []

    def add(part: str, *its: object) -> None:
        parts.append(part)
        values.extend(its)

    if where.kinds:
        add(f"e.kind IN ({_marks(where.kinds)})", *(kind.value for kind in where.kinds))
    if where.speakers:
        add(f"folded(e.speaker) IN ({_marks(where.speakers)})", *(speaker.casefold() for speaker in where.speakers))
    if where.conversation is not None:
        add("e.conversation = ?", where.conversation)
    if where.session is not None:
        add("e.session = ?", where.session)
    if where.since is not None:
        add("e.said_epoch >= ?", where.since.timestamp())
    if where.until is not None:
        add("e.said_epoch <= ?", where.until.timestamp())
    if where.as_of is not None:
        then = where.as_of.timestamp()
        add("e.said_epoch <= ? AND e.state IN ('active', 'superseded')", then)
        add(_NOT_SUPERSEDED_BY_THEN, then)
    elif where.states:
        add(f"e.state IN ({_marks(where.states)})", *(state.value for state in where.states))
    return " AND ".join(parts) or "1", values


class Selector:
    """Resolves filters to sorted ids of entries, or of vectors."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._position = -1  # in `changes`, up to which what is remembered holds
        self._remembered: dict[Filter, Selection | None] = {}

    def entries(self, where: Filter) -> Selection | None:
        """The entries that pass `where`; None where all do. Resolved once for all searches of a question."""
        position = self._connection.execute("SELECT max(position) FROM changes").fetchone()[0]
        if position != self._position:
            self._position, self._remembered = position, {}
        if where not in self._remembered:
            self._remembered[where] = self._entries(where)
        return self._remembered[where]

    def _entries(self, where: Filter) -> Selection | None:
        aside = self._aside(where)
        if aside is None:
            sql, values = condition(where)
            return Selection(self._ids(f"SELECT e.id FROM entries e WHERE {sql} ORDER BY e.id", values), False)
        return Selection(self._ids(*aside), True) if self._any(*aside) else None

    def vectors(self, where: Filter) -> Selection | None:
        """The vectors through which at least one entry that passes `where` is seen; None where all are."""
        aside = self._aside(where)
        sql, values = condition(where)
        if aside is None:
            query = f"SELECT DISTINCT v.vector FROM views v JOIN entries e ON e.id = v.entry WHERE {sql} ORDER BY 1"
            return Selection(self._ids(query, values), False)
        if not self._any(*aside):
            return None
        query = (
            f"SELECT DISTINCT v.vector FROM views v WHERE v.entry IN ({aside[0]}) AND NOT EXISTS"
            f" (SELECT 1 FROM views o JOIN entries e ON e.id = o.entry WHERE o.vector = v.vector AND {sql}) ORDER BY 1"
        )
        return Selection(self._ids(query, [*aside[1], *values]), True)

    def passing(self, where: Filter, ids: list[int]) -> list[int]:
        """Those entries among `ids` that pass `where`."""
        sql, values = condition(where)
        found: list[int] = []
        for start in range(0, len(ids), 400):
            some = ids[start : start + 400]
            rows = self._connection.execute(
                f"SELECT e.id FROM entries e WHERE e.id IN ({_marks(some)}) AND {sql}", [*some, *values]
            )
            found.extend(id for (id,) in rows)
        return sorted(found)

    def _aside(self, where: Filter) -> tuple[str, list[object]] | None:
        """A query for the few entries left out, where `where` speaks of kinds and states alone."""
        fields = (where.speakers, where.conversation, where.session, where.since, where.until, where.as_of)
        if any(field not in ((), None) for field in fields):
            return None
        kinds = [kind.value for kind in Kind if where.kinds and kind not in where.kinds]
        states = [state.value for state in State if where.states and state not in where.states]
        if Kind.TURN in kinds or State.ACTIVE in states:  # not few
            return None
        return (
            f"SELECT id FROM entries WHERE kind IN ({_marks(kinds)})"
            f" UNION SELECT id FROM entries WHERE state <> 'active' AND state IN ({_marks(states)})",
            [*kinds, *states],
        )

    def _any(self, sql: str, values: list[object]) -> bool:
        return bool(self._connection.execute(f"SELECT EXISTS ({sql})", values).fetchone()[0])

    def _ids(self, sql: str, values: list[object]) -> Ids:
        import numpy as np

        rows = self._connection.execute(sql, values)
        ids: Ids = np.fromiter((id for (id,) in rows), dtype=np.int64)
        ids.sort()
        return ids


def _marks(values: object) -> str:
    return ", ".join("?" * len(values))  # type: ignore[arg-type]  # any sized collection
