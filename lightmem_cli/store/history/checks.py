"""Finds where the tables of a conversation's history contradict each other, or say what nothing can read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightmem_cli.records import Kind, LinkKind, State, row_text
from lightmem_cli.store.history.births import Born, births, unlike_recorded
from lightmem_cli.store.history.call_checks import CallChecks
from lightmem_cli.store.history.columns import epoch, is_time, to_time
from lightmem_cli.store.history.compressed import CompressedTexts
from lightmem_cli.store.history.connection import translated
from lightmem_cli.store.history.faults import Fault, faults
from lightmem_cli.store.history.messages import COLUMNS, message_from
from lightmem_cli.store.history.vector_checks import VectorChecks

_WORDS_OF = "CASE WHEN coalesce(m.image_caption, '') = '' THEN m.content ELSE m.content || char(10) || '[' ||"
_WORDS_OF += " m.image_caption || ']' END"  # as `records.row_text`
_VOICE_OF = "coalesce(nullif(m.speaker, ''), m.role)"
_FORGOTTEN = (
    "EXISTS (SELECT 1 FROM messages x JOIN entries t ON t.id = x.turn WHERE x.id = s.message AND t.state = 'deleted')"
)
_TIMES = {"messages": ["said_at"], "entries": ["said_at", "happened_from", "happened_to", "valid_until"]}


class Checks:
    """Reads; writes nothing. Each check sees history as it was at one moment, inside `snapshot`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self.vectors = VectorChecks(connection)
        self.compressed = CompressedTexts(connection)
        self.calls = CallChecks(connection)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Inside, nothing changes, whatever other processes write. Not for writing."""
        if self._connection.in_transaction:
            yield
            return
        with translated(self._path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                with suppress(sqlite3.OperationalError):  # an error of the disk has ended it already
                    self._connection.execute("ROLLBACK")

    # ---- the file ---------------------------------------------------------------------------------------------------

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the file itself."""
        return [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]

    def orphans(self) -> list[Fault]:
        """References to rows that are not there, twenty at most."""
        rows = self._connection.execute("PRAGMA foreign_key_check").fetchmany(20)
        return [
            Fault(row or 0, f"{table} {row or ''} to {parent}".replace("  ", " ")) for table, row, parent, _ in rows
        ]

    # ---- what can be read -------------------------------------------------------------------------------------------

    def unknown_words(self, table: str, column: str, known: Iterable[str]) -> list[Fault]:
        """Rows of `entries` or `messages` whose `column` is none of the words it may be."""
        listed = json.dumps(list(known))
        query = f"SELECT id, name FROM {table} WHERE {column} NOT IN (SELECT value FROM json_each(?)) ORDER BY id"
        return self._faults(query, listed)

    def unknown_kinds(self) -> list[Fault]:
        return self.unknown_words("entries", "kind", [kind.value for kind in Kind])

    def unknown_states(self) -> list[Fault]:
        return self.unknown_words("entries", "state", [state.value for state in State])

    def unknown_links(self) -> list[Fault]:
        """The entries from which a link of no known kind goes."""
        listed = json.dumps([kind.value for kind in LinkKind])
        return self._faults(
            "SELECT DISTINCT e.id, e.name FROM links l JOIN entries e ON e.id = l.source"
            " WHERE l.kind NOT IN (SELECT value FROM json_each(?)) ORDER BY e.id",
            listed,
        )

    def unreadable_names(self) -> list[Fault]:
        """Entries whose keywords or entities are no list of names."""
        unread = " OR ".join(
            f"NOT CASE WHEN json_valid({column}) THEN json_type({column}) = 'array' AND NOT EXISTS"
            f" (SELECT 1 FROM json_each({column}) j WHERE j.type <> 'text') ELSE 0 END"
            for column in ("keywords", "entities")
        )
        return self._faults(f"SELECT id, name FROM entries WHERE {unread} ORDER BY id")

    def wrong_times(self, table: str) -> list[Fault]:
        """Rows of `messages` or `entries` with a time that is none, or that is kept as another number of seconds."""
        names = _TIMES[table]
        rows = self._connection.execute(f"SELECT id, name, said_epoch, {', '.join(names)} FROM {table} ORDER BY id")
        return [Fault(id, name) for id, name, seconds, *times in rows if not _sound_times(seconds, times)]

    # ---- messages and their turns -----------------------------------------------------------------------------------

    def misplaced_messages(self) -> list[Fault]:
        """Messages whose position is not how many of their session came before."""
        return self._faults(
            "SELECT id, name FROM (SELECT id, name, position, row_number() OVER"
            " (PARTITION BY conversation, session ORDER BY position) - 1 AS place FROM messages)"
            " WHERE position <> place ORDER BY id"
        )

    def without_turn(self) -> list[Fault]:
        """Messages with words, not purged, that no turn of their own makes findable."""
        rows = self._connection.execute(
            f"SELECT m.id, {', '.join(f'm.{name}' for name in COLUMNS.split(', '))} FROM messages m"
            " LEFT JOIN entries e ON e.id = m.turn AND e.kind = 'turn'"
            " LEFT JOIN sources s ON s.entry = e.id AND s.message = m.id"
            " WHERE m.purged IS NULL AND s.entry IS NULL ORDER BY m.id"
        )
        messages = ((id, message_from(tuple(row))) for id, *row in rows)
        return [Fault(id, message.id) for id, message in messages if row_text(message).strip()]

    def turn_of(self, message: int) -> int:
        """The turn that a message says is its own."""
        return int(self._connection.execute("SELECT turn FROM messages WHERE id = ?", (message,)).fetchone()[0])

    def turn_resting_on(self, message: int) -> int | None:
        """The first turn that rests on a message."""
        row = self._connection.execute(
            "SELECT e.id FROM sources s JOIN entries e ON e.id = s.entry WHERE s.message = ? AND e.kind = 'turn'"
            " ORDER BY e.id",
            (message,),
        ).fetchone()
        return None if row is None else int(row[0])

    def messages_of(self, conversation: str, session: str) -> list[tuple[int, str]]:
        """The messages of a session and their ids, in order."""
        query = "SELECT id, name FROM messages WHERE conversation = ? AND session = ? ORDER BY position"
        return self._connection.execute(query, (conversation, session)).fetchall()

    def spare_turns(self) -> list[Fault]:
        """Turns that no message has for its own, and that are not hidden."""
        return self._faults(
            "SELECT id, name FROM entries WHERE kind = 'turn' AND state <> 'deleted'"
            " AND id NOT IN (SELECT turn FROM messages WHERE turn IS NOT NULL) ORDER BY id"
        )

    def other_turns(self) -> list[Fault]:
        """Turns that do not say what their message says, or not of whom, when and where; by their message."""
        rows = self._connection.execute(
            f"SELECT m.id, m.name, {_WORDS_OF} FROM messages m JOIN entries e ON e.id = m.turn AND e.kind = 'turn'"
            f" WHERE m.purged IS NULL AND (e.text IS NOT {_WORDS_OF} OR e.speaker IS NOT {_VOICE_OF}"
            " OR e.said_at IS NOT m.said_at OR e.agent IS NOT m.agent"
            " OR e.conversation IS NOT m.conversation OR e.session IS NOT m.session) ORDER BY m.id"
        )
        return [Fault(id, name) for id, name, words in rows if words.strip()]  # one left blank has its turn set aside

    # ---- entries and what they rest on ------------------------------------------------------------------------------

    def without_sources(self) -> list[Fault]:
        """Entries, not hidden, that rest on no message."""
        return self._faults(
            "SELECT id, name FROM entries WHERE state <> 'deleted' AND id NOT IN (SELECT entry FROM sources)"
            " ORDER BY id"
        )

    def foreign_sources(self) -> list[Fault]:
        """Entries that rest on a message of another conversation."""
        return self._faults(
            "SELECT DISTINCT e.id, e.name FROM entries e JOIN sources s ON s.entry = e.id"
            " JOIN messages m ON m.id = s.message WHERE m.conversation <> e.conversation ORDER BY e.id"
        )

    def misnamed(self) -> list[Fault]:
        """Entries whose id or identity is not what they were born as."""
        return [Fault(one.id, one.name) for one in births(self._connection) if not one.is_itself]

    def born(self, id: int) -> Born:
        """What one entry was born as."""
        return next(births(self._connection, only=id))

    def unlike_recorded(self) -> list[Fault]:
        """Entries that are not what their revisions made of them."""
        return [Fault(id, name) for id, name, _ in unlike_recorded(self._connection)]

    def recorded(self) -> dict[int, dict[str, Any]]:
        """What differs in those, as it was recorded."""
        return {id: values for id, _, values in unlike_recorded(self._connection)}

    def misnumbered(self) -> list[Fault]:
        """Entries whose version does not count their revisions; a purge may have erased some of these."""
        return self._faults(
            "WITH counted AS (SELECT e.id, e.name, e.version, 1 + (SELECT count(*) FROM revisions WHERE entry = e.id)"
            " AS least FROM entries e) SELECT id, name FROM counted WHERE version < least OR (version > least"
            " AND NOT EXISTS (SELECT 1 FROM messages WHERE purged IS NOT NULL)) ORDER BY id"
        )

    def superseded_by_nothing(self) -> list[Fault]:
        """Facts and relations that are said to be superseded, and nothing by what. A summary's facts may be gone."""
        return self._faults(
            "SELECT id, name FROM entries e WHERE state = 'superseded' AND kind <> 'summary' AND NOT EXISTS"
            " (SELECT 1 FROM links WHERE source = e.id AND kind = 'merged_into') AND NOT EXISTS"
            " (SELECT 1 FROM links WHERE target = e.id AND kind = 'supersedes') ORDER BY id"
        )

    def uncovered(self) -> list[Fault]:
        """Entries that others were merged into, and that do not rest on all those rest on, the forgotten aside."""
        return self._faults(
            "SELECT DISTINCT t.id, t.name FROM links l JOIN entries e ON e.id = l.source AND e.state = 'superseded'"
            " JOIN entries t ON t.id = l.target AND t.state <> 'deleted' JOIN sources s ON s.entry = e.id"
            " WHERE l.kind = 'merged_into'"
            " AND NOT EXISTS (SELECT 1 FROM sources o WHERE o.entry = t.id AND o.message = s.message)"
            f" AND NOT {_FORGOTTEN} ORDER BY t.id"
        )

    def missing_sources(self, target: int) -> list[int]:
        """The messages that entries merged into `target` rest on and it does not."""
        rows = self._connection.execute(
            "SELECT DISTINCT s.message FROM links l JOIN entries e ON e.id = l.source AND e.state = 'superseded'"
            " JOIN sources s ON s.entry = e.id WHERE l.kind = 'merged_into' AND l.target = ?1"
            " AND NOT EXISTS (SELECT 1 FROM sources o WHERE o.entry = ?1 AND o.message = s.message)"
            f" AND NOT {_FORGOTTEN} ORDER BY 1",
            (target,),
        )
        return [message for (message,) in rows]

    def made_of_the_forgotten(self) -> list[Fault]:
        """Entries that can be found, and rest on nothing but messages that were forgotten."""
        return self._faults(
            "SELECT id, name FROM entries e WHERE kind <> 'turn' AND state IN ('active', 'superseded')"
            " AND EXISTS (SELECT 1 FROM sources WHERE entry = e.id)"
            f" AND NOT EXISTS (SELECT 1 FROM sources s WHERE s.entry = e.id AND NOT {_FORGOTTEN}) ORDER BY id"
        )

    def summaries_of_nothing(self) -> list[Fault]:
        """Summaries of windows, not hidden, that do not say what they summarize; one of a topic tells what was said."""
        return self._faults(
            "SELECT id, name FROM entries e WHERE kind = 'summary' AND state <> 'deleted'"
            " AND (prompt IS NULL OR prompt LIKE 'summary-%') AND NOT EXISTS"
            " (SELECT 1 FROM links WHERE source = e.id AND kind = 'summarizes') ORDER BY id"
        )

    def summaries_of_the_forgotten(self) -> list[Fault]:
        """Active summaries that quote what is hidden or supported no more, or rest on a message that was forgotten."""
        return self._faults(
            "SELECT id, name FROM entries e WHERE kind = 'summary' AND state = 'active' AND (EXISTS"
            " (SELECT 1 FROM links l JOIN entries q ON q.id = l.target WHERE l.source = e.id"
            " AND l.kind = 'summarizes' AND q.state IN ('deleted', 'unsupported'))"
            f" OR EXISTS (SELECT 1 FROM sources s WHERE s.entry = e.id AND {_FORGOTTEN})) ORDER BY id"
        )

    # ---- topics, work, changes --------------------------------------------------------------------------------------

    def untiled(self) -> list[Fault]:
        """Of each session whose topics do not lie end to end from its first message, the first topic that is wrong."""
        return self._faults(
            "WITH placed AS (SELECT s.id, s.name, f.conversation, f.session, f.position AS first, l.position AS last,"
            " s.conversation = f.conversation AND s.session = f.session AND f.conversation = l.conversation"
            " AND f.session = l.session AND f.position <= l.position AS one,"
            " lag(l.position, 1, -1) OVER (PARTITION BY s.conversation, s.session ORDER BY s.id) + 1 AS begins"
            " FROM segments s JOIN messages f ON f.id = s.first JOIN messages l ON l.id = s.last)"
            " SELECT min(id), name FROM placed WHERE NOT one OR first <> begins"
            " GROUP BY conversation, session ORDER BY 1"
        )

    def topic_ends(self) -> set[int]:
        """The messages with which topics end, or may: the last of a session, where its last topic ends at no other."""
        rows = self._connection.execute(
            "WITH final AS (SELECT conversation, session, max(position) AS position FROM messages GROUP BY 1, 2)"
            " SELECT last FROM segments UNION SELECT first FROM segments UNION SELECT m.id FROM segments s"
            " JOIN final f ON f.conversation = s.conversation AND f.session = s.session"
            " JOIN messages m ON m.conversation = f.conversation AND m.session = f.session AND m.position = f.position"
            " JOIN messages l ON l.id = s.last WHERE (l.conversation <> s.conversation OR l.session <> s.session)"
            " AND s.id IN (SELECT max(id) FROM segments GROUP BY conversation, session)"
        )
        return {message for (message,) in rows}

    def aimless_jobs(self) -> list[Fault]:
        """Jobs about an entry or a message that is not there."""
        return self._faults(
            "SELECT j.id, j.stage || ' ' || j.item FROM jobs j WHERE CASE j.stage WHEN 'embed'"
            " THEN NOT EXISTS (SELECT 1 FROM entries WHERE id = j.item)"
            " ELSE NOT EXISTS (SELECT 1 FROM messages WHERE id = j.item) END ORDER BY j.id"
        )

    def misbatched_jobs(self) -> list[Fault]:
        """Jobs in a batch, which is what one call reads, that nobody reads."""
        return self._faults(
            "SELECT id, stage || ' ' || item FROM jobs WHERE batch IS NOT NULL"
            " AND (stage <> 'extract' OR space <> 0 OR typeof(batch) <> 'integer') ORDER BY id"
        )

    def unended_runs(self) -> int:
        """How many commands that wrote have not ended."""
        return int(self._connection.execute("SELECT count(*) FROM runs WHERE ended_at IS NULL").fetchone()[0])

    def unnoted(self, what: str) -> list[Fault]:
        """Entries or vectors that `changes` never named, so that an index made again would leave them out."""
        table, name = ("entries", "name") if what == "entry" else ("vectors", "'vector ' || id")
        return self._faults(
            f"SELECT id, {name} FROM {table} WHERE id NOT IN (SELECT item FROM changes WHERE what = ?) ORDER BY id",
            what,
        )

    def changed_after(self, position: int, what: str) -> set[int]:
        """The entries or vectors that changed after `position` in `changes`."""
        rows = self._connection.execute("SELECT item FROM changes WHERE position > ? AND what = ?", (position, what))
        return {item for (item,) in rows}

    def texts(self) -> Iterator[tuple[int, str]]:
        """Every entry's text, by rising id."""
        return self._connection.execute("SELECT id, text FROM entries ORDER BY id")

    def _faults(self, query: str, *values: object) -> list[Fault]:
        return faults(self._connection, query, *values)


def _sound_times(seconds: float | None, times: list[str | None]) -> bool:
    """Whether all of a row's times can be read, and the first is kept as `seconds`, too."""
    return all(is_time(time) for time in times) and epoch(to_time(times[0])) == seconds
