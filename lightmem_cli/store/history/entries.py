"""Keeps what a conversation is remembered by: entries born once, and tied to the messages they rest on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from lightmem_cli.records import Entry, Kind, LinkKind, MessageKey, State, TimeRange, entry_id
from lightmem_cli.store.history.columns import epoch, from_names, from_time, now, to_names, to_time
from lightmem_cli.store.history.runs import Runs

ENTRY_COLUMNS = (
    "name, kind, text, conversation, session, speaker, agent, said_at, happened_from, happened_to, valid_until, "
    "importance, keywords, entities, state, pinned, prompt, model, version, recorded_at"
)
_NAMES = ENTRY_COLUMNS.split(", ")
_KINDS = {kind.value: kind for kind in Kind}
_STATES = {state.value: state for state in State}
_AT_ONCE = 500  # SQLite's oldest limit on parameters is 999


Unspoken: TypeAlias = Literal["forgotten", "purged"]


class Forgotten(NamedTuple):
    """Of a message whose words are hidden, or purged for good: its turn, if it has one, and the run that did it."""

    turn: int | None
    purged: bool
    run: int


class Entries:
    """The tables entries, sources and links."""

    def __init__(self, connection: sqlite3.Connection, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs

    def add(
        self, entry: Entry, *, sources: Sequence[int], run: int, links: Sequence[tuple[int, LinkKind]] = ()
    ) -> int | None:
        """Let an entry be born from the messages `sources`, with `links` (target, kind) from it to others.

        None (and no change) if it was born before.

        Its id is derived here, whatever `entry.id` says, so that a collision of short ids gets a longer one.
        """
        if self.born_as(entry) is not None:
            return None
        full, birth = _birth(entry)
        columns = {**columns_of(entry), "name": self._free_name(full), "recorded_at": now()}
        marks = ", ".join("?" * (len(_NAMES) + 3))
        row = self._connection.execute(
            f"INSERT INTO entries ({ENTRY_COLUMNS}, birth, said_epoch, run) VALUES ({marks})",
            (*(columns[name] for name in _NAMES), birth, epoch(entry.said_at), run),
        )
        id = int(row.lastrowid or 0)
        self._connection.executemany(
            "INSERT INTO sources (entry, message) VALUES (?, ?)", ((id, message) for message in dict.fromkeys(sources))
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO links (source, target, kind, run) VALUES (?, ?, ?, ?)",
            ((id, target, kind.value, run) for target, kind in links),
        )
        self._runs.changed("entry", [id])
        return id

    def born_as(self, entry: Entry) -> int | None:
        """Which entry, of whatever state, was born with the identity that `entry` has."""
        row = self._connection.execute("SELECT id FROM entries WHERE birth = ?", (_birth(entry)[1],)).fetchone()
        return None if row is None else int(row[0])

    def get(self, ids: Iterable[int]) -> dict[int, Entry]:
        """Entries by history's integers, with their sources; unknown ones are left out."""
        found: dict[int, Entry] = {}
        for some in _some(ids):
            marks = ", ".join("?" * len(some))
            sources: dict[int, list[MessageKey]] = {}
            for entry, *key in self._connection.execute(
                "SELECT s.entry, m.conversation, m.session, m.name FROM sources s JOIN messages m ON m.id = s.message"
                f" WHERE s.entry IN ({marks}) ORDER BY s.entry, s.message",
                some,
            ):
                sources.setdefault(entry, []).append(MessageKey(*key))
            rows = self._connection.execute(f"SELECT id, {ENTRY_COLUMNS} FROM entries WHERE id IN ({marks})", some)
            found |= {row[0]: entry_from(row[1:], tuple(sources.get(row[0], ()))) for row in rows}
        return found

    def find(self, prefix: str, *, limit: int = 5) -> list[tuple[int, str]]:
        """History's integer and full id of up to `limit` entries whose id begins with `prefix`."""
        upper = prefix + "g"  # ids are hexadecimal: nothing they hold sorts after "g"
        rows = self._connection.execute(
            "SELECT id, name FROM entries WHERE name >= ? AND name < ? ORDER BY name LIMIT ?", (prefix, upper, limit)
        )
        return [(id, name) for id, name in rows]

    def numbers(self, names: Iterable[str]) -> dict[str, int]:
        """History's integers for entries by their full ids; of those that are there."""
        rows = self._connection.execute(
            "SELECT name, id FROM entries WHERE name IN (SELECT value FROM json_each(?))", (json.dumps(list(names)),)
        )
        return dict(rows.fetchall())

    def find_by_message(self, id: str, *, limit: int = 5) -> list[tuple[int, str]]:
        """The turns of the messages that came in with this id, in any conversation."""
        rows = self._connection.execute(
            "SELECT e.id, e.name FROM messages m JOIN sources s ON s.message = m.id JOIN entries e ON e.id = s.entry"
            " WHERE m.name = ? AND e.kind = 'turn' LIMIT ?",
            (id, limit),
        )
        return [(id, name) for id, name in rows]

    def of_message(self, message: int) -> list[int]:
        """The entries that rest on a message, in order of birth."""
        rows = self._connection.execute("SELECT entry FROM sources WHERE message = ? ORDER BY entry", (message,))
        return [entry for (entry,) in rows]

    def of_kind(self, kind: Kind) -> list[int]:
        """All entries of one kind, in order of birth."""
        rows = self._connection.execute("SELECT id FROM entries WHERE kind = ? ORDER BY id", (kind.value,))
        return [entry for (entry,) in rows]

    def born_in(self, run: int) -> list[int]:
        """The entries born in a run, in order of birth."""
        return [id for (id,) in self._connection.execute("SELECT id FROM entries WHERE run = ? ORDER BY id", (run,))]

    def birth_runs(self, ids: Iterable[int]) -> dict[int, int]:
        """The runs in which entries were born."""
        query = "SELECT id, run FROM entries WHERE id IN (SELECT value FROM json_each(?))"
        return dict(self._connection.execute(query, (_listed(ids),)).fetchall())

    def pinned(self) -> list[int]:
        """The pinned entries, in order of birth."""
        return [id for (id,) in self._connection.execute("SELECT id FROM entries WHERE pinned = 1 ORDER BY id")]

    def resting_on(self, messages: Iterable[int]) -> list[int]:
        """The entries that rest on any of `messages`, in order of birth."""
        query = "SELECT DISTINCT entry FROM sources WHERE message IN (SELECT value FROM json_each(?)) ORDER BY entry"
        return [entry for (entry,) in self._connection.execute(query, (_listed(messages),))]

    def pointing_to(self, ids: Iterable[int], *, since: int = 0) -> list[int]:
        """The entries that have a link to any of `ids` from a run after `since`, in order of birth."""
        rows = self._connection.execute(
            "SELECT DISTINCT source FROM links WHERE target IN (SELECT value FROM json_each(?)) AND run > ?"
            " ORDER BY source",
            (_listed(ids), since),
        )
        return [source for (source,) in rows]

    def forgotten(self, messages: Iterable[int]) -> dict[int, Forgotten]:
        """Those of `messages` that are forgotten or purged."""
        rows = self._connection.execute(
            "SELECT m.id, m.turn, m.purged IS NOT NULL,"
            " coalesce(m.purged, (SELECT max(run) FROM revisions WHERE entry = m.turn), m.run)"
            " FROM messages m LEFT JOIN entries e ON e.id = m.turn"
            " WHERE m.id IN (SELECT value FROM json_each(?)) AND (e.state = 'deleted' OR m.purged IS NOT NULL)",
            (_listed(messages),),
        )
        return {message: Forgotten(turn, bool(purged), run) for message, turn, purged, run in rows}

    def unspoken(self, keys: Iterable[MessageKey]) -> dict[MessageKey, Unspoken]:
        """Those messages among `keys` whose words are not to be shown, and why."""
        found: dict[MessageKey, Unspoken] = {}
        for key in keys:
            row = self._connection.execute(
                "SELECT m.purged IS NOT NULL FROM messages m LEFT JOIN entries e ON e.id = m.turn"
                " WHERE m.conversation = ? AND m.session = ? AND m.name = ?"
                " AND (e.state = 'deleted' OR m.purged IS NOT NULL)",
                key,
            ).fetchone()
            if row is not None:
                found[key] = "purged" if row[0] else "forgotten"
        return found

    def source_ids(self, id: int) -> list[int]:
        """History's integers of the messages that entry `id` rests on."""
        rows = self._connection.execute("SELECT message FROM sources WHERE entry = ? ORDER BY message", (id,))
        return [message for (message,) in rows]

    def links_of(self, id: int) -> list[tuple[int, int, LinkKind]]:
        """The links from and to entry `id`, as (source, target, kind)."""
        rows = self._connection.execute(
            "SELECT source, target, kind FROM links WHERE source = ?1 OR target = ?1 ORDER BY kind, source, target",
            (id,),
        )
        return [(source, target, LinkKind(kind)) for source, target, kind in rows]

    def links_from(self, id: int) -> list[tuple[int, LinkKind]]:
        """What entry `id` points to."""
        rows = self._connection.execute("SELECT target, kind FROM links WHERE source = ? ORDER BY 1, 2", (id,))
        return [(target, LinkKind(kind)) for target, kind in rows]

    def _free_name(self, full: str) -> str:
        for length in range(12, len(full) + 1):
            taken = self._connection.execute("SELECT 1 FROM entries WHERE name = ?", (full[:length],)).fetchone()
            if not taken:
                return full[:length]
        return full


