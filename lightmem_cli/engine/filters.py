"""Runs one stage over a transcript as a pure filter: nothing of it is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby, takewhile
from typing import NamedTuple

from lightmem_cli.engine import embedder_of
from lightmem_cli.engine.identify import Identifier
from lightmem_cli.engine.pending import sentences_of
from lightmem_cli.engine.sensory import Sensory
from lightmem_cli.engine.topics import silence_of
from lightmem_cli.errors import InputError
from lightmem_cli.extract import open_extractor
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Embedder, Progress, Spoken
from lightmem_cli.records import Entry, Message, Row
from lightmem_cli.segment import SESSION, Ended, OpenTopic, unit_means
from lightmem_cli.transcript import BadLine, Item, redact

_MEND = "mend the line; everything before it was processed"


class Read(NamedTuple):
    """A row of a transcript as it may be printed, and the message it is."""

    row: Row
    message: Message


@dataclass(frozen=True, slots=True)
class InTopic:
    """A row of a transcript with the number of its topic, counted from 1, and what ended that topic."""

    row: Row
    segment: int
    cut_by: str


def messages_of(items: Iterable[Item]) -> Iterator[Message]:
    """The messages of a transcript, with the identity the journal would give them.

    Raises:
        InputError: at the first line that cannot be read.
    """
    identifier = Identifier(lambda conversation, session: [])
    for item in items:
        match item:
            case Row():
                yield _read(item, identifier).message
            case BadLine():
                raise InputError(str(item), hint=_MEND)


def extract_only(items: Iterable[Item], settings: Settings) -> Iterator[Entry]:
    """The facts of a transcript, in its order."""
    extract = settings.extract
    extractor = open_extractor(extract.use, roles=extract.roles, threshold=extract.threshold)
    for message in messages_of(items):
        yield from extractor.extract([message])


def segment_only(
    transcripts: Iterable[Iterable[Sequence[Item]]], settings: Settings, *, notice: Progress
) -> Iterator[InTopic]:
    """The rows of transcripts, in order, those of a topic as soon as it has ended.

    A topic also ends where the conversation or session changes from one row to the next, and where a transcript ends.

    Raises:
        InputError: at the first line that cannot be read, after all rows before it.
    """
    topics = _Topics(settings, notice=notice)
    for batches in transcripts:
        identifier = Identifier(lambda conversation, session: [])
        for batch in batches:
            good = list(takewhile(lambda item: not isinstance(item, BadLine), batch))
            yield from topics.take([_read(item, identifier) for item in good if isinstance(item, Row)])
            for bad in batch[len(good) :]:
                yield from topics.end()
                raise InputError(str(bad), hint=_MEND)
        yield from topics.end()


class _Topics:
    """The topics of a stream of rows, one after the other."""

    def __init__(self, settings: Settings, *, notice: Progress) -> None:
        self._settings = settings
        self._notice = notice
        self._topic: OpenTopic | None = None
        segmenter = Sensory(settings, notice=notice).segmenter
        if segmenter is not None:
            self._topic = OpenTopic(segmenter=segmenter, silence=silence_of(settings))
        self._rows: list[Row] = []
        self._place: tuple[str, str] | None = None
        self._number = 1

    @cached_property
    def _embedder(self) -> Embedder:
        return embedder_of(self._settings, notice=self._notice)

    def take(self, read: Sequence[Read]) -> Iterator[InTopic]:
        """Take in more rows; those of the topics that are now known to have ended."""
        turns = self._spoken([message for _, message in read]) if self._topic else []
        at = 0
        for place, its in groupby(read, key=lambda one: (one.message.conversation, one.message.session)):
            if place != self._place:
                yield from self.end()
                self._place = place
            rows = [row for row, _ in its]
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
            for row in self._rows[: topic.turns]:
                yield InTopic(row, self._number, topic.by)
            del self._rows[: topic.turns]
            self._number += 1

    def _spoken(self, messages: Sequence[Message]) -> list[Spoken]:
        """Messages with the vectors that a memory would keep of them, all embedded in one go."""
        import numpy as np

        texts = [[part for text in sentences_of(one) for part in self._embedder.windows(text)] for one in messages]
        distinct = {text: place for place, text in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        if not distinct:
            return [Spoken(message, None) for message in messages]
        vectors = self._embedder.embed(list(distinct)).astype("<f2").astype(np.float32)  # as the shelf has them
        owners = np.repeat(np.arange(len(messages)), [len(its) for its in texts])
        means = unit_means(owners, vectors[[distinct[text] for text in chain.from_iterable(texts)]])
        return [Spoken(message, means.get(place)) for place, message in enumerate(messages)]


def _read(row: Row, identifier: Identifier) -> Read:
    kept = redact(row)
    return Read(kept, identifier.settle(kept).message)
