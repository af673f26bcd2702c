"""Says what the tables of a history are, and whether those of a file from elsewhere are the same.

What a schema promises (types, keys, references, indexes) is read off the tables that the migrations make, so that it
stands in one place. Comparing runs nothing that the file holds: only the text of its schema is read.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import NamedTuple

from lightmem_cli.store.migrations import MIGRATIONS, migrate, too_new, version_of

_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_OF_AN_INDEX = ("CREATE INDEX ", "CREATE UNIQUE INDEX ")  # SQLite believes this, not the type that is told beside it
_ANALYZED = {  # what ANALYZE leaves
    "sqlite_stat1": "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "sqlite_stat4": "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
}


class HistoryColumn(NamedTuple):
    """A column as it was declared; `type` is INTEGER, REAL, TEXT or BLOB, `required`: it is never NULL."""

    name: str
    type: str
    required: bool


class Reference(NamedTuple):
    """A column that holds the key of a row of another table."""

    column: str
    table: str
    key: str


class HistoryTable(NamedTuple):
    """A table as the migrations make it; `key` are the columns by which a row is named."""

    name: str
    columns: tuple[HistoryColumn, ...]
    key: tuple[str, ...]
    references: tuple[Reference, ...]


@cache
def tables() -> tuple[HistoryTable, ...]:
    """The tables of a history of today, in the order they were made."""
    with closing(_fresh(len(MIGRATIONS))) as fresh:
        names = [name for kind, name, _, _ in fresh.execute(f"{_OBJECTS} ORDER BY rowid") if kind == "table"]
        return tuple(_table(fresh, name) for name in names if not name.startswith("sqlite_"))


def unlike_ours(connection: sqlite3.Connection) -> str | None:
    """What differs between the schema of a history, of whatever version, and the one that our migrations make.

    Indexes of somebody's own, and what ANALYZE noted, are no difference: `drop_extras` drops them.

    Raises:
        StoreError: it was made by a newer lightmem.
    """
    if connection.execute("PRAGMA encoding").fetchone()[0] != "UTF-8":
        return "its text is not in UTF-8"
    found = _objects(connection)
    if len(found) != connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return "its schema names something twice"
    kinds = {kind for kind, *_ in found}
    if not {("table", "migrations"), ("table", "messages")} <= {(kind, name) for kind, name, _ in found}:
        return "it does not hold the tables of a history"
    if kinds - {"table", "index"}:
        return "it holds triggers or views, which no history does"
    place = ("table", "migrations", "migrations")
    if found.get(place) != _ours(0)[place]:
        return "its table migrations is not the one that lightmem makes"
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise too_new(version)
    return _difference(found, _ours(version))


def drop_extras(connection: sqlite3.Connection) -> None:
    """Drop what is more than ours in a schema that `unlike_ours` found no fault with."""
    for kind, name, _ in _objects(connection).keys() - _ours(version_of(connection)).keys():
        quoted = name.replace('"', '""')
        connection.execute(f'DROP {kind.upper()} IF EXISTS "{quoted}"')  # an index goes with its table


_Objects = dict[tuple[str, str, str], str]


def _difference(found: _Objects, ours: _Objects) -> str | None:
    for kind, name, table in sorted(ours.keys() - found.keys(), reverse=True):  # tables before their indexes
        return f"its history has no {kind} {name}" + (f" on {table}" if kind == "index" else "")
    for place in ours:
        if found[place] != ours[place]:
            return f"its {place[0]} {place[1]} is not the one that lightmem makes"
    for kind, name, table in sorted(found.keys() - ours.keys()):
        sql = found[kind, name, table]
        if not (sql == _ANALYZED.get(name) or (kind == "index" and sql.startswith(_OF_AN_INDEX))):
            return f"it holds a {kind} {name!r}, which no history does"
    return None


def _objects(connection: sqlite3.Connection) -> _Objects:
    """What a schema holds: kind, name and table of each, and the words that make it, however they are laid out."""
    rows = connection.execute(_OBJECTS).fetchall()
    return {(str(kind), str(name), str(table)): " ".join(str(sql).split()) for kind, name, table, sql in rows}


@cache
def _ours(version: int) -> _Objects:
    with closing(_fresh(version)) as fresh:
        return _objects(fresh)


def _fresh(version: int) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, to=version)
    return connection


def _table(connection: sqlite3.Connection, name: str) -> HistoryTable:
    rows = connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,)).fetchall()
    columns = tuple(HistoryColumn(column, kind, bool(required or key)) for column, kind, required, key in rows)
    key = tuple(column for place, column in sorted((key, column) for column, _, _, key in rows if key))
    query = 'SELECT "from", "table", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC'
    references = [Reference(column, parent, to or "id") for column, parent, to in connection.execute(query, (name,))]
    return HistoryTable(name, columns, key, tuple(references))
