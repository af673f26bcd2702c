"""Drafts the summary of one stretch of a conversation from the facts that are remembered of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from lightmem_cli.records import Entry, Kind, LinkKind, TimeRange
from lightmem_cli.store.history import History
from lightmem_cli.summarize import Per, Window, choose, days_of, retell

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors

_FEWEST = 2  # facts: one by itself is its own summary
_KEYWORDS = 8


@dataclass(frozen=True, slots=True)
class Draft:
    """A summary before its birth: the facts it quotes and the messages it rests on, by history's integers.

    `among` is the number of facts that its window has.
    """

    entry: Entry
    facts: dict[int, Entry]
    sources: tuple[int, ...]
    among: int

    @property
    def links(self) -> list[tuple[int, LinkKind]]:
        return [(fact, LinkKind.SUMMARIZES) for fact in self.facts]

    def over(self, old: Entry) -> Entry:
        """`old`, a summary in the same words and of the same messages, as this draft has it."""
        return replace(
            self.entry,
            id=old.id,
            sources=old.sources,
            pinned=old.pinned,
            version=old.version,
            recorded_at=old.recorded_at,
        )


class Drafts:
    """Reads windows of one kind and drafts their summaries: a function of the facts, their vectors and the settings."""

    def __init__(self, history: History, *, per: Per, sentences: int, zone: tzinfo, space: int | None) -> None:
        self._history = history
        self._windows = history.windows
        self._per: Per = per
        self._sentences = sentences
        self._zone = zone
        self._space = space

    def draft(self, window: Window) -> Draft | None:
        """The summary of a window as it is now; None where there is too little to summarize."""
        history = self._history
        ids = self._facts(window)
        entries = history.entries.get(ids)
        if len(ids) < _FEWEST:
            return None
        chosen = choose([entries[id] for id in ids], self._vectors(ids), most=self._sentences)
        if len(chosen) < min(_FEWEST, self._sentences):  # they all say the same
            return None
        quoted = {ids[at]: entries[ids[at]] for at in chosen}
        sources = tuple(dict.fromkeys(source for id in quoted for source in history.entries.source_ids(id)))
        days = window.days or _days(entries.values(), zone=self._zone)
        entry = self._entry(window, list(quoted.values()), days=days)
        return Draft(entry, quoted, sources, len(ids))

    def _entry(self, window: Window, facts: Sequence[Entry], *, days: TimeRange | None) -> Entry:
        return Entry(
            id="",
            kind=Kind.SUMMARY,
            text=retell(facts, days=days, per=self._per, zone=self._zone),
            conversation=window.conversation,
            session=window.session,
            sources=tuple(sorted({key for fact in facts for key in fact.sources})),
            said_at=_last_said(facts),
            happened=days,
            importance=round(sum(fact.importance for fact in facts) / len(facts), 3),
            keywords=_most(fact.keywords for fact in facts),
            entities=_most(fact.entities for fact in facts),
        )

    def _facts(self, window: Window) -> list[int]:
        if window.days is not None:
            return self._windows.facts_between(window.conversation, window.days)
        undated = self._per != "session"
        return self._windows.facts_of_session(window.conversation, window.session, undated=undated)

    def _vectors(self, ids: Sequence[int]) -> Vectors:
        """The unit mean of each fact's vectors, zeros where it has none, float32, shape (len(ids), dimension)."""
        import numpy as np

        if self._space is None:
            return np.zeros((len(ids), 1), np.float32)
        owners, vectors = self._history.reading.embedded(ids, space=self._space)
        row_of = {id: row for row, id in enumerate(ids)}
        sums = np.zeros((len(ids), max(1, vectors.shape[1])), np.float32)
        np.add.at(sums, [row_of[owner] for owner in owners.tolist()], vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def _last_said(facts: Iterable[Entry]) -> datetime | None:
    """When the last of `facts` was first said: the summary can be known from then on."""
    return max((fact.said_at for fact in facts if fact.said_at), key=lambda at: (at, at.isoformat()), default=None)


def _days(facts: Iterable[Entry], *, zone: tzinfo) -> TimeRange | None:
    """The days in which `facts` were said, as far as that is known."""
    moments = [fact.said_at for fact in facts if fact.said_at]
    return days_of(min(moments), max(moments), zone=zone) if moments else None


def _most(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The most frequent of `names`; of those equally frequent, the first."""
    counted = Counter(name for some in names for name in dict.fromkeys(some))
    return tuple(name for name, _ in counted.most_common(_KEYWORDS))
