"""Finds what in a memory rests by now on a change to it, so that taking the change back would break something newer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightmem_cli.engine.standing import Standing, changed_since
from lightmem_cli.records import Entry, Kind, State
from lightmem_cli.store.history import History
from lightmem_cli.store.history.entries import entry_with
from lightmem_cli.store.history.revisions import Revision


@dataclass(frozen=True, slots=True)
class Fate:
    """What taking `revisions` (newest first) and `births` back makes of the entries they concern: now, and afterwards.

    `sources` holds the messages of those that will rest on others than now.
    """

    revisions: Sequence[Revision]
    births: Sequence[int]
    now: dict[int, Entry]
    after: dict[int, Entry] = field(init=False)
    sources: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        columns: dict[int, dict[str, Any]] = {id: {} for id in self.now}
        for revision in self.revisions:
            columns[revision.entry] |= revision.before  # an earlier one has the last word
        for id in self.births:
            columns[id]["state"] = State.DELETED.value
        object.__setattr__(self, "after", {id: entry_with(entry, columns[id]) for id, entry in self.now.items()})
        sources = {id: [message for message, _ in its["sources"]] for id, its in columns.items() if "sources" in its}
        object.__setattr__(self, "sources", sources)

    def to(self, state: State) -> list[int]:
        """The entries that will be in `state` and are not yet."""
        return [id for id, entry in self.after.items() if entry.state is state is not self.now[id].state]


def obstacles(history: History, fate: Fate, lives: Mapping[int, Standing], *, run: int) -> dict[int, int]:
    """The entries that changed since what is to be taken back, with the run that changed each.

    `lives` has every entry of `fate`, and `run` is the run that is to be undone, wholly or in part.
    """
    found: dict[int, int] = {}
    targets: dict[int, list[int]] = {}
    for revision in fate.revisions:
        targets.setdefault(revision.entry, []).append(revision.id)
    births = set(fate.births)
    for id in fate.now:
        change = changed_since(lives[id], targets=targets.get(id, ()), birth=id in births)
        if change is not None:
            found[id] = change.run
    return found | _made_of_what_goes(history, fate, run=run) | _without_words(history, fate)


def _made_of_what_goes(history: History, fate: Fate, *, run: int) -> dict[int, int]:
    """The entries that point, since `run`, to one that will be hidden, or will rest on nothing but hidden messages."""
    going = fate.to(State.DELETED)
    turns = [id for id in going if fate.now[id].kind is Kind.TURN]
    hidden = {message for _, message in history.reading.sources(turns)}
    others = history.entries.resting_on(hidden)
    sources = _sources(history, others)
    hidden |= history.entries.forgotten({message for its in sources.values() for message in its}).keys()
    on_nothing = [id for id in others if hidden.issuperset(sources[id])]
    pointing = set(history.entries.pointing_to(going, since=run))
    affected = [id for id in pointing.union(on_nothing) if id not in fate.now]
    entries = history.entries.get(affected)
    born = history.entries.birth_runs(affected)
    outlines = history.revisions.outlines(affected)
    found = {}
    for id in affected:
        since = born[id] > run or id in pointing
        if entries[id].state is State.ACTIVE or (since and entries[id].state is not State.DELETED):
            changes = outlines[id]
            found[id] = born[id] if born[id] > run or not changes else changes[-1].run
    return found


def _without_words(history: History, fate: Fate) -> dict[int, int]:
    """The entries that would be seen again, or still, though every message they rest on then is forgotten by now."""
    back = set(fate.to(State.ACTIVE)) | {id for id in fate.sources if fate.after[id].state is State.ACTIVE}
    sources = _sources(history, back) | {id: fate.sources[id] for id in back if id in fate.sources}
    forgotten = history.entries.forgotten({message for its in sources.values() for message in its})
    gone = {message: one.run for message, one in forgotten.items() if one.purged or one.turn not in back}
    return {id: max(gone[message] for message in its) for id, its in sources.items() if its and gone.keys() >= set(its)}


def _sources(history: History, ids: Iterable[int]) -> dict[int, list[int]]:
    wanted = list(ids)
    found: dict[int, list[int]] = {id: [] for id in wanted}
    for id, message in history.reading.sources(wanted):
        found[id].append(message)
    return found
