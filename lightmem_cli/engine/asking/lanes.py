"""Does slow things with pieces of a conversation side by side, in threads that nobody has to wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, NamedTuple, TypeVar

_WAIT = 0.5  # seconds; on Windows Ctrl-C does not interrupt a wait without an end

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Done(NamedTuple, Generic[_Item, _Result]):
    """An item with what came of it: a result or an error."""

    item: _Item
    result: _Result | None
    error: BaseException | None


class Lanes(Generic[_Item, _Result]):
    """Up to `most` threads that `do` one item after the other, oldest first.

    They are daemons: who is interrupted need not wait until a server answers.
    """

    def __init__(self, do: Callable[[_Item], _Result], *, most: int) -> None:
        self._do = do
        self._most = most
        self._todo: SimpleQueue[_Item | None] = SimpleQueue()  # None ends a thread
        self._done: SimpleQueue[Done[_Item, _Result]] = SimpleQueue()
        self._threads: list[Thread] = []

    def put(self, item: _Item) -> None:
        self._todo.put(item)
        if len(self._threads) < self._most:
            self._threads.append(Thread(target=self._serve, daemon=True))
            self._threads[-1].start()

    def next(self) -> Done[_Item, _Result]:
        """What is done next; waits for it."""
        while True:
            with suppress(Empty):
                return self._done.get(timeout=_WAIT)

    def arrived(self) -> Iterator[Done[_Item, _Result]]:
        """What is done already."""
        with suppress(Empty):
            while True:
                yield self._done.get_nowait()

    def drop(self) -> list[_Item]:
        """Take back what no thread has begun."""
        items = []
        with suppress(Empty):
            while (item := self._todo.get_nowait()) is not None:
                items.append(item)
        return items

    def end(self) -> list[_Item]:
        """Begin nothing more, and let each thread end when it has done what it does; what none has begun."""
        items = self.drop()
        for _ in self._threads:
            self._todo.put(None)
        return items

    def _serve(self) -> None:
        while (item := self._todo.get()) is not None:
            try:
                done = Done(item, self._do(item), None)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where what was done is read
                done = Done(item, None, error)
            self._done.put(done)
