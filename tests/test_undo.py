"""Undo: what a run changed is given back to the letter, or nothing is changed and it is said what stands in the way."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from changes import CHAT, entry, hide, links_from, merge, of_kind, rewrite, summarize, with_what_rests_on_it_alone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memories import Kept, answers_of, empty_home, kept_by, line, opened, same_answers, take, take_into
from process import lightmem, lines_of, start

from lightmem_cli.engine import Memory, undo
from lightmem_cli.engine.doctor import doctor
from lightmem_cli.engine.forget import Target, forget, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.log import Told
from lightmem_cli.engine.log import runs as told
from lightmem_cli.engine.pending import work_off
from lightmem_cli.engine.pin import pin
from lightmem_cli.engine.summaries import summarize as retell
from lightmem_cli.engine.undo import ChangedSince, plan
from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, Kind, State

ROWS = [line(**row) for row in CHAT]


@pytest.fixture
def memory(home: Path) -> Iterator[Memory]:
    take(home, ROWS)
    with opened(home) as memory:
        yield memory


def undone(memory: Memory, run: int | None = None, *, revision: int | None = None) -> list[Entry]:
    return undo.undo(memory, plan(memory, run=run, revision=revision))


def newest(memory: Memory) -> int:
    return memory.history.runs.newest(1)[0].id


def runs(memory: Memory) -> list[tuple[int, str, str | None]]:
    return [(run.id, run.command, run.outcome) for run in memory.history.runs.newest(1000)]


# What is given back -------------------------------------------------------------------------------------------------


def test_a_merge_undone_leaves_no_trace_and_done_again_is_the_same(memory: Memory) -> None:
    one, other = of_kind(memory, Kind.FACT)[:2]
    before, answered = kept_by(memory), answers_of(memory)
    run = merge(memory, one, other, text="Gina was a banker until 3 May 2023, when she lost her job.")
    merged, answered_merged = kept_by(memory), answers_of(memory)
    assert merged.state != before.state and merged.vectors != before.vectors
    given_back = undone(memory, run)
    assert {one.id for one in given_back} == {entry(memory, id).id for id in (one, other)}
    assert kept_by(memory) == before
    same_answers(answers_of(memory), answered)
    undone(memory, newest(memory))
    assert kept_by(memory) == merged
    same_answers(answers_of(memory), answered_merged)
    undone(memory)  # the merge stands again, and so it is the last run there is to undo
    assert kept_by(memory) == before
    assert all(finding.well for finding in doctor(memory))


def test_one_step_of_a_run_is_undone_without_the_others(memory: Memory) -> None:
    facts = of_kind(memory, Kind.FACT)
    with memory.run("update") as run, memory.history.transaction():
        for id in facts[:2]:
            changed = {"text": f"No. {id}", "state": State.UNSUPPORTED}
            memory.history.revisions.revise(id, _with(entry(memory, id), **changed), run=run, reason="tried")
    first, second = memory.history.revisions.of_run(run)
    assert [one.id for one in undone(memory, revision=second.id)] == [entry(memory, facts[1]).id]
    assert (entry(memory, facts[0]).text, entry(memory, facts[1]).version) == (f"No. {facts[0]}", 3)
    undone(memory, run)  # what is left of it
    assert entry(memory, facts[0]).state is State.ACTIVE
    with pytest.raises(InputError, match=f"revision {first.id} is undone already"):
        plan(memory, revision=first.id)


def test_what_was_one_step_is_done_again_in_one(memory: Memory) -> None:
    facts = of_kind(memory, Kind.FACT)
    with memory.run("update") as run, memory.history.transaction():
        for id in (*facts[:2], facts[2]):
            step = None if id == facts[2] else memory.history.revisions.of_run(run)[:1]
            after = replace(entry(memory, id), state=State.UNSUPPORTED)
            memory.history.revisions.revise(id, after, run=run, reason="tried", step=step[0].step if step else None)
    undone(memory, run)
    unmade = memory.history.revisions.of_run(newest(memory))
    assert [one.entry for one in unmade] == [facts[2], facts[1], facts[0]]
    assert len({one.step for one in unmade}) == 2
    undone(memory, revision=unmade[1].id)
    states = [entry(memory, id).state for id in facts[:3]]
    assert states == [State.UNSUPPORTED, State.UNSUPPORTED, State.ACTIVE]


def test_what_was_born_is_hidden_with_its_links_and_comes_back_with_them(memory: Memory) -> None:
    facts = of_kind(memory, Kind.FACT)
    _, summary = summarize(memory, facts)
    with_summary = kept_by(memory)
    [gone] = undone(memory)
    assert (gone.id, gone.state) == (entry(memory, summary).id, State.DELETED)
    assert memory.history.entries.links_of(summary) == []
    [back] = undone(memory, newest(memory))
    assert back.state is State.ACTIVE
    assert len(memory.history.entries.links_of(summary)) == len(facts)
    assert kept_by(memory) == with_summary
    assert summarize(memory, facts)[1] == summary  # born once


def test_an_ingest_undone_is_forgotten_and_stays_so(home: Path) -> None:
    take(home, ROWS[:3])
    with opened(home) as memory:
        before = answers_of(memory)
        take_into(memory, ROWS)
        ingested = kept_by(memory)
        undone(memory, newest(memory))
        same_answers(answers_of(memory), before)
        take_into(memory, ROWS)
        same_answers(answers_of(memory), before)
        undone(memory, _run_of(memory, "undo"))
        take_into(memory, [])
        assert kept_by(memory) == ingested


def test_messages_that_come_back_unread_are_read(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, ROWS, HowToIngest(journal_only=True))
        undone(memory, newest(memory))
        with memory.run("extract") as run:
            for _ in work_off(memory, run=run):
                pass
        assert of_kind(memory, Kind.FACT) == []
        undone(memory, _run_of(memory, "undo"))
        take_into(memory, [])
        expected = kept_by(memory)
    with empty_home() as other:
        take(other, ROWS)
        with opened(other) as memory:
            assert kept_by(memory).state == expected.state


def test_what_comes_back_waits_for_nothing(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, ROWS)
        before = kept_by(memory)
        forget(memory, resolve(memory, Target(ids=("4",))))  # of "Thanks!" no fact is made
        undone(memory)
        assert memory.history.work.pending() == {}
        assert kept_by(memory) == before
        take_into(
            memory, [line(id="6", session="t", speaker="Jon", content="I sold my car.")], HowToIngest(journal_only=True)
        )
        forget(memory, resolve(memory, Target(ids=("6",))))
        undone(memory)
        assert "Jon sold Jon's car." in {entry(memory, id).text for id in of_kind(memory, Kind.FACT)}
        assert all(finding.well for finding in doctor(memory))


def test_an_undo_cut_short_has_changed_nothing(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    run = hide(memory, of_kind(memory, Kind.FACT))
    before = kept_by(memory)
    left = iter([None])

    def once(*arguments: object, **options: object) -> int:
        next(left)
        return take_back(*arguments, **options)  # type: ignore[arg-type]

    take_back = undo.take_back
    with monkeypatch.context() as patch, pytest.raises(StopIteration):
        patch.setattr(undo, "take_back", once)
        undone(memory, run)
    assert kept_by(memory) == before
    undone(memory)
    assert all(entry(memory, id).state is State.ACTIVE for id in of_kind(memory, Kind.FACT))


# What is refused ----------------------------------------------------------------------------------------------------


def test_an_entry_that_changed_since_is_not_overwritten(memory: Memory) -> None:
    one, other, third = of_kind(memory, Kind.FACT)[:3]
    first = merge(memory, one, other, text="Gina lost her job.")
    second = rewrite(memory, other, "Gina lost her job in May.")
    pin(memory, [entry(memory, third).id], pinned=True)
    before, ran = kept_by(memory), runs(memory)
    with pytest.raises(
        ChangedSince, match=rf"run {first} \(update\) cannot be undone: 1 entry changed since"
    ) as refused:
        undone(memory, first)
    assert [(one.entry.id, one.run.id) for one in refused.value.conflicts] == [(entry(memory, other).id, second)]
    assert refused.value.hint is not None and f"lightmem undo {second}" in refused.value.hint
    assert (kept_by(memory), runs(memory)) == (before, ran)
    undone(memory, second)
    undone(memory, first)  # what changed since was taken back
    assert entry(memory, one).state is State.ACTIVE


def test_what_rests_on_it_by_now_stands_in_the_way(memory: Memory) -> None:
    [ingest] = [run for run, command, _ in runs(memory) if command == "ingest"]
    late, summary = summarize(memory, of_kind(memory, Kind.FACT)[:1])
    with pytest.raises(ChangedSince) as refused:
        undone(memory, ingest)
    assert [(one.entry.id, one.run.id) for one in refused.value.conflicts] == [(entry(memory, summary).id, late)]
    undone(memory, late)
    undone(memory, ingest)
    assert {entry(memory, id).state for kind in Kind for id in of_kind(memory, kind)} == {State.DELETED}


def test_a_summary_of_more_than_goes_stands_in_the_way_too(home: Path) -> None:
    take(home, ROWS[:2])
    with opened(home) as memory:
        take_into(memory, ROWS)
        ingest, facts = newest(memory), of_kind(memory, Kind.FACT)
        late, summary = summarize(memory, [facts[0], facts[-1]])
        with pytest.raises(ChangedSince) as refused:
            undone(memory, ingest)
        assert [(one.entry.id, one.run.id) for one in refused.value.conflicts] == [(entry(memory, summary).id, late)]


def test_facts_made_later_of_the_same_messages_stand_in_the_way(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, ROWS, HowToIngest(journal_only=True))
        with memory.run("extract") as run:
            for _ in work_off(memory, run=run):
                pass
        with pytest.raises(ChangedSince) as refused:
            undone(memory, _run_of(memory, "ingest"))
        assert {one.run.id for one in refused.value.conflicts} == {run}
        assert len(refused.value.conflicts) == len(of_kind(memory, Kind.FACT))


def test_nothing_comes_back_whose_message_was_forgotten_since(memory: Memory) -> None:
    history = memory.history
    one, other = of_kind(memory, Kind.FACT)[:2]
    merged = merge(memory, one, other)
    turn, message = next(
        (t, m) for t, m in history.reading.sources(of_kind(memory, Kind.TURN)) if m == _message(memory, one)
    )
    forgot = hide(memory, [turn])  # and leaves the merged fact superseded, which hides it too
    assert message in history.entries.forgotten([message])
    with pytest.raises(ChangedSince) as refused:
        undone(memory, merged)
    assert [(one.entry.id, one.run.id) for one in refused.value.conflicts] == [(entry(memory, one).id, forgot)]
    undone(memory, forgot)
    undone(memory, merged)
    assert entry(memory, one).state is State.ACTIVE


def test_runs_that_cannot_be_undone_say_why(memory: Memory) -> None:
    take_into(memory, [line(**CHAT[0] | {"content": "I like my job."})], HowToIngest(on_conflict="replace"))
    replaced = newest(memory)
    take_into(memory, ROWS[1:])
    nothing = newest(memory)
    before, ran = kept_by(memory), runs(memory)
    for run, why in (
        (replaced, rf"run {replaced} \(ingest\) cannot be undone: it replaced messages"),
        (nothing, rf"run {nothing} \(ingest\) has nothing to take back"),
        (99, "there is no run 99"),
    ):
        with pytest.raises(InputError, match=why):
            undone(memory, run)
    with pytest.raises(InputError, match="there is no revision 99"):
        undone(memory, revision=99)
    assert (kept_by(memory), runs(memory)) == (before, ran)
    with memory.run("purge") as purge, memory.history.transaction():
        memory.history.revisions.revise(1, entry(memory, 1), run=purge, reason="purged")
    with pytest.raises(InputError, match="what was purged is gone for good"):
        undone(memory, purge)


def test_there_may_be_nothing_to_undo(home: Path) -> None:
    with opened(home) as memory:
        with pytest.raises(InputError, match="there is nothing to undo"):
            plan(memory)
        take_into(memory, ROWS)
        undone(memory, 1)
        with pytest.raises(InputError, match="there is nothing to undo") as nothing:
            plan(memory)
        assert nothing.value.hint == "lightmem log says what each run did"
        with pytest.raises(InputError, match=r"run 1 is undone already \(by run 2\)"):
            plan(memory, run=1)


def test_undone_time_and_again_it_never_comes_to_what_was_ingested(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, ROWS[:3])
        take_into(memory, ROWS, HowToIngest(journal_only=True))
        last = newest(memory)
        with memory.run("extract") as extracted:
            for _ in work_off(memory, run=extracted):
                pass
        before = kept_by(memory)
        pin(memory, ["1"], pinned=True)
        undone(memory)
        for _ in range(2):
            with pytest.raises(InputError, match="there is nothing to undo") as nothing:
                undone(memory)
            assert (
                nothing.value.hint == f"lightmem undo {extracted} takes back what run {extracted} (extract) brought in"
            )
        assert kept_by(memory) == before
        undone(memory, extracted)
        with pytest.raises(InputError, match="there is nothing to undo") as nothing:
            undone(memory)
        assert nothing.value.hint == f"lightmem undo {last} takes back what run {last} (ingest) brought in"


def test_the_last_run_to_undo_is_found_without_what_was_undone_before(memory: Memory) -> None:
    """Counted in steps of SQLite: a long past adds next to none, and what was undone since some for each, not more."""
    facts = of_kind(memory, Kind.FACT)
    first = rewrite(memory, facts[0], "Gina lost her job.")

    def there_and_back(times: int) -> None:
        for _ in range(times):
            hide(memory, facts[:1])
            undone(memory)

    there_and_back(8)
    assert plan(memory).run.id == first
    few = _steps(memory)
    there_and_back(24)
    assert plan(memory).run.id == first
    assert _steps(memory) < 6 * few, "four times as many are more than four times the work"
    last = hide(memory, facts[1:])
    before = _steps(memory)
    assert plan(memory).run.id == last
    assert before < few, "all that was undone before is read again"


def _steps(memory: Memory) -> int:
    """How many steps of its virtual machine SQLite takes to find the last run that there is to undo."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    memory.history.connection.set_progress_handler(count, 1)
    try:
        undo._latest(memory.history)
    finally:
        memory.history.connection.set_progress_handler(None, 1)
    return taken


