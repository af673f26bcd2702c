"""Picks the best of what a search through a conversation has scored, the same way in every index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lightmem_cli.protocols import Scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lightmem_cli.protocols import Ids, Selection


def best(ids: Ids, scores: NDArray[Any], k: int) -> Scored:
    """The `k` highest scores as float32, best first, ties by id."""
    rounded = scores.astype(np.float32)
    order = np.lexsort((ids, -rounded))[: max(k, 0)]
    return Scored(ids[order], rounded[order])


def passing(ids: Ids, selection: Selection | None) -> NDArray[np.bool_]:
    """Which of `ids` the selection lets through."""
    if selection is None:
        return np.ones(len(ids), np.bool_)
    return np.isin(ids, selection.ids, invert=selection.inverted)
