"""`lightmem extract` and `ingest` with a language model: what a person types, and what they are told."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from process import HASHING
from typer.testing import CliRunner, Result

from lightmem_cli.cli import app
from lightmem_cli.cli.ingest import tell_long
from lightmem_cli.engine.asking import Estimate
from lightmem_cli.errors import ExitCode, InputError, ModelError, ProfileError


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "chat.jsonl"
    rows = [
        {
            "id": f"m{number}",
            "session": f"day{number // 10}",
            "speaker": ("Anna", "Boris")[number % 2],
            "timestamp": f"2024-05-{number // 10 + 1:02}T10:{number % 10:02}:00Z",
            "content": f"I saw heron {number} in the reeds behind the old mill, and it looked at me.",
        }
        for number in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def replies(tmp_path: Path) -> Path:
    return script(tmp_path / "replies.jsonl", {"reply": "every line a fact"})


def script(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return path


def called(replies: Path, *arguments: str | Path, feed: bytes = b"", **env: str) -> Result:
    """`lightmem ARGUMENTS` with a language model that follows a script."""
    settings = {
        **HASHING,
        "LIGHTMEM_EXTRACT__USE": "llm",
        "LIGHTMEM_EXTRACT__BUFFER_TOKENS": "100",
        "LIGHTMEM_LLM__USE": "scripted",
        "LIGHTMEM_LLM__MODEL": str(replies),
        **env,
    }
    return CliRunner(env=settings).invoke(app, [str(one) for one in arguments], input=feed, prog_name="lightmem")


def rows_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def sources(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["sources"][0]["id"] for row in rows]


# As a filter ---------------------------------------------------------------------------------------------------------


def test_a_filter_prints_facts_in_order_and_remembers_nothing(chat: Path, replies: Path, home: Path) -> None:
    done = called(replies, "extract", chat)
    assert done.exit_code == 0, done.stderr
    rows = rows_of(done)
    assert sources(rows) == [f"m{number}" for number in range(40)]
    assert {(row["kind"], row["state"], row["prompt"]) for row in rows} == {("fact", "active", "facts-1")}
    assert rows[0]["speaker"] == "Anna"
    assert not list(home.rglob("history.db"))
    assert called(replies, "extract", "-", feed=chat.read_bytes()).stdout == done.stdout


def test_a_filter_finds_what_a_memory_would(chat: Path, replies: Path) -> None:
    filtered = {row["id"] for row in rows_of(called(replies, "extract", chat))}
    assert called(replies, "ingest", chat).exit_code == 0
    exported = [json.loads(line) for line in called(replies, "export", "--state").stdout.splitlines()]
    assert {row["id"] for row in exported if row.get("kind") == "fact"} == filtered


def test_a_filter_halves_what_could_not_be_read(chat: Path, tmp_path: Path) -> None:
    poisoned = script(tmp_path / "p", {"reply": "no", "when": "heron 7 "}, {"reply": "every line a fact"})
    done = called(poisoned, "extract", chat)
    assert sources(rows_of(done)) == [f"m{number}" for number in range(40) if number != 7]
    assert isinstance(done.exception, ModelError)
    assert done.exception.exit_code is ExitCode.MODEL
    assert "failed on 1 message, the first time with: " in done.exception.message


def test_a_filter_gives_up_a_model_that_can_read_nothing(chat: Path, tmp_path: Path) -> None:
    done = called(script(tmp_path / "p", {"reply": "no"}), "extract", chat)
    assert isinstance(done.exception, ModelError)
    assert "is asked no more: it failed 3 times in a row" in done.exception.message


def test_a_filter_ends_with_its_budget(chat: Path, replies: Path) -> None:
    done = called(replies, "extract", chat, "--budget-tokens", "2500")
    assert done.exit_code == 0
    found = sources(rows_of(done))
    assert 0 < len(found) < 40 and found == [f"m{number}" for number in range(len(found))]
    assert "the budget of 2,500 tokens would be passed" in done.stderr and "the rest was not read" in done.stderr


def test_a_filter_prints_what_came_before_a_bad_line(chat: Path, replies: Path) -> None:
    done = called(replies, "extract", "-", feed=chat.read_bytes() + b'{"content": \n')
    assert len(rows_of(done)) == 40
    assert isinstance(done.exception, InputError) and "stdin:41" in done.exception.message


def test_a_filter_marks_what_nobody_said(chat: Path, tmp_path: Path) -> None:
    made_up = {"facts": [{"of": [1], "text": "Leonardo inherited seventeen submarines from the Vatican."}]}
    rows = rows_of(called(script(tmp_path / "p", {"reply": made_up}), "extract", chat))
    assert {row["state"] for row in rows} == {"unsupported"}


def test_a_filter_shortens_where_the_profile_does(chat: Path, tmp_path: Path) -> None:
    once = script(tmp_path / "p", {"reply": "no", "when": "in the reeds behind the old mill"}, {"reply": {"facts": []}})
    assert called(once, "extract", chat, LIGHTMEM_COMPRESS__USE="entropy", LIGHTMEM_COMPRESS__RATE="0.5").exit_code == 0
    assert called(once, "extract", chat).exit_code != 0


def test_a_filter_without_a_model_says_how_to_name_one(chat: Path, replies: Path) -> None:
    done = called(replies, "extract", chat, LIGHTMEM_LLM__USE="none")
    assert isinstance(done.exception, ProfileError) and "config set llm.use" in str(done.exception.hint)


def test_rules_may_be_asked_for_instead(chat: Path, replies: Path) -> None:
    rows = rows_of(called(replies, "extract", chat, "--use", "rules"))
    assert rows and {row["model"] for row in rows} == {None}


def test_a_language_model_may_be_asked_for_by_name(chat: Path, replies: Path) -> None:
    rows = rows_of(called(replies, "extract", chat, "--use", "llm", LIGHTMEM_EXTRACT__USE="rules"))
    assert {row["model"] for row in rows} == {"scripted/replies.jsonl"}


# What it would take --------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_a_filter_would_take(chat: Path, replies: Path, tmp_path: Path) -> None:
    nobody = script(tmp_path / "p", {"reply": "", "when": "nobody asks this"})
    about = json.loads(called(nobody, "extract", chat, "--dry-run", "--json").stdout)
    assert called(nobody, "extract", chat, "--dry-run").stdout.startswith(f"about {about['calls']} calls, ")
    called(replies, "ingest", chat)
    stats = json.loads(called(replies, "stats", "--json").stdout)["llm"]["extract"]
    assert (about["calls"], about["prompt_tokens"]) == (stats["calls"], stats["prompt_tokens"])


def test_a_dry_run_of_a_memory_asks_nobody_and_writes_nothing(chat: Path, replies: Path, tmp_path: Path) -> None:
    assert called(replies, "extract", "--dry-run").stdout == "nothing to ask\n"
    called(replies, "ingest", chat, "--journal-only")
    before = called(replies, "stats", "--json").stdout
    nobody = script(tmp_path / "p", {"reply": "", "when": "nobody asks this"})
    about = json.loads(called(nobody, "extract", "--dry-run", "--json").stdout)
    assert called(replies, "stats", "--json").stdout == before
    done = json.loads(called(replies, "extract", "--json").stdout)
    assert abs(about["calls"] - done["calls"]) <= 2
    assert called(replies, "extract", "--dry-run").stdout == "nothing to ask\n"


def test_a_dry_run_counts_no_open_topics_and_says_so(replies: Path) -> None:
    line = b'{"content": "I painted the boat blue.", "session": "s", "id": "1"}\n'
    called(replies, "ingest", "-", "--keep-open", feed=line)
    done = called(replies, "extract", "--dry-run")
    assert done.stdout == "nothing to ask\n"
    assert "1 message of open topics not counted (lightmem segment ends them)" in done.stderr


def test_rules_take_no_tokens(replies: Path) -> None:
    done = called(replies, "extract", "--use", "rules", "--dry-run", "--json")
    assert json.loads(done.stdout)["calls"] == 0 and "rules extract here" in done.stderr


@pytest.mark.parametrize(("calls", "terminal", "said"), [(21, True, True), (20, True, False), (21, False, False)])
def test_a_long_run_is_told_on_a_terminal(
    calls: int, terminal: bool, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    tell_long(Estimate(calls=calls, prompt_tokens=30_000, reply_tokens=9_000))
    assert (f"about {calls} calls, 30,000 prompt tokens" in capsys.readouterr().err) is said


# At a memory ---------------------------------------------------------------------------------------------------------


def test_what_was_done_is_counted(chat: Path, replies: Path) -> None:
    called(replies, "ingest", chat, "--journal-only")
    counts = json.loads(called(replies, "extract", "--json").stdout)
    spent = json.loads(called(replies, "stats", "--json").stdout)["llm"]["extract"]
    assert counts == {
        "messages": 40,
        "facts": 40,
        "unsupported": 0,
        "embedded": 80,
        "topics": 4,
        "quarantined": 0,
        **{name: spent[name] for name in ("calls", "prompt_tokens", "completion_tokens", "cached_tokens")},
    }
    assert called(replies, "extract").stderr == "nothing was waiting\n"


def test_ingest_tells_calls_and_tokens(chat: Path, replies: Path) -> None:
    done = called(replies, "ingest", chat)
    assert done.stderr.splitlines()[-1].startswith("40 new messages, 40 facts, 4 topics, ")
    assert " calls of " in done.stderr
    counts = json.loads(called(replies, "ingest", chat, "--json").stdout)
    assert (counts["known"], counts["calls"], counts["prompt_tokens"]) == (40, 0, 0)


@pytest.mark.parametrize("command", ["ingest", "extract"])
def test_what_the_model_failed_on_is_exit_code_5(command: str, chat: Path, tmp_path: Path, replies: Path) -> None:
    poisoned = script(tmp_path / "p", {"reply": "no", "when": "heron 7 "}, {"reply": "every line a fact"})
    if command == "extract":
        called(poisoned, "ingest", chat, "--journal-only")
    done = called(poisoned, *([command, chat] if command == "ingest" else [command]), "--json")
    assert isinstance(done.exception, ModelError)
    assert "failed on 1 message, the first time with: " in done.exception.message
    assert "lightmem extract tries again" in str(done.exception.hint)
    assert json.loads(done.stdout)["facts"] == 39
    assert b"heron 7 " in called(replies, "retrieve", "heron 7").stdout_bytes
    again = called(replies, "extract")
    assert again.exit_code == 0 and again.stderr.startswith("1 message, 1 fact, ")


def test_a_budget_ends_an_ingest_cleanly(chat: Path, replies: Path) -> None:
    done = called(replies, "ingest", chat, "--budget-tokens", "2500", "--json")
    assert done.exit_code == 0
    counts = json.loads(done.stdout)
    assert 0 < counts["facts"] < 40
    assert f"{40 - counts['facts']} messages wait (lightmem extract)" in done.stderr
    assert counts["prompt_tokens"] + counts["completion_tokens"] <= 2500
    assert called(replies, "extract").exit_code == 0
    assert json.loads(called(replies, "stats", "--json").stdout)["entries"]["fact"] == {"active": 40}


def test_what_waits_for_a_topic_is_told_with_what_ends_it(replies: Path) -> None:
    line = b'{"content": "I painted the boat blue.", "session": "s", "id": "1"}\n'
    called(replies, "ingest", "-", "--keep-open", feed=line)
    ends = "lightmem segment, then lightmem extract"
    assert f"to extract           1  ({ends})" in called(replies, "stats").stdout
    doctor = called(replies, "doctor").stdout
    assert f"pending work: 1 messages wait for their topics to end  (mend: {ends})" in doctor
    assert f"1 message still waiting, and not in this plan ({ends})" in called(replies, "update", "--dry-run").stderr
    assert called(replies, "extract").stderr == "nothing was waiting\n"
    assert called(replies, "segment").stderr == "1 topic ended\n"
    assert "to extract           1  (lightmem extract)" in called(replies, "stats").stdout
    assert called(replies, "extract").stderr.startswith("1 message, 1 fact, ")


def test_update_reads_what_waits_first(chat: Path, replies: Path) -> None:
    called(replies, "ingest", chat, "--journal-only")
    assert called(replies, "update").exit_code == 0
    assert json.loads(called(replies, "stats", "--json").stdout)["pending"] == {}


def test_a_pipe_comes_to_the_same_as_its_file(chat: Path, replies: Path) -> None:
    piped = called(replies, "ingest", "-", "--json", feed=chat.read_bytes())
    assert piped.exit_code == 0
    assert piped.stdout == called(replies, "ingest", chat, "--json", "--home", chat.parent / "other").stdout
