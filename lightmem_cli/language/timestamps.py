"""Reads the moments a conversation names as text or numbers, and prints them as they were given.

A moment without an offset belongs to the zone of the transcript, an offset that was given is kept, and epoch numbers,
which have none, are told in the transcript's zone, so that "yesterday" is the yesterday of the people who talked. Every
moment comes back with a fixed offset: it compares, stores and hashes the same after a round trip through ISO text.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 1e11  # as seconds the year 5138, as milliseconds the year 1973
_EPOCH_LIMIT = 1e13  # the year 2286 in milliseconds; above are microseconds, nanoseconds and run-together dates
_PERIOD = re.compile(r"([0-9]{4})(?:-([0-9]{1,2}))?")
_END_OF_DAY = time(23, 59, 59, 999999)

# Fewer digits than nine are a year, a day (20230520) or a typing error rather than a time in 1970.
_EPOCH_TEXT = re.compile(r"-?[0-9]{9,}(\.[0-9]+)?")
# 2023/05/20 (Sat) 00:44
_SLASHED = re.compile(
    r"(?P<year>[0-9]{4})/(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})(?: *\([a-z]{2,9}\))?"
    r"(?: +(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?)?",
    re.IGNORECASE | re.ASCII,
)
# 1:56 pm on 8 May, 2023
_SPOKEN = re.compile(
    r"(?:(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}) *(?P<half>am|pm) +on +)?"
    r"(?P<day>[0-9]{1,2}) +(?P<month>[a-z]{3,9}),? +(?P<year>[0-9]{4})",
    re.IGNORECASE | re.ASCII,
)
_FIRST_HALF = ("january", "february", "march", "april", "may", "june")
_MONTHS = (*_FIRST_HALF, "july", "august", "september", "october", "november", "december")


class _Read(NamedTuple):
    """What a text says: a moment, naive or aware, or only a day (its midnight)."""

    moment: datetime
    day_only: bool


def parse_timestamp(value: str | int | float, *, zone: tzinfo) -> datetime:
    """Read when something was said, as an aware datetime.

    Takes ISO 8601, epoch seconds or milliseconds as a number or digits, `2023/05/20 (Sat) 00:44` and
    `1:56 pm on 8 May, 2023`. Raises ValueError with a reason a person can read.
    """
    if not isinstance(value, str):
        return _from_epoch(value, zone=zone)
    return parse_moment(value, zone=zone)


def parse_moment(text: str, *, zone: tzinfo, end_of: bool = False) -> datetime:
    """Read a moment a person typed; with `end_of` a day without a time means its last microsecond, else its first."""
    stripped = text.strip()
    if _EPOCH_TEXT.fullmatch(stripped):
        return _from_epoch(float(stripped), zone=zone)
    read = _read_iso(stripped) or _read_slashed(stripped) or _read_spoken(stripped)
    if read is None:
        expected = "such as 2024-01-15T10:30:00, 2024-01-15 or epoch seconds"
        raise ValueError(f"not a time: {_shown(text)} ({expected})")
    moment = datetime.combine(read.moment, _END_OF_DAY) if read.day_only and end_of else read.moment
    return _fixed(moment if moment.tzinfo else moment.replace(tzinfo=zone), text)


def parse_period(text: str, *, zone: tzinfo, end_of: bool = False) -> datetime:
    """Read a moment, or a whole month or year (2024-05, 2024) as its first moment, or with `end_of` its last."""
    period = _PERIOD.fullmatch(text.strip())
    if period is None:
        return parse_moment(text, zone=zone, end_of=end_of)
    year, month = int(period[1]), int(period[2] or 1)
    try:
        first = datetime(year, month, 1, tzinfo=zone)
        if not end_of:
            return first
        next_year, next_month = (year + month // 12, month % 12 + 1) if period[2] else (year + 1, 1)
        return datetime(next_year, next_month, 1, tzinfo=zone) - timedelta(microseconds=1)
    except ValueError as error:
        raise ValueError(f"not a time: {_shown(text)} ({error})") from error


def format_time(said_at: datetime, *, zone: tzinfo = UTC) -> str:
    """Print a moment as it was given: ISO with seconds, its offset only where `zone` would read it as another moment.

    `parse_timestamp(format_time(t, zone=z), zone=z)` is `t` again, offset included.
    """
    precision = "seconds" if not said_at.microsecond else "auto" if said_at.microsecond % 1000 else "milliseconds"
    unsaid = said_at.replace(tzinfo=zone, fold=0).utcoffset() == said_at.utcoffset()
    return (said_at.replace(tzinfo=None) if unsaid else said_at).isoformat(timespec=precision)


def _from_epoch(value: int | float, *, zone: tzinfo) -> datetime:
    if isinstance(value, bool):
        raise ValueError(f"not a time: {str(value).lower()}")
    if not abs(value) < _EPOCH_LIMIT:  # so written, it refuses NaN too
        raise ValueError(f"not a time: {_shown(value)} (epoch seconds or milliseconds)")
    since = timedelta(milliseconds=value) if abs(value) >= _MILLISECONDS_FROM else timedelta(seconds=value)
    try:
        return _fixed((_EPOCH + since).astimezone(zone), value)
    except OverflowError:
        raise ValueError(f"not a time: {_shown(value)} (before the year 1)") from None


def _read_iso(text: str) -> _Read | None:
    try:
        return _Read(datetime.combine(date.fromisoformat(text), time()), day_only=True)
    except ValueError:
        pass
    try:
        return _Read(datetime.fromisoformat(text), day_only=False)
    except ValueError:
        return None


def _read_slashed(text: str) -> _Read | None:
    match = _SLASHED.fullmatch(text)
    if match is None:
        return None
    parts = [int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    return _read_parts(parts, day_only=match["hour"] is None)


def _read_spoken(text: str) -> _Read | None:
    match = _SPOKEN.fullmatch(text)
    if match is None:
        return None
    month = next((n for n, name in enumerate(_MONTHS, 1) if name.startswith(match["month"].lower())), 0)
    hour = int(match["hour"] or 12)
    if not 1 <= hour <= 12:
        return None
    hour = hour % 12 + (12 if (match["half"] or "").lower() == "pm" else 0)
    parts = [int(match["year"]), month, int(match["day"]), hour, int(match["minute"] or 0), 0]
    return _read_parts(parts, day_only=match["hour"] is None)


def _read_parts(parts: list[int], *, day_only: bool) -> _Read | None:
    """A moment of year, month, day, hour, minute and second; None where there is no such day or hour."""
    year, month, day, hour, minute, second = parts
    try:
        return _Read(datetime(year, month, day, hour, minute, second), day_only)
    except ValueError:
        return None


def _fixed(moment: datetime, given: object) -> datetime:
    """Give an aware moment a fixed offset, and refuse one that has no place in UTC's years 1 to 9999."""
    offset = moment.utcoffset()
    assert offset is not None, "the zone knows its offset"
    fixed = moment.replace(tzinfo=timezone(offset), fold=0)
    try:
        fixed.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"not a time: {_shown(given)} (outside the years 1 to 9999)") from None
    return fixed


def _shown(value: object) -> str:
    """`value` as an error message shows it: escaped, and short."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**40 else "a number of more than 40 digits"
    shown = repr(value[:60] if isinstance(value, str) else value)
    return shown if len(shown) <= 70 else f"{shown[:67]}..."
