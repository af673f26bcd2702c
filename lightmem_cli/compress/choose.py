"""Chooses which words of a conversation's message stay within a budget of tokens, and joins them as they were said."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, pairwise
from typing import NamedTuple

from lightmem_cli.compress.characters import is_mark, spells

_LEAST = 0.5  # of the rate is what words that nothing forces have, however many others are forced
_GIANT, _GIANT_TOKENS = 0.25, 8  # of all tokens, and at least so many: a pasted blob, or an address
_ROUNDING = 1e-9  # of a token: .6 of 5 tokens are 3 of them, whatever binary fractions say


class Word(NamedTuple):
    """A word of a text, its characters [begin, end): what it costs, how much it says, and whether it must stay."""

    begin: int
    end: int
    tokens: float
    score: float
    forced: bool = False


def choose(words: Sequence[Word], *, rate: float, minimum: int) -> list[bool]:
    """Which of a text's `words` stay, so that as nearly as can be `rate` of their tokens do.

    At least `minimum` tokens stay, and at least one word: no text becomes empty. Forced words stay first; where they
    leave little for the others, these still have half the `rate` of their own tokens. The others come by falling score,
    earlier ones first where scores are equal, and each is taken that fits in what is left. Where it comes nearer, the
    shortest that did not fit is taken too, and words that say least make room for it. Where none fits, the one of the
    highest score that is no giant stays alone.
    """
    total = sum(word.tokens for word in words)
    if rate >= 1 or total <= minimum:
        return [True] * len(words)
    stays = [word.forced for word in words]
    forced = sum(word.tokens for word in words if word.forced)
    # Else of a page that is half code, or a letter full of dates, nothing but these would be left.
    budget = max(rate * total, minimum, forced + _LEAST * rate * (total - forced))
    left = budget - forced
    if left <= _ROUNDING and any(stays):
        return stays
    by_score = sorted((place for place, stay in enumerate(stays) if not stay), key=lambda at: (-words[at].score, at))
    for place in by_score:
        if words[place].tokens <= left + _ROUNDING:
            stays[place] = True
            left -= words[place].tokens
    if not any(stays):
        stays[_best(words, by_score, giant=max(_GIANT * total, _GIANT_TOKENS))] = True
        return stays
    more = [place for place in by_score if not stays[place]]
    if not more:
        return stays
    fuller, over = _with(min(more, key=lambda at: words[at].tokens), words, stays, by_score, left=left)
    too_few = budget - left < minimum - _ROUNDING
    return fuller if too_few or over < left - _ROUNDING else stays


def _best(words: Sequence[Word], by_score: Sequence[int], *, giant: float) -> int:
    """The first of `by_score` that has no more than `giant` tokens, or else the first."""
    return next((place for place in by_score if words[place].tokens <= giant), by_score[0])


def _with(
    added: int, words: Sequence[Word], stays: Sequence[bool], by_score: Sequence[int], *, left: float
) -> tuple[list[bool], float]:
    """`stays` with the word at `added`, without those of the lowest scores that are then too many; and what is over."""
    fuller = list(stays)
    over = words[added].tokens - left
    for place in reversed(by_score):
        if fuller[place] and words[place].tokens <= over + _ROUNDING:
            fuller[place] = False
            over -= words[place].tokens
    fuller[added] = True
    return fuller, over


def unless_only_marks_go(
    text: str, words: Sequence[Word], stays: Sequence[bool], *, rate: float, minimum: int
) -> list[bool]:
    """`stays`; or all, where the minimum holds more than the rate would and nothing but marks would go."""
    spared = minimum > rate * sum(word.tokens for word in words) and all(
        stay or is_mark(text[word.begin : word.end]) for word, stay in zip(words, stays, strict=True)
    )
    return [spared or stay for stay in stays]


def joined(text: str, words: Sequence[Word], stays: Sequence[bool]) -> str:
    """`text` with only those of its `words`, in order and apart from each other, that stay.

    Neighbours that stay keep between them what stood there. Where words went, one space is left if there was any, a
    newline if there was one, and nothing where nothing parted them: no space is lost or invented between words of
    Chinese, Japanese or Thai. A mark that closed the words before it still does: "so it goes." shortens to "so."
    Words of other scripts that only marks parted stay apart, by the mark where it is one character ("1990—1995",
    "we're"), else by a space: every run of their letters and digits is one of `text`.
    """
    if all(stays):
        return text
    places = list(compress(range(len(words)), stays))
    if not places:
        return ""
    first, last = places[0], places[-1]
    parts = [text[: words[0].begin]] if first == 0 else []
    for place, following in pairwise(places):
        parts.append(text[words[place].begin : words[place].end])
        between = text[words[place].end : words[following].begin]
        if following - place == 1:
            parts.append(between)
        elif "\n" in between:
            parts.append("\r\n" if "\r\n" in between else "\n")
        elif _parted(between) and not (_closes(text, words[following]) or _opens(text, words[place])):
            parts.append(" ")
        elif not _parted(between) and _would_be_one(text, words[place], words[following]):
            parts.append(between if len(between) == 1 and not between.isalnum() else " ")
    parts.append(text[words[last].begin :] if last == len(words) - 1 else text[words[last].begin : words[last].end])
    return "".join(parts)


def share(words: Sequence[Word], stays: Sequence[bool]) -> float:
    """The fraction of the tokens of `words` that stays, 0 to 1; 1 where there are none.

    What `joined` puts between words that stay, a mark too, is not counted.
    """
    total = sum(word.tokens for word in words)
    return sum(word.tokens for word in compress(words, stays)) / total if total > 0 else 1.0


def _parted(between: str) -> bool:
    return any(character.isspace() for character in between)


def _would_be_one(text: str, word: Word, following: Word) -> bool:
    """Whether both would be read as one word with nothing between them."""
    if not (word.begin < word.end and following.begin < following.end):
        return False
    return spells(text[word.end - 1]) and spells(text[following.begin])


def _closes(text: str, word: Word) -> bool:
    """Whether nothing but marks stand from it to the next space, and no space stands before it."""
    end = word.begin
    while end < len(text) and is_mark(text[end]):
        end += 1
    alone = word.begin == 0 or text[word.begin - 1].isspace()
    return end >= word.end and not alone and (end == len(text) or text[end].isspace())


def _opens(text: str, word: Word) -> bool:
    """Whether nothing but marks stand from the last space to it, and no space stands behind it."""
    begin = word.end
    while begin > 0 and is_mark(text[begin - 1]):
        begin -= 1
    alone = word.end == len(text) or text[word.end].isspace()
    return begin <= word.begin and not alone and (begin == 0 or text[begin - 1].isspace())
