"""Records each command that wrote to a conversation's memory, and the order in which things changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from lightmem_cli.records import Usage
from lightmem_cli.store.history.columns import now

# Of a revision r written by a run u: only the birth of an entry is taken back by deleting it.
UNDOES_BIRTH: Final = "(u.command = 'undo' AND r.undoes IS NULL AND r.after ->> '$.state' = 'deleted')"
_ONLY_ASKED: Final = "ask"  # a run that put on record what it cost to ask a language model, and changed nothing

What: TypeAlias = Literal["entry", "vector"]


class Run(NamedTuple):
    """One command that wrote. `ended_at` and `outcome` are None while it goes on, and for one that was killed."""

    id: int
    command: str
    started_at: str
    ended_at: str | None
    outcome: str | None


class Deeds(NamedTuple):
    """What a run changed: entries born in it, by kind; entries it revised; and the revisions it took for that."""

    born: dict[str, int]
    revised: int
    revisions: int


class Traces(NamedTuple):
    """What a run did beside its entries: topics it ended, messages it purged, and how many it brought in are purged.

    `purge` is the last run that purged after it: with the messages went what other runs had made of them. `usage` is
    what it cost to ask a language model.
    """

    topics: int = 0
    purged: int = 0
    lost: int = 0
    purge: int | None = None
    usage: Usage = Usage()


class Runs:
    """The tables runs and changes; and, by run, what was done to entries."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self, command: str) -> int:
        """Open a run and return its number."""
        row = self._connection.execute("INSERT INTO runs (command, started_at) VALUES (?, ?)", (command, now()))
        return int(row.lastrowid or 0)

    def end(self, run: int, outcome: str) -> None:
        self._connection.execute("UPDATE runs SET ended_at = ?, outcome = ? WHERE id = ?", (now(), outcome, run))

    def get(self, runs: Iterable[int]) -> dict[int, Run]:
        """Runs by their numbers; unknown ones are left out."""
        query = "SELECT * FROM runs WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        return {row[0]: Run(*row) for row in self._connection.execute(query, (_listed(runs),))}

    def newest(self, limit: int) -> list[Run]:
        """The last `limit` runs, newest first, but for those that only asked a language model."""
        query = "SELECT * FROM runs WHERE command <> ? ORDER BY id DESC LIMIT ?"
        return [Run(*row) for row in self._connection.execute(query, (_ONLY_ASKED, limit))]

    def changing(self) -> Iterator[Run]:
        """The runs that changed an entry, and those that purged, newest first."""
        query = (
            "SELECT * FROM runs r WHERE EXISTS (SELECT 1 FROM entries WHERE run = r.id)"
            " OR EXISTS (SELECT 1 FROM revisions WHERE run = r.id) OR command = 'purge' ORDER BY id DESC"
        )
        return (Run(*row) for row in self._connection.execute(query))

    def deeds(self, runs: Sequence[int]) -> dict[int, Deeds]:
        """What each of `runs` changed."""
        wanted = _listed(runs)
        born: dict[int, dict[str, int]] = {}
        for run, kind, count in self._connection.execute(
            "SELECT run, kind, count(*) FROM entries WHERE run IN (SELECT value FROM json_each(?)) GROUP BY run, kind",
            (wanted,),
        ):
            born.setdefault(run, {})[kind] = count
        rows = self._connection.execute(
            "SELECT run, count(DISTINCT entry), count(*) FROM revisions"
            " WHERE run IN (SELECT value FROM json_each(?)) GROUP BY run",
            (wanted,),
        )
        revised = {run: (entries, revisions) for run, entries, revisions in rows}
        return {run: Deeds(born.get(run, {}), *revised.get(run, (0, 0))) for run in runs}

    def traces(self, runs: Sequence[int]) -> dict[int, Traces]:
        """What each of `runs` did beside its entries."""
        found = {}
        for name, column, table in (("topics", "run", "segments"), ("purged", "purged", "messages")):
            query = (
                f"SELECT {column}, count(*) FROM {table} WHERE {column} IN (SELECT value FROM json_each(?)) GROUP BY 1"
            )
            found[name] = dict(self._connection.execute(query, (_listed(runs),)).fetchall())
        query = "SELECT run, count(*) FROM messages WHERE purged IS NOT NULL GROUP BY 1"
        lost = dict(self._connection.execute(query).fetchall())
        [(purge,)] = self._connection.execute("SELECT coalesce(max(purged), 0) FROM messages")
        usage = self._usage(runs)
        return {
            run: Traces(
                found["topics"].get(run, 0),
                found["purged"].get(run, 0),
                lost.get(run, 0),
                purge if purge > run else None,
                usage.get(run, Usage()),
            )
            for run in runs
        }

    def _usage(self, runs: Sequence[int]) -> dict[int, Usage]:
        rows = self._connection.execute(
            "SELECT run, count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens) FROM model_calls"
            " WHERE run IN (SELECT value FROM json_each(?)) GROUP BY run",
            (_listed(runs),),
        )
        return {
            run: Usage(calls=calls, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
            for run, calls, prompt, completion, cached in rows
        }

    def undone_in(self, *, since: int) -> list[int]:
        """The entries of which the undo runs from `since` on took something back."""
        rows = self._connection.execute(  # CROSS JOIN: from the undo runs to their revisions, never through all
            "SELECT DISTINCT r.entry FROM runs u CROSS JOIN revisions r ON r.run = u.id"
            " WHERE u.id >= ? AND u.command = 'undo'",
            (since,),
        )
        return [entry for (entry,) in rows]

    def changed(self, what: What, items: Iterable[int]) -> None:
        """Append to `changes`: indexes catch up from there."""
        self._connection.executemany("INSERT INTO changes (what, item) VALUES (?, ?)", ((what, i) for i in items))

    def uuid(self) -> str:
        """The name this history was born with: what is derived from another one is not this one's."""
        return str(self._connection.execute("SELECT value FROM profile WHERE key = 'uuid'").fetchone()[0])

    def position(self) -> int:
        """The last place in `changes`; 0 when nothing has changed yet."""
        row = self._connection.execute("SELECT coalesce(max(position), 0) FROM changes").fetchone()
        return int(row[0])

    def taken(self, reader: str) -> int:
        """The place in `changes` up to which `reader`, a stage, has taken them in; 0 before its first time."""
        row = self._connection.execute("SELECT value FROM profile WHERE key = ?", (f"{reader}.taken",)).fetchone()
        return 0 if row is None else int(row[0])

    def take(self, reader: str, position: int) -> None:
        """Note that `reader` has taken in the changes up to `position`."""
        self._connection.execute("INSERT OR REPLACE INTO profile VALUES (?, ?)", (f"{reader}.taken", str(position)))

    def changes_after(self, position: int, what: What, *, limit: int) -> tuple[list[int], int]:
        """The distinct items that changed in the next `limit` changes after `position`, and the position reached."""
        row = self._connection.execute(
            "SELECT max(position) FROM (SELECT position FROM changes WHERE position > ? ORDER BY position LIMIT ?)",
            (position, limit),
        ).fetchone()
        if row[0] is None:
            return [], position
        rows = self._connection.execute(
            "SELECT DISTINCT item FROM changes WHERE position > ? AND position <= ? AND what = ?",
            (position, row[0], what),
        )
        return [item for (item,) in rows], int(row[0])


def _listed(runs: Iterable[int]) -> str:
    return json.dumps(list(runs))
