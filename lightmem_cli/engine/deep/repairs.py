"""Repairs what a conversation left, from what attests how it was: its messages, births and revisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lightmem_cli.engine.deep.mending import Mending
from lightmem_cli.engine.journal import turn_of
from lightmem_cli.engine.revise import revise
from lightmem_cli.records import Entry, Kind, LinkKind, MessageKey, State, entry_id
from lightmem_cli.store.history import History
from lightmem_cli.store.history.entries import columns_of, entry_with
from lightmem_cli.store.history.faults import Fault
from lightmem_cli.store.history.revisions import Values

_OF_A_TURN = ("text", "speaker", "agent", "said_at", "conversation", "session")


def kinds(mending: Mending, faults: Sequence[Fault]) -> None:
    """An entry's identity follows from its kind, so one that fits is the right one."""
    history = mending.history
    for fault in faults:
        for kind in Kind:
            history.mends.set_entry(fault.id, kind=kind.value)
            born = history.checks.born(fault.id)
            if born.full is not None and born.is_itself:
                break
        else:
            history.mends.set_entry(fault.id, kind="")


def states(mending: Mending, faults: Sequence[Fault]) -> None:
    """What the last revision says, or else as at birth."""
    for fault in faults:
        state = _recorded(mending.history, fault.id).get("state", State.ACTIVE.value)
        mending.history.mends.set_entry(fault.id, state=state)


def lost_turns(mending: Mending, faults: Sequence[Fault]) -> None:
    """Find the turn of each message again, or let it be born."""
    history = mending.history
    for id, message in history.messages.get(fault.id for fault in faults).items():
        said = turn_of(message)
        turn = history.checks.turn_resting_on(id) or history.entries.born_as(said)
        if turn is None:
            turn = history.entries.add(said, sources=[id], run=mending.run)
            assert turn is not None
            mending.again.append(turn)
        history.mends.rest_on(turn, [(id, 1)])
        history.messages.set_turn(id, turn)


def turns(mending: Mending, faults: Sequence[Fault]) -> None:
    """Let each message and its turn say the same: what birth or a revision attests, or else what the message says."""
    for fault in faults:
        _right_turn(mending, fault.id)


def spare_turns(mending: Mending, faults: Sequence[Fault]) -> None:
    _to(State.DELETED, mending, faults, reason="no message has it for its turn")


def sources(mending: Mending, faults: Sequence[Fault]) -> None:
    """What a revision says an entry rests on, or the message that its identity follows from."""
    history = mending.history
    for fault in faults:
        entry = history.entries.get([fault.id])[fault.id]
        messages = _recorded(history, fault.id).get("sources") or _born_of(history, fault.id, entry)
        if not messages and entry.kind is Kind.SUMMARY:
            quoted = [target for target, kind in history.entries.links_from(fault.id) if kind is LinkKind.SUMMARIZES]
            messages = [(message, 1) for id in quoted for message in history.entries.source_ids(id)]
        history.mends.rest_on(fault.id, messages)


def foreign_sources(mending: Mending, faults: Sequence[Fault]) -> None:
    """Either the entry belongs where its messages are, as its identity tells, or it does not rest on them."""
    history = mending.history
    for fault in faults:
        if _right_place(history, fault.id):
            continue
        history.mends.drop_foreign_sources(fault.id)
        if not history.entries.source_ids(fault.id):
            sources(mending, [fault])


def identities(mending: Mending, faults: Sequence[Fault]) -> None:
    """Of an entry's id, identity, words and place, the one that the others contradict is made anew."""
    history = mending.history
    for fault in faults:
        born = history.checks.born(fault.id)
        if born.full is None:
            continue
        if born.full.startswith(born.birth.hex()):
            history.mends.rename(fault.id, born.full)
        elif len(born.name) >= 12 and born.full.startswith(born.name):
            history.mends.set_entry(fault.id, birth=bytes.fromhex(born.full)[: len(born.birth) or 16])
        elif not _right_place(history, fault.id):
            _say_again(mending, fault.id)


def recorded(mending: Mending, faults: Sequence[Fault]) -> None:
    """Let entries be again what their revisions made of them."""
    recorded = mending.history.checks.recorded()
    for id, values in ((fault.id, recorded[fault.id]) for fault in faults):
        mending.history.mends.set_as_recorded(id, values, run=mending.run)
        if "text" in values:
            mending.again.append(id)


def superseded(mending: Mending, faults: Sequence[Fault]) -> None:
    _to(State.ACTIVE, mending, faults, reason="nothing supersedes it")


def uncovered(mending: Mending, faults: Sequence[Fault]) -> None:
    """Let what others were merged into rest on what they rest on."""
    history = mending.history
    for id, entry in history.entries.get(fault.id for fault in faults).items():
        rests_on = [*history.entries.source_ids(id), *history.checks.missing_sources(id)]
        revise(history, id, entry, run=mending.run, reason="what was merged into it rests on more", sources=rests_on)


