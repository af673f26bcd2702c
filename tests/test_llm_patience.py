"""Patience: what is tried again, how long is waited, what is said, and what the server's headers hold back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Barrier, Event, Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import MissingPart, ModelError, Rejected, Unavailable
from lightmem_cli.llm.patience import LONGEST_WAIT, Patience, Reached, TryFailed, harmless, shown
from lightmem_cli.llm.waits import limit_reset, wait_asked_for

NOW = 1_750_000_000.0


@dataclass
class Time:
    """A clock that only sleeping moves; any thread's sleep moves it for all."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self.lock:
            self.slept.append(seconds)
            self.now += seconds

    @property
    def waited(self) -> float:
        return sum(self.slept)

    def patience(self, retries: int = 4) -> Patience:
        return Patience(
            "The server at http://there",
            retries=retries,
            hint="start it",
            key_hint="export KEY",
            notice=self.said.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


@pytest.fixture
def time() -> Time:
    return Time()


def tries(*outcomes: object) -> tuple[Callable[[], object], list[object]]:
    """A call that raises or returns one outcome after the other, then the last for ever; and those it came to."""
    met: list[object] = []

    def call() -> object:
        outcome = outcomes[min(len(met), len(outcomes) - 1)]
        met.append(outcome)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call, met


def status(code: int, headers: Mapping[str, str] | None = None) -> TryFailed:
    return TryFailed("it says so", status=code, headers=headers)


def test_what_works_is_neither_waited_for_nor_spoken_of(time: Time) -> None:
    call, met = tries("four")
    assert time.patience().ask(call) == "four"
    assert (len(met), time.slept, time.said) == (1, [], [])


@pytest.mark.parametrize("code", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_statuses_that_pass_are_tried_again(time: Time, code: int) -> None:
    call, _ = tries(status(code), status(code), "four")
    assert time.patience().ask(call) == "four"
    assert len(time.slept) == 2


@pytest.mark.parametrize("reached", ["nobody", "broken", "silence"])
def test_no_answer_is_tried_again(time: Time, reached: Reached) -> None:
    call, _ = tries(TryFailed("no answer", reached=reached), "four")
    assert time.patience().ask(call) == "four"


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 405, 413, 422])
def test_statuses_that_stay_are_not(time: Time, code: int) -> None:
    call, met = tries(status(code))
    with pytest.raises(ModelError):
        time.patience().ask(call)
    assert (len(met), time.slept) == (1, [])


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_as_many_times_as_the_settings_say(time: Time, retries: int) -> None:
    call, met = tries(status(500))
    with pytest.raises(ModelError):
        time.patience(retries).ask(call)
    assert len(met) == retries + 1
    assert len(time.slept) == retries


@pytest.mark.parametrize(
    ("failed", "error", "says", "hint"),
    [
        (TryFailed("[Errno 111]", reached="nobody"), Unavailable, "does not answer: [Errno 111]", "start it"),
        (TryFailed("for 9 s", reached="silence"), ModelError, "fell silent: for 9 s", "llm.timeout_seconds"),
        (TryFailed("halfway", reached="broken"), ModelError, "broke off: halfway", "run the command again"),
        (status(401), Unavailable, "does not let us in (HTTP 401)", "export KEY"),
        (status(403), Unavailable, "does not let us in (HTTP 403)", "export KEY"),
        (status(402), Unavailable, "wants to be paid: it says so", "billing"),
        (TryFailed("no quota", status=429, money=True), Unavailable, "wants to be paid: no quota", "billing"),
        (status(429), Unavailable, "lets no more calls in: it says so", "llm.concurrency"),
        (status(500), ModelError, "fails (HTTP 500): it says so", "run the command again"),
        (status(422), Rejected, "rejects this prompt (HTTP 422): it says so", "lightmem doctor"),
        (status(400, {"retry-after": "9"}), Rejected, "rejects this prompt (HTTP 400): it says so", "lightmem doctor"),
        (status(409), ModelError, "fails (HTTP 409): it says so", "run the command again"),
        (status(503), ModelError, "fails (HTTP 503): it says so", "run the command again"),
        (status(503, {"retry-after": "9"}), Unavailable, "is busy (HTTP 503): it says so", "try again later"),
    ],
)
def test_what_stays_is_said_with_what_to_do(
    time: Time, failed: TryFailed, error: type[ModelError], says: str, hint: str
) -> None:
    call, _ = tries(failed)
    with pytest.raises(ModelError) as raised:
        time.patience(retries=1).ask(call)
    assert type(raised.value) is error
    assert raised.value.message == f"The server at http://there {says}"
    assert hint in str(raised.value.hint)


def test_what_the_server_says_to_a_key_is_not_repeated(time: Time) -> None:
    call, _ = tries(TryFailed("Incorrect API key provided: sk-abcde*******wxyz.", status=401))
    with pytest.raises(Unavailable) as raised:
        time.patience().ask(call)
    assert "sk-" not in raised.value.message


