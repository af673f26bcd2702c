"""Asks a model's server about a conversation again where that may help, and waits as long as the server asks for.

One place knows what is worth trying again, for every backend that speaks HTTP:

| what happened                                      | tried again | when it stays                           |
|----------------------------------------------------|-------------|-----------------------------------------|
| nobody listens                                     | yes         | Unavailable                             |
| a connection cut, silence, 408, 409, 425, 5xx      | yes         | ModelError: this prompt failed          |
| the same once a reply began: that much was paid    | no          | ModelError: worth being asked again     |
| 429, or one of these statuses with a Retry-After   | yes         | Unavailable; at once where it is longer |
| 401, 403 (the key), 402 and a spent quota (money)  | no          | Unavailable                             |
| every other 4xx, with a Retry-After or without     | no          | Rejected: this prompt, not the next one |

What a server says of its rate limit holds back every thread that asks through the same `Patience`. Where nobody listens
one waits in full, for all: until somebody is there again, whoever asks after that tries once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from threading import Event, Lock
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from lightmem_cli.errors import ModelError, Rejected, Unavailable
from lightmem_cli.llm.waits import limit_reset, wait_asked_for

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from lightmem_cli.protocols import Progress

FIRST_WAIT: Final = 0.5  # seconds; each further one is twice as long, plus up to half a second by chance
LONGEST_WAIT: Final = 30.0
LONGEST_ASKED: Final = 120.0  # a server that asks for more has no time for this run
_PASSING: Final = (408, 409, 425, 429)  # of the statuses below 500, those that are tried again
WORTH_SAYING: Final = 2.0  # a wait of so many seconds is told to the person who waits, too

# How far a try came: nobody listens, a connection that broke, one that said nothing, an answer with a status.
Reached: TypeAlias = Literal["nobody", "broken", "silence", "answer"]

_MASKED_KEY: Final = re.compile(r"\S*\*{3,}\S*|\b(?:(?:sk|pk|key)[-_]|Bearer )[\w.-]{6,}")

_Value = TypeVar("_Value")


class TryFailed(Exception):
    """One try at a prompt that failed: how far it came, and what the server said, in its own `words`.

    `told`: pieces of the reply were told already, so it is not tried again. `money`: the account is empty. `paid` are
    the tokens of the prompt and of a reply that began: whoever asked decides whether to pay for it once more.
    """

    def __init__(
        self,
        words: str,
        *,
        reached: Reached = "answer",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        told: bool = False,
        money: bool = False,
    ) -> None:
        self.words = harmless(words)
        super().__init__(self.words)
        self.reached = reached
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.told = told
        self.money = money
        self.paid: tuple[int, int] | None = None

    @property
    def is_worth_another(self) -> bool:
        if self.told or self.money or self.paid is not None:
            return False
        if self.status is None:
            return True
        return self.status in (408, 409, 425, 429) or self.status >= 500


class Patience:
    """Tries again with growing waits. One for each server, shared by the threads that ask it."""

    def __init__(
        self,
        server: str,
        *,
        retries: int,
        hint: str,
        key_hint: str = "check the API key, and what it allows",
        notice: Progress,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """`server` is what a person is told of it ("Ollama at http://..."), `hint` what to do where nobody listens.

        `key_hint` is what to do where the key is refused. Tests bring a clock and a sleep of their own; else a sleep
        ends when this is closed.
        """
        self._server = server
        self._retries = retries
        self._hint = hint
        self._key_hint = key_hint
        self._notice = notice
        self._clock = clock
        self._closed = Event()
        self._sleep = sleep or self._sleep_while_open
        self._lock = Lock()
        self._held_until = float("-inf")
        self._said_until = float("-inf")
        self._gone = False  # nobody listened, for as long as anybody waits

    def ask(self, call: Callable[[], _Value]) -> _Value:
        """What `call` returns, once it does. It raises TryFailed for each try that fails; what else it raises, ends it.

        Raises:
            Unavailable: nobody listens, or whoever does refuses us: to ask for something else would not help now.
            Rejected: the server takes this prompt at no time.
            ModelError: this prompt failed, as often as it was tried; or all was closed meanwhile.
        """
        from tenacity import Retrying, retry_if_exception

        def once() -> _Value:
            self._wait_for_limit()
            if self._closed.is_set():
                raise ModelError(f"{self._server} is not asked any more: it was closed")
            return call()

        trying = Retrying(
            stop=self._stop,
            wait=self._wait,
            sleep=self._sleep,
            retry=retry_if_exception(lambda error: isinstance(error, TryFailed) and error.is_worth_another),
            reraise=True,
        )
        try:
            value = trying(once)
        except TryFailed as failed:
            self._gone = failed.reached == "nobody"
            given_up = self._given_up(failed)
            given_up.paid = failed.paid
            raise given_up from failed
        self._gone = False
        return value

    def close(self) -> None:
        """Let nobody try once more, and end the waiting."""
        self._closed.set()

    def heed(self, headers: Mapping[str, str]) -> None:
        """Hold back the calls to come where a good reply's headers say that no more are let in for now."""
        wait = limit_reset(headers, now=time.time())
        if 0 < wait <= LONGEST_ASKED:  # of a longer one nobody knows yet whether it is kept: the next call will see
            self._hold(wait)

    def _sleep_while_open(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def _stop(self, state: RetryCallState) -> bool:
        if self._gone and _failure(state).reached == "nobody":
            return True
        return state.attempt_number > self._retries

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next try; what the server asks for holds all threads back, before they try."""
        from tenacity import wait_exponential_jitter

        failed = _failure(state)
        wait: float = wait_exponential_jitter(initial=FIRST_WAIT, max=LONGEST_WAIT, jitter=0.5)(state)
        asked = wait_asked_for(failed.headers, now=time.time())
        if asked is None and failed.status == 429:
            asked = limit_reset(failed.headers, now=time.time()) or None
        if asked is not None and asked > LONGEST_ASKED:
            when = f"{self._server} asks to wait {_spoken(asked)}"
            raise Unavailable(f"{when}: {failed.words}", hint=f"nothing is lost: try again in {_spoken(asked)}")
        if asked is not None:
            self._hold(asked)
            return 0.0 if state.attempt_number == 1 else wait  # who asks for too little, again and again, gets more
        if state.attempt_number <= self._retries and self._is_worth_saying(wait):
            what = "is busy" if failed.status == 429 else "does not answer" if failed.status is None else "fails"
            self._notice(f"{self._server} {what}: trying again in {_spoken(wait)}")
        return wait

    def _hold(self, seconds: float) -> None:
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)

    def _wait_for_limit(self) -> None:
        while (left := self._held_until - self._clock()) > 0 and not self._closed.is_set():
            if self._is_worth_saying(left):
                self._notice(f"{self._server} asks to wait {_spoken(left)}")
            self._sleep(left)

    def _is_worth_saying(self, wait: float) -> bool:
        """Whether a wait is long, and no other thread has said so of one that is not over."""
        with self._lock:
            now = self._clock()
            if wait < WORTH_SAYING or now < self._said_until:
                return False
            self._said_until = now + wait
            return True

    def _given_up(self, failed: TryFailed) -> ModelError:
        """What a person is told of a failure that stays."""
        server, words = self._server, failed.words
        if failed.reached == "nobody":
            return Unavailable(f"{server} does not answer: {words}", hint=self._hint)
        if failed.reached == "silence":
            hint = "give it longer: lightmem config set llm.timeout_seconds 600"
            return ModelError(f"{server} fell silent: {words}", hint=hint)
        if failed.status is None:
            return ModelError(f"{server} broke off: {words}", hint="nothing is lost: run the command again")
        return self._refused(failed, failed.status)

    def _refused(self, failed: TryFailed, status: int) -> ModelError:
        server, words, later = self._server, failed.words, "nothing is lost: try again later"
        if status in (401, 403):
            # The server's own words may hold a part of the key.
            return Unavailable(f"{server} does not let us in (HTTP {status})", hint=self._key_hint)
        if status == 402 or failed.money:
            return Unavailable(f"{server} wants to be paid: {words}", hint="see the account's billing, then try again")
        if status == 429:
            hint = f"{later}, or with fewer calls at once (llm.concurrency)"
            return Unavailable(f"{server} lets no more calls in: {words}", hint=hint)
        if 400 <= status < 500 and status not in _PASSING:
            hint = "nothing is lost; whether it answers others: lightmem doctor"
            return Rejected(f"{server} rejects this prompt (HTTP {status}): {words}", hint=hint)
        if wait_asked_for(failed.headers, now=time.time()) is not None:
            return Unavailable(f"{server} is busy (HTTP {status}): {words}", hint=later)
        return ModelError(f"{server} fails (HTTP {status}): {words}", hint="nothing is lost: run the command again")


def _failure(state: RetryCallState) -> TryFailed:
    failed = state.outcome.exception() if state.outcome else None
    assert isinstance(failed, TryFailed)
    return failed


def shown(url: str) -> str:
    """A server's address as a person may read it: without a user, a password or a query, which may be secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not even whoever connects can read it
        return "what is set as its address"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def harmless(words: str, *, most: int = 200) -> str:
    """What a server said, on one line of `most` characters, without what looks like a key, masked or not."""
    line = _MASKED_KEY.sub("…", " ".join(words.split()))
    return line if len(line) <= most else f"{line[:most]} …"


def without_key(words: str, *, key: str) -> str:
    """`words` without the key, whole or with its middle masked: "sk-ab***wxyz"."""
    if not key:
        return words
    words = words.replace(key, "…")
    if len(key) < 8:
        return words
    masked = r"(?:\*+|\.{2,}|…|•+|x{4,})"
    begin, end = re.escape(key[:4]), re.escape(key[-4:])
    return re.sub(rf"{begin}[\w.*•…-]*{masked}[\w.*•…-]*|[\w*•-]*{masked}[\w-]*{end}", "…", words)


def _spoken(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"
