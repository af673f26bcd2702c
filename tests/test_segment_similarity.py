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
from lightmem_cli.segment.similarity import THRESHOLD, SimilaritySegmenter, Talk

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
SPEECH = "The greyhounds of this county were counted twice last spring, on both banks of the river. " * 5
MET = (
    "We now have some questions from Ines.",
    "Thank you. Over to Ben, please.",
    "Order.",
    SPEECH,
    SPEECH[:270],
    SPEECH,
)


def spoken(
    text: str, topic: int | None, *, noise: int = 0, speaker: str | None = None, role: Role = Role.USER
) -> Spoken:
    """A turn about `topic`, one of eight directions; None: nobody embedded it."""
    message = Message(conversation="", session="s", id="m", position=0, role=role, content=text, speaker=speaker)
    if topic is None:
        return Spoken(message, None)
    vector = np.zeros(16, np.float32)
    vector[topic] = 1.0
    vector[8 + noise] = 0.8
    return Spoken(message, vector / np.linalg.norm(vector))


def cuts_of(segmenter: SimilaritySegmenter, said: Sequence[Spoken], *, start: int = 0, ended: bool = True) -> list[Gap]:
    return [gap for gap in segmenter.gaps(said, start=start, ended=ended) if gap.by]


def turns_of(texts: Sequence[str], *, least: int = 0, most: int = 60) -> st.SearchStrategy[list[Spoken]]:
    turn = st.builds(
        spoken,
        st.sampled_from(texts),
        st.one_of(st.none(), st.integers(0, 7), st.integers(0, 1)),
        noise=st.integers(0, 7),
        speaker=st.sampled_from([None, "Anna", "Ben"]),
    )
    return st.lists(turn, min_size=least, max_size=most)


def talks(*, least: int = 0, most: int = 60) -> st.SearchStrategy[list[Spoken]]:
    """People chat, meet, or do both, one after the other."""
    chat, met = (turns_of(texts, least=least, most=most) for texts in (SAID, MET))
    halves = [turns_of(texts, least=least // 2, most=most // 2) for texts in (SAID, MET)]
    return st.one_of(chat, met, st.tuples(*halves).map(lambda both: both[0] + both[1]))


segmenters = st.builds(SimilaritySegmenter, threshold=st.sampled_from([0.0, 0.0, THRESHOLD, 0.6]))


@settings(deadline=None, max_examples=50)
@given(talks(least=6, most=30), segmenters)
def test_what_comes_later_moves_no_cut(said: list[Spoken], segmenter: SimilaritySegmenter) -> None:
    whole = segmenter.gaps(said, start=0, ended=True)
    for length in range(len(said)):
        early = segmenter.gaps(said[:length], start=0, ended=False)
        assert early == [gap for gap in whole if gap.after < length - segmenter.lookahead]


@settings(deadline=None, max_examples=50)
@given(talks(least=66, most=90), st.integers(0, 63))
def test_a_gap_is_judged_by_so_many_turns_before_and_behind_it_and_no_others(said: list[Spoken], at: int) -> None:
    first, end = max(0, at + 1 - SimilaritySegmenter.lookback), at + SimilaritySegmenter.lookahead
    whole, part = Talk(said), Talk(said[first:end])
    assert whole.signals(at) == part.signals(at - first)
    assert whole.meets(at) == part.meets(at - first)


@settings(deadline=None, max_examples=50)
@given(talks(least=70, most=90), segmenters, st.lists(st.integers(1, 12), min_size=1))
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
@given(talks(), segmenters)
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


def meeting(*, role: Role = Role.USER) -> list[Spoken]:
    """Twelve members are called on, one after the other, and answered; six speak of one thing, six of another."""
    said: list[Spoken] = []
    for at in range(12):
        called = "Thank you. The next questions are from Ines." if at == 6 else "Thank you. Please go on."
        for text in (called, SPEECH, SPEECH):
            said.append(spoken(text, at // 6, noise=len(said) % 4, role=role if text is SPEECH else Role.USER))
    return said


def test_a_meeting_is_cut_where_somebody_new_is_called_on_and_the_talk_turns() -> None:
    assert [cut.after for cut in cuts_of(SimilaritySegmenter(), meeting())] == [17]


def test_where_a_model_answers_at_length_nobody_meets() -> None:
    people, model = Talk(meeting()), Talk(meeting(role=Role.ASSISTANT))
    assert people.meets(0) == 0.0
    assert {people.meets(at) for at in range(5, 36)} == {1.0}
    assert {model.meets(at) for at in range(1, 36)} == {0.0}


def test_who_was_named_of_late_is_not_called_on() -> None:
    said = [spoken(text, 0) for text in ("We go to Mr. Singh.", SPEECH, "Back to Mr. Singh.", SPEECH, "Now, Ms. Vale.")]
    talk = Talk([spoken("Good morning.", 0), *said])
    assert [talk.signals(at)["b_calls"] for at in range(len(said))] == [True, False, False, False, True]
    assert not Talk([spoken("Hello.", 0), spoken(SPEECH + "I saw Ines.", 0)]).signals(0)["b_calls"], "a speech"


@pytest.mark.parametrize(("between", "called"), [(29, False), (30, True)])
def test_who_was_named_long_ago_is_called_on_again(between: int, called: bool) -> None:
    said = [spoken(text, 0) for text in ("We go to Mr. Singh.", *["Order."] * between, "Back to Mr. Singh.")]
    assert Talk(said).signals(between)["b_calls"] is called


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("We will now go to Mr.Singh.", {"singh"}),
        ("Thank you. Questions now from Siân Gwenllian and Mrs. Gill", {"siân", "gwenllian", "gill"}),
        ("Thank you. Please go on. ", set()),
        ("日本語の図書館は駅の近くです。", set()),
    ],
)
def test_names_have_a_capital_that_no_sentence_explains(text: str, names: set[str]) -> None:
    assert read_wording(text).names == names


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
