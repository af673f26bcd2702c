"""Commits messages word for word before anything else happens to them, and never the same one twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from lightmem_cli.engine.identify import Identified, Identifier, NotAContinuation
from lightmem_cli.records import Entry, Kind, Message, Row, State, entry_id, row_text
from lightmem_cli.store.history import History
from lightmem_cli.transcript.redact import redact

OnConflict: TypeAlias = Literal["refuse", "replace"]


@dataclass(frozen=True, slots=True)
class Journalled:
    """What became of some rows: how many were new, known already and replaced; and the rows refused, with reasons."""

    new: int
    known: int
    replaced: int
    refused: list[tuple[Row, str]]


def journal(
    history: History, rows: Sequence[Row], identifier: Identifier, *, run: int, on_conflict: OnConflict, stop: bool
) -> Journalled:
    """Commit `rows` in one transaction, up to the first refused one if `stop`."""
    counts = {"new": 0, "known": 0, "replaced": 0}
    refused: list[tuple[Row, str]] = []
    with history.transaction():
        for row in rows:
            try:
                identified = identifier.settle(redact(row))
                counts[_take(history, identified, run=run, on_conflict=on_conflict)] += 1
            except (NotAContinuation, _OtherWords) as refusal:
                refused.append((row, str(refusal)))
                if stop:
                    break
    return Journalled(refused=refused, **counts)


class _OtherWords(ValueError):
    """The same identity came with different text."""


def _take(history: History, identified: Identified, *, run: int, on_conflict: OnConflict) -> str:
    message = identified.message
    found = history.messages.find(message.key)
    if found is None:
        message = replace(message, position=history.messages.next_position(message.conversation, message.session))
        id = history.messages.add(message, identified_by=identified.by, run=run)
        _remember(history, id, message, run=run)
        return "new"
    id, known = found
    if row_text(known) == row_text(message):
        return "known"
    if on_conflict == "refuse":
        raise _OtherWords(
            f"message {message.id!r} of session {message.session!r} is journalled with other words "
            "(--on-conflict replace makes this a revision)"
        )
    _revise(history, id, replace(message, position=known.position), run=run)
    return "replaced"


def turn_of(message: Message) -> Entry:
    """The entry through which a message itself is found."""
    text = row_text(message)
    return Entry(
        id=entry_id(Kind.TURN, message.conversation, message.session, text, [message.key]),
        kind=Kind.TURN,
        text=text,
        conversation=message.conversation,
        session=message.session,
        sources=(message.key,),
        speaker=message.speaker or message.role.value,
        agent=message.agent,
        said_at=message.said_at,
    )


def _remember(history: History, id: int, message: Message, *, run: int) -> None:
    """Make a journalled message findable by its words at once, and ask for the rest of the work."""
    if not row_text(message).strip():
        return  # an empty message is kept, and there is nothing in it to find
    entry = history.entries.add(turn_of(message), sources=[id], run=run)
    if entry is not None:
        history.messages.set_turn(id, entry)
        history.work.add("embed", [entry])
    history.work.add("extract", [id])


def _revise(history: History, id: int, message: Message, *, run: int) -> None:
    """Replace what a message says: its turn is revised, and what rested on the old words is supported no more.

    Extraction supports again what the new words say too.
    """
    history.messages.replace(id, message)
    reason = f"message {message.id} was replaced"
    entries = history.entries.get(history.entries.of_message(id))
    for entry, old in entries.items():
        after = _revised_turn(old, message) if old.kind is Kind.TURN else replace(old, state=_unsupported(old.state))
        if after != old:
            history.entries.revise(entry, after, run=run, reason=reason)
        if old.kind is Kind.TURN:
            history.vectors.forget_views(entry)
            history.work.add("embed", [entry])
    if any(old.kind is Kind.TURN for old in entries.values()):
        history.work.add("extract", [id])
    else:
        _remember(history, id, message, run=run)


def _revised_turn(old: Entry, message: Message) -> Entry:
    """The turn of a replaced message; one with nothing left in it is found no more, and its old words stay its own."""
    turn = turn_of(message)
    if not turn.text.strip():
        return replace(old, state=_unsupported(old.state))
    state = State.ACTIVE if old.state is State.UNSUPPORTED else old.state
    return replace(old, text=turn.text, speaker=turn.speaker, agent=turn.agent, said_at=turn.said_at, state=state)


def _unsupported(state: State) -> State:
    return State.UNSUPPORTED if state is State.ACTIVE else state
