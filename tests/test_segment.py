"""Topics: the same ones however a conversation comes in, laid end to end, and never moved by what comes later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import dies_after, empty_home, kept, line, opened, take, take_into

import lightmem_cli.engine.sensory
import lightmem_cli.segment
from lightmem_cli.embed.hashing import HashingEmbedder
from lightmem_cli.engine import Memory
from lightmem_cli.engine.filters.segment import segment_only
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.pending import work_off
from lightmem_cli.engine.topics import ask_to_close_all
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Gap, Segmenter, Spoken
from lightmem_cli.records import Message, Role, Segment
from lightmem_cli.segment import OpenTopic, cut_session, unit_means
from lightmem_cli.segment.similarity import SimilaritySegmenter
from lightmem_cli.transcript import read_transcript

laws = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
HOUR = timedelta(hours=1)

SAID = (
    "I adopted a greyhound called Biscuit.",
    "Biscuit the greyhound loves long walks.",
    "My greyhound Biscuit sleeps all day.",
    "The concert tickets cost 180 euros.",
    "Radiohead played a concert in May.",
    "Which concert tickets did you buy?",
    "Ok.",
    "",
    "   ",
)


@dataclass(frozen=True)
class Neighbours:
    """A segmenter that can be computed by hand, and uses all that it may: a topic of two turns or more ends where the
    turns behind are unlike the turns before, whatever topic those are of."""

    lookback: int = 4
    lookahead: int = 2
    unlike: float = 0.3

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        found: list[Gap] = []
        for at in range(start, len(turns) - (1 if ended else self.lookahead)):
            before = turns[max(0, at + 1 - self.lookback) : at + 1]
            behind = turns[at + 1 : at + 1 + self.lookahead]
            cut = at > start and _likeness(before, behind) < self.unlike
            found.append(Gap(at, 0.5 if cut else 0.25, "similarity" if cut else None))
            start = at + 1 if cut else start
        return found


def _likeness(before: Sequence[Spoken], behind: Sequence[Spoken]) -> float:
    sums = [
        sum((turn.vector for turn in turns if turn.vector is not None), np.zeros(256)) for turns in (before, behind)
    ]
    lengths = [float(np.linalg.norm(one)) for one in sums]
    return float(sums[0] @ sums[1]) / (lengths[0] * lengths[1]) if all(lengths) else 1.0


SEGMENTERS = {"neighbours": Neighbours(), "similarity": SimilaritySegmenter()}


@contextmanager
def cutting_with(segmenter: Segmenter) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightmem_cli.engine.sensory, "open_segmenter", lambda use, how: segmenter)
        yield


def topics(home: Path) -> list[Segment]:
    """The topics of a memory that has nothing left to do."""
    with opened(home) as memory:
        assert memory.history.work.pending() == {}
        found = memory.history.segments.all()
        _laid_end_to_end(memory, found)
        return found


def _laid_end_to_end(memory: Memory, segments: Sequence[Segment]) -> None:
    """The topics of each session begin with its first message and leave no gap."""
    for place, its in groupby(segments, key=lambda one: (one.conversation, one.session)):
        ids = [one.message.id for one in memory.history.segments.said(*place, since=0)]
        at = 0
        for one in its:
            assert ids[at] == one.first.id
            at = ids.index(one.last.id) + 1
            assert at > ids.index(one.first.id)


@st.composite
def talks(draw: st.DrawFn, *, most: int = 24, sessions: int = 3) -> list[bytes]:
    """Rows of interleaved sessions, with and without times, long silences and times that go back among them."""
    rows: list[bytes] = []
    minutes = 0
    for number in range(draw(st.integers(0, most))):
        minutes += draw(st.sampled_from([0, 0, 1, 60, 61, 300, -400]))
        dated = draw(st.sampled_from([True, True, False]))
        moment = datetime(2023, 5, 3, tzinfo=UTC) + timedelta(minutes=minutes)
        rows.append(
            line(
                id=f"m{number}",
                conversation=draw(st.sampled_from([None, "trip"])) if sessions > 1 else None,
                session=f"s{draw(st.integers(1, sessions))}",
                content=draw(st.sampled_from(SAID)),
                timestamp=moment.isoformat() if dated else None,
            )
        )
    return rows


# The same topics, however a conversation comes in -------------------------------------------------------------------


@pytest.mark.parametrize("name", SEGMENTERS)
@laws
@given(data=st.data())
def test_any_portions_kept_open_and_then_the_whole_are_the_whole_at_once(name: str, data: st.DataObject) -> None:
    """Portions come in worked off or only journalled, and the last ones may come again."""
    rows = data.draw(talks())
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)))))
    with cutting_with(SEGMENTERS[name]), empty_home() as once, empty_home() as grown:
        take(once, rows)
        for begin, end in zip([0, *cuts], cuts, strict=False):
            again = data.draw(st.integers(0, begin), label="from")
            take(grown, rows[again:end], HowToIngest(keep_open=True, journal_only=data.draw(st.booleans())))
        take(grown, rows)
        assert topics(grown) == topics(once)
        assert kept(grown) == kept(once)


@pytest.mark.parametrize("name", SEGMENTERS)
@laws
@given(rows=talks(most=12))
def test_turn_by_turn_and_then_closed_is_the_whole_at_once(name: str, rows: list[bytes]) -> None:
    with cutting_with(SEGMENTERS[name]), empty_home() as once, empty_home() as grown:
        take(once, rows)
        for row in rows:
            take(grown, [row], HowToIngest(keep_open=True))
        before = topics(grown)
        with opened(grown) as memory, memory.run("segment") as run:
            ask_to_close_all(memory.history)
            for _ in work_off(memory, run=run):
                pass
        assert topics(grown) == topics(once)
        assert set(before) <= set(topics(once)), "a cut moved"


@pytest.mark.parametrize("name", SEGMENTERS)
@laws
@given(data=st.data())
def test_what_is_put_off_is_cut_where_it_would_have_been_at_once(name: str, data: st.DataObject) -> None:
    """Each portion without --keep-open ends its topics, at the same messages whether that is done at once or later."""
    rows = data.draw(talks())
    ends = [*sorted(data.draw(st.sets(st.integers(0, len(rows)), max_size=3))), len(rows)]
    with cutting_with(SEGMENTERS[name]), empty_home() as at_once, empty_home() as later:
        for begin, end in zip([0, *ends], ends, strict=False):
            take(at_once, rows[begin:end])
            take(later, rows[begin:end], HowToIngest(journal_only=True))
        with opened(later) as memory, memory.run("extract") as run:
            made = [topic for done in work_off(memory, run=run) for topic in done.topics]
        assert topics(later) == topics(at_once)
        assert sorted(topic.segment.id for topic in made) == sorted(one.id for one in topics(later))
        assert sum(topic.messages for topic in made) == len(rows), "a closed session has messages in no topic"


def test_a_silence_is_measured_from_before_the_open_topic_where_nothing_since_is_dated() -> None:
    """Ten turns without a time, of several topics, then one a day after the first: it is the silence that ends them."""
    times = ["2023-05-03T10:00:00", *[None] * 10, "2023-05-04T10:00:00", None]
    rows = [
        line(id=f"m{n:02}", session="s", content=SAID[n // 3 % 2 * 3], timestamp=time) for n, time in enumerate(times)
    ]
    with cutting_with(Neighbours()), empty_home() as once, empty_home() as grown:
        take(once, rows)
        assert [one.cut_by for one in topics(once)] == ["similarity"] * 3 + ["silence", "session"]
        assert topics(once)[-2].last.id == "m10"
        for row in rows:
            take(grown, [row], HowToIngest(keep_open=True))
        take(grown, rows)
        assert topics(grown) == topics(once)
        ended = [id for id, number, by in _filtered(*[[row] for row in rows]) if by == "silence"]
        assert ended and ended[-1] == "m10"


def test_a_segmenter_reads_the_same_vectors_in_the_filter_and_in_the_memory() -> None:
    seen: dict[str, list[Any]] = {}

    class Watched(Neighbours):
        def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
            for turn in turns:
                seen.setdefault(turn.message.id, []).append(turn.vector)
            return []

    said = [*SAID, "We met at noon. Biscuit came along. It was sunny, and I had forgotten my hat."]
    rows = [line(id=f"m{n}", session="s", speaker="Anna", content=text) for n, text in enumerate(said)]
    with cutting_with(Watched()), empty_home() as home:
        take(home, rows)
        _filtered(rows)
    assert len(seen) == len(rows)
    for vectors in seen.values():
        assert len(vectors) > 1
        assert len({None if vector is None else vector.tobytes() for vector in vectors}) == 1
    assert [id for id, vectors in seen.items() if vectors[0] is None] == ["m7", "m8"]


@pytest.mark.parametrize("name", SEGMENTERS)
@laws
@given(rows=talks(sessions=1))
def test_the_filter_cuts_as_the_memory_does(name: str, rows: list[bytes]) -> None:
    with cutting_with(SEGMENTERS[name]), empty_home() as home:
        take(home, rows)
        wanted = {one.last.id: one.cut_by for one in topics(home)}
        found = _filtered(rows)
        for portions in ([rows], [[row] for row in rows]):
            assert _filtered(*portions) == found
        lasts = dict({number: (id, by) for id, number, by in found}.values())
        assert lasts == wanted
        assert [id for id, _, _ in found] == [json.loads(row)["id"] for row in rows]


def _filtered(*portions: Sequence[bytes]) -> list[tuple[str, int, str]]:
    batches = [item for rows in portions for item in _read(rows)]
    chosen = Settings.model_validate({"embed": {"use": "hashing"}})
    read = segment_only([batches], chosen, notice=lambda line: None)
    return [(str(one.row.id), one.segment, one.cut_by) for one in read]


def _read(rows: Sequence[bytes]) -> list[Any]:
    import io

    return list(read_transcript(io.BytesIO(b"".join(rows)), name="test", zone=UTC))


@pytest.mark.parametrize("long", [256, 4], ids=["", "long"])
@pytest.mark.parametrize("segmenter", [Neighbours(unlike=0.6), SEGMENTERS["similarity"]], ids=SEGMENTERS)
def test_one_turn_of_a_real_talk_at_a_time(
    lightmem_data: Path, segmenter: Segmenter, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightmem_cli.segment, "_LONG", long)
    source = lightmem_data / "locomo" / "conv-30.messages.jsonl"
    rows = source.read_bytes().splitlines(keepends=True)[:75]
    with cutting_with(segmenter), empty_home() as once, empty_home() as grown:
        take(once, rows)
        with opened(grown) as memory:
            for row in rows:
                take_into(memory, [row], HowToIngest(keep_open=True))
        take(grown, rows)
        found = topics(grown)
        assert found == topics(once)
        assert {one.session for one in found} >= {"session_1", "session_2", "session_3"}
        if isinstance(segmenter, Neighbours):  # the other one knows real vectors, not these
            assert len(found) > len({one.session for one in found}) + 3, "nothing within a session was cut"


def test_a_run_that_dies_at_any_step_leaves_the_topics_to_the_next() -> None:
    rows = [line(id=f"m{n}", session=f"s{n % 9 // 6}", content=SAID[n // 3 % 7]) for n in range(24)]
    with cutting_with(Neighbours()):
        with empty_home() as home:
            steps = _die_at(home, rows, step=1000)
            whole = topics(home)
        assert len(whole) > 3
        assert steps > 6
        for step in range(steps):
            with empty_home() as home:
                _die_at(home, rows, step=step)
                take(home, rows)
                assert topics(home) == whole, f"died at step {step} of {steps}"


def _die_at(home: Path, rows: Sequence[bytes], *, step: int) -> int:
    return dies_after(step, lambda: take(home, rows))


# What ends a topic --------------------------------------------------------------------------------------------------


def _turns(*minutes: float | None) -> list[Spoken]:
    """Turns said so many minutes after noon; None: nobody knows when."""
    noon = datetime(2023, 5, 3, 12, tzinfo=UTC)
    return [
        Spoken(
            Message(
                conversation="", session="s", id=str(n), position=n, role=Role.USER, content="x",
                said_at=None if minute is None else noon + timedelta(minutes=minute),
            ),
            None,
        )
        for n, minute in enumerate(minutes)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("minutes", "places"),
    [
        ((0, 60, 120), []),  # as long as allowed is no silence
        ((0, 60.01, 61), [0]),
        ((0, None, 90, None), [1]),  # the undated turn belongs to what was said before it
        ((None, None, 500), []),
        ((500, 0, 61), [1]),  # time that goes back is no silence, and what follows is measured from there
        ((0, 0, 0), []),
    ],
)
def test_a_long_silence_ends_a_topic(minutes: tuple[float | None, ...], places: list[int]) -> None:
    gaps = cut_session(_turns(*minutes), segmenter=Neighbours(), silence=HOUR, start=0, ended=False)
    assert [gap for gap in gaps if gap.by] == [Gap(place, 1.0, "silence") for place in places]


def test_the_end_of_a_session_ends_its_last_topic_only_where_it_has_ended() -> None:
    turns = _turns(0, 300, 301)
    for ended, last in ((False, []), (True, [Gap(2, 1.0, "session")])):
        gaps = cut_session(turns, segmenter=Neighbours(), silence=HOUR, start=1, ended=ended)
        assert [gap for gap in gaps if gap.by] == last, "what ended before `start` is told again"
    assert cut_session([], segmenter=Neighbours(), silence=HOUR, start=0, ended=True) == []


def test_a_segmenter_sees_one_stretch_at_a_time() -> None:
    seen: list[tuple[list[str], int, bool]] = []

    class Watched(Neighbours):
        def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
            seen.append(([turn.message.id for turn in turns], start, ended))
            return []

    cut_session(_turns(0, 1, 2, 300, 301, 900), segmenter=Watched(), silence=HOUR, start=1, ended=False)
    assert seen == [(["0", "1", "2"], 1, True), (["3", "4"], 0, True), (["5"], 0, False)]


@given(st.lists(st.tuples(st.sampled_from([None, 0, 1, 61, 400, -300]), st.sampled_from(["a", "b", None]))), st.data())
def test_no_cut_depends_on_the_portions_in_which_turns_come(
    said: list[tuple[int | None, str | None]], data: st.DataObject
) -> None:
    minutes: list[float | None] = []
    at = 0
    for step, _ in said:
        at += step or 0
        minutes.append(None if step is None else at)
    vectors = {"a": np.eye(2, 256, dtype=np.float32)[0], "b": np.eye(2, 256, dtype=np.float32)[1]}
    turns = [
        Spoken(turn.message, vectors.get(word or "")) for turn, (_, word) in zip(_turns(*minutes), said, strict=True)
    ]
    ends = data.draw(st.sets(st.integers(1, max(len(turns), 1)), max_size=2))  # behind which the session ends
    ends |= {len(turns)}
    whole = _taken(turns, ends, portions=set())
    assert _taken(turns, ends, portions=set(range(len(turns)))) == whole
    portions = data.draw(st.sets(st.integers(0, len(turns))))
    assert _taken(turns, ends, portions=portions) == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightmem_cli.segment, "_LONG", 2)  # a long topic is not looked at anew for each portion
        assert _taken(turns, ends, portions=portions) == whole


def test_an_endless_topic_is_not_looked_at_anew_for_each_turn() -> None:
    looked_at: list[int] = []

    class Watched(Neighbours):
        def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
            looked_at.append(len(turns) - start)
            return []

    topic = OpenTopic(segmenter=Watched(), silence=HOUR)
    for turn in _turns(*[0] * 3000):
        assert topic.take([turn]) == []
    assert looked_at[:256] == list(range(1, 257)), "a topic of usual length is"
    assert sum(looked_at[256:]) < 6 * 3000
    [ended] = topic.take([], ended=True)
    assert (ended.turns, ended.by) == (3000, "session")
    looked_at.clear()
    rows = [line(id=f"m{n}", session="s", content="And on it goes.") for n in range(120)]
    with pytest.MonkeyPatch.context() as patch, cutting_with(Watched()), empty_home() as home:
        patch.setattr(lightmem_cli.segment, "_LONG", 16)
        with opened(home) as memory:
            for row in rows:
                take_into(memory, [row], HowToIngest(keep_open=True))
            assert 16 < len(looked_at) < 30
            take_into(memory, rows[-1:])
        assert [one.cut_by for one in topics(home)] == ["session"]


def _taken(turns: list[Spoken], ends: set[int], *, portions: set[int]) -> list[tuple[int, str]]:
    topic = OpenTopic(segmenter=Neighbours(), silence=HOUR)
    found: list[tuple[int, str]] = []
    begin = at = 0
    for end in sorted({*portions, *ends, len(turns)} & set(range(len(turns) + 1))):
        for size, by, gaps in topic.take(turns[begin:end], ended=end in ends):
            assert len(gaps) == size
            at += size
            found.append((at, by))
        begin = end
    return found


def test_the_mean_of_one_owner_does_not_depend_on_the_others() -> None:
    rows = np.random.default_rng(1).normal(size=(9, 32)).astype(np.float32)
    owners = np.array([3, 3, 5, 7, 7, 7, 7, 8, 8])
    rows[8] = -rows[7]
    means = unit_means(owners, rows)
    assert list(means) == [3, 5, 7], "a mean of length 0 points nowhere"
    for owner, mean in means.items():
        alone = owners == owner
        assert mean.dtype == np.float32
        assert (unit_means(owners[alone], rows[alone])[owner] == mean).all()
        assert mean == pytest.approx(rows[alone].mean(axis=0) / np.linalg.norm(rows[alone].mean(axis=0)), abs=1e-6)
    assert unit_means(owners[:0], rows[:0]) == {}


# Work that waits, fails or is done by two ---------------------------------------------------------------------------


TWO = [line(id=f"{session}{n}", session=session, content=SAID[n]) for session in "ab" for n in range(6)]


def test_turns_that_another_process_embeds_are_waited_for_and_hold_up_no_other_session() -> None:
    with cutting_with(Neighbours()), empty_home() as home, empty_home() as whole:
        take(whole, TWO)
        take(home, TWO, HowToIngest(journal_only=True))
        with opened(home) as memory, opened(home) as other:
            held = _hold(memory, other, session="b")
            with memory.run("extract") as run:
                list(work_off(memory, run=run))
            assert {one.session for one in memory.history.segments.all()} == {"a"}
            assert memory.history.work.pending() == {"embed": 1, "segment": 6, "close": 1}
            with other.history.transaction():
                other.history.work.add("embed", held)  # given back
            with memory.run("extract") as run:
                list(work_off(memory, run=run))
        assert topics(home) == topics(whole)


def _hold(memory: Memory, other: Memory, *, session: str) -> list[int]:
    """Let `other` claim the embedding of a session's first turn."""
    with other.history.transaction():
        claimed = other.history.work.claim("embed", limit=100)
        [first, *_] = [one.turn for one in memory.history.segments.said("", session, since=0)]
        other.history.work.add("embed", [item for item in claimed if item != first])
    assert first is not None
    return [first]


