"""Log: every command that wrote and all that an entry lived through, each change with what was and what became."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from changes import CHAT, called, entry, hide, merge, of_kind, rewrite, summarize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import empty_home, line, opened, take, take_into

from lightmem_cli.engine import Memory
from lightmem_cli.engine.care import reindex
from lightmem_cli.engine.forget import Target, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.log import life, run_told, runs
from lightmem_cli.engine.pin import pin
from lightmem_cli.engine.purge import purge, to_purge
from lightmem_cli.engine.undo import plan, undo
from lightmem_cli.errors import InputError
from lightmem_cli.records import Kind, LinkKind, State
from lightmem_cli.store.history.entries import columns_of

ROWS = [line(**row) for row in CHAT]
NEW = "Gina was a banker until May 2023."


@pytest.fixture
def memory(home: Path) -> Iterator[Memory]:
    take(home, ROWS)
    with opened(home) as memory:
        yield memory


def test_runs_say_what_they_did_and_whether_it_stands(memory: Memory) -> None:
    one, other = of_kind(memory, Kind.FACT)[:2]
    merged = merge(memory, one, other)
    summarized, _ = summarize(memory, [one, other])
    take_into(memory, ROWS)  # known already
    undo(memory, plan(memory, run=summarized))
    told = {told.run.id: told for told in runs(memory, limit=100)}
    assert list(told) == [5, 4, 3, 2, 1]
    assert told[1].deeds.born == {"turn": len(CHAT), "fact": len(of_kind(memory, Kind.FACT))}
    assert (told[merged].deeds.revised, told[merged].undone_by) == (2, None)
    assert (told[summarized].deeds.born, told[summarized].undone_by, told[summarized].wholly) == (
        {"summary": 1},
        5,
        True,
    )
    assert told[4].deeds == ({}, 0, 0)
    assert (told[5].undid, told[5].undone_by) == ((summarized,), None)
    undo(memory, plan(memory, run=5))
    told = {told.run.id: told for told in runs(memory, limit=4)}
    assert list(told) == [6, 5, 4, 3]
    assert (told[summarized].undone_by, told[5].undone_by, told[6].undid) == (None, 6, (5,))


def test_a_run_undone_in_part_says_so(memory: Memory) -> None:
    facts = of_kind(memory, Kind.FACT)
    with memory.run("update") as run, memory.history.transaction():
        for id in facts[:2]:
            other = replace(entry(memory, id), state=State.UNSUPPORTED)
            memory.history.revisions.revise(id, other, run=run, reason="tried")
    undo(memory, plan(memory, revision=memory.history.revisions.of_run(run)[0].id))
    [told] = [told for told in runs(memory, limit=9) if told.run.id == run]
    assert (told.undone_by, told.wholly) == (run + 1, False)
    undo(memory, plan(memory, run=run))
    [told] = [told for told in runs(memory, limit=9) if told.run.id == run]
    assert (told.undone_by, told.wholly) == (run + 2, True)


def test_a_life_is_told_from_birth_on(memory: Memory) -> None:
    one, other = of_kind(memory, Kind.FACT)[:2]
    was = entry(memory, other)
    merge(memory, one, other, text=NEW)
    undo(memory, plan(memory))
    now, [born, revised, back] = life(memory, was.id)
    assert (now.text, now.version) == (was.text, 3)
    assert (born.revision, born.run.command, born.entry) == (None, "ingest", was)
    assert (revised.reason, revised.undone_by) == (f"{entry(memory, one).id} says it too", back.run.id)
    keys = (*entry(memory, one).sources, *was.sources)  # in the order in which they were said
    assert revised.changes == {"text": (was.text, NEW), "sources": (was.sources, keys)}
    assert (revised.entry.text, revised.entry.sources) == (NEW, keys)
    assert (back.reason, back.changes["text"], back.undone_by) == (
        f"undo of run {revised.run.id}",
        (NEW, was.text),
        None,
    )
    _, [_, superseded, _] = life(memory, entry(memory, one).id)
    assert superseded.changes == {"state": ("active", "superseded"), "links": ((), ((LinkKind.MERGED_INTO, was.id),))}
    assert superseded.at <= back.at


def test_all_that_a_run_did_is_told_entry_by_entry(memory: Memory) -> None:
    facts = of_kind(memory, Kind.FACT)
    rewrite(memory, facts[0], NEW)
    run = hide(memory, facts[:2])
    told, events = run_told(memory, run)
    assert (told.run.command, told.deeds.revised) == ("forget", 2)
    assert [(event.entry.id, event.entry.state, event.run.id) for event in events] == [
        (entry(memory, id).id, State.DELETED, run) for id in facts[:2]
    ]
    _, births = run_told(memory, 1)
    assert all(event.revision is None for event in births)
    assert NEW not in {event.entry.text for event in births}  # as it was born
    assert len(births) == len(CHAT) + len(facts)
    with pytest.raises(InputError, match="there is no run 99"):
        run_told(memory, 99)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["text", "state", "pin", "merge", "undo"]), st.integers(0, 2)), max_size=8))
def test_each_event_is_what_the_entry_was_at_the_time(does: list[tuple[str, int]]) -> None:
    with empty_home() as home, opened(home) as memory:
        take_into(memory, ROWS)
        facts = of_kind(memory, Kind.FACT)[:3]
        seen = {id: [columns_of(entry(memory, id))] for id in facts}
        for number, (what, which) in enumerate(does):
            id, other = facts[which], facts[which - 1]
            match what:
                case "text":
                    rewrite(memory, id, f"Text {number}.")
                case "state" if entry(memory, id).state is State.ACTIVE:
                    hide(memory, [id])
                case "pin" if entry(memory, id).state is State.ACTIVE:
                    pin(memory, [entry(memory, id).id], pinned=bool(number % 2))
                case "merge":
                    merge(memory, id, other)
                case "undo":
                    with suppress(InputError):  # nothing to undo
                        undo(memory, plan(memory))
            for one in facts:
                if columns_of(entry(memory, one)) != seen[one][-1]:
                    seen[one].append(columns_of(entry(memory, one)))
        for id in facts:
            _, events = life(memory, entry(memory, id).id)
            assert [columns_of(event.entry) for event in events] == seen[id]


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_prints_runs_lives_and_deeds(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, ROWS)
        one, other = of_kind(memory, Kind.FACT)[:2]
        first, second = entry(memory, one), entry(memory, other)
        merge(memory, one, other, text=NEW)
        undo(memory, plan(memory))
        topics = memory.history.counts.segments()
    said = [re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "WHEN", row) for row in called("log").stdout.splitlines()]
    assert said == [
        "   3  WHEN  undo       2 entries revised, undid run 2",
        "   2  WHEN  update     2 entries revised, undone by run 3",
        f"   1  WHEN  ingest     5 messages, {len(_facts(home))} facts, {topics} topics",
    ]
    assert len(called("log", "--limit", "1").stdout.splitlines()) == 1
    rows = [
        json.loads(row)
        for row in called("log", "--json", LIGHTMEM_TRANSCRIPT__TIMEZONE="Asia/Tokyo").stdout.splitlines()
    ]
    assert [(row["run"], row["command"], row["undone_by"], row["undoes"]) for row in rows] == [
        (3, "undo", None, [2]),
        (2, "update", 3, []),
        (1, "ingest", None, []),
    ]
    [utc] = [json.loads(row)["started"] for row in called("log", "--limit", "1", "--json").stdout.splitlines()]
    hours = (datetime.fromisoformat(rows[0]["started"]) - datetime.fromisoformat(utc)).total_seconds() / 3600
    assert hours == 9  # the profile's zone

    life = called("log", second.id[:8]).stdout
    for words in ("from 2", "(ingest)", "(update): " + first.id, f"text: {second.text}\n", f"→  {NEW}\n", "+ 1", "- 1"):
        assert words in life
    assert "undone by run 3" in life and "now active, version 3" in life
    assert f"links: + merged into {second.id}" in called("log", first.id).stdout
    events = [json.loads(row) for row in called("log", second.id, "--json").stdout.splitlines()]
    assert [event["event"] for event in events] == ["born", "revised", "revised", "now"]
    assert events[1]["changes"]["text"] == {"before": second.text, "after": NEW}
    assert events[3]["text"] == second.text
    done = called("log", "--run", "2").stdout
    assert "run 2 " in done and first.id in done and second.id in done and "born" not in done
    assert len(called("log", "--run", "2", "--json").stdout.splitlines()) == 2


def test_what_a_run_did_beside_its_entries_is_told_or_nothing(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, ROWS, HowToIngest(keep_open=True))
        take_into(memory, ROWS)
        rewrite(memory, of_kind(memory, Kind.FACT)[0], NEW)
        reindex(memory, progress=lambda done: None)
        with memory.run("doctor"), memory.history.transaction():
            memory.history.mends.set_entry(of_kind(memory, Kind.TURN)[0], agent="nobody")
        with memory.run("extract"):
            pass
        topics = f"{memory.history.counts.segments()} topics"
        assert _deeds() == ["no entry changed", "", "", "1 entry revised", topics, "5 messages, 4 facts"]
        purge(memory, to_purge(memory, resolve(memory, Target(ids=("1", "2")))))
    outlived = "nothing that outlived the purge of run 7"
    purged, *before, first = _deeds()
    assert purged == "2 messages purged"
    assert before == [outlived, outlived, outlived, outlived, topics]
    assert first == "3 messages, 2 facts, 2 messages of it purged since"
    rows = [json.loads(row) for row in called("log", "--json").stdout.splitlines()]
    assert [(row["purged"], row["purged_since"], row["topics"]) for row in (rows[0], rows[-1])] == [
        (2, 0, 0),
        (0, 2, 0),
    ]


def _deeds() -> list[str]:
    """What `lightmem log` says that each run did, newest first."""
    return [" ".join(row.split()[3:]) for row in called("log").stdout.splitlines()]


def test_the_command_refuses_two_questions_and_says_when_there_is_nothing() -> None:
    assert called("log", "--json").stdout == ""
    assert "nothing has been written" in called("log").stderr
    assert isinstance(called("log", "3fa9", "--run", "1").exception, InputError)


def _facts(home: Path) -> list[int]:
    with opened(home) as memory:
        return of_kind(memory, Kind.FACT)
