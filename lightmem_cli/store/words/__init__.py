"""Finds the parts of a conversation that share a question's words; each backend is one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never

if TYPE_CHECKING:
    from lightmem_cli.protocols import Select, WordIndex


def open_words(
    use: Literal["fts5", "rank-bm25"], folder: Path, *, select: Select, readonly: bool = False, anew: bool = False
) -> WordIndex:
    """Open the index in `folder`, at position 0 where there is none yet; opening writes nothing.

    `select` names the entries that a filter lets through; `anew` clears whatever is there first.
    Raises IndexBroken where the file is damaged or foreign.
    """
    match use:
        case "fts5":
            from lightmem_cli.store.words.fts5 import Fts5Words

            return Fts5Words(folder, select=select, readonly=readonly, anew=anew)
        case "rank-bm25":
            from lightmem_cli.store.words.rank_bm25 import RankBm25Words

            return RankBm25Words(folder, select=select, readonly=readonly, anew=anew)
        case _:
            assert_never(use)
