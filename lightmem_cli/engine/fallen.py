"""Says what falls in a memory with a message of the conversation that is said no more, and what stands again for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from lightmem_cli.engine.revise import revise
from lightmem_cli.records import Entry, Kind, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.store.history.entries import entry_with


def unsay(history: History, message: int, entries: Mapping[int, Entry], *, run: int, reason: str, step: int) -> None:
    """Take from `entries` a message that they rest on, as it does not say any more what it said.

    What was born of it is supported no more: what was merged into such an entry comes back, and if it was itself merged
    into another it is its own again. Other entries go on without it, and say what they said at birth.
    """
    fallen: set[int] = set()
    for id, old in entries.items():
        if message not in history.purge.born_of(id) and old.kind is not Kind.SUMMARY:
            rests_on = [source for source in history.entries.source_ids(id) if source != message]
            after = entry_with(old, history.purge.birth(id))
            if not rests_on:
                rests_on, after = history.purge.born_of(id), replace(after, state=State.DELETED)
            revise(history, id, after, run=run, reason=reason, sources=rests_on, step=step)
            continue
        fallen.add(id)
        links = history.entries.links_from(id)
        own = [link for link in links if link[1] is not LinkKind.MERGED_INTO]
        is_merged = old.state is State.SUPERSEDED and own != links
        if old.state is State.ACTIVE or is_merged:
            changed = own if is_merged else None
            revise(history, id, replace(old, state=State.UNSUPPORTED), run=run, reason=reason, links=changed, step=step)
    bring_back(history, fallen, run=run, reason=reason, step=step)


def bring_back(history: History, fallen: Collection[int], *, run: int, reason: str, step: int) -> list[int]:
    """Unlink what was merged into `fallen` entries; which of it is active again, as nothing else stands for it."""
    back: list[int] = []
    for id in history.entries.pointing_to(fallen):
        links = history.entries.links_from(id)
        kept = [link for link in links if link[0] not in fallen or link[1] is not LinkKind.MERGED_INTO]
        if id in fallen or kept == links:
            continue
        entry = history.entries.get([id])[id]
        if entry.state is State.SUPERSEDED and not outdone(history, id, besides=fallen):
            entry = replace(entry, state=State.ACTIVE)
            back.append(id)
        revise(history, id, entry, run=run, reason=reason, links=kept, step=step)
    return back + bring_back_corrected(history, fallen, run=run, reason=reason, step=step)


def bring_back_corrected(history: History, fallen: Collection[int], *, run: int, reason: str, step: int) -> list[int]:
    """Let the facts stand again that `fallen` ones had corrected, and nothing else has; which these are."""
    corrected = [
        target
        for id in fallen
        for target, kind in history.entries.links_from(id)
        if kind is LinkKind.SUPERSEDES and target not in fallen
    ]
    back: list[int] = []
    for id, entry in history.entries.get(corrected).items():
        stands_alone = entry.kind is not Kind.SUMMARY and not outdone(history, id, besides=fallen)
        if entry.state is State.SUPERSEDED and stands_alone and not is_unsaid(history, id):
            revise(history, id, replace(entry, state=State.ACTIVE), run=run, reason=reason, step=step)
            back.append(id)
    return back


def outdone(history: History, id: int, *, besides: Collection[int]) -> bool:
    """Whether an entry is merged into or superseded by any other than those in `besides`."""
    ends = [
        target if source == id else source
        for source, target, kind in history.entries.links_of(id)
        if (kind is LinkKind.MERGED_INTO and source == id) or (kind is LinkKind.SUPERSEDES and target == id)
    ]
    return any(end not in besides for end in ends)


def is_unsaid(history: History, id: int) -> bool:
    """Whether an entry falls with what was forgotten: all that it rests on, or the words in which it stands for others.

    A merged fact keeps the words and the time of its birth, also where it rests on what was merged into it alone.
    """
    rests_on = history.entries.source_ids(id)
    if len(history.entries.forgotten(rests_on)) == len(rests_on):
        return True
    return bool(merged_into(history, id) and history.entries.forgotten(history.purge.born_of(id)))


def merged_into(history: History, id: int) -> list[int]:
    """What was merged into an entry, whatever became of it since."""
    return [
        source
        for source, target, kind in history.entries.links_of(id)
        if kind is LinkKind.MERGED_INTO and target == id and source != id
    ]
