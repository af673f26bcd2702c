"""Pin: what is pinned is listed, done once, and a run like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from changes import CHAT, called, entry, hide, merge, of_kind
from memories import kept_by, line, opened, take, take_into

from lightmem_cli.engine import Memory
from lightmem_cli.engine.pin import pin, pinned
from lightmem_cli.engine.undo import plan, undo
from lightmem_cli.errors import InputError
from lightmem_cli.records import Kind

ROWS = [line(**row) for row in CHAT]


@pytest.fixture
def memory(home: Path) -> Iterator[Memory]:
    take(home, ROWS)
    with opened(home) as memory:
        yield memory


def test_pins_are_revisions_of_one_run_and_done_once(memory: Memory) -> None:
    fact = entry(memory, of_kind(memory, Kind.FACT)[0])
    before = kept_by(memory)
    done = pin(memory, [fact.id[:9], "2", "2"], pinned=True)
    assert len(done.entries) == len(done.changed) == 2
    assert [one.text for one in pinned(memory)] == [CHAT[1]["content"], fact.text]  # in order of birth
    [first, second] = memory.history.revisions.of_run(2)
    assert (first.reason, first.step) == ("pinned", second.step)
    again = pin(memory, ["2"], pinned=True)
    assert (len(again.entries), again.changed) == (1, frozenset())
    assert memory.history.runs.newest(1)[0].id == 2  # no run for nothing
    some = pin(memory, ["1", "2"], pinned=True)
    assert len(some.changed) == 1
    off = pin(memory, ["1", "2", fact.id], pinned=False)
    assert len(off.changed) == 3 and pinned(memory) == []
    assert memory.history.revisions.of_run(4)[0].reason == "unpinned"
    assert kept_by(memory) == before
    undo(memory, plan(memory))
    assert len(pinned(memory)) == 3


def test_a_deleted_entry_cannot_be_pinned_and_then_none_is(memory: Memory) -> None:
    fact = of_kind(memory, Kind.FACT)[0]
    pin(memory, [entry(memory, fact).id], pinned=True)
    hide(memory, [fact])
    before = kept_by(memory)
    with pytest.raises(InputError, match="is deleted and cannot be pinned") as refused:
        pin(memory, ["2", entry(memory, fact).id], pinned=True)
    assert "lightmem undo" in (refused.value.hint or "")
    with pytest.raises(InputError, match="no entry's id begins with 'zz'"):
        pin(memory, ["2", "zz"], pinned=True)
    assert kept_by(memory) == before
    assert pin(memory, [entry(memory, fact).id], pinned=False).changed


def test_the_command_pins_lists_and_lets_go(home: Path) -> None:
    take(home, ROWS)
    assert "nothing is pinned" in called("pin").stderr
    [done] = called("pin", "2").stdout.splitlines()
    assert done.startswith("pinned ") and done.endswith("I adopted a greyhound called Biscuit.")
    assert called("pin", "2").stdout == f"already {done}\n"
    assert called("pin").stdout == done.removeprefix("pinned ") + "\n"
    row = json.loads(called("pin", "--json").stdout)
    assert (row["kind"], row["pinned"]) == ("turn", True)
    row = json.loads(called("pin", "1", "--json").stdout)
    assert (row["pinned"], row["changed"]) == (True, True)
    assert called("pin", "--off", "2").stdout == f"un{done}\n"
    assert called("pin", "--off", "2").stdout == f"was not {done}\n"
    assert isinstance(called("pin", "--off").exception, InputError)


def test_what_is_forgotten_is_not_listed_and_what_was_merged_is_marked(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, ROWS)
        facts = of_kind(memory, Kind.FACT)
        ids = [entry(memory, id).id for id in facts]
        pin(memory, ids[:3], pinned=True)
        hide(memory, facts[:1])
        merge(memory, facts[1], facts[2])
    listed = called("pin").stdout.splitlines()
    assert [row.split()[0] for row in listed] == ids[1:3]
    assert ["(superseded)" in row for row in listed] == [True, False]
    assert json.loads(called("stats", "--json").stdout)["pinned"] == 2
    called("undo", "3")
    assert len(called("pin").stdout.splitlines()) == 3
