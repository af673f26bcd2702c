"""Joins a model's tokens of what was said into the words that stay or go as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias
from unicodedata import category

from lightmem_cli.compress.characters import Span
from lightmem_cli.compress.choose import Word

if TYPE_CHECKING:
    from lightmem_cli.protocols import Pieces

Group: TypeAlias = tuple[int, ...]  # the places of a word's tokens among those of its text, rising

# XLM-R makes one word of a whole clause where no space is written, which could only stay or go as one. There its tokens
# are words: any of Han, and of Thai, Lao, Burmese, Khmer and kana those of two characters, since one may be a letter.
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff]")


def token_spans(text: str, pieces: Pieces) -> list[Span]:
    """The characters of each token without space at their edges; none belongs to two tokens."""
    spans: list[Span] = []
    bound = 0
    for first, last in pieces.spans:
        end = max(last, bound)
        bare = text[max(first, bound) : end].lstrip()
        begin = end - len(bare)
        bound = begin + len(bare.rstrip())
        spans.append((begin, bound))
    return spans


def groups_of(text: str, pieces: Pieces, spans: Sequence[Span]) -> list[Group]:
    """The words of `text`: each has characters of its own, and each token belongs to one.

    A token that stands for no character of its own goes with the word behind it, at the end with the last.
    """
    groups: list[list[int]] = []
    waiting: list[int] = []
    for place, (begin, end) in enumerate(spans):
        waiting.append(place)
        if begin == end:
            continue
        begins = any(pieces.begins[one] for one in waiting)
        if not groups or begins or _cut_before(text, (begin, end), spans[place - 1]):
            groups.append(waiting)
        else:
            groups[-1] += waiting
        waiting = []
    if groups:
        groups[-1] += waiting
    return [tuple(group) for group in groups]


def as_words(
    groups: Sequence[Group], spans: Sequence[Span], scores: Sequence[float], *, forced: Sequence[Span] = ()
) -> list[Word]:
    """A word for each of `groups`, its score the mean of its tokens'; those that overlap a span of `forced` are."""
    words: list[Word] = []
    ahead = sorted(forced, reverse=True)
    for group in groups:
        seen = [spans[place] for place in group if spans[place][0] < spans[place][1]] or [spans[group[0]]]
        begin, end = seen[0][0], seen[-1][1]
        while ahead and ahead[-1][1] <= begin:
            ahead.pop()
        score = sum(scores[place] for place in group) / len(group)
        words.append(Word(begin, end, len(group), score, bool(ahead) and ahead[-1][0] < end))
    return words


def _cut_before(text: str, span: Span, before: Span) -> bool:
    """Whether a token that continues a word is one of its own, because its script parts no words by spaces."""
    first, last = text[span[0]], text[before[1] - 1 : before[1]]
    if category(first).startswith("M") or first in "ーゝゞヽヾ々":
        return False
    if _HAN.match(first) or _HAN.match(last):
        return True
    return span[1] - span[0] > 1 and bool(_UNSPACED.match(first) or _UNSPACED.match(last))
