"""Turns what was said into facts: opens the extractor that a profile names."""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

from lightmem_cli.protocols import Extractor
from lightmem_cli.records import Roles

Use: TypeAlias = Literal["rules", "llm"]


def open_extractor(use: Use, *, roles: Roles = "user", threshold: float | None = None) -> Extractor | None:
    """Open the extractor `use`; without a `threshold` it takes its own.

    None for "llm": a language model reads many messages at once, and one that it misreads costs no other.
    """
    match use:
        case "rules":
            from lightmem_cli.extract.rules import THRESHOLD, RuleExtractor

            return RuleExtractor(roles=roles, threshold=THRESHOLD if threshold is None else threshold)
        case "llm":
            return None
        case _:
            assert_never(use)
