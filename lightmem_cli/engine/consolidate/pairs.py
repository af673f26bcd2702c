"""Finds the facts of a conversation that may say the same: near in meaning, or in the same words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightmem_cli.records import Entry, State
from lightmem_cli.store.history.facts import Changed
from lightmem_cli.update.decide import same_words

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, Vectors
    from lightmem_cli.store.history import History

_ROWS_AT_ONCE = 1_024  # of the changed facts, against
_FACTS_AT_ONCE = 8_192  # of all: 32 MB of cosines at a time
_FEW = 32  # changed facts
_PLAIN = re.compile("[a-z0-9]+")
_ROUNDING = 1e-3  # a product of float32 matrices depends on their shapes; each pair's cosine is then taken by itself


@dataclass(frozen=True, slots=True)
class Candidates:
    """Facts, pairs of them (indices, cosine; 1 where one has no vector), and the position in `changes` they settle.

    `apart` counts the pairs left out because their merger was undone.
    """

    facts: list[Entry]
    pairs: list[tuple[int, int, float]]
    settled: int
    apart: int


def candidates(
    history: History,
    *,
    space: int | None,
    threshold: float,
    after: int,
    known: Collection[tuple[str, int]],
    progress: Callable[[int], None],
) -> Candidates:
    """The pairs of active facts of one voice that are alike and of which one changed after the position `after`.

    A fact that still waits for its vectors is in no pair, and what is settled ends before its change. `known` are
    (id, version) of facts that count as unchanged. `progress` gets the number of facts compared.
    """
    position = history.runs.position()  # read first: what is written from here on is not settled
    facts = history.facts
    waiting = facts.unembedded()
    changed = [one for one in facts.changed_after(after) if (one.name, one.version) not in known]
    settled = min([position, *(one.last - 1 for one in changed if one.id in waiting)])
    if not changed:
        return Candidates([], [], settled, 0)
    undone = facts.brought_back()
    found: list[tuple[int, int, float]] = []
    texts: dict[int, str] = {}
    compared = apart = 0
    for (conversation, speaker), fresh in _by_voice(changed).items():
        said = facts.said_by(speaker, conversation=conversation)
        voice = _Voice({id: text for id, text in said.items() if id not in waiting}, fresh - waiting)
        for alike, count in voice.alike(history, space=space, threshold=threshold):
            # Whoever undid a merger wants it apart from all that was there; what comes later may merge with it.
            pairs = [(a, b, near) for a, b, near in alike if b > undone.get(a, 0) and a > undone.get(b, 0)]
            apart += len(alike) - len(pairs)
            texts |= {id: said[id] for pair in pairs for id in pair[:2]}
            found += pairs
            compared += count
            progress(compared)
    entries = {
        id: entry
        for id, entry in history.entries.get(sorted(texts)).items()
        if entry.state is State.ACTIVE and entry.text == texts[id]  # another writer may be at work
    }
    places = {id: place for place, id in enumerate(sorted(entries))}
    kept = sorted((places[a], places[b], cosine) for a, b, cosine in found if a in places and b in places)
    return Candidates([entries[id] for id in places], kept, settled, apart)


def _by_voice(changed: Iterable[Changed]) -> dict[tuple[str, str], set[int]]:
    voices: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for one in changed:
        voices[one.conversation, one.speaker].add(one.id)
    return voices


class _Voice:
    """The facts of one speaker in one conversation: those that changed first, then the others."""

    def __init__(self, texts: dict[int, str], fresh: set[int]) -> None:
        self._ids = [id for id in texts if id in fresh] + [id for id in texts if id not in fresh]
        self._fresh = sum(id in fresh for id in texts)
        self._texts = texts
        words = [_PLAIN.findall(texts[id].lower()) for id in self._ids[: self._fresh if self._fresh <= _FEW else 0]]
        self._longest = {max(its, key=len) for its in words} if all(words) else set()

    def alike(
        self, history: History, *, space: int | None, threshold: float
    ) -> Iterator[tuple[list[tuple[int, int, float]], int]]:
        """Pairs (id, id, cosine), each once, some at a time, with the number of changed facts they were found for."""
        import numpy as np

        if not self._fresh or len(self._ids) < 2:
            return
        rows, vectors = _vectors(history, self._ids, space=space)
        row_of = np.full(len(self._ids), -1)  # of each place in `_ids`
        row_of[rows] = np.arange(len(rows))
        yield self._same_words(row_of, vectors, threshold=threshold), 0
        for start in range(0, self._fresh, _ROWS_AT_ONCE):
            end = min(start + _ROWS_AT_ONCE, self._fresh)
            first, last = np.searchsorted(rows, [start, end])
            yield self._near(rows, vectors, first=int(first), last=int(last), threshold=threshold), end - start

    def _near(
        self, rows: Ids, vectors: Vectors, *, first: int, last: int, threshold: float
    ) -> list[tuple[int, int, float]]:
        """The pairs of vectors, one of them in `first` to `last`, whose cosine reaches `threshold`."""
        import numpy as np

        found: list[tuple[int, int, float]] = []
        for start in range(first, len(vectors), _FACTS_AT_ONCE):
            alike = vectors[first:last] @ vectors[start : start + _FACTS_AT_ONCE].T >= threshold - _ROUNDING
            ones, others = np.nonzero(alike)
            ones, others = ones + first, others + start
            once = others > ones
            ones, others = ones[once], others[once]
            cosines = _cosines(vectors, ones, others)
            near = cosines >= threshold
            found += self._pairs(rows[ones[near]], rows[others[near]], cosines[near])
        return found

    def _same_words(self, row_of: Ids, vectors: Vectors, *, threshold: float) -> list[tuple[int, int, float]]:
        """The pairs in the same words whose cosine, if they have one, does not reach `threshold`."""
        import numpy as np

        groups: defaultdict[str, list[int]] = defaultdict(list)
        for place, id in enumerate(self._ids):
            if place < self._fresh or self._may_share_words(self._texts[id]):
                groups[same_words(self._texts[id])].append(place)
        found: list[tuple[int, int, float]] = []
        for words, group in groups.items():
            for at, one in enumerate(group if words else ()):
                others = np.array(group[at + 1 :])
                if one >= self._fresh or not len(others):
                    break
                ones = np.full_like(others, one)
                cosines = np.ones(len(others))
                seen = (row_of[ones] >= 0) & (row_of[others] >= 0)
                cosines[seen] = _cosines(vectors, row_of[ones[seen]], row_of[others[seen]])
                far = ~seen | (cosines < threshold)
                found += self._pairs(ones[far], others[far], cosines[far])
        return found

    def _may_share_words(self, text: str) -> bool:
        """Whether `text` holds the longest word of a fact that changed: of a few facts, that is quickly told."""
        return not self._longest or not text.isascii() or any(word in text.lower() for word in self._longest)

    def _pairs(self, ones: Ids, others: Ids, cosines: Vectors) -> list[tuple[int, int, float]]:
        ids = self._ids
        columns = zip(ones.tolist(), others.tolist(), cosines.tolist(), strict=True)
        return [(min(ids[a], ids[b]), max(ids[a], ids[b]), cosine) for a, b, cosine in columns]


def _vectors(history: History, ids: Sequence[int], *, space: int | None) -> tuple[Ids, Vectors]:
    """The places in `ids` of those that have vectors, int64, shape (n,), and a unit vector for each, float32."""
    import numpy as np

    places: list[Ids] = []
    blocks: list[Vectors] = []
    for start in range(0, len(ids) if space is not None else 0, _FACTS_AT_ONCE):
        some = np.array(ids[start : start + _FACTS_AT_ONCE])
        owners, vectors = history.reading.embedded(some.tolist(), space=space or 0)
        if not len(owners):
            continue
        seen, begins = np.unique(owners, return_index=True)  # `embedded` sorts by owner
        means = vectors if len(seen) == len(owners) else np.add.reduceat(vectors, begins, axis=0)
        means /= np.maximum(np.sqrt(np.einsum("ij,ij->i", means, means)), np.finfo(np.float32).tiny)[:, None]
        order = np.argsort(some)
        at = order[np.searchsorted(some, seen, sorter=order)]
        in_order = np.argsort(at)
        places.append(at[in_order] + start)
        blocks.append(means[in_order])
    if not blocks:
        return np.zeros(0, np.int64), np.zeros((0, 1), np.float32)
    return np.concatenate(places), np.concatenate(blocks)


def _cosines(vectors: Vectors, ones: Ids, others: Ids) -> Vectors:
    """The cosine of each pair, from its own two vectors alone, to six decimals."""
    import numpy as np

    found = np.zeros(len(ones))
    for start in range(0, len(ones), _FACTS_AT_ONCE):
        some = slice(start, start + _FACTS_AT_ONCE)
        found[some] = (vectors[ones[some]].astype(np.float64) * vectors[others[some]]).sum(axis=1)
    return np.round(found, 6)
