"""Runs one stage over a transcript as a pure filter: nothing of it is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lightmem_cli.engine.identify import Identifier
from lightmem_cli.errors import InputError
from lightmem_cli.extract import open_extractor
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.records import Entry, Message, Row
from lightmem_cli.transcript import BadLine, Item, redact


def messages_of(items: Iterable[Item]) -> Iterator[Message]:
    """The messages of a transcript, with the identity the journal would give them.

    Raises:
        InputError: at the first line that cannot be read.
    """
    identifier = Identifier(lambda conversation, session: [])
    for item in items:
        match item:
            case Row():
                yield identifier.settle(redact(item)).message
            case BadLine():
                raise InputError(str(item), hint="mend the line; everything before it was processed")


def extract_only(items: Iterable[Item], settings: Settings) -> Iterator[Entry]:
    """The facts of a transcript, in its order."""
    extract = settings.extract
    extractor = open_extractor(extract.use, roles=extract.roles, threshold=extract.threshold)
    for message in messages_of(items):
        yield from extractor.extract([message])
