"""Holds what a language model claims was said against the numbered lines of the conversation that it was shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from math import isnan, nan
from typing import Final, Literal, TypeAlias

from lightmem_cli.errors import BadReply
from lightmem_cli.language.data import printable
from lightmem_cli.llm.json_replies import read_object
from lightmem_cli.llm.refusals import echoes, refuses
from lightmem_cli.protocols import JsonSchema

What: TypeAlias = Literal["fact", "relation", "summary"]

_LONGEST = 600  # characters of a text; of what is longer, the beginning is kept
_ABSURD = 4000  # characters of what is no sentence, and no two
_MOST = 10  # claims, and …
_MOST_A_LINE = 4  # … so many for each line, and …
_MOST_CHARACTERS = 60  # … one for so many characters
_TERMS = 8  # keywords, and entities
_LONGEST_TERM = 60

_SAYS_SOMETHING: Final = re.compile(r"[^\W_]")
# What a model writes that was made to write something.
_NOTHING: Final = re.compile(
    r"(?:none|null|n/?a|empty|string|text|(?:there (?:is|are|was|were) )?"
    r"(?:nothing(?: (?:(?:is |was )?(?:worth|noted)|to (?:note|remember|report))\b.{0,40})?"
    r"|no (?:new |other |relevant |significant |notable )?(?:facts?|relations?|information)\b.{0,60}))[.!]?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing that a model says was said, and the places of the lines that it rests on, from 0, rising.

    `where` names it in the reply. `importance` is 0 to 1, or None where the model gave none.
    """

    what: What
    text: str
    lines: tuple[int, ...]
    where: str
    importance: float | None = None
    category: str = ""
    keywords: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()


def read_claims(
    reply: str, topics: Sequence[Sequence[str]], *, prefix: str, events: bool, summaries: bool
) -> list[Claim]:
    """What `reply` claims was said: facts, with `events` relations, and with `summaries` what each topic was about.

    `topics` are what the lines say, topic by topic. Each claim comes once. Where there is one line, or one topic,
    whatever number was given can only mean that one.

    Raises:
        BadReply: it cannot be read, or names lines that are not there, or is a refusal, or repeats its instructions in
            `prefix`, or claims more than anybody can have said. Its message is for the model, and quotes nobody.
    """
    said = list(chain.from_iterable(topics))
    value = read_object(reply, like=_readable(events=events, topics=len(topics) if summaries else 0, lines=len(said)))
    listed: list[tuple[What, object]] = [("fact", value["facts"])]
    if events:
        listed.append(("relation", value.get("relations", [])))
    items = [(what, f"{what}s[{at}]", item) for what, its in listed for at, item in enumerate(_objects(its))]
    most = _MOST + _MOST_A_LINE * len(said) + sum(map(len, said)) // _MOST_CHARACTERS
    if len(items) > most:
        raise BadReply(f"{len(items):,} facts of {len(said)} lines are too many: keep to what is worth remembering")
    claims = [claim for what, where, item in items if (claim := _claim(what, item, where, said=said))]
    if items and not claims:
        raise BadReply("no fact has a text: where nothing is worth remembering, the list is empty")
    if summaries:
        claims += _summaries(value, topics)
    for claim in claims:
        _refuse_echo(claim, said, prefix=prefix)
    return list(_distinct(claims))


def _readable(*, events: bool, topics: int, lines: int) -> JsonSchema:
    """What can be read, which is more than what is asked for: nothing that is optional costs a fact."""
    text, number = {"type": "string"}, {"type": "integer"}
    claims = _list_of({"text": text} if lines == 1 else {"of": {"type": "array", "items": number}, "text": text})
    properties: dict[str, JsonSchema] = {"facts": claims}
    if events:
        properties["relations"] = claims
    if topics:
        properties["topics"] = _list_of({"summary": text} if topics == 1 else {"topic": number, "summary": text})
    return {"type": "object", "properties": properties, "required": ["facts"]}


def _list_of(properties: Mapping[str, JsonSchema]) -> JsonSchema:
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": list(properties)}}


