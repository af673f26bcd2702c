"""Weighs how well each piece of a conversation fits a question: sentence, turn, surroundings, words, speaker and time.

Recall of evidence among the first ten turns, five LoCoMo conversations: .829 with weights fitted on four and measured
on the fifth, in turn; .844 with the round weights below, which were chosen looking at all five. None is sharp: 0.6 or
1.5 times any of them changes the recall by .005 at most. Behind each stands what it adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, Vectors

Numbers: TypeAlias = NDArray[np.float64]

WEIGHTS = {
    "sentence": 0.24,  # .015: cosine of the best sentence
    "turn": 0.08,  # nothing there, .02 on BEAM: cosine of the mean of the turn's sentences
    "around": 0.20,  # .002: cosine of the mean over turn ± 2
    "passage": 0.24,  # .011: the best sentence within ± 4
    "words": 0.24,  # .070: BM25 over turn ± 2
    "speaker": 0.03,  # .003: the one speaker that the question names
    "time": 0.20,  # .019, and .032 of Hit@1: said in the days that the question names
    "quoted": 0.02,  # the sets quote too little to tell
}
BY_VECTORS = ("sentence", "turn", "around", "passage")

RADIUS = 2  # turns before and behind that belong to a turn's surroundings
_PASSAGE = 4
_WORDS_FALL = {1: 0.6, 2: 0.3}  # how much a neighbour's words count; .002 less with .8 and .5
_MEAN_FALL = {1: 0.7, 2: 0.4}
_SATURATION = 0.5  # of a term's best score; .016 less where neighbours' scores add up without bound

# A turn longer than this is its own surroundings; without that, and without the fall beyond it, BEAM's long answers
# crowd out what the user said (recall@10 on four chats .567 instead of .678).
_LONG = 250  # characters
_RISE, _FALL = 0.016, 0.024  # per factor e in length, up to _LONG and beyond
_FORGETS = 7.0  # days outside the asked-about days until a time counts for 1/e


@dataclass(frozen=True, slots=True)
class Turns:
    """Candidate turns, in order of session and position; all arrays are of one length n.

    `sentence` is the cosine of each turn's best sentence and `means` the unit mean of its sentences' vectors, nan where
    a turn is not embedded. `terms` holds what each of the question's terms adds to each turn's BM25, shape (terms, n);
    `best_terms` the most it adds to any entry, shape (terms,).
    """

    sessions: Ids
    positions: Ids
    characters: Numbers
    sentence: Numbers
    means: Vectors
    terms: Numbers
    best_terms: Numbers


def weigh_turns(turns: Turns, query: Vectors | None) -> dict[str, Numbers]:
    """How well each turn fits by "sentence", "turn", "around", "passage" and "words", each about 0..1, unweighted."""
    beside = _beside(turns.sessions, turns.positions, radius=_PASSAGE)
    open_to = np.minimum(1.0, _LONG / np.maximum(turns.characters, 1.0))
    signals = {"words": _words(turns, beside, open_to)}
    if query is not None:
        signals |= _vectors(turns, query, beside, open_to)
    return signals


def weigh_length(characters: Numbers) -> Numbers:
    """A turn says more the longer it is; beyond a few sentences it merely matches more."""
    log = np.log(np.maximum(characters, 1.0) / _LONG)
    return _RISE * np.minimum(log, 0.0) - _FALL * np.maximum(log, 0.0)


def weigh_gap(days: float) -> float:
    """How much a time `days` away from the days asked about still counts: 1 within them."""
    return float(np.exp(-max(days, 0.0) / _FORGETS))


def _words(turns: Turns, beside: dict[int, Ids], open_to: Numbers) -> Numbers:
    """Each term counts once for a turn and its neighbours, in the proportion of its weight, up to a bound."""
    best = turns.best_terms[:, None]
    if not best.any():
        return np.zeros(len(turns.positions))
    around = turns.terms.copy()
    for step, fall in _WORDS_FALL.items():
        for at in (-step, step):
            around += fall * open_to * _moved(turns.terms, beside[at])
    bounded = around * best / np.maximum(around + _SATURATION * best, 1e-12)
    return np.asarray(bounded.sum(axis=0) * (1 + _SATURATION) / best.sum())


def _vectors(turns: Turns, query: Vectors, beside: dict[int, Ids], open_to: Numbers) -> dict[str, Numbers]:
    sentence = turns.sentence
    passage = np.maximum(np.nan_to_num(sentence), 0.0)
    best = passage
    for index in beside.values():
        best = np.maximum(best, _moved(passage, index))
    means = np.nan_to_num(turns.means).T.astype(np.float64)
    around = means.copy()
    for step, fall in _MEAN_FALL.items():
        for at in (-step, step):
            around += fall * open_to * _moved(means, beside[at])
    signals = {
        "sentence": sentence,
        "turn": query @ turns.means.T,
        "around": query @ around / np.maximum(np.linalg.norm(around, axis=0), 1e-9),
        "passage": passage + open_to * (best - passage),
    }
    return {name: _with_middle(values, ~np.isnan(sentence)) for name, values in signals.items()}


def _with_middle(values: Numbers, known: NDArray[np.bool_]) -> Numbers:
    """Turns without vectors yet take the middle of those with: their words decide."""
    middle = float(np.median(values[known])) if known.any() else 0.0
    return np.where(known, values, middle).astype(np.float64)


def _beside(sessions: Ids, positions: Ids, *, radius: int) -> dict[int, Ids]:
    """For each step the index of the turn that many positions on in the same session, -1 where there is none."""
    if not len(positions):
        return {step: np.zeros(0, np.int64) for step in range(-radius, radius + 1) if step}
    stride = int(positions.max()) + 2 * radius + 1
    keys = sessions * stride + positions + radius
    found = {}
    for step in range(-radius, radius + 1):
        if step:
            index = np.minimum(np.searchsorted(keys, keys + step), len(keys) - 1)
            found[step] = np.where(keys[index] == keys + step, index, -1)
    return found


def _moved(values: Numbers, index: Ids) -> Numbers:
    """`values` (…, n) of the turn at `index`, 0 where there is none."""
    return np.where(index >= 0, values[..., index], 0.0)