@pytest.mark.parametrize(
    "failed",
    [
        TryFailed("cut", reached="broken", told=True),
        TryFailed("cut", reached="silence", told=True),
        TryFailed("no quota", status=429, money=True),
    ],
)
def test_nothing_more_is_tried_once_pieces_were_told_or_the_money_is_gone(time: Time, failed: TryFailed) -> None:
    call, met = tries(failed)
    with pytest.raises(ModelError):
        time.patience().ask(call)
    assert len(met) == 1


def test_other_errors_end_it_as_they_are(time: Time) -> None:
    for error in (MissingPart("no model"), KeyError("a bug")):
        call, met = tries(error)
        with pytest.raises(type(error)) as raised:
            time.patience().ask(call)
        assert raised.value is error
        assert len(met) == 1


# How long is waited


def test_waits_grow_by_two_with_some_chance_and_have_a_limit(time: Time) -> None:
    call, _ = tries(status(500))
    with pytest.raises(ModelError):
        time.patience(retries=12).ask(call)
    for n, wait in enumerate(time.slept):
        assert min(0.5 * 2**n, LONGEST_WAIT) <= wait <= min(0.5 * 2**n + 0.5, LONGEST_WAIT)
    assert len({round(wait % 1, 6) for wait in time.slept[:6]}) > 1


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12s"}, 12.0),
        ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "12s"}, None),
    ],
)
def test_a_429_is_waited_out_as_the_server_asks(time: Time, headers: dict[str, str], wait: float | None) -> None:
    call, _ = tries(status(429, headers), "four")
    assert time.patience().ask(call) == "four"
    assert time.waited == pytest.approx(wait) if wait is not None else 0.5 <= time.waited <= 1


def test_a_503_may_ask_to_wait_as_well(time: Time) -> None:
    call, _ = tries(status(503, {"retry-after": "7"}), "four")
    assert time.patience().ask(call) == "four"
    assert time.waited == pytest.approx(7)


def test_who_asks_for_no_wait_at_all_gets_one_the_second_time(time: Time) -> None:
    call, _ = tries(*[status(429, {"retry-after": "0"})] * 3, "four")
    assert time.patience().ask(call) == "four"
    assert time.slept[0] == 0
    assert 1 <= time.slept[1] <= 1.5
    assert 2 <= time.slept[2] <= 2.5


def test_who_asks_for_longer_than_anyone_waits_is_unavailable_until_then(time: Time) -> None:
    call, met = tries(status(429, {"retry-after": "5400"}))
    with pytest.raises(Unavailable, match="asks to wait 90 min: it says so") as raised:
        time.patience().ask(call)
    assert raised.value.hint == "nothing is lost: try again in 90 min"
    assert (len(met), time.slept) == (1, [])


def test_a_long_wait_is_told_once(time: Time) -> None:
    call, _ = tries(status(429, {"retry-after": "20"}), "four")
    time.patience().ask(call)
    assert time.said == ["The server at http://there asks to wait 20 s"]


def test_a_short_wait_is_not(time: Time) -> None:
    call, _ = tries(status(429, {"retry-after": "1"}), status(500), "four")
    time.patience().ask(call)
    assert time.said == []


@pytest.mark.parametrize(
    ("failed", "what"),
    [
        (TryFailed("", reached="nobody"), "does not answer"),
        (status(500), "fails"),
        (status(429), "is busy"),
    ],
)
def test_our_own_long_waits_are_told_too(time: Time, failed: TryFailed, what: str) -> None:
    call, _ = tries(*[failed] * 3, "four")  # .5 to 1 s, 1 to 1.5 s, 2 to 2.5 s
    time.patience().ask(call)
    assert time.said == [f"The server at http://there {what}: trying again in 2 s"]


def test_a_wait_that_no_try_follows_is_not_told(time: Time) -> None:
    call, _ = tries(status(500))
    with pytest.raises(ModelError):
        time.patience(retries=2).ask(call)
    assert time.said == []


# What a server's limit holds back


def test_a_good_reply_that_was_the_last_one_let_in_holds_back_the_next(time: Time) -> None:
    patience = time.patience()
    patience.heed({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6s"})
    call, _ = tries("four")
    assert patience.ask(call) == "four"
    assert time.waited == pytest.approx(6)
    assert time.said == ["The server at http://there asks to wait 6 s"]
    patience.ask(call)
    assert time.waited == pytest.approx(6)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining-requests": "4999", "x-ratelimit-reset-requests": "12ms"},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "24h0m0s"},  # the next call will see
    ],
)
def test_a_good_reply_that_says_nothing_of_the_kind_does_not(time: Time, headers: dict[str, str]) -> None:
    patience = time.patience()
    patience.heed(headers)
    call, _ = tries("four")
    patience.ask(call)
    assert time.slept == []


def test_one_threads_429_holds_all_back_and_is_told_once(time: Time) -> None:
    """Eight ask at once and one is refused: until its time is over nobody asks, and the person hears one line."""
    patience = time.patience()
    call, _ = tries(status(429, {"retry-after": "30"}), "four")
    assert patience.ask(call) == "four"
    time.now -= 15  # halfway through it ...
    together = Barrier(8)
    began: list[float] = []

    def ask(_: int) -> object:
        together.wait()
        return patience.ask(lambda: began.append(time.now))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert len(began) == 8
    assert min(began) >= 130  # ... they all wait for its end
    assert len(time.said) == 1


