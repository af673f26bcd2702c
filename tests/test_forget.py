"""`lightmem forget`: what is hidden with a message or a fact, that it stays hidden, and that it can be brought back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmem_cli.engine import Memory
from lightmem_cli.engine.consolidate import apply_plan
from lightmem_cli.engine.extraction.by_rules import extract_some
from lightmem_cli.engine.fallen import bring_back
from lightmem_cli.engine.forget import Fate, Forgotten, Target, forget, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.pending import work_off
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.revise import revise, take_back
from lightmem_cli.engine.undo import plan, undo
from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, Filter, Kind, LinkKind, Message, State
from lightmem_cli.update.steps import Dropped, Merge
from tests.memories import empty_home, line, opened, take, take_into
from tests.process import lightmem, lines_of

SAID = {
    "m1": ("Anna", "I adopted a greyhound called Biscuit last Friday. My sister Clara is expecting a baby."),
    "m2": ("Boris", "I work at the botanical garden near the river."),
    "m3": ("Anna", "Last Friday I finally adopted the greyhound, and called it Biscuit."),
    "m4": ("Boris", "We bought two tickets for the concert in Lisbon."),
    "m5": ("Anna", "The heron stood in the reeds for an hour."),
}


GONE = (Kind.TURN, State.DELETED)


def rows(said: dict[str, tuple[str, str]] = SAID, *, conversation: str = "talk") -> list[bytes]:
    return [
        line(id=id, speaker=who, content=text, session="day1", conversation=conversation, timestamp="2024-05-01T10:00Z")
        for id, (who, text) in said.items()
    ]


def hide(memory: Memory, *ids: str, dry_run: bool = False, **place: str) -> Forgotten:
    return forget(memory, resolve(memory, Target(ids=ids, **place)), dry_run=dry_run)


def state(memory: Memory) -> list[dict[str, object]]:
    return list(memory.history.state.rows())


def entries(memory: Memory, *, of: str | None = None) -> dict[int, Entry]:
    """All entries, or those that rest on the message `of`."""
    numbers = [id for kind in Kind for id in memory.history.entries.of_kind(kind)]
    found = memory.history.entries.get(numbers)
    return {id: one for id, one in found.items() if of is None or of in {key.id for key in one.sources}}


def states(memory: Memory, of: str) -> set[tuple[str, str]]:
    return {(one.kind.value, one.state.value) for one in entries(memory, of=of).values()}


def fact(memory: Memory, words: str) -> tuple[int, Entry]:
    """The one fact with these words in it."""
    (found,) = [(id, one) for id, one in entries(memory).items() if one.kind is Kind.FACT and words in one.text]
    return found


def merge(memory: Memory, keep: int, drop: int, *, text: str | None = None) -> None:
    """What `lightmem update` does with two facts that say the same."""
    history = memory.history
    with memory.run("update") as run, history.transaction():
        step = history.revisions.new_step()
        both = history.entries.get([keep, drop])
        sources = sorted({*history.entries.source_ids(keep), *history.entries.source_ids(drop)})
        gone = replace(both[drop], state=State.SUPERSEDED)
        revise(history, drop, gone, run=run, reason="m", step=step, links=[(keep, LinkKind.MERGED_INTO)])
        kept = replace(both[keep], text=text or both[keep].text)
        revise(history, keep, kept, run=run, reason="m", step=step, sources=sources)
    with memory.run("extract") as run:
        list(work_off(memory, run=run))


def summarize(memory: Memory, of: Sequence[int], *, resting_on: Sequence[int] = ()) -> int:
    """A summary of some facts, as `lightmem summarize` makes them; history's integer for it."""
    history = memory.history
    told = list(history.entries.get(of).values())
    keys = tuple(dict.fromkeys(key for one in told for key in one.sources))
    text = " ".join(one.text for one in told)
    entry = replace(told[0], kind=Kind.SUMMARY, text=text, sources=keys, speaker=None)
    with memory.run("summarize") as run, history.transaction():
        sources = resting_on or [message for id in of for message in history.entries.source_ids(id)]
        born = history.entries.add(entry, sources=sources, run=run, links=[(id, LinkKind.SUMMARIZES) for id in of])
    assert born is not None
    return born


