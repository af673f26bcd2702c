"""The sensory buffer: the same buffers, and so the same topics, in whatever portions a conversation comes in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import empty_home, line, opened, take, take_into
from token_readers import MoodyReader, ToldReader, spoken, told

import lightmem_cli.engine.sensory
import lightmem_cli.segment
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.segment import Ended, OpenTopic, cut_session
from lightmem_cli.segment.attention import AttentionSegmenter
from lightmem_cli.segment.hybrid import HybridSegmenter

HOUR = timedelta(hours=1)
Sensory: TypeAlias = AttentionSegmenter | HybridSegmenter


def cutting(reader: ToldReader, *, tokens: int = 512, tolerance: int | None = None) -> Sensory:
    if tolerance is None:
        return AttentionSegmenter(lambda: reader, buffer_tokens=tokens)
    return HybridSegmenter(lambda: reader, buffer_tokens=tokens, alike=0.5, tolerance=tolerance)


def cuts_of(gaps: Sequence[Gap]) -> list[tuple[int, str]]:
    return [(gap.after, gap.by) for gap in gaps if gap.by]


# By hand: turns of five words, five to a buffer ----------------------------------------------------------------------


def test_a_buffer_is_judged_once_the_next_turn_does_not_fit() -> None:
    said = told(0, 0, 2, 7, 3, 4)
    reader = ToldReader()
    segmenter = cutting(reader, tokens=25)
    for count in range(6):
        assert segmenter.gaps(said[:count], start=0, ended=False) == []
    assert reader.passes == 0
    gaps = segmenter.gaps(said, start=0, ended=False)
    assert cuts_of(gaps) == [(2, "attention")]
    assert [gap.after for gap in gaps] == [0, 1, 2], "what is behind the cut stays open"
    assert reader.reads == [tuple(turn.message.content for turn in said[:5])]


def test_a_buffer_in_which_nothing_ends_is_one_topic() -> None:
    reader = ToldReader()
    gaps = cutting(reader, tokens=25).gaps(told(*[5] * 12), start=0, ended=False)
    assert cuts_of(gaps) == [(4, "buffer"), (9, "buffer")]
    assert [gap.after for gap in gaps] == list(range(10))
    assert [gap.score for gap in gaps if gap.by] == [0, 0]
    assert reader.passes == 2


def test_what_is_behind_the_last_cut_is_read_again_with_what_follows() -> None:
    said = told(0, 0, 2, 7, 3, 1, 6, 2)
    reader = ToldReader()
    assert cuts_of(cutting(reader, tokens=25).gaps(said, start=0, ended=True)) == [(2, "attention"), (5, "attention")]
    assert [len(window) for window in reader.reads] == [5, 5]
    assert reader.reads[1] == tuple(turn.message.content for turn in said[3:])


def test_what_is_behind_the_last_cut_ends_at_once_where_nothing_more_fits_behind_it() -> None:
    said = told(0, 0, 2, 7, 3)
    said.append(spoken("word " * 20, number=5))
    reader = ToldReader()
    gaps = cutting(reader, tokens=25).gaps(said, start=0, ended=False)
    assert cuts_of(gaps) == [(2, "attention"), (4, "buffer")]
    assert [gap.score for gap in gaps] == pytest.approx([0, 0.2, 0.7, 0.3, 0])
    assert reader.passes == 1


def test_a_turn_longer_than_the_buffer_is_its_own_topic() -> None:
    long, blank = spoken("word " * 26, number=90), spoken("", number=91)
    short = told(0, 5)
    for tokens, limit in ((25, 510), (512, 25)):
        reader = ToldReader(limit=limit)
        segmenter = cutting(reader, tokens=tokens)
        said = [*short, long, blank, long, *short]
        assert cuts_of(segmenter.gaps(said, start=0, ended=True)) == [(1, "buffer"), (3, "buffer"), (4, "buffer")]
        assert segmenter.gaps([long], start=0, ended=True) == []
        assert segmenter.gaps([long, blank], start=0, ended=False) == [], "behind it nothing is said yet"
        assert cuts_of(segmenter.gaps([blank, long, *short], start=0, ended=False)) == [(0, "buffer"), (1, "buffer")]
        assert reader.passes == 0


def test_a_buffer_of_few_turns_is_not_read() -> None:
    reader = ToldReader()
    said = told(0, 0, 1, 9, words=6)
    assert cuts_of(cutting(reader, tokens=25).gaps(said * 3, start=0, ended=True)) == [(3, "buffer"), (7, "buffer")]
    assert reader.passes == 0


def test_who_takes_turns_one_by_one_does_not_count_each_text_again() -> None:
    reader = ToldReader()
    said = [spoken(f"{n} {'word ' * 9}", number=n) for n in range(100)]
    topic = OpenTopic(segmenter=cutting(reader, tokens=400), silence=HOUR)
    for turn in said:
        topic.take([turn])
    assert reader.counted == [turn.message.content for turn in said]


# Laws ----------------------------------------------------------------------------------------------------------------


@st.composite
def talks(draw: st.DrawFn, *, most: int = 40) -> list[Spoken]:
    """Turns with and without words, vectors and times, some longer than any buffer, some after a long silence."""
    said: list[Spoken] = []
    moment = datetime(2023, 5, 3, tzinfo=UTC)
    for number in range(draw(st.integers(0, most))):
        words = draw(st.sampled_from([0, 1, 2, 3, 3, 4, 4, 5, 6, 9, 40]))
        moment += timedelta(minutes=draw(st.sampled_from([1] * 12 + [61])))
        said.append(
            spoken(
                " ".join(str((number * 7 + word) % 10) for word in range(words)),
                topic=draw(st.one_of(st.none(), st.integers(0, 2))),
                number=number,
                said_at=draw(st.sampled_from([moment, moment, None])),
            )
        )
    return said


buffers = st.sampled_from([4, 12, 16, 20, 30, 33])
tolerances = st.sampled_from([None, 0, 1, 3])


@given(talks(), buffers, tolerances)
def test_no_turn_is_lost_and_none_is_in_two_topics(said: list[Spoken], tokens: int, tolerance: int | None) -> None:
    reader = MoodyReader()
    gaps = cutting(reader, tokens=tokens, tolerance=tolerance).gaps(said, start=0, ended=True)
    assert [gap.after for gap in gaps] == list(range(len(said) - 1))
    assert all(0 <= gap.score <= 1 for gap in gaps)
    assert {gap.by for gap in gaps} <= {None, "buffer", "attention" if tolerance is None else "hybrid"}
    for gap in gaps:
        if gap.by:
            behind = said[gap.after + 1]
            assert behind.message.content or (gap.by == "hybrid" and behind.vector is not None), "who says nothing"
    for window in reader.reads:
        assert sum(len(text.split()) for text in window) <= tokens


@given(talks(), buffers, tolerances)
def test_no_topic_holds_more_than_a_buffer_or_one_turn(said: list[Spoken], tokens: int, tolerance: int | None) -> None:
    gaps = cutting(MoodyReader(), tokens=tokens, tolerance=tolerance).gaps(said, start=0, ended=True)
    ends = [*(after + 1 for after, _ in cuts_of(gaps)), len(said)]
    for begin, end in zip([0, *ends], ends, strict=False):
        lengths = [len(turn.message.content.split()) for turn in said[begin:end]]
        assert sum(lengths) <= tokens or sum(length > 0 for length in lengths) == 1


@given(talks(), buffers, tolerances)
def test_what_is_said_later_moves_no_cut(said: list[Spoken], tokens: int, tolerance: int | None) -> None:
    segmenter = cutting(MoodyReader(), tokens=tokens, tolerance=tolerance)
    whole = segmenter.gaps(said, start=0, ended=True)
    for length in range(len(said)):
        early = segmenter.gaps(said[:length], start=0, ended=False)
        assert early == whole[: len(early)]
        assert not early or early[-1].by, "what is decided ends with a cut"


@given(talks(), buffers, tolerances, st.data())
def test_the_same_topics_and_readings_in_any_portions(
    said: list[Spoken], tokens: int, tolerance: int | None, data: st.DataObject
) -> None:
    """Also with a new open topic after every cut, as each process begins one."""
    ends = data.draw(st.sets(st.integers(1, max(1, len(said))), max_size=2)) | {len(said)}  # the session ends there
    portions = data.draw(st.sets(st.integers(0, len(said))))
    once = MoodyReader()
    whole = taken(said, ends, portions=set(), segmenter=cutting(once, tokens=tokens, tolerance=tolerance))
    for each, anew in ((portions, False), (portions, True), (set(range(len(said))), True)):
        reader = MoodyReader()
        segmenter = cutting(reader, tokens=tokens, tolerance=tolerance)
        assert taken(said, ends, portions=each, segmenter=segmenter, anew=anew) == whole
        assert reader.reads == once.reads, "each buffer is read once, by whoever sees it full"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightmem_cli.segment, "_LONG", 2)  # a long topic is not looked at anew for each portion
        segmenter = cutting(MoodyReader(), tokens=tokens, tolerance=tolerance)
        assert taken(said, ends, portions=portions, segmenter=segmenter) == whole


def taken(
    said: Sequence[Spoken], ends: set[int], *, portions: set[int], segmenter: Sensory, anew: bool = False
) -> list[Ended]:
    """The topics of turns that come in portions; `anew`: with a new open topic behind every cut."""
    topic = OpenTopic(segmenter=segmenter, silence=HOUR)
    found: list[Ended] = []
    begin = open_from = stretch = 0
    for end in sorted(portions | ends):
        new = topic.take(said[begin:end], ended=end in ends)
        for one in new:
            open_from += one.turns
            stretch = open_from if one.by in lightmem_cli.segment.ALWAYS else stretch
        found += new
        begin = end
        if anew and new:
            dated = [one.message.said_at for one in said[stretch:open_from] if one.message.said_at]
            topic = OpenTopic(segmenter=segmenter, silence=HOUR, dated_before=dated[-1] if dated else None)
            assert topic.take(said[open_from:end]) == [], "what was taken in was not all decided at once"
    assert all(len(one.gaps) == one.turns for one in found)
    assert sum(one.turns for one in found) == len(said)
    return found


@given(talks(), buffers, tolerances)
def test_a_stretch_between_silences_is_cut_as_if_it_were_alone(
    said: list[Spoken], tokens: int, tolerance: int | None
) -> None:
    segmenter = cutting(MoodyReader(), tokens=tokens, tolerance=tolerance)
    gaps = cut_session(said, segmenter=segmenter, silence=HOUR, start=0, ended=True)
    assert [gap.after for gap in gaps] == list(range(len(said)))
    ends = [gap.after + 1 for gap in gaps if gap.by in lightmem_cli.segment.ALWAYS]
    for begin, end in zip([0, *ends], ends, strict=False):
        alone = segmenter.gaps(said[begin:end], start=0, ended=True)
        assert [gap._replace(after=gap.after + begin) for gap in alone] == gaps[begin : end - 1]


@pytest.mark.parametrize("tolerance", [None, 1])
def test_a_memory_that_grows_turn_by_turn_has_the_topics_of_the_whole(tolerance: int | None) -> None:
    texts = ["Biscuit the greyhound sleeps.", "Ok.", "The concert tickets cost 180 euros.", "", "Is it sunny in Oslo?"]
    rows = [line(id=f"m{n:02}", session="s", content=f"{texts[n * n % 5]} {n}".strip()) for n in range(40)]
    readers = [MoodyReader(), MoodyReader()]
    cuts = []
    for reader, portions in zip(readers, ([rows], [[row] for row in rows]), strict=True):
        segmenter = cutting(reader, tokens=30, tolerance=tolerance)
        with empty_home() as home, pytest.MonkeyPatch.context() as patch:
            patch.setattr(lightmem_cli.engine.sensory, "open_segmenter", lambda use, how, its=segmenter: its)
            with opened(home, segment={"use": "attention"}) as memory:
                for portion in portions:
                    take_into(memory, portion, HowToIngest(keep_open=True))
            take(home, rows)
            with opened(home) as memory:
                cuts.append([(one.last.id, one.cut_by) for one in memory.history.segments.all()])
    assert cuts[0] == cuts[1]
    assert len(cuts[0]) > 5
    assert readers[0].reads == readers[1].reads
