"""Compares a question with every vector of a conversation: exact inner products, FAISS for the many, NumPy for the new.

A score is a function of its two vectors alone: FAISS and NumPy only nominate, wide enough that rounding cannot leave
the right row out, and the nominated are scored in float64. So an index that grew answers as one that was built at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightmem_cli.errors import SpaceMismatch, StoreError
from lightmem_cli.protocols import Contents, Scored
from lightmem_cli.store.files import IndexBroken, private_folder, stamp_of
from lightmem_cli.store.ranking import best, passing
from lightmem_cli.store.vectors.generation import Generation, faiss_library
from lightmem_cli.store.vectors.growth import fold, grow, must_fold
from lightmem_cli.store.vectors.manifest import MANIFEST, Manifest, new_mark, read_manifest, sweep, write_manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lightmem_cli.protocols import Ids, Select, Selection, Vectors
    from lightmem_cli.records import Filter, Space

    Mask = NDArray[np.bool_]

_FEW = 1_024  # so few rows of the main part are scored at once, without asking FAISS which
_SPARE = 16  # nominated beyond k, so that near ties seldom need a second pass
_BLOCK = 8_192  # rows decoded to float64 at once


class FaissVectors:
    """The vectors of one space. One thread at a time; across processes any readers, and one in `apply` or `clear`."""

    def __init__(
        self, folder: Path, *, space: Space, select: Select, readonly: bool = False, anew: bool = False
    ) -> None:
        """Open what is in `folder`, writing nothing; with `anew`, clear it whatever state it is in."""
        self._folder, self._space, self._select, self._readonly = folder, space, select, readonly
        self.close()
        if anew:
            self.clear()
        else:
            self._refresh()

    @property
    def position(self) -> int:
        self._refresh()
        return self._manifest.position

    def __len__(self) -> int:
        self._refresh()
        return self._manifest.rows - self._manifest.gone

    def search(self, vector: Vectors, k: int, where: Filter | None = None) -> Scored:
        """The `k` best vectors for `vector`, shape (dimension,), among those whose entry passes `where`."""
        if vector.shape != (self._space.dimension,):
            message = f"the query has {vector.size} dimensions, the index {self._space.dimension}"
            raise SpaceMismatch(message, hint="lightmem reindex")
        self._refresh()
        main, tail = self._allowed(None if where is None else self._select(where))
        query = np.ascontiguousarray(vector, np.float32)
        if k <= 0:
            return best(np.empty(0, np.int64), np.empty(0), 0)
        # Twice the most by which two float32 sums of products over unit rows, in any order of adding, can mislead.
        slack = len(query) * 2.0**-22 * float(np.linalg.norm(query))
        old = _nominate_main(self._read, query, k, allowed=main, slack=slack)
        new = _nominate_tail(self._read.tail(self._manifest), query, k, allowed=tail, slack=slack)
        ids = np.concatenate([self._read.main_ids[old], self._read.tail_ids(self._manifest)[new]])
        return best(ids, self._exact(query, old=old, new=new), k)

    def apply(self, *, add: Iterable[tuple[int, bytes]], remove: Sequence[int], position: int) -> None:
        """Drop the removed vectors, take in the new (an id that is there already is replaced), stamp `position`."""
        self._writable()
        self._refresh()
        fresh = dict(add)
        size = 2 * self._space.dimension
        for id_, data in fresh.items():
            if len(data) != size:
                raise StoreError(f"vector {id_} has {len(data)} bytes, not {size}", hint="lightmem reindex")
        gone = self._rows_of([*remove, *fresh])
        if must_fold(self._manifest, added=len(fresh), removed=len(gone)):
            after = fold(self._folder, self._manifest, read=self._read, fresh=fresh, gone=gone, position=position)
        else:
            after = grow(self._folder, self._manifest, fresh=fresh, gone=gone, position=position)
        self._take(after, seen=stamp_of(self._folder / MANIFEST))

    def contents(self) -> Contents[tuple[int, bytes]]:
        """Every vector (id, float16 little-endian bytes) as the files hold them now."""
        self._refresh()
        return Contents(self._manifest.position, self._read.living(self._manifest))

    def clear(self) -> None:
        """Start anew, empty, at position 0: the first step of a rebuild, whatever state the files are in."""
        self._writable()
        private_folder(self._folder)
        sweep(self._folder, keep={self._manifest.generation})
        empty = write_manifest(self._folder, Manifest(space=self._space, generation=new_mark()), changed=set())
        self._take(empty, seen=stamp_of(self._folder / MANIFEST))

    def close(self) -> None:
        """Let go of the files; a later call opens them again."""
        self._seen: tuple[int, ...] | None = None
        self._manifest = Manifest(space=self._space)
        self._read = Generation(self._folder, manifest=self._manifest)

    def _refresh(self) -> None:
        """Take in what another process has written since: one stat where there is nothing new."""
        while (seen := stamp_of(self._folder / MANIFEST)) != self._seen:
            try:
                manifest = read_manifest(self._folder, space=self._space)
            except IndexBroken:
                if seen == stamp_of(self._folder / MANIFEST):
                    raise
                continue  # replaced while it was read
            self._take(manifest, seen=seen)

    def _take(self, manifest: Manifest, *, seen: tuple[int, ...] | None) -> None:
        if manifest.generation != self._manifest.generation:
            self._read = Generation(self._folder, manifest=manifest)
        self._manifest, self._seen = manifest, seen

    def _writable(self) -> None:
        if self._readonly:
            raise StoreError(f"{self._folder} is open for reading only", hint=f"ls -ld {self._folder}")

    def _allowed(self, selection: Selection | None) -> tuple[Mask, Mask]:
        """Which rows of the main part and of the tail are there and pass."""
        read, manifest = self._read, self._manifest
        main = np.full(manifest.main, selection is None or selection.inverted)
        if selection is not None:
            main[_rows_at(read.main_ids, selection.ids)] = not selection.inverted
        tail = passing(read.tail_ids(manifest), selection)
        gone = read.gone(manifest)
        main[gone[gone < manifest.main]] = False
        tail[gone[gone >= manifest.main] - manifest.main] = False
        return main, tail

    def _rows_of(self, ids: Sequence[int]) -> Ids:
        """The rows, counted through main part and tail, that hold `ids` now."""
        read, manifest = self._read, self._manifest
        wanted = np.unique(np.asarray(ids, np.int64))
        tail = np.flatnonzero(np.isin(read.tail_ids(manifest), wanted)) + manifest.main
        rows = np.concatenate([_rows_at(read.main_ids, wanted), tail])
        return rows[~np.isin(rows, read.gone(manifest))]

    def _exact(self, query: Vectors, *, old: Ids, new: Ids) -> NDArray[np.float64]:
        """Scores of rows of the main part, then of the tail, each row's alone: exact products, summed in float64."""
        tail, wide = self._read.tail(self._manifest), query.astype(np.float64)
        parts = [self._read.main.reconstruct_batch(rows) for rows in _blocks(old)]
        scored = [(part.astype(np.float64) * wide).sum(axis=1) for part in parts]
        scored += [(tail[rows].astype(np.float64) * wide).sum(axis=1) for rows in _blocks(new)]
        return np.concatenate([np.empty(0), *scored])


