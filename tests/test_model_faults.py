"""Every way in which a language model's server fails, what that comes to, and that nothing of it stays.

Each fault meets forty messages in ten calls, through the real clients: once, or until the server recovers. What a
person is told, and what becomes of the messages, stands in the tables below. Meanwhile every message is found;
afterwards one `lightmem extract` leaves the memory as it is without any fault.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import pytest
from memories import Kept, opened
from model_faults import Fault, NamedFault
from model_life import BIRDS, MODEL, WIRES, Life, Wire, as_lines, asks, names_a_command, notes, spent, talk
from model_server import Asked, ModelServer
from process import lightmem, start

from lightmem_cli.records import Kind, State

Failure: TypeAlias = "NamedFault | Literal['down']"

EXTRACT: Final = {
    "LIGHTMEM_EXTRACT__USE": "llm",
    "LIGHTMEM_EXTRACT__ROLES": "both",
    "LIGHTMEM_EXTRACT__BUFFER_TOKENS": "64",
    "LIGHTMEM_EXTRACT__METADATA": "true",
}
GOES_ON: Final = "lightmem extract goes on from here"


class Outcome(NamedTuple):
    """What one `lightmem extract` comes to: its exit code, what becomes of the messages, parts of what it says."""

    code: Literal[0, 4, 5]
    messages: Literal["all wait", "all but three wait", "all read"]
    error: str = ""
    hint: str = ""


# One call fails so: `lightmem extract` is done all the same, with exit code 0. It takes so many further calls.
ONCE: dict[NamedFault, int | dict[Wire, int]] = {
    "429": 1,  # asked again, when the server says
    "500": 1,  # asked again
    "hang": 1,
    "cut": 1,
    "error-mid-stream": 1,
    "empty": 1,  # asked again, and shown what is wrong with the reply
    "schema-echo": 1,
    "wrong-ids": 1,
    "refusal": 1,
    "10000-facts": 1,
    "truncated": 2,  # it would be cut off again: asked about in two halves
    "not-utf8": 2,
    "overflow": {"ollama": 1, "openai": 2},  # Ollama can be asked for more context
}

ANOTHER: Final = "lightmem config set llm.model NAME"  # three calls failed alike, each a second time
MOST_CALLS: Final = {"overflow": 40}  # it is asked about less and less, down to single messages

# Every call fails so, until the server recovers.
ALWAYS: dict[Failure, Outcome | dict[Wire, Outcome]] = {
    "down": Outcome(5, "all wait", "does not answer", GOES_ON),
    "404-model": {
        "ollama": Outcome(4, "all wait", "has no model tiny", "ollama pull tiny"),
        "openai": Outcome(4, "all wait", "has no model tiny", "lightmem config set llm.model"),
    },
    "401": {
        "ollama": Outcome(5, "all wait", "does not let us in (HTTP 401)", "OLLAMA_API_KEY"),
        "openai": Outcome(5, "all wait", "refuses the key in OPENAI_API_KEY (HTTP 401)", "llm.api_key_env"),
    },
    "429": Outcome(5, "all wait", "lets no more calls in", GOES_ON),
    "500": Outcome(5, "all wait", "3 prompts failed one after the other", GOES_ON),
    "hang": Outcome(5, "all wait", "3 prompts failed one after the other", "llm.timeout_seconds"),
    "cut": Outcome(5, "all wait", "3 prompts failed one after the other", GOES_ON),
    "not-utf8": {
        "ollama": Outcome(5, "all wait", "sent what cannot be read", ANOTHER),
        "openai": Outcome(5, "all wait", "is not UTF-8", ANOTHER),
    },
    "overflow": Outcome(5, "all but three wait", "more than", ANOTHER),
    "refusal": Outcome(5, "all wait", "is a refusal", ANOTHER),
    "empty": Outcome(5, "all wait", "the reply was empty", ANOTHER),
    "truncated": Outcome(5, "all wait", "the reply was cut off", ANOTHER),
    "schema-echo": Outcome(5, "all wait", "repeats the schema", ANOTHER),
    "wrong-ids": Outcome(5, "all wait", "which is not there", ANOTHER),
    "string-ids": Outcome(0, "all read"),  # these are read for what they say, without a further call
    "prose": Outcome(0, "all read"),
    "fenced": Outcome(0, "all read"),
    "duplicates": Outcome(0, "all read"),
}

NO_FURTHER_CALL: Final = {"string-ids", "prose", "fenced", "duplicates"}
# What a reply says is read by the same code, whatever carried it: that is shown on one wire.
OF_CONTENT: Final = {"empty", "schema-echo", "wrong-ids", "10000-facts", *NO_FURTHER_CALL}
# How a wire says so is shown by one call.
SAID_BY_THE_WIRE: Final = {"refusal", "truncated"}


def on_wires(faults: Iterable[Failure], *, one: set[str]) -> list[tuple[Failure, Wire]]:
    """The faults on both wires; those of `one` on one."""
    return [(fault, wire) for fault in faults for wire in WIRES if wire == "ollama" or fault not in one]


@dataclass(frozen=True)
class Unhurt:
    """A memory that waits for its server, in `waiting`, and the same one after a run without faults."""

    waiting: Path
    kept: Kept
    calls: int


class AllUnhurt(dict[Wire, Unhurt]):
    """Each made when it is first asked for: other processes run the other tests of this file."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self._folders = folders

    def __missing__(self, wire: Wire) -> Unhurt:
        self[wire] = made = make_unhurt(self._folders.mktemp(wire), wire)
        return made


