"""Has a language model make facts of a conversation: writes what it is asked, and reads what it replies.

Two pure functions around one call, `prompt_of` and `read_reply`; who calls, and what becomes of a bad reply, is not
known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain
from typing import Literal

from lightmem_cli.extract.claims import read_claims
from lightmem_cli.extract.entries import entry_of
from lightmem_cli.extract.talk import Line, cost_of, line_of, talk_of
from lightmem_cli.prompts import Instructions, load
from lightmem_cli.protocols import JsonSchema, Prompt
from lightmem_cli.records import Entry

__all__ = [
    "HowToAsk", "Line", "cost_of", "line_of", "most_of", "prompt_of", "read_reply", "schema_of", "version_of",
]  # fmt: skip

# Tokens of a reply that are allowed. Facts of every line, as long as the line, take half.
_AT_LEAST = 400
_A_LINE = 32
_A_BYTE = 0.5  # a Chinese character is three, and often a token
_METADATA_A_LINE = 32
_RELATIONS = 1.75  # times as many, with relations of the same lines
_A_SUMMARY = 100
_AT_MOST = 8000  # DeepSeek writes 8,192; it is set aside of a budget and of a context


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToAsk:
    """The settings that a prompt and its reply depend on. What is less important than `threshold` (0 to 1) is left out.

    `zone` is that of the days that are named in what nobody knows when it was said.
    """

    mode: Literal["flat", "event"]
    metadata: bool
    summary: bool
    threshold: float
    zone: tzinfo


def version_of(how: HowToAsk) -> str:
    """The prompt, as entries name what made them: "facts-1"."""
    return _instructions(how).version


def prompt_of(topics: Sequence[Sequence[Line]], how: HowToAsk) -> Prompt:
    """What a model is asked about `topics`; the prefix depends on `how` alone."""
    return Prompt(_prefix(how), talk_of(topics, numbered=how.summary))


def schema_of(topics: Sequence[Sequence[Line]], how: HowToAsk) -> JsonSchema:  # noqa: ARG001 - it is that of all topics
    """What a reply is to look like. It depends on `how` alone: whoever compiles it does so once.

    It has those words only that all servers know, without minimum and maxItems; and a model that was held to 28 lines,
    and means another, would name a wrong one.
    """
    text = {"type": "string"}
    claim: dict[str, JsonSchema] = {"of": {"type": "array", "items": {"type": "integer"}}, "text": text}
    if how.threshold > 0:
        claim["importance"] = {"type": "integer"}
    if how.metadata:
        claim |= {"keywords": _list_of(text), "entities": _list_of(text), "category": text}
    properties = {"facts": _list_of(_object(claim))}
    if how.mode == "event":
        properties["relations"] = properties["facts"]
    if how.summary:
        properties["topics"] = _list_of(_object({"topic": {"type": "integer"}, "summary": text}))
    return _object(properties)


def most_of(topics: Sequence[Sequence[Line]], how: HowToAsk) -> int:
    """How many tokens a reply may have: more than what is worth remembering ever takes, 400 to 8,000."""
    tokens = 0.0
    for line in chain.from_iterable(topics):
        tokens += _A_LINE + _A_BYTE * len(line.text.encode("utf-8", "replace"))
        tokens += _METADATA_A_LINE if how.metadata else 0
    tokens *= _RELATIONS if how.mode == "event" else 1
    tokens += _A_SUMMARY * len(topics) if how.summary else 0
    return min(max(_AT_LEAST, int(tokens)), _AT_MOST)


def read_reply(text: str, topics: Sequence[Sequence[Line]], how: HowToAsk, *, model: str) -> list[Entry]:
    """The facts, relations and topics' summaries that a reply makes of `topics`; none is an answer, too.

    Raises:
        BadReply: it does not say what was asked for; the message tells the model what is wrong with it.
    """
    messages = [line.message for line in chain.from_iterable(topics)]
    claims = read_claims(
        text,
        [[line.text for line in topic] for topic in topics],
        prefix=_prefix(how),
        events=how.mode == "event",
        summaries=how.summary,
    )
    born = (
        entry_of(
            claim,
            [messages[at] for at in claim.lines],
            prompt=version_of(how),
            model=model,
            metadata=how.metadata,
            zone=how.zone,
        )
        for claim in claims
        if claim.importance is None or claim.importance >= how.threshold
    )
    return list({entry.id: entry for entry in born}.values())


def _instructions(how: HowToAsk) -> Instructions:
    return load("events" if how.mode == "event" else "facts")


def _prefix(how: HowToAsk) -> str:
    wanted = {"importance": how.threshold > 0, "metadata": how.metadata, "summary": how.summary}
    return _instructions(how).prefix(*(part for part, is_wanted in wanted.items() if is_wanted))


def _object(properties: dict[str, JsonSchema]) -> JsonSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(items: JsonSchema) -> JsonSchema:
    return {"type": "array", "items": items}
