"""Pins entries of a memory, so that consolidation never merges them away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightmem_cli.engine import Memory
from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.show import find_entry
from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, State


@dataclass(frozen=True, slots=True)
class Pinned:
    """The entries asked for, as they are now, and the ids of those that this changed."""

    entries: list[Entry]
    changed: frozenset[str]


def pinned(memory: Memory) -> list[Entry]:
    """The pinned entries, in order of birth; what is forgotten is left out until it comes back."""
    entries = memory.history.entries
    return [entry for entry in entries.get(entries.pinned()).values() if entry.state is not State.DELETED]


def pin(memory: Memory, names: Sequence[str], *, pinned: bool) -> Pinned:
    """Pin (or let go of) the entries that `names` name, in one run; none when one of them cannot be.

    Raises:
        InputError: a name is not one entry's, or that entry is deleted.
    """
    history = memory.history
    ids = list(dict.fromkeys(find_entry(memory, name) for name in names))
    if all(entry.pinned == pinned for entry in _living(memory, ids, pinned=pinned).values()):
        return Pinned(list(history.entries.get(ids).values()), frozenset())
    with memory.run("pin") as run:
        with history.transaction():
            step = history.revisions.new_step()
            changing = {id: one for id, one in _living(memory, ids, pinned=pinned).items() if one.pinned != pinned}
            for id, entry in changing.items():
                reason = "pinned" if pinned else "unpinned"
                revise(history, id, replace(entry, pinned=pinned), run=run, reason=reason, step=step)
        memory.indexes.catch_up(space=history.vectors.active_space())
    return Pinned(list(history.entries.get(ids).values()), frozenset(entry.id for entry in changing.values()))


def _living(memory: Memory, ids: Sequence[int], *, pinned: bool) -> dict[int, Entry]:
    """The entries themselves.

    Raises:
        InputError: one that is to be pinned is deleted.
    """
    entries = memory.history.entries.get(ids)
    deleted = next((one for one in entries.values() if one.state is State.DELETED), None)
    if deleted is not None and pinned:
        raise InputError(
            f"{deleted.id} is deleted and cannot be pinned",
            hint=f"lightmem log {deleted.id} names the run that deleted it; lightmem undo RUN brings it back",
        )
    return entries
