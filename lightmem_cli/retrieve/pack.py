"""Packs what was found of a conversation into hits: many sessions, nothing twice, no more than is wanted."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.records import Entry, Hit, Kind, MessageKey

# Each earlier hit of a session costs the next one this much, five times at most: recall@20 .877 instead of .874 and
# recall@10 unchanged; six times as much loses a point of that.
_REPEATS, _MOST_REPEATS = 0.002, 5
_RETOLD = 0.01  # what a fact must be better by to be shown in place of the turn that it retells


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry and the part each signal plays in its score, which is their sum."""

    entry: Entry
    signals: dict[str, float]


def pack(found: Sequence[Candidate], *, limit: int | None, budget_tokens: int | None) -> list[Hit]:
    """The best of `found`, at most `limit`, whose texts together fit `budget_tokens`.

    What does not fit is passed over and smaller hits fill the rest. Ties are broken by the entries' ids.
    """
    hits: list[Hit] = []
    left = budget_tokens
    for candidate in _spread(found):
        if limit is not None and len(hits) >= limit:
            break
        if left is not None:
            cost = count_tokens(candidate.entry.text)
            if cost > left:
                continue
            left -= cost
        score = sum(candidate.signals.values())
        hits.append(Hit(entry=candidate.entry, rank=len(hits) + 1, score=score, signals=candidate.signals))
    return hits


def _spread(found: Sequence[Candidate]) -> Iterator[Candidate]:
    """The candidates best first, none twice, each session's later ones held back a little."""
    shown: Counter[tuple[str, str]] = Counter()
    told = _Told(found)
    heap = []
    for candidate in found:
        signals = dict(candidate.signals)
        if candidate.entry.kind is not Kind.TURN:
            signals["retold"] = -_RETOLD
        heap.append((-sum(signals.values()), candidate.entry.id, 0, signals, candidate.entry))
    heapq.heapify(heap)
    while heap:
        _, id_, repeats, signals, entry = heapq.heappop(heap)
        now = min(shown[entry.conversation, entry.session], _MOST_REPEATS)
        if now > repeats:  # its session has been shown since
            signals["session"] = -_REPEATS * now
            heapq.heappush(heap, (-sum(signals.values()), id_, now, signals, entry))
        elif told.takes(entry):
            shown[entry.conversation, entry.session] += 1
            yield Candidate(entry, signals)


class _Told:
    """What has been shown: turns word for word, and turns that a better retelling stands for.

    `found` are all candidates: where a turn is among them, one retelling is enough to stand for it.
    """

    def __init__(self, found: Sequence[Candidate]) -> None:
        turns = (candidate.entry for candidate in found if candidate.entry.kind is Kind.TURN)
        self._tellable = {key for turn in turns for key in turn.sources}
        self._verbatim: set[MessageKey] = set()
        self._retold: set[MessageKey] = set()

    def takes(self, entry: Entry) -> bool:
        """Note `entry` as shown, unless it says only what has been shown."""
        sources = set(entry.sources)
        if entry.kind is Kind.TURN:
            if sources and sources <= self._retold:
                return False
            self._verbatim |= sources
            return True
        if sources and sources <= self._verbatim:
            return False
        if len(sources) == 1:  # a summary of many stands for none of them
            if sources <= self._retold & self._tellable:
                return False
            self._retold |= sources
        return True
