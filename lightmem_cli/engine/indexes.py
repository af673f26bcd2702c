"""Brings the word and vector indexes of a memory up to its history, or makes them again where they disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from lightmem_cli.errors import ProfileBusy, StoreError
from lightmem_cli.language.words import analyze
from lightmem_cli.profiles import Profile
from lightmem_cli.protocols import Document, Progress, VectorIndex, WordIndex
from lightmem_cli.records import Entry, Space
from lightmem_cli.store.files import IndexBroken
from lightmem_cli.store.history import History
from lightmem_cli.store.vectors import open_vectors
from lightmem_cli.store.words import open_words

_CHANGES_AT_ONCE = 4096
_WAIT_SECONDS = 60.0

_Index = TypeVar("_Index", WordIndex, VectorIndex)


class Indexes:
    """The derived files of one profile. History's `changes` say what they lack; nothing in them is trusted."""

    def __init__(self, profile: Profile, history: History, *, notice: Progress, reader: bool) -> None:
        """`reader`: never wait for another process's lock."""
        self._profile = profile
        self._history = history
        self._notice = notice
        self._reader = reader
        self._words: WordIndex | None = None
        self._vectors: tuple[Space, VectorIndex] | None = None

    @property
    def words(self) -> WordIndex:
        if self._words is None:
            self._words = self._sound("words", self._open_words)
        return self._words

    def vectors(self, space: Space) -> VectorIndex:
        """The index of `space`."""
        if self._vectors is None or self._vectors[0] != space:
            self._vectors = (space, self._sound("vectors", lambda anew: self._open_vectors(space, anew=anew)))
        return self._vectors[1]

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
        """Make the indexes again from history, beside nothing: they are emptied first."""
        with self._lock():
            self._close()
            self._words = self._open_words(anew=True)
            self._take_words()
            if space is not None:
                self._vectors = (space[1], self._open_vectors(space[1], anew=True))
                self._take_vectors(*space)

    def close(self) -> None:
        self._close()

    def _take_words(self) -> None:
        index = self.words
        while True:
            changed, reached = self._history.runs.changes_after(index.position, "entry", limit=_CHANGES_AT_ONCE)
            if reached == index.position:
                return
            entries = self._history.entries.get(changed)
            documents = [Document(id, self._terms(entry)) for id, entry in sorted(entries.items())]
            index.apply(add=documents, remove=[id for id in changed if id not in entries], position=reached)

    def _take_vectors(self, space: int, record: Space) -> None:
        index = self.vectors(record)
        while True:
            changed, reached = self._history.runs.changes_after(index.position, "vector", limit=_CHANGES_AT_ONCE)
            if reached == index.position:
                return
            embeddings = self._history.vectors.embeddings(space, changed)
            here = {id for id, _ in embeddings}
            index.apply(add=embeddings, remove=[id for id in changed if id not in here], position=reached)

    def _terms(self, entry: Entry) -> tuple[str, ...]:
        return tuple(analyze(entry.text, language=self._profile.settings.store.language))

    def _sound(self, name: str, open_index: Callable[[bool], _Index]) -> _Index:
        """Open an index, made again (with one line to say so) if it is broken or ahead of its history."""
        reason = f"the {name} index is ahead of its history"
        try:
            index = open_index(False)
            if index.position <= self._history.runs.position():
                return index
            index.close()
        except IndexBroken as broken:
            reason = broken.message
        self._notice(f"{reason}: making it again from history")
        with self._lock():
            return open_index(True)

    def _open_words(self, anew: bool) -> WordIndex:
        folder = self._profile.folder / "words"
        return open_words(self._profile.settings.store.words, folder, select=self._history.selector.entries, anew=anew)

    def _open_vectors(self, space: Space, *, anew: bool) -> VectorIndex:
        return open_vectors(
            self._profile.settings.store.vectors,
            self._profile.folder / "vectors" / space.slug,
            space=space,
            select=self._history.selector.vectors,
            anew=anew,
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # 90 ms, and a reader of a current memory needs none of it

        lock = FileLock(self._profile.folder / "indexes.lock", timeout=0 if self._reader else _WAIT_SECONDS, mode=0o600)
        try:
            with lock:
                yield
        except Timeout as error:
            raise ProfileBusy("another process is writing this memory's indexes", hint="try again") from error

    def _close(self) -> None:
        if self._words is not None:
            self._words.close()
        if self._vectors is not None:
            self._vectors[1].close()
        self._words = self._vectors = None
