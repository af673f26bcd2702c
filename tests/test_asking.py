"""Asking: many calls at once, none paid twice, none lost; within the budget; and an end whenever there must be one."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from changes import called
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memories import empty_home, line, opened, take_into

from lightmem_cli.engine import Budget, Memory
from lightmem_cli.engine.asking import Answered, Asking, Estimate, Request, streak
from lightmem_cli.engine.log import run_told, runs
from lightmem_cli.errors import BadReply, HalfRead, MissingPart, ModelError, Rejected, TooLong, Unavailable
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm.scripted import ScriptedModel
from lightmem_cli.protocols import JsonSchema, Prompt, Reply
from lightmem_cli.records import Entry, Kind, MessageKey, State, Usage

LONG = 20.0  # seconds; only a test that fails waits so long
PREFIX = "Say what was said. " * 4


@pytest.fixture
def memory(home: Path) -> Iterator[Memory]:
    with opened(home) as memory:
        take_into(memory, [line(id=f"m{n}", content=f"Message {n}.", session="s") for n in (1, 2, 3)])
        yield memory


def read(text: str) -> str:
    if text.startswith("bad"):
        raise BadReply(f"it begins with {text[:3]!r}")
    return text


def request(body: str, **fields: Any) -> Request[str]:
    given: dict[str, Any] = {"purpose": "extract", "version": "facts-1", "most": 100, "messages": (1,), "read": read}
    return Request(**{**given, "prompt": Prompt(PREFIX, body), **fields})


def requests(number: int, **fields: Any) -> list[Request[str]]:
    return [request(f"body {n}", **fields) for n in range(number)]


def echo(prompt: Prompt) -> str:
    return f"re: {prompt.body}"


def asked_of(memory: Memory, reply: Callable[[Prompt], str | BaseException] = echo, **how: Any) -> ScriptedModel:
    """Let a scripted model be the memory's."""
    model = ScriptedModel(reply, **how)
    memory.__dict__["model"] = model
    return model


def ask(memory: Memory, what: Iterable[Request[str]]) -> list[Answered[str]]:
    with memory.run("extract") as run:
        return list(Asking(memory, run=run).work(handing_out(what)))


def handing_out(what: Iterable[Request[str]]) -> Callable[[], Request[str] | None]:
    left = iter(what)
    return lambda: next(left, None)


def values(answers: Iterable[Answered[str]]) -> set[str | None]:
    return {answered.value for answered in answers}


@dataclass
class Row:
    purpose: str
    model: str
    prompt: str
    reply: str | None
    refused: str | None
    tokens: tuple[int, int, int]
    command: str
    messages: list[int]


def ledger(memory: Memory) -> list[Row]:
    """What is on record for everybody, read through another connection."""
    with closing(sqlite3.connect(memory.history.path)) as connection:
        rows = connection.execute(
            "SELECT c.id, purpose, model, prompt, reply, refused, prompt_tokens, completion_tokens, cached_tokens,"
            " command FROM model_calls c JOIN runs r ON r.id = c.run ORDER BY c.id"
        ).fetchall()
        inputs = "SELECT message FROM model_inputs WHERE call = ? ORDER BY 1"
        return [
            Row(*row[:5], tuple(row[5:8]), row[8], [id for (id,) in connection.execute(inputs, (call,))])
            for call, *row in rows
        ]


# Several at once ----------------------------------------------------------------------------------------------------


class Gate:
    """A model's replies that wait to be let through, one by one; how many wait is how many calls are in flight."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._let: set[str] = set()

    def reply(self, prompt: Prompt) -> str:
        with self._changed:
            self._waiting.append(prompt.body)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: prompt.body in self._let, LONG)
            self._waiting.remove(prompt.body)
            self._changed.notify_all()
        return echo(prompt)

    def waits_for(self, number: int, *, but: Sequence[str] = ()) -> list[str]:
        """Wait until so many calls are in flight, not counting some; which."""

        def waiting() -> list[str]:
            return [body for body in self._waiting if body not in but]

        with self._changed:
            assert self._changed.wait_for(lambda: len(waiting()) >= number, LONG), self._waiting
            return waiting()

    def let(self, *bodies: str) -> None:
        with self._changed:
            self._let.update(bodies)
            self._changed.notify_all()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks does not wait for a first answer before it asks more than three things."""
    monkeypatch.setattr(streak, "MOST", 99)


@pytest.mark.parametrize("at_once", [1, 4])
def test_so_many_calls_are_in_flight_as_long_as_there_is_work(home: Path, at_once: int, trusted: None) -> None:
    """Also while an answer is being dealt with: nothing here lets anybody ask but what was sent off before."""
    gate, number = Gate(), 16
    with opened(home, llm={"concurrency": at_once}) as memory, memory.run("extract") as run:
        model = asked_of(memory, gate.reply)
        opener = threading.Thread(target=lambda: gate.let(gate.waits_for(at_once)[0]))
        opener.start()
        seen, let = set(), 1
        for answered in Asking(memory, run=run).work(handing_out(requests(number, messages=()))):
            seen.add(answered.value)
            in_flight = gate.waits_for(min(at_once, number - let))
            assert len(in_flight) <= at_once
            if len(seen) == 1:  # all of them end while this answer is being dealt with
                gate.let(*in_flight)
                let += len(in_flight)
                in_flight = gate.waits_for(at_once, but=in_flight)
            gate.let(*in_flight[-1:])  # the last one first
            let += len(in_flight[-1:])
        opener.join()
        assert seen == {f"re: body {n}" for n in range(number)}
        assert len(model.prompts) == number


def test_lanes_have_enough_to_ask_while_an_answer_takes_long(home: Path) -> None:
    """As the first one does, for which an embedder is loaded."""
    with opened(home, llm={"concurrency": 1}) as memory, memory.run("extract") as run:
        asked, later = threading.Semaphore(0), 3

        def reply(prompt: Prompt) -> str:
            asked.release()
            return echo(prompt)

        model = asked_of(memory, reply)
        answers = Asking(memory, run=run).work(handing_out(requests(20, messages=())))
        next(answers)
        for _ in range(1 + later):
            assert asked.acquire(timeout=LONG)
        assert len(model.prompts) >= 1 + later
        answers.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_each_request_gets_its_own_reply_in_whatever_order_they_come(order: list[int], trusted: None) -> None:
    turns = {f"body {n}": threading.Event() for n in order}
    following = dict(zip((f"body {n}" for n in order), [*(f"body {n}" for n in order[1:]), None], strict=True))

    def reply(prompt: Prompt) -> str:
        assert turns[prompt.body].wait(LONG)
        if (after := following[prompt.body]) is not None:
            turns[after].set()
        return echo(prompt)

    with empty_home() as home, opened(home, llm={"concurrency": 6}) as memory:
        asked_of(memory, reply)
        turns[f"body {order[0]}"].set()
        answers = ask(memory, requests(6, messages=()))
    assert {one.request.prompt.body: one.value for one in answers} == {body: f"re: {body}" for body in turns}