def test_who_waited_for_vectors_looks_again_after_giving_its_work_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that had its vectors ready meanwhile found the work held, and left it."""
    from lightmem_cli.engine import topics as at_work

    with cutting_with(Neighbours()), empty_home() as home, empty_home() as whole:
        take(whole, TWO)
        take(home, TWO, HowToIngest(journal_only=True))
        with opened(home) as memory, opened(home) as other:
            held = _hold(memory, other, session="b")
            waits = at_work._waits
            asked: list[bool] = []

            def embedded_meanwhile(memory: Memory, place: tuple[str, str]) -> bool:
                asked.append(waits(memory, place))
                if asked[-1] and len(asked) == 2:  # both sessions were looked at: now the vectors come
                    memory.history.work.done("embed", held)
                return asked[-1]

            monkeypatch.setattr(at_work, "_waits", embedded_meanwhile)
            with memory.run("extract") as run:
                list(work_off(memory, run=run))
            assert {one.session for one in memory.history.segments.all()} == {"a", "b"}


def test_a_turn_that_cannot_be_embedded_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = HashingEmbedder.windows

    def fragile(self: HashingEmbedder, text: str) -> list[str]:
        if "concert" in text:
            raise ValueError("odd")
        return windows(self, text)

    with cutting_with(Neighbours()), empty_home() as home:
        monkeypatch.setattr(HashingEmbedder, "windows", fragile)
        take(home, TWO)
        found = topics(home)
        assert {one.session for one in found} == {"a", "b"}
        monkeypatch.undo()
        take(home, TWO)
        assert topics(home) == found


def test_two_writers_never_cut_one_session_twice() -> None:
    """Another process takes in the rest and cuts while this one decides: its cuts stand, and nothing overlaps."""
    rows = [line(id=f"m{n}", session="s", content=SAID[n // 3 % 6]) for n in range(30)]
    disturbed: list[bool] = []
    with empty_home() as home, empty_home() as whole:

        class Disturbed(Neighbours):
            def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
                if not disturbed:
                    disturbed.append(True)
                    take(home, rows)
                return super().gaps(turns, start=start, ended=ended)

        with cutting_with(Disturbed()):
            take(home, rows[:20], HowToIngest(keep_open=True))
        with cutting_with(Neighbours()):
            take(whole, rows)
            assert topics(home) == topics(whole)
            assert len(topics(home)) > 3


def test_a_session_that_cannot_be_cut_is_set_aside_and_the_others_are_cut() -> None:
    class Fragile(Neighbours):
        def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
            if turns[0].message.session == "a":
                raise ValueError("odd")
            return super().gaps(turns, start=start, ended=ended)

    with empty_home() as home, empty_home() as whole:
        with cutting_with(Fragile()):
            take(home, TWO)
            assert {one.session for one in topics(home)} == {"b"}
            with opened(home) as memory:
                aside = memory.history.work.quarantined()
            assert {(job.stage, job.reason) for job in aside} == {
                ("segment", "ValueError: odd"), ("close", "ValueError: odd"),
            }  # fmt: skip
        with cutting_with(Neighbours()):
            take(home, TWO)
            take(whole, TWO)
            assert topics(home) == topics(whole)


def test_without_a_segmenter_nothing_is_cut_until_there_is_one() -> None:
    with empty_home() as home, empty_home() as whole:
        with opened(home, segment={"use": "none"}) as memory:
            take_into(memory, TWO)
        assert topics(home) == []
        with cutting_with(Neighbours()):
            with opened(home) as memory, memory.run("segment") as run:
                ask_to_close_all(memory.history)
                list(work_off(memory, run=run))
            take(whole, TWO)
            assert topics(home) == topics(whole) != []


def test_a_line_that_cannot_be_read_leaves_the_topic_open_until_it_is_mended() -> None:
    from lightmem_cli.errors import InputError

    with cutting_with(Neighbours()), empty_home() as home, empty_home() as whole:
        with pytest.raises(InputError):
            take(home, [*TWO[:5], b"{\n", *TWO[5:]])
        take(home, TWO)
        take(whole, TWO)
        assert topics(home) == topics(whole)


def test_where_a_message_is_and_where_no_topic_is_yet() -> None:
    with cutting_with(Neighbours()), empty_home() as home:
        take(home, TWO[:6], HowToIngest(keep_open=True))
        with opened(home) as memory:
            segments = memory.history.segments
            said = segments.said("", "a", since=0)
            ended = segments.of_session("", "a")
            assert ended and ended == segments.all()
            assert segments.of_session("", "b") == []
            of = [segments.of_message(one.message.key) for one in said]
            assert of[0] == ended[0] and of[-1] is None
            assert segments.open_from("", "a") == of.index(None)
            assert segments.last_of_open() == [said[-1].id]


def test_one_more_message_costs_no_more_in_a_large_memory() -> None:
    """Counted in SQLite's own steps, for the whole of the segment step."""
    counts = []
    with cutting_with(Neighbours()):
        for sessions in (5, 200):
            rows = [line(id=f"m{n}", session=f"s{n % sessions}", content=SAID[n % 6]) for n in range(sessions * 6)]
            more = line(id="more", session="s3", content="And what about the concert?")
            with empty_home() as home:
                take(home, rows)
                take(home, [more], HowToIngest(keep_open=True, journal_only=True))
                with opened(home) as memory, memory.run("extract") as run:
                    steps = 0

                    def step() -> int:
                        nonlocal steps
                        steps += 1
                        return 0

                    pending = work_off(memory, run=run)
                    for done in pending:
                        if done.embedded:
                            break
                    memory.history.connection.set_progress_handler(step, 1)
                    list(pending)
                    memory.history.connection.set_progress_handler(None, 1)
                    counts.append(steps)
    assert counts[0] > 100
    assert counts[1] < counts[0] * 1.5, counts
