"""Reads every record of every table of a history, for doctor and restore, and names each cell that nothing can read.

Types, NULLs and references are those of the schema; what a cell must say beyond that is listed here, column by column,
and a record of several cells is built as its own module builds it. Plain SELECTs, some rows at a time: memory is
bounded, and the time grows with the rows. Whether records agree with each other is `doctor --deep`'s business.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from lightmem_cli.records import Kind, LinkKind, Role, State
from lightmem_cli.store.history.columns import are_names, epoch, is_time, to_time
from lightmem_cli.store.history.entries import ENTRY_COLUMNS, entry_from
from lightmem_cli.store.history.messages import COLUMNS, IdentifiedBy, message_from
from lightmem_cli.store.history.purge import UNFINISHED
from lightmem_cli.store.history.revisions import REVISION_COLUMNS, revision_from
from lightmem_cli.store.history.runs import What
from lightmem_cli.store.history.work import Stage
from lightmem_cli.store.schema import HistoryColumn, HistoryTable, Reference, tables

_AT_ONCE: Final = 4096  # rows
_MOST: Final = 1 << 53  # of a whole number, so that SQLite can still add one to it, or some of them up
_MOST_TOKENS: Final = 1 << 40  # of one call; SQLite adds those of all up
_MOST_DIMENSIONS: Final = 1 << 16
_SHOWN: Final = 40  # characters of a cell
_UNREADABLE: Final = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)  # what an odd cell can raise

Row: TypeAlias = tuple[Any, ...]


class BadCell(NamedTuple):
    """A cell that nothing can read: its table, the key of its row, its column, and why.

    `row` is "" for the table as a whole, `column` for the row as a whole. The fault is one of "type" (also NULL, and
    what is no text in UTF-8), of what the cell "says", or of the row that it "points" to.
    """

    table: str
    row: str
    column: str
    why: str
    fault: Literal["type", "says", "points"] = "says"

    def __str__(self) -> str:
        row, column = f" row {self.row}" if self.row else "", f"{self.column} " if self.column else ""
        return f"{self.table}{row}: {column}{self.why}"


def read_through(
    connection: sqlite3.Connection,
    *,
    most: int,
    progress: Callable[[int], None],
    passes: Callable[[BadCell], bool] = lambda one: False,
) -> list[BadCell]:
    """What cannot be read in a history of today's tables, `most` cells of it, but for what `passes`.

    `progress` gets the number of rows read so far.

    Raises:
        sqlite3.Error: the file itself cannot be read.
    """
    given, connection.text_factory = connection.text_factory, _decoded
    try:
        return list(islice((one for one in _unreadable(connection, progress) if not passes(one)), most))
    finally:
        connection.text_factory = given


def _unreadable(connection: sqlite3.Connection, progress: Callable[[int], None]) -> Iterator[BadCell]:
    done = 0
    for table in tables():
        reads = _reader_of(table)
        rows = connection.execute(f"SELECT {', '.join(column.name for column in table.columns)} FROM {table.name}")
        while some := rows.fetchmany(_AT_ONCE):
            for row in some:
                yield from reads(row)
            done += len(some)
            progress(done)
        for reference in (*table.references, *_UNDECLARED.get(table.name, ())):
            yield from _dangling(connection, table, reference)
    yield from _dangling_in_revisions(connection)
    yield from _wholes(connection)


# ---- one row --------------------------------------------------------------------------------------------------------


class _NotText(bytes):
    """What stands where text should, and is none."""


def _decoded(data: bytes) -> str | _NotText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _NotText(data)


class _Says(NamedTuple):
    """Whether a cell that is not NULL says something, and what it should say."""

    holds: Callable[[Any], bool]
    wanted: str


def _reader_of(table: HistoryTable) -> Callable[[Row], list[BadCell]]:
    """What finds the cells of a row of `table` that cannot be read."""
    names = [column.name for column in table.columns]
    of_table = _SAYS.get(table.name, {})
    says = [of_table.get(column.name, _OF_TYPE.get(column.type)) for column in table.columns]
    cells = [(at, its) for at, its in enumerate(says) if its is not None]
    rules = [
        (itemgetter(*map(names.index, using.split(", "))), column, rule)
        for using, column, rule in _RULES.get(table.name, ())
    ]
    key = itemgetter(*map(names.index, table.key))
    sound: set[tuple[type, ...]] = set()  # the types of rows that are as declared: there are few

    def reads(row: Row) -> list[BadCell]:
        types = tuple(map(type, row))
        if types not in sound:
            found = [
                BadCell(table.name, _named(key(row)), column.name, why, "type")
                for column, cell in zip(table.columns, row, strict=True)
                if (why := _type_fault(column, cell)) is not None
            ]
            if found:
                return found
            sound.add(types)
        wrong = [
            (names[at], f"{_shown(row[at])} is not {its.wanted}")
            for at, its in cells
            if row[at] is not None and not _holds(its, row[at])
        ]
        if not wrong:
            wrong = [(name, why) for using, name, rule in rules if (why := _broken(rule, using(row))) is not None]
        return [BadCell(table.name, _named(key(row)), name, why) for name, why in wrong]

    return reads


def _type_fault(column: HistoryColumn, cell: object) -> str | None:
    wanted = _TYPES[column.type]
    if cell is None:
        return f"is missing: it must be {_CALLED[wanted]}" if column.required else None
    if type(cell) is wanted:
        return None
    if isinstance(cell, _NotText) and wanted is str:
        return f"{_shown(bytes(cell))} is not text in UTF-8"
    return f"{_shown(cell)} is not {_CALLED[wanted]}"


def _holds(says: _Says, cell: object) -> bool:
    try:
        return says.holds(cell)
    except _UNREADABLE:
        return False


def _broken(rule: Callable[..., str | None], cells: Row) -> str | None:
    try:
        return rule(*cells)
    except _UNREADABLE as error:
        return f"cannot be read ({type(error).__name__}: {error})"


def _named(key: object) -> str:
    return ", ".join(map(_shown, key)) if isinstance(key, tuple) else _shown(key)


def _shown(cell: object) -> str:
    """A cell in a message: escaped, and not longer than a line."""
    shown = repr(bytes(cell) if isinstance(cell, bytes) else cell)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


# ---- what a cell must say -------------------------------------------------------------------------------------------

_TYPES: Final = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}
_CALLED: Final = {int: "a whole number", float: "a number", str: "text", bytes: "bytes"}


def _one_of(words: Iterable[str], wanted: str) -> _Says:
    return _Says(frozenset(map(str, words)).__contains__, wanted)


def _whole(least: int, most: int) -> _Says:
    return _Says(lambda cell: least <= cell <= most, f"from {least:,} to {most:,}")


def _long(length: int) -> _Says:
    return _Says(lambda cell: len(cell) == length, f"{length} bytes")


def _is_embedding(cell: bytes) -> bool:
    import numpy as np

    return bool(np.isfinite(np.frombuffer(cell, "<f2")).all())


def _is_record(cell: str) -> bool:
    """Whether a cell holds what a revision keeps of an entry: columns, `sources` and `links`, see `Revision`."""
    values = json.loads(cell)
    return isinstance(values, dict) and all(_is_kept(name, value) for name, value in values.items())


def _is_kept(name: str, value: Any) -> bool:
    if name == "sources":
        return all(_is_key(message) and born in (0, 1) for message, born in value)
    if name == "links":
        return all(_is_key(target) and _LINK.holds(kind) for target, kind in value)
    column = _entry_columns().get(name)
    if column is None:
        return True  # nothing reads it
    if column.type == "REAL" and type(value) is int:
        value = float(value)
    says = _SAYS["entries"].get(name, _OF_TYPE.get(column.type))
    return _type_fault(column, value) is None and (value is None or says is None or says.holds(value))


@cache
def _entry_columns() -> dict[str, HistoryColumn]:
    return {column.name: column for table in tables() if table.name == "entries" for column in table.columns}


def _is_key(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


_TIME = _Says(lambda cell: to_time(cell) is not None, "a time")
_MOMENT = _Says(is_time, "a time")
_NAMES = _Says(are_names, "a list of names")
_FLAG = _whole(0, 1)
_TOKENS = _whole(0, _MOST_TOKENS)
_LINK = _one_of(LinkKind, "a kind of link")
_RECORD = _Says(_is_record, "what a revision keeps of an entry")

_OF_TYPE: Final = {"INTEGER": _whole(0, _MOST), "REAL": _Says(math.isfinite, "finite")}
# Not listed are texts that may say anything, and times that nothing reads: of messages, calls and migrations.
_SAYS: Final[dict[str, dict[str, _Says]]] = {
    "runs": {"started_at": _TIME, "ended_at": _TIME},
    "messages": {
        "role": _one_of(Role, "a role"),
        "said_at": _MOMENT,
        "identified_by": _one_of(get_args(IdentifiedBy), "a way to identify a message"),
    },
    "entries": {
        "birth": _long(16),
        "kind": _one_of(Kind, "a kind of entry"),
        "said_at": _MOMENT,
        "happened_from": _MOMENT,
        "happened_to": _MOMENT,
        "valid_until": _MOMENT,
        "keywords": _NAMES,
        "entities": _NAMES,
        "state": _one_of(State, "a state"),
        "pinned": _FLAG,
        "version": _whole(1, _MOST),
        "recorded_at": _TIME,
    },
    "sources": {"born": _FLAG},
    "links": {"kind": _LINK},
    "spaces": {"dimension": _whole(1, _MOST_DIMENSIONS), "active": _FLAG},
    "vectors": {"text_hash": _long(16), "embedding": _Says(_is_embedding, "a vector of float16")},
    "jobs": {"stage": _one_of(get_args(Stage), "a stage")},
    "revisions": {"before": _RECORD, "after": _RECORD, "recorded_at": _TIME},
    "changes": {"what": _one_of(get_args(What), "what an index is told of")},
    "model_calls": {
        "prompt_tokens": _TOKENS,
        "completion_tokens": _TOKENS,
        "cached_tokens": _TOKENS,
    },
    "compressed": {"kept": _Says(lambda cell: 0 <= cell <= 1, "from 0 to 1")},
}


# ---- what several cells must say together ---------------------------------------------------------------------------


def _same_time(said_at: str | None, said_epoch: float | None) -> str | None:
    if epoch(to_time(said_at)) == said_epoch:
        return None
    return f"{_shown(said_epoch)} is not said_at {_shown(said_at)} in seconds"


def _whole_range(happened_from: str | None, happened_to: str | None) -> str | None:
    return (
        None if (happened_from is None) == (happened_to is None) else "stands without happened_from, or that without it"
    )


def _noted(key: str, value: str) -> str | None:
    """What stages note in `profile` are numbers; the rest is text."""
    is_number = key.endswith(".taken") or key == UNFINISHED
    return f"{_shown(value)} is not a number" if is_number and not (value.isdecimal() and int(value) <= _MOST) else None


def _built(build: Callable[[Row], object]) -> Callable[..., None]:
    """A rule that is kept where the record's own module can build it."""

    def builds(*row: object) -> None:
        build(row)

    return builds


