"""Brings the word and vector indexes of a memory up to its history, or makes them again where they disagree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias, TypeVar

from lightmem_cli.errors import ProfileBusy, StoreError
from lightmem_cli.language.words import REVISION, analyze
from lightmem_cli.profiles import Profile
from lightmem_cli.protocols import Document, Progress, VectorIndex, WordIndex
from lightmem_cli.records import Entry, Space
from lightmem_cli.store.files import IndexBroken, new_file, private_folder, read_object, storing
from lightmem_cli.store.history import History
from lightmem_cli.store.locks import exclusive
from lightmem_cli.store.vectors import open_vectors
from lightmem_cli.store.words import open_words

_CHANGES_AT_ONCE = 4096
_WAIT_SECONDS = 60.0
_ORIGIN = "made_from.json"  # beside each index: what it was made from, and how

_Origin: TypeAlias = dict[str, str | int]

_Index = TypeVar("_Index", WordIndex, VectorIndex)


class Indexes:
    """The derived files of one profile. History's `changes` say what they lack; nothing in them is trusted."""

    def __init__(self, profile: Profile, history: History, *, notice: Progress, reader: bool) -> None:
        """`reader`: never wait for another process's lock."""
        self._profile = profile
        self._store = profile.settings.store
        self._history = history
        self._notice = notice
        self._reader = reader
        self._words: WordIndex | None = None
        self._vectors: tuple[Space, VectorIndex] | None = None

    @property
    def words(self) -> WordIndex:
        if self._words is None:
            self._words = self._sound(self._words_folder, self._words_origin(), self._open_words)
        return self._words

    def vectors(self, space: Space) -> VectorIndex:
        """The index of `space`."""
        if self._vectors is None or self._vectors[0] != space:

            def open_index(anew: bool) -> VectorIndex:
                return self._open_vectors(space, anew=anew)

            self._vectors = (space, self._sound(self._folder_of(space), self._vectors_origin(), open_index))
        return self._vectors[1]

    def check(self, space: tuple[int, Space] | None) -> None:
        """Open the indexes before history grows: one that is ahead of it shows only until then."""
        self.words  # noqa: B018  # opening is checking
        if space is not None:
            self.vectors(space[1])

    def catch_up(self, *, space: tuple[int, Space] | None) -> None:
        """Take in what changed since each index was stamped; a reader leaves it to whoever holds the lock."""
        behind = self.words.position < self._history.runs.position()
        if space is not None:
            behind |= self.vectors(space[1]).position < self._history.runs.position()
        if not behind:
            return
        try:
            with self._lock():
                self._take_words()
                if space is not None:
                    self._take_vectors(*space)
        except ProfileBusy:
            if not self._reader:
                raise
        except IndexBroken as broken:
            self.mend(broken, space=space)
        except StoreError as error:
            if not self._reader:
                raise
            self._notice(f"going on with what the indexes hold: {error.message}")  # as on a full disk

    def mend(self, broken: IndexBroken, *, space: tuple[int, Space] | None) -> None:
        """Make the indexes again after damage that only their use has shown."""
        self._notice(f"{broken.message}: making it again from history")
        self.rebuild(space=space)

    def rebuild(self, *, space: tuple[int, Space] | None) -> None:
        """Make the indexes again from history; until that is done they hold less."""
        with self._lock():
            self.close()
            self._words = self._open_words(anew=True)
            self._take_words()
            if space is not None:
                self._vectors = (space[1], self._open_vectors(space[1], anew=True))
                self._take_vectors(*space)

    def erase(self) -> None:
        """Remove every derived file, those of other backends, spaces and generations included."""
        with self._lock():
            self.close()
            for folder in (self._words_folder, self._profile.folder / "vectors"):
                if folder.exists():
                    with storing(folder):
                        shutil.rmtree(folder)

    def build_vectors(self, space: tuple[int, Space]) -> None:
        """Make the index of one space anew; those of other spaces stay as they are beside it."""
        with self._lock():
            if self._vectors is not None:
                self._vectors[1].close()
            self._vectors = (space[1], self._open_vectors(space[1], anew=True))
            self._take_vectors(*space)

    def drop_other_vectors(self, space: Space) -> None:
        """Remove the indexes of every space but `space`."""
        with self._lock():
            for folder in self._folder_of(space).parent.iterdir():
                if folder != self._folder_of(space):
                    shutil.rmtree(folder, ignore_errors=True)  # what a reader still has open goes with the next swap

    def close(self) -> None:
        if self._words is not None:
            self._words.close()
        if self._vectors is not None:
            self._vectors[1].close()
        self._words = self._vectors = None

    def _take_words(self) -> None:
        index = self.words
        if index.position == 0:
            _write_origin(self._words_folder, self._words_origin())
        while True:
            changed, reached = self._history.runs.changes_after(index.position, "entry", limit=_CHANGES_AT_ONCE)
            if reached == index.position:
                return
            entries = self._history.entries.get(changed)
            documents = [Document(id, self._terms(entry)) for id, entry in sorted(entries.items())]
            index.apply(add=documents, remove=[id for id in changed if id not in entries], position=reached)

    def _take_vectors(self, space: int, record: Space) -> None:
        index = self.vectors(record)
        if index.position == 0:
            _write_origin(self._folder_of(record), self._vectors_origin())
        while True:
            changed, reached = self._history.runs.changes_after(index.position, "vector", limit=_CHANGES_AT_ONCE)
            if reached == index.position:
                return
            embeddings = self._history.vectors.embeddings(space, changed)
            here = {id for id, _ in embeddings}
            index.apply(add=embeddings, remove=[id for id in changed if id not in here], position=reached)

    def _terms(self, entry: Entry) -> tuple[str, ...]:
        return tuple(analyze(entry.text, language=self._store.language))

    def _sound(self, folder: Path, origin: _Origin, open_index: Callable[[bool], _Index]) -> _Index:
        """Open an index, made again (with one line to say so) if it is broken or was not made from this history."""
        try:
            index = open_index(False)
            fault = self._fault(index.position, folder, origin)
            if fault is None:
                return index
            index.close()
        except IndexBroken as broken:
            fault = broken.message
        self._notice(f"{fault}: making it again from history")
        with self._lock():
            return open_index(True)

    def _fault(self, position: int, folder: Path, origin: _Origin) -> str | None:
        """Why an index that is in order by itself is not one of this history, if so."""
        name = folder.relative_to(self._profile.folder).parts[0]
        if position > self._history.runs.position():
            return f"the {name} index is ahead of its history"
        found = read_object(folder / _ORIGIN) if position else origin
        if found == origin:
            return None
        differing = ", ".join(key for key in origin if not found or found.get(key) != origin[key])
        return f"the {name} index was made with another {differing}"

    def _words_origin(self) -> _Origin:
        return {"history": self._history.runs.uuid(), "language": self._store.language, "analysis": REVISION}

    def _vectors_origin(self) -> _Origin:
        return {"history": self._history.runs.uuid()}

    @property
    def _words_folder(self) -> Path:
        return self._profile.folder / "words"

    def _folder_of(self, space: Space) -> Path:
        return self._profile.folder / "vectors" / space.slug

    def _open_words(self, anew: bool) -> WordIndex:
        return open_words(self._store.words, self._words_folder, select=self._history.selector.entries, anew=anew)

    def _open_vectors(self, space: Space, *, anew: bool) -> VectorIndex:
        select = self._history.selector.vectors
        return open_vectors(self._store.vectors, self._folder_of(space), space=space, select=select, anew=anew)

    def _lock(self) -> AbstractContextManager[None]:
        wait = 0 if self._reader else _WAIT_SECONDS
        busy = "another process is writing this memory's indexes"
        return exclusive(self._profile.folder / "indexes.lock", wait=wait, busy=busy)


def _write_origin(folder: Path, origin: _Origin) -> None:
    private_folder(folder)
    with new_file(folder / _ORIGIN) as file:
        file.write(json.dumps(origin).encode())
