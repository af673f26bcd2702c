"""Does what a journalled conversation still waits for: facts extracted, texts embedded, indexes caught up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lightmem_cli.engine import Memory
from lightmem_cli.language.statements import statements
from lightmem_cli.protocols import Embedder
from lightmem_cli.records import Entry, Kind, Message, State
from lightmem_cli.store.history import History
from lightmem_cli.store.history.vectors import text_hash
from lightmem_cli.store.history.work import Stage

MESSAGES_AT_ONCE = 256
ENTRIES_AT_ONCE = 512
UNEMBEDDED_FOR_A_READER = 64  # a reader embeds up to this many itself; more it leaves to the next writer

# What one odd message can make a stage raise; the stage goes on with the others.
_ONE_ITEM_FAILED = (ValueError, ArithmeticError, LookupError, RecursionError)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Done:
    """One step of work: messages extracted from, entries born of them, entries embedded."""

    extracted: int = 0
    born: int = 0
    embedded: int = 0


def work_off(memory: Memory, *, run: int) -> Iterator[Done]:
    """Do all pending work, a step at a time; each step is committed and searchable when it is yielded."""
    while extracted := extract_some(memory, run=run):
        yield extracted
        memory.indexes.catch_up(space=None)
    pending = memory.history.work.pending().get("embed", 0)
    if not pending:
        memory.indexes.catch_up(space=memory.history.vectors.active_space())
        return
    space = memory.space()
    while embedded := embed_some(memory, space=space[0], queue=0):
        memory.indexes.catch_up(space=space)
        yield Done(embedded=embedded)
    memory.indexes.catch_up(space=space)


def extract_some(memory: Memory, *, run: int) -> Done | None:
    """Turn the next messages into facts; None when no message waits."""
    history = memory.history
    with history.transaction():
        claimed = history.work.claim("extract", limit=MESSAGES_AT_ONCE)
    if not claimed:
        return None
    messages = history.messages.get(claimed)
    found, failed = _each(messages, lambda _, message: memory.extractor.extract([message]))
    born = 0
    with history.transaction():
        held = history.work.held("extract", claimed)
        for id in held:
            for entry in found.get(id, []):
                named = replace(entry, speaker=entry.speaker or messages[id].role.value)
                born += _give_birth(history, named, source=id, run=run)
        _settle(history, "extract", held, failed)
    return Done(extracted=len(claimed), born=born)


def _give_birth(history: History, entry: Entry, *, source: int, run: int) -> bool:
    """Add a fact, or support it again where its message had stopped saying it; whether it is new."""
    known = history.entries.born_as(entry)
    if known is None:
        born = history.entries.add(entry, sources=[source], run=run)
        history.work.add("embed", [born] if born is not None else [])
        return True
    old = history.entries.get([known])[known]
    if old.state is State.UNSUPPORTED:
        reason = f"message {entry.sources[0].id} says it again"
        history.entries.revise(known, replace(old, state=State.ACTIVE), run=run, reason=reason)
    return False


def embed_some(memory: Memory, *, space: int, queue: int, limit: int = ENTRIES_AT_ONCE) -> int:
    """Embed the next entries that wait in `queue` (0: the active space's) into `space`; how many there were."""
    history = memory.history
    with history.transaction():
        claimed = history.work.claim("embed", limit=limit, space=queue)
    if not claimed:
        return 0
    entries = history.entries.get(claimed)
    texts, failed = _each(entries, lambda id, entry: views(memory, id, entry))
    hashes = {text: text_hash(text) for its in texts.values() for text in its}
    known = history.vectors.known(space, hashes.values())
    missing = [text for text, hash in hashes.items() if hash not in known]
    rows = memory.embedder.embed(missing).astype("<f2")
    with history.transaction():
        fresh = ((hashes[text], row.tobytes()) for text, row in zip(missing, rows, strict=True))
        known |= history.vectors.add(space, fresh)
        held = history.work.held("embed", claimed, space=queue)
        for id in held:
            if id in texts:
                history.vectors.set_views(id, space, [known[hashes[text]] for text in texts[id]])
        _settle(history, "embed", held, failed, space=queue)
    return len(claimed)


def _each(items: Mapping[int, _Item], do: Callable[[int, _Item], _Result]) -> tuple[dict[int, _Result], dict[int, str]]:
    """What `do` makes of each item, and, of those it fails on, why."""
    found: dict[int, _Result] = {}
    failed: dict[int, str] = {}
    for id, item in items.items():
        try:
            found[id] = do(id, item)
        except _ONE_ITEM_FAILED as error:
            failed[id] = f"{type(error).__name__}: {error}"
    return found, failed


def _settle(history: History, stage: Stage, held: Sequence[int], failed: Mapping[int, str], *, space: int = 0) -> None:
    """Strike off what was done, and set aside what failed."""
    history.work.done(stage, [id for id in held if id not in failed], space=space)
    for id in held:
        if id in failed:
            history.work.quarantine(stage, id, failed[id], space=space)


def views(memory: Memory, id: int, entry: Entry) -> list[str]:
    """The texts whose vectors stand for an entry: a turn's standalone sentences, or its own text, cut to the window."""
    embedder: Embedder = memory.embedder
    if entry.kind is not Kind.TURN:
        return embedder.windows(entry.text)
    messages = memory.history.messages.get(memory.history.entries.source_ids(id))
    return [
        window for message in messages.values() for text in sentences_of(message) for window in embedder.windows(text)
    ]


def sentences_of(message: Message) -> list[str]:
    """A message's standalone sentences, each once, in order."""
    return list(dict.fromkeys(statement.text for statement in statements(message)))
