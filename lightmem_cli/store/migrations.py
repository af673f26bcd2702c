"""Brings a conversation history of any earlier version up to today's tables, one numbered step at a time."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from lightmem_cli.errors import StoreError
from lightmem_cli.store.sqlite import all_or_nothing

_INITIAL = """
CREATE TABLE profile (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE runs (
  id INTEGER PRIMARY KEY, command TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT, outcome TEXT);

CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  conversation TEXT NOT NULL, session TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL,
  role TEXT NOT NULL, speaker TEXT, content TEXT NOT NULL, image_caption TEXT,
  said_at TEXT, said_epoch REAL, agent TEXT,
  identified_by TEXT NOT NULL, turn INTEGER, run INTEGER NOT NULL REFERENCES runs, recorded_at TEXT NOT NULL,
  UNIQUE (conversation, session, name), UNIQUE (conversation, session, position));
CREATE INDEX messages_by_speaker ON messages (speaker, conversation);

CREATE TABLE segments (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, conversation TEXT NOT NULL, session TEXT NOT NULL,
  first INTEGER NOT NULL REFERENCES messages, last INTEGER NOT NULL REFERENCES messages, cut_by TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES runs);

CREATE TABLE entries (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, birth BLOB NOT NULL UNIQUE,
  kind TEXT NOT NULL, text TEXT NOT NULL, conversation TEXT NOT NULL, session TEXT NOT NULL,
  speaker TEXT, agent TEXT, said_at TEXT, said_epoch REAL,
  happened_from TEXT, happened_to TEXT, valid_until TEXT,
  importance REAL NOT NULL, keywords TEXT NOT NULL, entities TEXT NOT NULL,
  state TEXT NOT NULL, pinned INTEGER NOT NULL, prompt TEXT, model TEXT,
  version INTEGER NOT NULL, run INTEGER NOT NULL REFERENCES runs, recorded_at TEXT NOT NULL);
CREATE INDEX entries_by_kind ON entries (kind, state);
CREATE INDEX entries_by_place ON entries (conversation, session);
CREATE INDEX entries_by_time ON entries (said_epoch);
CREATE INDEX entries_aside ON entries (state) WHERE state <> 'active';

CREATE TABLE sources (
  entry INTEGER NOT NULL REFERENCES entries, message INTEGER NOT NULL REFERENCES messages,
  PRIMARY KEY (entry, message)) WITHOUT ROWID;
CREATE INDEX sources_by_message ON sources (message);

CREATE TABLE links (
  source INTEGER NOT NULL REFERENCES entries, target INTEGER NOT NULL REFERENCES entries, kind TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (source, target, kind)) WITHOUT ROWID;
CREATE INDEX links_by_target ON links (target, kind);

CREATE TABLE spaces (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, revision TEXT NOT NULL, dimension INTEGER NOT NULL,
  active INTEGER NOT NULL DEFAULT 0, UNIQUE (name, revision, dimension));

-- A vector is a function of its text alone, so equal texts share one: views say which entry uses which.
CREATE TABLE vectors (
  id INTEGER PRIMARY KEY, space INTEGER NOT NULL REFERENCES spaces, text_hash BLOB NOT NULL, embedding BLOB NOT NULL,
  UNIQUE (space, text_hash));
CREATE TABLE views (
  entry INTEGER NOT NULL REFERENCES entries, space INTEGER NOT NULL REFERENCES spaces, view INTEGER NOT NULL,
  vector INTEGER NOT NULL REFERENCES vectors, PRIMARY KEY (entry, space, view)) WITHOUT ROWID;
CREATE INDEX views_by_vector ON views (vector);

CREATE TABLE leases (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started REAL NOT NULL, host TEXT NOT NULL);
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY, stage TEXT NOT NULL, item INTEGER NOT NULL, space INTEGER NOT NULL DEFAULT 0,
  lease INTEGER REFERENCES leases, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT,
  UNIQUE (stage, space, item));

CREATE TABLE revisions (
  id INTEGER PRIMARY KEY, entry INTEGER NOT NULL REFERENCES entries, run INTEGER NOT NULL REFERENCES runs,
  before TEXT NOT NULL, after TEXT NOT NULL, reason TEXT NOT NULL, recorded_at TEXT NOT NULL);
CREATE INDEX revisions_by_entry ON revisions (entry);
CREATE INDEX revisions_by_run ON revisions (run);

CREATE TABLE changes (position INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, item INTEGER NOT NULL);

CREATE TABLE model_calls (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, purpose TEXT NOT NULL, model TEXT NOT NULL,
  prompt TEXT NOT NULL, input_hash BLOB NOT NULL, reply TEXT, prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, seconds REAL NOT NULL, recorded_at TEXT NOT NULL);
