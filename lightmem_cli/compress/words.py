"""Cuts what was said into the words that stay or go, in any script, so that nothing but white space is left over.

A mark (a comma, a full stop, an emoji) is a word of its own: a sentence's end can stay where its last word goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lightmem_cli.compress.characters import HAN_AND_KANA, UNLISTED_SCRIPTS, Span
from lightmem_cli.compress.tongue import UNLISTED, Tongue, frequencies, simplified

# Combining marks, and the blocks of scripts whose vowels are such marks; Python's \w holds none of them.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06ed\u0730-\u074a\u07a6-\u07b0\u0900-\u0963\u0966-\u0dff\u0f18-\u0f87\u135d-\u135f\u1ab0-\u1aff"
    "\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
)
_KATAKANA = re.compile("([\u30a1-\u30fa\u30fc-\u30ff]+)")  # a run of it is one word, or a compound one
_LETTER = rf"[^\W{HAN_AND_KANA}{UNLISTED_SCRIPTS}]"
_LETTERS = rf"(?:{_LETTER}|[{_MARKS}])++"
# Don't, well-known, 1,000, 3.5, a_b, me@x.org, src/main.py are one word each; "done.We" and "red,green" are three.
_JOIN = r"(?:['’\u200c\u200d\u00ad@&+=~#%/\\‐-]|\.(?=[a-z0-9_])|:(?=\d)|://|(?<=\d),(?=\d))"
_EMOJI_GOES_ON = r"(?:\u200d[^\w\s]|[\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f])"
_WORD = re.compile(
    rf"(?P<listed>[{HAN_AND_KANA}]+)|[{UNLISTED_SCRIPTS}]+"
    rf"|{_LETTER}(?:{_LETTERS})?(?:{_JOIN}(?={_LETTER}){_LETTERS})*+"
    rf"|[\U0001f1e6-\U0001f1ff]{{2}}|(?P<mark>[^\w\s])(?:(?P=mark)|{_EMOJI_GOES_ON})*+|\S"
)
_LONGEST = 5  # characters of a word in the Chinese and Japanese lists


def cut(text: str, tongue: Tongue | None = None) -> list[Span]:
    """The words of `text`, characters [begin, end), in order: each character but white space is in exactly one.

    Chinese and Japanese are cut where the words are likeliest, other scripts without spaces only where there is one.
    """
    tongue = tongue or Tongue(text)
    return list(_words(text, tongue))


def _words(text: str, tongue: Tongue) -> Iterator[Span]:
    for match in _WORD.finditer(text):
        if match.lastgroup != "listed":
            yield match.span()
            continue
        begin = match.start()
        for part in _likeliest_words(match.group(), tongue):
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
