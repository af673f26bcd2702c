"""Measures how much a sentence of a conversation says, from how rare its words are."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from lightmem_cli.language.english import COMMON_OPENINGS, FIRST_PERSON, PRAISE, SECOND_PERSON, WORD
from lightmem_cli.language.frequencies import zipf

_COMMON = 5.6  # words at least this frequent (on wordfreq's Zipf scale) say nothing by themselves
_RARE = 3.2  # words at most this frequent say all that a word can
_ENOUGH = 2.2  # so many rare words make a sentence that says 1 - 1/e
_OF_THE_LISTENER = 0.6  # what is said of the listener alone ("your family looks lovely") is mostly courtesy
_LEANING = 0.6  # what begins with "it" or "that" leans on the sentence before it
_OF_THE_SPEAKER = 0.8  # what is said of the speaker is what is asked for later: it counts as four fifths of a rare word
_PRAISE = 0.3
_FIGURE = 0.6
# A name that is only called: "Hey John!", "Wow, John,", "Thanks, Maria."
_CALLED = re.compile(
    r"(?:^(?:\w+\s+)?|,\s*)(?P<name>[A-Z][\w'-]+)(?=\s*[,.!?—-])"
    r"|^(?:\w+,?\s+)(?P<greeted>[A-Z][\w'-]+)(?=\s*[,.!?—-]|\s+[a-z])"
)
_SHORTENED = re.compile(r"'(?:m|re|ve|ll|d)$|n't$")
_SAYS_NOTHING = COMMON_OPENINGS | FIRST_PERSON | SECOND_PERSON
_LEANS = re.compile(r"(?:it|that|this|they|those|these|sounds|looks)\b", re.IGNORECASE)


def information(sentence: str, *, english: bool, of_speaker: bool = False) -> float:
    """0 for a sentence that says nothing ("Wow!"), towards 1 for one full of rare words, names and figures.

    `of_speaker` says that it is about the person who said it. In other languages, whose words are not looked up, length
    decides.
    """
    found = WORD.findall(sentence)
    if not english:
        letters = sum(len(word) if word.isascii() else 2 * len(word) for word in found)
        return 1 - math.exp(-letters / 24)
    called = {name for pair in _CALLED.findall(sentence) for name in pair}
    words = {word.lower().replace("’", "'") for word in found if word not in called}
    weight = math.fsum(_weight(word) for word in words)  # exact, so that no order of the set shows
    if of_speaker:
        weight += min(_OF_THE_SPEAKER, 2 * weight)
    elif not words.isdisjoint(SECOND_PERSON):
        weight *= _OF_THE_LISTENER
    elif _LEANS.match(sentence):
        weight *= _LEANING
    return 1 - math.exp(-weight / _ENOUGH)


def rarest(sentence: str, *, count: int) -> tuple[str, ...]:
    """The `count` rarest content words of `sentence`, in small letters, rarest first."""
    words = dict.fromkeys(word.lower().replace("’", "'") for word in WORD.findall(sentence))
    content = [
        word.removesuffix("'s")
        for word in words
        if len(word) > 2 and word not in _SAYS_NOTHING and not _SHORTENED.search(word) and zipf(word) < _COMMON
    ]
    return tuple(sorted(dict.fromkeys(content), key=zipf)[:count])


@lru_cache(maxsize=1 << 15)
def _weight(word: str) -> float:
    if any(c.isdigit() for c in word):
        return _FIGURE
    rarity = min(1.0, max(0.0, (_COMMON - zipf(word)) / (_COMMON - _RARE)))
    return rarity * _PRAISE if word in PRAISE else rarity
