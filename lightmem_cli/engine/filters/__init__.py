"""Runs one stage over a transcript as a pure filter: nothing of the conversation is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import NamedTuple, TypeAlias

from lightmem_cli.engine.identify import Identifier
from lightmem_cli.errors import InputError
from lightmem_cli.records import Message, Row
from lightmem_cli.transcript import BadLine, Item, redact

Place: TypeAlias = tuple[str, str]  # a conversation and a session

_MEND = "mend the line; everything before it was processed"


class Read(NamedTuple):
    """A row of a transcript as it may be printed, and the message it is."""

    row: Row
    message: Message


def batches_of(transcripts: Iterable[Iterable[Sequence[Item]]]) -> Iterator[list[Read]]:
    """The rows of transcripts in batches, as they come, with the identity the journal would give them.

    An empty batch stands where a transcript ends, and before the error.

    Raises:
        InputError: at the first line that cannot be read, after all rows before it.
    """
    for batches in transcripts:
        identifier = Identifier(lambda conversation, session: [])
        for batch in batches:
            good = list(takewhile(lambda item: not isinstance(item, BadLine), batch))
            if rows := [_read(item, identifier) for item in good if isinstance(item, Row)]:
                yield rows
            for bad in batch[len(good) :]:
                yield []
                raise InputError(str(bad), hint=_MEND)
        yield []


def by_place(batch: Iterable[Read]) -> Iterator[tuple[Place, list[Read]]]:
    """The neighbouring rows of one session at a time."""
    for place, its in groupby(batch, key=lambda one: (one.message.conversation, one.message.session)):
        yield place, list(its)


def _read(row: Row, identifier: Identifier) -> Read:
    kept = redact(row)
    return Read(kept, identifier.settle(kept).message)
