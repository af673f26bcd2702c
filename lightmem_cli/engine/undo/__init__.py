"""Gives a memory back what a command changed in it, unless something newer rests on the change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from lightmem_cli.engine import Memory
from lightmem_cli.engine.embedding import embed_some
from lightmem_cli.engine.extraction.by_rules import extract_some
from lightmem_cli.engine.log import known_run, tell
from lightmem_cli.engine.revise import revise, take_back
from lightmem_cli.engine.standing import Standing, standing
from lightmem_cli.engine.undo.obstacles import Fate, obstacles
from lightmem_cli.errors import InputError, ProfileBusy
from lightmem_cli.records import Entry, Kind, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.store.history.revisions import Revision
from lightmem_cli.store.history.runs import Run

_HIDDEN = (State.DELETED, State.UNSUPPORTED)  # in these states a fact is not to be read in a summary either
_BROUGHT_IN = ("ingest", "extract")
# An undo typed once too often must not hide the whole memory, nor break again what was mended.
_BY_NUMBER_ONLY = (*_BROUGHT_IN, "doctor")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be taken back of `run`: all of it that stands, or of the step that `revision` is of."""

    run: Run
    revision: int | None
    fate: Fate

    @property
    def entries(self) -> list[Entry]:
        """The entries that it concerns, as they will be."""
        return list(self.fate.after.values())

    @property
    def reason(self) -> str:
        of = f"run {self.run.id}" if self.revision is None else f"revision {self.revision} of run {self.run.id}"
        return f"undo of {of}"


class Conflict(NamedTuple):
    """An entry that changed since, and the run that changed it."""

    entry: Entry
    run: Run


class ChangedSince(InputError):
    """An undo that would break what is newer; `conflicts` lists it."""

    def __init__(self, message: str, *, hint: str, conflicts: Sequence[Conflict]) -> None:
        super().__init__(message, hint=hint)
        self.conflicts = conflicts


def plan(memory: Memory, *, run: int | None = None, revision: int | None = None) -> Plan:
    """What undoing `run`, or the step of `revision`, takes back; with neither, the last run that there is to undo.

    That is none that ingested, extracted or mended: these are undone by their numbers alone.

    Raises:
        InputError: there is no such run or revision, or it has nothing to take back, is undone already or cannot be.
        ChangedSince: an entry changed since.
        ProfileBusy: the run is still going on.
    """
    history = memory.history
    found = history.revisions.get(revision) if revision is not None else None
    if revision is not None and found is None:
        raise InputError(f"there is no revision {revision}", hint="lightmem log ID lists those of an entry")
    if found is not None:
        chosen = known_run(history, found.run)
        written, born = history.revisions.of_step(found.step), []
    else:
        chosen = _latest(history) if run is None else known_run(history, run)
        written, born = history.revisions.of_run(chosen.id), history.entries.born_in(chosen.id)
    _check(history, chosen, written)
    outlines = history.revisions.outlines({*born, *(one.entry for one in written)})
    lives = {id: standing(changes) for id, changes in outlines.items()}
    what = f"run {chosen.id}" if found is None else f"revision {found.id}"
    if not written and not born:
        raise InputError(
            f"{what} ({chosen.command}) has nothing to take back", hint="lightmem log says what each run did"
        )
    revisions = [one for one in reversed(written) if one.id not in lives[one.entry].taken_back]
    births = [id for id in reversed(born) if lives[id].unborn_by is None]
    if not revisions and not births:
        by = max(_undone_by(written, born, lives))
        raise InputError(f"{what} is undone already (by run {by})", hint=f"lightmem undo {by} takes that back")
    concerned = {*births, *(one.entry for one in revisions)}
    fate = Fate(revisions, births, history.entries.get(sorted(concerned)))
    _refuse(history, obstacles(history, fate, lives, run=chosen.id), f"{what} ({chosen.command})")
    return Plan(chosen, revision, fate)


def undo(memory: Memory, planned: Plan) -> list[Entry]:
    """Do what is planned, as a run of its own, all or nothing; the entries concerned, as they are now.

    Raises:
        InputError, ProfileBusy: as `plan`, where another process was faster.
    """
    history = memory.history
    with memory.run("undo") as run:
        with history.transaction():
            now = plan(memory, run=planned.run.id if planned.revision is None else None, revision=planned.revision)
            _take_back(history, now, run=run)
            _set_aside(history, now.fate, since=now.run.id, run=run)
            unread = _unread(history, now.fate)
            history.work.add("extract", unread)
            entries = history.entries.get(now.fate.after)
        while unread and extract_some(memory, run=run):
            pass
        _embed(memory)
    return list(entries.values())


