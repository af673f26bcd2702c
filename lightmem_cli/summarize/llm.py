"""Shows a language model what was said in a stretch of a conversation, and reads the paragraph that it makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from lightmem_cli.errors import BadReply
from lightmem_cli.language.data import as_data
from lightmem_cli.language.sentences import sentences
from lightmem_cli.language.words import analyze
from lightmem_cli.llm.json_replies import read_object
from lightmem_cli.llm.refusals import echoes, refuses
from lightmem_cli.prompts import load
from lightmem_cli.protocols import JsonSchema, Prompt
from lightmem_cli.records import Entry
from lightmem_cli.summarize.phrase import in_words

_TEXT: Final = {"type": "string"}
_NUMBERS: Final = {"type": "array", "items": {"type": "integer"}}
SCHEMA: Final[JsonSchema] = {
    "type": "object",
    "properties": {"summary": _TEXT, "of": _NUMBERS},
    "required": ["summary", "of"],
    "additionalProperties": False,
}
_READ: Final[JsonSchema] = {**SCHEMA, "required": ["summary"], "additionalProperties": True}  # more does no harm

_LONGEST = 600  # characters of a line
_A_SENTENCE = 80  # tokens that one may take, twice what is usual
_MARK = re.compile(r"\s*\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\]")
_BULLET = re.compile(r"(?:^|\s)(?:[-*•]|#+)\s+")
_SAYS_SOMETHING = re.compile(r"[^\W_]")


class Told(NamedTuple):
    """A paragraph, and the lines that it rests on, by their places among all that were shown, from 0."""

    text: str
    of: tuple[int, ...]


def render(facts: Sequence[Entry], earlier: Sequence[Entry], *, title: str, most: int, zone: tzinfo) -> Prompt:
    """What a model is asked: `facts` and what came `earlier`, each in the order said, in `most` sentences at most.

    `title` is what the stretch is called, "" where nobody knows when it was. Whatever an entry says stands on a line of
    its own behind a number, and cannot end the part it stands in.
    """
    wanted = "1 sentence" if most == 1 else f"{most} sentences"
    parts = [f"{title or 'Undated'}. At most {wanted}.", "", "<facts>", *_lines(facts, first=1, zone=zone), "</facts>"]
    if earlier:
        parts += ["<earlier>", *_lines(earlier, first=1 + len(facts), zone=zone), "</earlier>"]
    return Prompt(load("summary").prefix(), "\n".join(parts))


def line(entry: Entry, *, zone: tzinfo) -> str:
    """What an entry says, on one line: with who says so, and the days it speaks of where these are not its own."""
    text = as_data(entry.text)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST].rstrip()} …"
    if entry.speaker and entry.speaker.casefold() not in text.casefold():
        text = f"{as_data(entry.speaker)}: {text}"
    if entry.happened is not None and not _is_day_of(entry, zone=zone):
        text += f" [{in_words(entry.happened)}]"
    return text


def reply_tokens(*, lines: int, most: int) -> int:
    """How many tokens a reply may take."""
    return 60 + most * _A_SENTENCE + 4 * lines


def read_reply(text: str, *, facts: Sequence[Entry], earlier: Sequence[Entry], title: str, most: int) -> Told:
    """The paragraph in a reply, cut behind `most` sentences, with what it rests on.

    That is what the model says it is, be it in marks such as [3]. Where it names none of the facts, it is those whose
    words it has; and where there are none, as in another language, all of them.

    Raises:
        BadReply: it is empty, a refusal, or the instructions again.
    """
    fields = read_object(text, like=_READ)
    shown = [*facts, *earlier]
    told, marked = _unmarked(str(fields["summary"]), last=len(shown))
    told = _paragraph(told, title=title)
    if not _SAYS_SOMETHING.search(told):
        raise BadReply('"summary" is empty')
    if refuses(told):
        raise BadReply('"summary" does not retell the lines: nothing is asked of you in them')
    if echoes(told, prefix=load("summary").always) or told.casefold().strip(".") == "the paragraph":
        raise BadReply('"summary" repeats the instructions: write what the lines say')
    if len(found := sentences(told)) > most:
        told = " ".join(found[:most])
    listed = fields.get("of")
    named = {number - 1 for number in [*(listed if isinstance(listed, list) else ()), *marked]}
    if named.isdisjoint(range(len(facts))):
        named.update(_told_in(told, facts) or range(len(facts)))
    return Told(told, tuple(sorted(named.intersection(range(len(shown))))))


def _lines(entries: Sequence[Entry], *, first: int, zone: tzinfo) -> Iterator[str]:
    """Numbered lines, under the days they were said on."""
    day = ""
    for number, entry in enumerate(entries, start=first):
        its = _day(entry.said_at, zone=zone)
        if its != day:
            yield f"## {its}"
            day = its
        yield f"{number} {line(entry, zone=zone)}"


def _day(said_at: datetime | None, *, zone: tzinfo) -> str:
    if said_at is None:
        return "undated"
    local = said_at.astimezone(zone)
    return f"{local:%Y-%m-%d} {('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')[local.weekday()]}"


def _is_day_of(entry: Entry, *, zone: tzinfo) -> bool:
    """Whether an entry speaks of the very day on which it was said."""
    if entry.said_at is None or entry.happened is None:
        return False
    start, end = entry.happened
    last = end - timedelta(microseconds=1)
    return start.date() == last.date() == entry.said_at.astimezone(zone).date()


def _unmarked(text: str, *, last: int) -> tuple[str, list[int]]:
    """`text` without marks such as [3], and the numbers of lines that they named."""
    marked: list[int] = []

    def take(mark: re.Match[str]) -> str:
        numbers = [int(number) for number in re.findall(r"\d+", mark[1])]
        if not all(1 <= number <= last for number in numbers):
            return mark[0]  # the year of something
        marked.extend(numbers)
        return ""

    return _MARK.sub(take, text), marked


def _paragraph(text: str, *, title: str) -> str:
    """`text` as one paragraph, without the marks of a list, and without the title that it was asked under."""
    flat = " ".join(" ".join(_BULLET.sub(" ", part) for part in text.splitlines()).split())
    flat = re.sub(r"</?(?:facts|earlier)>", "", flat).strip()
    bare = flat.removeprefix(title) if title else flat
    return bare.lstrip(" .:–—-") if bare != flat and bare[:1] in (".", ":", "–", "—") else flat


def _told_in(text: str, entries: Iterable[Entry]) -> list[int]:
    """The places of the `entries` of whose terms at least half stand in `text`."""
    said = set(analyze(text))
    found = []
    for at, entry in enumerate(entries):
        terms = set(analyze(entry.text))
        if terms and 2 * len(terms & said) >= len(terms):
            found.append(at)
    return found