# Any order of things ------------------------------------------------------------------------------------------------


class Op(NamedTuple):
    does: str
    one: int
    other: int


ops = st.builds(
    Op,
    st.sampled_from(
        [
            "merge",
            "merge anew",
            "rewrite",
            "rewrite twice",
            "hide",
            "forget",
            "pin",
            "summarize",
            "undo",
            "undo",
            "step",
            "ingest",
        ]
    ),
    st.integers(0, 9),
    st.integers(0, 9),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ops, min_size=2, max_size=12))
@example([Op("summarize", 0, 1), Op("undo", 0, 0), Op("forget", 0, 0), Op("undo", 3, 0)])
@example([Op("summarize", 0, 1), Op("undo", 0, 0), Op("hide", 0, 0), Op("undo", 3, 0)])
@example([Op("summarize", 0, 1), Op("undo", 0, 0), Op("hide", 0, 0), Op("undo", 3, 0), Op("undo", 0, 0)])
@example([Op("merge", 0, 1), Op("forget", 0, 1), Op("undo", 0, 0), Op("hide", 0, 1)])
@example([Op("merge", 0, 1), Op("undo", 0, 0), Op("undo", 3, 0), Op("undo", 0, 0), Op("undo", 5, 0)])
def test_any_undo_is_exact_or_refused_and_all_undone_is_the_beginning(plans: list[Op]) -> None:
    with empty_home() as home, opened(home) as memory:
        take_into(memory, ROWS)
        first, facts = kept_by(memory), of_kind(memory, Kind.FACT)
        before: dict[int, Kept] = {}
        for op in plans:
            known, last = kept_by(memory), newest(memory)
            _do(memory, op, facts)
            _quotes_nothing_hidden(memory)
            if newest(memory) == last:
                continue
            run = newest(memory)
            before[run] = known
            after = kept_by(memory)
            if after.state == known.state:
                continue
            undone(memory, run)  # nothing happened since, so this never conflicts
            _same(kept_by(memory), known)
            undone(memory, newest(memory))
            assert _but_pending(kept_by(memory)) == _but_pending(after)
        while standing := [one.run.id for one in told(memory, limit=1000) if _stands(one)]:
            undone(memory, standing[0])
        _same(kept_by(memory), first)
        assert all(finding.well for finding in doctor(memory))


