"""Cuts a message that is longer than a model's window into overlapping pieces which the model can read whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lightmem_cli.local_models.surrogates import well_formed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OVERLAP: Final = 32  # tokens that two neighbouring pieces share, so that a statement on the cut is whole in one of them


def windows(text: str, tokenizer: Tokenizer, *, limit: int) -> list[str]:
    """Pieces of `text` of at most `limit` tokens, covering all of it: [text] where it fits, [] where it is blank."""
    if not text or text.isspace():
        return []
    # A token stands for a character or more; a tokenizer makes at most four of a character that is not ASCII.
    if len(text) < (limit if text.isascii() else limit // 4):
        return [text]
    encoding = tokenizer.encode(well_formed(text), add_special_tokens=False)
    starts = [start for start, _ in encoding.offsets]
    words = [0 if word is None else word for word in encoding.word_ids]
    return [text[begin:end] for begin, end in cut(starts, words, len(text), limit=limit)]


def cut(starts: Sequence[int], words: Sequence[int], length: int, *, limit: int) -> list[tuple[int, int]]:
    """Character ranges that cover 0 … `length`, of at most `limit` tokens each and of about equal size.

    `starts` are the tokens' first characters, `words` the word each belongs to. Ranges begin and end between words,
    but within a word that is itself longer than a range.
    """
    count = len(starts)
    if count <= limit:
        return [(0, length)]
    overlap = min(OVERLAP, limit // 4)
    pieces = -(-(count - overlap) // (limit - overlap))
    size = -(-(count + (pieces - 1) * overlap) // pieces)
    ranges = []
    first = 0
    while True:
        last = first + size
        if last >= count:
            ranges.append((starts[first] if first else 0, length))
            return ranges
        last = _word_start(words, last, after=first + overlap)
        ranges.append((starts[first] if first else 0, starts[last]))
        first = _word_start(words, last - overlap, after=first)


def _word_start(words: Sequence[int], token: int, *, after: int) -> int:
    """The nearest start of a word at or before `token` but later than `after`; `token` itself where there is none."""
    for candidate in range(token, after, -1):
        if words[candidate] != words[candidate - 1]:
            return candidate
    return token
