"""Ranks a conversation's entries by BM25 in SQLite's full-text index: incremental, on disk, readable while written.

Of FTS5 only the counting is used: terms come analysed, the tokenizer merely splits them at the spaces again. The table
keeps its own copy of the terms, since what is removed must be known and older SQLite cannot do without.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightmem_cli.errors import ProfileBusy, StoreError
from lightmem_cli.protocols import Contents, Document, Scored
from lightmem_cli.store.files import IndexBroken, private_folder, storing
from lightmem_cli.store.ranking import best
from lightmem_cli.store.sqlite import all_or_nothing, closed_on_error

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, Select, Selection
    from lightmem_cli.records import Filter

_APPLICATION = 0x4C4D5731  # "LMW1", in the file's header: format 1
_WAIT = 10.0  # seconds for another writer's commit; readers never wait (WAL)
_SCHEMA = """
CREATE VIRTUAL TABLE words USING fts5(terms, tokenize = 'ascii');
CREATE TABLE stamp (position INTEGER NOT NULL);
INSERT INTO stamp VALUES (0);
"""
# bm25() is negative, the better the lower; FTS5 fixes k1 = 1.2 and b = 0.75 and lifts an idf of 0 or less to 1e-6.
_BEST = "SELECT rowid, -bm25(words) AS score FROM words WHERE words MATCH ? {only} ORDER BY score DESC, rowid LIMIT ?"
# The plus keeps SQLite from asking the full-text index anew for each id.
_AMONG, _ALL_BUT = "AND +rowid IN temp.chosen", "AND +rowid NOT IN temp.chosen"
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REFUSED = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
}


class Fts5Words:
    """The entries' terms. One thread at a time; across processes any readers, and one in `apply` or `clear`.

    A term holds no white space and no ASCII but lower-case letters and digits, as `language.words.analyze` makes them.
    """

    def __init__(self, folder: Path, *, select: Select, readonly: bool = False, anew: bool = False) -> None:
        """Open what is in `folder`, writing nothing; with `anew`, clear it whatever state it is in."""
        self._path, self._select, self._readonly = folder / "words.db", select, readonly
        self._database: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None
        self._chosen: Ids | None = None
        if anew:
            self.clear()
        else:
            self._open()

    @property
    def position(self) -> int:
        return self._number("SELECT position FROM stamp")

    def __len__(self) -> int:
        return self._number("SELECT count(*) FROM words_docsize")

    def search(self, terms: Sequence[str], k: int, where: Filter | None = None) -> Scored:
        """The `k` best entries for the distinct `terms`, BM25 with k1 = 1.2 and b = 0.75 over the whole corpus."""
        database = self._open()
        rows: list[tuple[int, float]] = []
        if database is not None and terms and k > 0:
            selection = None if where is None else self._select(where)
            match = " OR ".join('"{}"'.format(term.replace('"', '""')) for term in dict.fromkeys(terms))
            with _translated(self._path):
                only = self._narrow(database, selection)
                rows = database.execute(_BEST.format(only=only), (match, k)).fetchall()
        ids = np.array([row[0] for row in rows], np.int64)
        return best(ids, np.array([row[1] for row in rows], np.float64), k)

    def apply(self, *, add: Iterable[Document], remove: Sequence[int], position: int) -> None:
        """Drop removed entries, take in new or changed ones, and stamp `position`, in one transaction."""
        self._writable()
        database = self._open() or self._create()
        added = ((document.id, " ".join(document.terms)) for document in add)
        with _translated(self._path), all_or_nothing(database):
            database.executemany("DELETE FROM words WHERE rowid = ?", ((id_,) for id_ in remove))
            database.executemany("INSERT OR REPLACE INTO words (rowid, terms) VALUES (?, ?)", added)
            database.execute("UPDATE stamp SET position = ?", (position,))

    def contents(self) -> Contents[Document]:
        """Every document as the file holds them now; one open for writing is first checked against its terms' lists.

        Raises:
            IndexBroken: the lists of which term is where are not those of the documents.
        """
        database = self._open()
        if database is None:
            return Contents(0, iter(()))
        with _translated(self._path):
            if not self._readonly:
                database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
            apart = self._connect()  # its transaction keeps it at this moment
            with closed_on_error(apart):
                apart.execute("BEGIN")
                position = int(apart.execute("SELECT position FROM stamp").fetchone()[0])
        return Contents(position, _documents(apart, self._path))

    def clear(self) -> None:
        """Start anew, empty, at position 0: the first step of a rebuild, whatever state the file is in."""
        self._writable()
        self.close()
        with storing(self._path):
            self._path.unlink(missing_ok=True)
        self._create()

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        if self._database is not None:
            with suppress(sqlite3.DatabaseError):  # a last checkpoint of a damaged file
                self._database.close()
        self._database = self._seen = self._chosen = None

    def _writable(self) -> None:
        if self._readonly:
            raise StoreError(f"{self._path} is open for reading only", hint=f"ls -ld {self._path.parent}")

    def _narrow(self, database: sqlite3.Connection, selection: Selection | None) -> str:
        """The condition that keeps a search to `selection`, whose ids stay in a temporary table for the next search."""
        if selection is None:
            return ""
        if self._chosen is None or not np.array_equal(self._chosen, selection.ids):
            self._chosen = None
            database.execute("CREATE TABLE IF NOT EXISTS temp.chosen (id INTEGER PRIMARY KEY)")
            database.execute("DELETE FROM temp.chosen")
            ids = json.dumps(selection.ids.tolist())  # 80,000 ids in 30 ms; a row each through Python takes 120
            database.execute("INSERT INTO temp.chosen SELECT value FROM json_each(?)", (ids,))
            self._chosen = selection.ids
        return _ALL_BUT if selection.inverted else _AMONG

    def _number(self, query: str) -> int:
        database = self._open()
        if database is None:
            return 0
        with _translated(self._path):
            return int(database.execute(query).fetchone()[0])

    def _open(self) -> sqlite3.Connection | None:
        """The connection to the file that stands there now (a rebuild replaces it), or None where there is none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self.close()
            return None
        seen = (found.st_dev, found.st_ino)
        if seen != self._seen:
            self.close()
            with _translated(self._path):
                self._database = self._connect()
            self._seen = seen
        return self._database

    def _connect(self) -> sqlite3.Connection:
        if not self._readonly:
            return _checked(self._path, mode="rw")
        try:
            return _checked(self._path, mode="ro")
        except sqlite3.OperationalError:  # WAL needs files beside it, and the folder takes none: read the file as it is
            return _checked(self._path, mode="ro&immutable=1")

    def _create(self) -> sqlite3.Connection:
        """Put an empty index in place, whole or not at all."""
        private_folder(self._path.parent)
        fresh = self._path.with_name(f"{self._path.name}.new")
        with _translated(self._path), storing(self._path):
            fresh.unlink(missing_ok=True)
            fresh.touch(mode=0o600)
            with closing(_connected(fresh, mode="rw")) as empty:
                empty.execute("PRAGMA journal_mode = WAL")
                empty.executescript(_SCHEMA)
                empty.execute(f"PRAGMA application_id = {_APPLICATION}")
            for left in ("-wal", "-shm", "-journal"):  # SQLite would replay another file's log into this one
                self._path.with_name(self._path.name + left).unlink(missing_ok=True)
            fresh.replace(self._path)
        database = self._open()
        assert database is not None
        return database


