"""Finds what else was said in a conversation that a stretch of it goes on from: its seeds, as StructMem calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors

# The cosine from which one thing that was said may be about another. Of fifty pairs of LoCoMo's observations, looked at
# one by one (MiniLM), those at .45 share little more than a name, at .6 half of them a matter, at .7 nearly all.
ALIKE = 0.5
_MOST_COMPARED = 400  # of all that are alike, the nearest


def related(near: Vectors, *, most: int) -> list[int]:
    """The rows of up to `most` candidates, best first; `near` is their cosine with each fact, (candidates, facts).

    Each choice is the one that the facts not yet met are nearest to: eight about one matter
    would leave out the seven others of that day. Of equals, the one that stands first.
    """
    import numpy as np

    if not near.size:
        return []
    close = np.maximum(np.round(near.astype(np.float64), 4) - ALIKE, 0.0)  # what is barely alike counts barely
    rows = np.argsort(-close.max(axis=1), kind="stable")[:_MOST_COMPARED]
    rows = np.sort(rows[close[rows].max(axis=1) > 0])
    close = close[rows]
    met = np.zeros(close.shape[1])
    chosen: list[int] = []
    while len(chosen) < min(most, len(rows)):
        gains = np.round(np.maximum(close - met, 0.0).sum(axis=1), 6)
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        chosen.append(int(rows[best]))
        met = np.maximum(met, close[best])
    return chosen
