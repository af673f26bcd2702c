"""Cuts a conversation where its sentences turn to something else: by their vectors, their words, and what people ask.

For each gap between two turns a logistic model says how likely a topic ends there. A gap is cut where that reaches the
threshold and is higher than at the gaps beside it. What a gap is judged by are a few turns before and behind it, and
whether people chat or meet: where they hold the floor in turn, other things tell, and the model is another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.records import Role
from lightmem_cli.segment.cues import Wording, read_wording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Rows: TypeAlias = NDArray[np.float64]


class Weights(NamedTuple):
    """How much each signal speaks for the end of a topic."""

    bias: float
    of: dict[str, float]


THRESHOLD = 0.5  # of a topic ending in a gap

# Fitted by scripts/fit_segmentation.py on DialSeg711, TIAGE and committee meetings, on all dialogues there are. Signals
# from `near` to `length` are numbers, the others 1 where the turn before (`a_`) or behind (`b_`) the gap has that cue.
# Fitted on one half of each set alone (--unseen), such weights come on the other half to a Pk of .16 and .17 on
# DialSeg711 (no cut .42), .31 and .33 on TIAGE (.38 and .39), .33 and .28 on meetings (.38 and .41), with 1.1, .8 and
# .9 times as many cuts as there are. Where no cue but question marks and capitals is found, as in other languages, it
# is .24 and .26 on DialSeg711, and no better than no cut on the two others.
CHAT = Weights(
    bias=-1.32,
    of={
        "near": -4.95,  # cosine of two turns before and two behind, the nearest weighing most
        "wide": -0.75,  # of four and four
        "held": 2.98,  # how alike the two turns before are, and the two behind
        "shared": -1.87,  # terms of the three turns behind that the six before hold, as a share of the fewer
        "news": 1.26,  # terms of the turn behind that the six before lack, as a share
        "length": 0.82,  # of the turn before against the twenty up to it, as a logarithm
        "a_ends_asking": -1.14,
        "before_a_ends_asking": -0.3,
        "a_requests": -1.68,
        "a_anything_else": 2.34,
        "b_asks_you": 1.0,
        "b_requests": 0.54,
        "b_small_talk": 1.38,
        "b_moves_on": 1.07,
        "b_greets": 0.99,
        "b_thanks": -2.32,
        "b_anything_else": -1.58,
        "b_points_back": -0.51,
        "b_goes_on": -0.47,
    },
)
MEETING = Weights(
    bias=-2.18,
    of={
        "wide": -2.48,
        "a_requests": -0.41,
        "b_moves_on": 2.29,
        "b_calls": 0.71,  # the turn behind is short and names somebody who was not named of late, as a chair does
    },
)
_RECENT = 30  # turns before a gap: what each voice in them has in common says nothing about topics
_PRIOR = 10  # that mean is drawn towards nothing by so many turns, shared by all voices, while there are few
# … by so many for each voice with a name, which stands in its sentences. With two names given in turn to TIAGE's turns
# there are .84 times as many cuts as there are topics' ends, and .4 times where all voices are taken for one.
_PRIOR_NAMED = 3
_BEHIND = 4  # turns behind a gap that are read
_BEFORE = 6  # turns before it whose terms are not new
_USUAL = 20  # turns before it that say how long a turn is
_STYLE = 60  # turns before it that say whether people chat or meet
# Characters of such turns, on average, up to which people only chat, and from which on they only meet. Of DialSeg711's
# turns that is 66, of LoCoMo's 130, of a meeting's hardly ever under 230.
_CHATTING, _MEETING = 150, 250
_CALL = 200  # characters: who calls on somebody says no more
_ALIKE = 0.12  # what two centred turns of one topic come to, where there is no second one


class SimilaritySegmenter:
    """Cuts where the talk turns. A turn without a vector stays with what it follows."""

    lookback = max(_RECENT + 1, _STYLE)  # a gap is compared with the gap before it
    lookahead = _BEHIND + 1

    def __init__(self, *, threshold: float = THRESHOLD, chat: Weights = CHAT, meeting: Weights = MEETING) -> None:
        """`threshold`: how likely a topic must end for a cut, 0 to 1."""
        self._threshold = threshold
        self._chat, self._meeting = chat, meeting

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        """See `Segmenter`. The score is the likelihood that a topic ends there."""
        last = len(turns) - 1 if ended else len(turns) - self.lookahead  # gaps from here on are not decided yet
        if last <= start:
            return []
        talk = Talk(turns)
        likely = {at: self._likelihood(talk, at) for at in range(max(0, start - 1), min(last + 1, len(turns) - 1))}
        found = []
        for at in range(start, last):
            here = likely[at]
            cut = here >= self._threshold and here >= likely.get(at - 1, 0.0) and here > likely.get(at + 1, 0.0)
            found.append(Gap(after=at, score=round(here, 4), by="similarity" if cut else None))
        return found

    def _likelihood(self, talk: Talk, at: int) -> float:
        """How likely a topic ends with the turn at index `at`, 0 to 1; 0 where the turn behind it says nothing."""
        if not talk.said(at + 1):
            return 0.0
        signals, meets = talk.signals(at), talk.meets(at)
        total = (1.0 - meets) * _total(self._chat, signals) + meets * _total(self._meeting, signals)
        return 1.0 / (1.0 + math.exp(-total))


class Talk:
    """Turns as gaps are judged by. What is read for a gap is a slice of its own: more turns around change nothing."""

    def __init__(self, turns: Sequence[Spoken]) -> None:
        size = next((len(turn.vector) for turn in turns if turn.vector is not None), 1)
        rows = [np.zeros(size) if turn.vector is None else turn.vector for turn in turns]
        self._vectors = np.array(rows, np.float64)
        self._said = np.array([turn.vector is not None for turn in turns])
        names = [(turn.message.speaker, turn.message.role) for turn in turns]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self._voices = np.array([numbers[name] for name in names])
        self._named = [speaker is not None for speaker, _ in numbers]
        self._wordings = [read_wording(turn.message.content) for turn in turns]
        # up to each turn, so that what is read of sixty of them costs no more than of two
        self._characters = [0, *accumulate(one.characters for one in self._wordings)]
        self._people = [0, *accumulate(turn.message.role is Role.USER for turn in turns)]

    def said(self, at: int) -> bool:
        """Whether the turn at index `at` says anything that was embedded."""
        return bool(self._said[at])

    def meets(self, at: int) -> float:
        """How far people meet rather than chat up to the turn at index `at`, 0 to 1: whether they make speeches.

        Where a model answers, it says long things in any talk, and nobody meets.
        """
        first = max(0, at + 1 - _STYLE)
        if self._people[at + 1] - self._people[first] < at + 1 - first:
            return 0.0
        mean = (self._characters[at + 1] - self._characters[first]) / (at + 1 - first)
        return math.log(min(max(mean, _CHATTING), _MEETING) / _CHATTING) / math.log(_MEETING / _CHATTING)

    def signals(self, at: int) -> dict[str, float]:
        """What speaks for or against a topic ending with the turn at index `at`, by the names in `Weights.of`."""
        return self._by_vectors(at) | self._by_words(at) | self._by_cues(at)

    def _by_vectors(self, at: int) -> dict[str, float]:
        first, end = max(0, at - _RECENT), at + 1 + _BEHIND
        centred, gap = self._centred(first, end), at + 1 - first
        before, behind = centred[max(0, gap - _BEHIND) : gap], centred[gap:]
        return {
            "near": _cosine(_weighted(before[-2:][::-1], 2), _weighted(behind[:2], 2)),
            "wide": _cosine(_weighted(before[::-1], _BEHIND), _weighted(behind, _BEHIND)),
            "held": (_held(before[-2:]) + _held(behind[:2])) / 2,
        }

    def _centred(self, first: int, end: int) -> _Rows:
        """The turns from `first` up to `end` without what those of one voice have in common; nothing stays nothing."""
        centred, said, voices = self._vectors[first:end].copy(), self._said[first:end], self._voices[first:end]
        heard = set(voices[said].tolist())
        for voice in heard:
            its = said & (voices == voice)
            prior = _PRIOR_NAMED if self._named[voice] else _PRIOR / len(heard)
            centred[its] -= centred[its].sum(0) / (int(its.sum()) + prior)
        return centred

    def _by_words(self, at: int) -> dict[str, float]:
        known = frozenset[str]().union(*(one.terms for one in self._wordings[max(0, at + 1 - _BEFORE) : at + 1]))
        behind = self._wordings[at + 1].terms
        soon = frozenset[str]().union(*(one.terms for one in self._wordings[at + 1 : at + 4]))
        first = max(0, at + 1 - _USUAL)
        usual = (self._characters[at + 1] - self._characters[first]) / (at + 1 - first)
        return {
            "shared": len(soon & known) / (2 + min(len(soon), len(known))),
            "news": len(behind - known) / (1 + len(behind)),
            "length": math.log((self._wordings[at].characters + 20) / (usual + 20)),
        }

    def _by_cues(self, at: int) -> dict[str, bool]:
        a, b = self._wordings[at], self._wordings[at + 1]
        before_a: Wording | None = self._wordings[at - 1] if at else None
        return {
            "a_ends_asking": a.ends_asking,
            "before_a_ends_asking": before_a is not None and before_a.ends_asking,
            "a_requests": a.requests,
            "a_anything_else": a.anything_else,
            "b_asks_you": b.asks_you,
            "b_calls": self._calls(at + 1),
            "b_requests": b.requests,
            "b_small_talk": b.small_talk,
            "b_moves_on": b.moves_on,
            "b_greets": b.greets,
            "b_thanks": b.thanks,
            "b_anything_else": b.anything_else,
            "b_points_back": b.points_back,
            "b_goes_on": b.goes_on,
        }

    def _calls(self, at: int) -> bool:
        """Whether the turn at index `at` is short and names somebody whom the turns before it do not."""
        if self._wordings[at].characters >= _CALL:
            return False
        before = self._wordings[max(0, at - _RECENT) : at]
        return any(all(name not in one.words for one in before) for name in self._wordings[at].names)


def _total(weights: Weights, signals: dict[str, float]) -> float:
    return weights.bias + sum(weight * signals[name] for name, weight in weights.of.items())


def _weighted(nearest_first: _Rows, most: int) -> _Rows:
    """The sum of turns, the nearest weighing `most`, each further one 1 less."""
    weights = np.arange(most, most - len(nearest_first), -1.0)
    total: _Rows = (weights[:, None] * nearest_first).sum(0)
    return total


def _held(two: _Rows) -> float:
    return _cosine(two[0], two[1]) if len(two) > 1 else _ALIKE


def _cosine(a: _Rows, b: _Rows) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))
