"""Answers a question from what was found of a conversation, with the evidence cited."""

from __future__ import annotations

from collections.abc import Sequence

from lightmem_cli.records import Answer, Hit

NO_EVIDENCE = "Nothing in this memory speaks of that."


def answer_from_evidence(hits: Sequence[Hit], *, most: int = 5) -> Answer:
    """The best evidence itself, up to `most` hits, each cited as [n]: what can be said with no language model."""
    cited = tuple(hits[:most])
    if not cited:
        return Answer(text=NO_EVIDENCE, found=False)
    lines = [f"[{number}] {' '.join(hit.entry.text.split())}" for number, hit in enumerate(cited, start=1)]
    return Answer(text="\n".join(lines), citations=cited, numbers=tuple(range(1, len(cited) + 1)))
