"""Erases messages and all that was made of them, in history first and then from every byte of the disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from lightmem_cli.engine import Memory
from lightmem_cli.engine.embedding import embed_some
from lightmem_cli.engine.fallen import bring_back, outdone
from lightmem_cli.engine.forget import Aim, Fate, purging_command, rehearsal, summaries_of
from lightmem_cli.engine.revise import embed_anew, revise
from lightmem_cli.errors import InputError, MissingPart, ProfileBusy, SpaceMismatch
from lightmem_cli.records import Entry, Kind, LinkKind, State
from lightmem_cli.store.history import History

_NAMED = 8  # more messages than that are not written out in a hint


@dataclass(frozen=True, slots=True)
class Purged:
    """How many messages were erased, and what became of the entries: erased ones, and those that came back."""

    messages: int = 0
    fates: list[Fate] = field(default_factory=list)


def to_purge(memory: Memory, aim: Aim) -> list[int]:
    """The messages of `aim` that still hold words.

    Raises:
        InputError: it aims at something that was made of messages.
    """
    for entry in aim.entries.values():
        hint = purging_command(memory.history, entry)
        if len(entry.sources) > _NAMED:
            hint = f"lightmem show {entry.id} names its messages"
        raise InputError(f"{entry.id} is a {entry.kind}, made of what was said: purge the messages", hint=hint)
    return [message.id for message in aim.messages if not message.purged]


def would_purge(memory: Memory, messages: Collection[int]) -> Purged:
    """What `purge` would do; nothing is changed."""
    history = memory.history
    with rehearsal(history):
        return Purged(len(messages), _erase(history, messages, run=history.runs.begin("purge")))


def purge(memory: Memory, messages: Collection[int]) -> Purged:
    """Erase `messages` and what was born of them, then what the disk still holds of it, and of any earlier purge.

    Raises:
        ProfileBusy: the words are gone from the memory, and a process that reads it keeps them on the disk.
    """
    history = memory.history
    with memory.run("purge") as run:
        fates: list[Fate] = []
        if messages:
            with history.transaction():
                fates = _erase(history, messages, run=run)
        scrub(memory)
    return Purged(len(messages), fates)


def resume(memory: Memory) -> bool:
    """Finish a purge that was cut short; whether there was one.

    Raises:
        ProfileBusy: see `purge`.
    """
    if memory.history.purge.unfinished() is None:
        return False
    purge(memory, [])
    return True


def scrub(memory: Memory) -> None:
    """Finish a purge whose words may still stand on the disk: make all derived files and history's own file anew.

    Raises:
        ProfileBusy: see `purge`.
    """
    history = memory.history
    run = history.purge.unfinished()
    if run is None:
        return
    memory.indexes.erase()
    space = history.vectors.active_space()
    with suppress(MissingPart, SpaceMismatch):  # what is said anew waits for the next writer that has the model
        if history.work.pending().get("embed"):
            space = memory.space()
            while embed_some(memory, space=space[0], queue=0):
                pass
    memory.indexes.catch_up(space=space)
    if not history.purge.compact():
        raise ProfileBusy(
            "the words are gone from the memory but not yet from the disk: another process is reading there",
            hint="let it finish, and run the same command again",
        )
    with history.transaction():
        history.purge.end(run)


def _erase(history: History, messages: Collection[int], *, run: int) -> list[Fate]:
    """Erase messages from every table, in one transaction; what becomes of entries."""
    purge = history.purge
    rested = purge.rested(messages)
    entries = history.entries.get(rested)
    gone = {id for id, entry in entries.items() if rested[id] or entry.kind is Kind.SUMMARY}
    gained = (set(rested) | _merged_from(history, gone)) - gone
    reworded = {id for id in gained if "text" in purge.birth(id)}
    gone |= summaries_of(history, gone | reworded)
    gained -= gone
    history.calls.erase({*messages, *purge.rested_on(_retelling(entries, gained))})
    erased = history.entries.get(sorted(gone))
    freed = _outdone_by(history, gone)
    loosened = set(history.entries.pointing_to(gone)) - gone
    step = history.revisions.new_step()
    reason = "what it was merged into was purged"
    back = bring_back(history, gone, run=run, reason=reason, step=step)
    purge.erase(gone)
    purge.empty(messages, run=run)
    for id in sorted(gained):
        _go_on_without(history, id, run=run, step=step)
    for id, entry in history.entries.get(freed - gone).items():
        if entry.state is State.SUPERSEDED and entry.kind is not Kind.SUMMARY and not outdone(history, id, besides=()):
            reason = "what superseded it was purged"
            revise(history, id, replace(entry, state=State.ACTIVE), run=run, reason=reason, step=step)
            back.append(id)
    cleaned = purge.clean_revisions(messages=set(messages), erased=gone, reborn=gained)
    _leave_trace(history, cleaned | gained | loosened, run=run, step=step)
    purge.begin(run)
    returned = history.entries.get(sorted(back)).values()
    return [Fate(entry, None) for entry in erased.values()] + [
        Fate(replace(entry, state=State.SUPERSEDED), State.ACTIVE) for entry in returned
    ]


def _retelling(entries: Mapping[int, Entry], gained: Collection[int]) -> set[int]:
    """The entries through which a language model may have been sent purged words as those of other messages.

    A fact says so what was merged into it, even when it no longer rests on the message that said it. What a model was
    sent of a summary, it was sent of all messages that the summary rests on.
    """
    return {id for id, entry in entries.items() if entry.kind is not Kind.SUMMARY} | set(gained)


def _merged_from(history: History, gone: Iterable[int]) -> set[int]:
    """What entries to be erased were merged into: it may say what they said."""
    return {target for id in gone for _, target, kind in history.entries.links_of(id) if kind is LinkKind.MERGED_INTO}


def _outdone_by(history: History, gone: Iterable[int]) -> set[int]:
    """What entries to be erased superseded."""
    links = ((id, link) for id in gone for link in history.entries.links_of(id))
    return {target for id, (source, target, kind) in links if kind is LinkKind.SUPERSEDES and source == id}


def _go_on_without(history: History, id: int, *, run: int, step: int) -> None:
    """Let an entry that a purged message also said say again what it said before; hide it where nobody else says it."""
    if history.purge.say_as_born(id):
        embed_anew(history, id)
    if not history.entries.source_ids(id):  # the messages it was born of are forgotten
        history.purge.rest_as_born(id)
        entry = history.entries.get([id])[id]
        if entry.state is not State.DELETED:
            reason = "what else said it was purged"
            revise(history, id, replace(entry, state=State.DELETED), run=run, reason=reason, step=step)


def _leave_trace(history: History, ids: Iterable[int], *, run: int, step: int) -> None:
    """Give each entry that lost a part of its past a revision without contents, behind which nothing can be undone."""
    told = {revision.entry for revision in history.revisions.of_run(run)}
    entries: dict[int, Entry] = history.entries.get(sorted(set(ids) - told))
    for id, entry in entries.items():
        revise(history, id, entry, run=run, reason="what a purged message had added to it was erased", step=step)