def _do(memory: Memory, op: Op, facts: list[int]) -> None:
    """What a command would do, and only where it would."""
    one, other = facts[op.one % len(facts)], facts[op.other % len(facts)]
    turns = of_kind(memory, Kind.TURN)
    active = {id for id in (one, other) if entry(memory, id).state is State.ACTIVE}
    match op.does:
        case "merge" | "merge anew" if len(active) == 2:
            merge(memory, one, other, text=f"Text {op.one}." if op.does == "merge anew" else None)
        case "rewrite" | "rewrite twice" if one in active:
            texts = [f"Text {op.other}.", f"Text {op.one}."]
            rewrite(memory, one, *(texts if op.does == "rewrite twice" else texts[:1]))
        case "hide":
            hide(memory, active)
        case "forget":
            hide(memory, with_what_rests_on_it_alone(memory, turns[op.other % len(turns)]))
        case "pin" if one in active:
            pin(memory, [entry(memory, one).id], pinned=op.other % 2 == 0)
        case "summarize" if active:
            summarize(memory, sorted(active))
        case "ingest":
            take_into(memory, [line(id=f"n{op.one}", session="n", speaker="Jon", content=f"I bought hat {op.one}.")])
        case "undo":
            _try_undo(memory, run=2 + op.one % max(newest(memory) - 1, 1))
        case "step":
            _try_undo(memory, revision=1 + op.one)


