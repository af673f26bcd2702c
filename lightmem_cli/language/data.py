"""Makes what was said in a conversation fit to stand in a prompt: as data, on one line, and ending nothing."""

from __future__ import annotations

import re
import unicodedata

# What could be taken for the begin or the end of data, in whichever prompt: no text keeps such a bracket.
_TAG = re.compile(r"<(?=[\s/]*(?:talk|memory|facts|earlier))", re.IGNORECASE)


def as_data(text: str, *, line_end: str = " ") -> str:
    """`text` without line ends, for each of which stands `line_end`, control characters, or a tag of ours."""
    lines = (" ".join(printable(line).split()) for line in text.splitlines())
    return _TAG.sub("‹", line_end.join(line for line in lines if line))


def printable(text: str) -> str:
    """`text` with a space for each control character and a "?" for each half of a surrogate pair."""
    if text.isprintable():
        return text
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in whole)
