"""The similarity segmenter: no cut moves when more is said, and talk is cut where it turns to something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.records import Message, Role
from lightmem_cli.segment.cues import read_wording
from lightmem_cli.segment.similarity import THRESHOLD, SimilaritySegmenter

SAID = (
    "Can you book me a table for two?",
    "Sure, which day?",
    "Friday, please.",
    "Thanks, that's all.",
    "Do you have any pets?",
    "I have a greyhound called Biscuit.",
    "She sleeps on the sofa all day long, and on nights with thunder she sleeps under it.",
    "日本語の図書館は駅の近くです。",
    "🎉",
    "",
)


def spoken(text: str, topic: int | None, *, noise: int = 0, speaker: str | None = None) -> Spoken:
    """A turn about `topic`, one of eight directions; None: nobody embedded it."""
    message = Message(conversation="", session="s", id="m", position=0, role=Role.USER, content=text, speaker=speaker)
    if topic is None:
        return Spoken(message, None)
    vector = np.zeros(16, np.float32)
    vector[topic] = 1.0
    vector[8 + noise] = 0.8
    return Spoken(message, vector / np.linalg.norm(vector))


def cuts_of(segmenter: SimilaritySegmenter, said: Sequence[Spoken], *, start: int = 0, ended: bool = True) -> list[Gap]:
    return [gap for gap in segmenter.gaps(said, start=start, ended=ended) if gap.by]


turn = st.builds(
    spoken,
    st.sampled_from(SAID),
    st.one_of(st.none(), st.integers(0, 7), st.integers(0, 1)),
    noise=st.integers(0, 7),
    speaker=st.sampled_from([None, "Anna", "Ben"]),
)
turns = st.lists(turn, max_size=60)
segmenters = st.builds(SimilaritySegmenter, threshold=st.sampled_from([0.0, 0.0, THRESHOLD, 0.6]))


@settings(deadline=None, max_examples=50)
@given(st.lists(turn, min_size=5, max_size=30), segmenters)
def test_what_comes_later_moves_no_cut(said: list[Spoken], segmenter: SimilaritySegmenter) -> None:
    whole = segmenter.gaps(said, start=0, ended=True)
    for length in range(len(said)):
        early = segmenter.gaps(said[:length], start=0, ended=False)
        assert early == [gap for gap in whole if gap.after < length - segmenter.lookahead]


@settings(deadline=None)
@given(st.lists(turn, min_size=45, max_size=70), segmenters, st.lists(st.integers(1, 12), min_size=1))
def test_a_topic_taken_up_again_is_cut_as_in_one_piece(
    said: list[Spoken], segmenter: SimilaritySegmenter, portions: list[int]
) -> None:
    """As the engine asks: with `lookback` turns before the open topic, and a few more turns each time."""
    found: list[Gap] = []
    start = have = 0
    while have < len(said):
        have = min(len(said), have + portions[have % len(portions)])
        before = max(0, start - segmenter.lookback)
        for cut in cuts_of(segmenter, said[before:have], start=start - before, ended=have == len(said)):
            found.append(cut._replace(after=cut.after + before))
            start = found[-1].after + 1
    assert found == cuts_of(segmenter, said)


@settings(deadline=None)
@given(turns, segmenters)
def test_cuts_are_between_turns_in_order_and_before_words(said: list[Spoken], segmenter: SimilaritySegmenter) -> None:
    cuts = cuts_of(segmenter, said)
    places = [cut.after for cut in cuts]
    assert places == sorted(set(places))
    assert all(0 <= place < len(said) - 1 for place in places)
    assert all(said[place + 1].vector is not None for place in places)
    assert all(0 <= cut.score <= 1 and cut.by == "similarity" for cut in cuts)


def test_talk_is_cut_where_it_turns_to_something_else() -> None:
    pets = [spoken("Biscuit the greyhound sleeps on the sofa.", 0, noise=n) for n in range(5)]
    work = [spoken("Jonah repots plants in the alpine house.", 1, noise=n) for n in range(5)]
    sea = [spoken("Ines took a train to Travemünde.", 2, noise=n) for n in range(5)]
    cuts = cuts_of(SimilaritySegmenter(), [*pets, *work, *sea])
    assert [cut.after for cut in cuts] == [4, 9]


def test_who_speaks_is_no_topic() -> None:
    """Each speaker's own direction is in all of their turns, as a name is, and they take turns of four."""
    texts = (
        "Biscuit the greyhound naps.",
        "Jonah repots plants in the alpine house.",
        "Ines took a train to Travemünde.",
    )
    cuts = []
    for speakers in (["Anna", "Ben"], ["Anna", "Anna"]):
        said = []
        for at in range(24):
            turn = spoken(texts[at // 8], at // 8, noise=at % 3, speaker=speakers[at // 4 % 2])
            assert turn.vector is not None
            turn.vector[14 + at // 4 % 2] = 1.2
            said.append(Spoken(turn.message, turn.vector / np.linalg.norm(turn.vector)))
        cuts.append([cut.after for cut in cuts_of(SimilaritySegmenter(), said)])
    assert cuts[0] == [7, 15]
    assert set(cuts[1]) > {7, 15}, "the same vectors, all taken for one speaker's"


def test_one_topic_is_not_cut_and_one_turn_neither() -> None:
    pets = [spoken("Biscuit the greyhound sleeps on the sofa.", 0, noise=n % 3) for n in range(12)]
    assert cuts_of(SimilaritySegmenter(), pets) == []
    assert cuts_of(SimilaritySegmenter(), pets[:1]) == []
    assert cuts_of(SimilaritySegmenter(), []) == []


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("Do you like it?", "ends_asking"),
        ("Do you like it? 🙂", "ends_asking"),
        ("好きですか？", "ends_asking"),
        ("What are your plans? I have none.", "asks_you"),
        ("Thank you so much!", "thanks"),
        ("Is there anything else?", "anything_else"),
        ("It is in the kitchen.", "points_back"),
        ("But why", "goes_on"),
        ("Hey Jonah!", "greets"),
        ("I'm looking for a hotel", "requests"),
        ("What do you do for a living?", "small_talk"),
        ("We now have some questions from Ines.", "moves_on"),
    ],
)
def test_a_cue_is_read(text: str, cue: str) -> None:
    assert getattr(read_wording(text), cue)
    assert not getattr(read_wording("Jonah painted seven chairs."), cue)