def found(memory: Memory, text: str, **where: Any) -> set[str]:
    """The ids of the messages that answer, by their words alone."""
    query = Query(text=text, where=Filter(kinds=(Kind.TURN, Kind.FACT, Kind.SUMMARY), **where))
    return {key.id for hit in Recall(memory).retrieve(query) for key in hit.entry.sources}


def words_alone(home: Path) -> Memory:
    return opened(home, retrieve={"strategy": "words"})


def test_a_forgotten_message_is_found_no_more_nor_does_it_speak_for_its_neighbours(home: Path) -> None:
    take(home, rows())
    with words_alone(home) as memory:
        assert found(memory, "tickets Lisbon concert") == {"m2", "m3", "m4", "m5"}  # its neighbours come with it
        assert found(memory, "heron reeds") == {"m3", "m4", "m5"}
        shown = hide(memory, "m4")
        assert [(fate.was.kind, fate.was.state, fate.now) for fate in shown.hidden] == [
            (Kind.TURN, State.ACTIVE, State.DELETED),
            (Kind.FACT, State.ACTIVE, State.DELETED),
        ]
        assert found(memory, "tickets Lisbon concert") == set()  # with it in the window, m3 and m5 would score
        assert found(memory, "tickets Lisbon concert", as_of=datetime(2030, 1, 1, tzinfo=UTC)) == set()
        assert found(memory, "heron reeds") == {"m5", "m3"}
    with opened(home) as memory:  # and not through its vectors
        assert "m4" not in found(memory, SAID["m4"][1])


def test_a_session_that_several_conversations_have_is_not_taken_from_all_of_them(home: Path) -> None:
    take(home, [*rows(), *rows(conversation="it's other")])
    with opened(home) as memory:
        before = state(memory)
        with pytest.raises(
            InputError, match="session 'day1' is one of 2 conversations: \"it's other\", 'talk'"
        ) as refused:
            hide(memory, session="day1")
        assert refused.value.hint == "add the one that is meant: --conversation 'it'\"'\"'s other'"
        assert state(memory) == before
        hide(memory, session="day1", conversation="it's other")
        left = {one.conversation for one in entries(memory).values() if one.state is State.ACTIVE}
        assert left == {"talk"}


def test_what_other_messages_say_too_stays_until_they_are_forgotten(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop)
        shown = hide(memory, "m3")
        kept = entries(memory)[keep]
        assert ([key.id for key in kept.sources], kept.state, shown.kept) == (["m1"], State.ACTIVE, 1)
        assert entries(memory)[drop].state is State.DELETED
        shown = hide(memory, "m1")
        assert entries(memory)[keep].state is State.DELETED
        assert [key.id for key in entries(memory)[keep].sources] == ["m1"]  # a tombstone says what it rested on
        assert {state for _, state in states(memory, "m1")} == {"deleted"}


def ids_of(fates: list[Fate]) -> list[str]:
    return [fate.was.id for fate in fates]


