"""Embeds what a conversation is remembered by, so that it is found by what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from lightmem_cli.engine import Memory
from lightmem_cli.language.sentences import sentences
from lightmem_cli.language.statements import statements
from lightmem_cli.protocols import Embedder
from lightmem_cli.records import Entry, Kind, Message
from lightmem_cli.store.history import History
from lightmem_cli.store.history.vectors import text_hash
from lightmem_cli.store.history.work import Stage

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors

ENTRIES_AT_ONCE = 512
UNEMBEDDED_FOR_A_READER = 64  # a reader embeds up to this many itself; more it leaves to the next writer

# What one odd message can make a stage raise; the stage goes on with the others.
ONE_ITEM_FAILED = (ValueError, ArithmeticError, LookupError, RuntimeError)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def embed_some(memory: Memory, *, space: int, queue: int, limit: int = ENTRIES_AT_ONCE) -> int:
    """Embed the next entries that wait in `queue` (0: the active space's) into `space`; how many there were."""
    history = memory.history
    with history.transaction():
        claimed = history.work.claim("embed", limit=limit, space=queue)
    if not claimed:
        return 0
    entries = history.entries.get(claimed)
    texts, failed = each(entries, lambda id, entry: views(memory, id, entry))
    hashes = {text: text_hash(text) for its in texts.values() for text in its}
    known = history.vectors.known(space, hashes.values())
    missing = [text for text, hash in hashes.items() if hash not in known]
    rows = memory.embedder.embed(missing).astype("<f2")
    fresh = {hashes[text]: row.tobytes() for text, row in zip(missing, rows, strict=True)}
    with history.transaction():
        held = history.work.held("embed", claimed, space=queue)
        # What was erased while its text was embedded is not held any more, and a vector that was known may be gone.
        seen_as = {id: [hashes[text] for text in texts[id]] for id in held if id in texts}
        wanted = dict.fromkeys(hash for its in seen_as.values() for hash in its)
        known = history.vectors.known(space, wanted)
        new = [hash for hash in wanted if hash in fresh and hash not in known]
        known |= history.vectors.add(space, [(hash, fresh[hash]) for hash in new])
        for id, its in seen_as.items():
            if known.keys() >= set(its):
                history.vectors.set_views(id, space, [known[hash] for hash in its])
            else:
                held.remove(id)  # the next run embeds it
        settle(history, "embed", held, failed, space=queue)
    return len(claimed)


def show_through(history: History, id: int, texts: Sequence[str], rows: Mapping[str, Vectors], *, space: int) -> None:
    """Let an entry be seen through `texts`, whose vectors are in `rows`, as the shelf keeps them: float16."""
    hashes = [text_hash(text) for text in texts]
    known = history.vectors.known(space, hashes)
    fresh = {hash: rows[text].tobytes() for hash, text in zip(hashes, texts, strict=True) if hash not in known}
    known |= history.vectors.add(space, fresh.items())
    history.vectors.set_views(id, space, [known[hash] for hash in hashes])


def views(memory: Memory, id: int, entry: Entry) -> list[str]:
    """The texts whose vectors stand for an entry, cut to the window: a turn's standalone sentences, or its text."""
    embedder: Embedder = memory.embedder
    if entry.kind is Kind.SUMMARY:
        # Its sentences beside the whole: the right day's summary comes first for .582 of LoCoMo's questions, not .492.
        told = dict.fromkeys([entry.text, *sentences(entry.text)])
        return list(dict.fromkeys(window for text in told for window in embedder.windows(text)))
    if entry.kind is not Kind.TURN:
        return embedder.windows(entry.text)
    messages = memory.history.messages.get(memory.history.entries.source_ids(id))
    return [
        window for message in messages.values() for text in sentences_of(message) for window in embedder.windows(text)
    ]


def sentences_of(message: Message) -> list[str]:
    """A message's standalone sentences, each once, in order."""
    return list(dict.fromkeys(statement.text for statement in statements(message)))


def each(items: Mapping[int, _Item], do: Callable[[int, _Item], _Result]) -> tuple[dict[int, _Result], dict[int, str]]:
    """What `do` makes of each item, and, of those it fails on, why."""
    found: dict[int, _Result] = {}
    failed: dict[int, str] = {}
    for id, item in items.items():
        try:
            found[id] = do(id, item)
        except ONE_ITEM_FAILED as error:
            failed[id] = f"{type(error).__name__}: {error}"
    return found, failed


def settle(history: History, stage: Stage, held: Sequence[int], failed: Mapping[int, str], *, space: int = 0) -> None:
    """Strike off what was done, and set aside what failed."""
    history.work.done(stage, [id for id in held if id not in failed], space=space)
    for id in held:
        if id in failed:
            history.work.quarantine(stage, id, failed[id], space=space)
