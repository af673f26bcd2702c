"""Kills the commands that write a memory at random moments of their life, runs them again, and compares.

    python scripts/crash_matrix.py --times 20 --seed 1
    python scripts/crash_matrix.py --commands update summarize --times 5
    python scripts/crash_matrix.py --transcript chat.jsonl --embed hashing --times 100
    python scripts/crash_matrix.py --commands ingest --set compress.use=entropy

Each kill is a `kill -9` of a real process on a fresh copy of a home; the moments are spread over the whole life of the
process, from its start to its last index write. After a second run to the end, the canonical state, the topics, the
shortened texts, the vectors by the hash of their text, and the answers to some questions must be those of the
uninterrupted run, `doctor --deep` must find nothing, and of what was purged not a byte may be left. Exit 1 where
anything differs.
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
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from processes import LIGHTMEM, environment, lightmem, transcript

QUESTIONS = 10
ANY_CHAT = ["What happened last week?", "Who moved to another city?", "What are the plans for the weekend?"]
FORGOTTEN = 12  # messages, from the middle of the transcript

_TOPICS = """
SELECT s.conversation, s.session, a.name, b.name, s.cut_by FROM segments s
JOIN messages a ON a.id = s.first JOIN messages b ON b.id = s.last ORDER BY 1, 2, a.position"""
_SHORTENED = """
SELECT m.conversation, m.session, m.name, c.text, c.kept, c.made_by FROM compressed c
JOIN messages m ON m.id = c.message ORDER BY 1, 2, m.position"""


class Case(NamedTuple):
    """A command to kill: what is run before it, and itself; with which embedder each (None: the chosen one)."""

    name: str
    before: list[list[str]]
    command: list[str]
    embed_before: str | None = None
    embed: str | None = None
    purged: tuple[bytes, ...] = ()


class Memory(NamedTuple):
    """All that two runs must agree on."""

    state: list[str]
    topics: list[str]
    shortened: list[str]
    vectors: dict[str, str]
    answers: list[str]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="crash-matrix-") as folder:
        homes = Path(folder)
        questions = _questions(options.transcript, homes)
        lightmem("ingest", options.transcript, home=homes / "prepare", embed="onnx")  # the one-time model export
        differing = 0
        for case in _cases(options.transcript):
            if case.name in options.commands:
                differing += _matrix(case, homes / case.name, questions, options)
    sys.exit(1 if differing else 0)


def _matrix(case: Case, homes: Path, questions: Path, options: argparse.Namespace) -> int:
    """Kill one command `--times` times; how many of these differ from the uninterrupted run."""
    embed, base = case.embed or options.embed, homes / "base"
    base.mkdir(parents=True)
    for setting in options.set:
        lightmem("config", "set", *setting.split("=", 1), home=base)
    for before in case.before:
        lightmem(*before, home=base, embed=case.embed_before or options.embed)
    shutil.copytree(base, homes / "whole")
    whole = lightmem(*case.command, home=homes / "whole", embed=embed)
    expected = _read(homes / "whole", questions, embed=embed)
    print(
        f"{case.name}: {whole.seconds:.2f} s uninterrupted, {len(expected.state):,} records, "
        f"{len(expected.topics):,} topics, {len(expected.shortened):,} shortened, {len(expected.vectors):,} vectors, "
        f"{len(expected.answers)} questions"
    )
    chance = random.Random(options.seed)
    life, differing = whole.seconds, 0
    for number in range(options.times):
        share = (number + chance.random()) / options.times
        home = homes / "killed"
        shutil.copytree(base, home)
        while ended := _kill(case.command, home, moment=life * share, embed=embed):
            life = min(life, ended)  # it was faster than the one that was measured: earlier, and once more
            shutil.rmtree(home)
            shutil.copytree(base, home)
        left = _left(home)
        lightmem(*case.command, home=home, embed=embed)
        wrong = [*_differences(expected, _read(home, questions, embed=embed)), *_remains(home, case.purged)]
        wrong += _doctor(home, embed=embed)
        differing += bool(wrong)
        print(f"{number + 1:>4}  killed at {life * share:6.2f} s  {left}  {'; '.join(wrong) or 'same'}", flush=True)
        shutil.rmtree(home)
    print(f"{case.name}: {options.times} killed, {options.times - differing} mended to the same state\n")
    return differing


def _cases(chat: Path) -> Iterator[Case]:
    rows = [json.loads(line) for line in chat.read_text(encoding="utf-8").splitlines() if line.strip()]
    middle = [row for row in rows[len(rows) // 3 :] if row.get("id") and row.get("content")][:FORGOTTEN]
    ids = [str(row["id"]) for row in middle]
    ingest, update = ["ingest", str(chat)], ["update", "--quiet"]
    others = "\n".join(str(row.get("content")) for row in rows if row not in middle)
    secrets = [str(row["content"]) for row in middle]
    purged = tuple(text.encode() for text in secrets if len(text) > 30 and text not in others)
    yield Case("ingest", [], ingest)
    yield Case("update", [ingest], ["update"])
    yield Case("summarize", [ingest, update], ["summarize"])
    yield Case("forget", [ingest, update, ["summarize", "--quiet"]], ["forget", *ids])
    purge = ["forget", "--purge", "--yes", *ids]
    yield Case("purge", [ingest, update, ["summarize", "--quiet"]], purge, purged=purged)
    yield Case("reindex", [ingest, update], ["reindex"], embed_before="hashing", embed="onnx")


def _options() -> argparse.Namespace:
    names = ["ingest", "update", "summarize", "forget", "purge", "reindex"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--commands", nargs="+", choices=names, default=names, help="which (default: all)")
    parser.add_argument("--times", type=int, default=10, help="how many kills of each (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")
    parser.add_argument("--transcript", type=Path, help="what is ingested (default: LoCoMo's conv-26)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the profile")
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


def _kill(command: list[str], home: Path, *, moment: float, embed: str) -> float | None:
    """Kill a command `moment` seconds after its start; the seconds it took where it had ended by then, else None."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*LIGHTMEM, *command],
        env=environment(home, embed=embed),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(timeout=max(0.0, moment - (time.perf_counter() - began)))
    except subprocess.TimeoutExpired:
        process.kill()
        return None if process.wait() == -signal.SIGKILL else time.perf_counter() - began
    return time.perf_counter() - began


