"""Asks the language model of a memory: several calls at once, each paid once, kept in the ledger, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking.cost import Allowance, Estimate
from lightmem_cli.engine.asking.ledger import Ledger
from lightmem_cli.engine.asking.request import Answered, Purpose, Request, Value
from lightmem_cli.engine.asking.streak import Streak
from lightmem_cli.engine.asking.work import Work, is_worth_another
from lightmem_cli.errors import BadReply, HalfRead, LightmemError, ModelError
from lightmem_cli.records import Usage

__all__ = ["Answered", "Asking", "Estimate", "Purpose", "Request"]


class Asking:
    """The calls of one run. What is asked a second time in the same words is answered from the ledger, for nothing.

    Without a run, as for a reader, they get one in the moment the first is put on record, and hold nothing meanwhile.
    """

    def __init__(self, memory: Memory, *, run: int | None = None) -> None:
        """
        Raises:
            ProfileError: the profile names no language model.
            MissingPart: what opens without a server is not on this machine.
        """
        self._model = memory.model
        self._at_once = memory.settings.llm.concurrency
        self._retries = memory.settings.llm.retries
        self._ledger = Ledger(memory, run=run)
        self._allowance = Allowance(memory.budget, count=self._model.tokens)
        self._streak = Streak(memory.settings, name=self._model.name, kept=memory.remembered, often=memory.often)

    @property
    def stopped(self) -> str | None:
        """Why not all was asked, in words for a person: None, or that the budget would have been passed."""
        return self._allowance.stopped

    def wants_least(self, purpose: Purpose) -> bool:
        """Whether the model failed so often that one thing is asked, to see, and that is better a small one."""
        return self._streak.wants_least(purpose)

    @property
    def usage(self) -> Usage:
        """What the calls have cost so far."""
        return self._ledger.usage

    def work(self, next_request: Callable[[], Request[Value] | None]) -> Generator[Answered[Value]]:
        """Ask what `next_request` hands out, in this thread, until it is None; answers as they come.

        It is asked again after each answer, so that what came of one may lead to others. A bad reply is asked for once
        more, with what was wrong with it. Whoever closes the generator stops the asking; what has been answered by then
        is on record, and is not paid again.

        Raises:
            Unavailable, MissingPart: after all that was answered: the rest was not asked. Three prompts that fail one
                after the other, with no reply between, are a server that is not there; the first three whose replies
                are not what was asked for, a model that cannot serve.
        """
        return Work(
            self._model,
            next_request,
            ledger=self._ledger,
            allowance=self._allowance,
            streak=self._streak,
            at_once=self._at_once,
            retries=self._retries,
        ).answers()

    def once(self, request: Request[Value], *, tell: Callable[[str], None] | None = None) -> Answered[Value]:
        """Ask one thing in this thread; `tell` gets the reply piece by piece, one that the ledger has not at all.

        A bad reply is not asked for again. Cut short, by Ctrl-C too, what was told is on record with what it cost.

        Raises:
            ModelError, MissingPart: it could not be asked, or the reply is bad.
        """
        key = self._ledger.key(request)
        if (known := self._ledger.known(request, key=key)) is not None:
            return known
        usage, told, lost, room = Usage(), list[str](), 0, 0

        def telling(piece: str) -> None:
            told.append(piece)
            if tell is not None:
                tell(piece)

        while True:
            reserved, began = self._reserve(request, room=room), time.monotonic()
            try:
                reply = self._model.complete(
                    request.prompt, most=request.most, schema=request.schema, tell=tell and telling
                )
                break
            except BaseException as error:
                seconds = time.monotonic() - began
                cost = self._cost(error, request, key=key, told="".join(told), seconds=seconds)
                self._allowance.release(reserved, spent=cost.tokens)
                if told or not (
                    isinstance(error, ModelError) and is_worth_another(error, lost=lost, retries=self._retries)
                ):
                    raise
                usage, lost, room = usage + cost, lost + 1, error.room if isinstance(error, HalfRead) else 0
        self._allowance.settle(request.prompt, reserved=reserved, usage=reply.usage, schema=request.schema)
        taken = self._ledger.take(request, key=key, reply=reply)
        if taken.refused is not None:
            raise taken.refused
        return Answered(request, taken.value, None, usage + reply.usage, whole=reply.whole)

    def _reserve(self, request: Request[Any], *, room: int) -> int:
        most = request.most + self._model.thoughts
        reserved = self._allowance.reserve(request.prompt, most=most, schema=request.schema, room=room)
        if reserved is None:
            self._allowance.stop()
            raise ModelError(f"not asked: {self.stopped}", hint="give a larger --budget-tokens")
        return reserved

    def _cost(self, error: BaseException, request: Request[Any], *, key: bytes, told: str, seconds: float) -> Usage:
        """What a call cost that failed so; put on record."""
        paid = error.paid if isinstance(error, ModelError) else None
        if not told and paid is None and not isinstance(error, (BadReply, KeyboardInterrupt)):
            return Usage()
        why = error.message if isinstance(error, LightmemError) else "interrupted"
        return self._ledger.lost(
            request, key=key, prompt=request.prompt, paid=paid, told=told, seconds=seconds, why=why
        )

    def tried(self, *, failed: bool) -> None:
        """Keep whether the model failed at a small thing that it was asked `once`: if so, nobody asks it many."""
        self._streak.tried(failed=failed)

    def estimate(self, requests: Iterable[Request[Any]]) -> Estimate:
        """What asking `requests` would take; the model is asked nothing."""
        known = calls = prompt_tokens = reply_tokens = 0
        for request in requests:
            if self._ledger.known(request, key=self._ledger.key(request)) is not None:
                known += 1
            else:
                calls += 1
                prompt_tokens += self._allowance.tokens(request.prompt)
                reply_tokens += request.most + self._model.thoughts
        return Estimate(calls=calls, prompt_tokens=prompt_tokens, reply_tokens=reply_tokens, known=known)