_RULES: Final[dict[str, tuple[tuple[str, str, Callable[..., str | None]], ...]]] = {
    "messages": (("said_at, said_epoch", "said_epoch", _same_time), (COLUMNS, "", _built(message_from))),
    "entries": (
        ("said_at, said_epoch", "said_epoch", _same_time),
        ("happened_from, happened_to", "happened_to", _whole_range),
        (ENTRY_COLUMNS, "", _built(lambda row: entry_from(row, ()))),
    ),
    "revisions": ((REVISION_COLUMNS, "", _built(revision_from)),),
    "profile": (("key, value", "value", _noted),),
}


# ---- what rows must say together ------------------------------------------------------------------------------------

_UNDECLARED: Final = {"messages": (Reference("turn", "entries", "id"),)}


def _dangling(connection: sqlite3.Connection, table: HistoryTable, reference: Reference) -> Iterator[BadCell]:
    column, parent, parents_key = reference
    rows = connection.execute(
        f"SELECT {column}, {', '.join(table.key)} FROM {table.name} t WHERE {column} IS NOT NULL"
        f" AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.{parents_key} = t.{column})"
    )
    for cell, *key in rows:
        yield BadCell(
            table.name, _named(tuple(key)), column, f"{_shown(cell)} points to a missing row of {parent}", "points"
        )


