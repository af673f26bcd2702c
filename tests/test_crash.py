"""Law 1 for every command that writes: `kill -9` at any moment, then the same command again, gives the same memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAID = (
    "I adopted a greyhound called Biscuit last Friday.",
    "My sister Clara is expecting a baby in August.",
    "I work at the botanical garden near the river.",
    "I painted the kitchen of the old house green.",
    "We bought two tickets for the concert in Lisbon.",
)


def chat(path: Path) -> Path:
    """Sixty messages over ten days, in which most things are said several times."""
    rows = []
    for number in range(60):
        text = SAID[number * 7 % len(SAID)] + (f" The heron number {number} stood in the reeds." if number % 3 else "")
        day, speaker = number // 6 + 1, ("Anna", "Boris")[number % 2]
        fields = {"id": f"m{number}", "session": f"day{day}", "timestamp": f"2024-05-{day:02}T10:{number % 6:02}:00Z"}
        rows.append(json.dumps({"content": text, "speaker": speaker, **fields}))
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["update", "summarize", "forget", "purge", "reindex"])
def test_a_killed_command_run_again_leaves_the_same_memory(command: str, tmp_path: Path) -> None:
    options = ["--commands", command, "--times", "2", "--embed", "hashing"]
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "crash_matrix.py"), *options, "--transcript", chat(tmp_path / "chat")],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{command}: 2 killed, 2 mended to the same state" in run.stdout
