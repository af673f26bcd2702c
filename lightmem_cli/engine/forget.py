"""Hides what was said, and what rests on it alone; takes merged facts apart where the words they rested on are gone."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from lightmem_cli.engine import Memory
from lightmem_cli.engine.fallen import bring_back, bring_back_corrected, is_unsaid, merged_into
from lightmem_cli.engine.revise import revise
from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry, Kind, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.store.history.entries import entry_with
from lightmem_cli.store.history.purge import Spoken

_CANDIDATES = 50  # of an ambiguous id, before the other options narrow them
_NAMED = 8  # of the conversations that have a session of one name


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to forget: entries or messages by `ids`, else all messages; of one conversation, session and speaker."""

    ids: tuple[str, ...] = ()
    conversation: str | None = None
    session: str | None = None
    speaker: str | None = None

    @property
    def place(self) -> dict[str, str]:
        """What narrows the choice, by name."""
        options = {"conversation": self.conversation, "session": self.session, "speaker": self.speaker}
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Aim:
    """What a target names: messages, and entries other than turns (by history's integers, with what they are)."""

    messages: tuple[Spoken, ...]
    entries: Mapping[int, Entry]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of an entry: `was` as it was; `now` its state, or None where it is erased."""

    was: Entry
    now: State | None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was hidden, in order; how many entries stay, as other messages say them too; and the run, if there was.

    `back` are those that had been merged into what was hidden, and that other messages say.
    """

    hidden: list[Fate] = field(default_factory=list)
    kept: int = 0
    run: int | None = None
    back: list[Fate] = field(default_factory=list)


def resolve(memory: Memory, target: Target) -> Aim:
    """Find what is to be forgotten.

    Raises:
        InputError: it names nothing, or an id nothing or several things, or a session those of several conversations.
    """
    history = memory.history
    if not target.ids and not target.place:
        raise InputError("it is not said what to forget", hint="lightmem forget ID, or --session NAME (see --help)")
    if not target.ids:
        messages = history.purge.messages(**target.place)
        if not messages:
            place = ", ".join(f"{name} {value!r}" for name, value in target.place.items())
            raise InputError(f"there is no message of {place}", hint=_what_there_is(history, target))
        _refuse_several(messages, target)
        return Aim(tuple(messages), {})
    found: dict[int, Spoken] = {}
    entries: dict[int, Entry] = {}
    for id in target.ids:
        match _named(history, id, target):
            case Spoken() as message:
                found[message.id] = message
            case number, entry:
                entries[number] = entry
    return Aim(tuple(found.values()), entries)


def forget(memory: Memory, aim: Aim, *, dry_run: bool = False) -> Forgotten:
    """Hide what is aimed at, and all that rests on it alone, in one transaction; with `dry_run` only say what it is."""
    history = memory.history
    new = _not_forgotten(history, aim)
    if not (new.messages or new.entries):
        return Forgotten()
    if dry_run:
        with rehearsal(history):
            return _forget(history, new, run=history.runs.begin("forget"))
    with memory.run("forget") as run:
        with history.transaction():
            forgotten = _forget(history, new, run=run)
        memory.indexes.catch_up(space=None)
    return replace(forgotten, run=run)


@contextmanager
def rehearsal(history: History) -> Iterator[None]:
    """A transaction whose changes are only to be looked at: its end takes them back."""
    with suppress(_NotMeant), history.transaction():
        yield
        raise _NotMeant


def summaries_of(history: History, ids: Collection[int]) -> set[int]:
    """The summaries that quote any of the entries `ids`, and those that quote these."""
    found: set[int] = set()
    while True:
        pointing = history.entries.get(history.entries.pointing_to([*ids, *found]))
        more = {id for id, entry in pointing.items() if entry.kind is Kind.SUMMARY} - found - set(ids)
        if not more:
            return found
        found |= more


def purging_command(history: History, entry: Entry) -> str:
    """The command that purges the messages an entry rests on."""
    names = []
    for key in entry.sources:
        same = history.purge.messages(name=key.id)
        turns = history.entries.get(one.turn for one in same if one.key == key and one.turn is not None)
        names.append(key.id if len(same) == 1 or not turns else next(iter(turns.values())).id)
    return f"lightmem forget --purge {shlex.join(names)}"