@pytest.mark.parametrize("spoken_later", [False, True], ids=["first", "last"])
def test_a_merged_fact_goes_with_the_message_whose_words_it_has(home: Path, spoken_later: bool) -> None:
    """Whatever it rests on beside: what was merged into it speaks for itself again, in its own words."""
    take(home, rows())
    with opened(home, retrieve={"strategy": "words"}) as memory:
        pair = [fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]]
        keep, drop = reversed(pair) if spoken_later else pair
        born = entries(memory)[drop]
        gone, stays = (entries(memory)[id].sources[0].id for id in (keep, drop))
        merge(memory, keep, drop)
        before, merged = state(memory), entries(memory)[drop]
        foreseen = hide(memory, gone, dry_run=True)
        assert state(memory) == before
        shown = hide(memory, gone)
        assert (shown.hidden, shown.back, shown.kept) == (foreseen.hidden, foreseen.back, 0)
        assert entries(memory)[keep].id in ids_of(shown.hidden)
        assert shown.back == [Fate(merged, State.ACTIVE)]
        kept, back = entries(memory)[keep], entries(memory)[drop]
        assert (kept.state, [key.id for key in kept.sources]) == (State.DELETED, [gone])
        assert (back.state, back.text, back.sources) == (State.ACTIVE, born.text, born.sources)
        assert memory.history.entries.links_of(drop) == []
        asked = Query(text="adopted greyhound Biscuit", where=Filter(kinds=(Kind.FACT,)))
        texts = {hit.entry.text for hit in Recall(memory).retrieve(asked)}
        assert kept.text not in texts and born.text in texts
        assert len({revision.step for revision in memory.history.revisions.of_run(shown.run or 0)}) == 1
        hidden = state(memory)
        assert take_into(memory, rows()).known == 5
        assert state(memory) == hidden
        undo(memory, plan(memory))
        assert state(memory) == before
        hide(memory, stays)
        hide(memory, gone)
        assert {entries(memory)[id].state for id in pair} == {State.DELETED}


def test_what_was_merged_is_hidden_with_the_message_that_says_it(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop)
        before, was = state(memory), entries(memory)
        shown = hide(memory, "m1", "m3")
        assert {entries(memory)[id].state for id in (keep, drop)} == {State.DELETED}
        assert [fate.was for fate in shown.hidden if fate.was.id == was[drop].id] == [was[drop]]
        assert (shown.back, shown.kept) == ([], 0)
        undo(memory, plan(memory))
        assert state(memory) == before
        shown = hide(memory, "m1", was[keep].id)  # the fact itself: it takes with it what was merged into it
        assert (shown.back, entries(memory)[drop].state) == ([], State.DELETED)


def test_what_was_merged_into_a_merged_fact_comes_back_unless_its_own_words_are_forgotten(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        first, second, third = (fact(memory, words)[0] for words in ("called Biscuit", "heron", "called it Biscuit"))
        merge(memory, second, third)
        merge(memory, first, second)
        before = state(memory)
        turn = next(one.turn for one in memory.history.purge.messages(name="m5"))
        with memory.run("forget") as run, memory.history.transaction():  # and no more: the merged fact went on
            hidden = replace(entries(memory)[turn or 0], state=State.DELETED)
            revise(memory.history, turn or 0, hidden, run=run, reason="forgotten")
        assert ids_of(hide(memory, "m1").back) == [entries(memory)[third].id]
        assert {entries(memory)[id].state for id in (first, second)} == {State.DELETED}
        undo(memory, plan(memory))
        undo(memory, plan(memory, run=run))
        assert state(memory) == before
        assert ids_of(hide(memory, "m1").back) == [entries(memory)[second].id]
        assert entries(memory)[third].state is State.SUPERSEDED


def test_what_another_message_says_may_be_said_anew_after_the_merged_words_are_forgotten(home: Path) -> None:
    """The hidden fact stands for the forgotten message alone, and blocks nothing that the other one says."""
    take(home, rows())
    other = {**SAID, "m3": ("Anna", SAID["m1"][1])}
    with opened(home) as memory:
        merge(memory, fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0])
        hide(memory, "m1")
        assert take_into(memory, rows(other), HowToIngest(on_conflict="replace")).facts == 2
        assert ("fact", "active") in states(memory, "m3")


