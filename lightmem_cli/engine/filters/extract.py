"""Turns a transcript into facts by rules, without remembering any of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lightmem_cli.engine.filters import batches_of
from lightmem_cli.extract import open_extractor
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.records import Entry
from lightmem_cli.transcript import Item


def extract_only(transcripts: Iterable[Iterable[Sequence[Item]]], settings: Settings) -> Iterator[Entry]:
    """The facts that rules make of transcripts, in their order.

    Raises:
        InputError: at the first line that cannot be read, after the facts of all rows before it.
    """
    extract = settings.extract
    extractor = open_extractor(extract.use, roles=extract.roles, threshold=extract.threshold)
    assert extractor is not None, "what a language model is to read goes elsewhere"
    for batch in batches_of(transcripts):
        for _, message in batch:
            yield from extractor.extract([message])
