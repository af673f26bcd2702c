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

FEWEST = 2  # facts: one by itself is its own summary
_KEYWORDS = 8


@dataclass(frozen=True, slots=True)
class Draft:
    """A summary before its birth: the facts it tells and the messages it rests on, by history's integers.

    `shown` is all that it was made of: whatever of that is forgotten takes the summary with it. `among` is the number
    of facts that its window has.
    """

    entry: Entry
    facts: dict[int, Entry]
    shown: tuple[int, ...]
    sources: tuple[int, ...]
    among: int

    @property
    def links(self) -> list[tuple[int, LinkKind]]:
        return [(entry, LinkKind.SUMMARIZES) for entry in self.shown]

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
        if len(ids) < FEWEST:
            return None
        vectors = mean_vectors(history, ids, space=self._space)
        chosen = choose([entries[id] for id in ids], vectors, most=self._sentences)
        if len(chosen) < min(FEWEST, self._sentences):  # they all say the same
            return None
        quoted = {ids[at]: entries[ids[at]] for at in chosen}
        days = window.days or days_said(entries.values(), zone=self._zone)
        text = retell(list(quoted.values()), days=days, per=self._per, zone=self._zone)
        entry = summary_of(window, list(quoted.values()), text=text, days=days)
        return Draft(entry, quoted, tuple(quoted), sources_of(history, quoted), len(ids))

    def _facts(self, window: Window) -> list[int]:
        if window.days is not None:
            return self._windows.facts_between(window.conversation, window.days)
        undated = self._per != "session"
        return self._windows.facts_of_session(window.conversation, window.session, undated=undated)


def summary_of(window: Window, told: Sequence[Entry], *, text: str, days: TimeRange | None) -> Entry:
    """The summary of a window in the words `text`, which rests on what is `told` in it."""
    return Entry(
        id="",
        kind=Kind.SUMMARY,
        text=text,
        conversation=window.conversation,
        session=window.session,
        sources=tuple(sorted({key for entry in told for key in entry.sources})),
        said_at=last_said(told),
        happened=days,
        importance=round(sum(entry.importance for entry in told) / len(told), 3),
        keywords=_most(entry.keywords for entry in told),
        entities=_most(entry.entities for entry in told),
    )


def sources_of(history: History, entries: Iterable[int]) -> tuple[int, ...]:
    """The messages that `entries` rest on, each once."""
    return tuple(dict.fromkeys(source for id in entries for source in history.entries.source_ids(id)))


def mean_vectors(history: History, ids: Sequence[int], *, space: int | None) -> Vectors:
    """The unit mean of each fact's vectors, zeros where it has none, float32, shape (len(ids), dimension)."""
    import numpy as np

    if space is None:
        return np.zeros((len(ids), 1), np.float32)
    owners, vectors = history.reading.embedded(ids, space=space)
    row_of = {id: row for row, id in enumerate(ids)}
    sums = np.zeros((len(ids), max(1, vectors.shape[1])), np.float32)
    np.add.at(sums, [row_of[owner] for owner in owners.tolist()], vectors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def last_said(facts: Iterable[Entry]) -> datetime | None:
    """When the last of `facts` was first said: the summary can be known from then on."""
    return max((fact.said_at for fact in facts if fact.said_at), key=lambda at: (at, at.isoformat()), default=None)


def days_said(facts: Iterable[Entry], *, zone: tzinfo) -> TimeRange | None:
    """The days in which `facts` were said, as far as that is known."""
    moments = [fact.said_at for fact in facts if fact.said_at]
    return days_of(min(moments), max(moments), zone=zone) if moments else None


def _most(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The most frequent of `names`; of those equally frequent, the first."""
    counted = Counter(name for some in names for name in dict.fromkeys(some))
    return tuple(name for name, _ in counted.most_common(_KEYWORDS))