class _NotMeant(Exception):
    """Ends a transaction whose changes were only to be looked at."""


def _named(history: History, id: str, target: Target) -> Spoken | tuple[int, Entry]:
    """The one message or entry that `id` names.

    Raises:
        InputError: there is none, or several.
    """
    messages = history.purge.messages(name=id, **target.place)
    found = dict(history.entries.find(id.lower(), limit=_CANDIDATES)) if not messages else {}
    entries = {number: entry for number, entry in history.entries.get(found).items() if _is_of(entry, target)}
    if not messages and not entries:
        of = "".join(f" of {name} {value!r}" for name, value in target.place.items())
        raise InputError(f"no entry's id begins with {id!r}{of}", hint="lightmem retrieve --json QUERY prints ids")
    if len(messages) + len(entries) > 1:
        turns = history.entries.get(one.turn for one in messages if one.turn is not None)
        names = sorted(entry.id for entry in {**turns, **entries}.values())
        names += [f"a purged message of session {one.key.session!r}" for one in messages if one.turn is None]
        narrower = "give one of these ids, or --conversation or --session" if messages else "give more of the id"
        raise InputError(f"{id!r} is not one entry: {', '.join(names)}", hint=narrower)
    if messages:
        return messages[0]
    number, entry = next(iter(entries.items()))
    if entry.kind is not Kind.TURN:
        return number, entry
    key = entry.sources[0]
    return next(one for one in history.purge.messages(name=key.id, conversation=key.conversation) if one.key == key)


def _refuse_several(messages: Sequence[Spoken], target: Target) -> None:
    """Refuse a session by its name alone where several conversations have one of that name."""
    if target.session is None or target.conversation is not None:
        return
    found = sorted({one.key.conversation for one in messages if not one.purged})
    if len(found) > 1:
        raise InputError(
            f"session {target.session!r} is one of {len(found):,} conversations: {_named_some(found)}",
            hint=f"add the one that is meant: --conversation {shlex.quote(found[0])}",
        )


def _what_there_is(history: History, target: Target) -> str:
    conversations = history.reading.conversations()
    if target.conversation is None or target.conversation in conversations or not conversations:
        return "lightmem stats shows what there is"
    return f"there are the conversations {_named_some(conversations)}"


def _named_some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (" …" if len(names) > _NAMED else "")


def _is_of(entry: Entry, target: Target) -> bool:
    return (
        target.conversation in (None, entry.conversation)
        and target.session in (None, entry.session)
        and (target.speaker is None or target.speaker.casefold() == (entry.speaker or "").casefold())
    )


def _not_forgotten(history: History, aim: Aim) -> Aim:
    """What of `aim` is there to be hidden."""
    hidden = history.entries.forgotten(message.id for message in aim.messages)
    messages = tuple(one for one in aim.messages if one.turn is not None and one.id not in hidden)
    return Aim(messages, {id: entry for id, entry in aim.entries.items() if entry.state is not State.DELETED})


def _forget(history: History, aim: Aim, *, run: int) -> Forgotten:
    hidden: dict[int, Fate] = {}
    kept: set[int] = set()
    back: dict[int, Entry] = {}
    for id in aim.entries:  # first, as they take with them what was merged into them
        step = history.revisions.new_step()
        _hide(history, [id], run=run, reason="forgotten", step=step, hidden=hidden)
        merged = list(_all_merged_into(history, id))
        name = aim.entries[id].id
        _hide(history, merged, run=run, reason=f"merged into {name}, which was forgotten", step=step, hidden=hidden)
        gone, reason = {id, *merged}, f"{name} was forgotten"
        _hide_summaries(history, gone, run=run, reason=reason, step=step, hidden=hidden)
        superseded = history.entries.get(
            target for one in gone for target, kind in history.entries.links_from(one) if kind is LinkKind.SUPERSEDES
        )
        returned = bring_back_corrected(history, gone, run=run, reason=reason, step=step)
        back |= {one: superseded[one] for one in returned}
    for message in _not_forgotten(history, aim).messages:  # asked again: someone else may just have done it
        back |= _forget_message(history, message, run=run, hidden=hidden, kept=kept)
    fates = [replace(fate, was=back.get(id, fate.was)) for id, fate in hidden.items()]
    again = [Fate(was, State.ACTIVE) for id, was in back.items() if id not in hidden]
    return Forgotten(fates, len(kept.difference(hidden)), back=again)