CREATE INDEX model_calls_by_input ON model_calls (model, prompt, input_hash);
"""


def m001_initial(connection: sqlite3.Connection) -> None:
    """The tables of the first version."""
    for statement in _INITIAL.split(";\n"):
        connection.execute(statement)
    connection.execute("INSERT INTO profile VALUES ('uuid', ?)", (uuid.uuid4().hex,))


_LOOKING_BACK = """
ALTER TABLE sources ADD COLUMN born INTEGER NOT NULL DEFAULT 1;
ALTER TABLE messages ADD COLUMN purged INTEGER REFERENCES runs;
ALTER TABLE revisions ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revisions ADD COLUMN undoes INTEGER REFERENCES revisions;
UPDATE revisions SET step = id;
CREATE INDEX revisions_by_step ON revisions (step);
CREATE INDEX revisions_undoing ON revisions (undoes) WHERE undoes IS NOT NULL;
CREATE INDEX entries_by_run ON entries (run, kind);
CREATE INDEX entries_by_day ON entries (conversation, said_epoch);
CREATE INDEX entries_pinned ON entries (id) WHERE pinned = 1;
CREATE INDEX messages_by_name ON messages (name);
CREATE INDEX segments_by_place ON segments (conversation, session);
INSERT INTO jobs (stage, item) SELECT 'segment', id FROM messages ORDER BY id;
INSERT INTO jobs (stage, item) SELECT 'close', id FROM messages m WHERE position =
  (SELECT max(position) FROM messages n WHERE n.conversation = m.conversation AND n.session = m.session);
"""


def m002_looking_back(connection: sqlite3.Connection) -> None:
    """What an entry rested on at birth, revisions that belong together, erased messages, and topics to be cut."""
    for statement in _LOOKING_BACK.split(";\n"):
        connection.execute(statement)


_SHORTENED = """
CREATE TABLE compressed (
  message INTEGER PRIMARY KEY REFERENCES messages, text TEXT NOT NULL, kept REAL NOT NULL, made_by TEXT NOT NULL);
ALTER TABLE segments ADD COLUMN score REAL;
"""


def m003_shortened(connection: sqlite3.Connection) -> None:
    """Messages as a language model is sent them, and how clearly each topic ends."""
    for statement in _SHORTENED.split(";\n"):
        connection.execute(statement)


_ASKED = """
ALTER TABLE jobs ADD COLUMN batch INTEGER;
CREATE INDEX jobs_by_batch ON jobs (batch) WHERE batch IS NOT NULL;
ALTER TABLE model_calls ADD COLUMN refused TEXT;
CREATE INDEX model_calls_by_run ON model_calls (run);
CREATE TABLE model_inputs (
  call INTEGER NOT NULL REFERENCES model_calls, message INTEGER NOT NULL REFERENCES messages,
  PRIMARY KEY (call, message)) WITHOUT ROWID;
CREATE INDEX model_inputs_by_message ON model_inputs (message);
CREATE TABLE judged (
  older INTEGER NOT NULL REFERENCES entries, newer INTEGER NOT NULL REFERENCES entries, said BLOB NOT NULL,
  PRIMARY KEY (older, newer)) WITHOUT ROWID;
CREATE INDEX judged_by_newer ON judged (newer);
"""


def m004_asked(connection: sqlite3.Connection) -> None:
    """Which messages a language model reads together, whose words it was sent, what it refused and judged."""
    for statement in _ASKED.split(";\n"):
        connection.execute(statement)


MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [m001_initial, m002_looking_back, m003_shortened, m004_asked]


def migrate(connection: sqlite3.Connection, *, to: int | None = None) -> None:
    """Run what has not run yet, or of that the steps up to number `to`, each step and its record in one transaction.

    Raises:
        StoreError: the history was written by a newer version of lightmem.
    """
    if version_of(connection) == len(MIGRATIONS):
        return
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, run_at TEXT NOT NULL)"
    )
    for number, step in enumerate(MIGRATIONS[:to], start=1):
        with all_or_nothing(connection):
            if number > version_of(connection):  # asked inside the transaction: another process may have run it
                step(connection)
                record = (number, step.__name__, datetime.now(UTC).isoformat())
                connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", record)
    if version_of(connection) > len(MIGRATIONS):
        raise too_new(version_of(connection))


def too_new(version: int) -> StoreError:
    """What to say of a history of a later `version`."""
    return StoreError(
        f"this memory was written by a newer lightmem (its history is version {version}, "
        f"this program reads up to {len(MIGRATIONS)})",
        hint="pip install --upgrade lightmem-cli",
    )


def version_of(connection: sqlite3.Connection) -> int:
    """The number of the last step that ran; 0 before the first."""
    present = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone()
    if present is None:
        return 0
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()[0])