def test_threads_only_ask(memory: Memory) -> None:
    """History's connection is this thread's, and so is what callers do in `next_request` and `read`."""
    at_work, threads = [], []

    def reading(text: str) -> int:
        at_work.append(threading.get_ident())
        return memory.history.counts.messages() + len(text)

    def next_request() -> Request[int] | None:
        at_work.append(threading.get_ident())
        return next(left, None)

    def reply(prompt: Prompt) -> str:
        threads.append(threading.get_ident())
        return echo(prompt)

    left = iter([request(f"body {n}", read=reading) for n in range(9)])
    asked_of(memory, reply)
    with memory.run("extract") as run:
        assert len(list(Asking(memory, run=run).work(next_request))) == 9
    assert set(at_work) == {threading.get_ident()}
    assert threading.get_ident() not in threads


def taking_from(queue: list[Request[str]]) -> Callable[[], Request[str] | None]:
    return lambda: queue.pop() if queue else None


def test_what_came_of_one_may_lead_to_others(memory: Memory) -> None:
    queue = [request("1 2 3 4")]
    asked_of(memory)
    with memory.run("extract") as run:
        leaves = []
        for answered in Asking(memory, run=run).work(taking_from(queue)):
            words = answered.request.prompt.body.split()
            if len(words) > 1:
                queue += [request(" ".join(words[: len(words) // 2])), request(" ".join(words[len(words) // 2 :]))]
            else:
                leaves += words
    assert sorted(leaves) == ["1", "2", "3", "4"]
    assert len(ledger(memory)) == 7


def test_a_fault_may_lead_to_others_too(memory: Memory) -> None:
    queue = [request("1 2")]
    asked_of(memory, lambda prompt: ModelError("too much for me") if " " in prompt.body else echo(prompt))
    with memory.run("extract") as run:
        seen = []
        for answered in Asking(memory, run=run).work(taking_from(queue)):
            seen.append(answered.value)
            if answered.fault is not None:
                queue += [request(word) for word in answered.request.prompt.body.split()]
    assert seen[0] is None
    assert set(seen[1:]) == {"re: 1", "re: 2"}


# The ledger ---------------------------------------------------------------------------------------------------------


def test_each_reply_is_on_record_before_its_answer_is_handed_out(memory: Memory) -> None:
    asked_of(memory, lambda prompt: "bad" if prompt.body.startswith("body 1") else echo(prompt))
    with memory.run("extract") as run:
        for done, _ in enumerate(Asking(memory, run=run).work(handing_out(requests(3, messages=(2, 1, 2)))), start=1):
            assert len(ledger(memory)) >= done
    prompt = count_tokens(PREFIX) + count_tokens("body 0")
    rows = {(row.reply, row.refused) for row in ledger(memory)}
    assert rows == {("re: body 0", None), ("re: body 2", None), (None, "it begins with 'bad'")}
    [row] = [row for row in ledger(memory) if row.reply == "re: body 0"]
    assert row == Row(
        purpose="extract",
        model="scripted/test",
        prompt="facts-1",
        reply="re: body 0",
        refused=None,
        tokens=(prompt, count_tokens("re: body 0"), 0),
        command="extract",
        messages=[1, 2],
    )


def test_what_was_asked_before_costs_nothing(memory: Memory) -> None:
    model = asked_of(memory)
    first = ask(memory, requests(5))
    again = ask(memory, requests(5))
    assert len(model.prompts) == len(ledger(memory)) == 5
    assert values(first) == values(again)
    assert {one.usage for one in again} == {Usage()}
    with memory.run("extract") as run:
        asking = Asking(memory, run=run)
        assert asking.once(requests(1)[0]).value == "re: body 0"
        assert asking.usage == Usage()


@pytest.mark.parametrize(
    "other",
    [
        {"request": {"version": "facts-2"}},
        {"request": {"schema": {"type": "object"}}},
        {"request": {"prompt": Prompt(PREFIX + ".", "body 0")}},
        {"request": {"prompt": Prompt(PREFIX, "body 0.")}},
        {"request": {"prompt": Prompt(PREFIX + "body", " 0")}},
        {"model": {"manner": "temperature 1"}},
        {"model": {"name": "scripted/other"}},
    ],
    ids=lambda other: str(other)[:40],
)
def test_whatever_decides_the_reply_is_asked_anew(memory: Memory, other: dict[str, dict[str, Any]]) -> None:
    asked_of(memory)
    ask(memory, requests(1))
    model = asked_of(memory, **other.get("model", {}))
    ask(memory, [request("body 0", **other.get("request", {}))])
    assert len(model.prompts) == 1


def test_what_was_accepted_once_and_is_not_any_more_is_asked_anew(memory: Memory) -> None:
    asked_of(memory)
    ask(memory, requests(1))
    model = asked_of(memory, lambda prompt: "new")

    def stricter(text: str) -> str:
        if text.startswith("re:"):
            raise BadReply("it only echoes")
        return text

    for _ in range(2):
        assert values(ask(memory, requests(1, read=stricter))) == {"new"}
    assert len(model.prompts) == 1


def test_the_same_twice_at_once_is_paid_once(memory: Memory) -> None:
    gate = Gate()
    model = asked_of(memory, gate.reply)
    gate.let("body 0", "body 1")
    same = [request("body 0"), request("body 0"), request("body 1"), request("body 0")]
    answers = ask(memory, same)
    assert sorted(one.value or "" for one in answers) == ["re: body 0"] * 3 + ["re: body 1"]
    assert sorted(one.usage.calls for one in answers) == [0, 0, 1, 1]
    assert len(model.prompts) == 2


def test_the_same_twice_at_once_that_is_refused_is_asked_for_each(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: "bad")
    answers = ask(memory, [request("body 0"), request("body 0")])
    assert [str(one.fault) for one in answers] == ["it begins with 'bad'"] * 2
    assert len(model.prompts) == 4


@pytest.mark.parametrize("error", [ModelError, Rejected, TooLong])
def test_the_same_twice_at_once_that_fails_fails_twice_and_is_asked_once(
    memory: Memory, error: type[ModelError]
) -> None:
    model = asked_of(memory, lambda prompt: error("no") if prompt.body == "body 0" else echo(prompt))
    same = [request("body 0"), request("body 0"), request("body 1"), request("body 0")]
    answers = ask(memory, same)
    assert sorted(str(one.fault) for one in answers) == ["None", "no", "no", "no"]
    assert len(model.prompts) == 2


# Bad replies --------------------------------------------------------------------------------------------------------


def test_a_bad_reply_is_asked_for_once_more_with_what_was_wrong(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: "good" if "You replied" in prompt.body else "bad luck")
    [answered] = ask(memory, requests(1))
    first, second = model.prompts
    assert second.prefix == first.prefix  # a server has read it
    assert second.body.startswith(first.body)
    assert "bad luck" in second.body
    assert "it begins with 'bad'" in second.body
    assert (answered.value, answered.fault, answered.usage.calls) == ("good", None, 2)
    assert [(row.reply, row.refused) for row in ledger(memory)] == [(None, "it begins with 'bad'"), ("good", None)]
    assert answered.usage.tokens == sum(sum(row.tokens) for row in ledger(memory))
    assert values(ask(memory, requests(1))) == {"good"}  # the repaired reply answers the prompt as it was
    assert len(model.prompts) == 2


def test_a_second_bad_reply_is_a_fault(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: "bad" if "You replied" in prompt.body else "bad " + "x" * 9_999)
    [answered] = ask(memory, requests(1, most=9_999))
    assert isinstance(answered.fault, BadReply)
    assert (answered.value, answered.usage.calls, len(model.prompts)) == (None, 2, 2)
    assert len(model.prompts[1].body) < 3_000  # of a long reply the beginning is shown
    assert {row.reply for row in ledger(memory)} == {None}


def test_an_empty_reply_is_shown_as_nothing(memory: Memory) -> None:
    def full(text: str) -> str:
        if not text:
            raise BadReply("the reply is empty")
        return text

    model = asked_of(memory, lambda prompt: "full" if "(nothing)" in prompt.body else "")
    assert values(ask(memory, requests(1, read=full))) == {"full"}
    assert len(model.prompts) == 2


def test_a_reply_that_was_cut_off_is_not_asked_for_again(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: "x" * 99)
    [answered] = ask(memory, requests(1, most=10))
    assert str(answered.fault) == "the reply was cut off after 10 tokens"
    assert len(model.prompts) == 1
    assert [(row.reply, row.refused) for row in ledger(memory)] == [(None, str(answered.fault))]


def test_where_a_part_will_do_one_that_was_cut_off_is_read_and_asked_anew_the_next_time(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: "x" * 99)
    for _ in range(2):
        [answered] = ask(memory, requests(1, most=10, whole=False))
        assert (answered.value, answered.fault) == ("x" * 40, None)
    assert len(model.prompts) == 2


def test_what_cannot_be_read_at_all_is_a_fault_that_was_paid(memory: Memory) -> None:
    asked_of(memory, lambda prompt: BadReply("that is no text") if prompt.body == "body 1" else echo(prompt))
    answers = ask(memory, requests(3))
    assert [one.usage.calls for one in answers] == [1, 1, 1]
    assert [str(one.fault) for one in answers if one.fault] == ["that is no text"]
    assert "that is no text" in {row.refused for row in ledger(memory)}


# Failures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unavailable("nobody answers", hint="ollama serve"), MissingPart("no such model")])
def test_where_nobody_answers_the_rest_is_not_asked(memory: Memory, error: Exception) -> None:
    answers: list[Answered[str]] = []
    model = asked_of(memory, lambda prompt: echo(prompt) if prompt.body in {"body 0", "body 1"} else error)
    with memory.run("extract") as run, pytest.raises(type(error)) as raised:
        answers.extend(Asking(memory, run=run).work(handing_out(requests(50))))
    assert raised.value is error
    assert len(model.prompts) < 14
    assert values(answers) <= {"re: body 0", "re: body 1"}
    assert {row.reply for row in ledger(memory)} == values(answers)


def test_what_is_asked_already_when_the_server_goes_is_answered_first(memory: Memory, trusted: None) -> None:
    gate = Gate()

    def reply(prompt: Prompt) -> str | BaseException:
        if prompt.body == "body 3":
            gate.waits_for(3)
            gate.let("body 0", "body 1", "body 2")
            return Unavailable("gone")
        return gate.reply(prompt)

    model = asked_of(memory, reply)
    answers: list[Answered[str]] = []
    gone = threading.Event()

    with memory.run("extract") as run, pytest.raises(Unavailable):
        for answered in Asking(memory, run=run).work(handing_out(requests(4))):
            answers.append(answered)
            gone.set()
    assert values(answers) == {"re: body 0", "re: body 1", "re: body 2"}
    assert len(model.prompts) == 4


def failing(*bodies: int, error: type[ModelError] = ModelError) -> Callable[[Prompt], str | BaseException]:
    return lambda prompt: error("timed out") if prompt.body in {f"body {n}" for n in bodies} else echo(prompt)


def one_by_one(home: Path) -> Memory:
    return opened(home, llm={"concurrency": 1})


def test_three_prompts_failing_one_after_the_other_are_a_server_that_is_not_there(home: Path, trusted: None) -> None:
    with one_by_one(home) as memory:
        answers: list[Answered[str]] = []
        model = asked_of(memory, failing(*range(1, 50)))
        with memory.run("extract") as run, pytest.raises(Unavailable, match=r"timed out \(3 prompts failed"):
            answers.extend(Asking(memory, run=run).work(handing_out(requests(50, messages=()))))
        assert values(answers) == {"re: body 0"}  # no prompt is blamed
        assert len(model.prompts) <= 5  # one more was on its way


def test_prompts_that_fail_between_replies_are_faults(home: Path) -> None:
    with one_by_one(home) as memory:
        asked_of(memory, failing(0, 1, 3, 4, 6, 7))
        answers = ask(memory, requests(8, messages=()))
        assert [one.request.prompt.body for one in answers if one.fault] == [f"body {n}" for n in (0, 1, 3, 4, 6, 7)]
        assert len(answers) == 8


@pytest.mark.parametrize("error", [TooLong, BadReply, Rejected])
def test_prompts_that_fail_by_themselves_say_nothing_of_the_server(home: Path, error: type[ModelError]) -> None:
    with one_by_one(home) as memory:
        asked_of(memory, failing(*range(1, 21), error=error))
        answers = ask(memory, requests(21, messages=()))
        assert [type(one.fault) for one in answers] == [type(None)] + [error] * 20


def test_a_server_that_rejects_a_prompt_is_there(home: Path) -> None:
    def reply(prompt: Prompt) -> str | BaseException:
        return Rejected("the content filter") if prompt.body in ("body 2", "body 5") else ModelError("timed out")

    with one_by_one(home) as memory:
        asked_of(memory, reply)
        answers: list[Answered[str]] = []
        with memory.run("extract") as run, pytest.raises(Unavailable):
            answers.extend(Asking(memory, run=run).work(handing_out(requests(50, messages=()))))
        assert sorted(one.request.prompt.body for one in answers) == [f"body {n}" for n in range(6)]


# A model that fails alike --------------------------------------------------------------------------------------------


def asked_often(memory: Memory, what: Iterable[Request[str]]) -> None:
    """As a hook does after every turn."""
    with memory.run("ingest") as run:
        list(Asking(memory, run=run).work(handing_out(what)))


def unfit(prompt: Prompt) -> str:
    return "bad"


@pytest.mark.parametrize("at_once", [1, 4, 16])
@pytest.mark.parametrize("error", [None, BadReply, Rejected])
def test_the_first_three_that_fail_alike_are_the_last(home: Path, error: type[ModelError] | None, at_once: int) -> None:
    with opened(home, llm={"concurrency": at_once}) as memory:
        model = asked_of(memory, unfit if error is None else failing(*range(50), error=error))
        answers: list[Answered[str]] = []
        with memory.run("extract") as run, pytest.raises(Unavailable, match="failed 3 times in a row") as gone:
            answers.extend(Asking(memory, run=run).work(handing_out(requests(50, messages=()))))
        assert gone.value.hint is not None and "lightmem config set llm.model" in gone.value.hint
        assert len(model.prompts) == (6 if error is None else 3), "a bad reply is asked for once more, each"
        assert [one.request.prompt.body for one in answers] == [f"body {n}" for n in range(3)]


def test_after_a_first_answer_it_is_what_was_asked_that_fails(memory: Memory) -> None:
    model = asked_of(memory, failing(*range(1, 40), error=Rejected))
    answers = ask(memory, requests(40, messages=()))
    assert len(answers) == len(model.prompts) == 40


def test_a_model_that_failed_alike_is_asked_one_thing_by_the_next_run_and_nothing_by_a_hook(memory: Memory) -> None:
    asked_of(memory, failing(*range(50), error=Rejected))
    with pytest.raises(Unavailable):
        ask(memory, requests(50))
    model = asked_of(memory, failing(*range(50), error=Rejected))
    for _ in range(3):
        with pytest.raises(Unavailable, match="failed 3 times in a row"):
            asked_often(memory, requests(50))
    assert model.prompts == []
    with pytest.raises(Unavailable, match="failed 4 times in a row, the last time with: timed out"):
        ask(memory, requests(50))
    assert len(model.prompts) == 1
    model = asked_of(memory)
    assert len(ask(memory, requests(9))) == len(model.prompts) == 9
    asked_often(memory, requests(12))
    assert len(model.prompts) == 12, "it answers again: nine are known"


def test_a_hook_that_asks_one_thing_a_run_counts_too(memory: Memory) -> None:
    model = asked_of(memory, failing(*range(50), error=Rejected))
    for n in range(5):
        with suppress(Unavailable):
            asked_often(memory, [list(requests(5))[n]])
    assert len(model.prompts) == 3


def test_doctor_has_a_hook_ask_again(memory: Memory) -> None:
    asked_of(memory, failing(*range(50), error=Rejected))
    with pytest.raises(Unavailable):
        ask(memory, requests(50))
    Asking(memory).tried(failed=False)
    model = asked_of(memory)
    asked_often(memory, requests(5))
    assert len(model.prompts) == 5


def test_what_failed_in_an_earlier_run_says_nothing_of_the_model(memory: Memory) -> None:
    asked_of(memory)
    ask(memory, requests(1))
    model = asked_of(memory, failing(*range(50), error=Rejected))
    for one in requests(6)[1:]:
        assert len(ask(memory, [replace(one, again=True)])) == 1
    assert len(model.prompts) == 5


def test_of_a_model_that_never_answered_every_failure_counts(memory: Memory) -> None:
    model = asked_of(memory, failing(*range(50), error=Rejected))
    with pytest.raises(Unavailable):
        ask(memory, [replace(one, again=True) for one in requests(9)])
    assert len(model.prompts) == 3


def test_an_answer_to_another_process_counts_for_this_one(memory: Memory) -> None:
    def process() -> streak.Streak:
        return streak.Streak(memory.settings, name="tiny", kept=memory.remembered, often=False)

    this, other = process(), process()
    for _ in range(2):
        this.failed("extract", BadReply("no"), again=False)
    other.answered("extract")
    this.failed("extract", BadReply("no"), again=False)
    assert this.over is None
    for _ in range(2):
        this.failed("extract", BadReply("no"), again=False)
    assert this.over is not None and "failed 3 times in a row" in this.over.message
    third = process()
    third.failed("extract", BadReply("no"), again=False)
    assert third.over is not None and "failed 4 times" in third.over.message


@pytest.mark.parametrize("kept", ["", "x", "[3]", "{}", "null", "-1 answered", "9" * 5000, "3\x00"])
def test_a_count_that_cannot_be_read_counts_for_nothing_much(memory: Memory, kept: str) -> None:
    asked_of(memory)
    streak.Streak(memory.settings, name="", kept=memory.remembered, often=False).tried(failed=True)
    with memory.history.transaction():
        memory.history.connection.execute("UPDATE profile SET value = ? WHERE key LIKE 'llm failed %'", (kept,))
    with suppress(Unavailable):
        ask(memory, requests(3))


def test_what_is_too_long_counts_where_less_cannot_be_asked(home: Path) -> None:
    with one_by_one(home) as memory:
        model = asked_of(memory, failing(*range(50), error=TooLong))
        answers: list[Answered[str]] = []
        with memory.run("extract") as run, pytest.raises(Unavailable, match="failed 3 times in a row"):
            halves = [replace(one, least=n % 2 == 1) for n, one in enumerate(requests(50, messages=()))]
            answers.extend(Asking(memory, run=run).work(handing_out(halves)))
        assert len(model.prompts) == len(answers) == 6


def test_other_settings_are_another_model(home: Path) -> None:
    with opened(home) as memory:
        asked_of(memory, failing(*range(50), error=Rejected))
        with pytest.raises(Unavailable):
            ask(memory, requests(50, messages=()))
    with opened(home, llm={"temperature": 0.5}) as memory:
        asked_of(memory)
        asked_often(memory, requests(5, messages=()))
        assert len(memory.model.prompts) == 5  # type: ignore[attr-defined]


def test_a_model_that_doctor_saw_fail_is_not_asked_until_it_passes(memory: Memory) -> None:
    model = asked_of(memory)
    Asking(memory).tried(failed=True)
    for purpose in ("extract", "update", "summarize"):
        with pytest.raises(Unavailable, match="failed when lightmem doctor tried it"):
            ask(memory, [request("Who?", purpose=purpose)])
    assert model.prompts == []
    assert Asking(memory).once(request("Who?", purpose="ask")).value == "re: Who?", "whoever asks gets an answer"
    Asking(memory).tried(failed=False)
    assert len(ask(memory, requests(5))) == 5


# Paid, and of no use ------------------------------------------------------------------------------------------------


def failing_times(times: int, error: BaseException) -> Callable[[Prompt], str | BaseException]:
    left = iter([error] * times)
    return lambda prompt: next(left, None) or echo(prompt)


@pytest.mark.parametrize("once", [True, False])
def test_what_was_cut_off_is_paid_and_asked_for_again(home: Path, once: bool) -> None:
    with opened(home, llm={"retries": 2}) as memory:
        budget = memory.budget = Budget(1_000)
        model = asked_of(memory, failing_times(2, ModelError("broke off", paid=(33, 7))))
        asked = request("body 0", messages=())
        [answered] = [Asking(memory).once(asked)] if once else ask(memory, [asked])
        reply = (count_tokens(PREFIX) + 2, count_tokens("re: body 0"), 0)
        assert [(row.reply, row.refused, row.tokens) for row in ledger(memory)] == [
            (None, "broke off", (33, 7, 0)),
            (None, "broke off", (33, 7, 0)),
            ("re: body 0", None, reply),
        ]
        assert (answered.value, answered.usage.calls, answered.usage.tokens) == ("re: body 0", 3, 80 + sum(reply))
        assert (budget.spent, budget.reserved, len(model.prompts)) == (80 + sum(reply), 0, 3)


@pytest.mark.parametrize("once", [True, False])
def test_what_is_cut_off_again_and_again_fails_in_the_end(home: Path, once: bool) -> None:
    with opened(home, llm={"retries": 2}) as memory:
        model = asked_of(memory, lambda prompt: ModelError("broke off", paid=(33, 7)))
        asked = request("body 0", messages=())
        if once:
            with pytest.raises(ModelError, match="broke off"):
                Asking(memory).once(asked)
        else:
            [answered] = ask(memory, [asked])
            assert (str(answered.fault), answered.usage.tokens) == ("broke off", 120)
        assert len(model.prompts) == len(ledger(memory)) == 3


def test_a_repair_that_was_cut_off_is_asked_for_again(memory: Memory) -> None:
    replies = iter(["bad", ModelError("broke off", paid=(33, 7)), "good"])
    model = asked_of(memory, lambda prompt: next(replies))
    [answered] = ask(memory, requests(1))
    assert (answered.value, answered.usage.calls) == ("good", 3)
    assert model.prompts[2] == model.prompts[1] != model.prompts[0]


def test_what_was_told_in_part_is_not_asked_for_again(memory: Memory) -> None:
    model = asked_of(memory)
    with pytest.raises(ModelError, match="cut"):
        Asking(memory).once(request("Who?"), tell=stop(1, ModelError("cut", paid=(33, 7))))
    assert len(model.prompts) == 1
    assert [row.tokens for row in ledger(memory)] == [(33, 7, 0)]


@pytest.mark.parametrize("error", [TooLong, Rejected])
def test_what_fails_once_it_was_paid_is_on_record(memory: Memory, error: type[ModelError]) -> None:
    memory.budget = Budget(1_000)
    model = asked_of(memory, lambda prompt: error("no", paid=(33, 7)))
    [answered] = ask(memory, requests(1))
    assert (str(answered.fault), answered.usage.tokens, memory.budget.spent) == ("no", 40, 40)
    assert [(row.refused, row.tokens) for row in ledger(memory)] == [("no", (33, 7, 0))]
    assert len(model.prompts) == 1


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize(("tokens", "fits"), [(1_059, False), (1_060, True)])
def test_what_was_read_in_part_is_asked_again_if_the_budget_has_room_for_all_of_it(
    memory: Memory, tokens: int, fits: bool, once: bool
) -> None:
    memory.budget = Budget(tokens)
    model = asked_of(memory, failing_times(1, HalfRead("read only a part", paid=(50, 10), room=1_000)))
    asking, what = Asking(memory), request("body 0")
    try:
        [answered] = [asking.once(what)] if once else list(asking.work(handing_out([what])))
    except ModelError as fault:
        assert once
        assert "not asked" in str(fault)
    else:
        assert str(answered.fault) == ("None" if fits else "read only a part")
    assert (len(model.prompts), asking.stopped is None) == ((2, True) if fits else (1, False))
    assert memory.budget.reserved == 0


def test_a_prompt_that_is_never_read_to_the_end_fails_in_the_end(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: HalfRead("read only a part", paid=(50, 10), room=100))
    [answered] = ask(memory, requests(1))
    assert isinstance(answered.fault, HalfRead)
    assert len(model.prompts) == len(ledger(memory)) == 11


def test_a_mistake_of_the_backend_comes_out_and_what_was_answered_is_kept(memory: Memory) -> None:
    asked_of(memory, lambda prompt: KeyError("oops") if prompt.body == "body 5" else echo(prompt))
    with memory.run("extract") as run, pytest.raises(KeyError, match="oops"):
        list(Asking(memory, run=run).work(handing_out(requests(6))))
    assert {row.reply for row in ledger(memory)} == {f"re: body {n}" for n in range(5)}


def test_a_mistake_in_reading_comes_out_and_the_reply_is_paid_all_the_same(memory: Memory) -> None:
    asked_of(memory)
    with memory.run("extract") as run, pytest.raises(ValueError, match="invalid literal"):
        list(Asking(memory, run=run).work(handing_out(requests(1, read=int))))
    assert [(row.reply, row.refused) for row in ledger(memory)] == [(None, "reading it failed")]


# An end whenever there must be one ----------------------------------------------------------------------------------


class Hanging:
    """A model that answers one prompt, others when it is let, and the rest when the test is over."""

    def __init__(self, first: str = "", *others: str) -> None:
        self.first = first
        self.others = others
        self.let = threading.Event()
        self.over = threading.Event()
        self.begun = threading.Semaphore(0)  # what waits for the end of the test

    def __call__(self, prompt: Prompt) -> str:
        if prompt.body in self.others:
            self.let.wait(LONG)
        elif prompt.body != self.first:
            self.begun.release()
            self.over.wait(LONG)
        return echo(prompt)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_an_interruption_ends_at_once_and_keeps_what_came(memory: Memory, error: type[BaseException]) -> None:
    hanging = Hanging("body 0", "body 1", "body 2")
    model = asked_of(memory, hanging)
    first: list[Answered[str]] = []
    with memory.run("extract") as run:
        answers = Asking(memory, run=run).work(handing_out(requests(50)))
        with pytest.raises(error):
            for answered in answers:
                first.append(answered)
                hanging.let.set()
                for _ in range(4):  # all lanes hang: the other replies have arrived, and nobody has looked at them
                    assert hanging.begun.acquire(timeout=LONG)
                raise error
        answers.close()
    assert len(first) == 1
    assert {row.reply for row in ledger(memory)} == {"re: body 0", "re: body 1", "re: body 2", None}
    prompt = count_tokens(PREFIX) + 2
    under_way = [(row.refused, row.tokens) for row in ledger(memory) if row.reply is None]
    assert under_way == [("interrupted", (prompt, 0, 0))] * 4  # their servers read them
    hanging.over.set()
    for thread in threading.enumerate():  # those that waited find nothing more to do
        if thread.daemon and "_serve" in thread.name:
            thread.join(LONG)
    assert len(model.prompts) == 7
    again = asked_of(memory)
    assert len(ask(memory, requests(8))) == 8
    assert len(again.prompts) == 5  # what came was paid once


def test_ctrl_c_while_nothing_comes(memory: Memory) -> None:
    hanging = Hanging()
    asked_of(memory, hanging)
    memory.budget = Budget(9_999)

    def interrupt() -> None:
        import signal

        assert hanging.begun.acquire(timeout=LONG)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt), memory.run("extract") as run:
        list(Asking(memory, run=run).work(handing_out(requests(50))))
    hanging.over.set()
    assert [(told.run.command, told.run.outcome) for told in runs(memory, limit=1)] == [("extract", "interrupted")]
    assert {row.refused for row in ledger(memory)} == {"interrupted"}
    assert 1 <= len(ledger(memory)) <= 4
    assert (memory.budget.spent, memory.budget.reserved) == (sum(sum(row.tokens) for row in ledger(memory)), 0)


# The budget ---------------------------------------------------------------------------------------------------------


Count: TypeAlias = Callable[[Prompt, JsonSchema | None], int]


class Counting(ScriptedModel):
    """A model whose server counts prompts in its own way, and which sees to it that no budget is ever passed."""

    def __init__(self, replies: dict[str, int], *, count: Count, budget: Budget) -> None:
        super().__init__(lambda prompt: "bad" + "x" * (4 * replies[prompt.body.partition(" ")[0]] - 3))
        self._count = count
        self._budget = budget
        self._lock = threading.Lock()
        self.total = 0

    def complete(self, prompt: Prompt, *, most: int, schema: JsonSchema | None = None, **how: Any) -> Reply:
        reply = super().complete(prompt, most=most, schema=schema, **how)
        with self._lock:
            usage = replace(reply.usage, prompt_tokens=self._count(prompt, schema))
            self.total += usage.tokens
            assert self.total <= self._budget.tokens
        return replace(reply, usage=usage)


NUMBERS = count()
COUNTS: dict[str, Count] = {
    "as we do, and a template": lambda prompt, _: sum(map(count_tokens, prompt)) + 32,
    "and a schema in words": lambda prompt, schema: sum(map(count_tokens, (*prompt, json.dumps(schema)))) + 52,
    "more": lambda prompt, _: int(1.7 * sum(map(count_tokens, prompt))) + 20,
    "less": lambda prompt, _: sum(map(count_tokens, prompt)) // 2,
}
SCHEMA = {"type": "object", "properties": {f"field_number_{n}": {"type": "string"} for n in range(9)}}


@settings(max_examples=60)
@example(sizes=[(900, 1, 0)] * 4, tokens=850, how="more", at_once=4)  # three would fit, as we count
@example(sizes=[(3_000, 1, 0), (10, 1, 0)], tokens=1_100, how="and a schema in words", at_once=1)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 60), st.integers(0, 40)), max_size=14),
    tokens=st.integers(0, 9_000),
    how=st.sampled_from(sorted(COUNTS)),
    at_once=st.integers(1, 5),
)
def test_the_budget_is_never_passed(
    sizes: list[tuple[int, int, int]], tokens: int, how: str, at_once: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever prompts and replies come to; those refused, and asked for once more, count like the others."""
    with empty_home() as home, opened(home, llm={"concurrency": at_once}) as memory:
        budget = memory.budget = Budget(tokens)
        replies, asked, number = {}, [], next(NUMBERS)
        for n, (body, reply, spare) in enumerate(sizes):
            name = f"{number}-{n}"
            replies[name] = reply
            accept = str if n % 3 else read
            prompt = Prompt(PREFIX, f"{name} {'é' * body if n % 4 == 0 else 'e' * body}")
            asked.append(request("", prompt=prompt, most=reply + spare, messages=(), read=accept, schema=SCHEMA))
        model = Counting(replies, count=COUNTS[how], budget=budget)
        memory.__dict__["model"] = model
        with memory.run("extract") as run:
            asking = Asking(memory, run=run)
            answers = list(asking.work(handing_out(asked)))
        assert (budget.spent, budget.reserved) == (model.total, 0)
        assert budget.spent == sum(sum(row.tokens) for row in ledger(memory)) == asking.usage.tokens
        assert budget.spent <= tokens
        assert (asking.stopped is None) or "would be passed" in asking.stopped
        if asking.stopped is None:
            assert len(answers) == len(asked)
            assert model.total == sum(one.usage.tokens for one in answers)


def test_what_a_server_puts_around_each_prompt_is_not_taken_for_its_rate(home: Path) -> None:
    """A short prompt comes first, and costs ten times what we count: a long one does not."""
    with one_by_one(home) as memory:
        budget = memory.budget = Budget(20_000)
        sizes = [10, *[6_000] * 9]
        bodies = [f"{number} {'word ' * (size // 5)}" for number, size in enumerate(sizes)]
        replies = {str(number): 50 for number in range(len(sizes))}
        around = 400
        model = Counting(replies, count=lambda prompt, _: sum(map(count_tokens, prompt)) + around, budget=budget)
        memory.__dict__["model"] = model
        with memory.run("extract") as run:
            asking = Asking(memory, run=run)
            answers = list(asking.work(handing_out(request(body, most=60, read=str, messages=()) for body in bodies)))
        assert (len(answers), asking.stopped) == (10, None)
        assert model.total < 20_000


def test_a_schema_counts_since_some_servers_are_told_it_in_words(memory: Memory) -> None:
    most = -(-len(PREFIX + "body 0" + json.dumps(SCHEMA)) // 2) + 100
    for tokens, calls in ((most, 0), (most + 64, 1)):
        memory.budget = Budget(tokens)
        model = asked_of(memory)
        with memory.run("extract") as run:
            list(Asking(memory, run=run).work(handing_out([request("body 0", schema=SCHEMA)])))
        assert len(model.prompts) == calls


def test_what_a_model_may_think_counts(memory: Memory) -> None:
    memory.budget = Budget(2_000)
    model = asked_of(memory)
    model.thoughts = 2_000
    with memory.run("extract") as run:
        asking = Asking(memory, run=run)
        assert list(asking.work(handing_out(requests(1)))) == []
        assert asking.estimate(requests(2)).reply_tokens == 2 * 2_100
    assert model.prompts == []


def test_a_budget_that_has_room_again_when_replies_come_short_goes_on(memory: Memory) -> None:
    """Replies may have 1,000 tokens and have three: what is set aside for eight calls at once must not end it."""
    model = asked_of(memory)
    memory.budget = Budget(3_000)
    with memory.run("extract") as run:
        asking = Asking(memory, run=run)
        answers = list(asking.work(handing_out(requests(30, most=1_000))))
    assert (len(answers), len(model.prompts), asking.stopped) == (30, 30, None)


def test_the_end_of_a_budget_is_said_and_what_is_left_can_be_asked_another_time(memory: Memory) -> None:
    model = asked_of(memory)
    memory.budget = Budget(300)
    with memory.run("extract") as run:
        asking = Asking(memory, run=run)
        answers = list(asking.work(handing_out(requests(30))))
    spent = memory.budget.spent
    assert asking.stopped is not None
    assert asking.stopped.startswith(
        f"the budget of 300 tokens would be passed ({spent} are spent, and the next call may"
    )
    assert 0 < len(answers) == len(model.prompts) < 30
    memory.budget = None
    assert len(ask(memory, requests(30))) == len(model.prompts) == 30
    memory.budget = Budget(0)
    assert len(ask(memory, requests(30))) == 30  # what is known costs nothing


def test_a_repair_that_the_budget_has_no_room_for_is_not_asked(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: "bad")
    memory.budget = Budget(190)
    with memory.run("extract") as run:
        asking = Asking(memory, run=run)
        [answered] = list(asking.work(handing_out(requests(1))))
    assert (str(answered.fault), len(model.prompts)) == ("it begins with 'bad'", 1)
    assert asking.stopped is not None


def test_an_estimate_counts_what_is_still_to_be_paid(memory: Memory) -> None:
    model = asked_of(memory)
    ask(memory, requests(2))
    with memory.run("extract") as run:
        estimate = Asking(memory, run=run).estimate(requests(20, most=512))
    each = count_tokens(PREFIX) + count_tokens("body 0")
    assert estimate == Estimate(calls=18, prompt_tokens=8 * each + 10 * each, reply_tokens=18 * 512, known=2)
    assert len(model.prompts) == 2
    assert Estimate(calls=1_018, prompt_tokens=20_731, reply_tokens=98).said == (
        "about 1,018 calls, 20,700 prompt tokens, at most 98 of replies"
    )
    assert Estimate(calls=1, known=3).said.startswith("about 1 call, 0 prompt tokens")
    assert Estimate(known=3).said.endswith("; 3 more known already")


# One thing ----------------------------------------------------------------------------------------------------------


def test_one_thing_is_told_while_it_comes(memory: Memory) -> None:
    asked_of(memory, lambda prompt: "Biscuit is a greyhound, and sleeps all day.")
    told: list[str] = []
    answered = Asking(memory).once(request("Who is Biscuit?", purpose="ask"), tell=told.append)
    assert "".join(told) == answered.value
    assert len(told) > 1
    [row] = ledger(memory)
    assert (row.purpose, row.command, row.reply) == ("ask", "ask", answered.value)
    told.clear()
    assert Asking(memory).once(request("Who is Biscuit?", purpose="ask"), tell=told.append) == replace_usage(answered)
    assert told == []  # it is there at once


def replace_usage(answered: Answered[str]) -> Answered[str]:
    return answered._replace(usage=Usage(), request=replace(answered.request, purpose="ask"))


def stop(after: int, error: BaseException) -> Callable[[str], None]:
    told: list[str] = []

    def tell(piece: str) -> None:
        told.append(piece)
        if len(told) == after:
            raise error

    return tell


@pytest.mark.parametrize(
    ("error", "why"),
    [(KeyboardInterrupt(), "interrupted"), (BrokenPipeError(), "interrupted"), (ModelError("cut"), "cut")],
)
def test_what_was_told_before_an_interruption_is_paid(memory: Memory, error: BaseException, why: str) -> None:
    asked_of(memory, lambda prompt: "Biscuit is a greyhound, and sleeps all day.")
    memory.budget = Budget(1_000)
    with pytest.raises(type(error)):
        Asking(memory).once(request("Who?", purpose="ask"), tell=stop(2, error))
    [row] = ledger(memory)
    prompt = count_tokens(PREFIX) + count_tokens("Who?")
    assert (row.reply, row.refused, row.tokens) == (None, why, (prompt, 6, 0))  # two pieces of twelve characters
    assert (memory.budget.spent, memory.budget.reserved) == (prompt + 6, 0)


def test_what_failed_before_anything_was_told_is_not_on_record(memory: Memory) -> None:
    for error in (ModelError("timed out"), Unavailable("gone"), MissingPart("no model"), TooLong("too long")):
        asked_of(memory, lambda prompt, error=error: error)  # type: ignore[misc]
        with pytest.raises(type(error)):
            Asking(memory).once(request("Who?"), tell=print)
    assert ledger(memory) == []


def test_a_bad_reply_to_one_thing_is_raised_and_paid(memory: Memory) -> None:
    model = asked_of(memory, lambda prompt: "bad")
    with pytest.raises(BadReply):
        Asking(memory).once(request("Who?"))
    assert len(model.prompts) == len(ledger(memory)) == 1


def test_one_thing_keeps_to_the_budget(memory: Memory) -> None:
    model = asked_of(memory)
    memory.budget = Budget(100)
    with pytest.raises(ModelError, match="the budget of 100 tokens would be passed"):
        Asking(memory).once(request("Who?"))
    assert model.prompts == []


def test_a_reader_has_its_calls_on_record_and_log_tells_what_changed(memory: Memory) -> None:
    model = asked_of(memory)
    before = [told.run.id for told in runs(memory, limit=9)]
    asking = Asking(memory)
    for body in ("Who?", "When?"):
        asking.once(request(body, purpose="ask"))
        assert memory.history.work.owners() == []
        assert memory.history.checks.unended_runs() == 0
    assert list(asking.work(handing_out([request("Where?", purpose="update")])))
    assert [(row.purpose, row.command) for row in ledger(memory)] == [("ask", "ask"), ("ask", "ask"), ("update", "ask")]
    assert [told.run.id for told in runs(memory, limit=9)] == before
    told, _ = run_told(memory, before[0] + 1)
    assert (told.run.command, told.run.outcome, told.traces.usage.calls) == ("ask", "done", 3)
    assert asking.usage.calls == len(model.prompts) == 3


def test_an_answer_stands_where_it_cannot_be_put_on_record(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightmem_cli.engine.asking.ledger._PATIENCE", 0.01)
    said: list[str] = []
    with opened(home, reader=True, said=said) as memory, closing(sqlite3.connect(memory.history.path)) as writer:
        asked_of(memory)
        writer.execute("BEGIN IMMEDIATE")
        assert Asking(memory).once(request("Who?", messages=())).value == "re: Who?"
        assert re.search(r"what this cost is not on record: .* is held by another process", said[-1])
        writer.rollback()
        assert ledger(memory) == []


# What a person sees -------------------------------------------------------------------------------------------------


def test_stats_count_calls_by_purpose(memory: Memory) -> None:
    model = asked_of(memory)
    model.delay = 0.01
    ask(memory, requests(3))
    Asking(memory).once(request("Who?", purpose="ask"))
    counted = json.loads(called("stats", "--json").stdout)["llm"]
    assert list(counted) == ["ask", "extract"]
    prompt = count_tokens(PREFIX) + count_tokens("body 0")
    assert counted["extract"].pop("seconds") > 0
    assert counted["extract"] == {
        "calls": 3,
        "prompt_tokens": 3 * prompt,
        "completion_tokens": 3 * count_tokens("re: body 0"),
        "cached_tokens": 0,
    }
    said = [row for row in called("stats").stdout.splitlines() if row.startswith("asked")]
    assert said == [
        f"asked                1  to ask: {prompt - 1} tokens; 2 in reply; 0 s",
        f"asked                3  to extract: {3 * prompt} tokens; 9 in reply; 0 s",
    ]


def test_stats_say_what_unsupported_means(memory: Memory) -> None:
    """A fact that nobody's words bear out is set aside, and never silently dropped."""
    source = memory.history.messages.find(MessageKey("", "s", "m1"))
    assert source is not None
    with memory.run("extract") as run, memory.history.transaction():
        for kind, text in ((Kind.FACT, "It snowed."), (Kind.SUMMARY, "Weather.")):
            key = MessageKey("", "s", "m1")
            born = Entry(id="", kind=kind, text=text, conversation="", session="s", sources=(key,))
            unsupported = replace(born, state=State.UNSUPPORTED)
            assert memory.history.entries.add(unsupported, sources=[source[0]], run=run)
    said = called("stats").stdout
    assert re.search(r"^facts +\d+  and 1 unsupported by what was said$", said, re.MULTILINE)
    assert re.search(r"^summaries +0  and 1 set aside$", said, re.MULTILINE)
    assert json.loads(called("stats", "--json").stdout)["entries"]["fact"]["unsupported"] == 1


def test_log_says_what_a_run_cost(memory: Memory) -> None:
    asked_of(memory)
    ask(memory, requests(3))
    ask(memory, requests(3))
    Asking(memory).once(request("Who?", purpose="ask"))
    cost = f"3 calls, {3 * (count_tokens(PREFIX) + 2)} + 9 tokens"
    newest, before, first = called("log").stdout.splitlines()
    assert newest.endswith("extract    no entry changed")
    assert before.endswith(f"extract    no entry changed, {cost}")
    assert "ingest" in first
    number = before.split()[0]
    assert cost in called("log", "--run", number).stdout
    rows = [json.loads(row) for row in called("log", "--json").stdout.splitlines()]
    assert [row["llm"]["calls"] for row in rows] == [0, 3, 0]


# The cost of the ledger ---------------------------------------------------------------------------------------------


def test_the_ledger_is_read_by_its_indexes(memory: Memory) -> None:
    """However long it grows: no statement of a call, a purge or a log goes through all of it."""
    asked_of(memory)
    seen: list[str] = []
    memory.history.connection.set_trace_callback(seen.append)
    ask(memory, requests(1))
    ask(memory, requests(1))
    with memory.history.transaction():
        memory.history.calls.erase([1, 2])
    runs(memory, limit=3)
    memory.history.connection.set_trace_callback(None)
    about = [sql for sql in dict.fromkeys(seen) if "model_" in sql]
    assert len(about) >= 5
    for sql in about:
        for _, _, _, detail in memory.history.connection.execute(f"EXPLAIN QUERY PLAN {sql}"):
            assert not re.search(r"SCAN (model_|messages|c\b)", detail), (sql, detail)
