"""Breaks what a conversation says, and what is asked of it, into the terms that a words index can match."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache

from lightmem_cli.errors import ProfileError
from lightmem_cli.language.stop_words import stop_words

REVISION = 1  # raise it when analyze() changes: indexes made with another one are made again
LONGEST_TERM = 64  # characters: a pasted base64 blob is one short term, not a megabyte of index

# Written without spaces, or (Korean) with particles glued to nouns: Thai, Lao, Burmese, Khmer, Hangul, kana, Han.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0ece\u0ed0-\u0ed9\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17e9"
    "\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# 1,000 is one number; Gina's and don't are one word; anything else that is no letter or digit separates.
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)"
_ASCII = re.compile(rf"{_NUMBER}|[a-z0-9]+(?:'[a-z]+)*")


def analyze(text: str, *, language: str = "english") -> list[str]:
    """The terms of `text`, in order and with repetitions: a document and a question are analysed alike.

    A term holds letters, digits and marks only, no ASCII capitals, at most 64 characters. `language` names a Snowball
    stemmer ("english", "german" …); "none" keeps every word as it stands. Text of nothing but stop words keeps them,
    so that "To be or not to be" is findable. Raises ProfileError for a language without a stemmer.
    """
    to_term = _stemmer(language)
    words = _words(text)
    if language != "english":  # l'amour, dell'arte: elsewhere an apostrophe separates
        words = [part for word in words for part in word.split("'")]
    return [term for word in words if (term := to_term(word))] or [word.replace("'", "") for word in words]


def _words(text: str) -> list[str]:
    """Cut folded `text` into words, its unspaced runs into overlapping pairs of characters."""
    if text.isascii():
        folded = text.lower()
        words = _ASCII.findall(folded)
        return [word.replace(",", "") for word in words] if "," in folded else words
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("’", "'")
    words = []
    for match in _unicode_words().finditer(folded):
        word = match[0]
        if match.lastgroup == "unspaced" and len(word) > 2:
            words.extend(word[at : at + 2] for at in range(len(word) - 1))
        else:
            words.append(word.replace(",", ""))
    return words


@cache
def _unicode_words() -> re.Pattern[str]:
    """The pattern for text beyond ASCII; finding all combining marks costs 20 ms, so it waits for such text."""
    marks = "".join(c for c in map(chr, range(0x300, 0x1F000)) if unicodedata.category(c) in ("Mn", "Mc"))
    letter, more = rf"[^\W_{_UNSPACED}]", rf"[^\W_{_UNSPACED}]|[{marks}]"
    return re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|{_NUMBER}|{letter}(?:{more})*(?:'(?:{more})+)*")


@cache
def _stemmer(language: str) -> Callable[[str], str]:
    """What makes a term of a word in `language`: its stem, or "" for a stop word."""
    if language == "none":
        return lambda word: word[:LONGEST_TERM]
    import Stemmer

    if language not in Stemmer.algorithms():
        known = ", ".join(["none", *Stemmer.algorithms()])
        raise ProfileError(f"no stemmer for the language {language!r}", hint=f"choose one of: {known}")
    stem = Stemmer.Stemmer(language, 0).stemWord  # 0: its own cache is slower than the one below
    left_out = stop_words(language)

    @lru_cache(maxsize=1 << 16)
    def to_term(word: str) -> str:
        plain = word[:LONGEST_TERM].removesuffix("'s").replace("'", "")
        return "" if plain in left_out else stem(plain) or plain

    return to_term
