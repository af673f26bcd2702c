"""Finds when a sentence says something happened, resolved against the time it was said and never against today."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from lightmem_cli.language.time_forms import AHEAD, CUE, MENTION
from lightmem_cli.records import TimeRange

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}  # first months, northern
_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "couple": 2, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip
_VAGUE = {"few": (2, 4), "several": (3, 7)}


@dataclass(frozen=True, slots=True)
class TimeMention:
    """A time as `text` names it, and the days, from midnight to midnight, that it honestly stands for."""

    text: str
    range: TimeRange


def find_times(text: str, anchor: datetime | None) -> list[TimeMention]:
    """The times that `text` mentions, in order, seen from `anchor` (aware) and in its zone.

    A day for "yesterday" and "7 May", a week for "last week" and "two weeks ago", a month for "in May", a year for
    "in 2016". Without an anchor only what states its year is resolved, in UTC. "may", "march on", "second",
    bare numbers and dates that read both ways (05/07/2023) are no times.
    """
    if not CUE.search(text):
        return []
    found = []
    ahead = AHEAD.search(text) is not None
    for mention in MENTION.finditer(text):
        days = _days(mention, anchor.date() if anchor else None, ahead=ahead)
        resolved = days and _between(*days, zone_of=anchor)
        if resolved:
            found.append(TimeMention(mention.group().strip(), resolved))
    return found


_Days = tuple[date, date]  # from the first day up to but not including the second


def _between(start: date, end: date, *, zone_of: datetime | None) -> TimeRange | None:
    zone = zone_of.tzinfo if zone_of else UTC
    return TimeRange(_midnight(start).replace(tzinfo=zone), _midnight(end).replace(tzinfo=zone))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


def _days(mention: re.Match[str], today: date | None, *, ahead: bool) -> _Days | None:
    """The days that `mention` means, or None where there is no such day or it would need an anchor."""
    parts = {name: value for name, value in mention.groupdict().items() if value is not None}
    try:
        for name, resolve in _STATED.items():
            if name in parts:
                return resolve(parts, today)
        if today is not None:
            for name, resolve_relative in _RELATIVE.items():
                if name in parts:
                    return resolve_relative(parts, today, ahead)
    except (ValueError, OverflowError):  # 31 June, or a year that no calendar has
        return None
    return None


# ---- days, weeks, months, years ---------------------------------------------------------------------------------


def _day(start: date, count: int = 1) -> _Days:
    return start, start + timedelta(days=count)


def _month(year: int, month: int, count: int = 1) -> _Days:
    """`count` whole months; `month` may lie outside 1 to 12 and is then carried into the years."""
    first, last = year * 12 + month - 1, year * 12 + month - 1 + count
    return date(first // 12, first % 12 + 1, 1), date(last // 12, last % 12 + 1, 1)


def _year(year: int, count: int = 1) -> _Days:
    return date(year, 1, 1), date(year + count, 1, 1)


def _week(day: date) -> _Days:
    """The week from Monday to Sunday that holds `day`."""
    return _day(day - timedelta(days=day.weekday()), 7)


def _weekend(day: date) -> _Days:
    return _day(_week(day)[0] + timedelta(days=5), 2)


def _month_number(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) + 1


def _weekday_number(name: str) -> int:
    return _WEEKDAYS.index(name[:3].lower())


def _nearest_year(today: date, month: int, day: int) -> date:
    """The occurrence of `day` `month` nearest to `today`: at New Year, "December 28" is last week's."""
    dates = []
    for year in (today.year - 1, today.year, today.year + 1):
        if (month, day) != (2, 29) or _is_leap(year):
            dates.append(date(year, month, day))
    return min(dates, key=lambda found: abs(found - today))


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


# ---- forms that state their date --------------------------------------------------------------------------------

_Parts = dict[str, str]


def _iso(parts: _Parts, _: date | None) -> _Days:
    return _day(date(int(parts["iso"]), int(parts["iso_month"]), int(parts["iso_day"])))


