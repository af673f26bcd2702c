"""Cuts a transcript into topics without remembering any of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from lightmem_cli.engine import embedder_of
from lightmem_cli.engine.embedding import sentences_of
from lightmem_cli.engine.filters import Place, Read, batches_of, by_place
from lightmem_cli.engine.sensory import Sensory
from lightmem_cli.engine.topics import silence_of
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Embedder, Progress, Spoken
from lightmem_cli.records import Message, Row
from lightmem_cli.segment import SESSION, Ended, OpenTopic, unit_means
from lightmem_cli.transcript import Item


@dataclass(frozen=True, slots=True)
class InTopic:
    """A row of a transcript, and the message it is, with the number of its topic, counted from 1.

    `cut_by` is what ended that topic, `score` how clearly, 0 to 1. `gap` is how clearly a topic ends behind this row;
    the row whose topic ends with it is the `last`.
    """

    row: Row
    message: Message
    segment: int
    cut_by: str
    score: float
    gap: float
    last: bool


def segment_only(
    transcripts: Iterable[Iterable[Sequence[Item]]], settings: Settings, *, notice: Progress
) -> Iterator[InTopic]:
    """The rows of transcripts, in order, those of a topic as soon as it has ended.

    A topic also ends where the conversation or session changes from one row to the next, and where a transcript ends.

    Raises:
        InputError: at the first line that cannot be read, after all rows before it.
    """
    topics = _Topics(settings, notice=notice)
    for batch in batches_of(transcripts):
        yield from topics.take(batch) if batch else topics.end()


def threshold_of(settings: Settings) -> float | None:
    """The score from which on a gap may be cut, where the segmenter has such a one."""
    if settings.segment.use != "similarity":
        return None
    from lightmem_cli.segment.similarity import THRESHOLD

    return THRESHOLD


class _Topics:
    """The topics of a stream of rows, one after the other."""

    def __init__(self, settings: Settings, *, notice: Progress) -> None:
        self._settings = settings
        self._notice = notice
        self._topic: OpenTopic | None = None
        segmenter = Sensory(settings, notice=notice).segmenter
        if segmenter is not None:
            self._topic = OpenTopic(segmenter=segmenter, silence=silence_of(settings))
        self._rows: list[Read] = []
        self._place: Place | None = None
        self._number = 1

    @cached_property
    def _embedder(self) -> Embedder:
        return embedder_of(self._settings, notice=self._notice)

    def take(self, batch: Sequence[Read]) -> Iterator[InTopic]:
        """Take in more rows; those of the topics that are now known to have ended."""
        turns = self._spoken([message for _, message in batch]) if self._topic else []
        at = 0
        for place, rows in by_place(batch):
            if place != self._place:
                yield from self.end()
                self._place = place
            self._rows += rows
            if self._topic:
                yield from self._ended(self._topic.take(turns[at : at + len(rows)]))
            at += len(rows)

    def end(self) -> Iterator[InTopic]:
        """The rows of the topics that end where the session does."""
        if self._topic:
            yield from self._ended(self._topic.take([], ended=True))
        elif self._rows:
            yield from self._ended([Ended(len(self._rows), SESSION, (*[0.0] * (len(self._rows) - 1), 1.0))])

    def _ended(self, topics: Iterable[Ended]) -> Iterator[InTopic]:
        for topic in topics:
            for at, ((row, message), gap) in enumerate(zip(self._rows, topic.gaps, strict=False), start=1):
                last = at == topic.turns
                yield InTopic(row, message, self._number, topic.by, score=topic.score, gap=gap, last=last)
            del self._rows[: topic.turns]
            self._number += 1

    def _spoken(self, messages: Sequence[Message]) -> list[Spoken]:
        """Messages with the vectors that a memory would keep of them, all embedded in one go.

        Attention alone reads no vectors: nothing is embedded for it.
        """
        import numpy as np

        if self._settings.segment.use == "attention":
            return [Spoken(message, None) for message in messages]
        texts = [[part for text in sentences_of(one) for part in self._embedder.windows(text)] for one in messages]
        distinct = {text: place for place, text in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        if not distinct:
            return [Spoken(message, None) for message in messages]
        vectors = self._embedder.embed(list(distinct)).astype("<f2").astype(np.float32)  # as the shelf has them
        owners = np.repeat(np.arange(len(messages)), [len(its) for its in texts])
        means = unit_means(owners, vectors[[distinct[text] for text in chain.from_iterable(texts)]])
        return [Spoken(message, means.get(place)) for place, message in enumerate(messages)]
