"""Runs commands on the packaged sample conversation in a home of their own, for README to show what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "lightmem_cli" / "samples" / "conversation.jsonl"

_LIFE = tempfile.TemporaryDirectory()  # one memory's life, from the first session of README to the last
_MACHINE = re.compile(r"made profile|preparing|exporting")  # differs from machine to machine
_NOW = re.compile(rf"{datetime.now(UTC).year}-\d\d-\d\dT\d\d:\d\d:\d\d\S*( \w\w\w)?")  # the sample is of 2024


def session(*commands: str) -> str:
    """Run `lightmem …` lines one after the other; what a person would see, as a console block.

    All sessions share a home. In the commands `chat.jsonl` is the sample. What a command prints comes first, then what
    it says on stderr. The moment at which a command ran is shown as `…`.
    """
    shown = "\n".join(_run(command) for command in commands)
    return f"```console\n{shown}\n```"


def _run(command: str) -> str:
    words = shlex.split(command, comments=True)
    assert words[0] == "lightmem"
    arguments = [str(SAMPLE) if word == "chat.jsonl" else word for word in words[1:]]
    done = subprocess.run(
        [sys.executable, "-m", "lightmem_cli", *arguments],
        env=_environment(), cwd=_LIFE.name, capture_output=True, encoding="utf-8", check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stderr}")
    said = [line for line in done.stderr.splitlines() if not _MACHINE.match(line)]
    printed = "\n".join([*done.stdout.splitlines(), *said])
    return f"$ {command}\n{_NOW.sub('…', printed)}".rstrip()


def _environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTMEM_")}
    cache = {name: value for name, value in os.environ.items() if name == "LIGHTMEM_CACHE"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    home = str(Path(_LIFE.name) / "home")
    return {**ours, **cache, "LIGHTMEM_HOME": home, "PYTHONPATH": path, "COLUMNS": "100", "NO_COLOR": "1"}


if __name__ == "__main__":
    sys.stdout.write(session(*sys.argv[1:]) + "\n")
