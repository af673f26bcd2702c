"""A stretch of a conversation is retold in its most telling facts, as sentences that a person reads."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.language.times import find_times
from lightmem_cli.records import Entry, Kind, MessageKey, TimeRange
from lightmem_cli.summarize import Per, choose, days_of, in_words, retell, window_of
from lightmem_cli.summarize.choose import MOST_COMPARED, weight

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors

SAID = datetime(2023, 1, 20, 16, 4, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def fact(text: str, *, speaker: str = "Gina", said_at: datetime | None = SAID, **fields: object) -> Entry:
    times = find_times(text, said_at)
    known: dict[str, object] = {"importance": 0.5, "happened": times[0].range if times else None}
    sources = (MessageKey("c", "s", "1"),)
    entry = Entry(id="", kind=Kind.FACT, text=text, conversation="c", session="s", sources=sources, speaker=speaker)
    return replaced(entry, said_at=said_at, **(known | fields))


def replaced(entry: Entry, **fields: object) -> Entry:
    return replace(entry, **fields)  # type: ignore[arg-type]


def told(*facts: Entry, per: Per = "day", days: TimeRange | None = None) -> str:
    moments = [one.said_at for one in facts if one.said_at]
    found = days or (days_of(min(moments), max(moments), zone=UTC) if moments else None)
    return retell(facts, days=found, per=per, zone=UTC)


def units(*rows: list[float]) -> Vectors:
    found = np.array(rows, np.float32)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), np.float32)


# Windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [
        ("day", (2024, 2, 29), (2024, 3, 1)),
        ("week", (2024, 2, 26), (2024, 3, 4)),
        ("month", (2024, 2, 1), (2024, 3, 1)),
    ],
)
def test_a_window_is_whole_days_of_the_calendar(
    per: Per, start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    window = window_of("c", "s", datetime(2024, 2, 29, 23, 59, tzinfo=UTC), per=per, zone=UTC)
    assert (window.conversation, window.session) == ("c", "")
    assert window.days == (datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))


def test_a_day_begins_at_midnight_where_the_profile_is() -> None:
    late = datetime(2024, 3, 30, 23, 30, tzinfo=UTC)
    days = window_of("c", "s", late, per="day", zone=BERLIN).days
    assert days == (datetime(2024, 3, 31, tzinfo=BERLIN), datetime(2024, 4, 1, tzinfo=BERLIN))
    assert days[1].timestamp() - days[0].timestamp() == 23 * 3600  # the clock is set forward


def test_sessions_and_what_has_no_time_are_windows_without_days() -> None:
    assert window_of("c", "s", SAID, per="session", zone=UTC) == ("c", "s", None)
    assert window_of("c", "s", None, per="month", zone=UTC) == ("c", "s", None)


@given(st.datetimes(datetime(1, 2, 1), datetime(9999, 11, 1)), st.sampled_from(["day", "week", "month"]))
def test_a_window_holds_the_moment_it_is_of(moment: datetime, per: Per) -> None:
    aware = moment.replace(tzinfo=UTC)
    window = window_of("c", "s", aware, per=per, zone=BERLIN)
    assert window.days is not None
    assert window.days.start <= aware < window.days.end
    assert window_of("c", "t", window.days.start, per=per, zone=BERLIN) == window


# Choosing ----------------------------------------------------------------------------------------------------------


def test_what_stands_for_much_and_is_new_is_chosen() -> None:
    facts = [fact(f"Gina mentions the number {n}") for n in range(6)]
    near = units([1, 0.4, 0, 0], [1, 0, 0, 0], [1, -0.4, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0.4], [0, 0, -1, 1])
    assert choose(facts, near, most=1) == [1]
    assert choose(facts, near, most=3) == [1, 3, 5]


def test_what_was_said_already_is_not_said_again() -> None:
    same = [fact("Gina adopted a cat"), fact("gina  adopted a cat"), fact("Gina has a cat now")]
    assert choose(same, units([0, 0], [0, 0], [0, 0]), most=3) == [0, 2]
    assert choose(same[1:], units([1, 0], [1, 0.01]), most=3) in ([0], [1])


def test_without_vectors_the_facts_that_say_most_are_chosen() -> None:
    facts = [fact("Gina: Cats purr", importance=value) for value in (0.2, 0.9, 0.5, 0.7)]
    distinct = [replaced(one, text=f"{one.text} {n}") for n, one in enumerate(facts)]
    assert choose(distinct, np.zeros((4, 1), np.float32), most=2) == [1, 3]


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("Gina lost her job yesterday.", "Gina lost her job."),
        ("Gina lost her job.", "Gina: Your job is lost."),
        ("Gina: You can call on Monday", "Gina is glad to see you happy"),
        ("Gina: The garden was wonderful", "Gina: It was wonderful"),
        ("Gina paints", "Gina shares a photo of a painting"),
        ("Gina paints", "Gina: Let's paint"),
    ],
)
def test_events_say_more_than_courtesies_and_pictures(more: str, less: str) -> None:
    assert weight(fact(more)) > weight(fact(less))


def test_names_and_pins_count() -> None:
    assert weight(fact("Gina works", entities=("Door Dash",))) > weight(fact("Gina works"))
    assert weight(fact("Gina works", pinned=True)) > weight(fact("Gina works"))


def test_a_window_of_many_facts_is_compared_in_part() -> None:
    facts = [fact(f"Gina: cat {n}", importance=0.1) for n in range(MOST_COMPARED + 50)]
    facts[-1] = replaced(facts[-1], importance=0.9)
    assert choose(facts, np.zeros((len(facts), 1), np.float32), most=1) == [len(facts) - 1]


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(0, 1), st.integers(0, 3)), max_size=12), st.integers(1, 5))
def test_a_choice_is_in_order_and_no_larger_than_asked(rows: list[tuple[str, float, int]], most: int) -> None:
    facts = [fact(text, importance=value) for text, value, _ in rows]
    vectors = np.eye(4, dtype=np.float32)[[at for _, _, at in rows]] if rows else np.zeros((0, 4), np.float32)
    chosen = choose(facts, vectors, most=most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= most
    assert bool(chosen) == bool(facts)
    assert chosen == choose(facts, vectors, most=most)


# Writing -----------------------------------------------------------------------------------------------------------


def test_a_day_is_one_paragraph_that_begins_with_its_date() -> None:
    found = told(
        fact("Gina: Things have been hectic lately!! 😊"),
        fact("Gina: The store's going good"),
        fact("Oh, Jon has been to Paris yesterday!", speaker="Jon"),
        fact("Jon: Hey Gina, it was sooo cool :)", speaker="Jon"),
        fact('Gina read "Finding Freedom."'),
    )
    assert found == (
        "20 January 2023: Gina: Things have been hectic lately. The store's going good."
        " Jon has been to Paris yesterday (19 January 2023). It was sooo cool."
        ' Gina read "Finding Freedom."'
    )


def test_a_sentence_gets_its_subject_back_and_keeps_its_marks() -> None:
    assert told(fact("Lost Gina's job")) == "20 January 2023: Gina lost Gina's job."
    assert told(fact("Gina paid 180 €")) == "20 January 2023: Gina paid 180 €."
    assert told(fact("Gina: Jon, that's great!"), fact("Jon sings", speaker="Jon")) == (
        "20 January 2023: Gina: That's great. Jon sings."
    )
    assert told(fact("图书馆在大学旁边。")) == "20 January 2023: 图书馆在大学旁边。"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Gina lost it this month", "this month (January 2023)."),
        ("Gina won last year", "last year (2022)."),
        ("Gina was away last week", "last week (9 to 15 January 2023)."),
        ("Gina can't wait for tomorrow's opening", "tomorrow's (21 January 2023) opening."),
        ("Gina got up early today", "today."),
        ("Gina moved in 2016", "in 2016."),
        ("Gina moved on 7 May", "on 7 May."),
    ],
)
def test_a_time_is_dated_unless_it_says_its_date(said: str, expected: str) -> None:
    assert told(fact(said)).endswith(expected)


def test_a_time_that_was_resolved_from_other_words_gets_no_date() -> None:
    days = TimeRange(SAID, SAID + timedelta(days=1))
    assert told(fact("Gina left yesterday", happened=days)) == "20 January 2023: Gina left yesterday."
    assert told(fact("Gina left yesterday", said_at=None)) == "Gina left yesterday."


def test_several_days_are_marked() -> None:
    later = SAID + timedelta(days=9)
    facts = [fact("Gina sang"), fact("Gina danced"), fact("Gina: Slept", said_at=later)]
    month = window_of("c", "s", SAID, per="month", zone=UTC).days
    assert told(*facts, per="month", days=month) == (
        "January 2023. 20 January: Gina sang. Gina danced. 29 January: Gina: Slept."
    )
    assert told(*facts, per="session").startswith("Session of 20 to 29 January 2023. 20 January: Gina sang.")
    week = window_of("c", "s", SAID, per="week", zone=UTC).days
    assert told(facts[0], per="week", days=week) == "Week of 16 January 2023. 20 January: Gina sang."


@pytest.mark.parametrize(
    ("first", "behind", "expected"),
    [
        ("2023-01-19", "2023-01-20", "19 January 2023"),
        ("2023-01-09", "2023-01-16", "9 to 15 January 2023"),
        ("2023-01-30", "2023-02-06", "30 January to 5 February 2023"),
        ("2022-12-26", "2023-01-02", "26 December 2022 to 1 January 2023"),
        ("2023-02-01", "2023-03-01", "February 2023"),
        ("2023-06-01", "2023-09-01", "June to August 2023"),
        ("2022-12-01", "2023-03-01", "1 December 2022 to 28 February 2023"),
        ("2022-01-01", "2023-01-01", "2022"),
        ("2019-01-01", "2022-01-01", "2019 to 2021"),
    ],
)
def test_days_in_words(first: str, behind: str, expected: str) -> None:
    start, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (first, behind))
    assert in_words(TimeRange(start, end)) == expected


@given(st.lists(st.tuples(st.text(), st.sampled_from(["Gina", "Jon"]), st.integers(0, 3)), min_size=1, max_size=5))
def test_every_text_is_told_on_one_line(rows: list[tuple[str, str, int]]) -> None:
    facts = [fact(text, speaker=who, said_at=SAID + timedelta(days=day)) for text, who, day in rows]
    found = told(*sorted(facts, key=lambda one: one.said_at or SAID), per="session")
    assert len(found.splitlines()) == 1
    words = {word for text, _, _ in rows for word in re.findall(r"[a-z]{3,}", text)}
    assert all(word.casefold() in found.casefold() for word in words)
