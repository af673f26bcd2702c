"""Kills `lightmem ingest` at random moments of its life, runs it again, and compares with a run nobody killed.

    python scripts/crash_matrix.py --times 20 --seed 1
    python scripts/crash_matrix.py --transcript chat.jsonl --embed hashing --times 100

Each kill is a `kill -9` of a real process on a fresh home; the moments are spread over the whole life of the process,
from its start to its last index write. After a second run to the end, the canonical state, the vectors by the hash of
their text, and the answers to some questions must be those of the uninterrupted run. Exit 1 where they differ.
"""

from __future__ import annotations

import argparse
import difflib
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from processes import LIGHTMEM, environment, lightmem, transcript

QUESTIONS = 10
ANY_CHAT = ["What happened last week?", "Who moved to another city?", "What are the plans for the weekend?"]


class Memory(NamedTuple):
    """All that two runs must agree on."""

    state: list[str]
    vectors: dict[str, str]
    answers: list[str]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="crash-matrix-") as folder:
        homes = Path(folder)
        questions = _questions(options.transcript, homes)
        lightmem("ingest", options.transcript, home=homes / "prepare", embed=options.embed)  # the one-time model export
        whole = lightmem("ingest", options.transcript, home=homes / "whole", embed=options.embed)
        expected = _read(homes / "whole", questions, embed=options.embed)
        print(
            f"{options.transcript.name}: {whole.seconds:.2f} s uninterrupted, {len(expected.state):,} records, "
            f"{len(expected.vectors):,} vectors, {len(expected.answers)} questions"
        )
        chance = random.Random(options.seed)
        life, differing = whole.seconds, 0
        for number in range(options.times):
            share = (number + chance.random()) / options.times
            home = homes / f"killed{number}"
            while ended := _kill(options.transcript, home, moment=life * share, embed=options.embed):
                life = min(life, ended)  # it was faster than the one that was measured: earlier, and once more
                shutil.rmtree(home)
            journalled, waiting = _left(home)
            lightmem("ingest", options.transcript, home=home, embed=options.embed)
            difference = _difference(expected, _read(home, questions, embed=options.embed))
            differing += bool(difference)
            print(
                f"{number + 1:>4}  killed at {life * share:6.2f} s  "
                f"{journalled:>6,} messages journalled  {waiting:>6,} items waiting  {difference or 'same'}",
                flush=True,
            )
        print(f"{options.times} runs killed, {options.times - differing} mended to the same state, {differing} differ")
    sys.exit(1 if differing else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--times", type=int, default=20, help="how many kills (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")
    parser.add_argument("--transcript", type=Path, help="what is ingested (default: LoCoMo's conv-26)")
    parser.add_argument("--embed", choices=["onnx", "hashing"], default="onnx", help="default: onnx")
    options = parser.parse_args()
    options.transcript = (options.transcript or transcript("conv-26")).absolute()
    return options


def _questions(chat: Path, folder: Path) -> Path:
    """Questions to ask: the transcript's own where it has some."""
    own = chat.with_name(chat.name.replace(".messages.", ".questions."))
    rows = [json.dumps({"question": text, "asked_at": "2024-01-01"}) for text in ANY_CHAT]
    if own != chat and own.is_file():
        rows = own.read_text(encoding="utf-8").splitlines()[:QUESTIONS]
    path = folder / "questions.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def _kill(chat: Path, home: Path, *, moment: float, embed: str) -> float | None:
    """Kill an ingest `moment` seconds after its start; the seconds it took where it had ended by then, else None."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*LIGHTMEM, "ingest", str(chat)],
        env=environment(home, embed=embed),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(timeout=max(0.0, moment - (time.perf_counter() - began)))
    except subprocess.TimeoutExpired:
        process.kill()
        return None if process.wait() == -signal.SIGKILL else time.perf_counter() - began
    return time.perf_counter() - began


def _left(home: Path) -> tuple[int, int]:
    """What a killed process left: messages journalled, and items of work waiting."""
    history = home / "profiles" / "default" / "history.db"
    if not history.exists():
        return 0, 0
    with closing(sqlite3.connect(history)) as connection:
        try:
            count = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM jobs)"
            journalled, waiting = connection.execute(count).fetchone()
        except sqlite3.OperationalError:  # killed before there were tables
            return 0, 0
    return journalled, waiting


def _read(home: Path, questions: Path, *, embed: str) -> Memory:
    answers = lightmem("retrieve", "--queries", questions, "--limit", "20", "--json", home=home, embed=embed)
    state = lightmem("export", "--state", home=home, embed=embed)
    with closing(sqlite3.connect(home / "profiles" / "default" / "history.db")) as connection:
        vectors = dict(connection.execute("SELECT hex(text_hash), hex(embedding) FROM vectors"))
    return Memory(state.stdout.decode().splitlines(), vectors, answers.stdout.decode().splitlines())


def _difference(expected: Memory, found: Memory) -> str:
    """What differs, in a few lines; "" where all is the same."""
    parts = []
    for what in ("state", "answers"):
        lines = list(difflib.unified_diff(getattr(expected, what), getattr(found, what), lineterm="", n=0))
        if lines:
            parts.append(f"DIFFERENT {what}:\n" + "\n".join(f"        {line[:200]}" for line in lines[2:8]))
    if expected.vectors != found.vectors:
        hashes = {text for text, _ in expected.vectors.items() ^ found.vectors.items()}
        parts.append(f"DIFFERENT vectors: {len(hashes)} texts")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
