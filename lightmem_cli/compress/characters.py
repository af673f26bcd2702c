"""Tells the characters of a conversation's messages apart: marks, and the scripts that are written without spaces."""

from __future__ import annotations

import re
from typing import Final, TypeAlias
from unicodedata import category

Span: TypeAlias = tuple[int, int]  # characters [begin, end) of a text

HAN_AND_KANA: Final = (
    "\u3005-\u3007\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# Thai, Lao, Burmese, Khmer are written without spaces too, and no list of their words is here.
UNLISTED_SCRIPTS: Final = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0ed9\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17d7\u17dc\u17dd"
    "\u17e0-\u17e9"
)
_UNSPACED = re.compile(f"[{HAN_AND_KANA}{UNLISTED_SCRIPTS}]")
_UNLISTED = re.compile(f"[{UNLISTED_SCRIPTS}]")


def is_mark(text: str) -> bool:
    """Whether `text` is punctuation alone."""
    return all(category(character).startswith("P") for character in text)


def spells(character: str) -> bool:
    """Whether it is of a word in a script that parts words by spaces: a letter, a digit, or a mark on one."""
    return (character.isalnum() or category(character).startswith("M")) and not _UNSPACED.match(character)


def is_unlisted(word: str) -> bool:
    """Whether `word` is a run of a script without spaces of which no words are listed: a phrase, or many."""
    return _UNLISTED.match(word) is not None
