"""Asks the language model of a memory: several calls at once, each paid once, kept in the ledger, within a budget."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from threading import Thread
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

from lightmem_cli.engine import Memory
from lightmem_cli.errors import BadReply, LightmemError, MissingPart, ModelError, Unavailable
from lightmem_cli.protocols import JsonSchema, LanguageModel, Prompt, Reply
from lightmem_cli.records import Usage
from lightmem_cli.store.history.calls import Call

Purpose: TypeAlias = Literal["extract", "update", "summarize", "ask", "probe"]

_AHEAD = 2  # requests that are ready for each call at once: no call waits for what becomes of the one before it

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[_Value]):
    """One thing to ask, and how to `read` the reply: what it says, or BadReply, whose message the model is shown.

    `version` is that of the prompt ("facts-1"), `most` the tokens that the reply may have, `messages` are history's
    integers of those whose words are in the prompt.
    """

    purpose: Purpose
    version: str
    prompt: Prompt
    most: int
    messages: tuple[int, ...]
    read: Callable[[str], _Value]
    schema: JsonSchema | None = None


class Answered(NamedTuple, Generic[_Value]):
    """A request with what its reply said, or with the `fault` that nothing could be done about; and what it cost."""

    request: Request[_Value]
    value: _Value | None
    fault: ModelError | None
    usage: Usage


@dataclass(slots=True)
class _Try(Generic[_Value]):
    """A request on its way, the prompt it is asked with this time, what it may cost, and what came of it."""

    request: Request[_Value]
    prompt: Prompt
    reserved: int
    usage: Usage = Usage()
    repaired: bool = False
    reply: Reply | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Lane:
    """Threads that ask. They are daemons: who is interrupted need not wait for a server."""

    model: LanguageModel
    todo: SimpleQueue[_Try[object] | None] = field(default_factory=SimpleQueue)
    done: SimpleQueue[_Try[object]] = field(default_factory=SimpleQueue)
    threads: list[Thread] = field(default_factory=list)

    def grow(self, most: int) -> None:
        """One more thread, up to `most`."""
        if len(self.threads) < most:
            self.threads.append(Thread(target=self._serve, daemon=True))
            self.threads[-1].start()

    def end(self) -> None:
        for _ in self.threads:
            self.todo.put(None)

    def _serve(self) -> None:
        while (one := self.todo.get()) is not None:
            try:
                request = one.request
                one.reply = self.model.complete(one.prompt, most=request.most, schema=request.schema)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the result is read
                one.error = error
            self.done.put(one)


class Asking:
    """The calls of one run. What is asked a second time in the same words is answered from the ledger, for nothing.

    `stopped` says why not all was asked, in words for a person: None, or that the budget would have been passed.
    """

    def __init__(self, memory: Memory, *, run: int) -> None:
        """
        Raises:
            ProfileError: the profile names no language model.
        """
        self._memory = memory
        self._history = memory.history
        self._model = memory.model
        self._run = run
        self._budget = memory.budget
        self._reserved = 0
        self._rate = 1.0  # tokens as the server counts them, to one of ours; learned from its replies
        self.stopped: str | None = None
        self.usage = Usage()

    def work(self, next_request: Callable[[], Request[_Value] | None]) -> Iterator[Answered[_Value]]:
        """Ask what `next_request` hands out, in this thread, until it is None; answers as they come.

        It is asked again after each answer, so that what came of one may lead to others. A bad reply is asked for once
        more, with what was wrong with it.

        Raises:
            Unavailable, MissingPart: after all that was answered: the rest was not asked.
        """
        lane: _Lane = _Lane(self._model)
        ready: deque[Answered[_Value]] = deque()
        under_way, most = 0, self._memory.settings.llm.concurrency
        gone: LightmemError | None = None
        try:
            while True:
                if gone is None and not ready:
                    under_way += self._fill(lane, next_request, ready, room=_AHEAD * most - under_way)
                if ready:
                    yield ready.popleft()
                    continue
                if under_way == 0:
                    break
                one: _Try[_Value] = lane.done.get()  # type: ignore[assignment]
                answered = self._taken(one)
                if answered is None:
                    lane.todo.put(one)  # type: ignore[arg-type]
                    continue
                under_way -= 1
                if isinstance(one.error, (Unavailable, MissingPart)):
                    gone = gone or one.error
                else:
                    yield answered
        finally:
            lane.end()
        if gone is not None:
            raise gone

    def _fill(
        self,
        lane: _Lane,
        next_request: Callable[[], Request[_Value] | None],
        ready: deque[Answered[_Value]],
        *,
        room: int,
    ) -> int:
        """Send off up to `room` requests; how many. What the ledger answers goes to `ready`, and ends it."""
        sent = 0
        while sent < room and not self.stopped:
            request = next_request()
            if request is None:
                break
            if (known := self._known(request)) is not None:
                ready.append(known)  # its consequences may be the next request
                break
            if not self._reserve(request):
                break
            lane.grow(self._memory.settings.llm.concurrency)
            lane.todo.put(_Try(request, request.prompt, self._cost(request)))  # type: ignore[arg-type]
            sent += 1
        return sent

    def once(self, request: Request[_Value], *, tell: Callable[[str], None] | None = None) -> Answered[_Value]:
        """Ask one thing in this thread; `tell` gets the reply piece by piece.

        Raises:
            ModelError, MissingPart: it could not be asked, or the reply is bad; it is in the ledger either way.
        """
        if (known := self._known(request)) is not None:
            return known
        reply = self._model.complete(request.prompt, most=request.most, schema=request.schema, tell=tell)
        one = _Try(request, request.prompt, 0, reply=reply, repaired=True)
        answered = self._taken(one)
        assert answered is not None
        if answered.fault is not None:
            raise answered.fault
        return answered

    def _known(self, request: Request[_Value]) -> Answered[_Value] | None:
        reply = self._history.calls.reply(self._model.name, request.version, self._hash(request))
        if reply is None:
            return None
        try:
            return Answered(request, request.read(reply), None, Usage())
        except BadReply:  # what was accepted once is not any more
            return None

    def _taken(self, one: _Try[_Value]) -> Answered[_Value] | None:
        """What came of a try, once it is in the ledger; None where it is to be tried again, as it now says."""
        self._reserved -= one.reserved
        if one.error is not None:
            if not isinstance(one.error, (ModelError, MissingPart)):
                raise one.error
            fault = one.error if isinstance(one.error, ModelError) else None
            return Answered(one.request, None, fault, one.usage)
        assert one.reply is not None
        reply, one.reply = one.reply, None
        self._learn(one, reply)
        value, refused = _read(one.request, reply)
        self._keep(one, reply, refused=refused)
        one.usage += reply.usage
        if refused is None:
            return Answered(one.request, value, None, one.usage)
        if one.repaired or not reply.whole:  # what was cut off once is cut off again
            return Answered(one.request, None, refused, one.usage)
        one.repaired, one.prompt = True, _repair(one.request.prompt, reply.text, refused)
        again = replace(one.request, prompt=one.prompt)
        if not self._reserve(again):
            return Answered(one.request, None, refused, one.usage)
        one.reserved = self._cost(again)
        return None

    def _keep(self, one: _Try[_Value], reply: Reply, *, refused: BadReply | None) -> None:
        request, spent = one.request, reply.usage
        self.usage += spent
        if self._budget is not None:
            self._budget.spent += spent.tokens
        call = Call(
            purpose=request.purpose,
            model=self._model.name,
            prompt=request.version,
            input_hash=self._hash(request),
            messages=request.messages,
            usage=spent,
            seconds=reply.seconds,
            reply=None if refused else reply.text,
            refused=refused.message if refused else None,
        )
        with self._history.transaction():
            self._history.calls.add(call, run=self._run)

    def _reserve(self, request: Request[_Value]) -> bool:
        """Set aside what a request may cost; where that would pass the budget, nothing more is asked."""
        cost = self._cost(request)
        budget = self._budget
        if budget is not None and budget.spent + self._reserved + cost > budget.tokens:
            self.stopped = f"the budget of {budget.tokens:,} tokens would be passed ({budget.spent:,} are spent)"
            return False
        self._reserved += cost
        return True

    def _cost(self, request: Request[_Value]) -> int:
        """The most tokens a request can cost, as far as that can be known."""
        prompt = sum(map(self._model.tokens, request.prompt))
        return int(prompt * self._rate) + 1 + request.most

    def _learn(self, one: _Try[_Value], reply: Reply) -> None:
        """Count a little more carefully where the server counts more tokens than we do."""
        ours = sum(map(self._model.tokens, one.prompt))
        self._rate = max(self._rate, reply.usage.prompt_tokens / max(1, ours))

    def _hash(self, request: Request[_Value]) -> bytes:
        parts = (self._model.manner, *request.prompt, json.dumps(request.schema, sort_keys=True))
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def _read(request: Request[_Value], reply: Reply) -> tuple[_Value | None, BadReply | None]:
    if not reply.whole:
        return None, BadReply(f"the reply was cut off after {reply.usage.completion_tokens:,} tokens")
    try:
        return request.read(reply.text), None
    except BadReply as bad:
        return None, bad


def _repair(prompt: Prompt, text: str, bad: BadReply) -> Prompt:
    """The same prompt, with the reply that came and what is wrong with it; of a long one the beginning."""
    shown = text if len(text) <= 2000 else f"{text[:2000]} …"
    return Prompt(prompt.prefix, f"{prompt.body}\n\nYou replied:\n{shown}\n\nThat is wrong: {bad.message}. Reply anew.")
