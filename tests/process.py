"""Runs the command line as a shell would: in a process of its own, with pipes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

COMMAND = [sys.executable, "-m", "lightmem_cli"]
HASHING = {"LIGHTMEM_EMBED__USE": "hashing"}  # no model to load: processes start in a third of a second


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the model-free embedder, and with `extra` on top."""
    return {**os.environ, **HASHING, **(extra or {})}


def lightmem(
    *arguments: str | os.PathLike[str],
    feed: bytes = b"",
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run `lightmem ARGUMENTS` to its end with `feed` on stdin; both outputs are captured."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=feed,
        env=environment(env),
        timeout=120,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def start(
    *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start `lightmem ARGUMENTS` and leave it running."""
    return subprocess.Popen([*COMMAND, *arguments], env=environment(env), **options)


def lines_of(data: bytes) -> list[str]:
    """The lines a process printed, which must be UTF-8."""
    return data.decode("utf-8").splitlines()
