"""Gathers what a language model is shown of a conversation: hits, what they are about, what was said beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeAlias

from lightmem_cli.ask.evidence import Found
from lightmem_cli.engine import Memory
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.records import Entry, Filter, Hit, Kind

_SUMMARIES = 5

_Turn: TypeAlias = "tuple[int, Entry] | None"  # with history's integer of its message


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found for a question, best first."""

    found: list[Found]
    summaries: list[Found]

    @property
    def hits(self) -> list[Hit]:
        return [one.hit for one in self.found or self.summaries]


def gather(memory: Memory, recall: Recall, query: Query, *, texts: Sequence[str]) -> Gathered:
    """What speaks of any of `texts`, which stand for the query's own; and the summaries nearest to the first."""
    hits = _merged([recall.retrieve(replace(query, text=text)) for text in texts])[: query.limit]
    known = {hit.entry.id for hit in hits}
    where = replace(query.where, kinds=(Kind.SUMMARY,))
    nearest = recall.retrieve(replace(query, text=texts[0], limit=_SUMMARIES, where=where))
    summaries = [hit for hit in nearest if hit.entry.id not in known]
    return Gathered(*(_surrounded(memory, recall, some, query.where) for some in (hits, summaries)))


def _merged(lists: Iterable[Sequence[Hit]]) -> list[Hit]:
    """The hits of several lists by turns, none twice, ranked anew."""
    taken: dict[str, Hit] = {}
    for row in zip_longest(*lists):
        for hit in row:
            if hit is not None:
                taken.setdefault(hit.entry.id, replace(hit, rank=len(taken) + 1))
    return list(taken.values())


def _surrounded(memory: Memory, recall: Recall, hits: Sequence[Hit], where: Filter) -> list[Found]:
    """The hits with the days they speak of, and, of turns, the turns beside them that `where` lets through."""
    history, days = memory.history, recall.speaks_of(hits)
    messages = {key: history.messages.find(key) for hit in hits for key in hit.entry.sources}
    numbers = {key: message[0] for key, message in messages.items() if message is not None}
    of_hits = {hit.entry.id: tuple(numbers[key] for key in hit.entry.sources if key in numbers) for hit in hits}
    turns = [of_hits[hit.entry.id][0] for hit in hits if hit.entry.kind is Kind.TURN and of_hits[hit.entry.id]]
    beside = _beside(memory, turns, where)
    found = []
    for hit in hits:
        its = of_hits[hit.entry.id]
        before, behind = beside.get(its[0], (None, None)) if hit.entry.kind is Kind.TURN and its else (None, None)
        spoken_of = tuple(days[hit.entry.id])
        place = max(its, default=0)
        found.append(Found(hit=hit, place=place, messages=its, days=spoken_of, before=before, behind=behind))
    return found


def _beside(memory: Memory, messages: Sequence[int], where: Filter) -> dict[int, tuple[_Turn, _Turn]]:
    """For each message the turns right before and right behind it in its session."""
    reading = memory.history.reading
    places = reading.around(messages, radius=1)
    admitted = reading.admitted([place.turn for place in places], replace(where, kinds=(Kind.TURN,)))
    turns = reading.entries(sorted(admitted))
    at = {(place.session, place.position): (place.message, turns.get(place.turn)) for place in places}

    def turn(session: int, position: int) -> _Turn:
        message, its = at.get((session, position), (0, None))
        return None if its is None else (message, its)

    return {
        place.message: (turn(place.session, place.position - 1), turn(place.session, place.position + 1))
        for place in places
    }
