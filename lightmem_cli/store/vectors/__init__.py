"""Finds the parts of a conversation that mean nearly what a question means; each backend is one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never

if TYPE_CHECKING:
    from lightmem_cli.protocols import Select, VectorIndex
    from lightmem_cli.records import Space


def open_vectors(
    use: Literal["faiss"], folder: Path, *, space: Space, select: Select, readonly: bool = False, anew: bool = False
) -> VectorIndex:
    """Open the index of `space` in `folder`, at position 0 where there is none yet; opening writes nothing.

    `select` names the vectors that a filter lets through; `anew` clears whatever is there first.
    Raises IndexBroken where the files disagree.
    """
    match use:
        case "faiss":
            from lightmem_cli.store.vectors.faiss_flat import FaissVectors

            return FaissVectors(folder, space=space, select=select, readonly=readonly, anew=anew)
        case _:
            assert_never(use)