def _stands(one: Told) -> bool:
    changed = one.deeds.born or one.deeds.revisions
    return bool(changed) and not one.wholly and one.run.command != "undo" and one.run.id != 1


def _try_undo(memory: Memory, **which: int) -> None:
    state, ran = kept_by(memory), runs(memory)
    try:
        undone(memory, **which)
    except InputError:
        assert (kept_by(memory), runs(memory)) == (state, ran)


def _same(found: Kept, known: Kept) -> None:
    """All that was there is as it was; what was born since is hidden, and points to nothing."""
    then = {row["id"]: row for row in known.state if row["record"] == "entry"}
    now = {row["id"]: row for row in found.state if row["record"] == "entry"}
    assert {id: now[id] for id in then} == then
    assert all(row["state"] == "deleted" and row["links"] == [] for id, row in now.items() if id not in then)
    assert {id: found.seen_through.get(id) for id in then} == {id: known.seen_through.get(id) for id in then}
    assert known.vectors.items() <= found.vectors.items()


def _quotes_nothing_hidden(memory: Memory) -> None:
    for summary in of_kind(memory, Kind.SUMMARY):
        if entry(memory, summary).state is State.ACTIVE:
            assert all(entry(memory, fact).state is not State.DELETED for fact, _ in links_from(memory, summary))


