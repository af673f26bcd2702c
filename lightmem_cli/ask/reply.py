"""Reads what a language model says about a conversation, while it does: what it cites, and that it does not know."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lightmem_cli.errors import BadReply

NOT_IN_MEMORY: Final = "NOT IN MEMORY"  # as the prompt has it

# [1], [1, 3], [1-3], [1] [3]; Chinese models write 【1】. A date in brackets is none.
_NUMBERS = r"\d{1,4}(?:\s*[-–—]\s*\d{1,4})?"
_MARK = re.compile(rf"[\[【［]\s*({_NUMBERS}(?:\s*(?:[,;，、]|and)\s*{_NUMBERS})*)\s*[\]】］]")
_PART = re.compile(r"(\d+)(?:\s*[-–—]\s*(\d+))?")
_ABSENT = re.compile(r"[\W_]*(not[\W_]+in[\W_]+memory)\b[\W_]*", re.IGNORECASE)


def cited(text: str, *, among: int) -> tuple[int, ...]:
    """The numbers that `text` cites, by first mention, of those there are: 1 to `among`."""
    found: dict[int, None] = {}
    for mark in _MARK.finditer(text):
        for first, last in _PART.findall(mark[1]):
            found |= dict.fromkeys(range(max(1, int(first)), min(among, int(last or first)) + 1))
    return tuple(found)


def without_marks(text: str) -> str:
    """`text` as it reads where nothing is cited."""
    return re.sub(rf"\s*{_MARK.pattern}", "", text)


def read_answer(reply: str) -> str | None:
    """What a whole reply says; None where it is that the memory does not hold it.

    Raises:
        BadReply: it says nothing.
    """
    text = reply.strip()
    if not text:
        raise BadReply("the reply is empty")
    absent = _ABSENT.match(text)
    if absent is None:
        return text
    rest = text[absent.end() :]
    if _MARK.search(rest):  # it does hold something
        return rest.strip()
    # Whoever shouts the words means them; "Not in memory of her, but …" begins a sentence.
    return None if not rest or absent[1].isupper() else text


class Listening:
    """Passes on a reply piece by piece; holds back only what may become the words that nothing was found.

    `said` is what was passed on so far.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._held = ""
        self.said = ""

    def hear(self, piece: str) -> None:
        """Take in the next piece of the reply."""
        if self.said:
            self._say(piece)
            return
        self._held += piece
        text = self._held.lstrip()
        if text and not _may_be_absent(text):
            self._say(text)

    def _say(self, text: str) -> None:
        self.said += text
        self._tell(text)


def _may_be_absent(text: str) -> bool:
    """Whether the beginning of a reply is, or may become, the words that nothing was found."""
    if _ABSENT.match(text):
        return True
    words = " ".join(re.findall(r"[^\W_]+", text)).upper()
    return len(text) < 3 * len(NOT_IN_MEMORY) and NOT_IN_MEMORY.startswith(words)
