"""Reads the facts a conversation is remembered by as `update` compares them, and keeps which pairs were judged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple


class Changed(NamedTuple):
    """An active fact, whose it is (speakers in small letters), and the last place in `changes` that names it."""

    id: int
    name: str
    version: int
    conversation: str
    speaker: str
    last: int


class Facts:
    """Batched reads of entries of kind fact, by history's integers, and the table judged."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def changed_after(self, position: int) -> list[Changed]:
        """The active facts that changed after `position` in `changes`, in order of birth."""
        rows = self._connection.execute(  # CROSS JOIN: from the changes to their entries, never the other way round
            "SELECT e.id, e.name, e.version, e.conversation, coalesce(folded(e.speaker), ''), c.last FROM"
            " (SELECT item, max(position) AS last FROM changes WHERE position > ? AND what = 'entry' GROUP BY item) c"
            " CROSS JOIN entries e ON e.id = c.item WHERE e.kind = 'fact' AND e.state = 'active' ORDER BY e.id",
            (position,),
        )
        return [Changed(*row) for row in rows]

    def said_by(self, speaker: str, *, conversation: str) -> dict[int, str]:
        """The texts of one voice's active facts, in order of birth; its name is in small letters."""
        rows = self._connection.execute(  # +: by conversation; entries_by_kind is of all
            "SELECT id, text FROM entries WHERE conversation = ? AND +kind = 'fact' AND +state = 'active'"
            " AND coalesce(folded(speaker), '') = ? ORDER BY id",
            (conversation, speaker),
        )
        return {id: text for id, text in rows}

    def unembedded(self) -> set[int]:
        """The entries that still wait for their vectors, those set aside included."""
        rows = self._connection.execute("SELECT item FROM jobs WHERE stage = 'embed' AND space = 0")
        return {item for (item,) in rows}

    def judged(self, older: Iterable[int]) -> dict[tuple[int, int], bytes]:
        """The pairs with any of `older` that a language model judged, and what they said then, as `judge` noted it."""
        rows = self._connection.execute(
            "SELECT older, newer, said FROM judged WHERE older IN (SELECT value FROM json_each(?))",
            (json.dumps(list(older)),),
        )
        return {(one, other): bytes(said) for one, other, said in rows}

    def judge(self, pairs: Iterable[tuple[int, int, bytes]]) -> None:
        """Note pairs (older, newer, what they say) that were judged."""
        self._connection.executemany("INSERT OR REPLACE INTO judged (older, newer, said) VALUES (?, ?, ?)", pairs)

    def brought_back(self) -> dict[int, int]:
        """The facts of mergers that were undone, each with the last entry that was there when it was."""
        rows = self._connection.execute(  # CROSS JOIN: from the revisions that undo, by revisions_undoing
            "SELECT r.entry, max(u.run) FROM revisions u CROSS JOIN revisions r ON r.id = u.undoes"
            " CROSS JOIN runs ON runs.id = r.run WHERE u.undoes IS NOT NULL AND runs.command = 'update'"
            " GROUP BY r.entry"
        )
        undone = {entry: run for entry, run in rows}
        there = self._there_after(undone.values())
        return {entry: there[run] for entry, run in undone.items()}

    def _there_after(self, runs: Iterable[int]) -> dict[int, int]:
        """For each of `runs`, the last entry that was born in it or in an earlier one; 0 where none was."""
        there: dict[int, int] = {}
        before = last = 0
        for run in sorted(set(runs)):  # each asks only for what was born since the one before it
            row = self._connection.execute("SELECT max(+id) FROM entries WHERE run > ? AND run <= ?", (before, run))
            before, last = run, max(last, row.fetchone()[0] or 0)
            there[run] = last
        return there