def _dangling_in_revisions(connection: sqlite3.Connection) -> Iterator[BadCell]:
    """The rows that revisions speak of: no column says that these are there."""
    for id, *sides in connection.execute("SELECT id, before, after FROM revisions"):
        for column, side in zip(("before", "after"), sides, strict=True):
            if not _holds(_RECORD, side):
                continue  # that was said
            for name, parent in (("sources", "messages"), ("links", "entries")):
                for key, _ in json.loads(side).get(name, ()):
                    if connection.execute(f"SELECT 1 FROM {parent} WHERE id = ?", (key,)).fetchone() is None:
                        why = f"has {name} that point to a missing row of {parent}: {key}"
                        yield BadCell("revisions", str(id), column, why)


def _wholes(connection: sqlite3.Connection) -> Iterator[BadCell]:
    """What a table must say as a whole."""
    if connection.execute("SELECT 1 FROM profile WHERE key = 'uuid'").fetchone() is None:
        yield BadCell("profile", "", "uuid", "is missing")
    spaces, searched = connection.execute("SELECT count(*), coalesce(sum(active), 0) FROM spaces").fetchone()
    if spaces and searched != 1:
        yield BadCell("spaces", "", "active", f"must be 1 in one row, and is so in {searched}")
    rows = connection.execute(
        "SELECT v.id, length(v.embedding), 2 * s.dimension FROM vectors v JOIN spaces s ON s.id = v.space"
        " WHERE length(v.embedding) <> 2 * s.dimension"
    )
    for id, length, wanted in rows:
        yield BadCell("vectors", str(id), "embedding", f"has {length} bytes, and its space {wanted}")
    for name, last in connection.execute("SELECT name, seq FROM sqlite_sequence"):
        if type(last) is not int or not 0 <= last <= _MOST:
            yield BadCell("sqlite_sequence", _shown(name), "seq", f"{_shown(last)} is not {_OF_TYPE['INTEGER'].wanted}")