def make_unhurt(folder: Path, wire: Wire) -> Unhurt:
    with ModelServer() as server:
        server.reply = notes
        life = Life(folder / "waiting", {**EXTRACT, **asks(server, wire, llm__retries="0")})
        with server.stopped():
            run = life.runs("ingest", "-", feed=as_lines(talk()), code=5)
        [error, hint] = run.stderr.decode().splitlines()[-2:]
        assert "does not answer" in error
        assert "kept: 40 new messages" in hint
        done = Life(folder / "done", life.env)
        shutil.copytree(life.home, done.home)
        done.runs("extract")
        its = done.stats()
        assert (its["pending"], its["quarantined"]) == ({}, 0)
        assert its["entries"] == {"turn": {"active": 40}, "fact": {"active": 40}}
        cost = its["llm"]["extract"]
        assert (cost["prompt_tokens"], cost["completion_tokens"]) == spent(server)
        assert cost["calls"] == len(server.calls)
        assert all(lines_of(call) > 1 for call in server.calls), "what is one message cannot be halved"
        for fact in done.entries(Kind.FACT):
            [bird] = [bird for bird in BIRDS if bird in fact.text]
            assert [key.id for key in fact.sources] == [f"m{BIRDS.index(bird)}"]
        return Unhurt(life.home, done.kept(), len(server.calls))


def lines_of(asked: Asked) -> int:
    return sum(line[:1].isdigit() for line in asked.prompt.splitlines())


@pytest.fixture(scope="module")
def unhurt(tmp_path_factory: pytest.TempPathFactory) -> AllUnhurt:
    return AllUnhurt(tmp_path_factory)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        running.reply = notes
        yield running


def waiting(unhurt: Unhurt, home: Path, server: ModelServer, wire: Wire, **settings: str) -> Life:
    """A memory of its own for one test; all its messages wait for the server."""
    shutil.copytree(unhurt.waiting, home)
    return Life(home, {**EXTRACT, **asks(server, wire, **settings)})


def is_unhurt(life: Life, unhurt: Unhurt) -> None:
    kept, its = life.kept(), life.stats()
    assert exported(kept) == exported(unhurt.kept)
    assert kept == unhurt.kept
    assert (its["pending"], its["quarantined"]) == ({}, 0)


