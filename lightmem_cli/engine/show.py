"""Follows one piece of a memory back to the words that were said, and to what else was made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from lightmem_cli.engine import Memory
from lightmem_cli.errors import InputError
from lightmem_cli.records import Compressed, Entry, Kind, LinkKind, Message, MessageKey, Segment, State
from lightmem_cli.store.history.entries import Unspoken
from lightmem_cli.store.history.runs import Run

NEIGHBOURS = 2  # of each message that an entry rests on, on either side; a summary's words come without


class Linked(NamedTuple):
    """A link between the shown entry and `other`, from the id `source` to the id `target`."""

    source: str
    target: str
    kind: LinkKind
    other: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An entry with the messages it rests on (each with its neighbours), its links, and what else rests on them.

    Messages that are `unspoken` (forgotten or purged), and other entries that are deleted, come without their words.
    `born` is the run that the entry was born in, and `revisions` says how often it was changed since. Of a turn whose
    topic has ended, `topic` is that, and `sent` how a language model is sent its message, where that was shortened.
    """

    entry: Entry
    trail: list[list[Message]]
    unspoken: dict[MessageKey, Unspoken]
    links: list[Linked]
    siblings: list[Entry]
    born: Run
    revisions: int
    topic: Segment | None = None
    sent: Compressed | None = None


def find_entry(memory: Memory, name: str) -> int:
    """The turn of the message whose id is `name`, or else the one entry whose id begins so, as history's integer.

    Raises:
        InputError: no entry or several begin so.
    """
    entries = memory.history.entries
    found = entries.find_by_message(name) or entries.find(name.lower())
    if not found:
        if any(message.purged for message in memory.history.purge.messages(name=name)):
            raise InputError(f"message {name!r} was purged: its words are gone for good", hint="lightmem log says when")
        raise InputError(f"no entry's id begins with {name!r}", hint="lightmem retrieve --json QUERY prints ids")
    if len(found) > 1:
        raise InputError(f"{name!r} is not one entry: {', '.join(id for _, id in found)}", hint="give more of the id")
    return found[0][0]


def show(memory: Memory, name: str, *, around: int | None = None) -> Shown:
    """The entry that `find_entry` finds, with up to `around` neighbours of each message it rests on.

    Raises:
        InputError: no entry or several begin so.
    """
    history = memory.history
    id = find_entry(memory, name)
    entry = history.entries.get([id])[id]
    if around is None:
        around = 0 if entry.kind is Kind.SUMMARY else NEIGHBOURS
    trail = [history.messages.around(key, radius=around) for key in entry.sources]
    unspoken = history.entries.unspoken({message.key for messages in trail for message in messages})
    links = _links(memory, id)
    run = history.entries.birth_runs([id])[id]
    of_turn = entry.kind is Kind.TURN and len(entry.sources) == 1
    return Shown(
        entry=entry,
        trail=[[_without_words(message, unspoken) for message in messages] for messages in trail],
        unspoken=unspoken,
        links=links,
        siblings=_siblings(memory, id, entry, apart=links),
        born=history.runs.get([run])[run],
        revisions=len(history.revisions.outlines([id])[id]),
        topic=history.segments.of_message(entry.sources[0]) if of_turn else None,
        sent=_sent(memory, entry) if of_turn and entry.sources[0] not in unspoken else None,
    )


def _sent(memory: Memory, turn: Entry) -> Compressed | None:
    """How the message of a turn is sent to a language model, where it was shortened."""
    found = memory.history.messages.find(turn.sources[0])
    texts = {} if found is None else memory.history.compressed.of([found[0]])
    return next((text for text, _ in texts.values()), None)


def _links(memory: Memory, id: int) -> list[Linked]:
    links = memory.history.entries.links_of(id)
    entries = memory.history.entries.get(end for source, target, _ in links for end in (source, target))
    return [
        Linked(entries[source].id, entries[target].id, kind, _hidden(entries[target if source == id else source]))
        for source, target, kind in links
    ]


def _siblings(memory: Memory, id: int, entry: Entry, *, apart: Iterable[Linked]) -> list[Entry]:
    """What else rests on the messages of an entry; on those of a summary, which are many, too much does."""
    if entry.kind is Kind.SUMMARY:
        return []
    entries = memory.history.entries
    linked = {link.other.id for link in apart}
    resting = sorted(entries.get(entries.resting_on(entries.source_ids(id))).items())
    return [_hidden(other) for other_id, other in resting if other_id != id and other.id not in linked]


def _hidden(entry: Entry) -> Entry:
    """An entry that is shown beside another: of a deleted one, or a summary of what is, only that it was there."""
    aside = entry.kind is Kind.SUMMARY and entry.state is State.UNSUPPORTED
    if entry.state is not State.DELETED and not aside:
        return entry
    return replace(entry, text="", keywords=(), entities=())


def _without_words(message: Message, unspoken: dict[MessageKey, Unspoken]) -> Message:
    return message if message.key not in unspoken else replace(message, content="", image_caption=None)
