"""`lightmem ask` as a shell, a pipe and a person at a terminal see it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_server import ModelServer
from process import lightmem, lines_of, start

from lightmem_cli.ask import NO_EVIDENCE

TALK = b"""\
{"session": "one", "id": "D1:1", "timestamp": "2023-05-08T13:00:00", "speaker": "Ann", "content": "How was the trip?"}
{"session": "one", "id": "D1:2", "date": "2023-05-08T13:01:00", "name": "Bob", "content": "I flew to Lisbon yesterday."}
{"session": "two", "id": "D2:1", "timestamp": "2023-06-01T09:00:00", "speaker": "Ann", "content": "I adopted a dog."}
"""
ANSWER = "Bob flew to Lisbon [2], and to no other place [99]."


@pytest.fixture(autouse=True)
def memory(home: Path) -> None:
    assert lightmem("ingest", "-", feed=TALK).returncode == 0


@pytest.fixture
def scripted(tmp_path: Path) -> dict[str, str]:
    """The environment with a model that answers what the tests ask."""
    replies = [
        {"when": "Question, asked on 2023-07-01 Sat: Where did Bob fly?", "reply": ANSWER},
        {"when": "shoe size", "reply": "NOT IN MEMORY"},
        {"when": "Is it true?", "reply": "Yes."},
        {"when": "Q: Where did Bob fly?", "reply": "In May [2]."},
        {"when": "evil", "reply": "\x1b[31mred\x07 [2]\nand more"},
    ]
    return script(tmp_path, *replies)


def script(folder: Path, *replies: dict[str, object]) -> dict[str, str]:
    path = folder / "replies.jsonl"
    path.write_text("".join(json.dumps(reply) + "\n" for reply in replies), encoding="utf-8")
    return {"LIGHTMEM_LLM__USE": "scripted", "LIGHTMEM_LLM__MODEL": str(path)}


def ask(*arguments: str, env: dict[str, str] | None = None, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return lightmem("ask", "--asked-at", "2023-07-01", *arguments, env=env, feed=feed)


def test_an_answer_and_below_it_its_sources(scripted: dict[str, str]) -> None:
    run = ask("Where did Bob fly?", env=scripted)
    assert run.returncode == 0, run.stderr
    answer, blank, source, place = lines_of(run.stdout)
    assert answer == ANSWER
    assert blank == ""
    assert source == "[2] 2023-05-08T13:01:00 Mon Bob: I flew to Lisbon yesterday."
    assert "session one, message D1:2" in place
    assert run.stderr == b""


def test_from_a_pipe_and_into_one(scripted: dict[str, str]) -> None:
    run = ask("--json", env=scripted, feed=b"Where did Bob fly?\n")
    (printed,) = lines_of(run.stdout)
    given = json.loads(printed)
    assert given["question"] == "Where did Bob fly?"
    assert (given["answer"], given["found"], given["model"]) == (ANSWER, True, "scripted/replies.jsonl")
    (citation,) = given["citations"]
    assert (citation["n"], citation["sources"]) == (2, ["D1:2"])
    assert citation["evidence"][0]["time"] == "2023-05-08T13:01:00"
    assert citation["speaks_of"] == [["2023-05-07T00:00:00", "2023-05-08T00:00:00"]]
    assert given["usage"]["calls"] == 1
    assert given["usage"]["prompt_tokens"] > 100
    again = json.loads(ask("--json", "Where did Bob fly?", env=scripted).stdout)
    assert again == given | {"usage": dict.fromkeys(given["usage"], 0)}


def test_what_the_memory_does_not_hold(scripted: dict[str, str]) -> None:
    run = ask("What is Bob's shoe size?", env=scripted)
    assert (run.returncode, lines_of(run.stdout)) == (0, [NO_EVIDENCE])
    assert b"lightmem retrieve" in run.stderr
    given = json.loads(ask("What is Bob's shoe size?", "--json", env=scripted).stdout)
    assert (given["answer"], given["found"], given["citations"]) == (NO_EVIDENCE, False, [])
    uncited = ask("Is it true?", env=scripted)
    assert lines_of(uncited.stdout) == ["Yes."]
    assert uncited.stderr.decode().strip() == "(no source cited)"
    empty = ask("Where?", "--conversation", "nobody's", env=scripted)
    assert (empty.returncode, lines_of(empty.stdout)) == (0, [NO_EVIDENCE])
    assert b"no message of conversation" in empty.stderr


def test_an_answer_steers_no_terminal(scripted: dict[str, str]) -> None:
    run = ask("Who is evil?", env=scripted)
    assert lines_of(run.stdout)[:2] == ["[31mred [2]", "and more"]


def test_without_a_model_the_evidence_is_shown() -> None:
    run = ask("Where did Bob fly?")
    assert run.returncode == 0
    assert lines_of(run.stdout)[0] == "[1] 2023-05-08T13:01:00 Mon Bob: I flew to Lisbon yesterday."
    assert b'llm.use = "none"' in run.stderr
    assert len(lines_of(ask("Where did Bob fly?", "--limit", "1").stdout)) == 2
    given = json.loads(ask("Where did Bob fly?", "--json").stdout)
    assert [citation["n"] for citation in given["citations"]] == list(range(1, len(given["citations"]) + 1))
    assert (given["model"], given["found"]) == (None, True)


def test_the_context_alone_needs_no_model(scripted: dict[str, str]) -> None:
    run = ask("Where did Bob fly?", "--context")
    assert run.returncode == 0
    printed = run.stdout.decode()
    assert printed.startswith("You answer questions")
    assert "[2] 2023-05-08 Mon 13:01, about 2023-05-07, Bob: I flew to Lisbon yesterday." in printed
    assert printed.endswith("Question, asked on 2023-07-01 Sat: Where did Bob fly?\n")
    gone = {"LIGHTMEM_LLM__USE": "scripted", "LIGHTMEM_LLM__MODEL": "/nowhere"}
    assert ask("Where did Bob fly?", "--context", env=gone).stdout == run.stdout
    given = json.loads(ask("Where did Bob fly?", "--context", "--json").stdout)
    assert f"{given['prefix']}\n\n{given['body']}\n" == printed
    assert [piece["n"] for piece in given["evidence"]] == [1, 2, 3]
    limited = ask("Where did Bob fly?", "--context", "--limit", "1")
    assert limited.stdout.count(b"\n[") == 1


def test_a_budget_bounds_what_is_sent() -> None:
    rows = [json.dumps({"session": "s", "id": str(at), "content": f"Lisbon walk {at}"}) for at in range(99)]
    assert lightmem("ingest", "-", feed="\n".join(rows).encode()).returncode == 0
    small = ask("Who walked in Lisbon?", "--context", "--budget-tokens", "100").stdout
    large = ask("Who walked in Lisbon?", "--context", "--budget-tokens", "1000").stdout
    assert 200 < small.rindex(b"</memory>") - small.rindex(b"<memory>") < 100 * 4 + 20
    assert len(large) > 2 * len(small)


@pytest.mark.parametrize("model", ["/nowhere/replies", ""])
def test_where_no_model_can_be_asked_the_evidence_is_shown_with_the_reason(model: str) -> None:
    run = ask("Where did Bob fly?", env={"LIGHTMEM_LLM__USE": "scripted", "LIGHTMEM_LLM__MODEL": model})
    assert run.returncode == 2
    assert lines_of(run.stdout)[0] == "[1] 2023-05-08T13:01:00 Mon Bob: I flew to Lisbon yesterday."
    assert "hint: lightmem config set llm.model" in run.stderr.decode()


# Through the wires


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as served:
        served.reply = lambda asked: ANSWER
        yield served


@pytest.fixture(params=["ollama", "openai"])
def served(request: pytest.FixtureRequest, server: ModelServer) -> dict[str, str]:
    url = server.url if request.param == "ollama" else server.openai_url
    return {
        "LIGHTMEM_LLM__USE": request.param,
        "LIGHTMEM_LLM__MODEL": "test",
        "LIGHTMEM_LLM__BASE_URL": url,
        "LIGHTMEM_LLM__RETRIES": "0",
        "OPENAI_API_KEY": "sk-test",
    }


def test_a_server_streams_an_answer(server: ModelServer, served: dict[str, str]) -> None:
    run = ask("Where did Bob fly?", env=served)
    assert run.returncode == 0, run.stderr
    assert lines_of(run.stdout)[0] == ANSWER
    assert lines_of(run.stdout)[2].startswith("[2] ")
    (asked,) = server.calls
    assert asked.stream
    assert asked.prefix.startswith("You answer questions")


@pytest.mark.parametrize(("fault", "code"), [("500", 5), ("401", 5), ("404-model", 4), ("empty", 5), ("overflow", 5)])
def test_with_a_fault_nobody_is_left_with_nothing(
    fault: str, code: int, server: ModelServer, served: dict[str, str]
) -> None:
    server.always(fault)  # type: ignore[arg-type]
    run = ask("Where did Bob fly?", env=served)
    assert run.returncode == code, run.stderr
    assert lines_of(run.stdout)[0] == "[1] 2023-05-08T13:01:00 Mon Bob: I flew to Lisbon yesterday."
    assert run.stderr.decode().count("lightmem: ") == 1
    given = ask("Where did Bob fly?", "--json", env=served)
    assert given.returncode == code
    assert json.loads(given.stdout)["citations"]


def test_nobody_answers(server: ModelServer, served: dict[str, str]) -> None:
    server.stop()
    run = ask("Where did Bob fly?", env=served)
    assert run.returncode == 5, run.stderr
    assert lines_of(run.stdout)[0].startswith("[1] ")
    assert "hint: " in run.stderr.decode()


def test_what_was_said_before_a_connection_was_cut_stays(server: ModelServer, served: dict[str, str]) -> None:
    server.always("cut")
    run = ask("Where did Bob fly?", env=served)
    assert run.returncode == 5, run.stderr
    said = lines_of(run.stdout)[0]
    assert said.startswith("[1] ") or ANSWER.startswith(said)


# At a terminal


class Terminal:
    """A process at a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self.fd = fd
        self._unread = ""

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def shows(self, text: str, *, seconds: float = 30) -> str:
        """What is shown next, up to `text`, and with it."""
        until = time.monotonic() + seconds
        while text not in self._unread:
            left = max(0.0, until - time.monotonic())
            assert select.select([self.fd], [], [], left)[0], f"{text!r} is not in {self._unread!r}"
            try:
                self._unread += os.read(self.fd, 4096).decode()
            except OSError:  # the other end is closed
                raise AssertionError(f"{text!r} is not in {self._unread!r}") from None
        shown, _, self._unread = self._unread.partition(text)
        return shown + text

    def ends(self) -> int:
        return self.process.wait(timeout=30)


