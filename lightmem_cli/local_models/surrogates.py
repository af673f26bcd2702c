"""Makes of what was said what a tokenizer takes."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """`text` with "?" for each half of a surrogate pair, which no tokenizer takes; no other character moves."""
    return text.encode("utf-8", "replace").decode("utf-8")
