"""Gathers all of a conversation that a question touches: what the indexes find, and what stands around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightmem_cli.protocols import VectorIndex, WordIndex
from lightmem_cli.records import Entry, Filter
from lightmem_cli.retrieve.fuse import RADIUS, Numbers, Turns
from lightmem_cli.retrieve.reads import Place, Reads

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, Vectors

SEEDS = 100  # vectors, and as many entries by words, whose surroundings are weighed; 200 find no more
TERM_DEPTH = 2000  # entries that are known to hold a term; those beyond it, of a common term, count as not


class WordHits(NamedTuple):
    """What the words index says: entries that pass the filter with their BM25, and per term all that hold it."""

    seeds: dict[int, float]
    terms: list[dict[int, float]]


@dataclass(frozen=True, slots=True)
class Gathered:
    """`turn_ids` and `speakers` go with `turns`; `stands_on` gives, for every other candidate, the rows of its turns.

    `cosines` are the best of each candidate's own vectors, `words` its own BM25 as a share of the best possible.
    """

    entries: dict[int, Entry]
    turn_ids: list[int]
    speakers: list[str]
    turns: Turns
    stands_on: dict[int, list[int]]
    cosines: dict[int, float]
    words: dict[int, float]


def gather(
    reads: Reads,
    *,
    terms: Sequence[str],
    words: WordIndex | None,
    vectors: VectorIndex | None,
    query: Vectors | None,
    space: int,
    where: Filter,
) -> Gathered:
    """Everything a question may be answered with, and the turns around it, which may not pass `where` themselves."""
    context = replace(where, kinds=(), speakers=(), since=None, until=None)
    found = _by_words(words, terms, where=where, context=context) if words is not None else WordHits({}, [])
    seeds = set(found.seeds)
    if vectors is not None and query is not None:
        nearest = vectors.search(query, SEEDS, where).ids.tolist()
        seeds |= {entry for _, entry in reads.users(nearest, space=space)}
    sources = reads.sources(sorted(seeds))
    places = _places(reads, {message for _, message in sources}, context=context)
    row_of = {place.message: row for row, place in enumerate(places)}
    stands_on: dict[int, list[int]] = {seed: [] for seed in seeds.difference(place.turn for place in places)}
    for entry, message in sources:
        if entry in stands_on and message in row_of:
            stands_on[entry].append(row_of[message])
    turn_ids = [place.turn for place in places]
    ids = [*turn_ids, *sorted(stands_on)]
    entries = reads.entries(ids)
    cosines, means = _cosines(reads, ids, turn_ids, query=query, space=space)
    best_terms = np.array([max(scores.values(), default=0.0) for scores in found.terms])
    bound = float(best_terms.sum()) or 1.0
    return Gathered(
        entries=entries,
        turn_ids=turn_ids,
        speakers=[place.speaker for place in places],
        turns=Turns(
            sessions=np.array([place.session for place in places], np.int64),
            positions=np.array([place.position for place in places], np.int64),
            characters=np.array([len(entries[id_].text) for id_ in turn_ids], np.float64),
            sentence=np.array([cosines.get(id_, np.nan) for id_ in turn_ids], np.float64),
            means=means,
            terms=_table(found.terms, turn_ids),
            best_terms=best_terms,
        ),
        stands_on=stands_on,
        cosines=cosines,
        words={id_: min(1.0, score / bound) for id_, score in found.seeds.items()},
    )


def _by_words(words: WordIndex, terms: Sequence[str], *, where: Filter, context: Filter) -> WordHits:
    """Search for all terms at once, then for each alone: a turn's neighbours must share out what each term adds."""
    if not terms:
        return WordHits({}, [])
    return WordHits(
        _scores(words.search(terms, SEEDS, where)),
        [_scores(words.search([term], TERM_DEPTH, context)) for term in terms],
    )


def _scores(found: tuple[Ids, Vectors]) -> dict[int, float]:
    ids, scores = found
    return dict(zip(ids.tolist(), scores.tolist(), strict=True))


def _places(reads: Reads, messages: Iterable[int], *, context: Filter) -> list[Place]:
    """`messages` and those around them whose turns pass `context`, in order of session and position."""
    places = reads.around(sorted(messages), radius=RADIUS)
    admitted = reads.admitted([place.turn for place in places], context)
    return sorted(
        (place for place in places if place.turn in admitted), key=lambda place: (place.session, place.position)
    )


def _cosines(
    reads: Reads, ids: Sequence[int], turn_ids: Sequence[int], *, query: Vectors | None, space: int
) -> tuple[dict[int, float], Vectors]:
    """The best cosine of each entry's vectors with `query`, and the unit mean of each turn's, nan where it has none."""
    if query is None:
        return {}, np.full((len(turn_ids), 1), np.nan, np.float32)
    found = reads.embedded(ids, space=space)
    order = np.argsort(found.owners, kind="stable")
    owners, rows = found.owners[order], found.vectors[order]
    known, firsts = np.unique(owners, return_index=True)
    if not len(known):
        return {}, np.full((len(turn_ids), len(query)), np.nan, np.float32)
    best = dict(zip(known.tolist(), np.maximum.reduceat(rows @ query, firsts).tolist(), strict=True))
    sums = np.add.reduceat(rows, firsts, axis=0)
    units = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    at = np.minimum(np.searchsorted(known, turn_ids), len(known) - 1)
    return best, np.where((known[at] == turn_ids)[:, None], units[at], np.float32(np.nan))


def _table(terms: Sequence[dict[int, float]], turn_ids: Sequence[int]) -> Numbers:
    """What each term adds to each turn, shape (terms, turns)."""
    table = np.array([[scores.get(id_, 0.0) for id_ in turn_ids] for scores in terms], np.float64)
    return table.reshape(len(terms), len(turn_ids))
