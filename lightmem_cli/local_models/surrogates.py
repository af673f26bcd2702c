"""Makes of what was said in broken Unicode what a tokenizer takes, or a store."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """`text` with "?" for each half of a surrogate pair, which no tokenizer takes; no other character moves."""
    return text.encode("utf-8", "replace").decode("utf-8")


def mended(text: str) -> str:
    """`text` with the halves of surrogate pairs joined where they stand together, and "\ufffd" for each other one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
