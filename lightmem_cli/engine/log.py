"""Tells what each command did to a memory, and what became of one entry since it was born."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from lightmem_cli.engine import Memory
from lightmem_cli.engine.show import find_entry
from lightmem_cli.engine.standing import Standing, standing
from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, LinkKind, MessageKey
from lightmem_cli.store.history import History
from lightmem_cli.store.history.entries import entry_with
from lightmem_cli.store.history.revisions import Revision, Values
from lightmem_cli.store.history.runs import Deeds, Run, Traces

LinkTo: TypeAlias = tuple[LinkKind, str]  # and the id of the entry it leads to
Value: TypeAlias = str | float | bool | tuple[str, ...] | tuple[MessageKey, ...] | tuple[LinkTo, ...] | None


@dataclass(frozen=True, slots=True)
class Told:
    """A run and what it changed. `undone_by`: the last run that took some of it back, or, if `wholly`, the rest of it.

    `undid`: for an undo, the runs of which it took something back. `traces`: what it did beside its entries.
    """

    run: Run
    deeds: Deeds
    undone_by: int | None
    wholly: bool
    undid: tuple[int, ...]
    traces: Traces = field(default_factory=Traces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to an entry in a run: its birth, or, where it has a number, a revision. `entry` is as it was then.

    `changes` holds each field that changed, before and after: columns of its row, `sources` and `links`. `undone_by` is
    the run that took it back, if one did.
    """

    entry: Entry
    run: Run
    at: datetime
    revision: int | None = None
    reason: str | None = None
    changes: Mapping[str, tuple[Value, Value]]
    undone_by: int | None


def runs(memory: Memory, *, limit: int) -> list[Told]:
    """The last `limit` runs, newest first, but for those that only asked a language model."""
    return _traced(memory.history, memory.history.runs.newest(limit))


def tell(history: History, runs: Sequence[Run]) -> list[Told]:
    """What each of `runs` changed, and whether that still stands."""
    deeds = history.runs.deeds([run.id for run in runs])
    entries = history.runs.undone_in(since=min((run.id for run in runs), default=0))
    born = history.entries.birth_runs(entries)
    taken_back: dict[int, list[int]] = {}
    undid: dict[int, set[int]] = {}
    for id, changes in history.revisions.outlines(entries).items():
        its = standing(changes)
        for revision, by in its.taken_back.items():
            taken_back.setdefault(its.changes[revision].run, []).append(by.run)
        if its.unborn_by is not None:
            taken_back.setdefault(born[id], []).append(its.unborn_by.run)
        for change in changes:
            if change.undoes is not None or change.unborn:
                of = born[id] if change.undoes is None else its.changes[change.undoes].run
                undid.setdefault(change.run, set()).add(of)
    told = []
    for run in runs:
        its_deeds, back = deeds[run.id], taken_back.get(run.id, [])
        wholly = bool(back) and len(back) == sum(its_deeds.born.values()) + its_deeds.revisions
        by_run = max(back, default=None)
        told.append(Told(run, its_deeds, undone_by=by_run, wholly=wholly, undid=tuple(sorted(undid.get(run.id, ())))))
    return told


def run_told(memory: Memory, run: int) -> tuple[Told, list[Event]]:
    """One run, and all that it did, entry by entry.

    Raises:
        InputError: there is no such run.
    """
    history = memory.history
    found = known_run(history, run)
    ids = {*history.entries.born_in(run), *(revision.entry for revision in history.revisions.of_run(run))}
    events = [event for its in _lives(history, sorted(ids)).values() for event in its if event.run.id == run]
    return _traced(history, [found])[0], events


def _traced(history: History, runs: Sequence[Run]) -> list[Told]:
    """What each of `runs` changed, and what it did besides."""
    traces = history.runs.traces([run.id for run in runs])
    return [replace(told, traces=traces[told.run.id]) for told in tell(history, runs)]


def life(memory: Memory, name: str) -> tuple[Entry, list[Event]]:
    """The entry that `name` names (see `find_entry`), and all that happened to it, from its birth on.

    Raises:
        InputError: no entry or several are so named.
    """
    id = find_entry(memory, name)
    return memory.history.entries.get([id])[id], _lives(memory.history, [id])[id]


def known_run(history: History, run: int) -> Run:
    """
    Raises:
        InputError: there is no such run.
    """
    found = history.runs.get([run]).get(run)
    if found is None:
        raise InputError(f"there is no run {run}", hint="lightmem log lists them")
    return found


def _lives(history: History, ids: Sequence[int]) -> dict[int, list[Event]]:
    """All that happened to each of `ids`, from their births on."""
    entries = history.entries.get(ids)
    revised = history.revisions.of_entries(ids)
    born = history.entries.birth_runs(ids)
    runs = history.runs.get({*born.values(), *(one.run for its in revised.values() for one in its)})
    names = _Names.of(history, (one for its in revised.values() for one in its))
    outlines = history.revisions.outlines(ids)
    return {
        id: _life(entries[id], runs[born[id]], revised.get(id, []), standing(outlines[id]), runs=runs, names=names)
        for id in ids
    }


def _life(
    entry: Entry,
    born: Run,
    revisions: Sequence[Revision],
    its: Standing,
    *,
    runs: Mapping[int, Run],
    names: _Names,
) -> list[Event]:
    """An entry's events, oldest first; found backwards, from what it is now."""
    events: list[Event] = []
    for revision in reversed(revisions):
        changes = {
            name: (names.read(name, revision.before.get(name)), names.read(name, after))
            for name, after in revision.after.items()
            if name != "version"
        }
        by = its.taken_back.get(revision.id)
        events.append(
            Event(
                entry=entry,
                run=runs[revision.run],
                at=datetime.fromisoformat(revision.recorded_at),
                revision=revision.id,
                reason=revision.reason,
                changes=changes,
                undone_by=by.run if by else None,
            )
        )
        entry = names.as_before(entry, revision.before)
    unborn = its.unborn_by.run if its.unborn_by else None
    assert entry.recorded_at is not None  # every entry that history gives has it
    events.append(Event(entry=entry, run=born, at=entry.recorded_at, changes={}, undone_by=unborn))
    return events[::-1]


@dataclass(frozen=True, slots=True)
class _Names:
    """What the integers in revisions stand for."""

    messages: Mapping[int, MessageKey]
    entries: Mapping[int, str]

    @classmethod
    def of(cls, history: History, revisions: Iterable[Revision]) -> _Names:
        messages: set[int] = set()
        entries: set[int] = set()
        for revision in revisions:
            for side in (revision.before, revision.after):
                messages.update(message for message, _ in side.get("sources", ()))
                entries.update(target for target, _ in side.get("links", ()))
        return cls(
            {id: message.key for id, message in history.messages.get(messages).items()},
            {id: entry.id for id, entry in history.entries.get(entries).items()},
        )

    def read(self, name: str, value: Any) -> Value:
        """One side of a change, as it is kept in a revision."""
        match name:
            case "sources":
                return tuple(self.messages[message] for message, _ in value or ())
            case "links":
                return tuple((LinkKind(kind), self.entries[target]) for target, kind in value or ())
            case "keywords" | "entities":
                return tuple(json.loads(value or "[]"))
            case "pinned":
                return bool(value)
            case _:
                kept: Value = value
                return kept

    def as_before(self, entry: Entry, before: Values) -> Entry:
        """`entry` with what a revision changed as it was before."""
        sources = tuple(self.messages[message] for message, _ in before.get("sources", ()))
        return replace(entry_with(entry, before), sources=sources or entry.sources)
