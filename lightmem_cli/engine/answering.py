"""Answers questions about a conversation with a language model, from evidence that it cites; one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from lightmem_cli.ask import NO_EVIDENCE, answer_from_evidence
from lightmem_cli.ask.evidence import Packed, pack
from lightmem_cli.ask.plain import Count
from lightmem_cli.ask.prompt import Exchange, prompt, recent, searched_for
from lightmem_cli.ask.reply import Listening, cited, read_answer
from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Answered, Asking, Request
from lightmem_cli.engine.gather import Gathered, gather
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.errors import BadReply, LightmemError, MissingPart, ModelError, ProfileError, TooLong
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.prompts import load
from lightmem_cli.protocols import LanguageModel, Prompt
from lightmem_cli.records import Answer

_SHORTEST = 16  # tokens of a line of evidence: so many hits fit a budget at most
_LEAST = 100  # tokens of evidence; with fewer nothing is worth asking


class Said(NamedTuple):
    """An answer. With a `fault` the model gave none, or not all of it: then it is the evidence, or what came so far."""

    answer: Answer
    fault: LightmemError | None = None


@dataclass(slots=True)
class _Turn:
    """A question on its way: what was found, what was sent of it and of whose messages, and what was heard so far."""

    query: Query
    gathered: Gathered
    listening: Listening
    packed: Packed | None = None
    messages: tuple[int, ...] = ()


class Answering:
    """Answers with the memory's model. A question is read with those before it in mind: "and when was that?"."""

    def __init__(self, memory: Memory, *, recall: Recall) -> None:
        self._memory = memory
        self._recall = recall
        self._earlier: list[Exchange] = []

    def ask(self, query: Query, *, tell: Callable[[str], None] = lambda piece: None) -> Said:
        """Answer `query`, whose limit, if it has one, bounds the hits; `tell` gets the answer while it is said.

        What was not said just now, `tell` does not get: an answer from the ledger, or that nothing was found. Where
        nothing was found, nobody is asked.
        """
        turn = _Turn(query, self._gather(query), Listening(tell))
        answer = None
        try:
            said = self._said(turn)
            answer = said.answer
        finally:  # what was interrupted may be spoken of, too
            text = answer.text if answer is not None and answer.model and answer.found else turn.listening.said
            self._earlier.append(Exchange(question=query.text, answer=text, messages=turn.messages))
        return said

    def context(self, query: Query) -> tuple[Prompt, Packed]:
        """What a model would be asked, and the hit behind each [n]; tokens are characters / 4. It needs no model."""
        budget = self._memory.settings.ask.budget_tokens
        packed = self._packed(query, self._gather(query), budget=budget, count=count_tokens)
        return self._prompt(query, packed, count=count_tokens), packed

    def _gather(self, query: Query) -> Gathered:
        limit = query.limit or self._memory.settings.ask.budget_tokens // _SHORTEST
        return gather(self._memory, self._recall, replace(query, limit=limit), texts=self._texts(query))

    def _texts(self, query: Query) -> list[str]:
        return searched_for(query.text, self._earlier, language=self._memory.settings.store.language)

    def _said(self, turn: _Turn) -> Said:
        if not turn.gathered.hits:
            return Said(Answer(text=NO_EVIDENCE, found=False))
        try:
            packed, answered = self._asked(turn)
        except (ModelError, MissingPart, ProfileError) as fault:
            if turn.listening.said and turn.packed is not None:
                return Said(self._with_sources(turn.listening.said.rstrip(), turn.packed), fault)
            return Said(answer_from_evidence(turn.gathered.hits), fault)
        if answered.value is None:
            answer = Answer(text=NO_EVIDENCE, found=False, model=self._memory.model.name)
        else:
            answer = self._with_sources(answered.value, packed)
        return Said(replace(answer, usage=answered.usage), self._cut_off(answered))

    def _cut_off(self, answered: Answered[str | None]) -> BadReply | None:
        if answered.whole:
            return None
        hint = f"lightmem config set ask.most {2 * self._memory.settings.ask.most}"
        return BadReply(f"the answer was cut off after {answered.usage.completion_tokens:,} tokens", hint=hint)

    def _with_sources(self, text: str, packed: Packed) -> Answer:
        numbers = cited(text, among=len(packed.hits))
        hits = tuple(packed.hits[number - 1] for number in numbers)
        return Answer(text=text, citations=hits, numbers=numbers, model=self._memory.model.name)

    def _asked(self, turn: _Turn) -> tuple[Packed, Answered[str | None]]:
        """The reply to what was found; where that is more than the model reads at once, to half of it."""
        model = self._memory.model
        budget = self._room(turn.query, model)
        while True:
            packed = turn.packed = self._packed(turn.query, turn.gathered, budget=budget, count=model.tokens)
            try:
                return packed, self._once(turn, packed, count=model.tokens)
            except TooLong:
                if budget <= _LEAST or turn.listening.said:
                    raise
                budget = max(_LEAST, budget // 2)

    def _once(self, turn: _Turn, packed: Packed, *, count: Count) -> Answered[str | None]:
        earlier = recent(self._earlier, count=count)
        turn.messages = tuple(dict.fromkeys(chain(packed.messages, *(one.messages for one in earlier))))
        request = Request(
            purpose="ask",
            version=load("answer").version,
            prompt=self._prompt(turn.query, packed, count=count),
            most=self._memory.settings.ask.most,
            messages=turn.messages,
            read=read_answer,
            whole=False,
        )
        return Asking(self._memory, run=None).once(request, tell=turn.listening.hear)

    def _room(self, query: Query, model: LanguageModel) -> int:
        """Tokens of evidence that fit: the budget, or what the model's context leaves of it."""
        ask, context = self._memory.settings.ask, model.context
        if not context:
            return ask.budget_tokens
        nothing = Packed(lines="", hits=(), messages=())
        rest = sum(map(model.tokens, self._prompt(query, nothing, count=model.tokens)))
        return max(_LEAST, min(ask.budget_tokens, context - ask.most - model.thoughts - rest - rest // 8))

    def _packed(self, query: Query, gathered: Gathered, *, budget: int, count: Count) -> Packed:
        return pack(
            gathered.found,
            summaries=gathered.summaries,
            question=self._texts(query)[0],
            budget=budget,
            count=count,
            language=self._memory.settings.store.language,
        )

    def _prompt(self, query: Query, packed: Packed, *, count: Count) -> Prompt:
        asked_at = query.asked_at and query.asked_at.astimezone(self._memory.settings.transcript.zone)
        return prompt(packed, question=query.text, asked_at=asked_at, earlier=self._earlier, count=count)
