"""A plan merges each fact directly into one that stays, leaves nothing over, and survives being read and edited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, Kind
from lightmem_cli.update.decide import same, same_words, standing
from lightmem_cli.update.lines import from_json, to_json
from lightmem_cli.update.plan import plan
from lightmem_cli.update.steps import Dropped, Merge

THRESHOLD = 0.87
TEXTS = [
    "Anna adopted a greyhound.",
    "anna adopted a greyhound",
    "Anna adopted a shy greyhound.",
    "Anna adopted a shy greyhound named Rex.",
    "Anna adopted an old and shy greyhound.",
    "Anna adopted a quiet greyhound.",
    "Anna never adopted a greyhound.",
    "Anna bought a greyhound.",
]


def fact(id: str, text: str, **fields: object) -> Entry:
    known: dict[str, object] = {
        "kind": Kind.FACT,
        "conversation": "c",
        "session": "s",
        "sources": (),
        "speaker": "Anna",
    }
    return Entry(id=id, text=text, **(known | fields))  # type: ignore[arg-type]


def kept(merges: Sequence[Merge]) -> dict[str, set[str]]:
    return {merge.keep: {one.id for one in merge.drop} for merge in merges}


@st.composite
def memories(draw: st.DrawFn) -> tuple[list[Entry], dict[frozenset[str], float]]:
    """Facts of one voice, and the cosine of each pair that is near or in the same words."""
    facts = [
        fact(
            f"{number:02}",
            draw(st.sampled_from(TEXTS)),
            importance=draw(st.sampled_from([0.4, 0.5])),
            pinned=draw(st.integers(0, 5)) == 0,
            said_at=draw(st.sampled_from([None, datetime(2023, 5, 1, tzinfo=UTC), datetime(2023, 6, 1, tzinfo=UTC)])),
            version=draw(st.integers(1, 3)),
        )
        for number in range(draw(st.integers(0, 12)))
    ]
    cosines = {}
    for a, b in combinations(facts, 2):
        cosine = draw(st.sampled_from([0.8, 0.88, 0.9, 0.95]))
        if cosine >= THRESHOLD or same_words(a.text) == same_words(b.text):
            cosines[frozenset({a.id, b.id})] = cosine
    return facts, cosines


def planned(facts: Sequence[Entry], cosines: dict[frozenset[str], float]) -> list[Merge]:
    pairs = [
        (i, j, cosines[key])
        for (i, a), (j, b) in combinations(enumerate(facts), 2)
        if (key := frozenset({a.id, b.id})) in cosines
    ]
    return plan(facts, pairs, threshold=THRESHOLD)


@given(memories())
def test_what_goes_goes_directly_into_what_stays(memory: tuple[list[Entry], dict[frozenset[str], float]]) -> None:
    facts, cosines = memory
    merges = planned(facts, cosines)
    by_id = {one.id: one for one in facts}
    gone = [one for merge in merges for one in merge.drop]
    assert len({one.id for one in gone}) == len(gone)
    assert not {one.id for one in gone} & {merge.keep for merge in merges}
    for merge in merges:
        keep = by_id[merge.keep]
        assert (merge.version, merge.text) == (keep.version, keep.text)
        for one in merge.drop:
            entry = by_id[one.id]
            assert (one.version, one.text) == (entry.version, entry.text)
            cosine = cosines[frozenset({keep.id, one.id})]
            assert same(keep, entry, cosine=cosine, threshold=THRESHOLD) == one.why
            assert not entry.pinned
            assert standing(keep) < standing(entry)


@given(memories())
def test_what_stays_has_nothing_left_to_merge(memory: tuple[list[Entry], dict[frozenset[str], float]]) -> None:
    facts, cosines = memory
    gone = {one.id for merge in planned(facts, cosines) for one in merge.drop}
    stays = [one for one in facts if one.id not in gone]
    assert planned(stays, cosines) == []
    for a, b in combinations(stays, 2):
        if (key := frozenset({a.id, b.id})) in cosines and not (a.pinned and b.pinned):
            assert same(a, b, cosine=cosines[key], threshold=THRESHOLD) is None


@given(memories(), st.data())
def test_half_a_plan_leaves_the_other_half(
    memory: tuple[list[Entry], dict[frozenset[str], float]], data: st.DataObject
) -> None:
    facts, cosines = memory
    whole = planned(facts, cosines)
    gone = [one.id for merge in whole for one in merge.drop]
    done = data.draw(st.sets(st.sampled_from(gone)) if gone else st.just(set()))
    rest = [replace(merge, drop=tuple(one for one in merge.drop if one.id not in done)) for merge in whole]
    assert planned([one for one in facts if one.id not in done], cosines) == [merge for merge in rest if merge.drop]


@given(memories(), st.randoms())
def test_no_order_matters(memory: tuple[list[Entry], dict[frozenset[str], float]], random: object) -> None:
    facts, cosines = memory
    shuffled = list(facts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    place = {one.id: at for at, one in enumerate(shuffled)}
    pairs = [(*[place[id] for id in key], cosine) for key, cosine in cosines.items()]
    random.shuffle(pairs)  # type: ignore[attr-defined]
    assert plan(shuffled, [*pairs, *pairs], threshold=THRESHOLD) == planned(facts, cosines)  # type: ignore[list-item]


def test_nothing_is_merged_through_a_third() -> None:
    a = fact("1", "Anna adopted a greyhound, tall and fast.", importance=0.9)
    b = fact("2", "Anna adopted a greyhound.", importance=0.6)
    c = fact("3", "Anna adopted a greyhound, deaf and blind.", importance=0.3)
    merges = plan([c, b, a], [(0, 1, 0.95), (1, 2, 0.95), (0, 2, 0.8)], threshold=THRESHOLD)
    assert kept(merges) == {"1": {"2"}}


def test_a_fact_goes_into_the_nearest() -> None:
    a = fact("1", "Anna adopted a greyhound, tall and fast.", importance=0.9)
    b = fact("2", "Anna adopted a greyhound, deaf and blind.", importance=0.8)
    c = fact("3", "Anna adopted a greyhound.", importance=0.3)
    near_b = plan([a, b, c], [(0, 2, 0.93), (1, 2, 0.95)], threshold=THRESHOLD)
    equally = plan([a, b, c], [(0, 2, 0.95), (1, 2, 0.95)], threshold=THRESHOLD)
    assert (kept(near_b), kept(equally)) == ({"2": {"3"}}, {"1": {"3"}})
    assert near_b[0].drop == (Dropped("3", 1, c.text, "cosine 0.95"),)


def test_pinned_facts_stay() -> None:
    facts = [fact(str(n), "Anna adopted a greyhound.", pinned=n > 1, importance=0.9 - n / 10) for n in range(4)]
    merges = plan(facts, [(i, j, 1.0) for i, j in combinations(range(4), 2)], threshold=THRESHOLD)
    assert kept(merges) == {"2": {"0", "1"}}


def test_nothing_to_do() -> None:
    assert plan([], [], threshold=THRESHOLD) == []
    assert plan([fact("1", "x")], [(0, 0, 1.0)], threshold=THRESHOLD) == []


ROW = {
    "do": "merge",
    "keep": {"id": "a1", "version": 2, "text": "Anna adopted a greyhound."},
    "drop": [{"id": "b2", "version": 1, "text": "anna adopted a greyhound", "why": "same words"}],
    "text": "Anna adopted a greyhound.",
}


@given(
    st.text(min_size=1),
    st.integers(1),
    st.text(min_size=1).filter(str.strip),
    st.lists(st.tuples(st.text(min_size=1), st.integers(1), st.text(), st.text()), min_size=1),
)
def test_a_plan_comes_back_from_its_lines(
    keep: str, version: int, text: str, drop: list[tuple[str, int, str, str]]
) -> None:
    named = {row[0]: Dropped(*row) for row in drop if row[0] != keep}
    if named:
        merge = Merge(keep, version, text, tuple(named.values()))
        assert from_json(json.loads(json.dumps(to_json(merge))), "plan.jsonl:1") == merge


def test_a_line_as_it_is_written() -> None:
    merge = Merge("a1", 2, "Anna adopted a greyhound.", (Dropped("b2", 1, "anna adopted a greyhound", "same words"),))
    assert to_json(merge) == ROW


def test_the_text_may_be_rewritten() -> None:
    edited = ROW | {"text": "Anna adopted a greyhound called Rex."}
    assert from_json(edited, "plan.jsonl:1").text == "Anna adopted a greyhound called Rex."


def changed(**fields: object) -> dict[str, object]:
    return {**ROW, **fields}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([], "not an object"),
        ({}, '"do" is missing'),
        (changed(do="split"), '"do" is \'split\': only "merge", "correct" and "conflict" can be done'),
        ({"do": "merge", "drop": [], "text": "x"}, '"keep" is missing'),
        (changed(keep="a1"), '"keep" is not an object'),
        (changed(keep={"version": 1, "text": "x"}), '"keep.id" is missing'),
        (changed(keep={"id": 7, "version": 1}), '"keep.id" is not a text'),
        (changed(keep={"id": "a1", "version": "1"}), '"keep.version" is not a whole number'),
        (changed(keep={"id": "a1", "version": True}), '"keep.version" is not a whole number'),
        (changed(text=None), '"text" is not a text'),
        (changed(text="  "), '"text" is empty: it is what the kept fact will say'),
        (changed(drop={}), '"drop" is not a list'),
        (changed(drop=[]), '"drop" is empty: delete the line, and nothing is merged'),
        (changed(drop=["b2"]), '"drop[0]" is not an object'),
        (changed(drop=[{"id": "b2", "version": 1, "text": "x"}]), '"drop[0].why" is missing'),
        (changed(drop=[*ROW["drop"], *ROW["drop"]]), "b2 is dropped twice"),  # type: ignore[misc]
        (changed(drop=[ROW["drop"][0] | {"id": "a1"}]), "a1 is kept and dropped at once"),  # type: ignore[index]
        (changed(drop=[ROW["drop"][0] | {"id": ""}]), '"id" is empty'),  # type: ignore[index]
    ],
)
def test_a_line_that_is_wrong_says_so(row: object, says: str) -> None:
    with pytest.raises(InputError) as error:
        from_json(row, "plan.jsonl:3")
    assert error.value.message == f"plan.jsonl:3: {says}"
    assert error.value.hint
