"""Writes chosen facts of a conversation as one paragraph: each name once, each "yesterday" with its date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta, tzinfo
from itertools import groupby

from lightmem_cli.language.english import PAST_VERBS
from lightmem_cli.language.times import TimeMention, find_times
from lightmem_cli.records import Entry, TimeRange
from lightmem_cli.summarize.windows import Per

_MONTH_NAMES = "January February March April May June July August September October November December"
_MONTHS = _MONTH_NAMES.split()  # whatever the locale
_FILLERS = "oh ah aw haha yeah yes yep yup no nope wow woah whoa well hey hi hello so btw okay ok sure anyway"
# Spoken into the sentence and no part of it: "Oh, Jon has been …", "Hey Jon, they're …".
_FILLED = re.compile(
    rf"^(?:(?i:{'|'.join(_FILLERS.split())}|by the way|you know)(?: [A-Z][\w'-]+)?(?:[,!]|\.{{2,3}}|…| -)\s+)+"
)
_SHOUTED = re.compile(r"(?:[\s!！]|[:;]-?[()DPp](?!\w)|<3|[\u2190-\u2bff\u200d\ufe0f\U0001f000-\U0001faff])+$")
_ENDED = re.compile(r"[.?…。？।][\"'”’»)\]]*$")
_OWNER = re.compile(r"['’]\w+")  # "tomorrow's"
_SAME_DAY = ("today", "tonight", "this morning", "this afternoon", "this evening")  # every day is marked
_HAS_YEAR = re.compile(r"(?:19|20)\d\d")


def retell(facts: Sequence[Entry], *, days: TimeRange | None, per: Per, zone: tzinfo) -> str:
    """`facts`, in the order said, as a paragraph; `days` are those of the window, None where nobody said a time.

    "20 January 2023: Gina lost her job this month (January 2023). …"; over several days each has its own mark.
    """
    if days is None:
        return " ".join(_sentences(facts, days=None))
    parts = []
    if days.end - days.start < timedelta(hours=36):  # one day, be it one in which the clock is set back
        parts = [": ", *_sentences(facts, days=days)]
    else:
        parts = [". "]
        for day, its in groupby(facts, key=lambda fact: fact.said_at and fact.said_at.astimezone(zone).date()):
            mark = f"{day.day} {_MONTHS[day.month - 1]}: " if day else "Undated: "
            told = _sentences(list(its), days=days)
            parts += [mark + told[0], *told[1:]]
    return heading(days, per=per) + parts[0] + " ".join(parts[1:])


def heading(days: TimeRange, *, per: Per) -> str:
    """What a window is called: "20 January 2023", "Week of 16 January 2023", "January 2023"."""
    match per:
        case "week":
            return f"Week of {_day(days.start.date())}"
        case "session":
            return f"Session of {in_words(days)}"
        case _:
            return in_words(days)


def in_words(days: TimeRange) -> str:
    """A range of days as one writes it: "19 January 2023", "9 to 15 January 2023", "February 2023", "2022"."""
    first, last = days.start.date(), (days.end - timedelta(microseconds=1)).date()
    behind = last + timedelta(days=1)
    if last <= first:
        return _day(first)
    if first.day == 1 and behind.day == 1:
        if first.month == 1 and behind.month == 1:
            return f"{first.year}" if first.year == last.year else f"{first.year} to {last.year}"
        begins, ends = _MONTHS[first.month - 1], f"{_MONTHS[last.month - 1]} {last.year}"
        if first.year == last.year:
            return ends if first.month == last.month else f"{begins} to {ends}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {_day(last)}"
    return f"{_day(first).removesuffix(f' {last.year}')} to {_day(last)}"


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def plain(fact: Entry) -> str:
    """What a fact says on one line, without the "Name: " and the "Oh, yeah, " before it."""
    return _plain(fact.text, speaker=fact.speaker)


def _plain(text: str, *, speaker: str | None) -> str:
    said = " ".join(text.split())
    said = said.removeprefix(f"{speaker}: ") if speaker else said
    return _FILLED.sub("", said) or said


def _sentences(facts: Sequence[Entry], *, days: TimeRange | None) -> list[str]:
    """The facts as sentences; "Name: " is said once for what one voice says in a row."""
    found = []
    voice = None
    called = tuple(f"{fact.speaker}, " for fact in facts)
    for fact in facts:
        said = _plain(_dated(fact, days=days), speaker=fact.speaker)
        said = next((said.removeprefix(name) for name in called if said.startswith(name)), said)  # "Gina, Jon is …"
        sentence = _whole(said, speaker=fact.speaker)
        marked = fact.speaker is not None and fact.text.startswith(f"{fact.speaker}: ")
        found.append(f"{fact.speaker}: {sentence}" if marked and fact.speaker != voice else sentence)
        voice = fact.speaker if marked or sentence.startswith(f"{fact.speaker} ") else None
    return found


def _whole(said: str, *, speaker: str | None) -> str:
    """A statement as a written sentence: a subject and a capital to begin with, a full stop behind it."""
    told = _SHOUTED.sub("", said) or said
    first, _, rest = told.partition(" ")
    if speaker and first.lower() in PAST_VERBS and rest.casefold().startswith(speaker.casefold()):
        told = f"{rest[: len(speaker)]} {first.lower()} {rest}"  # "Lost Jon's job"
    return told[:1].upper() + told[1:] + ("" if _ENDED.search(told) else ".")


def _dated(fact: Entry, *, days: TimeRange | None) -> str:
    """A fact's text with the dates that its "yesterday" and "last week" mean, where they are known."""
    mentions = find_times(fact.text, fact.said_at)
    if not mentions or mentions[0].range != fact.happened:
        return fact.text  # its time was resolved from other words
    parts, rest = [], fact.text
    for mention in mentions:
        before, found, rest = rest.partition(mention.text)
        owner = _OWNER.match(rest)
        parts += [before, found, owner.group() if owner else "", _stated(mention, days=days)]
        rest = rest[owner.end() :] if owner else rest
    return "".join(parts) + rest


def _stated(mention: TimeMention, *, days: TimeRange | None) -> str:
    """The date in brackets, unless the mention says it already, or means the day on which it was said."""
    words = in_words(mention.range)
    without_year = _HAS_YEAR.sub("", words).strip().lower()
    if mention.range == days or _HAS_YEAR.search(mention.text) or mention.text.lower() in _SAME_DAY:
        return ""
    return "" if without_year and without_year in mention.text.lower() else f" ({words})"
