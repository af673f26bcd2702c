"""Has rules extract facts from a conversation, message by message."""

from __future__ import annotations

from collections.abc import Iterable

from lightmem_cli.engine import Memory
from lightmem_cli.engine.embedding import each, settle
from lightmem_cli.engine.extraction.births import forgotten_facts, named, support_again, unlike
from lightmem_cli.engine.steps import Done
from lightmem_cli.records import Entry
from lightmem_cli.store.history import History

MESSAGES_AT_ONCE = 256


def extract_some(memory: Memory, *, run: int) -> Done | None:
    """Turn the next messages into facts; None when no message waits. Of what is forgotten nothing is made.

    None also where a language model is to read them: it is not asked here.
    """
    history, extractor = memory.history, memory.extractor
    if extractor is None:
        return None
    with history.transaction():
        claimed = history.work.claim("extract", limit=MESSAGES_AT_ONCE)
    if not claimed:
        return None
    hidden = history.entries.forgotten(claimed)
    messages = {id: message for id, message in history.messages.get(claimed).items() if id not in hidden}
    found, failed = each(messages, lambda _, message: [named(fact, [message]) for fact in extractor.extract([message])])
    known = forgotten_facts(history, found)
    _sift(memory, known, found=found, failed=failed)
    born = 0
    with history.transaction():
        held = history.work.held("extract", claimed)
        hidden = history.entries.forgotten(held)  # asked again: somebody may just have forgotten it, or a fact of it
        _sift(memory, forgotten_facts(history, found) - known, found=found, failed=failed)
        for id in held:
            for entry in found.get(id, []) if id not in hidden else ():
                born += _give_birth(history, entry, source=id, run=run)
        settle(history, "extract", held, failed)
    return Done(extracted=len(claimed), born=born)


def _sift(memory: Memory, forgotten: Iterable[int], *, found: dict[int, list[Entry]], failed: dict[int, str]) -> None:
    """Take out of what was `found` in each message what one of its `forgotten` facts says; what fails is `failed`."""
    history = memory.history
    facts: dict[int, list[Entry]] = {}
    for id, entry in history.entries.get(forgotten).items():
        for message in found.keys() & set(history.entries.source_ids(id)):
            facts.setdefault(message, []).append(entry)
    kept, odd = each(facts, lambda message, its: unlike(memory, found[message], its))
    found.update(kept)
    for message in odd:
        del found[message]
    failed.update(odd)


def _give_birth(history: History, entry: Entry, *, source: int, run: int) -> bool:
    """Add a fact, or support it again where its message had stopped saying it; whether it is new."""
    known = history.entries.born_as(entry)
    if known is None:
        born = history.entries.add(entry, sources=[source], run=run)
        history.work.add("embed", [born] if born is not None else [])
        return True
    support_again(history, known, source=entry.sources[0], run=run)
    return False
