"""Runs `lightmem` for measurements: each command in a process of its own, timed, with the memory it took."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DATA = (ROOT / os.environ.get("LIGHTMEM_DATA", "../shared/data")).resolve()
LIGHTMEM = [sys.executable, "-m", "lightmem_cli"]
CONVERSATIONS = ("conv-26", "conv-30", "conv-41", "conv-42", "conv-43")  # of LoCoMo, in the evaluation data

sys.path.append(str(ROOT / "tests"))  # model_server, the server that stands in for one with a language model


class Finished(NamedTuple):
    """A process that ended well: what it printed, and what it took."""

    stdout: bytes
    stderr: str
    seconds: float  # from start to end, as a person waits
    cpu_seconds: float  # of all its threads: what other load on the machine does not change
    peak_bytes: int  # resident


def environment(
    home: Path | None = None, *, embed: str | None = None, settings: Mapping[str, object] | None = None
) -> dict[str, str]:
    """The environment without settings of the user's, and with `settings` (table.key); the prepared models stay."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTMEM_")}
    ours |= {name: os.environ[name] for name in ("LIGHTMEM_CACHE",) if name in os.environ}
    ours |= {"LIGHTMEM_HOME": str(home)} if home else {}
    ours |= {"LIGHTMEM_" + key.upper().replace(".", "__"): str(value) for key, value in (settings or {}).items()}
    return ours | ({"LIGHTMEM_EMBED__USE": embed} if embed else {})


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Finished:
    """Run `command` to its end, with nothing on stdin; a failure ends the measurement, saying why."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said = err.read().decode("utf-8", "replace")
        if process.returncode:
            sys.exit(f"{' '.join(map(str, command))}: exit {process.returncode}\n{said}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Finished(out.read(), said, seconds, usage.ru_utime + usage.ru_stime, peak)


def lightmem(
    *arguments: str | Path, home: Path, embed: str | None = None, settings: Mapping[str, object] | None = None
) -> Finished:
    """Run `lightmem ARGUMENTS` in `home`, with `settings` (table.key) for this once."""
    return run([*LIGHTMEM, *arguments], env=environment(home, embed=embed, settings=settings))


def transcript(name: str = "conv-41") -> Path:
    """A conversation of the evaluation data; without it, there is nothing to measure and that is no failure."""
    path = DATA / "locomo" / f"{name}.messages.jsonl"
    if not path.is_file():
        print(f"skipped: no {path}; set LIGHTMEM_DATA (README says where to get the sets)")
        sys.exit(0)
    return path
