"""Judges whether what a language model claims was said is borne out by the turns that it names.

`scripts/fit_support.py` fits the numbers below and prints what they are worth: of LoCoMo's 1,210 model-written
observations, those of conv-26, 30 and 41 to fit on, and those of conv-42 and 43 to see (in brackets). Each was held
against the turns it names, against a random turn of another session and of the same one, and, with a number or a name
in it replaced, against its own turns again. In percent, these are taken for supported:

                      its turns      another session    its session    number       name
    this              99.7 (99.1)    20.6 (10.1)        45.9 (33.6)    0 (0)        7.4 (12.7)
    cosine >= .45     99.6 (99.8)    46.2 (37.3)        51.0 (41.7)    100 (100)    98.5 (99.0)
    any word at all   98.4 (98.5)    26.3 (18.8)        37.6 (30.0)    100 (100)    97.1 (98.0)

A turn of the same session often says the same. The cosines are MiniLM's: where an embedder's run lower, more of what
is put in words of its own is kept aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from lightmem_cli.language.english import looks_english
from lightmem_cli.language.frequencies import zipf
from lightmem_cli.language.names import entities
from lightmem_cli.language.stop_words import stop_words
from lightmem_cli.language.times import find_times
from lightmem_cli.language.words import analyze
from lightmem_cli.records import Message, row_text

_OWN = 0.4  # what it is worth that the turns themselves have the words …
_TALK = 0.2  # … and that anybody has, who talked there: names stand for pronouns
_ENOUGH = 0.66

_COMMON, _RARE = 6.0, 3.0  # on the Zipf scale: from "people" a word begins to count, from "surfing" it counts fully
_LEAST = 0.1
_ALIKE = 4  # letters that two forms of a word begin with: inspired, inspiration

_SPEAKER: Final = re.compile(r"([^:\n]{1,80}): ")
_WORD: Final = re.compile(r"\w+(?:['’]\w+)*")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_SMALL_NUMBERS = "two three four five six seven eight nine ten eleven twelve"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_CALENDAR = """
monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september
october november december
"""
_FIGURES: Final = {
    **{word: str(number) for number, word in enumerate(_SMALL_NUMBERS.split(), start=2)},
    **{word: str(10 * number) for number, word in enumerate(_TENS.split(), start=2)},
}
_PASSED_OVER: Final = stop_words("english") | frozenset(_CALENDAR.split())
_DATE: Final = re.compile(rf"\d{{4}}|\b(?:{'|'.join(name[:3] for name in _CALENDAR.split())})", re.IGNORECASE)
_ANY_DAY: Final = datetime(2023, 5, 8, tzinfo=UTC)  # to find dates by, whichever they are


class Overlap(NamedTuple):
    """How much of a fact's words, the rarer the more, its turns have (`own`) and the talk around them has, 0 to 1.

    `strange` are the numbers and names that nobody said.
    """

    own: float
    talk: float
    strange: tuple[str, ...] = ()


def told(message: Message) -> str:
    """What a message says and who says it, as `is_supported` takes it: "Caroline: …", its image's caption included."""
    return f"{message.speaker or message.role.value.capitalize()}: {row_text(message)}"


def is_supported(text: str, said: Sequence[str], *, cosine: float, talk: Sequence[str] | None = None) -> bool:
    """Whether the turns that a fact rests on say what its `text` does.

    `said` is what those say, and `talk` all that the model was shown, each as `told` has it. Without it, names and
    numbers are not looked for, and less is asked. `cosine` is the best of the text's vector with those of the turns'
    sentences and their mean. Dates count neither way, as little as the names of those who talk.
    """
    found = overlap(text, said, talk=talk)
    return not found.strange and cosine + _OWN * found.own + _TALK * found.talk >= _ENOUGH


def overlap(text: str, said: Sequence[str], *, talk: Sequence[str] | None = None) -> Overlap:
    """How much of what `text` says is in `said`, and in `talk`."""
    everything = [*said, *(talk or ())]
    speakers = {term for name in _speakers(everything) for term in analyze(name)}
    undated = _without_dates(text)
    weights = {term: weight for term, weight in _weights(undated).items() if term not in speakers}
    terms = _terms(everything)
    own = _share(weights, _terms(said))
    if talk is None:
        return Overlap(own, 1.0)
    strange = tuple(_strange(undated, everything, terms | speakers)) if looks_english(text) else ()
    return Overlap(own, _share(weights, terms), strange)


def _share(weights: Mapping[str, float], terms: frozenset[str]) -> float:
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if _stands(term, terms)) / total if total else 1.0


def _stands(term: str, terms: frozenset[str]) -> bool:
    """Whether `term` is one of `terms`, or another form of one."""
    return term in terms or (len(term) >= _ALIKE and f"{term[:_ALIKE]}…" in terms)


def _terms(texts: Iterable[str]) -> frozenset[str]:
    """The terms of `texts`, and how the longer of them begin, as "insp…"."""
    terms = {term for text in texts for term in analyze(text)}
    return frozenset(terms | {f"{term[:_ALIKE]}…" for term in terms if len(term) >= _ALIKE})


def _weights(text: str) -> dict[str, float]:
    """The terms of `text` without stop words and the calendar's, and how much each says."""
    weights: dict[str, float] = {}
    for word in _WORD.findall(text):
        plain = word.casefold().replace("’", "'").removesuffix("'s")
        for term in analyze(plain) if plain.replace("'", "") not in _PASSED_OVER else ():
            weights[term] = max(weights.get(term, 0.0), _weight(plain))
    return weights


@lru_cache(maxsize=1 << 14)
def _weight(word: str) -> float:
    if any(character.isdigit() for character in word):
        return 1.0
    return min(1.0, max(_LEAST, (_COMMON - zipf(word)) / (_COMMON - _RARE)))


def _strange(text: str, said: Sequence[str], terms: frozenset[str]) -> Iterator[str]:
    """The numbers and names in `text` that `said`, of these `terms`, does not have."""
    numbers = {number for one in said for number in _numbers(one)}
    yield from (number for number in _numbers(text) if number not in numbers)
    for name in entities(text):
        initials = "".join(word[0] for word in name.split()).casefold()
        if initials not in terms and not all(_stands(term, terms) for term in analyze(name)):
            yield name


def _numbers(text: str) -> Iterator[str]:
    for found in _NUMBER.findall(text):
        if found[0].isdigit():
            yield found.replace(",", "")
        elif found.casefold() in _FIGURES:
            yield _FIGURES[found.casefold()]


def _speakers(texts: Iterable[str]) -> set[str]:
    return {found[1] for text in texts if (found := _SPEAKER.match(text))}


def _without_dates(text: str) -> str:
    """`text` without the dates that a model may have counted from "yesterday"; "three years ago" was said so."""
    for mention in find_times(text, _ANY_DAY):
        if _DATE.search(mention.text):
            text = text.replace(mention.text, " ")
    return text
