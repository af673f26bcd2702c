"""Writes a stretch of conversation as numbered lines under dated headings, for a language model to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lightmem_cli.language.data import as_data
from lightmem_cli.records import Message

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # whatever the locale
_SILENCE = timedelta(hours=1)  # behind a longer one the time of day is said again
_LONGEST_NAME = 80  # characters
_LINE_END = " / "  # of what was said on several lines


@dataclass(frozen=True, slots=True)
class Line:
    """A message, and what is sent of it: all it says or a shortened form, with its image's caption."""

    message: Message
    text: str


def line_of(message: Message, text: str | None) -> Line:
    """The line of a message whose content is sent as `text`, or, where that is None, as it is."""
    said = message.content if text is None else text
    caption = message.image_caption.strip() if message.image_caption else ""
    return Line(message, f"{said} [image: {caption}]".lstrip() if caption else said)


def cost_of(line: Line) -> str:
    """The line as it will stand in a prompt but for its number, for counting its tokens."""
    return f"{_name(line.message)}: {as_data(line.text, line_end=_LINE_END)}"


def talk_of(topics: Sequence[Sequence[Line]], *, numbered: bool) -> str:
    """`topics` between tags, their lines numbered from 1 through all of them; with `numbered`, the topics are, too.

    Each line is one line and nothing else looks like one, and no line ends the talk, whatever was said.
    """
    return "\n".join(["<talk>", *_lines(topics, numbered=numbered), "</talk>"])


def _lines(topics: Sequence[Sequence[Line]], *, numbered: bool) -> Iterator[str]:
    number, before = 0, None
    for topic, lines in enumerate(topics, start=1):
        for place, line in enumerate(lines):
            heading = _heading(line.message, before)
            if numbered and (heading or place == 0):
                date = heading or _moment(line.message.said_at)
                heading = f"{date}, topic {topic}" if date else f"topic {topic}"
            if heading:
                yield f"## {heading}"
            number += 1
            yield f"{number} {cost_of(line)}"
            before = line.message


def _heading(message: Message, before: Message | None) -> str | None:
    """What has to be said of when `message` was said: another session, another day, after a silence; None if nothing.

    The date is that of the people who talked: the offset that was given stays.
    """
    said_at = message.said_at
    if before is None:
        return _moment(said_at)
    if message.key[:2] != before.key[:2]:
        return _moment(said_at) or "no date"
    if said_at is None:
        return None
    if before.said_at is not None and said_at.date() == before.said_at.date():
        return _moment(said_at) if abs(said_at - before.said_at) > _SILENCE else None
    return _moment(said_at)


def _moment(said_at: datetime | None) -> str | None:
    if said_at is None:
        return None
    return f"{said_at.date().isoformat()} {_WEEKDAYS[said_at.weekday()]} {said_at:%H:%M}"


def _name(message: Message) -> str:
    """Who said it: the name without colons, else the role."""
    name = " ".join(as_data((message.speaker or "").replace(":", " ")).split())
    return name[:_LONGEST_NAME].strip() or message.role.value.capitalize()
