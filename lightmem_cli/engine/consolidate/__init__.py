"""Consolidates what a conversation is remembered by while nobody waits: facts that say the same become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Asking
from lightmem_cli.engine.consolidate.corrections import (
    Found,
    Judged,
    carry_out,
    find,
    judge,
    step_of,
    verdicts_of,
)
from lightmem_cli.engine.consolidate.pairs import candidates
from lightmem_cli.engine.consolidate.steps import (
    check_names,
    do,
    faults_of,
    going,
    is_done,
    named_in,
    says_something_else,
    try_to,
)
from lightmem_cli.engine.embedding import embed_some
from lightmem_cli.errors import InputError, LightmemError, MissingPart, ModelError, ProfileError
from lightmem_cli.store.history import History
from lightmem_cli.update.plan import plan
from lightmem_cli.update.steps import Conflict, Correction, Merge, Step

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
    """What was done, in order, and by which run (None: nothing was).

    `apart` counts the pairs that stay apart because their merger was undone. The language model's `faults` left facts
    for the next update, and so did what `stopped` it early.
    """

    steps: Sequence[Step] = ()
    run: int | None = None
    apart: int = 0
    faults: Sequence[LightmemError] = ()
    stopped: str | None = None

    @property
    def merged(self) -> list[Merge]:
        return [step for step in self.steps if isinstance(step, Merge)]

    @property
    def dropped(self) -> int:
        return sum(len(merge.drop) for merge in self.merged)

    @property
    def summary(self) -> str:
        """What was done, and what takes it back, in one line for a person."""
        if not self.steps:
            return "nothing to merge"
        into = "1 that says" if len(self.merged) == 1 else f"{len(self.merged):,} that say"
        said = {
            f"merged into {into} the same": self.dropped,
            "corrected by newer ones": sum(isinstance(step, Correction) for step in self.steps),
            "contradicted by newer ones": sum(isinstance(step, Conflict) for step in self.steps),
        }
        parts = [f"{count:,} {'fact' if count == 1 else 'facts'} {what}" for what, count in said.items() if count]
        return f"{', '.join(parts)} (lightmem undo {self.run} takes it back)"


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


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What the language model says is to be done beside merges; what it failed on, and why it was not asked it all."""

    steps: Sequence[Step]
    faults: Sequence[LightmemError] = ()
    stopped: str | None = None


def foresee(memory: Memory, merges: Iterable[Merge], *, progress: Callable[[int], None] = _silent) -> Foreseen:
    """What an update would do beside `merges` if the language model were asked, which it is: it need not be again.

    Raises:
        ModelError, MissingPart, ProfileError: the model could not be asked.
    """
    merged = {id for merge in merges for id in named_in(merge)}
    gone = {one.id for merge in merges for one in merge.drop}
    found = find(memory, gone=gone, progress=progress)
    asking = Asking(memory)
    steps: list[Step] = []
    faults: list[LightmemError] = []
    judged = []
    for one in judge(memory, found, asking=asking):
        judged.append(one)
        faults += [one.fault] if one.fault else []
    for step in (step_of(verdict, {}) for verdict in verdicts_of(judged, found)):
        if step is None:
            continue
        its = set(named_in(step))
        if its & (gone | merged if isinstance(step, Merge) else gone):
            continue  # a plan does one thing to a fact; the next update looks at it again
        steps.append(step)
        merged |= its if isinstance(step, Merge) else set()
        gone |= going(step)
    return Foreseen(steps, faults, asking.stopped)


def consolidate(memory: Memory, *, progress: Callable[[int], None] = _silent) -> Consolidated:
    """Merge the facts that say the same, until none is left; a second time right after changes nothing.

    With `update.use = "llm"` the language model then judges what is near, and left apart.
    """
    with ExitStack() as stack:
        one = _Update(memory, stack, progress=progress)
        one.merge()
        if memory.settings.update.use == "llm":
            one.correct()
        return one.end()


