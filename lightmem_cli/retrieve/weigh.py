"""Adds up what speaks for each piece of a conversation: its own fit, its surroundings, its speaker and its time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from lightmem_cli.records import Entry, Kind, TimeRange
from lightmem_cli.retrieve.fuse import BY_VECTORS, WEIGHTS, weigh_gap, weigh_length, weigh_turns
from lightmem_cli.retrieve.gather import Gathered
from lightmem_cli.retrieve.question import Question, quotes

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors

_SECONDS = 86_400.0


def weigh(gathered: Gathered, asked: Question, *, query: Vectors | None) -> dict[int, dict[str, float]]:
    """The weighted part that each signal plays, by candidate; their sum is its score."""
    signals = weigh_turns(gathered.turns, query)
    lengths = weigh_length(gathered.turns.characters)
    parts: dict[int, dict[str, float]] = {}
    for row, id_ in enumerate(gathered.turn_ids):
        fit = {name: WEIGHTS[name] * float(values[row]) for name, values in signals.items()}
        fit["length"] = float(lengths[row])
        parts[id_] = _boosted(fit, asked, gathered.entries[id_], speaker=gathered.speakers[row])
    middle = median(gathered.cosines.values()) if gathered.cosines else None
    for id_, rows in gathered.stands_on.items():
        entry = gathered.entries[id_]
        turns = [parts[gathered.turn_ids[row]] for row in rows]
        cosine = gathered.cosines.get(id_, middle)
        words = gathered.words.get(id_, 0.0)
        if turns and entry.kind is not Kind.SUMMARY:
            fit = _in_place(turns, cosine=cosine, words=words)
        else:
            fit = _alone(entry, cosine=cosine, words=words)
        parts[id_] = _boosted(fit, asked, entry, speaker=entry.speaker)
    return parts


def _in_place(turns: Sequence[dict[str, float]], *, cosine: float | None, words: float) -> dict[str, float]:
    """A fact fits as the best turn that it retells, but for its own sentence and words."""
    best = max(turns, key=lambda parts: sum(parts.values()))
    fit = dict(best)
    if cosine is not None:
        fit["sentence"] = WEIGHTS["sentence"] * cosine
    if "words" in fit:
        fit["words"] = max(fit["words"], WEIGHTS["words"] * words)
    return fit


def _alone(entry: Entry, *, cosine: float | None, words: float) -> dict[str, float]:
    """What tells of many turns is its own surroundings."""
    length = float(weigh_length(np.array([len(entry.text)], np.float64))[0])
    fit = {"words": WEIGHTS["words"] * words, "length": length}
    if cosine is not None:
        fit |= {name: WEIGHTS[name] * cosine for name in BY_VECTORS}
    return fit


def _boosted(fit: dict[str, float], asked: Question, entry: Entry, *, speaker: str | None) -> dict[str, float]:
    """`fit` with what the question asks for besides its words: a boost lifts, and never leaves out."""
    boosts = {}
    if asked.speaker is not None and speaker == asked.speaker:
        boosts["speaker"] = WEIGHTS["speaker"]
    if asked.times:
        boosts["time"] = WEIGHTS["time"] * max(_nearness(entry, days) for days in asked.times)
    if asked.quoted and quotes(entry.text, asked.quoted):
        boosts["quoted"] = WEIGHTS["quoted"]
    return {**fit, **{name: max(boost, fit.get(name, 0.0)) for name, boost in boosts.items()}}


def _nearness(entry: Entry, days: TimeRange) -> float:
    spans = [(entry.said_at, entry.said_at)] if entry.said_at else []
    spans += [(entry.happened.start, entry.happened.end)] if entry.happened else []
    return max((weigh_gap(_gap(start, end, days)) for start, end in spans), default=0.0)


def _gap(start: datetime, end: datetime, days: TimeRange) -> float:
    """Days between two ranges, 0 where they meet."""
    return max((days.start - end).total_seconds(), (start - days.end).total_seconds(), 0.0) / _SECONDS