# Who is not there


def test_who_is_not_there_is_waited_for_once(time: Time) -> None:
    """First somebody asks for the model's context, then for a reply: the second time nobody waits any more."""
    call, met = tries(TryFailed("[Errno 111]", reached="nobody"))
    patience = time.patience()
    for _ in range(3):
        with pytest.raises(Unavailable):
            patience.ask(call)
    assert len(met) == 5 + 1 + 1
    assert time.waited < 10
    assert len(time.said) == 2  # two of its waits are long


def test_who_is_there_again_is_waited_for_again(time: Time) -> None:
    gone = TryFailed("[Errno 111]", reached="nobody")
    call, _ = tries(*[gone] * 5, "four", *[gone] * 2, "five")
    patience = time.patience()
    with pytest.raises(Unavailable):
        patience.ask(call)
    assert [patience.ask(call), patience.ask(call)] == ["four", "five"]


def test_who_only_fails_is_waited_for_as_ever(time: Time) -> None:
    call, met = tries(*[TryFailed("[Errno 111]", reached="nobody")] * 5, status(500))
    patience = time.patience()
    for _ in range(2):
        with pytest.raises(ModelError):
            patience.ask(call)
    assert len(met) == 10


# Closing


def test_closing_ends_the_waiting_and_nothing_more_is_tried() -> None:
    patience = Patience("The server", retries=4, hint="start it", notice=lambda line: None)
    call, met = tries(status(503, {"retry-after": "60"}))
    tried = Event()

    def trying() -> object:
        tried.set()
        return call()

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(patience.ask, trying)
        assert tried.wait(30)
        patience.close()
        error = asking.exception(timeout=30)
    assert type(error) is ModelError and "was closed" in str(error)
    with pytest.raises(ModelError, match="was closed"):
        patience.ask(trying)
    assert len(met) == 1


# Reading headers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3s", 3723),
        ("1d", 86_400),
        ("20ms", 0.02),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("12", 12),
        (str(int(NOW) + 42), 42),
        (str(int(NOW * 1000) + 42_000), 42),
        (datetime.fromtimestamp(NOW + 5, UTC).isoformat().replace("+00:00", "Z"), 5),
        (format_datetime(datetime.fromtimestamp(NOW + 5, UTC), usegmt=True), 5),
        (str(int(NOW) - 42), 0),
    ],
)
def test_resets_are_read_in_every_form_servers_write_them(value: str, seconds: float) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    assert limit_reset(headers, now=NOW) == pytest.approx(seconds)
    assert limit_reset({"x-ratelimit-remaining": "0", "x-ratelimit-reset": value}, now=NOW) == pytest.approx(seconds)


def test_the_last_of_several_limits_counts_and_only_those_that_are_used_up() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "3s",
        "x-ratelimit-remaining-tokens": "-12",
        "x-ratelimit-reset-tokens": "8s",
        "x-ratelimit-remaining": "1",
        "x-ratelimit-reset": "99",
    }
    assert limit_reset(headers, now=NOW) == 8


@given(st.integers(0, 10**7))
def test_an_http_date_is_as_far_away_as_its_seconds(seconds: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=seconds), usegmt=True)
    assert wait_asked_for({"retry-after": date}, now=NOW) == seconds
    assert wait_asked_for({"retry-after": str(seconds)}, now=NOW) == seconds


@given(st.text(max_size=40))
def test_no_header_breaks_anything(value: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        wait = wait_asked_for({name: value}, now=NOW)
        assert wait is None or wait >= 0
    assert limit_reset({"x-ratelimit-remaining": value, "x-ratelimit-reset": value}, now=NOW) >= 0


@pytest.mark.parametrize("value", ["nan", "inf", "-5", "1e400", "9" * 400, "", " ", "tomorrow", "2025-13-40", "5x"])
def test_nonsense_is_no_wait_at_all(value: str) -> None:
    assert not wait_asked_for({"retry-after": value}, now=NOW)


# What is told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("Incorrect API key provided: sk-abcde*******wxyz.", "Incorrect API key provided: …"),
        ("no such key: sk-proj-Ab12Cd34Ef56", "no such key: …"),
        ("got Authorization: Bearer abcdef123456", "got Authorization: …"),
        ("two\n lines\tof it", "two lines of it"),
        ("llama runner has terminated: exit status 2", "llama runner has terminated: exit status 2"),
        ("x" * 300, "x" * 200 + " …"),
    ],
)
def test_a_servers_words_are_one_line_without_keys(words: str, told: str) -> None:
    assert harmless(words) == told


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("https://anna:s3cret@there.example:8443/v1/", "https://there.example:8443/v1"),
        ("https://there.example/v1?key=s3cret#x", "https://there.example/v1"),
        ("http://[::1]:11434/", "http://[::1]:11434"),
        ("http://[broken", "what is set as its address"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url: str, seen: str) -> None:
    assert shown(url) == seen
