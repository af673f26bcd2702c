"""Times resolve against the day they were said, as wide as they honestly are, and ordinary words are no times."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.language.times import find_times

BERLIN = ZoneInfo("Europe/Berlin")
SAID = datetime(2023, 5, 24, 13, 30, tzinfo=BERLIN)  # a Wednesday


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("It was yesterday.", "2023-05-23", "2023-05-24"),
        ("the day before yesterday", "2023-05-22", "2023-05-23"),
        ("last night was fun", "2023-05-23", "2023-05-24"),
        ("this morning", "2023-05-24", "2023-05-25"),
        ("tomorrow", "2023-05-25", "2023-05-26"),
        ("last Friday", "2023-05-19", "2023-05-20"),
        ("last Wednesday", "2023-05-17", "2023-05-18"),
        ("on Friday we met", "2023-05-19", "2023-05-20"),
        ("I will go on Friday", "2023-05-26", "2023-05-27"),
        ("my sister is expecting a baby in August", "2023-08-01", "2023-09-01"),
        ("the course starts in March", "2024-03-01", "2024-04-01"),
        ("the course started in March", "2023-03-01", "2023-04-01"),
        ("this Friday", "2023-05-26", "2023-05-27"),
        ("next Friday", "2023-06-02", "2023-06-03"),
        ("my car broke down last Fri on my way", "2023-05-19", "2023-05-20"),
        ("last week's trip", "2023-05-15", "2023-05-22"),
        ("this week", "2023-05-22", "2023-05-29"),
        ("last weekend", "2023-05-20", "2023-05-22"),
        ("next month", "2023-06-01", "2023-07-01"),
        ("last year", "2022-01-01", "2023-01-01"),
        ("a week ago", "2023-05-14", "2023-05-21"),
        ("two weeks ago", "2023-05-07", "2023-05-14"),
        ("3 days ago", "2023-05-21", "2023-05-22"),
        ("a few days ago", "2023-05-20", "2023-05-23"),
        ("a couple of months ago", "2023-03-01", "2023-04-01"),
        ("three years ago", "2020-01-01", "2021-01-01"),
        ("in 2 weeks", "2023-06-04", "2023-06-11"),
        ("over the past three months", "2023-02-01", "2023-05-25"),
        ("in May", "2023-05-01", "2023-06-01"),
        ("back in August", "2022-08-01", "2022-09-01"),
        ("I'll move in August", "2023-08-01", "2023-09-01"),
        ("last summer", "2022-06-01", "2022-09-01"),
        ("summer of 2019", "2019-06-01", "2019-09-01"),
        ("in the 90s", "1990-01-01", "2000-01-01"),
        ("since 2016", "2016-01-01", "2017-01-01"),
        ("May 2021", "2021-05-01", "2021-06-01"),
        ("7 May 2023", "2023-05-07", "2023-05-08"),
        ("the 7th of May, 2023", "2023-05-07", "2023-05-08"),
        ("May 7th", "2023-05-07", "2023-05-08"),
        ("on December 28", "2022-12-28", "2022-12-29"),
        ("2023-05-07T10:00", "2023-05-07", "2023-05-08"),
        ("am 7. Mai 2023", "2023-05-07", "2023-05-08"),
        ("el 7 de mayo de 2023", "2023-05-07", "2023-05-08"),
        ("我2023年5月7日去了", "2023-05-07", "2023-05-08"),
    ],
)
def test_times_are_resolved_against_when_they_were_said(text: str, start: str, end: str) -> None:
    (found,) = find_times(text, SAID)
    assert found.range == (day(start), day(end))
    assert found.text in text


@pytest.mark.parametrize(
    "text",
    [
        "may I march on a second?",
        "We may go, and they march in line.",
        "I have 2016 things and 12 dogs.",
        "31 June 2023",
        "05/07/2023",
        "on Fridays",
        "I sat in the sun with Mar.",
        "the second one, next to the last door",
        "May 4:30",
        "version 2023.5",
        "5 people 2023",
        "",
    ],
)
def test_weak_matches_are_refused(text: str) -> None:
    assert find_times(text, SAID) == []


def test_without_an_anchor_only_a_stated_year_is_a_time() -> None:
    (found,) = find_times("yesterday, May 7, last week or 7 May 2023", None)
    assert found.range == (datetime(2023, 5, 7, tzinfo=UTC), datetime(2023, 5, 8, tzinfo=UTC))
    assert find_times("last Friday", None) == []


def test_new_year_and_leap_days() -> None:
    early = datetime(2023, 1, 2, tzinfo=UTC)
    assert find_times("on December 28", early)[0].range.start == datetime(2022, 12, 28, tzinfo=UTC)
    assert find_times("last month", early)[0].range.start == datetime(2022, 12, 1, tzinfo=UTC)
    assert find_times("29 February", datetime(2022, 1, 2, tzinfo=UTC)) == []
    assert find_times("29 February", datetime(2024, 3, 1, tzinfo=UTC))[0].range.start == datetime(
        2024, 2, 29, tzinfo=UTC
    )


def test_what_began_in_no_weekend_begins_today() -> None:
    (found,) = find_times("the last 0 weekends", datetime(2000, 2, 1, tzinfo=UTC))
    assert found.range == (datetime(2000, 2, 1, tzinfo=UTC), datetime(2000, 2, 2, tzinfo=UTC))


def test_several_mentions_come_in_order() -> None:
    found = find_times("I moved in 2016, and last week I moved again.", SAID)
    assert [mention.text for mention in found] == ["in 2016", "last week"]


def test_english_dates_do_not_load_the_date_library() -> None:
    code = (
        "import sys; from datetime import datetime, UTC; from lightmem_cli.language.times import find_times\n"
        "assert find_times('7 May 2023, last week, in 2016', datetime.now(UTC)); sys.exit('dateparser' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WORDS = """
in on since last next this past two 999 a few several weeks week years decades ago month May 31 February 29 2023 1900 0
Friday summer winter weekend days 2023-02-31 年 ² ٣ of the
"""


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(WORDS.split()), max_size=8).map(" ".join)),
    st.none() | st.datetimes(timezones=st.sampled_from([UTC, BERLIN, timezone(timedelta(hours=-11))])),
)
def test_any_text_at_any_time_is_read(text: str, anchor: datetime | None) -> None:
    for mention in find_times(text, anchor):
        assert mention.text in text
        assert mention.range.start.date() < mention.range.end.date()
        assert mention.range.start.tzinfo is not None
