"""Ranks a conversation's entries by BM25 with the rank-bm25 package, built anew in memory from a file of their terms.

It is the plain reference that the incremental index agrees with. Every change rewrites the file and every first search
builds the scores again, so what it costs grows with the whole corpus.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmem_cli.errors import StoreError
from lightmem_cli.protocols import Contents, Document, Scored
from lightmem_cli.store.files import IndexBroken, new_file, private_folder, stamp_of, storing
from lightmem_cli.store.ranking import best, passing

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, Select
    from lightmem_cli.records import Filter

FORMAT = 1
_LEAST_IDF = 1e-6  # FTS5's: a term in half of all entries or more still tells them from those without it


class Corpus:
    """Every entry's terms, current to `position`, and their BM25 weights."""

    def __init__(self, terms: dict[int, list[str]], *, position: int) -> None:
        self.terms, self.position = terms, position

    @cached_property
    def ids(self) -> Ids:
        return np.fromiter(self.terms, np.int64, count=len(self.terms))

    @cached_property
    def bm25(self) -> Any:
        """The package's scorer, its idf floored as FTS5 has it; None for a corpus without a single term."""
        from rank_bm25 import BM25Okapi

        if not any(self.terms.values()):
            return None
        scorer = BM25Okapi(self.terms.values(), k1=1.2, b=0.75, epsilon=0.0)
        scorer.idf = {term: idf if idf > 0 else _LEAST_IDF for term, idf in scorer.idf.items()}
        return scorer


class RankBm25Words:
    """The entries' terms in `corpus.jsonl`: a line that stamps the rest, then one line an entry."""

    def __init__(self, folder: Path, *, select: Select, readonly: bool = False, anew: bool = False) -> None:
        """Open what is in `folder`, writing nothing; with `anew`, clear it whatever state it is in."""
        self._path, self._select, self._readonly = folder / "corpus.jsonl", select, readonly
        self.close()
        if anew:
            self.clear()
        else:
            self._refresh()

    @property
    def position(self) -> int:
        return self._refresh().position

    def __len__(self) -> int:
        return len(self._refresh().terms)

    def search(self, terms: Sequence[str], k: int, where: Filter | None = None) -> Scored:
        """The `k` best entries for the distinct `terms`, BM25 with k1 = 1.2 and b = 0.75 over the whole corpus."""
        corpus = self._refresh()
        if corpus.bm25 is None:
            return best(np.empty(0, np.int64), np.empty(0), 0)
        scores = corpus.bm25.get_scores(list(dict.fromkeys(terms)))
        found = (scores > 0) & passing(corpus.ids, None if where is None else self._select(where))
        return best(corpus.ids[found], scores[found], k)

    def apply(self, *, add: Iterable[Document], remove: Sequence[int], position: int) -> None:
        """Drop removed entries, take in new or changed ones, and stamp `position`, in one step."""
        terms = dict(self._refresh().terms)
        for id_ in remove:
            terms.pop(id_, None)
        terms |= {document.id: list(document.terms) for document in add}
        self._write(Corpus(terms, position=position))

    def contents(self) -> Contents[Document]:
        """Every document as the file holds them now."""
        corpus = self._refresh()
        return Contents(corpus.position, (Document(id_, tuple(terms)) for id_, terms in sorted(corpus.terms.items())))

    def clear(self) -> None:
        """Start anew, empty, at position 0: the first step of a rebuild, whatever state the file is in."""
        self._write(Corpus({}, position=0))

    def close(self) -> None:
        """Let go of what was read; a later call reads it again."""
        self._corpus = Corpus({}, position=0)
        self._seen: tuple[int, ...] | None = None

    def _write(self, corpus: Corpus) -> None:
        if self._readonly:
            raise StoreError(f"{self._path} is open for reading only", hint=f"ls -ld {self._path.parent}")
        private_folder(self._path.parent)
        rows = (json.dumps([id_, terms], ensure_ascii=False) for id_, terms in corpus.terms.items())
        body = "\n".join(rows).encode()
        stamp = {"format": FORMAT, "position": corpus.position, "entries": len(corpus.terms), "crc32": zlib.crc32(body)}
        with new_file(self._path) as file:
            file.write(json.dumps(stamp).encode() + b"\n" + body)
        self._corpus, self._seen = corpus, stamp_of(self._path)

    def _refresh(self) -> Corpus:
        """The corpus as it stands in the file now."""
        seen = stamp_of(self._path)
        if seen != self._seen:
            self._corpus = Corpus({}, position=0) if seen is None else _read(self._path)
            self._seen = seen
        return self._corpus


def _read(path: Path) -> Corpus:
    with storing(path):
        head, _, body = path.read_bytes().partition(b"\n")
    try:
        stamp = json.loads(head)
        if (stamp["format"], stamp["crc32"]) != (FORMAT, zlib.crc32(body)):
            raise IndexBroken(path, "was damaged, or written by another version of lightmem")
        return Corpus(dict(json.loads(line) for line in body.splitlines()), position=stamp["position"])
    except (ValueError, TypeError, KeyError) as error:
        raise IndexBroken(path, f"is not a corpus of terms ({error})") from error
