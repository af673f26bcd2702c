"""Finds what a question needs in a memory, and answers from it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from lightmem_cli.ask import answer_from_evidence
from lightmem_cli.engine import Memory
from lightmem_cli.engine.embedding import UNEMBEDDED_FOR_A_READER, embed_some
from lightmem_cli.errors import MissingPart, ProfileBusy
from lightmem_cli.records import Answer, Filter, Hit, Kind, MessageKey, Space, State, TimeRange
from lightmem_cli.retrieve import Retriever
from lightmem_cli.store.files import IndexBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question, what may answer it, and how much of it is wanted. `asked_at` resolves "last week"."""

    text: str
    where: Filter
    limit: int | None = None
    budget_tokens: int | None = None
    asked_at: datetime | None = None


class Recall:
    """Answers queries over one memory; what its indexes lack is caught up once, at the start."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._space = self._ready()
        self._retriever = self._open_retriever()

    def retrieve(self, query: Query) -> list[Hit]:
        """The hits for a query, best first; [] when nothing fits."""
        try:
            return self._find(query)
        except IndexBroken as broken:
            self._memory.indexes.mend(broken, space=self._space)
            self._retriever = self._open_retriever()
            return self._find(query)

    def _find(self, query: Query) -> list[Hit]:
        return self._retriever.retrieve(
            query.text,
            where=query.where,
            limit=query.limit,
            budget_tokens=query.budget_tokens,
            asked_at=query.asked_at,
        )

    def ask(self, query: Query, *, most: int = 5) -> Answer:
        """Without a language model: the best evidence, up to `most` hits, cited."""
        return answer_from_evidence(self.retrieve(query), most=most)

    def times(self, hits: Iterable[Hit]) -> dict[MessageKey, datetime | None]:
        """When each source message of `hits` was said."""
        keys = {key for hit in hits for key in hit.entry.sources}
        found = ((key, self._memory.history.messages.find(key)) for key in keys)
        return {key: message[1].said_at for key, message in found if message is not None}

    def speaks_of(self, hits: Iterable[Hit]) -> dict[str, list[TimeRange]]:
        """The days that each hit speaks of, by its id: its own, or those of the facts made from its messages.

        A summary, which rests on many messages, speaks of its own days alone.
        """
        history = self._memory.history
        found: dict[str, list[TimeRange]] = {}
        for hit in hits:
            if hit.entry.kind is Kind.SUMMARY:
                found[hit.entry.id] = [hit.entry.happened] if hit.entry.happened else []
                continue
            messages = (history.messages.find(key) for key in hit.entry.sources)
            beside = {id for message in messages if message for id in history.entries.of_message(message[0])}
            made = history.entries.get(sorted(beside)).values()
            facts = [hit.entry] if hit.entry.happened else [one for one in made if one.kind is not Kind.SUMMARY]
            days = dict.fromkeys(fact.happened for fact in facts if fact.happened and fact.state is State.ACTIVE)
            found[hit.entry.id] = list(days)
        return found

    def _open_retriever(self) -> Retriever:
        memory, space = self._memory, self._space
        return Retriever(
            memory.history.reading,
            words=memory.indexes.words,
            vectors=memory.indexes.vectors(space[1]) if space else None,
            embedder=memory.embedder if space else None,
            space=space[0] if space else None,
            settings=memory.settings,
        )

    def _ready(self) -> tuple[int, Space] | None:
        """Catch up what can be caught up without waiting; the space to search, or None to search words alone."""
        memory, strategy = self._memory, self._memory.settings.retrieve.strategy
        some = memory.history.vectors.active_space() is not None or self._unembedded()
        space = None
        if strategy != "words" and some:  # otherwise there is no reason to open a model
            try:
                space = self._compared_in()
            except (MissingPart, ProfileBusy) as reason:
                if strategy == "vectors":
                    raise
                memory.notice(f"searching words alone: {reason.message} ({reason.hint})")
        if space is not None and (waiting := self._unembedded()):
            remedy = "another process is at it" if memory.history.work.owners() else "lightmem extract"
            memory.notice(f"{waiting:,} entries have no vector yet and are found by words alone: {remedy}")
        memory.indexes.catch_up(space=space)
        return space

    def _compared_in(self) -> tuple[int, Space]:
        """The space to search, with the few entries embedded that wait for it, unless a writer is at work."""
        memory = self._memory
        with memory.history.impatient():
            space = memory.space()
            if 0 < self._unembedded() <= UNEMBEDDED_FOR_A_READER:
                with suppress(ProfileBusy):
                    embed_some(memory, space=space[0], queue=0)
                with suppress(ProfileBusy), memory.history.transaction():
                    memory.history.work.release()
        memory.indexes.vectors(space[1])
        return space

    def _unembedded(self) -> int:
        return self._memory.history.work.pending().get("embed", 0)
