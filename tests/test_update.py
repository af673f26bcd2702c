"""Update: facts that say the same become one that rests on all their messages, and nothing else of a memory changes."""

from __future__ import annotations

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import Killed, dies_before, empty_home, kept, kept_by, line, opened, take, take_into
from process import lightmem

from lightmem_cli.embed.hashing import HashingEmbedder
from lightmem_cli.engine import Memory, consolidate
from lightmem_cli.engine.consolidate import Consolidated, apply_plan, propose, steps
from lightmem_cli.engine.consolidate import pairs as candidates
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.pending import work_first, work_off
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.undo import plan as undo_plan
from lightmem_cli.engine.undo import undo
from lightmem_cli.errors import InputError, SpaceMismatch
from lightmem_cli.records import Entry, Filter, Kind, LinkKind, Space, State
from lightmem_cli.store.history.facts import Facts
from lightmem_cli.update.decide import same_words
from lightmem_cli.update.steps import Dropped, Merge

laws = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])

SAID = (
    "I adopted a greyhound called Biscuit.",
    "I adopted a  GREYHOUND called Biscuit!",
    "My sister Clara is a nurse in Oslo.",
    "We moved to Lisbon last week.",
    "I am allergic to peanuts. We moved to Lisbon last week!",
    "図書館は大学の隣にあります。",
    "Thanks!",
)
GREYHOUND, CLARA = SAID[0], SAID[2]


@st.composite
def transcripts(draw: st.DrawFn, *, most: int = 16) -> list[bytes]:
    """People who say the same things again and again, on some days, in two conversations."""
    return [
        line(
            id=f"m{number}",
            content=draw(st.sampled_from(SAID)),
            speaker=draw(st.sampled_from(["Anna", "Boris", "anna"])),
            conversation=draw(st.sampled_from(["", "", "trip"])),
            session=draw(st.sampled_from(["s1", "s2"])),
            timestamp=draw(st.sampled_from([None, "2024-05-01T10:00:00Z", "2024-05-02T10:00:00Z"])),
        )
        for number in range(draw(st.integers(0, most)))
    ]


def row(id: str, content: str, *, day: int = 1, **fields: object) -> bytes:
    given = {"session": f"day{day}", "speaker": "Anna", "timestamp": f"2024-05-{day:02}T10:00:00Z"} | fields
    return line(id=id, content=content, **given)


