"""Keeps what a conversation's entries were before each change, so that every change can be read and taken back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from lightmem_cli.records import Entry, LinkKind
from lightmem_cli.store.history.columns import epoch, now, to_time
from lightmem_cli.store.history.entries import Entries, columns_of
from lightmem_cli.store.history.runs import UNDOES_BIRTH, Runs

Values: TypeAlias = dict[str, Any]  # of the columns of `entries`; and `sources` and `links`, see Revision

REVISION_COLUMNS = "id, entry, run, step, before, after, reason, recorded_at, undoes"


class Revision(NamedTuple):
    """One change to one entry. Revisions of one `step` belong together and are undone together.

    `before` and `after` hold the columns that changed; `sources`, where they changed, as [message, born 0 or 1]; and
    `links`, where those from this entry changed, as [target, kind]. Messages, entries and targets are history's
    integers. `undoes` is the revision that this one took back.
    """

    id: int
    entry: int
    run: int
    step: int
    before: Values
    after: Values
    reason: str
    recorded_at: str
    undoes: int | None


class Change(NamedTuple):
    """A revision without its contents. `unborn`: it is an undo run's, and took back its entry's birth.

    `aside`: it is an undo run's, and hid what had come back but may not be seen, which stands in no undo's way.
    """

    id: int
    run: int
    undoes: int | None
    unborn: bool = False
    aside: bool = False


class Revisions:
    """The table revisions, and the one way in which entries, their sources and their links change."""

    def __init__(self, connection: sqlite3.Connection, entries: Entries, runs: Runs) -> None:
        self._connection = connection
        self._entries = entries
        self._runs = runs

    def new_step(self) -> int:
        """A number for revisions that belong together. Call it in the transaction that writes them."""
        return int(self._connection.execute("SELECT coalesce(max(step), 0) + 1 FROM revisions").fetchone()[0])

    def revise(
        self,
        id: int,
        after: Entry,
        *,
        run: int,
        reason: str,
        sources: Sequence[int] | None = None,
        links: Sequence[tuple[int, LinkKind]] | None = None,
        step: int | None = None,
    ) -> int:
        """Rewrite entry `id` to `after` (its id, kind and place stay), keeping what it was; the number of the revision.

        `sources` (messages) and `links` (target, kind) are all that it rests on and points to from now on; None leaves
        them as they are, whatever `after.sources` says.
        """
        old = self._entries.get([id])[id]
        was, becomes = columns_of(old), columns_of(after) | {"name": old.id}
        kept = ("name", "version", "recorded_at")
        values: Values = {name: value for name, value in becomes.items() if name not in kept and value != was[name]}
        if sources is not None:
            born = dict(self._sources(id))
            values["sources"] = [[message, born.get(message, 0)] for message in sorted(set(sources))]
        if links is not None:
            values["links"] = sorted([target, kind.value] for target, kind in set(links))
        return self._write(id, was, values, run=run, reason=reason, step=step, undoes=None)

    def take_back(self, revision: Revision, *, run: int, reason: str, step: int) -> int:
        """Give an entry back what `revision` changed; the number of the revision that does so."""
        was = columns_of(self._entries.get([revision.entry])[revision.entry])
        values = {name: value for name, value in revision.before.items() if name != "version"}
        return self._write(revision.entry, was, values, run=run, reason=reason, step=step, undoes=revision.id)

    def get(self, id: int) -> Revision | None:
        found = self._select("WHERE id = ?", id)
        return found[0] if found else None

    def of_entry(self, entry: int) -> list[Revision]:
        """The life of an entry after its birth, oldest first."""
        return self._select("WHERE entry = ? ORDER BY id", entry)

    def of_entries(self, entries: Iterable[int]) -> dict[int, list[Revision]]:
        """The lives of several entries, each oldest first; those never revised are left out."""
        lives: dict[int, list[Revision]] = {}
        for revision in self._select("WHERE entry IN (SELECT value FROM json_each(?)) ORDER BY id", _ids(entries)):
            lives.setdefault(revision.entry, []).append(revision)
        return lives

    def outlines(self, entries: Iterable[int]) -> dict[int, list[Change]]:
        """The lives of `entries` without their contents, each oldest first; every entry asked for has one."""
        wanted = list(entries)
        lives: dict[int, list[Change]] = {entry: [] for entry in wanted}
        rows = self._connection.execute(
            f"SELECT r.entry, r.id, r.run, r.undoes, {UNDOES_BIRTH}, r.undoes IS NULL AND NOT {UNDOES_BIRTH}"
            " AND u.command = 'undo'"
            " FROM revisions r JOIN runs u ON u.id = r.run"
            " WHERE r.entry IN (SELECT value FROM json_each(?)) ORDER BY r.id",
            (_ids(wanted),),
        )
        for entry, id, run, undoes, unborn, aside in rows:
            lives[entry].append(Change(id, run, undoes, unborn=bool(unborn), aside=bool(aside)))
        return lives

    def of_run(self, run: int) -> list[Revision]:
        return self._select("WHERE run = ? ORDER BY id", run)

    def of_step(self, step: int) -> list[Revision]:
        return self._select("WHERE step = ? ORDER BY id", step)

    def _select(self, where: str, *values: object) -> list[Revision]:
        return [
            revision_from(row)
            for row in self._connection.execute(f"SELECT {REVISION_COLUMNS} FROM revisions {where}", values)
        ]

    def _sources(self, id: int) -> list[tuple[int, int]]:
        query = "SELECT message, born FROM sources WHERE entry = ? ORDER BY message"
        return self._connection.execute(query, (id,)).fetchall()

    def _links(self, id: int) -> list[tuple[int, str]]:
        query = "SELECT target, kind FROM links WHERE source = ? ORDER BY target, kind"
        return self._connection.execute(query, (id,)).fetchall()

    def _write(
        self,
        id: int,
        was: dict[str, object],
        values: Values,
        *,
        run: int,
        reason: str,
        step: int | None,
        undoes: int | None,
    ) -> int:
        """Set an entry to `values` and record both sides of the change."""
        before: Values = {name: was[name] for name in values if name in was}
        columns: Values = {name: value for name, value in values.items() if name in was}
        if "sources" in values:
            before["sources"] = [list(row) for row in self._sources(id)]
            self._connection.execute("DELETE FROM sources WHERE entry = ?", (id,))
            self._connection.executemany(
                "INSERT INTO sources (entry, message, born) VALUES (?, ?, ?)",
                ((id, message, born) for message, born in values["sources"]),
            )
        if "links" in values:
            before["links"] = [list(row) for row in self._links(id)]
            self._connection.execute("DELETE FROM links WHERE source = ?", (id,))
            self._connection.executemany(
                "INSERT INTO links (source, target, kind, run) VALUES (?, ?, ?, ?)",
                ((id, target, kind, run) for target, kind in values["links"]),
            )
        version = int(str(was["version"]))
        columns["version"], before["version"] = version + 1, version
        if "said_at" in columns:
            columns["said_epoch"] = epoch(to_time(columns["said_at"]))
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._connection.execute(f"UPDATE entries SET {assignments} WHERE id = ?", (*columns.values(), id))
        columns.pop("said_epoch", None)
        after = columns | {name: values[name] for name in ("sources", "links") if name in values}
        row = self._connection.execute(
            "INSERT INTO revisions (entry, run, step, before, after, reason, recorded_at, undoes)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (id, run, step or self.new_step(), _json(before), _json(after), reason, now(), undoes),
        )
        self._runs.changed("entry", [id])
        return int(row.lastrowid or 0)


def revision_from(row: tuple[Any, ...]) -> Revision:
    """A revision from a row of `REVISION_COLUMNS`."""
    id, entry, run, step, before, after, reason, recorded_at, undoes = row
    return Revision(id, entry, run, step, json.loads(before), json.loads(after), reason, recorded_at, undoes)


def _ids(entries: Iterable[int]) -> str:
    return json.dumps(list(entries))


def _json(values: Values) -> str:
    return json.dumps(values, ensure_ascii=False)
