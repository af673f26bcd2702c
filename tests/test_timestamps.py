"""Moments are read in every form a transcript may use, refused with a reason, and printed as they were given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.language.timestamps import format_time, parse_moment, parse_period, parse_timestamp

BERLIN = ZoneInfo("Europe/Berlin")
PLUS_TWO = timezone(timedelta(hours=2))
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu"), PLUS_TWO])


@pytest.mark.parametrize(
    ("given", "iso"),
    [
        ("2023-05-20T00:44:12", "2023-05-20T00:44:12+00:00"),
        ("2023-05-20 00:44", "2023-05-20T00:44:00+00:00"),
        ("2023-05-20T00:44:12Z", "2023-05-20T00:44:12+00:00"),
        ("2023-05-20T00:44:12.250+05:45", "2023-05-20T00:44:12.250000+05:45"),
        ("  2023-05-20 ", "2023-05-20T00:00:00+00:00"),
        ("20230520", "2023-05-20T00:00:00+00:00"),
        ("2023/05/20 (Sat) 00:44", "2023-05-20T00:44:00+00:00"),
        ("2023/5/3 7:04:09", "2023-05-03T07:04:09+00:00"),
        ("2023/05/20", "2023-05-20T00:00:00+00:00"),
        ("1:56 pm on 8 May, 2023", "2023-05-08T13:56:00+00:00"),
        ("12:09 am on 13 September, 2023", "2023-09-13T00:09:00+00:00"),
        ("12:09 PM on 13 Sept 2023", "2023-09-13T12:09:00+00:00"),
        ("8 May, 2023", "2023-05-08T00:00:00+00:00"),
        (1684543452, "2023-05-20T00:44:12+00:00"),
        (1684543452.5, "2023-05-20T00:44:12.500000+00:00"),
        (1684543452500, "2023-05-20T00:44:12.500000+00:00"),
        ("1684543452", "2023-05-20T00:44:12+00:00"),
        ("1684543452500", "2023-05-20T00:44:12.500000+00:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        (-1, "1969-12-31T23:59:59+00:00"),
    ],
)
def test_every_form_is_read(given: str | float, iso: str) -> None:
    assert parse_timestamp(given, zone=UTC).isoformat() == iso


def test_the_zone_is_for_what_has_no_offset() -> None:
    assert parse_timestamp("2023-05-20T00:44", zone=BERLIN).isoformat() == "2023-05-20T00:44:00+02:00"
    assert parse_timestamp("2023-01-20T00:44", zone=BERLIN).isoformat() == "2023-01-20T00:44:00+01:00"
    assert parse_timestamp("2023-05-20T00:44Z", zone=BERLIN).isoformat() == "2023-05-20T00:44:00+00:00"
    # An epoch number is one moment everywhere; it is told in the transcript's zone.
    assert parse_timestamp(1684543452, zone=BERLIN).isoformat() == "2023-05-20T02:44:12+02:00"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "yesterday",
        "2023",
        "12345",
        "2023-02-30",
        "2023-05-20T25:00",
        "2023/13/01 (Sat) 00:44",
        "13:56 pm on 8 May, 2023",
        "0:56 am on 8 May, 2023",
        "1:56 pm on 31 June, 2023",
        "1:56 pm on 8 Mayor, 2023",
        "٢٠٢٣-٠٥-٢٠",
        "2023-05-20\ud800",
        "0001-01-01T00:00+10:00",
        "9999-12-31T23:59-10:00",
        "9" * 5000,
        "20230520004412",
        1684543452_000_000,
        float("nan"),
        float("inf"),
        -9e10,
        pytest.param(10**5000, id="10**5000"),
        True,
    ],
)
def test_what_is_no_time_is_refused_in_one_short_line(given: str | float) -> None:
    with pytest.raises(ValueError, match=r"^not a time: ") as error:
        parse_timestamp(given, zone=UTC)
    reason = str(error.value)
    assert len(reason) < 200
    assert reason.isprintable()


@given(st.one_of(st.text(max_size=30), st.integers(), st.floats()), ZONES)
def test_anything_is_read_or_refused(value: str | float, zone: ZoneInfo) -> None:
    try:
        moment = parse_timestamp(value, zone=zone)
    except ValueError as error:
        assert str(error).startswith("not a time: ")
    else:
        assert moment.astimezone(UTC) == moment


@given(st.datetimes(), ZONES, ZONES, st.integers(0, 1))
def test_what_is_printed_is_read_back_with_its_offset(
    wall: datetime, given_in: ZoneInfo, zone: ZoneInfo, fold: int
) -> None:
    try:
        moment = parse_timestamp(wall.replace(tzinfo=given_in, fold=fold).isoformat(), zone=zone)
    except ValueError as error:
        assert "years 1 to 9999" in str(error)
        return
    again = parse_timestamp(format_time(moment, zone=zone), zone=zone)
    assert (again, again.utcoffset()) == (moment, moment.utcoffset())


@given(st.datetimes(), ZONES)
def test_a_time_without_an_offset_prints_without_one(wall: datetime, zone: ZoneInfo) -> None:
    text = wall.isoformat(timespec="microseconds" if wall.microsecond % 1000 else "milliseconds")
    text = text.removesuffix(".000")
    try:
        moment = parse_timestamp(text, zone=zone)
    except ValueError as error:
        assert "years 1 to 9999" in str(error)
        return
    assert format_time(moment, zone=zone) == text


@pytest.mark.parametrize(
    ("given", "zone", "printed"),
    [
        ("2024-01-15T10:30", UTC, "2024-01-15T10:30:00"),
        ("2024-01-15T10:30Z", UTC, "2024-01-15T10:30:00"),
        ("2024-01-15T10:30+09:00", UTC, "2024-01-15T10:30:00+09:00"),
        ("2024-01-15T10:30", BERLIN, "2024-01-15T10:30:00"),
        ("2024-01-15T10:30Z", BERLIN, "2024-01-15T10:30:00+00:00"),
        ("2023-10-29T02:30+01:00", BERLIN, "2023-10-29T02:30:00+01:00"),  # the second 02:30 of that night
    ],
)
def test_an_offset_is_printed_where_it_says_something(given: str, zone: ZoneInfo, printed: str) -> None:
    assert format_time(parse_timestamp(given, zone=zone), zone=zone) == printed


def test_a_day_ends_with_its_last_microsecond() -> None:
    assert parse_moment("2024-01-15", zone=BERLIN).isoformat() == "2024-01-15T00:00:00+01:00"
    assert parse_moment("2024-01-15", zone=BERLIN, end_of=True).isoformat() == "2024-01-15T23:59:59.999999+01:00"
    assert parse_moment("2024/01/15 (Mon)", zone=UTC, end_of=True).hour == 23
    assert parse_moment("15 January 2024", zone=UTC, end_of=True).hour == 23
    assert parse_moment("2024-01-15T00:00", zone=UTC, end_of=True).hour == 0


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2023-07", "2023-07-01T00:00:00", "2023-07-31T23:59:59.999999"),
        ("2023-12", "2023-12-01T00:00:00", "2023-12-31T23:59:59.999999"),
        ("2024", "2024-01-01T00:00:00", "2024-12-31T23:59:59.999999"),
        ("2024-02-03", "2024-02-03T00:00:00", "2024-02-03T23:59:59.999999"),
        ("2024-02-03T04:05", "2024-02-03T04:05:00", "2024-02-03T04:05:00"),
    ],
)
def test_a_period_is_its_first_or_its_last_moment(text: str, first: str, last: str) -> None:
    assert parse_period(text, zone=UTC).replace(tzinfo=None).isoformat() == first
    assert parse_period(text, zone=UTC, end_of=True).replace(tzinfo=None).isoformat() == last


@pytest.mark.parametrize("text", ["2023-13", "0000", "2023-00", "soon"])
def test_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        parse_period(text, zone=UTC)