def _forget_message(
    history: History, message: Spoken, *, run: int, hidden: dict[int, Fate], kept: set[int]
) -> dict[int, Entry]:
    """Hide a message: its turn, what no other message supports, and what quotes any of it.

    Returns what is active again, as it was: entries that were merged into those that had its words.
    """
    step, reason = history.revisions.new_step(), f"message {message.key.id} was forgotten"
    assert message.turn is not None
    before = set(hidden)
    _hide(history, [message.turn], run=run, reason="forgotten", step=step, hidden=hidden)
    fallen: dict[int, Entry] = {}
    for id, entry in history.entries.get(history.entries.of_message(message.id)).items():
        if entry.state is State.DELETED:
            continue
        if entry.kind is Kind.SUMMARY or is_unsaid(history, id):
            fallen[id] = entry
        else:
            left = [source for source in history.entries.source_ids(id) if source != message.id]
            born = history.purge.birth(id)  # words it was given since may be those of the message
            after = entry_with(entry, born) if "text" in born else entry
            revise(history, id, after, run=run, reason=reason, sources=left, step=step)
            kept.add(id)
    fallen |= _unsaid_with(history, fallen)
    for id, entry in fallen.items():
        rested = history.entries.source_ids(id)
        forgotten = list(history.entries.forgotten(rested))
        others_say_it = entry.kind is not Kind.SUMMARY and len(forgotten) < len(rested)
        sources = forgotten if others_say_it else None  # hidden, it blocks nothing of what these say
        _hide(history, [id], run=run, reason=reason, step=step, hidden=hidden, sources=sources)
    _hide_summaries(history, set(hidden) - before, run=run, reason=reason, step=step, hidden=hidden)
    corrected = [target for id in fallen for target, _ in history.entries.links_from(id)]
    was = history.entries.get([*history.entries.pointing_to(fallen), *corrected])
    return {id: was[id] for id in bring_back(history, fallen.keys(), run=run, reason=reason, step=step)}


def _unsaid_with(history: History, fallen: Collection[int]) -> dict[int, Entry]:
    """What was merged into `fallen` entries, and into that, and may not come back: it says what was forgotten."""
    found: dict[int, Entry] = {}
    waiting = list(fallen)
    while waiting:
        for id, entry in history.entries.get(merged_into(history, waiting.pop())).items():
            new = id not in found and id not in fallen
            if new and entry.state is State.SUPERSEDED and is_unsaid(history, id):
                found[id] = entry
                waiting.append(id)
    return found


def _hide_summaries(
    history: History, quoted: Collection[int], *, run: int, reason: str, step: int, hidden: dict[int, Fate]
) -> None:
    """Hide the summaries that quote what is hidden: the next `summarize` makes them without it."""
    _hide(history, sorted(summaries_of(history, quoted)), run=run, reason=reason, step=step, hidden=hidden)


def _hide(
    history: History,
    ids: Sequence[int],
    *,
    run: int,
    reason: str,
    step: int,
    hidden: dict[int, Fate],
    sources: Sequence[int] | None = None,
) -> None:
    for id, entry in history.entries.get(ids).items():
        if entry.state is not State.DELETED:
            gone = replace(entry, state=State.DELETED)
            revise(history, id, gone, run=run, reason=reason, step=step, sources=sources)
            hidden[id] = Fate(entry, State.DELETED)


def _all_merged_into(history: History, id: int) -> Iterator[int]:
    """What was merged into an entry, and into that, and is superseded since."""
    seen, waiting = {id}, [id]
    while waiting:
        for other, entry in history.entries.get(merged_into(history, waiting.pop())).items():
            if other not in seen and entry.state is State.SUPERSEDED:
                seen.add(other)
                waiting.append(other)
                yield other
