"""Takes in what a language model found in a conversation, as far as it was said, and nobody took it back meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from lightmem_cli.engine import Memory
from lightmem_cli.engine.embedding import each, show_through, views
from lightmem_cli.engine.extraction.births import forgotten_facts, named, support_again, unlike
from lightmem_cli.engine.extraction.support import is_borne_out, sentence_vectors
from lightmem_cli.engine.steps import Done
from lightmem_cli.extract.llm import Line
from lightmem_cli.extract.support import told
from lightmem_cli.records import Entry, Kind, LinkKind, Message, MessageKey, State, Usage
from lightmem_cli.store.history import History
from lightmem_cli.store.history.vectors import text_hash

if TYPE_CHECKING:
    from lightmem_cli.protocols import Embedder, Vectors


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call reads: its messages by history's integers, as they are now, and their lines by topics, in order.

    `again`: it could not be read in an earlier run.
    """

    number: int
    messages: Mapping[int, Message]
    topics: Sequence[Sequence[Line]]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a model found in a batch, and what is needed to judge it.

    `texts` are what each of `entries` is seen through; none of one with an odd text, which whoever embeds it finds out.
    `rows` are the vectors of those that the shelf has, `said` those of the sentences of messages, where it has them;
    each float16 as the shelf keeps them, or float32 of shape (n, dimension). `forgotten` are the forgotten facts that
    were looked at.
    """

    batch: Batch
    entries: Sequence[Entry]
    texts: Mapping[int, tuple[str, ...]]
    rows: dict[str, Vectors]
    said: dict[MessageKey, Vectors]
    forgotten: frozenset[int]
    space: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Weighed:
    """What was found, with all vectors, and of each entry whether its messages bear it out."""

    found: Found
    borne_out: Sequence[bool]


def look_up(memory: Memory, batch: Batch, entries: Sequence[Entry], *, usage: Usage) -> Found:
    """Collect what is needed to judge `entries`, which a model found in a batch. What they cost is `usage`."""
    history = memory.history
    space, _ = memory.space()
    forgotten = forgotten_facts(history, batch.messages)
    by_key = {message.key: message for message in batch.messages.values()}
    entries = [named(entry, [by_key[key] for key in entry.sources]) for entry in entries]
    entries = _not_forgotten(memory, entries, forgotten)
    texts, _ = each(dict(enumerate(entries)), lambda _, entry: tuple(views(memory, 0, entry)))
    return Found(
        batch,
        entries,
        texts,
        rows=_shelved(history, chain.from_iterable(texts.values()), space=space),
        said=_said(history, batch, {key for entry in entries for key in entry.sources}, space=space),
        forgotten=frozenset(forgotten),
        space=space,
        usage=usage,
    )


def weigh(embedder: Embedder, found: Found) -> Weighed:
    """Judge what was found. That takes longest, and history is not asked: any thread may do it."""
    missing = [text for text in dict.fromkeys(chain.from_iterable(found.texts.values())) if text not in found.rows]
    if missing:
        found.rows.update(zip(missing, embedder.embed(missing).astype("<f2"), strict=True))
    by_key = {message.key: message for message in found.batch.messages.values()}
    talk = [told(message) for message in by_key.values()]
    borne_out = []
    for at, entry in enumerate(found.entries):
        for key in entry.sources:
            if key not in found.said:
                found.said[key] = sentence_vectors(embedder, by_key[key])
        seen, sentences = found.texts.get(at), [found.said[key] for key in entry.sources]
        claim = found.rows[seen[0]] if seen else None
        borne_out.append(is_borne_out(entry, [by_key[key] for key in entry.sources], claim, sentences, talk=talk))
    return Weighed(found, borne_out)


def take(memory: Memory, weighed: Weighed, *, run: int) -> Done:
    """Remember what was found in a batch, in one step."""
    history, found = memory.history, weighed.found
    batch, ids = found.batch, {message.key: id for id, message in found.batch.messages.items()}
    born: list[bool] = []
    told: dict[int, set[int]] = {}  # of the batch's facts and relations, the messages that they rest on
    embedded = 0
    with history.transaction():
        held = history.work.held_of(batch.number)
        # Asked again: somebody may just have forgotten, purged or replaced what was read, or forgotten a fact of it.
        now = history.messages.get(held)
        unsaid = history.entries.forgotten(held)
        stands = {id for id in held if now[id] == batch.messages[id] and id not in unsaid}
        new = forgotten_facts(history, batch.messages) - found.forgotten
        left = {entry.id for entry in _not_forgotten(memory, found.entries, new)} if new else None
        for at, (entry, borne_out) in enumerate(zip(found.entries, weighed.borne_out, strict=True)):
            sources = [ids[key] for key in entry.sources]
            if not stands.issuperset(sources) or (left is not None and entry.id not in left):
                continue
            retold = [fact for fact, its in told.items() if its.issubset(sources)]  # facts stand before summaries
            id = _give_birth(history, entry, sources, supported=borne_out, run=run, retold=retold)
            if id is None:
                continue
            if entry.kind is not Kind.SUMMARY:
                told[id] = set(sources)
            born.append(borne_out)
            if at in found.texts:
                embedded += 1
                show_through(history, id, found.texts[at], found.rows, space=found.space)
            else:
                history.work.add("embed", [id])
        history.work.done("extract", held)
    unsupported = len(born) - sum(born)
    return Done(extracted=len(held), born=len(born), embedded=embedded, unsupported=unsupported, usage=found.usage)


def _not_forgotten(memory: Memory, entries: Sequence[Entry], forgotten: Collection[int]) -> list[Entry]:
    """Those of `entries` that say nothing which one of the `forgotten` facts of their messages says already."""
    kept = list(entries)
    for fact in memory.history.entries.get(forgotten).values():
        its = [entry for entry in kept if not set(entry.sources).isdisjoint(fact.sources)]
        left = unlike(memory, its, [fact])
        kept = [entry for entry in kept if entry not in its or entry in left]
    return kept


def _shelved(history: History, texts: Iterable[str], *, space: int) -> dict[str, Vectors]:
    """The vectors of those of `texts` that the shelf has: float16, shape (dimension,)."""
    import numpy as np

    hashes = {text_hash(text): text for text in texts}
    names = {id: hashes[hash] for hash, id in history.vectors.known(space, hashes).items()}
    return {names[id]: np.frombuffer(row, dtype="<f2") for id, row in history.vectors.embeddings(space, names)}


def _said(history: History, batch: Batch, keys: Collection[MessageKey], *, space: int) -> dict[MessageKey, Vectors]:
    """The vectors of the sentences of messages, as far as the shelf has them: float32, shape (n, dimension)."""
    import numpy as np

    wanted = [id for id, message in batch.messages.items() if message.key in keys]
    turns = {turn: batch.messages[id].key for id, turn in history.buffer.turns(wanted).items()}
    owners, vectors = history.reading.embedded(list(turns), space=space)
    return {turns[turn]: vectors[owners == turn] for turn in np.unique(owners).tolist()}


def _give_birth(
    history: History, entry: Entry, sources: Sequence[int], *, supported: bool, run: int, retold: Sequence[int]
) -> int | None:
    """Add an entry, or support it again where its messages had stopped saying it; None where it was born before.

    The summary of a topic points to what is `retold` in it: who forgets a fact forgets it there, too.
    """
    known = history.entries.born_as(entry)
    if known is None:
        newborn = entry if supported else replace(entry, state=State.UNSUPPORTED)
        links = [(fact, LinkKind.SUMMARIZES) for fact in retold] if entry.kind is Kind.SUMMARY else []
        return history.entries.add(newborn, sources=sources, run=run, links=links)
    if supported:
        support_again(history, known, source=entry.sources[0], run=run)
    return None