def _claim(what: What, item: Mapping[str, object], where: str, *, said: Sequence[str]) -> Claim | None:
    """What `item` claims; None where it says nothing. `where` names it to the model."""
    text = _text(item["text"], where)
    if not text:
        return None
    return Claim(
        what=what,
        text=text,
        lines=(0,) if len(said) == 1 else _lines(item["of"], where, lines=len(said)),
        where=where,
        importance=_importance(item.get("importance")),
        category=next(iter(_terms([item.get("category")])), ""),
        keywords=_terms(item.get("keywords")),
        entities=_terms(item.get("entities")),
    )


def _on_one_line(text: str, *, longest: int) -> str:
    """`text` with single spaces and no control characters; of a longer one the beginning, up to a word's end."""
    plain = " ".join(printable(text).split())
    if len(plain) <= longest:
        return plain
    cut = plain[: longest - 1]
    return (cut.rpartition(" ")[0] or cut).rstrip() + "…"


def _text(value: object, where: str) -> str:
    """The text that `value` is, "" where it says nothing."""
    given = str(value)
    if len(given.strip()) > _ABSURD:
        raise BadReply(f"{where} has more than {_ABSURD:,} characters: write one sentence")
    text = _on_one_line(given, longest=_LONGEST)
    if refuses(text):
        raise BadReply(f"{where} is a refusal: only what was said is to be noted")
    if not _SAYS_SOMETHING.search(text) or _NOTHING.fullmatch(text):
        return ""
    return text


def _refuse_echo(claim: Claim, said: Sequence[str], *, prefix: str) -> None:
    """
    Raises:
        BadReply: it repeats the instructions, which nobody in its lines did.
    """
    if echoes(claim.text, prefix=prefix) and not any(echoes(said[line], prefix=prefix) for line in claim.lines):
        raise BadReply(f"{claim.where} repeats the instructions: only what was said is to be noted")


def _lines(of: object, where: str, *, lines: int) -> tuple[int, ...]:
    numbers = sorted(set(of)) if isinstance(of, list) else []
    unknown = [number for number in numbers if not 1 <= number <= lines]
    if unknown or not numbers:
        shown = ", ".join(str(number) for number in unknown[:5])
        wrong = f"names line {shown}, which is not there" if unknown else "names no line"
        raise BadReply(f'{where} {wrong}: "of" has numbers from 1 to {lines}')
    return tuple(number - 1 for number in numbers)


def _importance(value: object) -> float | None:
    """0 to 1, of a number from 0 to 10; what is between 0 and 1 is taken for what it is."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else nan
    except ValueError:
        return None
    if isnan(number):
        return None
    return number if 0 < number < 1 else min(max(number, 0.0), 10.0) / 10


def _terms(value: object) -> tuple[str, ...]:
    """The words in a list, or between commas, each once, whatever its case."""
    listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    words = [_on_one_line(word, longest=_LONGEST_TERM) for word in listed if isinstance(word, str)]
    once = {word.casefold(): word for word in reversed(words) if _SAYS_SOMETHING.search(word)}
    return tuple(reversed(once.values()))[:_TERMS]


def _distinct(claims: Sequence[Claim]) -> Iterator[Claim]:
    """Each of `claims` that says something new, of other lines, or in another list."""
    seen: set[tuple[str, str, tuple[int, ...]]] = set()
    for claim in claims:
        key = (claim.what, claim.text.casefold().rstrip(" .!…"), claim.lines)
        if key not in seen:
            seen.add(key)
            yield claim


def _summaries(value: Mapping[str, object], topics: Sequence[Sequence[str]]) -> Iterator[Claim]:
    """What each topic was about, in their order; of two summaries of one topic the first."""
    found: dict[int, tuple[str, str]] = {}
    for at, item in enumerate(_objects(value.get("topics", []))):
        number, where = item.get("topic"), f"topics[{at}]"
        if len(topics) == 1:
            number = 1
        if not isinstance(number, int) or not 1 <= number <= len(topics):
            raise BadReply(f"{where} names topic {number}: they are numbered from 1 to {len(topics)}")
        if text := _text(item["summary"], where):
            found.setdefault(number - 1, (text, where))
    ends = list(accumulate(map(len, topics)))
    for topic, (text, where) in sorted(found.items()):
        yield Claim(
            what="summary", text=text, lines=tuple(range(ends[topic] - len(topics[topic]), ends[topic])), where=where
        )


def _objects(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
