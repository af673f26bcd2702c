"""Prints what a memory found: for a person as lines, for a program as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:  # `lightmem --help` reads this module
    from lightmem_cli.records import Entry, Hit, Message, MessageKey, Row, TimeRange, Usage

_BARS = " ▁▂▃▄▅▆▇█"


def as_json(value: object) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def one_line(text: str) -> str:
    """Text on one line, without the control characters with which a message could steer a terminal."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "" for c in text).split())


def counted(number: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cost(usage: Usage) -> str:
    """What asking a language model took, the tokens of prompts and then of replies: `3 calls, 5,120 + 270 tokens`."""
    return f"{counted(usage.calls, 'call')}, {usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens"


@dataclass(frozen=True, slots=True)
class Renderer:
    """Prints times as they were given: one in `zone`, the profile's, needs no offset."""

    zone: tzinfo
    longest: int | None = None  # characters of an entry's text that a line shows

    def time(self, moment: datetime | None) -> str | None:
        from lightmem_cli.language.timestamps import format_time

        return None if moment is None else format_time(moment, zone=self.zone)

    def entry_line(self, entry: Entry) -> str:
        """An entry in the reference's form: time, weekday, speaker and text, on one line."""
        happened = f" ({span(entry.happened)})" if entry.happened else ""
        speaker = one_line(entry.speaker or "")
        text = self._cut(one_line(entry.text).removeprefix(f"{speaker}: "))  # some facts begin with it, to stand alone
        kind = "" if entry.kind == "turn" else f"[{entry.kind}]"  # not the words that were said
        who = " ".join(part for part in (speaker, kind) if part)
        return f"{self._said(entry.said_at)} {who}: {text}{happened}"

    def message_line(self, message: Message) -> str:
        caption = f" [{one_line(message.image_caption)}]" if message.image_caption else ""
        speaker = one_line(message.speaker or message.role)
        return f"{self._said(message.said_at)} {speaker}: {one_line(message.content)}{caption}"

    def hit_json(self, hit: Hit, times: Mapping[MessageKey, datetime | None]) -> dict[str, object]:
        """A hit as `retrieve --json` prints it. `times`: when each source message was said."""
        entry = hit.entry
        return {
            "rank": hit.rank,
            "score": round(hit.score, 6),
            "id": entry.id,
            "kind": entry.kind.value,
            "text": entry.text,
            "time": self.time(entry.said_at),
            "speaker": entry.speaker,
            "session": entry.session,
            "sources": [key.id for key in entry.sources],
            "evidence": [key._asdict() | {"time": self.time(times.get(key))} for key in entry.sources],
        }

    def entry_json(self, entry: Entry) -> dict[str, object]:
        """An entry with all it holds."""
        happened = entry.happened
        return {
            "id": entry.id,
            "kind": entry.kind.value,
            "text": entry.text,
            "time": self.time(entry.said_at),
            "happened": [self.time(happened.start), self.time(happened.end)] if happened else None,
            "valid_until": self.time(entry.valid_until),
            "speaker": entry.speaker,
            "agent": entry.agent,
            "conversation": entry.conversation,
            "session": entry.session,
            "importance": round(entry.importance, 4),
            "keywords": list(entry.keywords),
            "entities": list(entry.entities),
            "state": entry.state.value,
            "pinned": entry.pinned,
            "version": entry.version,
            "prompt": entry.prompt,
            "model": entry.model,
            "sources": [key._asdict() for key in entry.sources],
        }

    def message_json(self, message: Message) -> dict[str, object]:
        return message.key._asdict() | {
            "time": self.time(message.said_at),
            "role": message.role.value,
            "speaker": message.speaker,
            "content": message.content,
            "image_caption": message.image_caption,
        }

    def row_json(self, row: Row, **added: object) -> str:
        """The JSON object that a row was read from, as it was written, with `added` at its end; all on one line.

        A row that has no such object is printed with the fields of its own.
        """
        if not row.raw:
            return json.dumps(self._fields(row) | added, ensure_ascii=False)
        given = row.raw.decode("utf-8").lstrip("\ufeff").strip()
        if any(f'"{name}"' in given for name in added):
            return json.dumps(json.loads(given) | added, ensure_ascii=False)
        joined = re.sub(r"\s*[\r\n]\s*", " ", given)  # in a JSON string both are escaped
        return f"{joined.removesuffix('}').rstrip()}, {json.dumps(added, ensure_ascii=False)[1:]}"

    def _fields(self, row: Row) -> dict[str, object]:
        fields: dict[str, object] = {
            "conversation": row.conversation,
            "session": row.session,
            "id": row.id,
            "timestamp": self.time(row.said_at),
            "role": row.role.value,
            "speaker": row.speaker,
            "content": row.content,
            "image_caption": row.image_caption,
            "agent": row.agent,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _cut(self, text: str) -> str:
        if self.longest is None or len(text) <= self.longest:
            return text
        return f"{text[: self.longest].rstrip()} …"

    def _said(self, moment: datetime | None) -> str:
        """A moment as the reference prints it: `2024-01-15T10:30:00 Mon`."""
        return "undated" if moment is None else f"{self.time(moment)} {moment:%a}"


def for_output(zone: tzinfo) -> Renderer:
    """On a terminal a long text is cut: `lightmem show` has it whole. In a pipe it is whole."""
    return Renderer(zone, longest=400 if sys.stdout.isatty() else None)


def bars(values: list[int]) -> str:
    """A row of block characters, one per value, the highest value full height."""
    top = max(values, default=0)
    if top == 0:
        return ""
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // top)] for value in values)


def span(happened: TimeRange) -> str:
    """When something happened: a day, or a first and a last day."""
    first, last = happened.start.date(), (happened.end - timedelta(microseconds=1)).date()
    return f"{first}" if last <= first else f"{first} to {last}"
