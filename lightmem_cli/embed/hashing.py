"""Embeds a conversation's words by hashing them and their letter trigrams: instant, and with no model at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from zlib import crc32

from lightmem_cli.records import Space

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors

_DIMENSION: Final = 256
_WORD: Final = re.compile(r"\w+")
_TRIGRAM_SHARE: Final = 0.5  # a trigram counts half a word: near spellings are near, the same words nearer


class HashingEmbedder:
    """Signed feature hashing of words and character trigrams; no window, for a text of any length fits."""

    @property
    def space(self) -> Space:
        return Space(name="hashing", revision="1", dimension=_DIMENSION)

    def windows(self, text: str) -> list[str]:
        return [text] if text.strip() else []

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, float32, (len(texts), 256); a text without words is the first axis."""
        import numpy as np

        vectors = np.zeros((len(texts), _DIMENSION), np.float32)
        for n, text in enumerate(texts):
            for feature, weight in _features(text):
                code = crc32(feature.encode("utf-8", "surrogatepass"))
                vectors[n, code % _DIMENSION] += weight if code & 0x8000_0000 else -weight
            if not vectors[n].any():
                vectors[n, 0] = 1
            vectors[n] /= np.sqrt((vectors[n] * vectors[n]).sum())
        return vectors


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Each word of `text` and each trigram of it, marked at its ends, with the weight it counts."""
    for match in _WORD.finditer(text.casefold()):
        word = f"<{match[0]}>"
        yield word, 1.0
        for start in range(len(word) - 2):
            yield word[start : start + 3], _TRIGRAM_SHARE
