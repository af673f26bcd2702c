"""Has a language model retell stretches of a conversation, several at once, and keeps each reply as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Answered, Asking, Request
from lightmem_cli.engine.summaries.drafts import Draft
from lightmem_cli.engine.summaries.material import LEAST, Material, Materials
from lightmem_cli.engine.summaries.shelf import Became, Shelf, Summary
from lightmem_cli.errors import ModelError, TooLong
from lightmem_cli.records import Usage
from lightmem_cli.summarize import Window
from lightmem_cli.summarize.llm import Told

_LONG = 3  # calls; before more of them it is said what they may cost


class _Stale(Exception):
    """What a model was shown has changed since: its reply is not kept."""


class Asked:
    """One pass over windows with a language model. `failed` are those of which no reply could be had, and why.

    A window whose facts change while it is asked about is asked about again; of one that is too long for the model,
    half as much is shown. No call is made inside a transaction.
    """

    def __init__(
        self, memory: Memory, shelf: Shelf, *, windows: Sequence[Window], begun: Callable[[], int], space: int | None
    ) -> None:
        """`begun` gives the run that pays, where there is anything to be asked that the ledger does not know."""
        self._history = memory.history
        self._shelf = shelf
        self._materials = Materials(memory, space=space)
        self._waiting: deque[tuple[Window, int | None]] = deque((window, None) for window in windows)
        self._asked: dict[int, tuple[Request[Told], Material]] = {}  # by the request's own identity
        self._settled: deque[Became] = deque()  # without a call
        estimate = Asking(memory).estimate(self._requests(windows))
        if estimate.calls > _LONG:
            memory.notice(f"asking {memory.model.name} for summaries: {estimate.said}")
        self._asking = Asking(memory, run=begun() if estimate.calls else None)
        self.failed: list[tuple[Window, ModelError]] = []

    @property
    def stopped(self) -> str | None:
        """Why not all was asked: None, or that the budget would have been passed."""
        return self._asking.stopped

    @property
    def left(self) -> int:
        """How many windows are still to be asked about."""
        return len(self._waiting) + len(self._asked)

    @property
    def usage(self) -> Usage:
        return self._asking.usage

    def work(self, *, tell: Callable[[Summary], None]) -> Generator[Became, None, None]:
        """What becomes of each window, as the replies come.

        Raises:
            Unavailable, MissingPart: after all that was answered was kept.
        """
        answers = self._asking.work(lambda: self._next(tell=tell))
        with closing(answers):
            for answered in answers:
                became = self._take(answered, tell=tell)
                yield from self._without_call()
                if became is not None:
                    yield became
        yield from self._without_call()

    def _next(self, *, tell: Callable[[Summary], None]) -> Request[Told] | None:
        """The request for the next window that there is enough to tell of."""
        while self._waiting:
            window, room = self._waiting.popleft()
            read = self._read(window, room=room)
            if read is not None:
                self._asked[id(read[0])] = read
                return read[0]
            try:
                self._settled.append(self._shelf.take(window, partial(self._nothing, window), tell=tell))
            except _Stale:
                self._waiting.append((window, None))
        return None

    def _take(self, answered: Answered[Told], *, tell: Callable[[Summary], None]) -> Became | None:
        """Keep a reply; None where its window is to be asked about again."""
        _, material = self._asked.pop(id(answered.request))
        window, told, fault = material.window, answered.value, answered.fault
        if told is not None:
            try:
                return self._shelf.take(window, partial(self._drafted, material, told), tell=tell)
            except _Stale:
                self._waiting.append((window, None))
                return None
        assert fault is not None
        if isinstance(fault, TooLong) and material.tokens > LEAST:
            self._waiting.append((window, material.tokens // 2))
            return None
        self.failed.append((window, fault))
        return Became.FAILED

    def _drafted(self, material: Material, told: Told) -> Draft:
        if not self._materials.holds(material):
            raise _Stale
        return self._materials.draft(material, told)

    def _nothing(self, window: Window) -> None:
        """The draft of a window that there is too little to tell of."""
        if self._materials.of(window) is not None:
            raise _Stale

    def _without_call(self) -> Iterator[Became]:
        while self._settled:
            yield self._settled.popleft()

    def _requests(self, windows: Iterable[Window]) -> Iterator[Request[Told]]:
        for window in windows:
            if (read := self._read(window)) is not None:
                yield read[0]

    def _read(self, window: Window, *, room: int | None = None) -> tuple[Request[Told], Material] | None:
        """What to ask about a window, as it is at this moment."""
        with self._history.checks.snapshot():
            material = self._materials.of(window, room=room)
            return None if material is None else (self._materials.request(material), material)
