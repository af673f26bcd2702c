"""Knows how frequent English words are, so that what is rare in a conversation can be told from what is usual."""

from __future__ import annotations

import math
from functools import cache

_UNLISTED = 2.5


def zipf(word: str) -> float:
    """log10 of how often the lower-case `word` is used in a billion English words; 2.5 for any below 3."""
    return _frequencies().get(word, _UNLISTED)


def is_listed(word: str) -> bool:
    """Tell whether the lower-case `word` is used at least once in a million English words."""
    return word in _frequencies()


@cache
def _frequencies() -> dict[str, float]:
    """wordfreq's small English list, 30,000 words: 0.2 s at first, so queries leave it alone."""
    from wordfreq import get_frequency_dict

    return {word: math.log10(share) + 9 for word, share in get_frequency_dict("en", wordlist="small").items()}
