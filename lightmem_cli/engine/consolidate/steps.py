"""Does to the facts of a conversation what an update planned, unless another writer was faster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from lightmem_cli.engine.revise import revise
from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, Kind, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.update.steps import Conflict, Correction, Merge, Step


def try_to(history: History, step: Step, *, run: int) -> bool:
    """Do a step in one transaction; False, and nothing done, if another writer changed one of its facts."""
    with history.transaction():
        if faults_of(history, step):
            return False
        do(history, step, run=run)
    return True


def do(history: History, step: Step, *, run: int) -> None:
    """Do a step, in a transaction."""
    match step:
        case Merge():
            _merge(history, step, run=run)
        case Correction():
            _correct(history, step, run=run)
        case Conflict():
            _note(history, step, run=run)
        case _:
            assert_never(step)


def faults_of(history: History, step: Step) -> list[str]:
    """The ids of those facts of a step that are not as it was planned for."""
    goes = going(step)
    found = []
    for id, version in _planned(step):
        entry = entry_of(history, id)[1]
        if entry.state is not State.ACTIVE or entry.version != version or (entry.pinned and id in goes):
            found.append(id)
    return found


def is_done(history: History, step: Step) -> bool:
    """Whether this step, or one that ends in the same, was done before."""
    match step:
        case Merge():
            keep, kept = entry_of(history, step.keep)
            if kept.state is not State.ACTIVE or kept.text != step.text:
                return False
            dropped = [entry_of(history, one.id) for one in step.drop]
            return all(
                fact.state is State.SUPERSEDED and (keep, LinkKind.MERGED_INTO) in history.entries.links_from(id)
                for id, fact in dropped
            )
        case Correction():
            (old, fact), (by, _) = (entry_of(history, one.id) for one in (step.old, step.by))
            return fact.state is State.SUPERSEDED and (old, LinkKind.SUPERSEDES) in history.entries.links_from(by)
        case Conflict():
            one, other = (entry_of(history, fact.id)[0] for fact in (step.one, step.other))
            return (one, LinkKind.CONFLICTS) in history.entries.links_from(other)
        case _:
            assert_never(step)


def check_names(history: History, steps: Iterable[Step]) -> None:
    """
    Raises:
        InputError: a plan names what is not a fact of one conversation, one that goes twice, or a pinned one that goes.
    """
    merged: set[str] = set()
    gone: set[str] = set()
    for step in steps:
        ids = named_in(step)
        first = entry_of(history, ids[0])[1]
        for id in ids:
            fact = entry_of(history, id)[1]
            if id in gone or (isinstance(step, Merge) and id in merged):
                raise InputError(f"the plan names {id} twice", hint="leave each fact in one merge, kept or dropped")
            if fact.kind is not Kind.FACT:
                raise InputError(f"{id} is a {fact.kind}: only facts are merged", hint="take it out of the plan")
            if fact.conversation != first.conversation:
                raise InputError(f"{id} and {ids[0]} are of two conversations", hint="take one of them out of the plan")
            if fact.pinned and id in going(step):
                raise InputError(f"{id} is pinned, and the plan drops it", hint="keep it, or unpin it first")
        merged.update(ids if isinstance(step, Merge) else ())
        gone |= going(step)


def says_something_else(history: History, steps: Iterable[Step]) -> bool:
    """Whether a step gives a fact other words."""
    return any(entry_of(history, step.keep)[1].text != step.text for step in steps if isinstance(step, Merge))


def entry_of(history: History, id: str) -> tuple[int, Entry]:
    """History's integer for the entry of exactly this id, and the entry.

    Raises:
        InputError: there is none.
    """
    for number, name in history.entries.find(id):
        if name == id:
            return number, history.entries.get([number])[number]
    raise InputError(f"there is no entry {id!r}", hint="lightmem update --dry-run prints a plan of this memory")


def going(step: Step) -> set[str]:
    """The facts that will not stand any more."""
    match step:
        case Merge():
            return {one.id for one in step.drop}
        case Correction():
            return {step.old.id}
        case Conflict():
            return set()
        case _:
            assert_never(step)


def named_in(step: Step) -> list[str]:
    """The facts of a step, the one that stays first."""
    return [id for id, _ in _planned(step)]


def _planned(step: Step) -> Iterator[tuple[str, int]]:
    """The facts of a step, and the version of each that it was planned for."""
    match step:
        case Merge():
            yield step.keep, step.version
            yield from ((one.id, one.version) for one in step.drop)
        case Correction():
            yield from ((fact.id, fact.version) for fact in (step.by, step.old))
        case Conflict():
            yield from ((fact.id, fact.version) for fact in (step.other, step.one))
        case _:
            assert_never(step)


def _merge(history: History, merge: Merge, *, run: int) -> None:
    """Supersede what a merge drops, and let what it keeps rest on the messages of all."""
    step = history.revisions.new_step()
    keep, kept = entry_of(history, merge.keep)
    facts = [kept]
    rests_on = set(history.entries.source_ids(keep))
    for dropped in merge.drop:
        id, fact = entry_of(history, dropped.id)
        facts.append(fact)
        rests_on.update(history.entries.source_ids(id))
        links = [*history.entries.links_from(id), (keep, LinkKind.MERGED_INTO)]
        superseded = replace(fact, state=State.SUPERSEDED)
        reason = f"merged into {kept.id}: {dropped.why}"
        revise(history, id, superseded, run=run, reason=reason, links=links, step=step)
    after = replace(kept, text=merge.text, importance=max(fact.importance for fact in facts))
    if after != kept or rests_on != set(history.entries.source_ids(keep)):
        whys = "; ".join(dict.fromkeys(dropped.why for dropped in merge.drop))
        reason = f"merged {len(facts)} facts that say the same ({whys})"
        revise(history, keep, after, run=run, reason=reason, sources=sorted(rests_on), step=step)


def _correct(history: History, correction: Correction, *, run: int) -> None:
    """Supersede a fact; the newer one points to it from then on."""
    step = history.revisions.new_step()
    (old, fact), (by, newer) = (entry_of(history, one.id) for one in (correction.old, correction.by))
    reason = f"corrected by {newer.id}: {correction.why}"
    revise(history, old, replace(fact, state=State.SUPERSEDED), run=run, reason=reason, step=step)
    links = [*history.entries.links_from(by), (old, LinkKind.SUPERSEDES)]
    revise(history, by, newer, run=run, reason=f"corrects {fact.id}: {correction.why}", links=links, step=step)


def _note(history: History, conflict: Conflict, *, run: int) -> None:
    """Let the newer fact point to the one that it contradicts."""
    (one, fact), (other, newer) = (entry_of(history, its.id) for its in (conflict.one, conflict.other))
    links = [*history.entries.links_from(other), (one, LinkKind.CONFLICTS)]
    revise(history, other, newer, run=run, reason=f"contradicts {fact.id}: {conflict.why}", links=links)