def _but_pending(kept: Kept) -> Kept:
    return kept._replace(pending={})


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def chat(home: Path, tmp_path: Path) -> Path:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(b"".join(ROWS))
    assert lightmem("ingest", path).returncode == 0
    return path


def test_the_command_says_what_it_gives_back(chat: Path) -> None:
    assert lightmem("pin", "1", "2").returncode == 0
    foreseen = lightmem("undo", "--dry-run")
    assert foreseen.stderr.decode() == "would undo run 2 (pin): 2 entries as they were\n"
    assert lightmem("pin", "--json").stdout.count(b"\n") == 2
    done = lightmem("undo", "2")
    assert (done.returncode, done.stdout) == (0, foreseen.stdout)
    assert [said.partition("  ")[2].split(" ")[1] for said in lines_of(done.stdout)] == ["Gina:", "Jon:"]
    assert done.stderr.decode() == "undid run 2 (pin): 2 entries as they were\n"
    assert lightmem("pin").stdout == b""
    rows = [json.loads(row) for row in lines_of(lightmem("undo", "3", "--json").stdout)]
    assert [(row["kind"], row["pinned"], row["reason"]) for row in rows] == [("turn", True, "undo of run 3")] * 2


def test_the_command_lists_what_stands_in_the_way(home: Path) -> None:
    rows = [
        line(id=str(n), session="s", speaker="Jon", content=f"I bought {'very ' * 20}large hat {n}.") for n in range(12)
    ]
    assert lightmem("ingest", "-", feed=b"".join(rows)).returncode == 0
    assert lightmem("pin", *map(str, range(12))).returncode == 0
    before = lightmem("export", "--state").stdout
    refused = lightmem("undo", "1")
    said = lines_of(refused.stderr)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert len(said) == 10 + 1 + 2
    assert all(row.endswith(" …  (run 2, pin)") for row in said[:10])
    assert said[10:] == [
        "and 2 more",
        "lightmem: run 1 (ingest) cannot be undone: 12 entries changed since",
        "  hint: lightmem undo 2, and then this again",
    ]
    assert lightmem("export", "--state").stdout == before
    assert b"give RUN or --revision" in lightmem("undo", "1", "--revision", "1").stderr


