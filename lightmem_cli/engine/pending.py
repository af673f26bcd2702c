"""Does what a journalled conversation still waits for: facts extracted, texts embedded, indexes caught up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lightmem_cli.engine import Memory
from lightmem_cli.errors import LightmemError
from lightmem_cli.language.statements import statements
from lightmem_cli.protocols import Embedder
from lightmem_cli.records import Entry, Kind, Message
from lightmem_cli.store.history.vectors import text_hash

MESSAGES_AT_ONCE = 256
ENTRIES_AT_ONCE = 512
UNEMBEDDED_FOR_A_READER = 64  # a reader embeds up to this many itself; more it leaves to the next writer

# What one odd message can make a stage raise; the stage goes on with the others.
_ONE_ITEM_FAILED = (LightmemError, ValueError, ArithmeticError, LookupError, RecursionError)


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
    found: dict[int, list[Entry]] = {}
    failed: dict[int, str] = {}
    for id, message in history.messages.get(claimed).items():
        try:
            found[id] = memory.extractor.extract([message])
        except _ONE_ITEM_FAILED as error:
            failed[id] = f"{type(error).__name__}: {error}"
    born = 0
    with history.transaction():
        for id, entries in found.items():
            for entry in entries:
                named = replace(entry, speaker=entry.speaker or history.messages.get([id])[id].role.value)
                new = history.entries.add(named, sources=[id], run=run)
                if new is not None:
                    born += 1
                    history.work.add("embed", [new])
        history.work.done("extract", [id for id in claimed if id not in failed])
        for id, reason in failed.items():
            history.work.quarantine("extract", id, reason)
    return Done(extracted=len(claimed), born=born)


def embed_some(memory: Memory, *, space: int, queue: int, limit: int = ENTRIES_AT_ONCE) -> int:
    """Embed the next entries that wait in `queue` (0: the active space's) into `space`; how many there were."""
    history = memory.history
    with history.transaction():
        claimed = history.work.claim("embed", limit=limit, space=queue)
    if not claimed:
        return 0
    entries = history.entries.get(claimed)
    texts = {id: views(memory, id, entry) for id, entry in entries.items()}
    hashes = {text: text_hash(text) for its in texts.values() for text in its}
    known = history.vectors.known(space, hashes.values())
    missing = [text for text, hash in hashes.items() if hash not in known]
    rows = memory.embedder.embed(missing).astype("<f2")
    with history.transaction():
        fresh = ((hashes[text], row.tobytes()) for text, row in zip(missing, rows, strict=True))
        known |= history.vectors.add(space, fresh)
        for id, its in texts.items():
            history.vectors.set_views(id, space, [known[hashes[text]] for text in its])
        history.work.done("embed", claimed, space=queue)
    return len(claimed)


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