def exported(kept: Kept) -> bytes:
    """What `export --state` prints."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept.state).encode()


def finds_everything(life: Life) -> None:
    assert [found[0] for found in life.finds(BIRDS)] == [f"m{number}" for number in range(len(BIRDS))]


@pytest.mark.parametrize(("fault", "wire"), on_wires(ONCE, one=OF_CONTENT))
def test_one_faulty_call(fault: NamedFault, wire: Wire, server: ModelServer, home: Path, unhurt: AllUnhurt) -> None:
    life = waiting(unhurt[wire], home, server, wire, llm__timeout_seconds="2" if fault == "hang" else "60")
    server.faults.append(fault)
    run = life.runs("extract")
    assert b"failed" not in run.stderr
    further = ONCE[fault]
    assert len(server.calls) == unhurt[wire].calls + (further if isinstance(further, int) else further[wire])
    is_unhurt(life, unhurt[wire])


@pytest.mark.parametrize(("fault", "wire"), on_wires(ALWAYS, one=OF_CONTENT | SAID_BY_THE_WIRE))
def test_a_server_that_fails_until_it_recovers(
    fault: Failure, wire: Wire, server: ModelServer, home: Path, unhurt: AllUnhurt
) -> None:
    told = ALWAYS[fault]
    outcome = told if isinstance(told, Outcome) else told[wire]
    retries, seconds = ("0", "1") if fault == "hang" else ("1", "60")
    life = waiting(unhurt[wire], home, server, wire, llm__retries=retries, llm__timeout_seconds=seconds)
    with ExitStack() as broken:
        if fault == "down":
            broken.enter_context(server.stopped())
        else:
            server.always(fault)
        run = life.runs("extract", code=outcome.code)
    if run.returncode:
        [error, hint] = run.stderr.decode().splitlines()[-2:]
        assert error.startswith("lightmem: ")
        assert outcome.error in error
        assert hint.startswith("  hint: ")
        assert outcome.hint in hint
        assert names_a_command(hint)
        assert hint.count("nothing is lost") <= 1
    its = life.stats()
    waits, aside = its["pending"].get("extract", 0), its["quarantined"]
    read = its["entries"].get("fact", {}).get("active", 0)
    numbers = {"all wait": (40, 0, 0), "all but three wait": (37, 3, 0), "all read": (0, 0, 40)}
    assert (waits, aside, read) == numbers[outcome.messages]
    if outcome.hint == ANOTHER:
        assert "failed 3 times in a row" in run.stderr.decode()
        assert len(server.calls) <= MOST_CALLS.get(fault, 6)
    assert (run.returncode == 0) == (aside + waits == 0)
    assert len(server.calls) <= unhurt[wire].calls * (1 if fault in NO_FURTHER_CALL else 10)
    finds_everything(life)

    server.always(None)
    life.here("extract")
    is_unhurt(life, unhurt[wire])


@pytest.mark.parametrize("wire", WIRES)
def test_a_model_that_doctor_saw_fail_is_asked_nothing_until_it_passes(
    wire: Wire, server: ModelServer, home: Path, unhurt: AllUnhurt
) -> None:
    life = waiting(unhurt[wire], home, server, wire)
    server.always("schema-echo")
    server.models = [MODEL]
    assert lightmem("doctor", env=life.environment()).returncode == 5
    before = len(server.calls)
    for command in (("extract",), ("ingest", "-"), ("update",)):
        run = life.runs(*command, feed=as_lines(talk()) if command[0] == "ingest" else b"", code=5)
        [error, hint] = run.stderr.decode().splitlines()[-2:]
        assert "is asked no more: it failed when lightmem doctor tried it" in error
        assert ANOTHER in hint and "nothing is lost" in hint
    assert len(server.calls) == before
    assert life.stats()["pending"] == {"extract": 40}
    finds_everything(life)
    server.always(None)
    life.runs("extract", code=5)
    life.runs("doctor")
    life.runs("extract")
    is_unhurt(life, unhurt[wire])


@pytest.mark.parametrize(("fault", "code", "wire"), [("401", 5, "openai"), ("404-model", 4, "ollama")])
def test_what_was_answered_before_the_server_failed_is_not_paid_again(
    fault: NamedFault, code: int, wire: Wire, server: ModelServer, home: Path, unhurt: AllUnhurt
) -> None:
    life = waiting(unhurt[wire], home, server, wire)

    def fails_behind_the_fifth(asked: Asked) -> str:
        if len(server.calls) >= 5:
            server.always(fault)
        return notes(asked)

    server.reply = fails_behind_the_fifth
    run = life.runs("extract", code=code)
    assert GOES_ON in run.stderr.decode()
    its = life.stats()
    answered = its["llm"]["extract"]["calls"]
    assert 5 <= answered < unhurt[wire].calls
    assert 0 < its["pending"]["extract"] < 40
    assert its["quarantined"] == 0
    finds_everything(life)

    server.always(None)
    server.reply = notes
    before = len(server.calls)
    life.here("extract")
    assert len(server.calls) - before == unhurt[wire].calls - answered
    is_unhurt(life, unhurt[wire])


def test_killed_at_random_moments_it_pays_for_no_reply_twice(
    server: ModelServer, home: Path, unhurt: AllUnhurt
) -> None:
    """What was on its way when a process died may be asked again; what it had received is on record."""
    life = waiting(unhurt["openai"], home, server, "openai", llm__concurrency="2")
    server.delay = 0.1
    chance = random.Random("moments")
    received: set[str] = set()
    for _ in range(3):
        before = len(server.calls)
        victim = start("extract", env=life.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        moment = before + chance.randint(1, 4)
        while len(server.calls) < moment and victim.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        victim.kill()
        victim.wait()
        assert not received & {asked.prompt for asked in server.calls[before:]}
        received = on_record(life, server)
    before = len(server.calls)
    life.runs("extract")
    assert not received & {asked.prompt for asked in server.calls[before:]}
    is_unhurt(life, unhurt["openai"])


def on_record(life: Life, server: ModelServer) -> set[str]:
    """The prompts of which a reply is kept, by the birds of the messages that they sent."""
    with opened(life.home, reader=True) as memory:
        kept = memory.history.connection.execute(
            "SELECT group_concat(m.content) FROM model_calls c JOIN model_inputs i ON i.call = c.id"
            " JOIN messages m ON m.id = i.message WHERE c.reply IS NOT NULL GROUP BY c.id"
        ).fetchall()
    sent = {frozenset(bird for bird in BIRDS if bird in text) for (text,) in kept}
    return {asked.prompt for asked in server.calls if frozenset(b for b in BIRDS if b in asked.prompt) in sent}


@pytest.mark.parametrize("wire", WIRES)
def test_several_faults_in_one_run(wire: Wire, server: ModelServer, home: Path, unhurt: AllUnhurt) -> None:
    life = waiting(unhurt[wire], home, server, wire)
    server.faults += [
        "empty",
        "429",
        Fault("500", retry_after="0"),
        "wrong-ids",
        "fenced",
        "not-utf8",
        "cut",
        "refusal",
    ]
    life.runs("extract")
    assert not server.faults
    is_unhurt(life, unhurt[wire])


def test_a_server_that_asks_to_wait_is_not_asked_before(server: ModelServer, home: Path, unhurt: AllUnhurt) -> None:
    life = waiting(unhurt["openai"], home, server, "openai", llm__concurrency="1")
    server.faults.append(Fault("429", retry_after="3"))
    run = life.runs("extract")
    refused, again = server.calls[:2]
    assert again.began - refused.began >= 3
    assert "asks to wait 3 s" in run.stderr.decode()
    is_unhurt(life, unhurt["openai"])


def test_facts_that_nobody_said_are_kept_aside_and_counted(server: ModelServer, home: Path, unhurt: AllUnhurt) -> None:
    life = waiting(unhurt["ollama"], home, server, "ollama")

    def invents(asked: Asked) -> str:
        reply = json.loads(notes(asked))
        reply["facts"][0]["text"] = "Margaret Thatcher owns 77 submarines in Antarctica."
        return json.dumps(reply)

    server.reply = invents
    run = life.runs("extract", "--json")
    aside = len(server.calls)
    assert json.loads(run.stdout)["unsupported"] == aside
    facts = life.entries(Kind.FACT)
    assert sum(fact.state is State.UNSUPPORTED for fact in facts) == aside
    assert life.row("stats")["entries"]["fact"] == {"active": 40 - aside, "unsupported": aside}
    assert f"{aside} unsupported" in life.here("stats").stdout
    found = life.row("retrieve", "submarines in Antarctica")["hits"]
    assert not [hit for hit in found if "Thatcher" in hit["text"]]


@pytest.mark.parametrize(
    ("budget", "a_token", "wire"),
    [(1, 4.0, "openai"), (2000, 4.0, "openai"), (2000, 4.0, "ollama"), (4000, 2.5, "openai"), (4000, 2.5, "ollama")],
)
def test_a_budget_is_not_passed_by_what_the_server_counts(
    budget: int, a_token: float, wire: Wire, server: ModelServer, home: Path, unhurt: AllUnhurt
) -> None:
    """A server may count more tokens than four characters make; it is never asked for what it would pass with."""
    life = waiting(unhurt[wire], home, server, wire)
    server.characters_a_token = a_token
    run = life.runs("extract", "--budget-tokens", str(budget))
    assert sum(spent(server)) <= budget
    assert (len(server.calls) > 0) == (budget > 1)
    assert f"the budget of {budget:,} tokens would be passed" in run.stderr.decode()
    its = life.stats()
    assert its["pending"]["extract"] > 0
    assert its["quarantined"] == 0
    finds_everything(life)
    life.here("extract")
    assert len(server.calls) == unhurt[wire].calls, "what was paid is not paid again"
    is_unhurt(life, unhurt[wire])


@pytest.mark.parametrize(("command", "budget"), [("summarize", 2500), ("update", 3000)])
def test_other_commands_keep_to_a_budget(
    command: str, budget: int, server: ModelServer, home: Path, unhurt: AllUnhurt
) -> None:
    settings = {"update__near": "0", "llm__context": "1000"}  # each asks in several calls
    life = waiting(unhurt["ollama"], home, server, "ollama", **settings)
    life.here("extract")
    before = len(server.calls)
    life.here(command, "--use", "llm", "--budget-tokens", "10")
    assert len(server.calls) == before
    run = life.runs(command, "--use", "llm", "--budget-tokens", str(budget))
    first = server.calls[before:]
    assert first
    assert sum(spent(server, first)) <= budget
    assert f"the budget of {budget:,} tokens would be passed" in run.stderr.decode()
    life.here(command, "--use", "llm")
    calls = [(call.prefix, call.prompt) for call in server.calls[before:]]
    assert len(set(calls)) == len(calls) > len(first), "what was paid is not paid again"