def _nominate_main(read: Generation, query: Vectors, k: int, *, allowed: Mask, slack: float) -> Ids:
    """Rows of the main part among which its `k` best are."""
    count = int(allowed.sum())
    if count <= max(k, _FEW):
        return np.flatnonzero(allowed)
    faiss = faiss_library()
    only = None
    if count < len(allowed):
        only = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))
    take = k + _SPARE
    while True:
        take = min(take, count)
        scores, rows = read.main.search(query[None], take, params=only)
        floor = scores[0, k - 1] - slack
        if take == count or scores[0, -1] < floor:
            nominated: Ids = rows[0][scores[0] >= floor]
            return nominated
        take *= 4  # many rows tie at the edge, such as a thousand times "Thanks!"


def _nominate_tail(tail: Vectors, query: Vectors, k: int, *, allowed: Mask, slack: float) -> Ids:
    """Rows of the tail among which its `k` best are."""
    rows = np.flatnonzero(allowed)
    if len(rows) <= k:
        return rows
    scores = (tail @ query)[rows]
    nominated: Ids = rows[scores >= np.partition(scores, -k)[-k] - slack]
    return nominated


def _rows_at(ascending: Ids, ids: Ids) -> Ids:
    """Where in `ascending` those of `ids` stand that are in it."""
    if not len(ascending):
        return np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    found: Ids = at[ascending[at] == ids]
    return found


def _blocks(rows: Ids) -> Iterable[Ids]:
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