def test_a_run_that_goes_on_is_left_alone_and_a_killed_one_is_undone(home: Path) -> None:
    going = start("ingest", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert going.stdin is not None and going.stderr is not None
    going.stdin.write(ROWS[0])
    going.stdin.flush()
    while not lightmem("retrieve", "job").stdout:
        assert going.poll() is None
    refused = lightmem("undo", "1")
    assert refused.returncode == 75
    assert b"run 1 (ingest) is still going on" in refused.stderr
    going.send_signal(signal.SIGKILL)
    going.wait(timeout=60)
    going.stdin.close()
    going.stderr.close()
    assert lightmem("undo", "1").returncode == 0
    assert lightmem("retrieve", "job").stdout == b""


def _run_of(memory: Memory, command: str) -> int:
    return next(run for run, its, _ in runs(memory) if its == command)


def _message(memory: Memory, id: int) -> int:
    return memory.history.entries.source_ids(id)[0]


def _with(one: Entry, **fields: object) -> Entry:
    return replace(one, **fields)  # type: ignore[arg-type]


def test_a_summary_of_what_was_forgotten_since_does_not_come_back(home: Path) -> None:
    said = ("My cousin moved to a farm near Lisbon.", "I adopted a greyhound called Biscuit.", "I sold the red house.")
    take(home, [line(content=text, id=text[:4], session="d", timestamp="2024-05-01T10:00Z") for text in said])
    with opened(home) as memory:
        retell(memory)
        [summary] = of_kind(memory, Kind.SUMMARY)
        before = kept_by(memory)
        runs_of = []
        for text in said[:2]:
            forget(memory, resolve(memory, Target(ids=(text[:4],))))
            runs_of.append(newest(memory))
        undone(memory, runs_of[0])
        assert entry(memory, summary).state is State.UNSUPPORTED, "it quotes the second one still"
        undone(memory, runs_of[1])
        retell(memory)
        assert kept_by(memory) == before


def test_a_summary_stays_aside_while_the_same_run_hides_another_of_its_messages(home: Path) -> None:
    said = ("My cousin moved to a farm near Lisbon.", "I adopted a greyhound called Biscuit.", "I sold the red house.")
    take(home, [line(content=text, id=text[:4], session="d", timestamp="2024-05-01T10:00Z") for text in said])
    with opened(home) as memory:
        retell(memory)
        [summary] = of_kind(memory, Kind.SUMMARY)
        forget(memory, resolve(memory, Target(ids=(said[0][:4], said[1][:4]))))
        first = min(revision.id for revision in memory.history.revisions.of_run(newest(memory)))
        undone(memory, revision=first)
        assert entry(memory, summary).state is not State.ACTIVE


def test_a_summary_done_again_stays_aside_where_a_fact_it_quotes_was_forgotten_since(home: Path) -> None:
    said = ("My cousin moved to a farm near Lisbon.", "I adopted a greyhound called Biscuit.", "I sold the red house.")
    take(home, [line(content=text, id=text[:4], session="d", timestamp="2024-05-01T10:00Z") for text in said])
    with opened(home) as memory:
        summarized = retell(memory).run
        [summary] = of_kind(memory, Kind.SUMMARY)
        before = kept_by(memory)
        undone(memory, summarized)
        taken_back = newest(memory)
        forget(memory, resolve(memory, Target(ids=(entry(memory, of_kind(memory, Kind.FACT)[0]).id,))))
        forgot = newest(memory)
        [aside] = undone(memory, taken_back)
        assert aside.state is entry(memory, summary).state is State.UNSUPPORTED, "it quotes what was forgotten"
        undone(memory, forgot)
        retell(memory)
        assert kept_by(memory) == before