def _birth(entry: Entry) -> tuple[str, bytes]:
    """An entry's identity in full: 64 hexadecimal characters, which its id begins, and the 16 bytes that are kept."""
    full = entry_id(entry.kind, entry.conversation, entry.session, entry.text, entry.sources, length=64)
    return full, bytes.fromhex(full)[:16]


def _some(ids: Iterable[int]) -> Iterator[list[int]]:
    wanted = list(dict.fromkeys(int(id) for id in ids))
    for start in range(0, len(wanted), _AT_ONCE):
        yield wanted[start : start + _AT_ONCE]


def _listed(ids: Iterable[int]) -> str:
    return json.dumps(list(ids))


def entry_with(entry: Entry, columns: Mapping[str, object]) -> Entry:
    """`entry` with some columns of its row as `columns` has them; its sources stay."""
    row = columns_of(entry) | {name: value for name, value in columns.items() if name in _NAMES}
    return entry_from(tuple(row[name] for name in _NAMES), entry.sources)


def columns_of(entry: Entry) -> dict[str, object]:
    """An entry as the columns of its row."""
    return {
        "name": entry.id,
        "kind": entry.kind.value,
        "text": entry.text,
        "conversation": entry.conversation,
        "session": entry.session,
        "speaker": entry.speaker,
        "agent": entry.agent,
        "said_at": from_time(entry.said_at),
        "happened_from": from_time(entry.happened.start if entry.happened else None),
        "happened_to": from_time(entry.happened.end if entry.happened else None),
        "valid_until": from_time(entry.valid_until),
        "importance": entry.importance,
        "keywords": from_names(entry.keywords),
        "entities": from_names(entry.entities),
        "state": entry.state.value,
        "pinned": int(entry.pinned),
        "prompt": entry.prompt,
        "model": entry.model,
        "version": entry.version,
        "recorded_at": from_time(entry.recorded_at),
    }


def entry_from(row: tuple[Any, ...], sources: tuple[MessageKey, ...]) -> Entry:
    """An entry from a row of `ENTRY_COLUMNS`; a query reads hundreds, so nothing here is looked up by name."""
    (name, kind, text, conversation, session, speaker, agent, said_at, start, end, valid_until) = row[:11]
    (importance, keywords, entities, state, pinned, prompt, model, version, recorded_at) = row[11:]
    first, last = to_time(start), to_time(end)
    return Entry(
        id=name,
        kind=_KINDS[kind],
        text=text,
        conversation=conversation,
        session=session,
        sources=sources,
        speaker=speaker,
        agent=agent,
        said_at=to_time(said_at),
        happened=TimeRange(first, last) if first and last else None,
        valid_until=to_time(valid_until),
        importance=importance,
        keywords=to_names(keywords),
        entities=to_names(entities),
        state=_STATES[state],
        pinned=bool(pinned),
        prompt=prompt,
        model=model,
        version=version,
        recorded_at=to_time(recorded_at),
    )