def _documents(database: sqlite3.Connection, path: Path) -> Iterator[Document]:
    with closing(database), _translated(path):
        for id_, terms in database.execute("SELECT rowid, terms FROM words ORDER BY rowid"):
            yield Document(id_, tuple(terms.split(" ")) if terms else ())


def _connected(path: Path, *, mode: str) -> sqlite3.Connection:
    """Connect to a file that exists. Threads may take turns with the connection: the caller sees to it."""
    address = f"{path.absolute().as_uri()}?mode={mode}"
    database = sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last commits, which are then caught up
    database.execute("PRAGMA temp_store = MEMORY")
    database.execute("PRAGMA cache_size = -32768")
    return database


def _checked(path: Path, *, mode: str) -> sqlite3.Connection:
    """Connect, and see that the file is one of ours."""
    database = _connected(path, mode=mode)
    with closed_on_error(database):
        found = database.execute("PRAGMA application_id").fetchone()[0]
        if found != _APPLICATION:
            raise IndexBroken(path, "is not a words index of this version of lightmem")
        database.execute("SELECT position FROM stamp").fetchone()
    return database


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as ours: a held lock, a refusal of the system, or else a damaged or foreign file."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _BUSY:
            raise ProfileBusy(f"{path} is held by another process", hint="try again in a moment") from error
        if code in _REFUSED:
            hint = f"see `df -h` and `ls -ld` for {path.parent}"
            raise StoreError(f"cannot use {path}: {error}", hint=hint) from error
        raise IndexBroken(path, f"was damaged ({error})") from error