def sample() -> list[bytes]:
    """Several merges, one of them of many facts."""
    return [row(f"m{n}", SAID[n * 3 % 7], day=n // 3 + 1, speaker=("Anna", "Boris")[n % 4 == 0]) for n in range(18)]


def update(home: Path) -> Consolidated:
    with opened(home) as memory:
        return update_in(memory)


def update_in(memory: Memory) -> Consolidated:
    work_first(memory)
    return consolidate.consolidate(memory)


def facts_of(memory: Memory) -> dict[int, Entry]:
    return memory.history.entries.get(memory.history.entries.of_kind(Kind.FACT))


def active(memory: Memory) -> list[Entry]:
    return [fact for fact in facts_of(memory).values() if fact.state is State.ACTIVE]


def fact(memory: Memory, message: str) -> tuple[int, Entry]:
    """The one fact that was born of a message, whatever became of it."""
    born = [
        (id, one)
        for id, one in facts_of(memory).items()
        if [key.id for key in one.sources] == [message]
        or (message in [key.id for key in one.sources] and one.version > 1)
    ]
    assert len(born) == 1, born
    return born[0]


def written(memory: Memory) -> tuple[int, ...]:
    """How many rows there are of everything that an update may write."""
    tables = ("runs", "revisions", "changes", "entries", "links", "sources", "jobs", "vectors", "views")
    return tuple(memory.history.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


# Laws ---------------------------------------------------------------------------------------------------------------


@laws
@given(transcripts())
def test_what_says_the_same_is_said_once_and_rests_on_every_message(rows: list[bytes]) -> None:
    with empty_home() as home:
        take(home, rows)
        with opened(home) as memory:
            before = facts_of(memory)
            done = update_in(memory)
            assert memory.indexes.words.position == memory.history.runs.position() or not done.merged
            after = facts_of(memory)
            ids = {one.id: id for id, one in after.items()}
            said = defaultdict(list)
            for one in active(memory):
                said[one.conversation, (one.speaker or "").casefold(), one.happened, same_words(one.text)].append(
                    one.id
                )
            assert [its for its in said.values() if len(its) > 1] == []
            assert len(after) == len(before) == len(active(memory)) + done.dropped
            dropped = {one.id: merge.keep for merge in done.merged for one in merge.drop}
            for id, one in after.items():
                was = before[id]
                assert (one.text, one.said_at, one.pinned) == (was.text, was.said_at, was.pinned)
                links = memory.history.entries.links_from(id)
                if one.id in dropped:
                    assert one.state is State.SUPERSEDED and one.sources == was.sources
                    assert links == [(ids[dropped[one.id]], LinkKind.MERGED_INTO)]
                    stays = after[ids[dropped[one.id]]]
                    assert stays.state is State.ACTIVE and set(one.sources) <= set(stays.sources)
                    assert stays.importance >= one.importance
                else:
                    assert one.state is State.ACTIVE and links == []
                    took = [before[ids[name]].sources for name, into in dropped.items() if into == one.id]
                    assert set(one.sources) == set(was.sources).union(*took)


@laws
@given(transcripts())
def test_a_second_update_changes_nothing(rows: list[bytes]) -> None:
    with empty_home() as home:
        take(home, rows)
        update(home)
        with opened(home) as memory:
            before, counts = kept_by(memory), written(memory)
            writes = memory.history.connection.total_changes
            assert update_in(memory) == Consolidated()
            assert written(memory) == counts and kept_by(memory) == before
            assert memory.history.connection.total_changes == writes, "it wrote something"


@laws
@given(transcripts())
def test_update_then_undo_gives_the_identical_state(rows: list[bytes]) -> None:
    with empty_home() as home:
        take(home, rows)
        before = kept(home)
        with opened(home) as memory:
            done = update_in(memory)
            revisions = memory.history.revisions.of_run(done.run) if done.run else []
            assert bool(revisions) == bool(done.merged)
            steps = {merge.keep: set() for merge in done.merged}  # type: ignore[var-annotated]
            names = {id: one.id for id, one in facts_of(memory).items()}
            for revision in revisions:
                steps[next(m.keep for m in done.merged if names[revision.entry] in _names(m))].add(revision.step)
            assert all(len(its) == 1 for its in steps.values()) and len(set.union(set(), *steps.values())) == len(steps)
            born = memory.history.connection.execute("SELECT count(*) FROM entries WHERE run = ?", (done.run,))
            assert born.fetchone() == (0,)
            if done.run:
                undo(memory, undo_plan(memory, run=done.run))
            assert kept_by(memory) == before


def _names(merge: Merge) -> list[str]:
    return [merge.keep, *(one.id for one in merge.drop)]


@laws
@given(transcripts())
def test_what_is_proposed_is_what_is_done_and_proposing_writes_nothing(rows: list[bytes]) -> None:
    with empty_home() as home:
        take(home, rows)
        with opened(home, reader=True) as memory:
            writes = memory.history.connection.total_changes
            proposed = propose(memory).merges
            assert propose(memory).merges == proposed
            assert memory.history.connection.total_changes == writes
        done = update(home)
        assert done.merged == proposed or (not proposed and not done.merged)


@laws
@given(transcripts(), st.data())
def test_updates_in_between_leave_nothing_said_twice(rows: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)), label="cut")
    with empty_home() as home, empty_home() as anew:
        take(home, rows[:cut])
        update(home)
        take(home, rows)
        update(home)
        take(anew, rows)
        update(anew)

        def said(place: Path) -> list[object]:
            with opened(place) as memory:
                found = [(one.conversation, one.happened, same_words(one.text), one.sources) for one in active(memory)]
            return sorted(found, key=str)

        assert said(home) == said(anew)


def test_an_update_that_dies_at_any_step_is_made_good_by_the_next() -> None:
    rows = sample()

    def waiting(home: Path) -> None:
        take(home, rows[:9])
        take(home, rows, HowToIngest(journal_only=True))

    with empty_home() as home:
        waiting(home)
        steps = _die_at(home, step=sys.maxsize)
        whole = kept(home)
        assert len([one for one in whole.state if one.get("state") == State.SUPERSEDED]) > 4
    assert steps > 12
    for step in range(steps):
        with empty_home() as home:
            waiting(home)
            _die_at(home, step=step)
            update(home)
            assert kept(home) == whole, f"died at step {step} of {steps}"
            with opened(home) as memory:
                assert update_in(memory) == Consolidated()


def _die_at(home: Path, *, step: int) -> int:
    return dies_before(step, lambda: update(home))


# What is compared ----------------------------------------------------------------------------------------------------


def test_only_what_is_new_is_compared_and_with_everything() -> None:
    rows = [row(f"m{n}", f"The heron number {n} stood in the reeds.", day=n % 9 + 1) for n in range(12)]
    with empty_home() as home:
        take(home, [*rows, row("dog", GREYHOUND)])
        compared: list[int] = []
        with opened(home) as memory:
            consolidate.consolidate(memory, progress=compared.append)
            assert max(compared) == 13
        take(home, [row("again", GREYHOUND, day=20), row("turn", "Ok.", day=20)])
        with opened(home) as memory:
            compared.clear()
            done = consolidate.consolidate(memory, progress=compared.append)
            assert max(compared) == 1
            assert done.dropped == 1
            compared.clear()
            take_into(memory, [row("turn2", "Ok.", day=21)])
            assert consolidate.consolidate(memory, progress=compared.append) == Consolidated()
            assert compared == [], "a turn is no fact to compare"


def test_another_threshold_or_space_looks_at_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightmem_cli.engine.care import reindex

    with empty_home() as home:
        take(home, sample())
        update(home)
        looked: list[int] = []
        with opened(home, update={"threshold": 0.95}) as memory:
            consolidate.consolidate(memory, progress=looked.append)
            assert max(looked) == len(active(memory))
        monkeypatch.setattr(HashingEmbedder, "space", Space(name="hashing", revision="2", dimension=256))
        with opened(home) as memory:
            reindex(memory, progress=lambda done: None)
            looked.clear()
            consolidate.consolidate(memory, progress=looked.append)
            assert max(looked) == len(active(memory))


@pytest.mark.parametrize("after_fresh", [0, 7])
def test_pairs_agree_with_plain_numpy(after_fresh: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of any size, among all facts or only those that changed; a fact in pieces counts as their mean."""
    monkeypatch.setattr(candidates, "_ROWS_AT_ONCE", 3)
    monkeypatch.setattr(candidates, "_FACTS_AT_ONCE", 4)
    rows = [
        row(f"m{n}", f"The {('grey', 'white', 'black')[n % 3]} heron {n % 4} stood in the reeds.") for n in range(11)
    ]
    rows += [row("b", "The grey heron 1 stood in the reeds.", speaker="ANNA"), row("c", CLARA, conversation="trip")]
    rows += [row("d", "The grey heron 1 stood in the reeds.", speaker="Boris")]
    with empty_home() as home:
        take(home, rows)
        with opened(home) as memory:
            history = memory.history
            facts = facts_of(memory)
            ids = sorted(facts)
            space = memory.space()[0]
            two = history.reading.embedded(ids[:2], space=space).vectors
            vectors = {id: history.reading.embedded([id], space=space).vectors[0] for id in ids}
            with history.transaction():
                views = [
                    history.connection.execute("SELECT vector FROM views WHERE entry = ?", (id,)) for id in ids[:2]
                ]
                history.vectors.set_views(ids[0], space, [view.fetchone()[0] for view in views])
            vectors[ids[0]] = two.mean(axis=0)
            last = max(one.last for one in history.facts.changed_after(0) if one.id == ids[after_fresh])
            fresh = {one.id for one in history.facts.changed_after(last)} if after_fresh else set(ids)
            assert 0 < len(fresh) <= len(ids)
            found = candidates.candidates(
                history,
                space=space,
                threshold=0.7,
                after=last if after_fresh else 0,
                known=(),
                progress=lambda count: None,
            )
            expected = {}
            for at, one in enumerate(ids):
                for other in ids[at + 1 :]:
                    a, b = facts[one], facts[other]
                    near = vectors[one] @ vectors[other] / np.linalg.norm(vectors[one]) / np.linalg.norm(vectors[other])
                    alike = a.conversation == b.conversation and str(a.speaker).lower() == str(b.speaker).lower()
                    if alike and {one, other} & fresh and near >= 0.7:
                        expected[a.id, b.id] = near
            pairs = [(found.facts[a].id, found.facts[b].id) for a, b, _ in found.pairs]
            assert len(set(pairs)) == len(pairs)
            assert dict(zip(pairs, [near for _, _, near in found.pairs], strict=True)) == pytest.approx(
                expected, abs=1e-5
            )
            assert len(expected) > 3


def test_same_words_pair_without_any_nearness() -> None:
    with empty_home() as home:
        take(home, [row("a", GREYHOUND), row("b", GREYHOUND, day=2), row("c", SAID[1], day=3), row("d", CLARA)])
        with opened(home) as memory:
            history = memory.history
            ids = sorted(facts_of(memory))
            with history.transaction():  # vectors that agree on nothing, and a fact that has none
                space = memory.space()[0]
                history.connection.execute("DELETE FROM views WHERE entry = ?", (ids[0],))
                far = history.vectors.add(space, [(b"f" * 16, np.eye(1, 256, dtype="<f2").tobytes())])
                history.vectors.set_views(ids[1], space, list(far.values()))
            assert [len(merge.drop) for merge in propose(memory).merges] == [2]


@given(st.text(max_size=20) | st.text("aEﬁ’'-—5é. !ß", max_size=12), st.data())
def test_no_fact_in_the_same_words_is_passed_over(text: str, data: st.DataObject) -> None:
    """Where few facts changed, the others are first asked for one word of theirs."""
    forms = [text.upper(), text.title(), f" {text}! ", text.replace(" ", "  "), f"“{text}”"]
    forms += [unicodedata.normalize(form, text) for form in ("NFKC", "NFD")]
    other = data.draw(st.sampled_from(forms))
    for fresh, old in ((text, other), (other, text)):
        if same_words(fresh) == same_words(old):
            assert candidates._Voice({1: fresh, 2: old}, {1})._may_share_words(old)
    assert not candidates._Voice({1: "two herons"}, {1})._may_share_words("one goose")


def test_what_waits_for_its_vectors_waits_for_its_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = HashingEmbedder.windows

    def fragile(self: HashingEmbedder, text: str) -> list[str]:
        if "!" in text:
            raise ValueError("odd")
        return windows(self, text)

    rows = [row("a", GREYHOUND), row("b", SAID[1], day=2), row("c", CLARA, day=3), row("d", CLARA, day=4)]
    with empty_home() as home, empty_home() as whole:
        with monkeypatch.context() as patch:
            patch.setattr(HashingEmbedder, "windows", fragile)
            take(home, rows)
            assert update(home).dropped == 1
            assert update(home) == Consolidated()
        done = update(home)  # which tries again what was set aside
        assert [one.id for merge in done.merged for one in merge.drop] != []
        take(whole, rows)
        update(whole)
        assert kept(home) == kept(whole)


def test_an_update_does_the_pending_work_first() -> None:
    with empty_home() as home, empty_home() as plain:
        take(home, sample(), HowToIngest(journal_only=True))
        take(plain, sample())
        assert update(home).merged
        update(plain)
        assert kept(home) == kept(plain)
        with opened(home) as memory:
            runs = memory.history.connection.execute("SELECT command, outcome FROM runs ORDER BY id").fetchall()
            assert runs == [("ingest", "done"), ("extract", "done"), ("update", "done")]


def test_one_voice_is_read_without_what_is_said_elsewhere() -> None:
    """Counted in steps of SQLite: the facts of other conversations add none."""
    here = [row(f"m{n}", f"The heron number {n} stood in the reeds.", conversation="here") for n in range(3)]
    elsewhere = [row(f"e{n}", f"The heron number {n} flew off.", conversation=f"trip {n % 9}") for n in range(90)]
    with empty_home() as home:
        take(home, here)
        with opened(home) as memory:
            said = memory.history.facts.said_by("anna", conversation="here")
            alone = _steps(memory, lambda: memory.history.facts.said_by("anna", conversation="here"))
            take_into(memory, elsewhere)
            assert len(active(memory)) == 93
            assert memory.history.facts.said_by("anna", conversation="here") == said
            steps = _steps(memory, lambda: memory.history.facts.said_by("anna", conversation="here"))
            assert steps < alone * 1.5, f"{steps}, alone {alone}"


def test_what_was_undone_is_read_once_and_only_when_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in steps of SQLite: each undone fact and each entry since adds some, not one times the other."""
    with empty_home() as home:
        take(home, [row(f"m{n}", SAID[n % 2], day=n % 9 + 1) for n in range(60)])
        with opened(home) as memory:
            done = update_in(memory)
            undo(memory, undo_plan(memory, run=done.run))
            there = max(memory.history.connection.execute("SELECT id FROM entries"))[0]
            expected = dict.fromkeys(facts_of(memory), there)
            take_into(memory, [row(f"n{n}", f"The heron number {n} stood.", day=n % 9 + 1) for n in range(100)])
            assert memory.history.facts.brought_back() == expected and len(expected) == 60
            assert _steps(memory, memory.history.facts.brought_back) < 100 * (60 + 100)
            update_in(memory)
            monkeypatch.setattr(Facts, "brought_back", lambda self: pytest.fail("nothing changed"))
            assert update_in(memory) == Consolidated()


def test_each_fact_stays_apart_from_what_was_there_when_it_was_brought_back() -> None:
    """Several undos, each with births before and after it, some of which no undo saw."""
    with empty_home() as home:
        last: dict[str, int] = {}
        for day, said in enumerate((GREYHOUND, CLARA, SAID[3]), start=1):
            take(home, [row(f"{day}a", said, day=day), row(f"{day}b", said, day=day + 1), row(f"{day}c", "Ok.")])
            with opened(home) as memory:
                done = update_in(memory)
                assert len(done.merged) == 1
                undo(memory, undo_plan(memory, run=done.run))
                [there] = memory.history.connection.execute("SELECT max(id) FROM entries").fetchone()
                expected = {id: last.setdefault(one.text, there) for id, one in facts_of(memory).items()}
                assert memory.history.facts.brought_back() == expected
        assert len(set(last.values())) == 3


def _steps(memory: Memory, read: Callable[[], object]) -> int:
    """How many steps of its virtual machine SQLite takes for `read`."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    memory.history.connection.set_progress_handler(count, 1)
    try:
        read()
    finally:
        memory.history.connection.set_progress_handler(None, 1)
    return taken


# Whose word counts ---------------------------------------------------------------------------------------------------


def test_a_pinned_fact_is_never_dropped() -> None:
    with empty_home() as home:
        take(home, [row("a", GREYHOUND), row("b", SAID[1], day=2), row("c", GREYHOUND, day=3)])
        with opened(home) as memory:
            for message in ("b", "c"):
                id, one = fact(memory, message)
                with memory.run("pin") as run, memory.history.transaction():
                    less = replace(one, pinned=True, importance=0.1 if message == "b" else 0.2)
                    revise(memory.history, id, less, run=run, reason="pinned")
            most = fact(memory, "a")[1].importance
            update_in(memory)
            states = [fact(memory, message)[1].state for message in ("b", "c")]
            assert states == [State.ACTIVE, State.ACTIVE]
            assert most in {fact(memory, message)[1].importance for message in ("b", "c")}
            assert len(active(memory)) == 2
            plan = [_merge(fact(memory, "c")[1], fact(memory, "b")[1])]
            with pytest.raises(InputError, match="pinned"):
                apply_plan(memory, plan)


def test_what_another_writer_changes_meanwhile_is_planned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"m{n}", GREYHOUND, day=n + 1) for n in range(4)] + [row(f"n{n}", CLARA, day=n + 1) for n in range(2)]
    plan = consolidate.plan
    disturbed: list[str] = []
    with empty_home() as home:
        take(home, rows)

        def slow(*arguments: Any, **options: Any) -> list[Merge]:
            found = plan(*arguments, **options)
            if not disturbed:
                disturbed.append(next(merge.keep for merge in found if len(merge.drop) == 3))
                with opened(home) as other, other.run("forget") as run, other.history.transaction():
                    [(id, one)] = [item for item in facts_of(other).items() if item[1].id == disturbed[0]]
                    revise(other.history, id, replace(one, state=State.DELETED), run=run, reason="forgotten")
            return found

        monkeypatch.setattr(consolidate, "plan", slow)
        with opened(home) as memory:
            done = update_in(memory)
            assert sorted(len(merge.drop) for merge in done.merged) == [1, 2]
            assert [one.state for one in facts_of(memory).values() if one.id == disturbed[0]] == [State.DELETED]
            assert len(active(memory)) == 2
            assert update_in(memory) == Consolidated()


def test_what_changes_between_the_look_and_the_plan_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact that is born while an update compares is not behind the position it settles."""
    pending: list[bytes] = [row("late", GREYHOUND, day=9)]
    with empty_home() as home:
        take(home, [row("a", GREYHOUND)])
        said_by = Facts.said_by

        def slow(self: Facts, *arguments: Any, **options: Any) -> dict[int, str]:
            found = said_by(self, *arguments, **options)
            if pending:
                take(home, [pending.pop()])
            return found

        monkeypatch.setattr(Facts, "said_by", slow)
        assert update(home) == Consolidated()
        assert update(home).dropped == 1


def test_what_was_undone_is_left_alone_and_what_comes_later_is_not() -> None:
    rows = [row(f"m{n}", GREYHOUND, day=n + 1) for n in range(3)] + [row("c", CLARA), row("d", CLARA, day=2)]
    with empty_home() as home:
        take(home, rows)
        with opened(home) as memory:
            done = update_in(memory)
            greyhounds = next(merge for merge in done.merged if len(merge.drop) == 2)
            undo(memory, undo_plan(memory, run=done.run))
            assert len(active(memory)) == 5
            assert update_in(memory) == Consolidated(apart=4)
            assert update_in(memory) == Consolidated()
            take_into(memory, [row("new", GREYHOUND, day=9)])
            assert [merge.keep for merge in update_in(memory).merged] == [greyhounds.keep]
            assert len(active(memory)) == 5


# Time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", ["early", "late"])
def test_as_of_a_day_before_the_merge_the_words_are_found(pinned: str) -> None:
    with empty_home() as home:
        take(home, [row("early", CLARA, day=1), row("late", CLARA, day=5), row("other", GREYHOUND, day=1)])
        with opened(home) as memory:
            id, one = fact(memory, pinned)
            with memory.run("pin") as run, memory.history.transaction():
                revise(memory.history, id, replace(one, pinned=True), run=run, reason="pinned")
            done = update_in(memory)
            assert [merge.keep for merge in done.merged] == [one.id]

            def found(day: int) -> list[str]:
                then = datetime(2024, 5, day, 23, tzinfo=UTC)
                query = Query(text="Who is a nurse in Oslo?", where=Filter(kinds=(Kind.FACT,), as_of=then))
                hits = [hit for hit in Recall(memory).retrieve(query) if "nurse" in hit.entry.text]
                return [hit.entry.id for hit in hits]

            early = next(
                fact.id
                for fact in facts_of(memory).values()
                if fact.said_at and fact.said_at.day == 1 and "nurse" in fact.text
            )
            assert found(3) == [early]
            assert found(6) == [one.id]


# A reviewed plan -----------------------------------------------------------------------------------------------------


def _merge(keep: Entry, *drop: Entry, text: str | None = None) -> Merge:
    dropped = tuple(Dropped(one.id, one.version, one.text, "said so") for one in drop)
    return Merge(keep.id, keep.version, text or keep.text, dropped)


def test_a_reviewed_plan_is_done_and_its_words_are_embedded_and_found() -> None:
    with empty_home() as home:
        take(home, [row("a", GREYHOUND), row("b", CLARA, day=2), row("c", SAID[4], day=3)])
        with opened(home) as memory:
            (a, keep), (_, drop) = fact(memory, "a"), fact(memory, "b")
            text = "Anna keeps a tortoise named Waffle."
            done = apply_plan(memory, [_merge(keep, drop, text=text)])
            after = facts_of(memory)[a]
            assert (after.text, [key.id for key in after.sources]) == (text, ["a", "b"])
            seen = memory.history.reading.embedded([a], space=memory.space()[0]).vectors
            assert (seen == memory.embedder.embed([text]).astype("<f2")).all()
            assert memory.history.work.pending() == {}
            hits = Recall(memory).retrieve(Query(text="tortoise", where=Filter(kinds=(Kind.FACT,)), limit=1))
            assert [hit.entry.id for hit in hits] == [after.id]
            assert done.run is not None
            reasons = [one.reason for one in memory.history.revisions.of_run(done.run)]
            assert reasons == [f"merged into {keep.id}: said so", "merged 2 facts that say the same (said so)"]
            counts = written(memory)
            assert apply_plan(memory, [_merge(keep, drop, text=text)]) == Consolidated(), "it was done already"
            assert written(memory) == counts


def test_a_plan_that_is_behind_the_facts_is_refused_whole() -> None:
    with empty_home() as home:
        take(home, sample())
        with opened(home) as memory:
            plan = propose(memory).merges
            gone = plan[-1].drop[0].id
            [(id, one)] = [item for item in facts_of(memory).items() if item[1].id == gone]
            with memory.run("pin") as run, memory.history.transaction():
                revise(memory.history, id, replace(one, importance=0.1), run=run, reason="less")
            counts = written(memory)
            with pytest.raises(InputError, match=gone) as refused:
                apply_plan(memory, plan)
            assert "--dry-run" in str(refused.value.hint) and plan[0].keep not in str(refused.value)
            assert written(memory) == counts
            assert len(apply_plan(memory, plan[:-1]).merged) == len(plan) - 1


def test_a_plan_that_another_writer_overtakes_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Memory.run
    with empty_home() as home:
        take(home, sample())
        with opened(home) as memory:
            plan = propose(memory).merges
            assert len(plan) > 1
            before, gone = facts_of(memory), plan[-1].drop[0].id
            [(id, one)] = [item for item in before.items() if item[1].id == gone]

            @contextmanager
            def slow(self: Memory, command: str) -> Iterator[int]:
                with run(self, command) as number:
                    if command == "update":
                        with opened(home) as other, other.run("pin") as late, other.history.transaction():
                            revise(other.history, id, replace(one, importance=0.1), run=late, reason="less")
                    yield number

            monkeypatch.setattr(Memory, "run", slow)
            with pytest.raises(InputError, match=f"{gone}; nothing was merged"):
                apply_plan(memory, plan)
            after = facts_of(memory)
            assert {id for id in after if after[id] != before[id]} == {id}
            [update] = [one for one in memory.history.runs.newest(9) if one.command == "update"]
            assert str(update.outcome).startswith("failed") and memory.history.revisions.of_run(update.id) == []


def test_a_plan_that_dies_on_the_way_has_merged_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with empty_home() as home:
        take(home, sample())
        before = kept(home)
        with opened(home) as memory:
            plan = propose(memory).merges
            left = iter([None] * (len(plan[0].drop) + 2))  # all of the first merge, and a part of the second

            def mortal(*arguments: Any, **options: Any) -> None:
                if next(left, Killed) is Killed:
                    raise Killed
                revise(*arguments, **options)

            with monkeypatch.context() as patch, pytest.raises(Killed):
                patch.setattr(steps, "revise", mortal)
                apply_plan(memory, plan)
            assert kept_by(memory) == before
            assert apply_plan(memory, plan).merged == plan


def test_a_plan_that_another_writer_does_meanwhile_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    run, first = Memory.run, [True]
    with empty_home() as home:
        take(home, sample())
        with opened(home) as memory:
            plan = propose(memory).merges

            @contextmanager
            def slow(self: Memory, command: str) -> Iterator[int]:
                with run(self, command) as number:
                    if first and first.pop():
                        with opened(home) as other:
                            assert apply_plan(other, plan).merged == plan
                    yield number

            monkeypatch.setattr(Memory, "run", slow)
            assert apply_plan(memory, plan) == Consolidated()


def test_a_plan_half_done_goes_on() -> None:
    with empty_home() as home, empty_home() as whole:
        take(home, sample())
        take(whole, sample())
        with opened(home) as memory:
            plan = propose(memory).merges
            apply_plan(memory, plan[:2])
            assert apply_plan(memory, plan).merged == plan[2:]
        with opened(whole) as memory:
            apply_plan(memory, plan)
        assert kept(home) == kept(whole)
        update(whole)
        assert kept(home) == kept(whole)


def test_a_plan_names_facts_of_one_conversation_once() -> None:
    rows = [row("a", GREYHOUND), row("b", CLARA, day=2), row("t", CLARA, conversation="trip")]
    with empty_home() as home:
        take(home, rows)
        with opened(home) as memory:
            (_, a), (_, b) = fact(memory, "a"), fact(memory, "b")
            trip = fact(memory, "t")[1]
            turns = memory.history.entries.get(memory.history.entries.of_kind(Kind.TURN))
            counts = written(memory)
            for plan, why in [
                ([_merge(a, trip)], "two conversations"),
                ([_merge(a, next(iter(turns.values())))], "turn"),
                ([_merge(a, b), _merge(b, a)], "twice"),
                ([_merge(a, replace(b, id="123456789abc"))], "no entry"),
                ([_merge(a, replace(b, id=b.id[:6]))], "no entry"),
            ]:
                with pytest.raises(InputError, match=why):
                    apply_plan(memory, plan)
            assert written(memory) == counts


def test_words_that_cannot_be_embedded_are_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with empty_home() as home:
        take(home, [row("a", GREYHOUND), row("b", CLARA, day=2)])
        monkeypatch.setattr(HashingEmbedder, "space", Space(name="hashing", revision="2", dimension=256))
        with opened(home) as memory:
            (_, a), (_, b) = fact(memory, "a"), fact(memory, "b")
            counts = written(memory)
            with pytest.raises(SpaceMismatch):
                apply_plan(memory, [_merge(a, b, text="Anna keeps a tortoise.")])
            assert written(memory) == counts
            assert len(apply_plan(memory, [_merge(a, b)]).merged) == 1


# Links and chains ----------------------------------------------------------------------------------------------------


def test_a_chain_of_merges_keeps_every_link_and_source() -> None:
    with empty_home() as home:
        take(home, [row("a", GREYHOUND), row("b", CLARA, day=2), row("c", SAID[5], day=3)])
        with opened(home) as memory:
            (a, first), (b, second), (c, third) = (fact(memory, message) for message in "abc")
            with memory.run("test") as run, memory.history.transaction():
                links = [(c, LinkKind.CONFLICTS)]
                revise(memory.history, a, first, run=run, reason="linked", links=links)
            first = facts_of(memory)[a]
            apply_plan(memory, [_merge(second, first)])
            apply_plan(memory, [_merge(third, facts_of(memory)[b])])
            links_from = memory.history.entries.links_from
            assert links_from(a) == [(b, LinkKind.MERGED_INTO), (c, LinkKind.CONFLICTS)]
            assert links_from(b) == [(c, LinkKind.MERGED_INTO)]
            assert [key.id for key in facts_of(memory)[c].sources] == ["a", "b", "c"]
            assert [one.id for one in active(memory)] == [third.id]


# Real data -----------------------------------------------------------------------------------------------------------


def test_a_real_conversation_loses_repetitions_and_nothing_else(tmp_path: Path, lightmem_data: Path) -> None:
    home = tmp_path / "home"
    onnx = {"LIGHTMEM_EMBED__USE": "onnx"}
    transcript = lightmem_data / "locomo" / "conv-30.messages.jsonl"
    ran = lightmem("ingest", transcript, "--home", home, env=onnx)
    if ran.returncode == 4:
        pytest.skip(f"no model to embed with: {ran.stderr.decode()}")
    assert ran.returncode == 0, ran.stderr
    with opened(home, embed={"use": "onnx"}) as memory:
        before = active(memory)
        done = update_in(memory)
        assert 0 < done.dropped < len(before) * 0.1
        assert len(active(memory)) == len(before) - done.dropped
        assert {one.why.split()[0] for merge in done.merged for one in merge.drop} <= {"same", "cosine"}
        assert update_in(memory) == Consolidated()
        assert list(work_off(memory, run=1)) == []