def _left(home: Path) -> str:
    """What a killed process left."""
    counted = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM revisions), (SELECT count(*) FROM jobs)"
    messages = revisions = waiting = 0
    history = home / "profiles" / "default" / "history.db"
    if history.exists():
        # Killed before there were tables, it left nothing.
        with closing(sqlite3.connect(history)) as connection, suppress(sqlite3.OperationalError):
            messages, revisions, waiting = connection.execute(counted).fetchone()
    return f"{messages:>5,} messages  {revisions:>5,} revisions  {waiting:>5,} items waiting"


def _read(home: Path, questions: Path, *, embed: str) -> Memory:
    answers = lightmem("retrieve", "--queries", questions, "--limit", "20", "--json", home=home, embed=embed)
    state = lightmem("export", "--state", home=home, embed=embed)
    with closing(sqlite3.connect(home / "profiles" / "default" / "history.db")) as connection:
        vectors = dict(connection.execute("SELECT hex(text_hash), hex(embedding) FROM vectors"))
        topics = [" ".join(row) for row in connection.execute(_TOPICS)]
        shortened = [" ".join(map(str, row)) for row in connection.execute(_SHORTENED)]
    said = answers.stdout.decode().splitlines()
    return Memory(state.stdout.decode().splitlines(), topics, shortened, vectors, said)


def _differences(expected: Memory, found: Memory) -> Iterator[str]:
    """What differs, in a few lines each."""
    for what in ("state", "topics", "shortened", "answers"):
        lines = list(difflib.unified_diff(getattr(expected, what), getattr(found, what), lineterm="", n=0))
        if lines:
            yield f"DIFFERENT {what}:\n" + "\n".join(f"        {line[:200]}" for line in lines[2:8])
    if expected.vectors != found.vectors:
        hashes = {text for text, _ in expected.vectors.items() ^ found.vectors.items()}
        yield f"DIFFERENT vectors: {len(hashes)} texts"


def _remains(home: Path, purged: tuple[bytes, ...]) -> Iterator[str]:
    """Where a byte is left of what was purged."""
    for path in home.rglob("*"):
        if path.is_file() and any(text in path.read_bytes() for text in purged):
            yield f"STILL THERE in {path.relative_to(home)}"


def _doctor(home: Path, *, embed: str) -> Iterator[str]:
    """What `doctor --deep` finds wrong, or had to mend."""
    for line in lightmem("doctor", "--deep", "--json", home=home, embed=embed).stdout.decode().splitlines():
        finding = json.loads(line)
        if not finding["well"] or finding["mended"]:
            yield f"DOCTOR: {finding['check']}: {finding['seen']}"


if __name__ == "__main__":
    main()
