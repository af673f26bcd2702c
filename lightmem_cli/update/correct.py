"""Asks a language model which facts of a conversation newer ones say again, correct or contradict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, cast

from lightmem_cli.errors import BadReply
from lightmem_cli.language.data import as_data
from lightmem_cli.llm.json_replies import read_object
from lightmem_cli.prompts import load
from lightmem_cli.protocols import JsonSchema, Prompt
from lightmem_cli.records import Entry

Does: TypeAlias = Literal["same", "corrects", "conflicts"]

_LONGEST = 400  # characters of a fact that are shown
_TOKENS = 20  # of one verdict in a reply
SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "older": {"type": "integer"},
                    "newer": {"type": "integer"},
                    "does": {"type": "string", "enum": ["same", "corrects", "conflicts"]},
                },
                "required": ["older", "newer", "does"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["verdicts"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A fact, and newer ones that may say it again, correct it or contradict it, the nearest first."""

    older: Entry
    newer: tuple[Entry, ...]


class Verdict(NamedTuple):
    """What a newer fact does to an older one."""

    older: Entry
    newer: Entry
    does: Does


def version() -> str:
    """The version of the prompt."""
    return load("update").version


def prompt_of(doubts: Sequence[Doubt], facts: Sequence[Entry]) -> Prompt:
    """Ask about `doubts` in one call; `facts` are all of theirs, and maybe others, in the order they were said.

    Each fact is shown once, however many others it is held against.
    """
    numbers = _numbered(doubts, facts)
    shown = [f"{number} {_told(fact)}" for fact, number in numbers.items()]
    held = [f"{numbers[doubt.older]}: {' '.join(str(numbers[fact]) for fact in doubt.newer)}" for doubt in doubts]
    return Prompt(load("update").always, "\n".join(["<memory>", *shown, "</memory>", "Compare:", *held]))


def most_of(doubts: Sequence[Doubt]) -> int:
    """The tokens that the reply may have: a verdict on every pair."""
    return 32 + _TOKENS * sum(len(doubt.newer) for doubt in doubts)


def read_reply(text: str, doubts: Sequence[Doubt], facts: Sequence[Entry]) -> list[Verdict]:
    """What a reply says of `doubts`, one verdict on a pair at most; `facts` as they were given to `prompt_of`.

    Raises:
        BadReply: it is not what was asked for, or speaks of facts that were not to be compared.
    """
    numbers = _numbered(doubts, facts)
    asked = {(numbers[doubt.older], numbers[fact]): (doubt.older, fact) for doubt in doubts for fact in doubt.newer}
    found: dict[tuple[int, int], Verdict] = {}
    verdicts = cast("list[dict[str, int | str]]", read_object(text, like=SCHEMA)["verdicts"])
    for verdict in verdicts:
        pair = int(verdict["older"]), int(verdict["newer"])
        if pair not in asked:
            raise BadReply(f"{pair[0]} and {pair[1]} were not to be compared: judge the pairs under Compare alone")
        said = Verdict(*asked[pair], cast(Does, verdict["does"]))
        if found.setdefault(pair, said) != said:
            raise BadReply(f"there are two verdicts on {pair[0]} and {pair[1]}: give one")
    return list(found.values())


def _numbered(doubts: Sequence[Doubt], facts: Sequence[Entry]) -> dict[Entry, int]:
    """The facts of `doubts` as they are numbered in the prompt, the earliest first."""
    shown = {fact for doubt in doubts for fact in (doubt.older, *doubt.newer)}
    return {fact: number for number, fact in enumerate((fact for fact in facts if fact in shown), start=1)}


def _told(fact: Entry) -> str:
    """A fact on one line, with the day it was said and who said it; nothing in it ends what is data."""
    text = as_data(fact.text)
    day = f"{fact.said_at:%Y-%m-%d} " if fact.said_at else ""
    speaker = as_data(fact.speaker or "")
    whose = f"{speaker}: " if speaker and not text.casefold().startswith(speaker.casefold()) else ""
    shown = f"{day}{whose}{text}"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