def _take_back(history: History, planned: Plan, *, run: int) -> None:
    """The newest first. What was one step is one again, so that it can be done again by itself."""
    steps: dict[int, int] = {}
    for revision in planned.fate.revisions:
        step = steps.get(revision.step) or history.revisions.new_step()
        steps[revision.step] = step
        take_back(history, revision, run=run, reason=planned.reason, step=step)
    together = history.revisions.new_step()
    for id in planned.fate.births:
        gone = replace(history.entries.get([id])[id], state=State.DELETED)
        revise(history, id, gone, run=run, reason=planned.reason, links=(), step=together)


def _set_aside(history: History, fate: Fate, *, since: int, run: int) -> None:
    """Summaries that come back and quote what is hidden by now stay aside; the next `summarize` writes them anew."""
    back = [id for id in fate.to(State.ACTIVE) if fate.now[id].kind is Kind.SUMMARY]
    for id in back:
        forgotten = history.entries.forgotten(history.entries.source_ids(id)).values()
        quoted = [target for target, kind in history.entries.links_from(id) if kind is LinkKind.SUMMARIZES]
        hidden = any(fact.state in _HIDDEN for fact in history.entries.get(quoted).values())
        if hidden or any(one.run >= since for one in forgotten):  # the same run may have forgotten several messages
            aside = replace(history.entries.get([id])[id], state=State.UNSUPPORTED)
            revise(history, id, aside, run=run, reason="it quotes what is forgotten")


def _unread(history: History, fate: Fate) -> list[int]:
    """The messages that come back and have no facts: they were perhaps not read before they went."""
    turns = [id for id in fate.to(State.ACTIVE) if fate.now[id].kind is Kind.TURN]
    return [
        message for turn, message in history.reading.sources(turns) if history.entries.of_message(message) == [turn]
    ]


def _embed(memory: Memory) -> None:
    """Embed what got other words; what else waits is not this run's to do."""
    space = memory.history.vectors.active_space()
    if memory.history.work.pending().get("embed", 0):
        space = memory.space()
        while embed_some(memory, space=space[0], queue=0):
            pass
    memory.indexes.catch_up(space=space)


def _latest(history: History) -> Run:
    """The last run that changed something and stands, and that is undone without being named."""
    for run in _standing(history, lambda run: run.command not in ("undo", *_BY_NUMBER_ONLY)):
        return run
    hint = "lightmem log says what each run did"
    for run in _standing(history, lambda run: run.command in _BROUGHT_IN):
        hint = f"lightmem undo {run.id} takes back what run {run.id} ({run.command}) brought in"
        break
    raise InputError("there is nothing to undo", hint=hint)


def _standing(history: History, which: Callable[[Run], bool]) -> Iterator[Run]:
    """The runs that changed something and are not wholly undone, newest first."""
    changing = filter(which, history.runs.changing())
    some = 1
    while batch := list(islice(changing, some)):
        yield from (told.run for told in tell(history, batch) if not told.wholly)
        some *= 2  # to tell a run is to read all undone since: twice as many at a time, and that is read but twice


def _check(history: History, run: Run, written: Sequence[Revision]) -> None:
    """Refuse runs that cannot be taken back."""
    named = f"run {run.id} ({run.command})"
    if run.outcome is None and history.work.owners():
        raise ProfileBusy(f"{named} is still going on", hint="try again when it is done")
    if run.command == "purge":
        raise InputError(f"{named} cannot be undone: what was purged is gone for good", hint=_ANOTHER)
    if run.command == "ingest" and _replaced(history, written):
        reason = "it replaced messages, and what they said before is not kept"
        raise InputError(f"{named} cannot be undone: {reason}", hint=_ANOTHER)


_ANOTHER = "lightmem log lists the runs; lightmem undo RUN undoes another one"


def _replaced(history: History, written: Iterable[Revision]) -> bool:
    """Whether an ingest came with other words for a message (`--on-conflict replace`): it revises no other turn."""
    entries = history.entries.get({revision.entry for revision in written})
    return any(entry.kind is Kind.TURN for entry in entries.values())


def _undone_by(written: Iterable[Revision], born: Iterable[int], lives: Mapping[int, Standing]) -> set[int]:
    changes = [lives[one.entry].taken_back[one.id] for one in written]
    unborn = [lives[id].unborn_by for id in born]
    return {change.run for change in (*changes, *unborn) if change is not None}


def _refuse(history: History, changed: Mapping[int, int], what: str) -> None:
    if not changed:
        return
    entries, runs = history.entries.get(sorted(changed)), history.runs.get(changed.values())
    last = max(changed.values())
    raise ChangedSince(
        f"{what} cannot be undone: {_entries(len(changed))} changed since",
        hint=f"lightmem undo {last}, and then this again",
        conflicts=[Conflict(entry, runs[changed[id]]) for id, entry in entries.items()],
    )


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"