def _cjk(parts: _Parts, _: date | None) -> _Days:
    year, month = int(parts["cjk"]), int(parts["cjk_month"])
    return _day(date(year, month, int(parts["cjk_day"]))) if "cjk_day" in parts else _month(year, month)


def _day_month(parts: _Parts, today: date | None) -> _Days | None:
    return _calendar_day(parts["day"], parts["day_month"], parts.get("day_year"), today)


def _month_day(parts: _Parts, today: date | None) -> _Days | None:
    return _calendar_day(parts["us_day"], parts["us_month"], parts.get("us_year"), today)


def _calendar_day(day: str, month: str, year: str | None, today: date | None) -> _Days | None:
    number = _month_number(month)
    if year is not None:
        return _day(date(int(year), number, int(day)))
    return _day(_nearest_year(today, number, int(day))) if today else None


def _month_year(parts: _Parts, _: date | None) -> _Days:
    return _month(int(parts["month_year"]), _month_number(parts["month"]))


def _season_year(parts: _Parts, _: date | None) -> _Days:
    return _month(int(parts["season_year"]), _SEASONS[parts["season"].lower()], 3)


def _cued_year(parts: _Parts, _: date | None) -> _Days:
    return _year(int(parts["year"]))


def _decade(parts: _Parts, _: date | None) -> _Days:
    stated = parts["decade"]
    return _year(int(stated if len(stated) == 4 else f"19{stated}"), 10)


def _foreign(parts: _Parts, _: date | None) -> _Days | None:
    day = _other_language(parts["foreign"])
    return _day(day) if day else None


@lru_cache(maxsize=4096)
def _other_language(span: str) -> date | None:
    """Read a full date such as "7. Mai 2023" or "7 de mayo de 2023": only these need dateparser, which costs 0.3 s."""
    import dateparser

    settings = {
        "STRICT_PARSING": True,
        "REQUIRE_PARTS": ["day", "month", "year"],
        "DATE_ORDER": "DMY",
        "TIMEZONE": "UTC",
    }
    parsed = dateparser.parse(span, languages=["de", "fr", "es", "it", "pt", "nl"], settings=settings)
    return parsed.date() if parsed else None


_STATED: dict[str, Callable[[_Parts, date | None], _Days | None]] = {
    "iso": _iso,
    "cjk": _cjk,
    "day": _day_month,
    "us_month": _month_day,
    "month_year": _month_year,
    "foreign": _foreign,
    "season_year": _season_year,
    "year": _cued_year,
    "decade": _decade,
}


# ---- forms that lean on the day they were said ------------------------------------------------------------------

_NAMED_DAYS = {"day before yesterday": -2, "day after tomorrow": 2, "yesterday": -1, "last": -1, "tomorrow": 1}


def _named(parts: _Parts, today: date, _: bool) -> _Days:
    said = parts["named"].lower()
    return _day(today + timedelta(days=next((n for name, n in _NAMED_DAYS.items() if name in said), 0)))


def _ago(parts: _Parts, today: date, _: bool) -> _Days:
    few, many = _count(parts["ago"])
    return _units_away(today, parts["ago_unit"].lower(), -many, -few)


def _ahead(parts: _Parts, today: date, _: bool) -> _Days:
    few, many = _count(parts["ahead"])
    return _units_away(today, parts["ahead_unit"].lower(), few, many)


def _count(said: str) -> tuple[int, int]:
    """The least and the most that a number word means: (2, 4) for "a few"."""
    word = said.lower().removeprefix("a ").removesuffix(" of")
    if word in _VAGUE:
        return _VAGUE[word]
    number = int(word) if word.isdigit() else _NUMBERS[word]
    return number, number


