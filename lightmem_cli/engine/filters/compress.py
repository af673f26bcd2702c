"""Shortens the messages of a transcript, or a text, without remembering any of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lightmem_cli.engine.filters import Place, Read, batches_of, by_place
from lightmem_cli.engine.sensory import Sensory
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Compressor, Progress
from lightmem_cli.records import Compressed, Message, Role, Row
from lightmem_cli.transcript import Item


@dataclass(frozen=True, slots=True)
class ShortRow:
    """A row of a transcript with what a language model would be sent of its content."""

    row: Row
    compressed: Compressed


def compress_only(
    transcripts: Iterable[Iterable[Sequence[Item]]], settings: Settings, *, notice: Progress, exact: bool = False
) -> Iterator[ShortRow]:
    """The rows of transcripts, in order, each as soon as what is shortened together with it is full.

    What is shortened together also ends where the conversation or session changes from one row to the next, and where a
    transcript ends. `settings.compress.use` is not "none"; `exact`: see `HowToShorten`.

    Raises:
        InputError: at the first line that cannot be read, after all rows before it.
    """
    window = _Window(_opened(settings, notice=notice, exact=exact))
    for batch in batches_of(transcripts):
        yield from window.take(batch) if batch else window.end()


def compress_texts(
    texts: Iterable[str], settings: Settings, *, notice: Progress, exact: bool = False
) -> Iterator[tuple[str, Compressed]]:
    """Each of `texts`, and the same shortened as a message of its own."""
    compressor = _opened(settings, notice=notice, exact=exact)
    for text in texts:
        message = Message(conversation="", session="", id="", position=0, role=Role.USER, content=text)
        yield text, compressor.compress([message])[0]


def _opened(settings: Settings, *, notice: Progress, exact: bool) -> Compressor:
    compressor = Sensory(settings, notice=notice, exact=exact).compressor
    assert compressor is not None, "whoever shortens has chosen what with"
    return compressor


class _Window:
    """The rows of one session that are to be shortened together, while they come."""

    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor
        self._place: Place | None = None
        self._waiting: list[Read] = []

    def take(self, batch: Sequence[Read]) -> Iterator[ShortRow]:
        """Take in more rows; those that are now known to be shortened together."""
        for place, rows in by_place(batch):
            if place != self._place:
                yield from self.end()
                self._place = place
            self._waiting += rows
            while count := self._filled():
                yield from self._shorten(count)

    def end(self) -> Iterator[ShortRow]:
        """All rows that still wait."""
        while self._waiting:
            yield from self._shorten(self._filled() or len(self._waiting))

    def _filled(self) -> int:
        return self._compressor.filled([message for _, message in self._waiting])

    def _shorten(self, count: int) -> Iterator[ShortRow]:
        its, self._waiting = self._waiting[:count], self._waiting[count:]
        shortened = self._compressor.compress([message for _, message in its])
        for (row, _), compressed in zip(its, shortened, strict=True):
            yield ShortRow(row, compressed)
