"""The installed command, with the embedder that everybody gets: what `make lowest` tries first."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lightmem_cli

SAMPLE = Path(lightmem_cli.__file__).parent / "samples" / "conversation.jsonl"
DEFAULTS = {"LIGHTMEM_EMBED__USE": "onnx"}

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the console script, which must succeed and say nothing amiss, and returns what it printed."""
    command = Path(sys.executable).with_name("lightmem.exe" if sys.platform == "win32" else "lightmem")
    if not command.exists():
        pytest.skip(f"the package is not installed beside {sys.executable}")

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [command, *arguments],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, **DEFAULTS, "PYTHONWARNINGS": "default"},
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


def rows(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.parametrize("name", [info.name for info in pkgutil.walk_packages(lightmem_cli.__path__, "lightmem_cli.")])
def test_every_module_is_imported(name: str) -> None:
    if name.endswith(".__main__"):
        return  # it runs the command
    importlib.import_module(name)


def test_help_names_the_commands(run: Run) -> None:
    shown = run("--help")
    assert {"ingest", "retrieve", "ask", "update", "doctor"} <= set(shown.split())


def test_the_demo_answers_its_question(run: Run) -> None:
    assert "Biscuit" in run("demo")


def test_a_conversation_is_taken_in_found_merged_summarized_and_answered(run: Run) -> None:
    run("ingest", SAMPLE)
    run("update")
    run("summarize")
    question = "When did Ines adopt Biscuit?"
    assert any("Biscuit" in json.dumps(row) for row in rows(run("retrieve", question, "--json")))
    assert "Biscuit" in run("ask", question)
    assert "Biscuit" in run("retrieve", question, "--kind", "summary")
    assert len(rows(run("export", "--state"))) > 40
    run("doctor")