def test_a_relation_of_several_messages_stays_with_those_that_are_left(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        history = memory.history
        said = fact(memory, "garden")[1]
        of = {one.key.id: one for one in history.purge.messages()}
        relation = replace(said, id="", kind=Kind.RELATION, sources=(of["m2"].key, of["m4"].key))
        with memory.run("extract") as run, history.transaction():
            born = history.entries.add(relation, sources=[of["m2"].id, of["m4"].id], run=run)
        assert born is not None
        assert hide(memory, "m2").kept == 1
        assert (entries(memory)[born].state, history.entries.source_ids(born)) == (State.ACTIVE, [of["m4"].id])


def test_a_forgotten_fact_takes_with_it_what_was_merged_into_it_and_what_quotes_it(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        garden = fact(memory, "garden")[0]
        merge(memory, keep, drop)
        quoting, apart = summarize(memory, [keep, garden]), summarize(memory, [garden])
        shown = hide(memory, entries(memory)[keep].id[:6])
        assert {fate.was.id for fate in shown.hidden} == {entries(memory)[id].id for id in (keep, drop, quoting)}
        assert {entries(memory)[id].state for id in (keep, drop, quoting)} == {State.DELETED}
        assert {entries(memory)[id].state for id in (garden, apart)} == {State.ACTIVE}
        assert ("turn", "active") in states(memory, "m1") & states(memory, "m3")


def test_summaries_go_with_any_message_they_rest_on(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        quoting = summarize(memory, [fact(memory, "garden")[0], fact(memory, "heron")[0]])
        shown = hide(memory, "m5")
        assert entries(memory)[quoting].state is State.DELETED
        assert {fate.was.kind for fate in shown.hidden} == {Kind.TURN, Kind.FACT, Kind.SUMMARY}
        assert states(memory, "m2") >= {("turn", "active"), ("fact", "active"), ("summary", "deleted")}


def test_a_summary_goes_with_one_of_several_that_say_so_and_with_a_fact_of_messages_it_does_not_name(
    home: Path,
) -> None:
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        garden, heron = fact(memory, "garden")[0], fact(memory, "heron")[0]
        merge(memory, keep, drop)
        both = summarize(memory, [keep, garden])
        only = summarize(memory, [garden, heron], resting_on=memory.history.entries.source_ids(heron))
        hide(memory, "m3")
        assert (entries(memory)[keep].state, entries(memory)[both].state) == (State.ACTIVE, State.DELETED)
        hide(memory, "m2")
        assert entries(memory)[only].state is State.DELETED


def test_what_is_merged_into_two_comes_back_when_neither_stands(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        history = memory.history
        first, second, drop = (fact(memory, words)[0] for words in ("called Biscuit", "heron", "called it Biscuit"))
        with history.transaction():
            run = history.runs.begin("update")
            gone = replace(entries(memory)[drop], state=State.SUPERSEDED)
            links = [(first, LinkKind.MERGED_INTO), (second, LinkKind.MERGED_INTO), (second, LinkKind.CONFLICTS)]
            revise(history, drop, gone, run=run, reason="m", links=links)
            assert bring_back(history, {first}, run=run, reason="b", step=7) == []
            assert [(target, kind) for _, target, kind in history.entries.links_of(drop)] == [
                (second, LinkKind.CONFLICTS),
                (second, LinkKind.MERGED_INTO),
            ]
            assert bring_back(history, {second}, run=run, reason="b", step=8) == [drop]
            assert [(target, kind) for _, target, kind in history.entries.links_of(drop)] == [
                (second, LinkKind.CONFLICTS)
            ]


def test_it_stays_forgotten_when_it_is_ingested_again(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        hide(memory, "m1", "m4")
        before = state(memory)
        done = take_into(memory, rows())
        assert (done.known, done.messages, done.facts) == (5, 0, 0)
        assert state(memory) == before
        other = rows({**SAID, "m4": ("Boris", "We saw an otter below the bridge at dusk.")})
        done = take_into(memory, other, HowToIngest(on_conflict="replace"))
        assert (done.replaced, done.facts) == (1, 0)
        assert states(memory, "m4") == {("turn", "deleted"), ("fact", "deleted")}
        assert found(memory, "otter bridge dusk") <= {"m2", "m3", "m5"}
        assert memory.history.work.pending() == {}


def test_nothing_is_made_of_what_was_forgotten_before_its_extraction(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(home, rows(), HowToIngest(journal_only=True))
    with opened(home) as memory:
        hide(memory, "m1")
        read: list[str] = []
        extractor = memory.extractor
        memory.__dict__["extractor"] = type(
            "Watched", (), {"extract": lambda _, some: read.extend(m.id for m in some) or extractor.extract(some)}
        )()
        with memory.run("extract") as run:
            list(work_off(memory, run=run))
        assert read == ["m2", "m3", "m4", "m5"]
        assert states(memory, "m1") == {("turn", "deleted")}
        assert memory.history.work.pending() == {}


def test_what_is_forgotten_while_another_process_reads_it_is_not_made_into_facts(home: Path) -> None:
    take(home, rows(), HowToIngest(journal_only=True))
    with opened(home) as slow, opened(home) as other:
        extractor = slow.extractor

        def extract(some: Sequence[Message]) -> list[Entry]:
            hide(other, "m1")
            return extractor.extract(some)

        slow.__dict__["extractor"] = type("Slow", (), {"extract": staticmethod(extract)})()
        with slow.run("extract") as run:
            list(work_off(slow, run=run))
        assert states(slow, "m1") == {("turn", "deleted")}
        assert ("fact", "active") in states(slow, "m2")


@pytest.mark.parametrize(
    ("says", "born"),
    [
        ("I work at the botanical garden, near the river!", False),
        ("I work at the botanical garden near the river.", False),
        ("I never work at the botanical garden near the river.", True),
    ],
)
def test_a_forgotten_fact_blocks_those_that_say_the_same_from_its_messages(home: Path, says: str, born: bool) -> None:
    take(home, rows())
    with opened(home) as memory:
        hide(memory, fact(memory, "garden")[1].id)
        done = take_into(memory, rows({**SAID, "m2": ("Boris", says)}), HowToIngest(on_conflict="replace"))
        assert done.facts == born
        assert (("fact", "active") in states(memory, "m2")) == born
        take_into(memory, [line(id="m6", speaker="Boris", content=SAID["m2"][1], session="day1", conversation="talk")])
        assert ("fact", "active") in states(memory, "m6")  # said anew, it is known anew


RESAID = {
    **SAID,
    "m2": ("Boris", "I work at the botanical garden, near the river!"),
    "m4": ("Boris", "We bought two odd tickets for the concert in Lisbon."),
}


def test_a_fact_that_is_forgotten_while_another_process_reads_its_message_is_not_made_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(home, rows())
    with opened(home) as slow, opened(home) as other:
        garden, tickets = (fact(other, words)[1].id for words in ("garden", "tickets"))
        hide(other, tickets)
        take_into(slow, rows(RESAID), HowToIngest(on_conflict="replace", journal_only=True))
        embed = slow.embedder.embed

        def compared_meanwhile(texts: Sequence[str]) -> Any:
            hide(other, garden)
            return embed(texts)

        monkeypatch.setattr(slow.embedder, "embed", compared_meanwhile)
        with slow.run("extract") as run:
            while extract_some(slow, run=run):
                pass
        assert ("fact", "active") not in states(slow, "m2")
        assert ("fact", "deleted") in states(slow, "m2")


def test_one_odd_text_does_not_keep_others_from_being_compared(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(home, rows())
    with opened(home) as memory:
        hide(memory, *(fact(memory, words)[1].id for words in ("garden", "tickets")))
        take_into(memory, rows(RESAID), HowToIngest(on_conflict="replace", journal_only=True))
        embed = memory.embedder.embed

        def refuse(texts: Sequence[str]) -> Any:
            if any("odd" in text for text in texts):
                raise ValueError("an odd text")
            return embed(texts)

        monkeypatch.setattr(memory.embedder, "embed", refuse)
        with memory.run("extract") as run:
            while extract_some(memory, run=run):
                pass
        assert [one.reason for one in memory.history.work.quarantined()] == ["ValueError: an odd text"]
        assert ("fact", "active") not in states(memory, "m2") | states(memory, "m4")


def test_without_a_forgotten_fact_the_same_words_are_remembered(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        other = {**SAID, "m2": ("Boris", "I work at the botanical garden, near the river!")}
        assert take_into(memory, rows(other), HowToIngest(on_conflict="replace")).facts == 1


def test_forgetting_twice_says_so_and_leaves_no_run(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        hide(memory, "m1")
        before, runs = state(memory), memory.history.runs.newest(9)
        assert hide(memory, "m1") == Forgotten()
        gone = next(one for one in entries(memory, of="m1").values() if one.kind is Kind.FACT)
        assert hide(memory, gone.id) == Forgotten()
        assert (state(memory), memory.history.runs.newest(9)) == (before, runs)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        summarize(memory, [fact(memory, "garden")[0]])
        before, runs = state(memory), memory.history.runs.newest(9)
        shown = hide(memory, "m1", "m2", dry_run=True)
        assert (state(memory), memory.history.runs.newest(9), shown.run) == (before, runs, None)
        assert hide(memory, "m1", "m2").hidden == shown.hidden


def test_sets_of_messages_narrow_each_other_and_the_ids(home: Path) -> None:
    take(home, rows(conversation="talk") + rows(conversation="other"))
    with opened(home) as memory:
        with pytest.raises(InputError, match="'m1' is not one entry") as error:
            hide(memory, "m1")
        assert "--conversation" in str(error.value.hint)
        assert all(one.id in error.value.message for one in entries(memory, of="m1").values() if one.kind is Kind.TURN)
        hide(memory, "m1", conversation="talk")
        hide(memory, speaker="boris", conversation="other")
        hidden = {key for one in entries(memory).values() if one.state is State.DELETED for key in one.sources}
        assert {(key.conversation, key.id) for key in hidden} == {("talk", "m1"), ("other", "m2"), ("other", "m4")}
        with pytest.raises(InputError, match="no message of session 'day9'"):
            hide(memory, session="day9")
        with pytest.raises(InputError, match="no entry's id begins with 'm2' of speaker 'Anna'"):
            hide(memory, "m2", speaker="Anna")
        with pytest.raises(InputError, match="not said what"):
            hide(memory)


def test_a_replaced_message_lets_go_of_what_others_say_too(home: Path) -> None:
    """The facts that an update merged do not vanish because the words of one of their messages were replaced."""
    take(home, rows())
    other = {**SAID, "m1": ("Anna", "I sold my old piano to a neighbour yesterday.")}
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop)
        take_into(memory, rows(other), HowToIngest(on_conflict="replace"))
        assert entries(memory)[keep].state is State.UNSUPPORTED
        assert entries(memory)[drop].state is State.ACTIVE
        assert memory.history.entries.links_of(drop) == []
        take_into(memory, rows(), HowToIngest(on_conflict="replace"))  # and said again, it is there again
        assert {entries(memory)[id].state for id in (keep, drop)} == {State.ACTIVE}


def test_what_a_replaced_message_had_added_to_another_fact_is_taken_from_it(home: Path) -> None:
    take(home, rows())
    other = {**SAID, "m3": ("Anna", "I sold my old piano to a neighbour yesterday.")}
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        text = entries(memory)[keep].text
        merge(memory, keep, drop, text=entries(memory)[drop].text)
        take_into(memory, rows(other), HowToIngest(on_conflict="replace"))
        kept = entries(memory)[keep]
        assert ([key.id for key in kept.sources], kept.text, kept.state) == (["m1"], text, State.ACTIVE)
        assert entries(memory)[drop].state is State.UNSUPPORTED
        assert memory.history.work.pending() == {}
        take_into(memory, rows(), HowToIngest(on_conflict="replace"))
        assert entries(memory)[drop].state is State.ACTIVE


@settings(max_examples=25)
@given(
    runs=st.lists(st.lists(st.sampled_from([*SAID, 0, 1, 2, 3, 4, 5, 6]), min_size=1, max_size=3), max_size=3),
    merges=st.lists(st.sampled_from([(0, 1), (1, 2), (3, 0), (4, 5)]), max_size=2, unique=True),
)
def test_whatever_was_forgotten_comes_back_by_its_revisions(
    runs: list[list[str | int]], merges: list[tuple[int, int]]
) -> None:
    with empty_home() as home:
        take(home, rows())
        with opened(home) as memory:
            history = memory.history
            facts = [id for id, one in entries(memory).items() if one.kind is Kind.FACT]
            for keep, drop in merges:
                if {entries(memory)[facts[keep]].state, entries(memory)[facts[drop]].state} == {State.ACTIVE}:
                    merge(memory, facts[keep], facts[drop])
            facts.append(summarize(memory, facts[:2]))
            before, first = state(memory), memory.history.runs.newest(1)[0].id
            for names in runs:
                ids = [name if isinstance(name, str) else entries(memory)[facts[name]].id for name in names]
                hide(memory, *ids)
            for turn in (one for one in entries(memory).values() if one.kind is Kind.TURN):
                resting = [one for one in entries(memory, of=turn.sources[0].id).values() if len(one.sources) == 1]
                assert turn.state is State.ACTIVE or all(one.state is State.DELETED for one in resting)
            forgotten = {one.sources for one in entries(memory).values() if (one.kind, one.state) == GONE}
            for id, one in entries(memory).items():  # nothing that is found says what only they said
                born = tuple(
                    key for m in history.purge.messages() if m.id in history.purge.born_of(id) for key in [m.key]
                )
                assert one.kind is not Kind.FACT or one.state is not State.ACTIVE or born not in forgotten
            done = [
                one for run in range(history.runs.newest(1)[0].id, first, -1) for one in history.revisions.of_run(run)
            ]
            with history.transaction():
                run = history.runs.begin("undo")
                for revision in sorted(done, key=lambda one: -one.id):
                    take_back(history, revision, run=run, reason="undo", step=history.revisions.new_step())
            assert state(memory) == before


def test_the_command_prints_what_it_hides(home: Path) -> None:
    take(home, rows())
    dry = lightmem("forget", "m2", "--dry-run")
    assert dry.stderr == b"would forget 1 message and 1 fact\n"
    done = lightmem("forget", "m2", "m5", "--json")
    printed = [json.loads(one) for one in lines_of(done.stdout)]
    assert {tuple(one) for one in printed} == {("id", "kind", "text", "was", "now")}
    assert [(one["kind"], one["was"], one["now"]) for one in printed] == [
        (kind, "active", "deleted") for kind in ("turn", "fact", "turn", "fact")
    ]
    assert printed[0]["text"] == SAID["m2"][1]
    assert done.stderr == b"forgot 2 messages and 2 facts; lightmem undo 2 brings them back\n"
    again = lightmem("forget", "m2")
    assert (again.returncode, again.stdout) == (0, b"")
    assert again.stderr == b"m2 is forgotten already; nothing was changed\n"
    with opened(home) as memory:
        merge(memory, fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0])
        summarize(memory, [fact(memory, "Clara")[0]])
    done = lightmem("forget", "m1")
    assert b", active: " in done.stdout.splitlines()[-1]
    said = b"forgot 1 message, 2 facts and 1 summary; lightmem undo 6 brings them back\n"
    assert done.stderr == said + b"1 fact merged into those came back\n"
    refused = lightmem("forget", "nobody")
    assert (refused.returncode, refused.stdout) == (2, b"")


def test_words_that_a_plan_took_from_a_forgotten_message_go_with_it() -> None:
    said = {"m1": ("Anna", "I adopted a greyhound called Biscuit."), "m2": ("Anna", "I adopted it for 900 Quetzal.")}
    with empty_home() as home:
        take(home, rows(said))
        with opened(home) as memory:
            facts = memory.history.entries.get(memory.history.entries.of_kind(Kind.FACT))
            [(kept, one), (_, other)] = facts.items()
            dropped = Dropped(id=other.id, version=1, text=other.text, why="edited")
            apply_plan(memory, [Merge(keep=one.id, version=1, text=other.text, drop=(dropped,))])
            before = state(memory)
            hide(memory, "m2")
            assert memory.history.entries.get([kept])[kept].text == one.text
            assert memory.history.entries.get([kept])[kept].state is State.ACTIVE
            undo(memory, plan(memory))
            assert state(memory) == before
