"""`lightmem doctor` and the language model: whether it is there, replies as asked, reads enough, and how fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from memories import opened
from model_server import ModelServer
from process import lightmem

from lightmem_cli.engine import Memory
from lightmem_cli.engine.model_check import check_language_model
from lightmem_cli.errors import ExitCode, MissingPart, Unavailable
from lightmem_cli.llm.scripted import ScriptedModel, every_line_a_fact
from lightmem_cli.protocols import Prompt

LLM = {"llm": {"use": "scripted"}, "extract": {"use": "llm"}}


def memory_with(home: Path, reply: Callable[[Prompt], str | BaseException], *, context: int = 0) -> Memory:
    memory = opened(home, **LLM)
    memory.__dict__["model"] = ScriptedModel(reply, context=context)
    return memory


def test_without_a_language_model_nothing_is_said_of_it(home: Path) -> None:
    with opened(home) as memory:
        assert check_language_model(memory) == []


def test_a_stage_that_asks_for_a_model_which_is_not_set_is_told(home: Path) -> None:
    with opened(home, extract={"use": "llm"}) as memory:
        [finding] = check_language_model(memory)
        assert not finding.well
        assert "llm.use" in f"{finding.seen} {finding.mend}"
        assert finding.exit_code is ExitCode.INPUT


def test_a_model_that_serves_is_well_and_its_cost_is_on_record(home: Path) -> None:
    with memory_with(home, every_line_a_fact, context=32_768) as memory:
        there, replies, context = check_language_model(memory)
        assert (there.well, replies.well, context.well) == (True, True, True)
        assert "2 facts of two lines" in replies.seen
        assert "32,768 tokens" in context.seen
        assert memory.history.counts.model_calls()["probe"].usage.calls == 1
        check_language_model(memory)
        assert memory.history.counts.model_calls()["probe"].usage.calls == 2, "it is really asked each time"


@pytest.mark.parametrize(
    "reply", ["", "I'm sorry, I can't help with that.", '{"facts": "none"}', '{"facts": [{"of": [9]']
)
def test_replies_that_are_none_ask_for_a_larger_model(home: Path, reply: str) -> None:
    with memory_with(home, lambda prompt: reply) as memory:
        _, replies, _ = check_language_model(memory)
        assert not replies.well
        assert replies.exit_code is ExitCode.MODEL
        assert "llm.model" in (replies.mend or "")


def test_too_small_a_context_names_the_key_to_lower(home: Path) -> None:
    with memory_with(home, every_line_a_fact, context=1_500) as memory:
        context = check_language_model(memory)[-1]
        assert not context.well
        assert "lightmem config set" in (context.mend or "")


def test_a_context_that_a_full_buffer_and_its_reply_do_not_fit_is_told(home: Path) -> None:
    with opened(home, **LLM) as memory:
        memory.__dict__["model"] = ScriptedModel(every_line_a_fact, context=1_000_000)
        needed = int(check_language_model(memory)[-1].seen.rpartition("up to ")[2].split()[0].replace(",", ""))
    for context, well in ((needed, True), (needed - 200, False)):
        with opened(home, **LLM) as memory:
            memory.__dict__["model"] = ScriptedModel(every_line_a_fact, context=context)
            assert check_language_model(memory)[-1].well is well
    with opened(
        home, llm={"use": "scripted"}, extract={"use": "llm", "buffer_tokens": 2048, "mode": "event"}
    ) as memory:
        memory.__dict__["model"] = ScriptedModel(every_line_a_fact, context=4_096)
        assert not check_language_model(memory)[-1].well


def test_a_server_that_goes_away_after_it_was_found_is_a_finding(home: Path) -> None:
    with memory_with(home, every_line_a_fact) as memory:

        class Gone(ScriptedModel):
            @property
            def context(self) -> int:  # type: ignore[override]
                raise Unavailable("nobody answers any more", hint="start it")

            @context.setter
            def context(self, _: int) -> None: ...

        memory.__dict__["model"] = Gone(every_line_a_fact)
        assert not check_language_model(memory)[-1].well


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Unavailable("nobody answers at x", hint="ollama serve"), ExitCode.MODEL),
        (MissingPart("no model", hint="ollama pull x"), ExitCode.MISSING),
    ],
)
def test_a_model_that_cannot_be_asked_says_what_to_run(home: Path, fault: Exception, code: ExitCode) -> None:
    with memory_with(home, lambda prompt: fault) as memory:
        finding = check_language_model(memory)[-1]
        assert (finding.well, finding.exit_code) == (False, code)
        assert (finding.mend or "").startswith("ollama")


def settings_of(server: ModelServer, *, wire: str) -> dict[str, str]:
    url = server.url if wire == "ollama" else server.openai_url
    model = "tiny" if wire == "ollama" else "gpt-4o-mini"  # what it lists
    return {
        "LIGHTMEM_LLM__USE": wire,
        "LIGHTMEM_LLM__MODEL": model,
        "LIGHTMEM_LLM__BASE_URL": url,
        "LIGHTMEM_EXTRACT__USE": "llm",
        "LIGHTMEM_LLM__RETRIES": "0",
    }


@pytest.mark.parametrize("wire", ["ollama", "openai"])
def test_doctor_probes_a_server(wire: str) -> None:
    with ModelServer() as server:
        done = lightmem("doctor", "--json", env=settings_of(server, wire=wire))
    findings = {row["check"]: row for row in map(json.loads, done.stdout.decode().splitlines())}
    assert done.returncode == 0, done.stdout.decode()
    assert findings["language model"]["seen"].count(f"{wire}/") == 1
    assert "tokens a second" in findings["its replies"]["seen"]


@pytest.mark.parametrize(("wire", "mend"), [("ollama", "ollama serve"), ("openai", "llm.base_url")])
def test_doctor_says_what_to_run_when_nobody_answers(wire: str, mend: str) -> None:
    with ModelServer() as server:
        settings = settings_of(server, wire=wire)
    done = lightmem("doctor", env=settings)
    assert done.returncode == ExitCode.MODEL
    assert mend in done.stdout.decode()


def test_doctor_says_which_model_to_pull() -> None:
    with ModelServer() as server:
        server.models = ["llama3.2:3b"]
        done = lightmem("doctor", env=settings_of(server, wire="ollama"))
    assert done.returncode == ExitCode.MISSING
    assert "ollama pull tiny" in done.stdout.decode()