class _Update:
    """One update. Its run begins with the first thing that is to be done."""

    def __init__(self, memory: Memory, stack: ExitStack, *, progress: Callable[[int], None]) -> None:
        self._memory, self._history = memory, memory.history
        self._stack = stack
        self._progress = progress
        self._run: int | None = None
        self._done: list[Step] = []
        self._apart = 0
        self._faults: list[LightmemError] = []
        self._stopped: str | None = None

    def merge(self) -> None:
        """Do what rules say."""
        proposed = propose(self._memory, progress=self._progress)
        self._apart = proposed.apart
        while proposed.merges:
            run = self._begun()
            done = [merge for merge in proposed.merges if try_to(self._history, merge, run=run)]
            self._done += done
            if len(done) == len(proposed.merges):
                _settle(self._history, proposed.stage, proposed.settled)
                proposed = propose(self._memory, done=done)
            elif done or self._history.runs.position() > proposed.position:  # another writer is at work
                proposed = propose(self._memory)
            else:
                return  # a plan of which nothing fits what it was made from: to plan again would not end
        _settle(self._history, proposed.stage, proposed.settled)

    def correct(self) -> None:
        """Do what the language model says."""
        with self._noted():
            while (found := find(self._memory, progress=self._progress)).doubts:
                done = self._judge(found)
                if self._faults or self._stopped:
                    return  # the next update asks about what was left
                if not done:
                    break  # all was judged; but for what another writer is at
            _settle(self._history, found.stage, found.settled)

    def _judge(self, found: Found) -> list[Step]:
        """Ask about what was found, and do what is said; where asking ends early, what was said by then."""
        run = self._begun()
        asking = Asking(self._memory, run=run)
        judged: list[Judged] = []
        try:
            for one in judge(self._memory, found, asking=asking):
                judged.append(one)
                self._faults += [one.fault] if one.fault else []
        finally:
            done = carry_out(self._history, judged, found, run=run)
            self._done += done
            self._stopped = asking.stopped
        return done

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """A model that cannot be asked ends what takes it, and nothing else."""
        try:
            yield
        except (ModelError, MissingPart, ProfileError) as gone:
            self._faults.append(gone)

    def end(self) -> Consolidated:
        """What was done, once it can be found."""
        if self._run is not None:
            _catch_up(self._memory)
        run = self._run if self._done else None
        return Consolidated(tuple(self._done), run, self._apart, tuple(self._faults), self._stopped)

    def _begun(self) -> int:
        if self._run is None:
            self._run = self._stack.enter_context(self._memory.run("update"))
        return self._run


def after_ingest(memory: Memory, *, journal_only: bool) -> None:
    """Merge, and say so, at the end of an ingest, where the profile wants that (`[update] when = "online"`)."""
    if memory.settings.update.when == "online" and not journal_only:
        done = consolidate(memory)
        if done.steps:
            memory.notice(done.summary)
        for fault in done.faults[:1]:
            memory.notice(f"not all was compared: {fault.message} (lightmem update)")


def apply_plan(memory: Memory, steps: Sequence[Step]) -> Consolidated:
    """Do what a reviewed plan says: all of it, or nothing. What of it was done before is left as it is.

    Raises:
        InputError: it names what cannot be merged, or entries that changed since it was made.
    """
    history = memory.history
    check_names(history, steps)
    waiting = _to_do(history, steps)
    if not waiting:
        return Consolidated()
    if says_something_else(history, waiting):
        memory.space()  # refuses what could not be embedded before anything is rewritten
    with memory.run("update") as run:
        with history.transaction():
            done = _to_do(history, steps)  # again: another writer may have been faster
            for step in done:
                do(history, step, run=run)
        _catch_up(memory)
    return Consolidated(done, run) if done else Consolidated()


def _to_do(history: History, steps: Iterable[Step]) -> list[Step]:
    """Those of a plan's steps that were not done before.

    Raises:
        InputError: entries of theirs changed since it was made.
    """
    waiting = [step for step in steps if not is_done(history, step)]
    changed = [fault for step in waiting for fault in faults_of(history, step)]
    if changed:
        raise _changed_since(changed)
    return waiting


def _settle(history: History, stage: str, position: int) -> None:
    """Note up to where a stage has nothing left to do, where that is news."""
    if history.runs.taken(stage) < position:
        with history.transaction():
            if history.runs.taken(stage) < position:
                history.runs.take(stage, position)


def _catch_up(memory: Memory) -> None:
    """Embed what was rewritten, and bring the indexes up to it."""
    space = memory.history.vectors.active_space()
    if memory.history.work.pending().get("embed"):
        space = memory.space()
        while embed_some(memory, space=space[0], queue=0):
            pass
    memory.indexes.catch_up(space=space)


def _changed_since(ids: Sequence[str]) -> InputError:
    ids = list(dict.fromkeys(ids))
    named = ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else "")
    return InputError(
        f"changed since the plan was made: {named}; nothing was merged",
        hint="plan again: lightmem update --dry-run > plan.jsonl",
    )
