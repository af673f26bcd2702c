"""Cuts a conversation into topics: where a session or a long silence ends one, and where a segmenter says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, assert_never

from lightmem_cli.protocols import Gap, Segmenter, Spoken

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, TokenReader, Vectors

Use: TypeAlias = Literal["similarity", "attention", "hybrid"]

SILENCE = "silence"
SESSION = "session"
ALWAYS = (SILENCE, SESSION)  # nothing is read across these to decide on another cut

_LONG = 256  # turns of an open topic from which on it is looked at anew only where it has grown by _GROWTH
_GROWTH = 1 / 4  # 20,000 turns of one topic, 300 at a time, take 11 s instead of 42 s


@dataclass(frozen=True, slots=True)
class HowToCut:
    """The choices that the segmenters have. `reader` opens the model whose attention they read, when first needed."""

    reader: Callable[[], TokenReader]
    buffer_tokens: int = 512
    alike: float = 0.5
    tolerance: int = 1


def open_segmenter(use: Use, how: HowToCut) -> Segmenter:
    """Open the segmenter `use`."""
    match use:
        case "attention":
            from lightmem_cli.segment.attention import AttentionSegmenter

            return AttentionSegmenter(how.reader, buffer_tokens=how.buffer_tokens)
        case "hybrid":
            from lightmem_cli.segment.hybrid import HybridSegmenter

            return HybridSegmenter(
                how.reader, buffer_tokens=how.buffer_tokens, alike=how.alike, tolerance=how.tolerance
            )
        case "similarity":
            from lightmem_cli.segment.similarity import SimilaritySegmenter

            return SimilaritySegmenter()
        case _:
            assert_never(use)


class Ended(NamedTuple):
    """The open topic ended with its turn number `turns`, counted from 1: what cut it there, and how clearly.

    `gaps` says of each of its turns how clearly a topic ends behind it, 0 to 1; the last is `score`.
    """

    turns: int
    by: str
    gaps: tuple[float, ...]

    @property
    def score(self) -> float:
        return self.gaps[-1]


class OpenTopic:
    """What is still open of one session. It takes turns in as they come; in what portions does not move a cut."""

    def __init__(
        self,
        *,
        segmenter: Segmenter,
        silence: timedelta,
        behind: Sequence[Spoken] = (),
        dated_before: datetime | None = None,
    ) -> None:
        """`behind` are turns before the open topic, up to the segmenter's lookback and to the last cut of `ALWAYS`.

        `dated_before` is when the last dated turn before those was said, as far back as the last cut of `ALWAYS`.
        """
        self._segmenter = segmenter
        self._silence = silence
        self._turns = list(behind)
        self._start = len(self._turns)
        self._dated_before = dated_before
        self._looked_at = 0  # turns of the open topic, when it was looked at last

    def take(self, turns: Sequence[Spoken], *, ended: bool = False) -> list[Ended]:
        """The topics that are now known to have ended, in order. With `ended` the last one ends with the last turn.

        How a long one has ended is said some turns later, see `hardly_grown`.
        """
        self._turns += turns
        if not ended and hardly_grown(len(self._turns) - self._start, before=self._looked_at):
            return []
        gaps = cut_session(
            self._turns,
            segmenter=self._segmenter,
            silence=self._silence,
            start=self._start,
            ended=ended,
            dated_before=self._dated_before,
        )
        found: list[Ended] = []
        scores: list[float] = []
        for gap in gaps:
            scores.append(gap.score)
            if gap.by is not None:
                found.append(Ended(gap.after + 1 - self._start, gap.by, tuple(scores)))
                self._start = gap.after + 1
                scores.clear()
        self._looked_at = len(self._turns) - self._start
        if ended:
            self._drop(len(self._turns))
            self._dated_before = None
        else:
            self._drop(self._start - self._segmenter.lookback)
        return found

    def _drop(self, count: int) -> None:
        """Let go of the first `count` turns: nothing that is decided from now on reads them."""
        if count > 0:
            self._dated_before = _last_dated(self._turns[:count]) or self._dated_before
            del self._turns[:count]
            self._start -= count


def hardly_grown(turns: int, *, before: int) -> bool:
    """Whether an open topic of so many turns is so long, and has grown so little, that to look at it anew can wait."""
    return _LONG < turns < before * (1 + _GROWTH)


def cut_session(
    turns: Sequence[Spoken],
    *,
    segmenter: Segmenter,
    silence: timedelta,
    start: int,
    ended: bool,
    dated_before: datetime | None = None,
) -> list[Gap]:
    """The gaps from `start` on, where the open topic of a session began, one by one, as far as they can be decided.

    Where a dated turn was said more than `silence` after the dated turn before it (before `turns`: `dated_before`), the
    topic ends by "silence"; with the last turn it ends by "session" where the session has `ended`. The segmenter sees
    one stretch between such cuts at a time.
    """
    found: list[Gap] = []
    begins = [0, *_after_silence(turns, silence=silence, dated_before=dated_before)]
    for begin, end in zip(begins, [*begins[1:], len(turns)], strict=True):
        if end <= start:
            continue
        last = end == len(turns)
        within = segmenter.gaps(turns[begin:end], start=max(start - begin, 0), ended=ended or not last)
        found += [gap._replace(after=gap.after + begin) for gap in within]
        if ended or not last:
            found.append(Gap(after=end - 1, score=1.0, by=SESSION if last else SILENCE))
    return found


def unit_means(owners: Ids, vectors: Vectors) -> dict[int, Vectors]:
    """For each owner the normalised mean of its vectors, float32, shape (dimension,).

    `vectors` are float32, shape (n, dimension), `owners` whose each one is, int64, shape (n,); those of one owner stand
    together. What one owner gets does not depend, bit for bit, on which others are there. A mean of length 0 is none.
    """
    import numpy as np

    if not len(owners):
        return {}
    begins = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    sums = np.add.reduceat(vectors, begins, axis=0)
    lengths = np.linalg.norm(sums, axis=1)
    return {
        int(owner): total / length
        for owner, total, length in zip(owners[begins], sums, lengths, strict=True)
        if length > 0
    }


def _after_silence(turns: Sequence[Spoken], *, silence: timedelta, dated_before: datetime | None) -> list[int]:
    """The places in `turns`, other than the first, where somebody speaks again after a long silence."""
    places: list[int] = []
    for place, turn in enumerate(turns):
        said_at = turn.message.said_at
        if said_at is None:
            continue
        if dated_before is not None and said_at - dated_before > silence and place > 0:
            places.append(place)
        dated_before = said_at
    return places


def _last_dated(turns: Sequence[Spoken]) -> datetime | None:
    return next((turn.message.said_at for turn in reversed(turns) if turn.message.said_at is not None), None)
