"""Packs what was found of a conversation into numbered lines, oldest first, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lightmem_cli.ask.plain import Count, excerpt, shortened
from lightmem_cli.language.data import as_data
from lightmem_cli.language.words import analyze
from lightmem_cli.records import Entry, Hit, Kind, TimeRange

# Of the budget: what summaries may take, and the turns that are shown beside hits. What one leaves, the others have.
# Of 150 of LoCoMo's questions, 2,000 tokens of hits alone hold 91 % of the evidence; with these shares 89 %, as with
# .2 and .25; 4,000 tokens hold 96 % and 94 %.
_SUMMARIES, _BESIDE = 0.15, 0.1
_LONGEST = 0.25  # of the budget: one piece; of a longer one stands what is nearest to the question
_LONGEST_BESIDE = 0.04  # of the budget: one turn beside a hit
_LONGEST_NAME = 40  # characters
_MOST_DAYS = 2  # that a line says it is about
_WIDEST = "[999] "  # a line's number, before anybody knows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A hit as it may be shown: the `days` it is about, and the turns said right before and behind it.

    `place` orders what was said at one time. `messages` are history's integers of those whose words it has: the hit's
    own, and beside them that of `before` and of `behind`.
    """

    hit: Hit
    place: int
    messages: tuple[int, ...] = ()
    days: tuple[TimeRange, ...] = ()
    before: tuple[int, Entry] | None = None
    behind: tuple[int, Entry] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Evidence as a model reads it: `lines`, the hit behind each [n], and whose words they are, as history numbers."""

    lines: str
    hits: tuple[Hit, ...]
    messages: tuple[int, ...]


def pack(
    found: Sequence[Found],
    *,
    summaries: Sequence[Found] = (),
    question: str,
    budget: int,
    count: Count,
    language: str = "english",
) -> Packed:
    """The best of `found` and of `summaries`, both best first, whose lines together are at most `budget` tokens.

    A piece that does not fit is passed over, and smaller ones fill the rest.
    """
    page = _Page(budget, count, frozenset(analyze(question, language=language)), language)
    told = int(budget * _SUMMARIES) if summaries else 0
    beside = int(budget * _BESIDE) if any(one.before or one.behind for one in found) else 0
    page.take(found[:1], limit=budget)  # be it as long as may be
    page.take(found, limit=budget - told - beside)
    page.take(summaries, limit=page.used + told)
    page.take_beside(found, limit=page.used + beside)
    page.take(found, limit=budget)
    page.take_beside(found, limit=budget)
    return page.packed()


@dataclass(slots=True)
class _Page:
    budget: int
    count: Count
    about: frozenset[str]
    language: str
    used: int = 0
    pieces: dict[str, tuple[Found, str]] = field(default_factory=dict)  # by the entry's id, with its line
    beside: dict[str, tuple[str, int, str]] = field(default_factory=dict)  # turns: beside which piece, message, line

    def take(self, found: Sequence[Found], *, limit: int) -> None:
        """Take in the pieces that are not there yet, as long as no more than `limit` tokens are used."""
        longest = int(self.budget * _LONGEST)
        for one in found:
            entry = one.hit.entry
            if entry.id in self.pieces or self.used >= limit:
                continue
            text = _text(entry)
            if entry.kind is Kind.SUMMARY:
                text = shortened(text, most=longest, count=self.count)
            else:
                text = excerpt(text, about=self.about, most=longest, count=self.count, language=self.language)
            line = f"{_heading(one)}: {text}"
            if self._afford(_WIDEST + line, limit=limit):
                self.pieces[entry.id] = (one, line)

    def take_beside(self, found: Sequence[Found], *, limit: int) -> None:
        """Take in the turns beside the pieces that are there, those of the best pieces first."""
        longest = max(16, int(self.budget * _LONGEST_BESIDE))
        for one in found:
            if one.hit.entry.id not in self.pieces:
                continue
            for turn, where in ((one.before, "before"), (one.behind, "after")):
                if turn is None or turn[1].id in self.pieces or turn[1].id in self.beside:
                    continue
                text = shortened(_text(turn[1]), most=longest, count=self.count, from_end=where == "before")
                line = f"  right {where}, {_name(turn[1])}: {text}"
                if self._afford(line, limit=limit):
                    self.beside[turn[1].id] = (one.hit.entry.id, turn[0], line)

    def packed(self) -> Packed:
        ordered = sorted(self.pieces.values(), key=lambda piece: _when(piece[0]))
        lines: list[str] = []
        messages: dict[int, None] = {}
        for number, (one, line) in enumerate(ordered, start=1):
            lines.append(f"[{number}] {line}")
            messages |= dict.fromkeys(one.messages)
            for message, its in self._beside(one.hit.entry.id):
                lines.append(its)
                messages[message] = None
        return Packed(lines="\n".join(lines), hits=tuple(one.hit for one, _ in ordered), messages=tuple(messages))

    def _beside(self, piece: str) -> Iterator[tuple[int, str]]:
        """The turns shown beside a piece; one that became a piece itself is not shown again."""
        for turn, (owner, message, line) in self.beside.items():
            if owner == piece and turn not in self.pieces:
                yield message, line

    def _afford(self, line: str, *, limit: int) -> bool:
        cost = self.count(f"{line}\n")
        if self.used + cost > limit:
            return False
        self.used += cost
        return True


def _when(one: Found) -> tuple[bool, float, int, bool, int]:
    """Oldest first, what has no time before all; a summary behind what it retells."""
    said_at = one.hit.entry.said_at
    since = said_at.timestamp() if said_at else 0.0
    return said_at is not None, since, one.place, one.hit.entry.kind is not Kind.TURN, one.hit.rank


def _heading(one: Found) -> str:
    entry = one.hit.entry
    about = ", ".join(_about(one)[:_MOST_DAYS])
    mark = "" if entry.kind is Kind.TURN else f"({entry.kind})"
    who = " ".join(filter(None, (_name(entry), mark)))
    return ", ".join(filter(None, (_moment(entry.said_at), f"about {about}" if about else "", who)))


def _about(one: Found) -> list[str]:
    """The days that a line is about, but for the one on which it was said, which it says already."""
    said_at = one.hit.entry.said_at
    return [span for span in map(_span, one.days) if said_at is None or span != f"{said_at:%Y-%m-%d}"]


def _moment(said_at: datetime | None) -> str:
    return "undated" if said_at is None else f"{said_at:%Y-%m-%d %a %H:%M}"


def _span(days: TimeRange) -> str:
    first, last = days.start.date(), (days.end - timedelta(microseconds=1)).date()
    return f"{first}" if last <= first else f"{first} to {last}"


def _name(entry: Entry) -> str:
    return as_data(entry.speaker or "")[:_LONGEST_NAME]


def _text(entry: Entry) -> str:
    """What an entry says; some facts begin with their speaker, to stand alone."""
    text = as_data(entry.text)
    return text.removeprefix(f"{_name(entry)}: ") if entry.speaker else text
