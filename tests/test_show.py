"""Show: from any entry back to the words that were said, and never to those that were forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from changes import CHAT, called, entry, hide, merge, of_kind, summarize, with_what_rests_on_it_alone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import empty_home, line, opened, take, take_into

from lightmem_cli.engine import Memory
from lightmem_cli.engine.show import Shown, show
from lightmem_cli.records import Kind, State

ROWS = [line(**row) for row in CHAT]


@pytest.fixture
def memory(home: Path) -> Iterator[Memory]:
    take(home, ROWS)
    with opened(home) as memory:
        yield memory


def forget(memory: Memory, message: int) -> None:
    hide(memory, with_what_rests_on_it_alone(memory, of_kind(memory, Kind.TURN)[message - 1]))


def purge(memory: Memory, message: int) -> None:
    change = "UPDATE messages SET purged = 1, content = '', speaker = NULL WHERE id = ?"
    memory.history.connection.execute(change, (message,))


def words(shown: Shown, *, besides: Kind | None = None) -> str:
    """All that is shown of others than the entry itself, but for those of one kind."""
    said = [message.content for messages in shown.trail for message in messages]
    others = [*shown.siblings, *(link.other for link in shown.links)]
    return " ".join([*said, *(one.text for one in others if one.kind is not besides)])


def test_each_source_has_its_trail(memory: Memory) -> None:
    one, other = of_kind(memory, Kind.FACT)[:2]
    merge(memory, one, other)
    shown = show(memory, entry(memory, other).id, around=1)
    assert [[message.id for message in messages] for messages in shown.trail] == [["1", "2"], ["1", "2"]]
    assert [key.id for key in shown.entry.sources] == ["1", "2"]
    assert (shown.born.command, shown.revisions) == ("ingest", 1)
    [link] = shown.links
    assert (link.source, link.target, link.other.text) == (
        entry(memory, one).id,
        shown.entry.id,
        entry(memory, one).text,
    )
    assert link.other.id not in {sibling.id for sibling in shown.siblings}


def test_a_forgotten_message_is_in_nobodys_trail(memory: Memory) -> None:
    said = str(CHAT[0]["content"])
    assert said in words(show(memory, "2"))
    forget(memory, 1)
    neighbour = show(memory, "2")
    assert said not in words(neighbour)
    assert list(neighbour.unspoken.values()) == ["forgotten"]
    itself = show(memory, "1")
    assert itself.entry.text == said  # so that one can decide to undo it
    assert said not in words(itself) and "job" not in words(itself)


def test_a_purged_message_says_that_it_is(memory: Memory) -> None:
    purge(memory, 1)
    assert list(show(memory, "2").unspoken.values()) == ["purged"]


def test_a_summary_leads_to_its_facts_and_to_what_was_said(memory: Memory) -> None:
    facts = of_kind(memory, Kind.FACT)
    _, summary = summarize(memory, facts)
    shown = show(memory, entry(memory, summary).id)
    assert {link.other.id for link in shown.links} == {entry(memory, id).id for id in facts}
    assert all(len(messages) == 1 for messages in shown.trail)
    assert len(shown.trail) == len(shown.entry.sources) > 1
    assert show(memory, entry(memory, facts[0]).id).links[0].other.kind is Kind.SUMMARY
    assert len(show(memory, entry(memory, summary).id, around=1).trail[0]) == 2


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["merge", "summarize", "forget"]), st.integers(0, 4), st.integers(0, 4))))
def test_no_forgotten_word_is_shown_beside_any_entry(does: list[tuple[str, int, int]]) -> None:
    with empty_home() as home, opened(home) as memory:
        rows = [row | {"content": f"{row['content']} W{row['id']}."} for row in CHAT]  # a word of its own each
        take_into(memory, [line(**row) for row in rows])
        facts = of_kind(memory, Kind.FACT)
        forgotten: set[int] = set()
        for what, one, other in does:
            first, second = facts[one % len(facts)], facts[other % len(facts)]
            both = {first, second}
            active = len(both) == sum(entry(memory, id).state is State.ACTIVE for id in both)
            match what:
                case "merge" if len(both) == 2 and active:
                    merge(memory, first, second)
                case "summarize" if active:
                    summarize(memory, sorted(both))
                case "forget":
                    forget(memory, one + 1)
                    forgotten.add(one + 1)
        for kind in (Kind.TURN, Kind.FACT, Kind.SUMMARY):
            for id in of_kind(memory, kind):
                # to hide the summaries that quote a message is for whoever forgets it
                shown = words(show(memory, entry(memory, id).id), besides=Kind.SUMMARY)
                assert not [one for one in forgotten if f"W{one}." in shown]


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(home: Path) -> dict[str, str]:
    """A memory with a merged fact, a summary and a forgotten message; the ids of what is in it."""
    with opened(home) as memory:
        take_into(memory, ROWS)
        one, other, third = of_kind(memory, Kind.FACT)[:3]
        merge(memory, one, other)
        _, summary = summarize(memory, [other, third])
        turn = of_kind(memory, Kind.TURN)[4]
        ids = {"old": one, "merged": other, "summary": summary, "turn": turn}
        names = {name: entry(memory, id).id for name, id in ids.items()}
        forget(memory, 5)
    return names


def test_the_command_shows_links_with_their_texts_and_how_it_was_born(told: dict[str, str]) -> None:
    said = called("show", told["old"]).stdout.splitlines()
    assert f"merged into {told['merged']}  Jon adopted a greyhound called Biscuit." in said
    assert said[-1].startswith("born in run 1 (ingest) ") and said[-1].endswith(
        f"; 1 revision: lightmem log {told['old']}"
    )
    said = called("show", told["merged"], "--around", "0").stdout.splitlines()
    assert [row for row in said if row.startswith("> ")] == [
        "> 1  undated Gina: I lost my job as a banker on 3 May 2023.",
        "> 2  undated Jon: I adopted a greyhound called Biscuit.",
    ]
    row = json.loads(called("show", told["old"], "--json").stdout)
    kinds = {(link["from"], link["to"], link["kind"], link["text"]) for link in row["links"]}
    assert kinds == {(told["old"], told["merged"], "merged_into", "Jon adopted a greyhound called Biscuit.")}
    assert (row["born"]["run"], row["born"]["command"], row["revisions"]) == (1, "ingest", 1)


def test_the_command_shows_a_summary_down_to_the_words(told: dict[str, str]) -> None:
    said = called("show", told["summary"]).stdout.splitlines()
    start = said.index("it summarizes:")
    assert said[start + 1] == f"  {told['merged']}  fact: Jon adopted a greyhound called Biscuit."
    assert said[start + 2 : start + 4] == [
        "    > 1  undated Gina: I lost my job as a banker on 3 May 2023.",
        "    > 2  undated Jon: I adopted a greyhound called Biscuit.",
    ]
    assert not [row for row in said if row.startswith("said in")]  # all of it is under its facts


def test_the_command_hides_forgotten_words(told: dict[str, str]) -> None:
    said = called("show", "4").stdout
    assert "  5  undated Jon: (forgotten)\n" in said and "Lisbon" not in said
    rows = json.loads(called("show", "4", "--json").stdout)["trail"][0]
    assert [(row["content"], row.get("forgotten")) for row in rows[-1:]] == [(None, True)]
    shown = called("show", told["turn"]).stdout
    assert "turn, deleted" in shown and "Lisbon" in shown.splitlines()[1]
    assert "> 5  undated Jon: (forgotten)" in shown
    assert shown.count("Lisbon") == 1
