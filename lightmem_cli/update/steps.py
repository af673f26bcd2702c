"""Says what an update does to a conversation's facts: they are merged, corrected, or noted to contradict each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact as it was when the plan was made."""

    id: str
    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Dropped(Fact):
    """A fact that goes, as it was when the plan was made, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Merge:
    """One fact stays and others go into it; `text` is what it shall say from then on."""

    keep: str
    version: int
    text: str
    drop: tuple[Dropped, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """A fact that holds no more since a newer one was said."""

    old: Fact
    by: Fact
    why: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two facts that cannot both be true: both stay, and each says so."""

    one: Fact
    other: Fact
    why: str


Step: TypeAlias = Merge | Correction | Conflict