def of_the_forgotten(mending: Mending, faults: Sequence[Fault]) -> None:
    _to(State.DELETED, mending, faults, reason="all that it rests on was forgotten")


def topics(mending: Mending, faults: Sequence[Fault]) -> None:
    """Drop the first wrong topic of each session with all behind it, and ask for these to be cut again."""
    history = mending.history
    ends = history.checks.topic_ends()
    while faults:
        for fault in faults:
            history.mends.drop_topics_from(fault.id)
        faults = history.checks.untiled()
    still_open = history.segments.last_of_open()
    history.work.add("segment", still_open)
    history.work.add("close", [message for message in still_open if message in ends])


def _to(state: State, mending: Mending, faults: Sequence[Fault], *, reason: str) -> None:
    history, step = mending.history, mending.history.revisions.new_step()
    for id, entry in history.entries.get(fault.id for fault in faults).items():
        revise(history, id, replace(entry, state=state), run=mending.run, reason=reason, step=step)


def _right_turn(mending: Mending, message: int) -> None:
    history = mending.history
    turn = history.checks.turn_of(message)
    entry, said = history.entries.get([turn])[turn], turn_of(history.messages.get([message])[message])
    recorded, attests = _recorded(history, turn), _witness(history, turn, said)
    ours, theirs = columns_of(entry), columns_of(said)
    differing = [name for name in _OF_A_TURN if ours[name] != theirs[name]]
    kept = [name for name in differing if attests(name, ours[name]) and not attests(name, theirs[name])]
    if kept:
        _say_as_turn(history, message, {name: ours[name] for name in kept})
    rest = {name: theirs[name] for name in differing if name not in kept}
    anew = {name: value for name, value in rest.items() if name in recorded or not attests(name, value)}
    if "text" in anew or anew.keys() & recorded.keys():
        reason = "it did not say what its message says"
        revise(history, turn, entry_with(entry, anew), run=mending.run, reason=reason)
        rest = {name: value for name, value in rest.items() if name not in anew}
    if rest:
        history.mends.set_entry(turn, **rest)
        history.mends.tell_times("entries", [turn])
    mending.again.append(turn)


def _witness(history: History, turn: int, said: Entry) -> Callable[[str, object], bool]:
    """What tells whether a value of a turn's column is as it was last recorded or, never revised, as it was born."""
    recorded = _recorded(history, turn)

    def attests(name: str, value: object) -> bool:
        if name in recorded:
            return bool(recorded[name] == value)
        return name == "text" and history.entries.born_as(replace(said, text=str(value))) == turn

    return attests


def _say_as_turn(history: History, message: int, columns: Values) -> None:
    """Give a message back what its turn attests."""
    if "text" in columns:
        text, caption = str(columns.pop("text")), history.messages.get([message])[message].image_caption
        tail = f"\n[{caption}]"
        if caption and text.endswith(tail):
            columns["content"] = text.removesuffix(tail)
        else:
            columns |= {"content": text, "image_caption": None}
    history.mends.set_message(message, **columns)
    history.mends.tell_times("messages", [message])


def _recorded(history: History, id: int) -> Values:
    """What the revisions of an entry have last made of each thing they changed."""
    found: Values = {}
    for revision in history.revisions.of_entry(id):
        found |= revision.after
    return found


def _born_of(history: History, id: int, entry: Entry) -> list[tuple[int, int]]:
    """The message of the entry's session that its identity follows from."""
    birth, text = history.checks.born(id).birth, str(history.purge.birth(id).get("text", entry.text))
    place = (entry.conversation, entry.session)
    for message, name in history.checks.messages_of(*place):
        full = entry_id(entry.kind, *place, text, [MessageKey(*place, name)], length=64)
        if bytes.fromhex(full).startswith(birth):
            return [(message, 1)]
    return []


def _right_place(history: History, id: int) -> bool:
    """Move an entry to where its messages are, if that is what its identity follows from."""
    entry = history.entries.get([id])[id]
    for conversation, session in dict.fromkeys((key.conversation, key.session) for key in entry.sources):
        history.mends.set_entry(id, conversation=conversation, session=session)
        born = history.checks.born(id)
        if born.full is not None and born.is_itself:
            return True
    history.mends.set_entry(id, conversation=entry.conversation, session=entry.session)
    return False


def _say_again(mending: Mending, id: int) -> None:
    """Let a fact made by rules say again what is made of its message, if that is what its identity follows from."""
    history, extractor = mending.history, mending.memory.extractor
    if extractor is None or "text" in _recorded(history, id):
        return
    for message in history.messages.get(history.entries.source_ids(id)).values():
        for fact in extractor.extract([message]):
            if history.entries.born_as(fact) == id:
                history.mends.set_entry(id, text=fact.text)
                mending.again.append(id)
                return
