"""Looks up what else a conversation remembers that a stretch of it goes on from: earlier things, or all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from lightmem_cli.engine.summaries.drafts import mean_vectors
from lightmem_cli.records import Entry, State
from lightmem_cli.store.history import History
from lightmem_cli.summarize import Window, related

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightmem_cli.protocols import Ids, Vectors

    Seconds: TypeAlias = NDArray[np.float64]
    Mask: TypeAlias = NDArray[np.bool_]

Scope: TypeAlias = Literal["historical", "global"]

_MOST_COMPARED = 50_000  # the newest of a conversation; of MiniLM's vectors they are 77 MB


class _Conversation(NamedTuple):
    """What is there to be found, in the order said: history's integers, the seconds they were said at, their sessions.

    The seconds are nan where nobody knows them. `vectors` are unit rows, float32, shape (n, dimension), and `rows` says
    which entry each belongs to, rising, int64, shape (n,).
    """

    ids: Ids
    said: Seconds
    sessions: list[str]
    vectors: Vectors
    rows: Ids


class Seeds:
    """Related entries for windows, among those that were there when a conversation was first asked for.

    Facts, relations and summaries of topics: what was made when it was said. Summaries of other windows are none of
    them. With these a summary would depend on which windows were made before it, and hand its mistakes on to the next.
    """

    def __init__(self, history: History, *, most: int, scope: Scope, space: int | None) -> None:
        self._history = history
        self._most = most
        self._scope: Scope = scope
        self._space = space
        self._read = lru_cache(maxsize=1)(self._read_conversation)  # windows come conversation by conversation

    def of(self, window: Window, *, own: Sequence[int], shown: Mapping[int, Entry]) -> dict[int, Entry]:
        """Up to `most` active entries that are nearest to what is `shown` of a window, in the order said.

        `own` are all that belong to the window. The historical scope is what was said before the first of these; of
        what nobody knows when it was said, nothing is known to be earlier.
        """
        if not self._most or self._space is None or not shown:
            return {}
        there = self._read(window.conversation)
        near = self._near(there, list(shown), allowed=self._allowed(there, window, own=own, shown=shown))
        ids = [int(there.ids[row]) for row in sorted(related(near, most=self._most))]
        found = self._history.entries.get(ids)
        return {id: found[id] for id in ids if id in found and found[id].state is State.ACTIVE}

    def _allowed(self, there: _Conversation, window: Window, *, own: Sequence[int], shown: Mapping[int, Entry]) -> Mask:
        """Which entries are outside of a window, and within the scope; shape (entries,)."""
        import numpy as np

        allowed: Mask = ~np.isin(there.ids, own)
        if window.session:
            allowed &= np.array([session != window.session for session in there.sessions], bool)
        if self._scope == "historical":
            first = min((entry.said_at.timestamp() for entry in shown.values() if entry.said_at), default=-np.inf)
            allowed &= there.said < first
        elif window.days is not None:
            start, end = (day.timestamp() for day in window.days)
            allowed &= ~((there.said >= start) & (there.said < end))
        return allowed

    def _near(self, there: _Conversation, facts: list[int], *, allowed: Mask) -> Vectors:
        """The best cosine of each entry's vectors with each of `facts`, shape (entries, facts).

        It is 0 for an entry that is not allowed, or has no vector.
        """
        import numpy as np

        near = np.zeros((len(there.ids), len(facts)), np.float32)
        wanted = allowed[there.rows]
        means = mean_vectors(self._history, facts, space=self._space)
        if wanted.any() and means.any():
            rows, firsts = np.unique(there.rows[wanted], return_index=True)
            near[rows] = np.maximum.reduceat(there.vectors[wanted] @ means.T, firsts, axis=0)
        return near

    def _read_conversation(self, conversation: str) -> _Conversation:
        import numpy as np

        assert self._space is not None
        told = self._history.windows.around(conversation, most=_MOST_COMPARED)
        row_of = {one.id: row for row, one in enumerate(told)}
        owners, vectors = self._history.reading.embedded(list(row_of), space=self._space)
        rows = np.array([row_of[owner] for owner in owners.tolist()], np.int64)
        order = np.argsort(rows, kind="stable")
        return _Conversation(
            ids=np.array(list(row_of), np.int64),
            said=np.array([np.nan if one.said is None else one.said for one in told], np.float64),
            sessions=[one.session for one in told],
            vectors=vectors[order],
            rows=rows[order],
        )
