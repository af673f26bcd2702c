"""Divides a conversation into sessions or by the calendar, each stretch with one summary."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple, TypeAlias, assert_never

from lightmem_cli.records import TimeRange

Per: TypeAlias = Literal["session", "day", "week", "month"]


class Window(NamedTuple):
    """A stretch of one conversation: a whole session, or a day, a week or a month of it in the profile's zone.

    A calendar window has `days` and no session; what was said without a time belongs to its session's window without
    days.
    """

    conversation: str
    session: str
    days: TimeRange | None


def window_of(conversation: str, session: str, said_at: datetime | None, *, per: Per, zone: tzinfo) -> Window:
    """The window that something said at `said_at` (aware, or None) falls into."""
    if per == "session" or said_at is None:
        return Window(conversation, session, None)
    first = said_at.astimezone(zone).date()
    return Window(conversation, "", _whole_days(*_calendar(first, per), zone=zone))


def days_of(first: datetime, last: datetime, *, zone: tzinfo) -> TimeRange:
    """The whole days from that of `first` to that of `last`."""
    return _whole_days(first.astimezone(zone).date(), last.astimezone(zone).date() + timedelta(days=1), zone=zone)


def _calendar(day: date, per: Literal["day", "week", "month"]) -> tuple[date, date]:
    """The first day of the day, week (from Monday) or month that holds `day`, and the first day behind it."""
    match per:
        case "day":
            return day, day + timedelta(days=1)
        case "week":
            monday = day - timedelta(days=day.weekday())
            return monday, monday + timedelta(days=7)
        case "month":
            first = day.replace(day=1)
            return first, (first + timedelta(days=31)).replace(day=1)
        case _:
            assert_never(per)


def _whole_days(first: date, behind: date, *, zone: tzinfo) -> TimeRange:
    return TimeRange(datetime.combine(first, time(), zone), datetime.combine(behind, time(), zone))
