"""Cuts a conversation where its attention says so and neighbouring turns are unlike each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightmem_cli.protocols import Gap, Spoken, TokenReader


class HybridSegmenter:
    lookback = 0

    def __init__(self, reader: Callable[[], TokenReader], *, buffer_tokens: int, alike: float, tolerance: int) -> None:
        self._reader = reader
        self._buffer_tokens = buffer_tokens
        self._alike = alike
        self._tolerance = tolerance

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        raise NotImplementedError
