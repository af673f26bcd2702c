"""Runs commands on the packaged sample conversation in a home of their own, for README to show what they print."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "lightmem_cli" / "samples" / "conversation.jsonl"


def session(*commands: str) -> str:
    """Run `lightmem …` lines one after the other in a fresh home; what a person would see, as a console block.

    In the commands `chat.jsonl` is the sample. A command that prints no data shows the last line it said on stderr: the
    lines before it (a profile made, a model prepared) differ from machine to machine.
    """
    with _home() as environment:
        shown = "\n".join(_run(command, environment) for command in commands)
    return f"```console\n{shown}\n```"


def _run(command: str, environment: dict[str, str]) -> str:
    words = shlex.split(command)
    assert words[0] == "lightmem"
    arguments = [str(SAMPLE) if word == "chat.jsonl" else word for word in words[1:]]
    done = subprocess.run(
        [sys.executable, "-m", "lightmem_cli", *arguments],
        env=environment, cwd=ROOT, capture_output=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stderr}")
    return f"$ {command}\n{done.stdout or done.stderr.splitlines()[-1]}".rstrip()


@contextmanager
def _home() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTMEM_")}
        cache = {name: value for name, value in os.environ.items() if name == "LIGHTMEM_CACHE"}
        yield {**ours, **cache, "LIGHTMEM_HOME": folder, "COLUMNS": "100", "NO_COLOR": "1"}


if __name__ == "__main__":
    sys.stdout.write(session(*sys.argv[1:]) + "\n")
