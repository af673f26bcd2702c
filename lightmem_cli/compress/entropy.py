"""Shortens a conversation's messages to their most surprising words, by word frequencies or by a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightmem_cli.compress import HowToShorten
    from lightmem_cli.records import Compressed, Message


class EntropyCompressor:
    def __init__(self, how: HowToShorten) -> None:
        self._how = how

    @property
    def name(self) -> str:
        raise NotImplementedError

    def filled(self, messages: Sequence[Message]) -> int:
        raise NotImplementedError

    def compress(self, messages: Sequence[Message]) -> list[Compressed]:
        raise NotImplementedError
