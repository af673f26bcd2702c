"""Makes what a conversation says fit to stand in a prompt: as data, on one line, no longer than wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from lightmem_cli.language.sentences import sentences
from lightmem_cli.language.words import analyze

Count: TypeAlias = Callable[[str], int]  # the tokens of a text

_ELLIPSIS = "…"


def shortened(text: str, *, most: int, count: Count, from_end: bool = False) -> str:
    """The beginning of `text`, or its end, in at most `most` tokens, an ellipsis where it was cut."""
    if count(text) <= most:
        return text
    words = text.split(" ")
    low, high = 0, len(words) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(_some(words, middle, from_end=from_end)) <= most else (low, middle - 1)
    if low:
        return _some(words, low, from_end=from_end)
    letters = text[-4 * most :] if from_end else text[: 4 * most]  # one word without an end: a URL, Chinese
    while letters and count(letters + _ELLIPSIS) > most:
        fewer = len(letters) * 3 // 4
        letters = letters[len(letters) - fewer :] if from_end else letters[:fewer]
    return _ELLIPSIS + letters if from_end else letters + _ELLIPSIS


def _some(words: list[str], number: int, *, from_end: bool) -> str:
    if from_end:
        return f"{_ELLIPSIS} {' '.join(words[-number:])}"
    return f"{' '.join(words[:number])} {_ELLIPSIS}"


def excerpt(text: str, *, about: frozenset[str], most: int, count: Count, language: str) -> str:
    """Of a text that is longer than `most` tokens the sentences around the one that holds most terms of `about`."""
    if count(text) <= most:
        return text
    told = sentences(text) or [text]
    best = max(range(len(told)), key=lambda at: len(about.intersection(analyze(told[at], language=language))))
    first = last = best
    while True:
        ahead = [(first, last + 1), (first - 1, last)]
        wider = next((one for one in ahead if _fits(told, *one, most=most, count=count)), None)
        if wider is None:
            break
        first, last = wider
    return shortened(_stretch(told, first, last), most=most, count=count)


def _fits(told: list[str], first: int, last: int, *, most: int, count: Count) -> bool:
    return first >= 0 and last < len(told) and count(_stretch(told, first, last)) <= most


def _stretch(told: list[str], first: int, last: int) -> str:
    """Sentences `first` to `last`, with an ellipsis where others are left out."""
    before = f"{_ELLIPSIS} " if first > 0 else ""
    behind = f" {_ELLIPSIS}" if last < len(told) - 1 else ""
    return f"{before}{' '.join(told[first : last + 1])}{behind}"
