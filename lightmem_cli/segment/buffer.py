"""Holds the open tail of a conversation as sensory memory: filled turn by turn, and read once no further turn fits.

A full buffer is judged in one forward pass. It ends the topics up to the last cut found in it; what is behind that cut
stays, and is read again with what is said next. The buffer is no state of its own, it is the turns of an open topic: so
it outlives the process, and the same turns make the same buffers in whatever portions they come. A conversation is
read 1.15 times in all: so many tokens of LoCoMo's conv-26 for each that it has, in buffers of 512.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lightmem_cli.protocols import Gap, Spoken

if TYPE_CHECKING:
    from lightmem_cli.protocols import TokenReader, Vectors

DECIMALS = 6  # of shares and cosines, so that equals are equal: float32 says no more
BUFFER = "buffer"  # cuts where the next turn does not fit, and nothing in the buffer ends a topic

# The tokens nearest to the special ones take part in no turn. LightMem's own implementation masks three places at each
# end, the special token among them.
_EDGE = 2
# Fewer turns have no maximum: the first two have no share, and a maximum has a neighbour on either side. They are not
# read. All buffers of 512 tokens of BEAM's chats are such, whose turns have 770 tokens.
_FEWEST = 5
_REMEMBERED = 1024  # texts: more than a buffer of usual size has turns

Shares: TypeAlias = "Sequence[float | None]"
# What a judged buffer comes to: its turns, and the share of each, to the gaps between them, one by one.
Judge: TypeAlias = Callable[[Sequence[Spoken], Shares], list[Gap]]


class _Filled(NamedTuple):
    """The turns of a buffer: from `start` up to `end`, with the tokens of each."""

    start: int
    end: int
    tokens: list[int]


class SensoryBuffer:
    """A model's window onto an open topic: at most `tokens` tokens, or what the model's own window holds."""

    def __init__(self, reader: Callable[[], TokenReader], *, tokens: int) -> None:
        """`reader` opens the model when the first turn is to be judged."""
        self._open_reader = reader
        self._reader: TokenReader | None = None
        self._tokens = tokens
        self._counted = lru_cache(maxsize=_REMEMBERED)(lambda text: len(self._opened().pieces(text).ids))

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool, judge: Judge) -> list[Gap]:
        """See `Segmenter.gaps`. A turn that fills more than the buffer is a topic of its own, cut by "buffer".

        The gaps of a full buffer are all decided at once, up to the last cut; 0 is the score of a cut by "buffer".
        """
        found: list[Gap] = []
        while start < len(turns):
            filled = self._fill(turns, start)
            full = filled.end < len(turns)
            if not full and not ended:
                break
            said = turns[start : filled.end]
            gaps = judge(said, self._shares(said, filled.tokens))
            if full:
                gaps = self._closed(gaps, filled, before=turns[filled.end])
            found += [gap._replace(after=gap.after + start) for gap in gaps]
            start = start + gaps[-1].after + 1 if full else filled.end
        return found

    def _fill(self, turns: Sequence[Spoken], start: int) -> _Filled:
        """Take whole turns from `start` on, at least one, while they fit."""
        tokens = [self._tokens_of(turns[start])]
        total = tokens[0]
        end = start + 1
        while end < len(turns) and self._fits(total, turns[end]):
            tokens.append(self._tokens_of(turns[end]))
            total += tokens[-1]
            end += 1
        return _Filled(start, end, tokens)

    def _closed(self, gaps: list[Gap], filled: _Filled, *, before: Spoken) -> list[Gap]:
        """The gaps of a full buffer that are decided, the last of them a cut; the turn `before` did not fit.

        Where it still does not fit behind the last cut, nothing would be read that was not read here: what is left ends
        at once.
        """
        last = max((gap.after for gap in gaps if gap.by is not None), default=-1)
        if self._fits(sum(filled.tokens[last + 1 :]), before):
            return gaps[: last + 1]
        return [*gaps, Gap(after=filled.end - 1 - filled.start, score=0.0, by=BUFFER)]

    def _fits(self, taken: int, turn: Spoken) -> bool:
        tokens = self._tokens_of(turn)
        return tokens == 0 or taken + tokens <= min(self._tokens, self._opened().limit)

    def _tokens_of(self, turn: Spoken) -> int:
        return self._counted(turn.message.content)

    def _shares(self, said: Sequence[Spoken], tokens: Sequence[int]) -> Shares:
        """`shares` of a buffer, from one forward pass; none where it has too few turns for a maximum."""
        if sum(count > 0 for count in tokens) < _FEWEST:
            return [None] * len(said)
        attention = self._opened().read([turn.message for turn in said], attention=True).attention
        assert attention is not None, "a buffer fits its model's window"
        return shares(attention, tokens=tokens)

    def _opened(self) -> TokenReader:
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader


def shares(attention: Vectors, *, tokens: Sequence[int]) -> list[float | None]:
    """Of what each turn of a window attends to in all turns before it: the share, 0 to 1, of the one just before it.

    `attention` is as in `Reading`, `tokens` says how many tokens each turn has. A turn attends to another as its tokens
    do on average, each to all tokens of the other. None for a turn without tokens, which is passed over, for the first,
    and for the second, whose share would be 1 whatever it says.
    """
    import numpy as np

    total = sum(tokens)
    assert attention.shape == (total, total)
    found: list[float | None] = [None] * len(tokens)
    ends = np.clip(np.cumsum([0, *tokens]), _EDGE, max(_EDGE, total - _EDGE)) - _EDGE
    spoken = np.flatnonzero(np.diff(ends))
    if not len(spoken):
        return found
    inner = attention[_EDGE : total - _EDGE, _EDGE : total - _EDGE].astype(np.float64)
    begins = ends[spoken]
    sums = np.add.reduceat(np.add.reduceat(inner, begins, axis=0), begins, axis=1)  # a share of sums is one of means
    for place in range(2, len(spoken)):
        earlier = float(sums[place, :place].sum())
        share = float(sums[place, place - 1]) / earlier if earlier > 0 else 0.0
        found[spoken[place]] = min(round(share, DECIMALS), 1.0)
    return found


def maxima(shares: Shares) -> list[int]:
    """The turns whose share is higher than those of the turns beside it; turns without one are passed over."""
    known = [(share, turn) for turn, share in enumerate(shares) if share is not None]
    return [turn for ((before, _), (here, turn)), (_, (after, _)) in pairwise(pairwise(known)) if before < here > after]
