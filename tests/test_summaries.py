"""Each stretch of a conversation has one summary, which follows its facts and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from changes import merge
from hypothesis import given
from hypothesis import strategies as st
from memories import empty_home, kept, line, opened, take, take_into
from process import lightmem, lines_of
from test_laws import laws, transcripts

from lightmem_cli.engine import Memory
from lightmem_cli.engine.consolidate import consolidate
from lightmem_cli.engine.forget import Target, forget, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.pin import pin
from lightmem_cli.engine.purge import purge, to_purge
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.summaries import Summarized, summarize
from lightmem_cli.engine.summaries.drafts import Drafts
from lightmem_cli.engine.undo import plan, undo
from lightmem_cli.records import Entry, Filter, Kind, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.store.history.connection import transaction
from lightmem_cli.store.history.windows import Windows
from lightmem_cli.summarize import Per

SAID = (
    "I adopted a greyhound called Biscuit yesterday!",
    "My sister Clara is expecting a baby in August.",
    "I work at the botanical garden near the river.",
    "I painted the kitchen of the old house green.",
    "We bought two tickets for the concert in Lisbon.",
    "My brother plays the trumpet in a brass band.",
)


def said(number: int, *, day: int, **fields: object) -> bytes:
    text = f"{SAID[number % len(SAID)]} The heron number {number} stood in the reeds."
    row = {"content": text, "id": f"m{number}", "session": f"s{day}", "speaker": ("Anna", "Boris")[number % 2]}
    return line(**{**row, "timestamp": f"2023-01-{day:02}T10:{number % 60:02}:00", **fields})


def chat(*days: int, each: int = 4) -> list[bytes]:
    return [said(number, day=day) for day in days for number in range(day * 10, day * 10 + each)]


def of_kind(memory: Memory, kind: Kind) -> dict[int, Entry]:
    return memory.history.entries.get(memory.history.entries.of_kind(kind))


def summaries(memory: Memory, *states: State) -> dict[int, Entry]:
    wanted = states or (State.ACTIVE,)
    return {id: entry for id, entry in of_kind(memory, Kind.SUMMARY).items() if entry.state in wanted}


def days_of(memory: Memory) -> list[str]:
    """The first days of the active summaries."""
    return sorted(str(one.happened.start.date()) if one.happened else "" for one in summaries(memory).values())


def quotes(memory: Memory, id: int) -> set[int]:
    links = memory.history.entries.links_of(id)
    return {target for source, target, kind in links if source == id and kind is LinkKind.SUMMARIZES}


def what_is_told(memory: Memory) -> set[tuple[object, ...]]:
    """The active summaries as far as they may depend on anything: not on when and in how many runs they were made."""
    told: set[tuple[object, ...]] = set()
    for id, entry in summaries(memory).items():
        facts = frozenset(fact.id for fact in memory.history.entries.get(quotes(memory, id)).values())
        content = replace(entry, recorded_at=None, version=1, sources=())
        told.add((content, frozenset(entry.sources), facts))
    return told


def runs_of(memory: Memory) -> list[str]:
    return [command for (command,) in memory.history.connection.execute("SELECT command FROM runs ORDER BY id")]


@contextmanager
def ingested(rows: Sequence[bytes], **overrides: Any) -> Iterator[Memory]:
    """A memory of `rows`, without summaries yet."""
    with empty_home() as home, opened(home, **overrides) as memory:
        take_into(memory, rows)
        yield memory


# What a summary is -------------------------------------------------------------------------------------------------


def test_each_day_gets_a_summary_that_rests_on_what_it_quotes() -> None:
    with ingested(chat(2, 3)) as memory:
        done = summarize(memory)
        assert (done.written, done.unchanged, done.set_aside, done.left_out) == (2, 0, 0, 0)
        assert days_of(memory) == ["2023-01-02", "2023-01-03"]
        for id, summary in summaries(memory).items():
            facts = memory.history.entries.get(quotes(memory, id)).values()
            assert 2 <= len(facts) <= 6
            assert set(summary.sources) == {key for fact in facts for key in fact.sources}
            assert {fact.said_at.date() for fact in facts if fact.said_at} == {summary.happened.start.date()}  # type: ignore[union-attr]
            assert summary.said_at == max(fact.said_at for fact in facts if fact.said_at)
            assert (summary.conversation, summary.session, summary.speaker) == ("", "", None)
            assert summary.text.startswith(f"{summary.happened.start.day} January 2023: ")  # type: ignore[union-attr]
            assert 0 < summary.importance <= 1
        assert memory.history.work.pending().get("embed", 0) == 0
        assert memory.indexes.words.position == memory.history.runs.position()


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("session", ["2023-01-02", "2023-01-05", "2023-01-09"]),
        ("day", ["2023-01-02", "2023-01-05", "2023-01-09"]),
        ("week", ["2023-01-02", "2023-01-09"]),
        ("month", ["2023-01-01"]),
    ],
)
def test_windows(window: Per, expected: list[str]) -> None:
    with ingested(chat(2, 5, 9), summarize={"window": window}) as memory:
        summarize(memory)
        assert days_of(memory) == expected
        sessions = {summary.session for summary in summaries(memory).values()}
        assert sessions == ({"s2", "s5", "s9"} if window == "session" else {""})


def test_summaries_of_other_windows_stay_beside() -> None:
    with empty_home() as home:
        take(home, chat(2, 3))
        windows: list[Per] = ["day", "session", "week", "month", "day"]
        counts = []
        for window in windows:
            with opened(home, summarize={"window": window}) as memory:
                summarize(memory)
                counts.append(len(summaries(memory)))
                assert not summaries(memory, State.SUPERSEDED)
        assert counts == [2, 4, 5, 6, 6]


def test_days_are_those_of_the_profiles_zone() -> None:
    rows = [said(number, day=2, timestamp=f"2023-01-02T{hour}:00:00Z") for number, hour in enumerate((20, 21, 22, 23))]
    with ingested(rows, transcript={"timezone": "Europe/Helsinki"}) as memory:
        summarize(memory)
        assert days_of(memory) == ["2023-01-02", "2023-01-03"]


def test_in_another_zone_all_days_are_summarized_anew() -> None:
    with empty_home() as home:
        take(home, chat(2, 3))
        for zone, count in (("UTC", 2), ("Asia/Tokyo", 2), ("Asia/Tokyo", 0)):
            with opened(home, transcript={"timezone": zone}) as memory:
                assert summarize(memory).written == count
                assert len(summaries(memory)) == 2
                offsets = {one.happened.start.utcoffset() for one in summaries(memory).values() if one.happened}
                assert len(offsets) == 1


def test_a_fact_by_itself_is_its_own_summary() -> None:
    alone = line(content="I adopted a greyhound called Biscuit.", speaker="Anna", timestamp="2023-01-02T10:00:00")
    with ingested([alone]) as memory:
        assert summarize(memory) == Summarized(too_few=1)
        assert runs_of(memory) == ["ingest"]
    same = [said(number, day=2, content="I adopted a greyhound.", speaker="Anna") for number in (1, 2, 3)]
    with ingested(same) as memory:
        assert summarize(memory) == Summarized(too_few=1)


def test_what_has_no_time_is_summarized_by_session() -> None:
    rows = [said(number, day=2, timestamp=None, session="undated") for number in range(4)]
    with ingested([*rows, *chat(3)]) as memory:
        assert summarize(memory).written == 2
        (undated,) = [one for one in summaries(memory).values() if one.happened is None]
        assert (undated.session, undated.said_at) == ("undated", None)
        assert undated.text.startswith("Anna")


def test_conversations_are_summarized_apart() -> None:
    rows = [*chat(2), *[said(number, day=2, conversation="trip") for number in range(40, 44)]]
    with ingested(rows) as memory:
        assert summarize(memory, conversation="trip").written == 1
        (trip,) = summaries(memory).values()
        assert {key.conversation for key in trip.sources} == {"trip"} == {trip.conversation}
        assert summarize(memory).written == 1
        assert len(summaries(memory)) == 2


def test_a_fact_without_a_vector_is_summarized_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with ingested(chat(2)) as memory:
        some = list(of_kind(memory, Kind.FACT))[::2]
        with memory.history.transaction():
            for id in some:
                memory.history.vectors.forget_views(id)
        assert summarize(memory).written == 1


# When it is made anew ----------------------------------------------------------------------------------------------


def test_the_second_run_does_nothing() -> None:
    with ingested(chat(2, 3)) as memory:
        summarize(memory)
        runs, position = runs_of(memory), memory.history.runs.position()
        assert summarize(memory) == Summarized()
        assert summarize(memory, anew=True) == Summarized(unchanged=2)
        assert (runs_of(memory), memory.history.runs.position()) == (runs, position)


def test_pending_work_is_done_first() -> None:
    with empty_home() as home, opened(home) as memory:
        take_into(memory, chat(2), HowToIngest(journal_only=True))
        assert summarize(memory).written == 1
        assert runs_of(memory) == ["ingest", "extract", "summarize"]


def test_only_the_days_whose_facts_changed_are_looked_at() -> None:
    with ingested(chat(2, 3, 4)) as memory:
        summarize(memory)
        (old,) = [id for id, one in summaries(memory).items() if one.text.startswith("3 January")]
        take_into(memory, [said(38, day=3, content="I broke my arm at the skating rink on Monday.")])
        done = summarize(memory)
        assert (done.written, done.unchanged) == (1, 0)
        assert "skating rink" in "".join(one.text for one in summaries(memory).values())
        superseded = summaries(memory, State.SUPERSEDED)
        assert list(superseded) == [old]
        (new,) = [
            source for source, target, kind in memory.history.entries.links_of(old) if kind is LinkKind.SUPERSEDES
        ]
        assert new in summaries(memory)
        assert memory.history.revisions.of_entry(old)[-1].reason == "its facts have changed"


@pytest.mark.parametrize(
    ("window", "index"),
    [
        ("day", "entries_by_day (conversation=? AND said_epoch>? AND said_epoch<?)"),
        ("session", "entries_by_place (conversation=? AND session=?)"),
    ],
)
def test_a_window_is_read_without_what_is_beside_it(window: Per, index: str) -> None:
    """Neither the same day of other conversations is read nor, for each fact, all messages of its session."""
    with ingested(chat(2), summarize={"window": window}) as memory:
        asked: list[str] = []
        memory.history.connection.set_trace_callback(asked.append)
        summarize(memory)
        memory.history.connection.set_trace_callback(None)
        facts = [query for query in asked if "'fact'" in query and "min(m.position)" in query]
        assert facts
        for query in facts:
            plan = memory.history.connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
            read = [step[-1] for step in plan if step[-1].startswith(("SEARCH", "SCAN"))]
            assert read == [
                f"SEARCH e USING INDEX {index}",
                "SEARCH s USING PRIMARY KEY (entry=?)",
                "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
            ]


def test_as_of_an_earlier_time_the_earlier_summary_is_known() -> None:
    first, then = chat(2), [said(38, day=2, content="I broke my arm at the rink.", timestamp="2023-01-02T20:00:00")]
    where = Filter(kinds=(Kind.SUMMARY,), as_of=datetime(2023, 1, 2, 12, tzinfo=UTC))
    with ingested(first) as memory:
        summarize(memory)
        (old,) = summaries(memory).values()
        take_into(memory, then)
        summarize(memory)
        (new,) = summaries(memory).values()
        found = Recall(memory).retrieve(Query(text="What happened in January?", where=where))
        assert [hit.entry.id for hit in found] == [old.id]
        found = Recall(memory).retrieve(Query(text="What happened?", where=replace(where, as_of=None)))
        assert [hit.entry.id for hit in found] == [new.id]


def test_other_settings_make_all_summaries_anew() -> None:
    with empty_home() as home:
        take(home, chat(2, 3, each=8))
        for sentences, count in ((6, 2), (1, 2), (1, 0), (6, 2)):
            with opened(home, summarize={"sentences": sentences}) as memory:
                assert summarize(memory).written == count
                assert [len(quotes(memory, id)) for id in summaries(memory)] == [sentences, sentences]
                made_again = what_is_told(memory)
        with opened(home) as memory:
            assert what_is_told(memory) == made_again
            assert len(summaries(memory, *State)) == 4


def test_a_summary_that_stands_again_is_superseded_by_nobody() -> None:
    with empty_home() as home:
        take(home, chat(2, each=8))
        for sentences in (3, 4, 5, 3):
            with opened(home, summarize={"sentences": sentences}) as memory:
                summarize(memory)
        with opened(home) as memory:
            (id,) = summaries(memory)
            stands = list(memory.history.state.rows())
            undo(memory, plan(memory))
            assert [len(quotes(memory, one)) for one in summaries(memory)] == [5]
            undo(memory, plan(memory, run=len(runs_of(memory))))
            assert list(memory.history.state.rows()) == stands
            links = memory.history.entries.links_of(id)
            assert not [link for link in links if link[1] == id]
            where = Filter(kinds=(Kind.SUMMARY,), as_of=datetime(2023, 2, 1, tzinfo=UTC))
            assert len(Recall(memory).retrieve(Query(text="heron", where=where))) == 1


# What is forgotten, merged, pinned or undone -----------------------------------------------------------------------


def test_a_forgotten_message_is_in_no_summary() -> None:
    with ingested([*chat(2), said(9, day=2, content="I broke my arm at the rink yesterday.")]) as memory:
        summarize(memory)
        forget(memory, resolve(memory, Target(ids=("m9",))))
        assert not summaries(memory)
        assert summarize(memory).written == 1
        assert not any("rink" in one.text for one in summaries(memory, State.ACTIVE, State.SUPERSEDED).values())


def test_a_summary_whose_facts_are_gone_is_set_aside() -> None:
    with ingested(chat(2, each=2)) as memory:
        summarize(memory)
        (id,) = summaries(memory)
        with memory.run("test") as run, memory.history.transaction():
            for fact, entry in of_kind(memory, Kind.FACT).items():
                revise(memory.history, fact, replace(entry, state=State.DELETED), run=run, reason="test")
        done = summarize(memory)
        assert (done.written, done.set_aside) == (0, 1)
        assert summaries(memory, *State)[id].state is State.UNSUPPORTED
        assert summarize(memory) == Summarized()


def test_a_forgotten_summary_is_not_made_again() -> None:
    with ingested(chat(2)) as memory:
        summarize(memory)
        (summary,) = summaries(memory).values()
        forget(memory, resolve(memory, Target(ids=(summary.id,))))
        assert summarize(memory) == Summarized()
        assert summarize(memory, anew=True) == Summarized(left_out=1)
        take_into(memory, [said(38, day=2, content="I broke my arm at the rink yesterday.")])
        assert summarize(memory).written == 1


def test_a_purged_day_is_summarized_anew() -> None:
    with ingested(chat(2, 3, each=6)) as memory:
        summarize(memory)
        purge(memory, to_purge(memory, resolve(memory, Target(ids=("m21", "m22")))))
        assert days_of(memory) == ["2023-01-03"]
        assert summarize(memory).written == 1
        assert days_of(memory) == ["2023-01-02", "2023-01-03"]
        assert not any("number 21" in one.text or "number 22" in one.text for one in summaries(memory, *State).values())


def test_merged_facts_are_told_once_and_undo_gives_the_old_summary_back() -> None:
    twice = [said(number, day=2, content="I adopted a greyhound called Biscuit.", speaker="Anna") for number in (1, 2)]
    with ingested([*twice, *chat(2, each=2)]) as memory:
        summarize(memory)
        before = what_is_told(memory)
        merged = consolidate(memory)
        assert merged.merged
        assert summarize(memory).written == 1
        assert what_is_told(memory) != before
        (text,) = [one.text for one in summaries(memory).values()]
        assert text.count("adopted a greyhound called Biscuit.") == 1
        undo(memory, plan(memory))  # of the summary
        undo(memory, plan(memory, run=merged.run))
        summarize(memory)
        assert what_is_told(memory) == before


def test_undone_summaries_stay_undone() -> None:
    with ingested(chat(2)) as memory:
        before = list(memory.history.state.rows())
        summarize(memory)
        undo(memory, plan(memory))
        assert not summaries(memory)
        assert summarize(memory) == Summarized()
        undone = [row for row in memory.history.state.rows() if row.get("kind") != "summary"]
        assert undone == before


def test_an_undone_summary_of_merged_facts_leaves_its_day_the_one_before() -> None:
    with ingested(chat(2)) as memory:
        summarize(memory)
        ((summary, _),) = summaries(memory).items()
        before = what_is_told(memory)
        merge(memory, *sorted(quotes(memory, summary))[:2])
        assert summarize(memory).written == 1
        undo(memory, plan(memory))
        assert what_is_told(memory) == before
        assert summarize(memory, anew=True) == Summarized(left_out=1)
        assert what_is_told(memory) == before, "its facts are merged, and still said"


def test_a_pinned_summary_stays() -> None:
    with ingested(chat(2)) as memory:
        summarize(memory)
        (old,) = summaries(memory).values()
        pin(memory, [old.id], pinned=True)
        take_into(memory, [said(38, day=2, content="I broke my arm at the rink yesterday.")])
        assert summarize(memory).written == 1
        assert old.id in {one.id for one in summaries(memory).values()}
        assert len(summaries(memory)) == 2
        assert summarize(memory, anew=True) == Summarized(unchanged=1)


def test_a_replaced_message_changes_its_day() -> None:
    rows = chat(2)
    with ingested(rows) as memory:
        summarize(memory)
        before = what_is_told(memory)
        (old,) = summaries(memory)
        other = said(20, day=2, content="I sold the piano to a school in Porto yesterday.")
        take_into(memory, [other], HowToIngest(on_conflict="replace"))
        summarize(memory)
        assert any("piano" in one.text for one in summaries(memory).values())
        assert summaries(memory, *State)[old].state is not State.ACTIVE
        take_into(memory, rows, HowToIngest(on_conflict="replace"))
        summarize(memory)
        assert what_is_told(memory) == before
        assert list(summaries(memory)) == [old]


# While another process forgets -------------------------------------------------------------------------------------


@contextmanager
def behind(read: Callable[..., object], owner: type, act: Callable[[], object]) -> Iterator[None]:
    """Inside, `act` happens once, as another process does it: behind the first `read`, just before what then writes."""
    waits: list[bool] = []
    begin = History.transaction

    def reading(self: object, *arguments: object) -> object:
        waits.append(not waits)
        return read(self, *arguments)

    @contextmanager
    def transaction(self: History) -> Iterator[None]:
        if waits[:1] == [True] and not self.connection.in_transaction:
            waits[0] = False
            act()
        with begin(self):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, read.__name__, reading)
        patch.setattr(History, "transaction", transaction)
        yield
    assert waits[:1] == [False]


def forget_elsewhere(home: Path, id: str, *, erase: bool) -> None:
    with opened(home) as other:
        aim = resolve(other, Target(ids=(id,)))
        if erase:
            purge(other, to_purge(other, aim))
        else:
            forget(other, aim)


@pytest.mark.parametrize("erase", [False, True])
def test_what_is_forgotten_while_a_summary_is_drafted_is_not_in_it(erase: bool) -> None:
    with empty_home() as home:
        take(home, [*chat(2), said(9, day=2, content="I broke my arm at the rink yesterday.")])
        with opened(home) as memory:
            with behind(Drafts.draft, Drafts, lambda: forget_elsewhere(home, "m9", erase=erase)):
                assert summarize(memory).written == 1
            ((id, summary),) = summaries(memory, *State).items()
            assert "rink" not in summary.text
            assert {fact.state for fact in memory.history.entries.get(quotes(memory, id)).values()} == {State.ACTIVE}
            assert summarize(memory, anew=True) == Summarized(unchanged=1)


@pytest.mark.parametrize("erase", [False, True])
def test_a_summary_of_another_zone_that_is_forgotten_meanwhile_stays_so(erase: bool) -> None:
    rows = [
        said(number, day=number // 10, timestamp=f"2023-01-{number // 10:02}T{hour}:00:00Z")
        for day in (20, 30)
        for number, hour in enumerate((12, 13, 20, 21), start=day)
    ]
    with empty_home() as home:
        take(home, rows)
        with opened(home) as memory:
            summarize(memory)
            (old, summary), (other, _) = summaries(memory).items()
        target = "m21" if erase else summary.id
        with opened(home, transcript={"timezone": "Asia/Tokyo"}) as memory:
            reads = Windows.calendar_summaries
            with behind(reads, Windows, lambda: forget_elsewhere(home, target, erase=erase)):
                assert summarize(memory).set_aside == 1
            states = {id: entry.state for id, entry in summaries(memory, *State).items()}
            assert states.get(old) is (None if erase else State.DELETED)
            assert states[other] is State.SUPERSEDED


# Laws --------------------------------------------------------------------------------------------------------------


@laws
@given(transcripts(), st.data())
def test_summaries_depend_on_the_facts_and_not_on_when_they_were_made(rows: list[bytes], data: st.DataObject) -> None:
    window = data.draw(st.sampled_from(["session", "day", "week", "month"]))
    half = data.draw(st.integers(0, len(rows)))
    with empty_home() as home, opened(home, summarize={"window": window}) as memory:
        take_into(memory, rows[:half])
        summarize(memory)
        take_into(memory, rows)
        summarize(memory)
        in_steps = what_is_told(memory)
        assert summarize(memory, anew=True).written == 0
    with empty_home() as home, opened(home, summarize={"window": window}) as memory:
        take_into(memory, rows)
        summarize(memory)
        assert what_is_told(memory) == in_steps


class Killed(BaseException):
    """Stands for `kill -9`: nobody catches it."""


def test_a_run_that_dies_at_any_commit_is_made_good_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with empty_home() as folder:
        base = folder / "base"
        take(base, chat(2, 3))
        with opened(base) as memory:
            summarize(memory)
            take_into(memory, [said(38, day=3, content="I broke my arm at the rink yesterday."), *chat(5)])
        steps = _die_at(monkeypatch, base, folder / "whole", step=None)
        whole = kept(folder / "whole")
        assert steps > 6
        for step in range(steps):
            home = folder / f"killed{step}"
            _die_at(monkeypatch, base, home, step=step)
            with opened(home) as memory:
                summarize(memory)
            assert kept(home) == whole, f"died at step {step} of {steps}"


def _die_at(monkeypatch: pytest.MonkeyPatch, base: Path, home: Path, *, step: int | None) -> int:
    """Summarize a copy of `base`, dying just before commit number `step`; how many there were."""
    shutil.copytree(base, home)
    taken = 0

    @contextmanager
    def mortal(self: History) -> Iterator[None]:
        nonlocal taken
        with transaction(self.connection, self.path):
            yield
            if taken == step:
                raise Killed
            taken += 1

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(History, "transaction", mortal)
        with opened(home) as memory:
            summarize(memory)
    return taken


# Finding and printing ----------------------------------------------------------------------------------------------


def test_a_summary_is_found_by_its_kind_alone() -> None:
    rows = [
        *chat(2, 3),
        said(7, day=4, timestamp="2023-02-04T10:00:00"),
        said(8, day=4, timestamp="2023-02-04T11:00:00"),
    ]
    with ingested(rows) as memory:
        summarize(memory)
        recall = Recall(memory)
        question = "What happened in February 2023?"
        found = recall.retrieve(Query(text=question, where=Filter(kinds=(Kind.SUMMARY,))))
        assert found[0].entry.text.startswith("4 February 2023: ")
        assert len(found) == 3
        usual = Filter(kinds=(Kind.TURN, Kind.FACT, Kind.RELATION))
        assert Kind.SUMMARY not in {hit.entry.kind for hit in recall.retrieve(Query(text=question, where=usual))}


def test_the_command_prints_what_it_wrote(home: Path, tmp_path: Path) -> None:
    transcript = tmp_path / "chat.jsonl"
    transcript.write_bytes(b"".join(chat(2, 3)))
    assert lightmem("ingest", transcript).returncode == 0
    asked = lightmem("summarize", "--json", "--sentences", "2")
    rows = [json.loads(row) for row in lines_of(asked.stdout)]
    assert [row["from"] for row in rows] == ["2023-01-02T00:00:00", "2023-01-03T00:00:00"]
    assert all(len(row["facts"]) == 2 and row["sources"] and row["text"] for row in rows)
    assert set(rows[0]) == {"id", "conversation", "session", "from", "to", "text", "facts", "sources"}
    assert lines_of(asked.stderr) == ["2 windows summarized; lightmem undo 2 takes that back"]
    again = lightmem("summarize", "--sentences", "2")
    assert (again.returncode, again.stdout) == (0, b"")
    assert lines_of(again.stderr) == ["nothing to summarize: no fact has changed (--all looks at every window)"]
    quiet = lightmem("summarize", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")
    person = lightmem("summarize", "--sentences", "3")
    header, text, *_ = lines_of(person.stdout)
    assert header.startswith("2023-01-02: 3 of ")
    assert text.startswith("  2 January 2023: ")
    assert lines_of(person.stderr)[0].startswith("2 windows summarized; lightmem undo ")


def test_the_command_says_why_there_is_nothing_to_summarize(home: Path) -> None:
    take(home, [said(1, day=2, content="I sold the house in Porto.", conversation="Anna's")])
    [alone] = lines_of(lightmem("summarize").stderr)
    assert alone == "nothing to summarize (1 with too few facts)"
    take(home, [said(number, day=3, conversation="talk") for number in range(4)])
    unknown = lightmem("summarize", "--conversation", "tlak")
    assert unknown.returncode == 0
    assert lines_of(unknown.stderr)[-1] == "there is no message of conversation 'tlak'; there are: \"Anna's\", 'talk'"
    assert lightmem("summarize", "--conversation", "tlak", "--quiet").stderr == b""
    [nothing] = lines_of(lightmem("retrieve", "house", "--conversation", "tlak").stderr)
    assert nothing == f"nothing found: {lines_of(unknown.stderr)[-1]}"
    refused = lines_of(lightmem("forget", "--conversation", "tlak").stderr)
    assert refused == [
        "lightmem: there is no message of conversation 'tlak'",
        "  hint: there are the conversations \"Anna's\", 'talk'",
    ]


def test_the_places_of_a_fact_are_those_it_ever_had() -> None:
    with ingested(chat(2, each=1)) as memory:
        position = memory.history.runs.position()
        with memory.run("test") as run, memory.history.transaction():
            for id, entry in of_kind(memory, Kind.FACT).items():
                later = replace(entry, said_at=datetime(2023, 1, 9, tzinfo=UTC))
                revise(memory.history, id, later, run=run, reason="test")
        places = Windows(memory.history.connection).changed_after(position)
        assert {place.said_at.day for place in places if place.said_at} == {2, 9}
