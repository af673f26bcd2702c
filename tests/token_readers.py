"""Stands in for models that read windows of messages: words are tokens, and attention can be computed by hand."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmem_cli.protocols import Pieces, Reading, Spoken
from lightmem_cli.records import Message, Role

EDGE = 2  # tokens at either end of a window that take part in no turn


@dataclass
class ToldReader:
    """A turn that begins with a digit gives so many tenths of its attention to the turn just before it, and the rest to
    all earlier turns alike; nothing goes to the edges of the window. `reads` are the windows read so far."""

    limit: int = 510
    reads: list[tuple[str, ...]] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    @property
    def passes(self) -> int:
        return len(self.reads)

    def pieces(self, text: str) -> Pieces:
        self.counted.append(text)
        words = list(re.finditer(r"\S+", text))
        return Pieces(
            tuple(zlib.crc32(word[0].encode()) for word in words),
            tuple(word.span() for word in words),
            (True,) * len(words),
        )

    def read(self, messages: Sequence[Message], *, attention: bool = False) -> Reading:
        assert attention, "a segmenter asks for nothing else"
        texts = tuple(message.content for message in messages)
        lengths = [len(text.split()) for text in texts]
        assert sum(lengths) <= self.limit
        self.reads.append(texts)
        weights = self._weights(texts, lengths).astype(np.float32)
        keep = [np.full(length, 0.5, np.float32) for length in lengths]
        return Reading(keep, weights / weights.sum(axis=1, keepdims=True))

    def _weights(self, texts: Sequence[str], lengths: Sequence[int]) -> NDArray[Any]:
        ends = np.cumsum([0, *lengths])
        weights = np.eye(ends[-1])  # each token also attends to itself, which counts for nothing
        inner = np.arange(ends[-1])
        inside = (inner >= EDGE) & (inner < ends[-1] - EDGE)
        said = [turn for turn, length in enumerate(lengths) if length]
        for place, turn in enumerate(said[1:], start=1):
            told = int(texts[turn][0]) / 10 if texts[turn][0].isdigit() else 0.5
            for other in said[:place]:
                share = told if other == said[place - 1] else (1 - told) / max(place - 1, 1)
                columns = np.arange(ends[other], ends[other + 1])[inside[ends[other] : ends[other + 1]]]
                if len(columns):
                    weights[ends[turn] : ends[turn + 1], columns] = share / len(columns)
        return weights


@dataclass
class MoodyReader(ToldReader):
    """Attends at random, differently in every window: the same window is always read alike."""

    def _weights(self, texts: Sequence[str], lengths: Sequence[int]) -> NDArray[Any]:
        random = np.random.default_rng(zlib.crc32(repr(texts).encode()))
        return random.random((sum(lengths), sum(lengths))) ** 4


def spoken(content: str, *, topic: int | None = None, number: int = 0, **fields: Any) -> Spoken:
    """A turn, whose vector is the unit vector number `topic` of eight; None: it has no vector."""
    message = Message(
        conversation="", session="s", id=str(number), position=number, role=Role.USER, content=content, **fields
    )
    return Spoken(message, None if topic is None else np.eye(8, dtype=np.float32)[topic])


def told(*digits: int, words: int = 5) -> list[Spoken]:
    """Turns of so many words that give so many tenths of their attention to the turn before."""
    return [
        spoken(" ".join([str(digit), *["word"] * (words - 1)]), number=number) for number, digit in enumerate(digits)
    ]
