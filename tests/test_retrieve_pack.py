from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.records import Entry, Kind, MessageKey
from lightmem_cli.retrieve.pack import Candidate, pack


def candidate(
    id_: str, score: float, *, kind: Kind = Kind.TURN, session: str = "s", sources: str = "", text: str = ""
) -> Candidate:
    keys = tuple(MessageKey("", session, name) for name in sources or id_)
    return Candidate(
        Entry(id=id_, kind=kind, text=text or id_, conversation="", session=session, sources=keys), {"words": score}
    )


def ids(found: list[Candidate], *, limit: int | None = None, budget_tokens: int | None = None) -> list[str]:
    return [hit.entry.id for hit in pack(found, limit=limit, budget_tokens=budget_tokens)]


def test_a_fact_gives_way_to_its_turn() -> None:
    assert ids([candidate("a", 0.5), candidate("f", 0.505, kind=Kind.FACT, sources="a")]) == ["a"]


def test_a_fact_that_clearly_wins_stands_for_its_turn_and_its_sisters() -> None:
    found = [
        candidate("a", 0.5),
        candidate("f", 0.6, kind=Kind.FACT, sources="a"),
        candidate("g", 0.3, kind=Kind.FACT, sources="a"),
    ]
    assert ids(found) == ["f"]
    assert ids(found[1:]) == ["f", "g"]  # where only facts are asked for, all of them are


def test_a_summary_displaces_no_turn_but_goes_when_all_its_turns_are_shown() -> None:
    first = [candidate("z", 0.9, kind=Kind.SUMMARY, sources="ab"), candidate("a", 0.5), candidate("b", 0.4)]
    assert ids(first) == ["z", "a", "b"]
    last = [candidate("z", 0.1, kind=Kind.SUMMARY, sources="ab"), candidate("a", 0.5), candidate("b", 0.4)]
    assert ids(last) == ["a", "b"]


def test_between_equals_another_session_comes_before_the_same_again() -> None:
    found = [candidate("a", 0.5), candidate("b", 0.5), candidate("c", 0.5, session="t")]
    assert ids(found) == ["a", "c", "b"]


def test_a_budget_passes_over_what_does_not_fit() -> None:
    found = [
        candidate("a", 0.9, text="x" * 40),
        candidate("b", 0.8, text="x" * 400),
        candidate("c", 0.7, text="x" * 40),
    ]
    assert ids(found, budget_tokens=20) == ["a", "c"]
    assert ids(found, budget_tokens=20, limit=1) == ["a"]
    assert ids(found, budget_tokens=5) == []


_SCORES = st.floats(0, 1, allow_nan=False)


@given(
    st.lists(st.tuples(_SCORES, st.sampled_from("stu"), st.integers(1, 60)), max_size=20),
    st.integers(0, 40),
    st.integers(0, 10),
)
def test_hits_are_in_order_within_budget_and_whatever_the_order_of_what_was_found(
    rows: list[tuple[float, str, int]], budget: int, limit: int
) -> None:
    found = [
        candidate(f"{n:02}", score, session=session, text="x" * size, sources="m" + chr(n + 200))
        for n, (score, session, size) in enumerate(rows)
    ]
    hits = pack(found, limit=limit, budget_tokens=budget)
    assert hits == pack(found[::-1], limit=limit, budget_tokens=budget)
    assert len(hits) <= limit
    assert sum(count_tokens(hit.entry.text) for hit in hits) <= budget
    assert [(-hit.score, hit.rank) for hit in hits] == sorted((-hit.score, hit.rank) for hit in hits)
    assert sum(hit.score for hit in hits) <= sum(score for score, _, _ in rows) + 1e-9
