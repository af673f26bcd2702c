"""Cuts a conversation where its turns attend most to the turn before: the boundaries of the LightMem paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightmem_cli.protocols import Gap, Spoken, TokenReader


class AttentionSegmenter:
    lookback = 0

    def __init__(self, reader: Callable[[], TokenReader], *, buffer_tokens: int) -> None:
        self._reader = reader
        self._buffer_tokens = buffer_tokens

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        raise NotImplementedError
