"""Decides which of the facts found in a conversation are remembered: nothing that was forgotten comes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lightmem_cli.engine import Memory
from lightmem_cli.engine.revise import revise
from lightmem_cli.records import Entry, Filter, Kind, Message, MessageKey, State
from lightmem_cli.store.history import History


def named(entry: Entry, messages: Iterable[Message]) -> Entry:
    """`entry` with somebody who says so, where the `messages` that it rests on are of one role."""
    voices = {message.speaker or message.role.value for message in messages}
    return entry if entry.speaker is not None or len(voices) > 1 else replace(entry, speaker=voices.pop())


def forgotten_facts(history: History, messages: Iterable[int]) -> set[int]:
    """The forgotten facts and relations that rest on any of `messages`."""
    where = Filter(kinds=(Kind.FACT, Kind.RELATION), states=(State.DELETED,))
    return set(history.selector.passing(where, history.entries.resting_on(messages)))


def unlike(memory: Memory, entries: list[Entry], forgotten: Sequence[Entry]) -> list[Entry]:
    """Those of `entries` that say nothing which one of `forgotten`, of the same message, says already."""
    if not entries:
        return []
    from lightmem_cli.update.decide import same

    texts = [entry.text for entry in (*entries, *forgotten)]
    rows = memory.embedder.embed([memory.embedder.windows(text)[0] for text in texts])
    cosines = (rows[: len(entries)] @ rows[len(entries) :].T).tolist()
    threshold = memory.settings.update.threshold
    return [
        entry
        for entry, its in zip(entries, cosines, strict=True)
        if not any(
            same(entry, old, cosine=cosine, threshold=threshold) for old, cosine in zip(forgotten, its, strict=True)
        )
    ]


def support_again(history: History, id: int, *, source: MessageKey, run: int) -> None:
    """Let an entry stand that its messages had stopped saying, now that one of them says it again."""
    old = history.entries.get([id])[id]
    if old.state is State.UNSUPPORTED:
        revise(history, id, replace(old, state=State.ACTIVE), run=run, reason=f"message {source.id} says it again")
