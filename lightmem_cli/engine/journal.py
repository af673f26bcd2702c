"""Commits messages word for word before anything else happens to them, and never the same one twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from lightmem_cli.engine.fallen import unsay
from lightmem_cli.engine.identify import Identified, Identifier, NotAContinuation
from lightmem_cli.engine.revise import embed_anew, revise
from lightmem_cli.records import Entry, Kind, Message, Row, State, entry_id, row_text
from lightmem_cli.store.history import History
from lightmem_cli.transcript.redact import redact

OnConflict: TypeAlias = Literal["refuse", "replace"]


@dataclass(frozen=True, slots=True)
class Journalled:
    """What became of some rows: how many were new, known already and replaced; and the rows refused, with reasons.

    `ends` has, by (conversation, session), the position and integer of the message furthest on among all the others.
    """

    new: int
    known: int
    replaced: int
    refused: list[tuple[Row, str]]
    ends: dict[tuple[str, str], tuple[int, int]]


def journal(
    history: History, rows: Sequence[Row], identifier: Identifier, *, run: int, on_conflict: OnConflict, stop: bool
) -> Journalled:
    """Commit `rows` in one transaction, up to the first refused one if `stop`."""
    counts = {"new": 0, "known": 0, "replaced": 0}
    refused: list[tuple[Row, str]] = []
    ends: dict[tuple[str, str], tuple[int, int]] = {}
    with history.transaction():
        for row in rows:
            try:
                identified = identifier.settle(redact(row))
                became, position, id = _take(history, identified, run=run, on_conflict=on_conflict)
                counts[became] += 1
                conversation, session, _ = identified.message.key
                known = ends.get((conversation, session))
                ends[conversation, session] = max((position, id), known or (position, id))
            except (NotAContinuation, _OtherWords) as refusal:
                refused.append((row, str(refusal)))
                if stop:
                    break
    return Journalled(refused=refused, ends=ends, **counts)


class _OtherWords(ValueError):
    """The same identity came with different text."""


def _take(history: History, identified: Identified, *, run: int, on_conflict: OnConflict) -> tuple[str, int, int]:
    """Journal one message; what became of it, its position in its session, and history's integer for it."""
    message = identified.message
    found = history.messages.find(message.key)
    if found is None:
        message = replace(message, position=history.messages.next_position(message.conversation, message.session))
        id = history.messages.add(message, identified_by=identified.by, run=run)
        _remember(history, id, message, run=run)
        history.work.add("segment", [id])  # a blank one, too: topics leave out no message
        return "new", message.position, id
    id, known = found
    if row_text(known) == row_text(message) or history.purge.is_purged(id):
        return "known", known.position, id  # what was purged does not come back, whatever it says now
    if on_conflict == "refuse":
        raise _OtherWords(
            f"message {message.id!r} of session {message.session!r} is journalled with other words "
            "(--on-conflict replace makes this a revision)"
        )
    _revise(history, id, replace(message, position=known.position), run=run)
    return "replaced", known.position, id


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

    Extraction supports again what the new words say too; of a forgotten message, which stays hidden, it makes nothing.
    """
    history.messages.replace(id, message)
    history.compressed.drop([id])
    reason = f"message {message.id} was replaced"
    step = history.revisions.new_step()
    entries = history.entries.get(history.entries.of_message(id))
    turns = {entry: old for entry, old in entries.items() if old.kind is Kind.TURN}
    for entry, old in turns.items():
        after = _revised_turn(old, message)
        if after != old:
            revise(history, entry, after, run=run, reason=reason, step=step)
        embed_anew(history, entry)  # another speaker makes other statements of the same text
    others = {entry: old for entry, old in entries.items() if entry not in turns}
    unsay(history, id, others, run=run, reason=reason, step=step)
    if turns:
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
