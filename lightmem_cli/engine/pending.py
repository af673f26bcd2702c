"""Does what a journalled conversation waits for: facts extracted, texts embedded and indexed, topics cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lightmem_cli.engine import Memory
from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.topics import Topic, cut_now_or_later, cut_topics
from lightmem_cli.language.sentences import sentences
from lightmem_cli.language.statements import statements
from lightmem_cli.protocols import Embedder
from lightmem_cli.records import Entry, Filter, Kind, Message, State
from lightmem_cli.store.history import History
from lightmem_cli.store.history.vectors import text_hash
from lightmem_cli.store.history.work import Stage

MESSAGES_AT_ONCE = 256
ENTRIES_AT_ONCE = 512
UNEMBEDDED_FOR_A_READER = 64  # a reader embeds up to this many itself; more it leaves to the next writer

# What one odd message can make a stage raise; the stage goes on with the others.
_ONE_ITEM_FAILED = (ValueError, ArithmeticError, LookupError, RuntimeError)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Done:
    """One step of work: messages extracted from, entries born of them, entries embedded, topics that ended."""

    extracted: int = 0
    born: int = 0
    embedded: int = 0
    topics: tuple[Topic, ...] = ()


def work_off(memory: Memory, *, run: int, topics: bool = True) -> Iterator[Done]:
    """Do all pending work, a step at a time; each step is committed and searchable when it is yielded.

    Topics come last, and not at all without `topics`: what needs a model of theirs holds up nothing else.

    Raises:
        MissingPart: a model that this takes is not on this machine; what does not take it is done.
    """
    while extracted := extract_some(memory, run=run):
        yield extracted
        memory.indexes.catch_up(space=None)
    space = memory.history.vectors.active_space()
    if memory.history.work.pending().get("embed", 0):
        space = memory.space()
        while embedded := embed_some(memory, space=space[0], queue=0):
            memory.indexes.catch_up(space=space)
            yield Done(embedded=embedded)
    memory.indexes.catch_up(space=space)
    for some in cut_topics(memory, run=run) if topics else ():
        yield Done(topics=tuple(some))


def work_first(memory: Memory, *, progress: Callable[[int], None] = lambda done: None) -> None:
    """Do what the memory's messages still wait for, if anything: what is not a fact yet cannot be merged or told."""
    if not memory.history.work.pending() and not memory.history.work.quarantined():
        return
    count = 0
    with memory.run("extract") as run:
        for done in work_off(memory, run=run, topics=False):
            count += done.extracted + done.embedded
            progress(count)
        for _ in cut_now_or_later(memory, run=run):
            pass


def extract_some(memory: Memory, *, run: int) -> Done | None:
    """Turn the next messages into facts; None when no message waits. Of what is forgotten nothing is made."""
    history = memory.history
    with history.transaction():
        claimed = history.work.claim("extract", limit=MESSAGES_AT_ONCE)
    if not claimed:
        return None
    hidden = history.entries.forgotten(claimed)
    messages = {id: message for id, message in history.messages.get(claimed).items() if id not in hidden}
    found, failed = _each(messages, lambda _, message: _named(memory.extractor.extract([message]), message))
    known = _forgotten_facts(history, found)
    _sift(memory, known, found=found, failed=failed)
    born = 0
    with history.transaction():
        held = history.work.held("extract", claimed)
        hidden = history.entries.forgotten(held)  # asked again: somebody may just have forgotten it, or a fact of it
        _sift(memory, _forgotten_facts(history, found) - known, found=found, failed=failed)
        for id in held:
            for entry in found.get(id, []) if id not in hidden else ():
                born += _give_birth(history, entry, source=id, run=run)
        _settle(history, "extract", held, failed)
    return Done(extracted=len(claimed), born=born)


def _named(entries: Sequence[Entry], message: Message) -> list[Entry]:
    """`entries` of a message, each with somebody who says so."""
    return [replace(entry, speaker=entry.speaker or message.role.value) for entry in entries]


def _forgotten_facts(history: History, messages: Iterable[int]) -> set[int]:
    """The forgotten facts and relations that rest on any of `messages`."""
    where = Filter(kinds=(Kind.FACT, Kind.RELATION), states=(State.DELETED,))
    return set(history.selector.passing(where, history.entries.resting_on(messages)))


def _sift(memory: Memory, forgotten: Iterable[int], *, found: dict[int, list[Entry]], failed: dict[int, str]) -> None:
    """Take out of what was `found` in each message what one of its `forgotten` facts says; what fails is `failed`."""
    history = memory.history
    facts: dict[int, list[Entry]] = {}
    for id, entry in history.entries.get(forgotten).items():
        for message in found.keys() & set(history.entries.source_ids(id)):
            facts.setdefault(message, []).append(entry)
    kept, odd = _each(facts, lambda message, its: _unlike(memory, found[message], its))
    found.update(kept)
    for message in odd:
        del found[message]
    failed.update(odd)


def _unlike(memory: Memory, entries: list[Entry], forgotten: Sequence[Entry]) -> list[Entry]:
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
        revise(history, known, replace(old, state=State.ACTIVE), run=run, reason=reason)
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
