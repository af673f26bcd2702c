"""Reads a conversation's vectors from files: a big sorted part, a small tail that grows, and what was removed since."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmem_cli.store.files import IndexBroken
from lightmem_cli.store.vectors.manifest import GONE, MAIN, MAIN_IDS, TAIL, TAIL_IDS, Manifest, file_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lightmem_cli.protocols import Ids, Vectors

    Codes = NDArray[np.uint8]


def faiss_library() -> Any:
    """FAISS, untyped (its stubs do not know its Python side); importing it costs 0.2 s."""
    import faiss

    return faiss


class Column:
    """The rows of a file that only grows, read as far as a manifest vouches for them, each row once."""

    def __init__(self, path: Path, *, stored: str, width: int, kept: type) -> None:
        self._path, self._stored, self._width = path, np.dtype(stored), width
        self._rows: NDArray[Any] = np.empty((0, width), kept)
        self._read = 0

    def upto(self, count: int) -> NDArray[Any]:
        """The first `count` rows, shape (count, width)."""
        missing = (count - self._read) * self._width
        if missing > 0:
            offset = self._read * self._width * self._stored.itemsize
            found = np.fromfile(self._path, self._stored, count=missing, offset=offset)
            if len(found) < missing:
                raise IndexBroken(self._path, "is shorter than its manifest says")
            if count > len(self._rows):  # doubled: growing one row at a time stays cheap per row
                grown = np.empty((max(count, 2 * self._read), self._width), self._rows.dtype)
                grown[: self._read] = self._rows[: self._read]
                self._rows = grown
            self._rows[self._read : count] = found.reshape(-1, self._width)
            self._read = count
        return self._rows[:count]


class Generation:
    """The rows of one generation, each part read when it is first needed."""

    def __init__(self, folder: Path, *, manifest: Manifest) -> None:
        self._folder, self._mark, self._count = folder, manifest.generation, manifest.main
        self._dimension = manifest.space.dimension
        self._tail = Column(self._path(TAIL), stored="<f2", width=self._dimension, kept=np.float32)
        self._tail_ids = Column(self._path(TAIL_IDS), stored="<i8", width=1, kept=np.int64)
        self._gone = Column(self._path(GONE), stored="<i8", width=1, kept=np.int64)

    def tail(self, manifest: Manifest) -> Vectors:
        """Float32, shape (manifest.tail, dimension): decoded once, as NumPy decodes 16,384 rows in 20 ms."""
        return self._tail.upto(manifest.tail)

    def tail_ids(self, manifest: Manifest) -> Ids:
        return self._tail_ids.upto(manifest.tail)[:, 0]

    def gone(self, manifest: Manifest) -> Ids:
        """Removed rows, counted through the main part and on through the tail."""
        return self._gone.upto(manifest.gone)[:, 0]

    @cached_property
    def main_ids(self) -> Ids:
        """Ascending, memory-mapped."""
        if not self._count:
            return np.empty(0, np.int64)
        return np.memmap(self._path(MAIN_IDS), "<i8", mode="r", shape=(self._count,))

    @cached_property
    def main(self) -> Any:
        """The FAISS index of the main part, memory-mapped: 300,000 vectors open in 2 ms."""
        faiss, path = faiss_library(), self._path(MAIN)
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IndexBroken(path, "is not a FAISS index") from error
        if (index.ntotal, index.d) != (self._count, self._dimension):
            raise IndexBroken(path, f"holds {index.ntotal} vectors of {index.d}")
        return index

    def main_codes(self) -> NDArray[np.uint8]:
        """The main part's float16 rows as bytes, shape (rows, 2 × dimension), without a copy."""
        if not self._count:
            return np.empty((0, 2 * self._dimension), np.uint8)
        return _codes(self.main)

    def living(self, manifest: Manifest) -> Iterator[tuple[int, bytes]]:
        """(id, float16 bytes) of every row that was not removed, by rising id; the files are read or mapped now."""
        alive = np.ones(manifest.rows, np.bool_)
        alive[self.gone(manifest)] = False
        rows = np.flatnonzero(alive)
        ids = np.concatenate([self.main_ids, self.tail_ids(manifest)])[rows]
        order = np.argsort(ids)
        tail = self.tail(manifest).astype("<f2").view(np.uint8)  # exact: each number was a float16
        return self._each(ids[order], rows[order], main=self.main_codes(), tail=tail)

    def _each(self, ids: Ids, rows: Ids, *, main: Codes, tail: Codes) -> Iterator[tuple[int, bytes]]:
        """The rows, counted through `main`, whose memory is this generation's, and on through `tail`, one by one."""
        for id_, row in zip(ids.tolist(), rows.tolist(), strict=True):
            yield id_, (main[row] if row < len(main) else tail[row - len(main)]).tobytes()

    def _path(self, name: str) -> Path:
        return file_of(self._folder, name, generation=self._mark)


def empty_main(rows: int, *, dimension: int) -> tuple[Any, NDArray[np.uint8]]:
    """A FAISS index of `rows` float16 vectors, and its bytes, to be filled: adding by pieces would copy them twice."""
    faiss = faiss_library()
    index = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.codes.resize(rows * index.code_size)
    index.ntotal = rows
    return index, _codes(index)


def _codes(index: Any) -> NDArray[np.uint8]:
    """The bytes of the vectors in `index`, which must outlive them, shape (rows, 2 × dimension)."""
    codes: NDArray[np.uint8] = faiss_library().rev_swig_ptr(index.codes.data(), index.codes.size())
    return codes.reshape(index.ntotal, index.code_size)
