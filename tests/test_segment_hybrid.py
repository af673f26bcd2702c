"""The hybrid segmenter: a topic ends near a maximum of attention, where neighbours are unlike and least alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from token_readers import ToldReader, spoken, told

from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.segment.hybrid import HybridSegmenter


def along(said: Sequence[Spoken], cosines: Sequence[float | None]) -> list[Spoken]:
    """`said` with vectors in a plane: each has that cosine with the one before; None: it has no vector."""
    turned: list[Spoken] = []
    angle = 0.0
    for turn, cosine in zip(said, [1.0, *cosines], strict=True):
        angle += 0.0 if cosine is None else float(np.arccos(cosine))
        vector = np.array([np.cos(angle), np.sin(angle)], np.float32)
        turned.append(Spoken(turn.message, None if cosine is None else vector))
    return turned


def gaps_of(said: Sequence[Spoken], *, alike: float = 0.5, tolerance: int = 1) -> list[Gap]:
    reader = ToldReader()
    segmenter = HybridSegmenter(lambda: reader, buffer_tokens=512, alike=alike, tolerance=tolerance)
    return segmenter.gaps(said, start=0, ended=True)


def cuts_of(said: Sequence[Spoken], *, alike: float = 0.5, tolerance: int = 1) -> list[int]:
    gaps = gaps_of(said, alike=alike, tolerance=tolerance)
    assert [gap.after for gap in gaps] == list(range(len(said) - 1))
    assert {gap.by for gap in gaps} <= {"hybrid", None}
    return [gap.after + 1 for gap in gaps if gap.by]


PEAKS = told(0, 0, 2, 3, 8, 4, 1, 6, 3, 3)  # at turns 4 and 7
#            1    2    3    4    5    6    7    8    9   (the turn behind the gap)
ALL_ALIKE = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]


def cosines(**others: float | None) -> list[float | None]:
    """Neighbours alike, but at the turns named t1 to t9."""
    return [others.get(f"t{turn}", alike) for turn, alike in enumerate(ALL_ALIKE, start=1)]


@pytest.mark.parametrize(
    ("unlike", "tolerance", "cuts"),
    [
        ({}, 9, []),  # attention alone cuts nothing
        ({"t4": 0.1}, 0, [4]),
        ({"t3": 0.1, "t8": 0.2}, 0, []),  # a turn off
        ({"t3": 0.1, "t8": 0.2}, 1, [3, 8]),
        ({"t1": 0.1}, 2, []),
        ({"t1": 0.1}, 3, [1]),  # also far from the middle of the buffer
        ({"t9": 0.1}, 2, [9]),
        ({"t3": 0.2, "t4": 0.3, "t5": 0.1}, 1, [5]),  # the least alike
        ({"t3": 0.2, "t4": 0.3, "t5": 0.1}, 0, [4]),
        ({"t4": 0.2, "t7": 0.4}, 3, [4]),  # both maxima come to one gap
        ({"t4": 0.2, "t7": 0.4}, 2, [4, 7]),
        ({"t4": 0.5}, 0, []),  # no less than `alike` is alike
        ({"t4": None, "t5": 0.2}, 0, []),  # who says nothing is like what it follows
        ({"t3": None, "t4": 0.2}, 0, [4]),  # and the turn behind is compared with the last that said something
    ],
)
def test_a_cut_is_where_attention_and_similarity_agree(
    unlike: dict[str, float | None], tolerance: int, cuts: list[int]
) -> None:
    assert cuts_of(along(PEAKS, cosines(**unlike)), tolerance=tolerance) == cuts


def test_of_neighbours_equally_unlike_the_nearest_to_the_maximum_is_cut_and_then_the_first() -> None:
    one_each = [spoken(turn.message.content, topic=0, number=number) for number, turn in enumerate(PEAKS)]
    for topic, turn in enumerate((2, 3, 5, 6), start=1):  # cosines of exactly 0 at each of these, and 1 elsewhere
        one_each[turn:] = [
            spoken(one.message.content, topic=topic, number=number) for number, one in enumerate(one_each[turn:], turn)
        ]
    assert cuts_of(one_each, tolerance=2) == [3, 6]


def test_without_vectors_nothing_is_cut() -> None:
    assert cuts_of(PEAKS, alike=1.0, tolerance=9) == []


def test_similarity_alone_cuts_nothing() -> None:
    assert cuts_of(along(told(0, 0, 5, 5, 5, 5, 5, 5, 5, 5), [0.0] * 9), tolerance=9) == []


def test_the_score_is_the_mean_of_what_both_say() -> None:
    gaps = gaps_of(along(PEAKS, [0.9, 0.9, 0.5, 0.2, 0.9, 0.9, -0.4, 0.9, None]))
    expected = [0.1, 0.2 + 0.1, 0.3 + 0.5, 0.8 + 0.8, 0.4 + 0.1, 0.1 + 0.1, 0.6 + 1.0, 0.3 + 0.1, 0.3]
    assert [gap.score for gap in gaps] == pytest.approx([both / 2 for both in expected], abs=1e-4)