def _units_away(today: date, unit: str, low: int, high: int) -> _Days:
    """From `low` to `high` units away from `today`, as wide as the unit: "two weeks ago" is a week around that day."""
    match unit:
        case "day" | "night":
            return today + timedelta(days=low), today + timedelta(days=high + 1)
        case "week" | "fortnight":
            days = 7 if unit == "week" else 14
            return today + timedelta(days=days * low - 3), today + timedelta(days=days * high + 4)
        case "weekend":
            return _weekend(today + timedelta(days=7 * low))[0], _weekend(today + timedelta(days=7 * high))[1]
        case "month":
            return _month(today.year, today.month + low, high - low + 1)
        case "decade":
            return _year(today.year + 10 * low - 1, 10 * (high - low) + 3)
        case _:
            return _year(today.year + low, high - low + 1)


def _span(parts: _Parts, today: date, _: bool) -> _Days:
    """ "The last three weeks": from then up to and with today."""
    most = _count(parts["span"])[1]
    begin = _units_away(today, parts["span_unit"].lower(), -most, -most)[0]
    return min(begin, today), today + timedelta(days=1)  # of "the last 0 weekends", this week's is still to come


def _which_unit(parts: _Parts, today: date, _: bool) -> _Days:
    step, unit = _step(parts["which"]), parts["unit"].lower()
    match unit:
        case "week":
            return _week(today + timedelta(days=7 * step))
        case "weekend":
            return _weekend(today + timedelta(days=7 * step))
        case "month":
            return _month(today.year, today.month + step)
        case "decade":
            return _year(today.year // 10 * 10 + 10 * step, 10)
        case _:
            return _year(today.year + step)


def _step(which: str) -> int:
    """-1 for "last", 0 for "this", 1 for "next"."""
    said = which.lower()
    if said in {"last", "past", "previous", "this past"}:
        return -1
    return 1 if said in {"next", "coming", "following", "this coming"} else 0


def _which_weekday(parts: _Parts, today: date, _: bool) -> _Days:
    """ "Last Friday" is the one before today, "this Friday" the coming one, "next Friday" the next week's."""
    step, number = _step(parts["which"]), _weekday_number(parts["weekday"])
    if step < 0:
        return _day(today - timedelta(days=(today.weekday() - number - 1) % 7 + 1))
    if step > 0 and parts["which"].lower() == "next":
        return _day(_week(today)[0] + timedelta(days=7 + number))
    return _day(today + timedelta(days=(number - today.weekday()) % 7))


def _bare_weekday(parts: _Parts, today: date, ahead: bool) -> _Days:
    number = _weekday_number(parts["bare_weekday"])
    if ahead:
        return _day(today + timedelta(days=(number - today.weekday()) % 7))
    return _day(today - timedelta(days=(today.weekday() - number) % 7))


def _which_season(parts: _Parts, today: date, _: bool) -> _Days:
    """ "Last summer" is the latest that is over, "next summer" the first to begin, "this summer" the nearest."""
    month, step = _SEASONS[parts["which_season"].lower()], _step(parts["which"])
    seasons = [_month(year, month, 3) for year in range(today.year - 2, today.year + 3)]
    if step < 0:
        return [season for season in seasons if season[1] <= today][-1]
    if step > 0:
        return next(season for season in seasons if season[0] > today)
    return min(seasons, key=lambda season: abs(season[0] + timedelta(days=45) - today))


def _which_month(parts: _Parts, today: date, _: bool) -> _Days:
    month, step = _month_number(parts["which_month"]), _step(parts["which"])
    if step < 0:
        return _month(today.year - (month >= today.month), month)
    return _month(today.year + (month <= today.month if step else 0), month)


def _bare_month(parts: _Parts, today: date, ahead: bool) -> _Days:
    month = _month_number(parts["bare_month"])
    if ahead:
        return _month(today.year + (month < today.month), month)
    return _month(today.year - (month > today.month), month)


_RELATIVE: dict[str, Callable[[_Parts, date, bool], _Days]] = {
    "named": _named,
    "ago": _ago,
    "ahead": _ahead,
    "span": _span,
    "unit": _which_unit,
    "weekday": _which_weekday,
    "bare_weekday": _bare_weekday,
    "which_season": _which_season,
    "which_month": _which_month,
    "bare_month": _bare_month,
}
