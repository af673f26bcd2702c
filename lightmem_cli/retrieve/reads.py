"""States what retrieval reads of a conversation's history, in batches and by history's integer ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from lightmem_cli.records import Entry, Filter

if TYPE_CHECKING:
    from lightmem_cli.protocols import Ids, Vectors


class Place(Protocol):
    """Where a message stands: its integer and that of its turn entry, a number that is equal exactly for messages of
    the same conversation and session, and its position there. `speaker` is its role's name where it has none."""

    @property
    def message(self) -> int: ...
    @property
    def turn(self) -> int: ...
    @property
    def session(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def speaker(self) -> str: ...


class Embedded(Protocol):
    """Unit vectors, float32, shape (n, dimension), and the entry each belongs to, int64, shape (n,)."""

    @property
    def owners(self) -> Ids: ...
    @property
    def vectors(self) -> Vectors: ...


class Reads(Protocol):
    """Every method takes any number of ids, repeated or unknown ones included, and asks once, not once an id."""

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        """The entries themselves; unknown ids are left out."""
        ...

    def users(self, vectors: Sequence[int], *, space: int) -> list[tuple[int, int]]:
        """(vector, entry) for every entry, in whatever state, that one of the `vectors` of `space` stands for."""
        ...

    def sources(self, entries: Sequence[int]) -> list[tuple[int, int]]:
        """(entry, message) for every message an entry rests on; a summary's are resolved down to messages."""
        ...

    def around(self, messages: Sequence[int], *, radius: int) -> Sequence[Place]:
        """The places of `messages` and of those up to `radius` positions before and behind each, in the same
        conversation and session, each once; messages without a turn entry are left out."""
        ...

    def embedded(self, entries: Sequence[int], *, space: int) -> Embedded:
        """All vectors of `entries` in `space`; an entry without vectors has no row."""
        ...

    def admitted(self, entries: Sequence[int], where: Filter) -> set[int]:
        """Those of `entries` that pass `where`."""
        ...

    def speakers(self, where: Filter) -> list[str]:
        """The names that speak in `where`'s conversation, or in all of them where it names none."""
        ...
