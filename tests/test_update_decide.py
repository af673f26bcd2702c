"""Facts merge when they say the same: never against a negation, a number, a name, a time or another speaker."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.records import Entry, Kind, TimeRange
from lightmem_cli.update.decide import THRESHOLD, same, same_words, standing

NOON = datetime(2023, 5, 24, 12, tzinfo=UTC)


def fact(text: str, **fields: object) -> Entry:
    known: dict[str, object] = {"id": "1", "kind": Kind.FACT, "conversation": "c", "session": "s", "sources": ()}
    return Entry(text=text, **(known | {"speaker": "Anna"} | fields))  # type: ignore[arg-type]


def verdict(a: str, b: str, cosine: float = 0.96) -> bool:
    return same(fact(a), fact(b), cosine=cosine) is not None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Anna bought a car last summer with her savings.", "Anna purchased a car last summer with her savings."),
        ("Anna adopted a greyhound named Rex.", "Anna adopted a greyhound that is called Rex."),
        (
            "Anna: The bakery near the old bridge sells rye bread.",
            "The bakery near the old bridge sells rye bread, too.",
        ),
        ("Anna plays the violin in a small orchestra.", "Anna is playing the violin in a small orchestra."),
        ("Anna has three nieces in Oslo.", "Anna has 3 nieces in Oslo."),
        ("Anna has fifty-seven orchids at home.", "Anna has 57 orchids at home."),
        ("Anna's kitchen was painted by Boris.", "Boris painted Anna's kitchen."),
        ("In May, Anna moved to a flat in Turin.", "Anna moved to an apartment in Turin in May."),
        ("Anna doesn't eat shellfish.", "Anna does not eat shellfish at all."),
        ("Anna admires Nelson Mandela for his patience.", "Anna admires Mandela for his patience."),
    ],
)
def test_what_says_the_same(a: str, b: str) -> None:
    assert same(fact(a), fact(b), cosine=0.96) == "cosine 0.96"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Anna eats shellfish.", "Anna doesn't eat shellfish."),
        ("Anna eats shellfish.", "Anna never eats shellfish."),
        ("Anna says the problem isn't who has money.", "Anna says the problem is who doesn't have money."),
        ("Anna has two nieces in Oslo.", "Anna has three nieces in Oslo."),
        ("Anna paid $1,200 for the bike.", "Anna paid $1,250 for the bike."),
        ("Anna met Boris in Oslo.", "Anna met Carla in Oslo."),
        ("Anna went to the lake with Boris.", "Anna went to the lake."),
        ("Anna moved to Turin in May.", "Anna moved to Turin in June."),
        ("Anna works at a bank in Turin.", "Anna worked at a bank in Turin."),
        ("Anna is a nurse at the clinic.", "Anna was a nurse at the clinic."),
        ("Anna wants to open a bakery in Turin.", "Anna opens a bakery in Turin."),
        ("Anna may move to Turin with the band.", "Anna will move to Turin with the band."),
        ("Anna stopped smoking cigars on the balcony.", "Anna is smoking cigars on the balcony."),
        ("Anna teaches Boris the violin.", "Boris teaches Anna the violin."),
        ("Anna was hired by Boris.", "Anna hired Boris."),
        ("Anna is allergic to peanuts.", "Anna's sister is allergic to peanuts."),
        ("Anna's boss is angry about the delay.", "Anna is angry about the delay."),
        ("Anna loves the noise of the old town.", "Anna hates the noise of the old town."),
        ("Anna turned the heating on in the kitchen.", "Anna turned the heating off in the kitchen."),
        ("Anna was happy with the result of the exam.", "Anna was unhappy with the result of the exam."),
        ("Anna plays the violin in a small orchestra.", "Anna plays the cello in a small orchestra."),
        ("Anna painted the kitchen of the new flat green.", "Anna painted the kitchen of the new flat blue."),
        ("Anna likes the new flat in Turin.", "Anna likes the new flat in Turin?"),
        ("Anna shares a photo of two turtles on a rock in a pond", "Anna shares a photo of two turtles on a log"),
        ("It was such a rewarding evening at the orchestra.", "It was a rewarding evening at the orchestra."),
        ("Anna is stuck.", "Anna is thrilled about the offer of the orchestra."),
    ],
)  # fmt: skip
def test_what_must_not_merge_however_near(a: str, b: str) -> None:
    assert not verdict(a, b, cosine=0.99)
    assert not verdict(b, a, cosine=0.99)


def test_the_cosine_must_reach_the_threshold_and_more_where_a_word_is_replaced() -> None:
    more, less = "Anna adopted a greyhound named Rex.", "Anna adopted a shy greyhound named Rex."
    replaced = "Anna adopted a greyhound baptised Rex."
    assert not verdict(more, less, cosine=THRESHOLD - 0.001)
    assert verdict(more, less, cosine=THRESHOLD)
    assert not verdict(more, replaced, cosine=THRESHOLD)
    assert verdict(more, replaced, cosine=THRESHOLD + 0.02)
    assert same(fact(more), fact(less), cosine=0.9, threshold=0.95) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Anna adopted a greyhound.", "anna  adopted a Greyhound"),
        ("Anna: No worries, Boris!", "Anna: no worries Boris …"),
        ("“Anna won’t go”", "Anna won't go."),
        ("Я люблю кошек.", "я люблю кошек"),
        ("我喜欢猫。", "我喜欢猫"),
    ],
)
def test_the_same_words_merge_whatever_the_cosine(a: str, b: str) -> None:
    assert same(fact(a), fact(b), cosine=-1.0) == "same words"


@pytest.mark.parametrize(
    ("a", "b"), [("It is -5 outside", "It is 5 outside"), ("Anna moved?", "Anna moved."), ("!!!", "..."), ("C", "C++")]
)
def test_other_words_have_another_key(a: str, b: str) -> None:
    assert same_words(a) != same_words(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("No me gusta el café.", "Me gusta el café."),
        ("Ich mag Katzen sehr.", "Ich mag keine Katzen."),
        ("我喜欢猫", "我不喜欢猫"),
        ("Je n'habite plus à Lyon avec ma sœur.", "J'habite à Lyon avec ma sœur."),
    ],
)
def test_what_is_not_english_merges_in_the_same_words_only(a: str, b: str) -> None:
    assert not verdict(a, b, cosine=1.0)


@pytest.mark.parametrize(
    "other",
    [
        {"conversation": "d"},
        {"speaker": "Boris"},
        {"speaker": None},
        {"kind": Kind.SUMMARY},
        {"happened": TimeRange(NOON, NOON + timedelta(days=1))},
        {"valid_until": NOON},
    ],
)
def test_only_facts_of_one_voice_about_one_time_merge(other: dict[str, object]) -> None:
    one = fact("Anna went to the gym.")
    assert same(one, replace(one, **other), cosine=1.0) is None  # type: ignore[arg-type]
    assert same(replace(one, **other), one, cosine=1.0) is None  # type: ignore[arg-type]
    assert (same(replace(one, **other), replace(one, **other), cosine=1.0) is None) is ("kind" in other)  # type: ignore[arg-type]


def test_a_photo_shared_in_another_session_is_another_photo() -> None:
    one = fact("Anna shares a photo of a turtle on a rock")
    assert same(one, one, cosine=1.0) == "same words"
    assert same(one, replace(one, text="Anna shares a photo of a turtle on a big rock"), cosine=0.95) == "cosine 0.95"
    assert same(one, replace(one, session="t"), cosine=1.0) is None
    plain = fact("Anna adopted a turtle.")
    assert same(plain, replace(plain, session="t"), cosine=1.0) == "same words"


def test_speakers_are_the_same_whatever_the_case() -> None:
    assert same(fact("x", speaker="ANNA"), fact("x", speaker="anna"), cosine=0.0) == "same words"


def test_what_stays_is_pinned_then_tells_more_then_is_the_earliest() -> None:
    plain = fact("short", id="5", importance=0.5, said_at=NOON)
    order = [
        replace(plain, id="9", pinned=True, importance=0.1),
        replace(plain, id="8", importance=0.6),
        replace(plain, id="7", text="longer"),
        replace(plain, id="6", said_at=NOON - timedelta(days=1)),
        plain,
        replace(plain, id="61"),
        replace(plain, id="1", said_at=None),
    ]
    assert sorted(reversed(order), key=standing) == order


WORDS = """
anna boris not never doesn't two 2 57 fifty seven loves hates eats ate a the dog greyhound red blue in Oslo Turin Anna's
sister happy unhappy may was is by adopted , . ? - ' -5 I you ½ İ ß ﬁ 我喜欢猫 Ich habe \u0301
"""
TEXTS = st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join) | st.text(max_size=40)


@given(TEXTS, TEXTS, st.sampled_from([0.5, 0.87, 0.9, 0.97, 1.0]), st.sampled_from([None, "Anna", "Boris B", ""]))
def test_it_is_symmetric_and_never_fails(a: str, b: str, cosine: float, speaker: str | None) -> None:
    one, other = fact(a, speaker=speaker), fact(b, speaker=speaker)
    assert same(one, other, cosine=cosine) == same(other, one, cosine=cosine)
    assert same(one, one, cosine=0.0) == "same words"
    assert same_words(f" {a.upper().lower()}  ") == same_words(a.upper().lower())


def test_few_pairs_that_differ_are_merged_and_most_that_agree(
    lightmem_data: Path, product_cosine: Callable[[str, str], float]
) -> None:
    """A tenth of the pairs that decide: SICK's contradictions and STS-B's lowest and highest scores."""
    sick = [json.loads(line) for line in (lightmem_data / "pairs/sick.jsonl").read_text("utf-8").splitlines()]
    stsb = [json.loads(line) for line in (lightmem_data / "pairs/stsb.jsonl").read_text("utf-8").splitlines()]
    against = [row for row in sick if row["label"] == "CONTRADICTION"][::4]
    alike = [row for row in stsb if row["score"] >= 4.8][::4]

    def merged(rows: list[dict[str, str]]) -> float:
        found = [
            same(fact(row["a"]), fact(row["b"]), cosine=product_cosine(row["a"], row["b"])) is not None for row in rows
        ]
        return sum(found) / len(found)

    assert merged(against) <= 0.01
    assert merged(alike) >= 0.45


@pytest.fixture(scope="module")
def product_cosine() -> Callable[[str, str], float]:
    from lightmem_cli.embed import open_embedder

    embedder = open_embedder("onnx", progress=lambda line: None)

    def cosine(a: str, b: str) -> float:
        one, other = embedder.embed([a, b])
        return float(one @ other)

    return cosine


def test_a_month_is_the_same_in_summer_and_in_winter_time() -> None:
    def august(offset: int) -> TimeRange:
        zone = timezone(timedelta(hours=offset))
        return TimeRange(datetime(2024, 8, 1, tzinfo=zone), datetime(2024, 9, 1, tzinfo=zone))

    winter = fact("Clara is expecting a baby in August.", happened=august(1))
    assert same(winter, replace(winter, happened=august(2)), cosine=0.99) == "same words"
    assert same(winter, replace(winter, happened=None), cosine=0.99) is None