@contextmanager
def terminal(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Terminal]:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()

    def leads() -> None:  # Ctrl-C goes to whoever holds the terminal
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    asked = start(
        "ask", "--asked-at", "2023-07-01", *arguments,
        env={"TERM": "dumb", **(env or {})}, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=leads,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Terminal(asked, ours)
    finally:
        asked.kill()
        asked.wait()
        os.close(ours)


def test_a_conversation_ends_with_ctrl_d(scripted: dict[str, str]) -> None:
    with terminal(env=scripted) as person:
        person.shows("? ")
        person.type(b"Where did Bob fly?\n")
        person.shows("message D1:2")
        person.type(b"And when was that?\n")
        assert "In May [2]." in person.shows("message D1:2")
        person.shows("? ")
        person.type(b"\x04")
        assert person.ends() == 0


def test_ctrl_c_at_the_prompt_ends_with_130(scripted: dict[str, str]) -> None:
    with terminal(env=scripted) as person:
        person.shows("? ")
        person.type(b"half a ques")
        person.shows("ques")
        time.sleep(0.3)  # Python looks for a signal while it waits for a key, not just before
        person.type(b"\x03")
        assert person.ends() == 130


def test_lines_are_edited_and_remembered(scripted: dict[str, str]) -> None:
    pytest.importorskip("readline")
    with terminal(env=scripted | {"TERM": "xterm"}) as person:
        person.shows("? ")
        person.type(b"Where did Bob flyy\x7f?\n")
        person.shows("message D1:2")
        person.shows("? ")
        person.type(b"\x1b[A\n")  # the arrow up: the last line again
        person.shows("message D1:2")


def test_a_question_that_fails_is_not_the_end(tmp_path: Path) -> None:
    env = script(tmp_path, {"when": "Question, asked on 2023-07-01 Sat: Is it", "reply": "Yes [1]."})
    with terminal(env=env) as person:
        person.shows("? ")
        person.type(b"Where did Bob fly?\n")
        assert "[1] 2023-05-08T13:01:00 Mon Bob: I flew to Lisbon yesterday." in person.shows(
            "has no reply to the prompt"
        )
        person.shows("? ")
        person.type(b"Is it true?\n")
        person.shows("Yes [1].")
        person.shows("? ")
        person.type(b"\x04")
        assert person.ends() == 0


@pytest.fixture
def stalling(server: ModelServer) -> dict[str, str]:
    """A server that says half of its first answer, and then nothing."""
    server.faults.append("stall")
    return {
        "LIGHTMEM_LLM__USE": "ollama",
        "LIGHTMEM_LLM__MODEL": "test",
        "LIGHTMEM_LLM__BASE_URL": server.url,
        "LIGHTMEM_LLM__TIMEOUT_SECONDS": "60",
    }


def test_ctrl_c_ends_an_answer_and_the_conversation_goes_on(stalling: dict[str, str]) -> None:
    with terminal(env=stalling) as person:
        person.shows("? ")
        person.type(b"Where did Bob fly?\n")
        person.shows("Bob flew")
        person.type(b"\x03")
        person.shows("? ")
        person.type(b"And once more: where did Bob fly?\n")
        person.shows("message D1:2")
        person.shows("? ")
        person.type(b"\x04")
        assert person.ends() == 0


def test_a_kill_ends_the_conversation_too(stalling: dict[str, str]) -> None:
    with terminal(env=stalling) as person:
        person.shows("? ")
        person.type(b"Where did Bob fly?\n")
        person.shows("Bob flew")
        person.process.send_signal(signal.SIGTERM)
        assert person.ends() == 130


def test_an_interrupted_answer_keeps_what_was_said(stalling: dict[str, str]) -> None:
    with terminal("Where did Bob fly?", env=stalling) as person:
        shown = person.shows("Bob flew")
        person.type(b"\x03")
        assert person.ends() == 130
        assert "Traceback" not in shown


def test_a_pipe_gets_the_answer_while_it_is_said(stalling: dict[str, str]) -> None:
    process = start("ask", "Where did Bob fly?", env=stalling, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(4) == b"Bob "  # the answer is there before it is whole
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
