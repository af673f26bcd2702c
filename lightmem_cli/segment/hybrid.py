"""Cuts a conversation where its attention says so and what its turns say confirms it: the boundaries of the paper.

Near a maximum of attention (see `attention`), a topic ends between the neighbours that are least alike, if any two are
unlike at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.segment.buffer import DECIMALS, SensoryBuffer, Shares, maxima

if TYPE_CHECKING:
    from lightmem_cli.protocols import TokenReader, Vectors

HYBRID = "hybrid"


class HybridSegmenter:
    """Cuts where attention and similarity agree. A turn without a vector stays with what it follows."""

    lookback = 0

    def __init__(self, reader: Callable[[], TokenReader], *, buffer_tokens: int, alike: float, tolerance: int) -> None:
        """`reader` opens the model, when first needed; a buffer holds `buffer_tokens`, or what a window of it holds.

        Neighbours are unlike whose cosine is under `alike`; `tolerance` is by how many turns a cut may be off a maximum
        of attention. Several maxima that come to one gap make one cut.
        """
        self._buffer = SensoryBuffer(reader, tokens=buffer_tokens)
        self._alike = alike
        self._tolerance = tolerance

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        """See `Segmenter`. The score is the mean of the attention's share (see `AttentionSegmenter`) and of how unlike
        the neighbours are, 1 - cosine, each 0 to 1; 0 behind a full buffer.
        """
        return self._buffer.gaps(turns, start=start, ended=ended, judge=self._judge)

    def _judge(self, said: Sequence[Spoken], shares: Shares) -> list[Gap]:
        cosines = _cosines(said)
        chosen = {self._confirmed(highest, cosines) for highest in maxima(shares)}
        return [
            Gap(
                after=turn - 1,
                score=round(((shares[turn] or 0.0) + min(1.0 - max(cosines[turn], 0.0), 1.0)) / 2, 4),
                by=HYBRID if turn in chosen else None,
            )
            for turn in range(1, len(said))
        ]

    def _confirmed(self, highest: int, cosines: Sequence[float]) -> int | None:
        """The turn, near the one whose share is `highest`, that is least like the one before it, where it is unlike."""
        near = range(max(1, highest - self._tolerance), min(len(cosines), highest + self._tolerance + 1))
        unlike = [turn for turn in near if cosines[turn] < self._alike]
        return min(unlike, key=lambda turn: (cosines[turn], abs(turn - highest), turn), default=None)


def _cosines(said: Sequence[Spoken]) -> list[float]:
    """Of each turn with the last one before it that has a vector; 1 where it has none itself, or none is before it."""
    found: list[float] = []
    before: Vectors | None = None
    for turn in said:
        here = turn.vector
        # one plain product a pair: what it comes to depends on nothing around it
        found.append(1.0 if before is None or here is None else min(round(float(before @ here), DECIMALS), 1.0))
        before = before if here is None else here
    return found
