"""Cuts a conversation where turns attend most to the turn before: the attention boundaries of the LightMem paper.

Where a turn's share of attention to the turn before it is higher than at the turns beside it, a topic ends before that
turn (arXiv 2510.18866, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.segment.buffer import SensoryBuffer, Shares, maxima

if TYPE_CHECKING:
    from lightmem_cli.protocols import TokenReader

ATTENTION = "attention"


class AttentionSegmenter:
    """Cuts at the attention's maxima in each full buffer. A turn without tokens stays with what it follows."""

    lookback = 0

    def __init__(self, reader: Callable[[], TokenReader], *, buffer_tokens: int) -> None:
        """`reader` opens the model, when first needed; a buffer holds `buffer_tokens`, or what a window of it holds."""
        self._buffer = SensoryBuffer(reader, tokens=buffer_tokens)

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        """See `Segmenter`. The score is the attention of the turn behind the gap to the turn before it, as a share of
        its attention to all earlier turns of its buffer; 0 where it has none, and behind a full buffer.
        """
        return self._buffer.gaps(turns, start=start, ended=ended, judge=_judge)


def _judge(said: Sequence[Spoken], shares: Shares) -> list[Gap]:
    highest = set(maxima(shares))
    return [
        Gap(after=turn - 1, score=round(shares[turn] or 0.0, 4), by=ATTENTION if turn in highest else None)
        for turn in range(1, len(said))
    ]
