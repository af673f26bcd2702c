"""Consolidates what a conversation is remembered by while nobody waits: facts that say the same become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lightmem_cli.engine import Memory
from lightmem_cli.engine.consolidate.pairs import candidates
from lightmem_cli.engine.pending import embed_some
from lightmem_cli.engine.revise import revise
from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, Kind, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.update.plan import Merge, plan

_NAMED = 10  # of the facts that a refusal lists


@dataclass(frozen=True, slots=True)
class Proposed:
    """What an update would merge, the stage that looked, and the positions in `changes` it looked at and settled.

    `apart` counts the pairs that stay apart because their merger was undone.
    """

    merges: list[Merge]
    stage: str
    position: int
    settled: int
    apart: int


@dataclass(frozen=True, slots=True)
class Consolidated:
    """What was merged, in order, and by which run (None: nothing was).

    `apart` counts the pairs that stay apart because their merger was undone.
    """

    merged: Sequence[Merge] = ()
    run: int | None = None
    apart: int = 0

    @property
    def dropped(self) -> int:
        return sum(len(merge.drop) for merge in self.merged)

    @property
    def summary(self) -> str:
        """What was done, and what takes it back, in one line for a person."""
        if not self.merged:
            return "nothing to merge"
        facts = "1 fact" if self.dropped == 1 else f"{self.dropped:,} facts"
        into = "1 that says" if len(self.merged) == 1 else f"{len(self.merged):,} that say"
        return f"{facts} merged into {into} the same (lightmem undo {self.run} takes it back)"


def _silent(count: int) -> None:
    """Show nobody how far it is."""


def propose(memory: Memory, *, done: Iterable[Merge] = (), progress: Callable[[int], None] = _silent) -> Proposed:
    """Plan the merges among the facts that changed since the last update and all they could pair with; writes nothing.

    What the merges `done` just now kept says what it said before, so it is not compared again. `progress` gets the
    number of facts compared.
    """
    history, threshold = memory.history, memory.settings.update.threshold
    active = history.vectors.active_space()
    space = None if active is None else active[0]
    stage = f"update at {threshold} in {space}"  # another threshold, or other vectors, and everything is looked at anew
    position = history.runs.position()
    found = candidates(
        history,
        space=space,
        threshold=threshold,
        after=history.runs.taken(stage),
        known={(merge.keep, merge.version + 1) for merge in done},
        progress=progress,
    )
    return Proposed(plan(found.facts, found.pairs, threshold=threshold), stage, position, found.settled, found.apart)


def consolidate(memory: Memory, *, progress: Callable[[int], None] = _silent) -> Consolidated:
    """Merge the facts that say the same, until none is left; a second time right after changes nothing."""
    proposed = propose(memory, progress=progress)
    if not proposed.merges:
        _settle(memory.history, proposed)
        return Consolidated(apart=proposed.apart)
    apart = proposed.apart
    merged: list[Merge] = []
    with memory.run("update") as run:
        while proposed.merges:
            done = [merge for merge in proposed.merges if _apply(memory.history, merge, run=run)]
            merged += done
            if len(done) == len(proposed.merges):
                _settle(memory.history, proposed)
                proposed = propose(memory, done=done)
            elif done or memory.history.runs.position() > proposed.position:  # another writer is at work
                proposed = propose(memory)
            else:
                break  # a plan of which nothing fits what it was made from: to plan again would not end
        else:
            _settle(memory.history, proposed)
        _catch_up(memory)
    return Consolidated(merged, run, apart)


def after_ingest(memory: Memory, *, journal_only: bool) -> None:
    """Merge, and say so, at the end of an ingest, where the profile wants that (`[update] when = "online"`)."""
    if memory.settings.update.when == "online" and not journal_only:
        done = consolidate(memory)
        if done.merged:
            memory.notice(done.summary)


def apply_plan(memory: Memory, merges: Sequence[Merge]) -> Consolidated:
    """Do what a reviewed plan says: all of it, or nothing. What of it was done before is left as it is.

    Raises:
        InputError: it names what cannot be merged, or entries that changed since it was made.
    """
    history = memory.history
    _check_names(history, merges)
    waiting = _to_do(history, merges)
    if not waiting:
        return Consolidated()
    if any(_entry(history, merge.keep)[1].text != merge.text for merge in waiting):
        memory.space()  # refuses what could not be embedded before anything is rewritten
    with memory.run("update") as run:
        with history.transaction():
            done = _to_do(history, merges)  # again: another writer may have been faster
            for merge in done:
                _merge(history, merge, run=run)
        _catch_up(memory)
    return Consolidated(done, run) if done else Consolidated()


def _to_do(history: History, merges: Iterable[Merge]) -> list[Merge]:
    """Those of a plan's merges that were not done before.

    Raises:
        InputError: entries of theirs changed since it was made.
    """
    waiting = [merge for merge in merges if not _is_done(history, merge)]
    changed = [fault for merge in waiting for fault in _faults(history, merge)]
    if changed:
        raise _changed_since(changed)
    return waiting


def _settle(history: History, proposed: Proposed) -> None:
    """Note up to where no two facts say the same, where that is news."""
    if history.runs.taken(proposed.stage) < proposed.settled:
        with history.transaction():
            if history.runs.taken(proposed.stage) < proposed.settled:
                history.runs.take(proposed.stage, proposed.settled)


def _catch_up(memory: Memory) -> None:
    """Embed what was rewritten, and bring the indexes up to it."""
    space = memory.history.vectors.active_space()
    if memory.history.work.pending().get("embed"):
        space = memory.space()
        while embed_some(memory, space=space[0], queue=0):
            pass
    memory.indexes.catch_up(space=space)


def _apply(history: History, merge: Merge, *, run: int) -> bool:
    """Merge in one transaction; False, and nothing done, if another writer changed one of its facts."""
    with history.transaction():
        if _faults(history, merge):
            return False
        _merge(history, merge, run=run)
    return True


def _merge(history: History, merge: Merge, *, run: int) -> None:
    """Supersede what a merge drops, and let what it keeps rest on the messages of all."""
    step = history.revisions.new_step()
    keep, kept = _entry(history, merge.keep)
    facts = [kept]
    rests_on = set(history.entries.source_ids(keep))
    for dropped in merge.drop:
        id, fact = _entry(history, dropped.id)
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


def _faults(history: History, merge: Merge) -> list[str]:
    """The ids of those facts of a merge that are not as it was planned for."""
    planned = {merge.keep: merge.version} | {dropped.id: dropped.version for dropped in merge.drop}
    faults = []
    for id, version in planned.items():
        entry = _entry(history, id)[1]
        if entry.state is not State.ACTIVE or entry.version != version or (entry.pinned and id != merge.keep):
            faults.append(id)
    return faults


def _is_done(history: History, merge: Merge) -> bool:
    """Whether this merge, or one that ends in the same, was done before."""
    keep, kept = _entry(history, merge.keep)
    if kept.state is not State.ACTIVE or kept.text != merge.text:
        return False
    dropped = [_entry(history, one.id) for one in merge.drop]
    return all(
        fact.state is State.SUPERSEDED and (keep, LinkKind.MERGED_INTO) in history.entries.links_from(id)
        for id, fact in dropped
    )


def _check_names(history: History, merges: Iterable[Merge]) -> None:
    """
    Raises:
        InputError: a plan names what is not a fact of one conversation, one fact twice, or a pinned one to be dropped.
    """
    seen: set[str] = set()
    for merge in merges:
        kept = _entry(history, merge.keep)[1]
        for id in (merge.keep, *(dropped.id for dropped in merge.drop)):
            fact = _entry(history, id)[1]
            if id in seen:
                raise InputError(f"the plan names {id} twice", hint="leave each fact in one merge, kept or dropped")
            if fact.kind is not Kind.FACT:
                raise InputError(f"{id} is a {fact.kind}: only facts are merged", hint="take it out of the plan")
            if fact.conversation != kept.conversation:
                raise InputError(
                    f"{id} and {merge.keep} are of two conversations", hint="take one of them out of the plan"
                )
            if fact.pinned and id != merge.keep:
                raise InputError(f"{id} is pinned, and the plan drops it", hint="keep it, or unpin it first")
            seen.add(id)


def _entry(history: History, id: str) -> tuple[int, Entry]:
    """History's integer for the entry of exactly this id, and the entry.

    Raises:
        InputError: there is none.
    """
    for number, name in history.entries.find(id):
        if name == id:
            return number, history.entries.get([number])[number]
    raise InputError(f"there is no entry {id!r}", hint="lightmem update --dry-run prints a plan of this memory")


def _changed_since(ids: Sequence[str]) -> InputError:
    named = ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else "")
    return InputError(
        f"changed since the plan was made: {named}; nothing was merged",
        hint="plan again: lightmem update --dry-run > plan.jsonl",
    )
