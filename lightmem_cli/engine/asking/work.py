"""Asks many things about a conversation at once, and hands out what was answered, one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic

from lightmem_cli.engine.asking.cost import Allowance
from lightmem_cli.engine.asking.lanes import Done, Lanes
from lightmem_cli.engine.asking.ledger import Ledger
from lightmem_cli.engine.asking.request import Answered, Purpose, Request, Value
from lightmem_cli.engine.asking.streak import Streak
from lightmem_cli.errors import (
    BadReply,
    HalfRead,
    LightmemError,
    MissingPart,
    ModelError,
    Rejected,
    TooLong,
    Unavailable,
)
from lightmem_cli.protocols import LanguageModel, Prompt, Reply
from lightmem_cli.records import Usage

# Requests for each call at once: what is done with an answer takes longer than a fast call now and then, most of all
# with the first, for which an embedder is loaded.
_AHEAD: Final = 4
_IN_A_ROW: Final = 3  # prompts that fail with no reply between them: what fails is the server, not the prompts
_ROOMS: Final = 10  # times that a server may read only a part of a prompt: each time it has twice the room
_SHOWN: Final = 2000  # characters of a bad reply


@dataclass(slots=True)
class _Try(Generic[Value]):
    """A request on its way, and the prompt it is asked with this time; for a repair, why the first reply was `refused`.

    `reserved` is set aside for this call, `usage` what earlier ones cost, `lost` how many of them brought no reply, and
    `fault` what went wrong with the last. `room` is what this call takes at most, where that is known.
    """

    request: Request[Value]
    key: bytes
    prompt: Prompt
    refused: BadReply | None = None
    fault: ModelError | None = None
    lost: int = 0
    room: int = 0
    reserved: int = 0
    usage: Usage = field(default_factory=Usage)


class Work(Generic[Value]):
    """The requests of one run. Threads only ask the model: history, and what reads replies, stay in this one."""

    def __init__(
        self,
        model: LanguageModel,
        next_request: Callable[[], Request[Value] | None],
        *,
        ledger: Ledger,
        allowance: Allowance,
        streak: Streak,
        at_once: int,
        retries: int,
    ) -> None:
        self._model = model
        self._next_request = next_request
        self._ledger = ledger
        self._allowance = allowance
        self._streak = streak
        self._retries = retries
        self._room = _AHEAD * at_once
        self._lanes: Lanes[_Try[Value], Reply] = Lanes(self._ask, most=at_once)
        self._sent: dict[int, _Try[Value]] = {}  # what is under way, by its identity
        self._again: deque[_Try[Value]] = deque()  # what goes before new requests
        self._alike: dict[bytes, list[_Try[Value]]] = {}  # by what is under way: the same once more, waiting for it
        self._ready: deque[Answered[Value]] = deque()
        self._failed: deque[Answered[Value]] = deque()  # with no reply since
        self._refused: deque[Answered[Value]] = deque()  # with no reply that says what was asked for, yet
        self._in_a_row = 0
        self._purpose: Purpose | None = None  # the same for all
        self._nobody: LightmemError | None = None  # that a lane has met, and this thread not yet
        self._gone: LightmemError | None = None

    def answers(self) -> Generator[Answered[Value]]:
        """
        Raises:
            Unavailable, MissingPart: after all that was answered.
        """
        try:
            while True:
                for done in self._lanes.arrived():
                    self._take(done)
                self._send()
                if self._ready:
                    yield self._ready.popleft()
                elif self._sent:
                    self._take(self._lanes.next())
                elif self._failed or self._refused:  # what they lead to may be answered
                    self._let_failed_go()
                    self._let_refused_go()
                else:
                    break
        finally:
            self._end()
        if self._gone is not None:
            raise self._gone

    def _ask(self, one: _Try[Value]) -> Reply:
        """Ask, in a lane; where another lane has learned that nobody answers, find that out without asking."""
        if self._nobody is not None:
            raise self._nobody
        try:
            return self._model.complete(one.prompt, most=one.request.most, schema=one.request.schema)
        except (Unavailable, MissingPart) as nobody:
            self._nobody = nobody
            raise

    def _send(self) -> None:
        """Send off what there is to ask and room for."""
        while self._gone is None and len(self._sent) < self._most():
            one = self._next()
            if one is None:
                return
            if one.fault is None:
                if (known := self._ledger.known(one.request, key=one.key)) is not None:
                    self._ready.append(known)
                    return  # what it leads to may be the next request
                if one.key in self._alike:
                    self._alike[one.key].append(one)
                    continue
            self._purpose = one.request.purpose
            if (refusal := self._streak.refuse(self._purpose)) is not None:
                self._leave(refusal)
                return
            most, schema = one.request.most + self._model.thoughts, one.request.schema
            reserved = self._allowance.reserve(one.prompt, most=most, schema=schema, room=one.room)
            if reserved is not None:
                one.reserved = reserved
                self._alike.setdefault(one.key, [])
                self._sent[id(one)] = one
                self._lanes.put(one)
            elif self._sent:  # replies may cost less than was set aside for them
                self._again.appendleft(one)
                return
            else:
                self._allowance.stop()
                if one.fault is not None:
                    self._settle(one, fault=one.fault)

    def _most(self) -> int:
        """How many may be under way."""
        return self._room if self._purpose is None else self._streak.room(self._purpose, most=self._room)

    def _next(self) -> _Try[Value] | None:
        if self._again:
            return self._again.popleft()
        request = None if self._allowance.stopped else self._next_request()
        return None if request is None else _Try(request, self._ledger.key(request), request.prompt)

    def _take(self, done: Done[_Try[Value], Reply]) -> None:
        """What becomes of a call: an answer, another try, a failure, or the end of all asking."""
        one = done.item
        del self._sent[id(one)]
        if done.result is not None:
            self._read(one, done.result)
            return
        self._count_lost(one, done.error)
        match done.error:
            case Unavailable() | MissingPart() as gone:
                self._leave(gone)
            case BadReply() as bad:
                self._server_replies()
                self._refuse(one, bad)
            case TooLong() | Rejected() as fault:
                if isinstance(fault, Rejected) or fault.paid is not None:  # a server that says no is there
                    self._server_replies()
                if isinstance(fault, TooLong) and not one.request.least:
                    self._settle_alike(one, fault, to=self._ready)
                else:
                    self._settle_alike(one, fault, to=self._refused)
                    self._count_refused(one, fault)
            case ModelError() as fault if is_worth_another(fault, lost=one.lost, retries=self._retries):
                self._ask_again(one, fault)
            case ModelError() as fault:
                self._fail(one, fault)
            case error:
                assert error is not None
                raise error

    def _count_lost(self, one: _Try[Value], error: BaseException | None) -> None:
        """Put on record what a call cost that brought no reply."""
        lost, paid = Usage(), error.paid if isinstance(error, ModelError) else None
        if paid is not None or isinstance(error, BadReply):
            assert isinstance(error, ModelError)
            lost = self._ledger.lost(one.request, key=one.key, prompt=one.prompt, paid=paid, why=error.message)
        self._allowance.release(one.reserved, spent=lost.tokens)
        one.usage += lost

    def _ask_again(self, one: _Try[Value], fault: ModelError) -> None:
        """Ask what was paid in vain once more: with tokens set aside anew."""
        if isinstance(fault, HalfRead):
            self._server_replies()
            one.room = fault.room
        one.fault, one.lost = fault, one.lost + 1
        self._again.append(one)

    def _read(self, one: _Try[Value], reply: Reply) -> None:
        self._server_replies()
        self._pay(one, reply)
        one.usage += reply.usage
        taken = self._ledger.take(one.request, key=one.key, reply=reply)
        hopeless = one.refused is not None or not reply.whole  # what was cut off once is cut off again
        if taken.refused is None:
            self._streak.answered(one.request.purpose)
            self._let_refused_go()
            self._settle(one, value=taken.value)
        elif hopeless:
            self._refuse(one, taken.refused)
        else:
            one.refused = one.fault = taken.refused
            one.lost = one.room = 0
            one.prompt = _repair(one.request.prompt, reply.text, taken.refused)
            self._again.append(one)

    def _settle(self, one: _Try[Value], *, value: Value | None = None, fault: ModelError | None = None) -> None:
        self._ready.append(Answered(one.request, value, fault, one.usage))
        self._again += self._alike.pop(one.key, ())

    def _refuse(self, one: _Try[Value], fault: ModelError) -> None:
        """Settle one whose replies are not what was asked for; not before it is clear whether any ever is."""
        self._refused.append(Answered(one.request, None, fault, one.usage))
        self._again += self._alike.pop(one.key, ())
        self._count_refused(one, fault)

    def _count_refused(self, one: _Try[Value], fault: ModelError) -> None:
        self._streak.failed(one.request.purpose, fault, again=one.request.again)
        if self._streak.over is not None:
            self._leave(self._streak.over)
        if self._streak.over is not None or not self._streak.is_open(one.request.purpose):
            self._let_refused_go()

    def _settle_alike(self, one: _Try[Value], fault: ModelError, *, to: deque[Answered[Value]]) -> None:
        """Settle one, and those alike: they would fail alike."""
        to += [Answered(each.request, None, fault, each.usage) for each in (one, *self._alike.pop(one.key, ()))]

    def _fail(self, one: _Try[Value], fault: ModelError) -> None:
        self._in_a_row += 1
        if self._gone is None:
            self._settle_alike(one, fault, to=self._failed)
        if self._in_a_row == _IN_A_ROW:
            times = f"{fault.message} ({_IN_A_ROW} prompts failed one after the other)"
            self._leave(Unavailable(times, hint=fault.hint or "lightmem doctor"))

    def _server_replies(self) -> None:
        self._in_a_row = 0
        self._let_failed_go()

    def _let_failed_go(self) -> None:
        """It was those prompts that failed, as far as can be seen."""
        self._ready += self._failed
        self._failed.clear()

    def _let_refused_go(self) -> None:
        """It was what these were about, or it is the model and nothing more is asked."""
        self._ready += self._refused
        self._refused.clear()

    def _leave(self, gone: LightmemError) -> None:
        """Ask nothing more, and wait only for what is asked already."""
        self._gone = self._gone or gone
        self._failed.clear()
        self._drop(self._lanes.drop())

    def _drop(self, unasked: Iterable[_Try[Value]]) -> None:
        for one in unasked:
            del self._sent[id(one)]
            self._allowance.release(one.reserved)

    def _end(self) -> None:
        """Begin nothing more. What was answered meanwhile is paid, and kept; what is being answered is paid, too."""
        self._drop(self._lanes.end())
        for done in self._lanes.arrived():
            del self._sent[id(done.item)]
            if done.result is None:
                self._count_lost(done.item, done.error)
            else:
                self._pay(done.item, done.result)
                self._ledger.take(done.item.request, key=done.item.key, reply=done.result)
        for one in self._sent.values():
            lost = self._ledger.lost(one.request, key=one.key, prompt=one.prompt, why="interrupted")
            self._allowance.release(one.reserved, spent=lost.tokens)
        self._sent.clear()

    def _pay(self, one: _Try[Value], reply: Reply) -> None:
        self._allowance.settle(one.prompt, reserved=one.reserved, usage=reply.usage, schema=one.request.schema)


def is_worth_another(fault: ModelError, *, lost: int, retries: int) -> bool:
    """Whether to ask again what was paid in vain `lost` times before: nobody else does."""
    if isinstance(fault, HalfRead):
        return lost < _ROOMS
    return type(fault) is ModelError and fault.paid is not None and lost < retries


def _repair(prompt: Prompt, text: str, bad: BadReply) -> Prompt:
    """The same prompt, with the reply that came and what is wrong with it; of a long one the beginning."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
    return Prompt(
        prompt.prefix,
        f"{prompt.body}\n\nYou replied:\n{shown or '(nothing)'}\n\nThat is wrong: {bad.message}. Reply anew.",
    )
