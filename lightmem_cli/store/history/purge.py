"""Takes messages out of a conversation's history for good, with all that was made of them, down to the free pages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from lightmem_cli.records import MessageKey
from lightmem_cli.store.history.columns import epoch, to_time
from lightmem_cli.store.history.connection import translated
from lightmem_cli.store.history.revisions import Revisions, Values
from lightmem_cli.store.history.runs import Runs
from lightmem_cli.store.history.vectors import VectorShelf

# What an entry says, which may have come from any message it ever rested on. The rest says where it belongs.
_SAID = ("text", "speaker", "agent", "said_at", "importance", "keywords", "entities", "prompt", "model")
_CONTENT = (*_SAID, "happened_from", "happened_to", "valid_until")
UNFINISHED = "purging"  # the key in `profile` while erased words may still stand somewhere on the disk


class Spoken(NamedTuple):
    """A message by history's integer, the entry that is its turn, if it has one, and whether it was purged."""

    id: int
    key: MessageKey
    turn: int | None
    purged: bool


class Purge:
    """The one place that deletes rows of messages, entries and revisions. Call it inside a transaction."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, revisions: Revisions, vectors: VectorShelf, runs: Runs
    ) -> None:
        self._connection = connection
        self._path = path
        self._revisions = revisions
        self._vectors = vectors
        self._runs = runs

    def messages(
        self,
        *,
        name: str | None = None,
        conversation: str | None = None,
        session: str | None = None,
        speaker: str | None = None,
    ) -> list[Spoken]:
        """The messages that are all of this, purged ones included; a message without a name is its role's."""
        rows = self._connection.execute(
            "SELECT id, conversation, session, name, turn, purged IS NOT NULL FROM messages"
            " WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR conversation = ?2) AND (?3 IS NULL OR session = ?3)"
            " AND (?4 IS NULL OR folded(coalesce(speaker, role)) = ?4) ORDER BY id",
            (name, conversation, session, None if speaker is None else speaker.casefold()),
        )
        return [Spoken(id, MessageKey(*key), turn, bool(purged)) for id, *key, turn, purged in rows]

    def is_purged(self, message: int) -> bool:
        row = self._connection.execute("SELECT purged IS NOT NULL FROM messages WHERE id = ?", (message,)).fetchone()
        return bool(row and row[0])

    def rested(self, messages: Iterable[int]) -> dict[int, bool]:
        """The entries that rest on any of `messages` or ever did; True for those born of one."""
        rows = self._connection.execute(  # what it rests on no more, it did before one of its revisions
            "WITH rested (entry, message, born) AS (SELECT entry, message, born FROM sources UNION ALL"
            " SELECT r.entry, json_extract(s.value, '$[0]'), json_extract(s.value, '$[1]')"
            " FROM revisions r, json_each(r.before, '$.sources') s)"
            " SELECT entry, max(born) FROM rested WHERE message IN (SELECT value FROM json_each(?))"
            " GROUP BY entry ORDER BY entry",
            (_listed(messages),),
        )
        return {entry: bool(born) for entry, born in rows}

    def rested_on(self, entries: Iterable[int]) -> set[int]:
        """The messages that any of `entries` rests on or ever did."""
        rows = self._connection.execute(
            "SELECT message FROM sources WHERE entry IN (SELECT value FROM json_each(?1)) UNION"
            " SELECT json_extract(s.value, '$[0]') FROM revisions r, json_each(r.before, '$.sources') s"
            " WHERE r.entry IN (SELECT value FROM json_each(?1))",
            (_listed(entries),),
        )
        return {message for (message,) in rows}

    def born_of(self, entry: int) -> list[int]:
        """The messages that an entry was born of, whatever it rests on now."""
        for revision in self._revisions.of_entry(entry):
            if "sources" in revision.before:
                return [message for message, born in revision.before["sources"] if born]
        query = "SELECT message FROM sources WHERE entry = ? AND born = 1 ORDER BY message"
        return [message for (message,) in self._connection.execute(query, (entry,))]

    def birth(self, entry: int) -> Values:
        """The columns in which an entry has come to say something else than at its birth, as they were then."""
        found: Values = {}
        for revision in self._revisions.of_entry(entry):
            found = {name: value for name, value in revision.before.items() if name in _CONTENT} | found
        return found

    def empty(self, messages: Collection[int], *, run: int) -> None:
        """Leave of `messages` their identity, place, time and role; what is still asked of them is struck off."""
        listed = _listed(messages)
        self._connection.execute(
            "UPDATE messages SET content = '', image_caption = NULL, speaker = NULL, agent = NULL, turn = NULL,"
            " purged = ? WHERE id IN (SELECT value FROM json_each(?))",
            (run, listed),
        )
        where = "item IN (SELECT value FROM json_each(?))"
        self._connection.execute(f"DELETE FROM jobs WHERE stage = 'extract' AND {where}", (listed,))
        self._connection.execute(
            f"UPDATE jobs SET reason = NULL WHERE stage IN ('segment', 'close') AND {where}", (listed,)
        )
        where = "message IN (SELECT value FROM json_each(?))"
        self._connection.execute(f"DELETE FROM sources WHERE {where}", (listed,))
        self._connection.execute(f"DELETE FROM compressed WHERE {where}", (listed,))

    def erase(self, entries: Collection[int]) -> None:
        """Delete entries with their sources, links, views, revisions and jobs, and vectors that nobody else uses."""
        for entry in entries:
            self._vectors.forget_views(entry)
        where = "IN (SELECT value FROM json_each(?1))"
        for statement in (
            f"DELETE FROM sources WHERE entry {where}",
            f"DELETE FROM links WHERE source {where} OR target {where}",
            f"DELETE FROM judged WHERE older {where} OR newer {where}",
            f"DELETE FROM revisions WHERE entry {where}",
            f"DELETE FROM jobs WHERE stage = 'embed' AND item {where}",
            f"DELETE FROM entries WHERE id {where}",
        ):
            self._connection.execute(statement, (_listed(entries),))
        self._runs.changed("entry", sorted(entries))

    def say_as_born(self, entry: int) -> bool:
        """Set what an entry says back to what it said at birth, without a trace; whether that changed its text."""
        columns = self.birth(entry)
        if not columns:
            return False
        if "said_at" in columns:
            columns["said_epoch"] = epoch(to_time(columns["said_at"]))
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._connection.execute(f"UPDATE entries SET {assignments} WHERE id = ?", (*columns.values(), entry))
        return "text" in columns

    def rest_as_born(self, entry: int) -> None:
        """Let an entry that rests on nothing any more rest on what it was born of."""
        self._connection.executemany(
            "INSERT INTO sources (entry, message, born) VALUES (?, ?, 1)",
            ((entry, message) for message in self.born_of(entry)),
        )

    def clean_revisions(
        self, *, messages: Collection[int], erased: Collection[int], reborn: Collection[int]
    ) -> set[int]:
        """Take out of all revisions what was erased; the entries whose past it was.

        That is: `messages` from sources, `erased` entries from links, and all that the `reborn` ever said. A revision
        that says nothing any more is deleted, and so is one that took it back.
        """
        cleaned: set[int] = set()
        empty: set[int] = set()
        rows = self._connection.execute(
            "SELECT id, entry, undoes, before, after FROM revisions WHERE json_type(before, '$.sources') IS NOT NULL"
            " OR json_type(before, '$.links') IS NOT NULL OR entry IN (SELECT value FROM json_each(?)) ORDER BY id",
            (_listed(reborn),),
        ).fetchall()
        for id, entry, undoes, *sides in rows:
            was = [json.loads(side) for side in sides]
            before, after = (_without(side, messages, erased, words=entry in reborn) for side in was)
            if [before, after] == was:
                continue
            kept = {name for name in before if name == "version" or before[name] != after.get(name)}
            cleaned.add(entry)
            if kept <= {"version"} or undoes in empty:
                empty.add(id)
            else:
                self._connection.execute(
                    "UPDATE revisions SET before = ?, after = ? WHERE id = ?",
                    (*(_json({name: side[name] for name in kept}) for side in (before, after)), id),
                )
        later_first = ((id,) for id in sorted(empty, reverse=True))  # a revision goes before the one it took back
        self._connection.executemany("DELETE FROM revisions WHERE id = ?", later_first)
        return cleaned

    def begin(self, run: int) -> None:
        """Note that what the purge `run` erased may still stand on the disk."""
        self._connection.execute("INSERT OR REPLACE INTO profile VALUES (?, ?)", (UNFINISHED, str(run)))

    def unfinished(self) -> int | None:
        """The purge whose erased words may still stand on the disk."""
        row = self._connection.execute("SELECT value FROM profile WHERE key = ?", (UNFINISHED,)).fetchone()
        return None if row is None else int(row[0])

    def end(self, run: int) -> None:
        """Note that nothing is left of what `run` erased; a purge that began since has its own end."""
        self._connection.execute("DELETE FROM profile WHERE key = ? AND value = ?", (UNFINISHED, str(run)))

    def compact(self) -> bool:
        """Write the file anew from its rows and empty its log; False while a reader keeps the log. In no transaction.

        Takes about as much free space as the file, twice.
        """
        with translated(self._path):
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("VACUUM")
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def _without(values: Values, messages: Collection[int], erased: Collection[int], *, words: bool) -> Values:
    """One side of a revision without what was erased and, with `words`, without what the entry said."""
    kept = {name: value for name, value in values.items() if not (words and name in _CONTENT)}
    if "sources" in kept:
        kept["sources"] = [source for source in kept["sources"] if source[0] not in messages]
    if "links" in kept:
        kept["links"] = [link for link in kept["links"] if link[0] not in erased]
    return kept


def _json(values: Values) -> str:
    return json.dumps(values, ensure_ascii=False)


def _listed(ids: Iterable[int]) -> str:
    return json.dumps(list(ids))
