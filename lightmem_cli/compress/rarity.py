"""Says how much each word of a message tells, from how rare it is and what it does there; no model is needed.

Rarity alone keeps an "absolutely" and drops a "job". Of the words of answers that stand in LoCoMo's messages (26 and
30; nothing forced) .88 stay at rate .6 and .78 at .5 by bits alone, .96 and .86 with function words, calls, praise and
adverbs weighed down, and .97 and .90 where sentences are weighed by what they say, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from lightmem_cli.compress.characters import Span
from lightmem_cli.compress.tongue import Tongue, function_words
from lightmem_cli.language.english import ADVERBS, COMMON_OPENINGS, PRAISE
from lightmem_cli.language.information import information
from lightmem_cli.language.sentences import sentences

SENTENCE_ENDS = frozenset(".!?…。！？؟।")
_END = 1.0  # a sentence's end stays before its function words, and goes before the rest
_MARK = 0.0  # a comma, a dash, a bracket
_FUNCTION = 0.1
_FREQUENT = 10.0  # bits: where no list of function words is kept, what is as frequent as this is one
_CALL = 0.1
_PRAISE = 0.5
_ADVERB = 0.3
_ENDS_IN_LY = 0.4
_AGAIN = 0.1  # a word that was said just before, at most so many words ago
_JUST_BEFORE = 60
_SENTENCE = 1.5  # a sentence that says nothing weighs e^-1.5 of one that says all it can

_EMOJI = re.compile("[\u2600-\u27bf\u2b50-\u2b55\U0001f000-\U0001faff]")  # says as much as a rare word

_CALLED = """
yes yeah yep yup yay nope hey hi hello bye thanks thank thx wow woah whoa oh ooh ah aw aww haha hahaha lol ok okay sure
well congrats congratulations woohoo hmm huh um uh gosh please sorry
"""
_CALLS = frozenset(_CALLED.split())
_FUNCTION_WORDS = function_words("en") | {"us", "let", "lets", "gonna", "wanna", "gotta"}
_CONTRACTED = ("'s", "'m", "'re", "'ve", "'ll", "'d", "n't")


def surprises(text: str, words: Sequence[Span], tongue: Tongue) -> list[float]:
    """For each of the `words` of `text` how much it tells: bits, weighed by what it is and where it stands."""
    seen: dict[str, int] = {}
    scores: list[float] = []
    for (begin, end), weight in zip(words, _sentence_weights(text, words, english=tongue.is_english), strict=True):
        word = text[begin:end]
        if not (word.isalnum() or any(character.isalnum() for character in word) or _EMOJI.match(word)):
            scores.append(_END if word[0] in SENTENCE_ENDS else _MARK)
            continue
        folded = word.lower().replace("’", "'")
        score = _weighed(folded, tongue) * weight
        again = len(scores) - seen.get(folded, -_JUST_BEFORE - 1) <= _JUST_BEFORE
        seen[folded] = len(scores)
        scores.append(score * _AGAIN if again else score)
    return scores


def _weighed(word: str, tongue: Tongue) -> float:
    language = "en" if tongue.latin == "en" and word.isascii() else tongue.language(word)
    if language == "en":
        return _english(word)
    bits = tongue.bits(word)
    listed = function_words(language)
    is_function = word.replace("'", "") in listed if listed else bits <= _FREQUENT
    return bits * (_FUNCTION if is_function else 1)


@lru_cache(maxsize=1 << 15)
def _english(word: str) -> float:
    bits = _ENGLISH.bits(word)
    if _is_function(word):
        return bits * _FUNCTION
    if word in _CALLS:
        return bits * _CALL
    if word in PRAISE or word in COMMON_OPENINGS:
        return bits * _PRAISE
    if word in ADVERBS:
        return bits * _ADVERB
    return bits * (_ENDS_IN_LY if word.endswith("ly") else 1)


_ENGLISH = Tongue("the ")


def _is_function(word: str) -> bool:
    if word.replace("'", "") in _FUNCTION_WORDS:
        return True
    ending = next((ending for ending in _CONTRACTED if word.endswith(ending)), None)
    return ending is not None and word.removesuffix(ending) in _FUNCTION_WORDS


def _sentence_weights(text: str, words: Sequence[Span], *, english: bool) -> Iterator[float]:
    """For each word the weight of its sentence: 1 at most, and in other languages than English always."""
    if not english:
        yield from (1.0 for _ in words)
        return
    place = 0
    ahead = said = 0  # characters that are not white space: of these, sentences lose none
    for sentence in sentences(text):
        ahead += sum(map(len, sentence.split()))
        weight = math.exp(_SENTENCE * (information(sentence, english=True) - 1))
        while place < len(words) and said < ahead:
            yield weight
            said += words[place][1] - words[place][0]
            place += 1
    yield from (1.0 for _ in words[place:])
