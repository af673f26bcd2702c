"""Cuts what was said into the words that stay or go, in any script, so that nothing but white space is left over.

A mark (a comma, a full stop, an emoji) is a word of its own: a sentence's end can stay where its last word goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias
from unicodedata import category

from lightmem_cli.compress.tongue import UNLISTED, Tongue, frequencies, simplified

Span: TypeAlias = tuple[int, int]

# Combining marks, and the blocks of scripts whose vowels are such marks; Python's \w holds none of them.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06ed\u0730-\u074a\u07a6-\u07b0\u0900-\u0963\u0966-\u0dff\u0f18-\u0f87\u135d-\u135f\u1ab0-\u1aff"
    "\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
)
_HAN_AND_KANA = (
    "\u3005-\u3007\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_KATAKANA = re.compile("([\u30a1-\u30fa\u30fc-\u30ff]+)")  # a run of it is one word, or a compound one
# Thai, Lao, Burmese, Khmer are written without spaces too, and no list of their words is here.
_UNLISTED_SCRIPTS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0ed9\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17d7\u17dc\u17dd"
    "\u17e0-\u17e9"
)
_LETTER = rf"[^\W{_HAN_AND_KANA}{_UNLISTED_SCRIPTS}]"
_LETTERS = rf"(?:{_LETTER}|[{_MARKS}])++"
# Don't, well-known, 1,000, 3.5, a_b, me@x.org, src/main.py are one word each; "done.We" and "red,green" are three.
_JOIN = r"(?:['’\u200c\u200d\u00ad@&+=~#%/\\‐-]|\.(?=[a-z0-9_])|:(?=\d)|://|(?<=\d),(?=\d))"
_EMOJI_GOES_ON = r"(?:\u200d[^\w\s]|[\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f])"
_WORD = re.compile(
    rf"(?P<listed>[{_HAN_AND_KANA}]+)|(?P<unlisted>[{_UNLISTED_SCRIPTS}]+)"
    rf"|{_LETTER}(?:{_LETTERS})?(?:{_JOIN}(?={_LETTER}){_LETTERS})*+"
    rf"|[\U0001f1e6-\U0001f1ff]{{2}}|(?P<mark>[^\w\s])(?:(?P=mark)|{_EMOJI_GOES_ON})*+|\S"
)
_BEFORE_ITS_CONSONANT = frozenset("เแโใไເແໂໃໄ")
_BEHIND_ITS_CONSONANT = frozenset("ะาำๅะາຳຽ")
_STACKS = frozenset("\u1039\u17d2")  # the next consonant goes below
_LONGEST = 5  # characters of a word in the Chinese and Japanese lists


def cut(text: str, tongue: Tongue | None = None) -> list[Span]:
    """The words of `text`, characters [begin, end), in order: each character but white space is in exactly one.

    Chinese and Japanese are cut where the words are likeliest, other scripts without spaces into syllables.
    """
    tongue = tongue or Tongue(text)
    return list(_words(text, tongue))


def _words(text: str, tongue: Tongue) -> Iterator[Span]:
    for match in _WORD.finditer(text):
        begin = match.start()
        match match.lastgroup:
            case "listed":
                parts = _likeliest_words(match.group(), tongue)
            case "unlisted":
                parts = _syllables(match.group())
            case _:
                yield match.span()
                continue
        for part in parts:
            yield begin, begin + len(part)
            begin += len(part)


def _likeliest_words(run: str, tongue: Tongue) -> Iterator[str]:
    """The words into which a run of Han and kana is cut with the fewest bits in all; a run of katakana is one."""
    language = tongue.language("の")
    listed = frequencies(language)
    for part in _KATAKANA.split(run):
        if _KATAKANA.match(part):
            yield part
        elif part:
            yield from _cheapest(part, simplified(part) if language == "zh" else part, listed)


def _cheapest(run: str, plain: str, listed: dict[str, float]) -> Iterator[str]:
    """Words of `run`, by what `plain`, the same as it is listed, costs."""
    costs, lengths = [0.0], [0]  # of the best cut up to each place, and of its last word
    for end in range(1, len(run) + 1):
        best, its_length = costs[end - 1] + listed.get(plain[end - 1], UNLISTED), 1
        for begin in range(max(0, end - _LONGEST), end - 1):
            bits = listed.get(plain[begin:end])
            if bits is not None and costs[begin] + bits < best:
                best, its_length = costs[begin] + bits, end - begin
        costs.append(best)
        lengths.append(its_length)
    words = []
    end = len(run)
    while end:
        words.append(run[end - lengths[end] : end])
        end -= lengths[end]
    yield from reversed(words)


def _syllables(run: str) -> Iterator[str]:
    begin = 0
    for at in range(1, len(run)):
        before, here = run[at - 1], run[at]
        within = here in _BEHIND_ITS_CONSONANT or before in _BEFORE_ITS_CONSONANT or before in _STACKS
        if not within and not category(here).startswith("M"):
            yield run[begin:at]
            begin = at
    yield run[begin:]
