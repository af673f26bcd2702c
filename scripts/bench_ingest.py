"""Measures what a message costs to take in: against embedding alone, and as a memory grows to many thousands.

    python scripts/bench_ingest.py                          # both parts
    python scripts/bench_ingest.py --scale 0                # the first part alone
    python scripts/bench_ingest.py --runs 0 --scale 100000 --embed hashing

First, messages a second of one transcript, whole process, after the one-time preparation of the model. Then growth:
distinct messages made of the evaluation set's sentences, with names and numbers of their own, a thousand a process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from processes import DATA, Finished, lightmem, transcript

REFERENCE = 4.6  # messages/s of the reference system on LoCoMo's conv-26, a stub model answering at once: FINDINGS.md
SAMPLE = 100  # turns the baseline embeds
CHUNK = 1_000  # messages a process
ROWS = {1, 2, 5, 10, 20, 50, 100, 200, 500}  # thousands of messages at which the table has a row
AGAIN = 5  # one more message, and one cold question: so often, and the median counts
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
QUESTION = "Who went hiking in the mountains last summer?"


def main() -> None:
    options = _options()
    chat = options.transcript or transcript("conv-41")
    if options.runs:
        _throughput(chat, runs=options.runs, embed=options.embed)
    if options.scale:
        _growth(options.scale, embed=options.embed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transcript", type=Path, help="for the first part (default: LoCoMo's conv-41)")
    parser.add_argument("--runs", type=int, default=3, help="of the first part (default 3; 0: leave it out)")
    parser.add_argument("--scale", type=int, default=100_000, help="messages to grow to (0: leave that part out)")
    parser.add_argument("--embed", choices=["onnx", "hashing"], default="onnx", help="default: onnx")
    return parser.parse_args()


def _throughput(chat: Path, *, runs: int, embed: str) -> None:
    turns = [json.loads(line)["content"] for line in chat.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
        lightmem("ingest", chat, home=Path(folder) / "prepare", embed=embed)
        taken = [lightmem("ingest", chat, home=Path(folder) / f"run{n}", embed=embed) for n in range(runs)]
    seconds = statistics.median(run.seconds for run in taken)
    ours = len(turns) / seconds
    print(f"{chat.name}: {len(turns)} messages, {embed}, whole process, median of {runs}")
    print(f"lightmem ingest                                {ours:8.1f} messages/s  ({seconds:.2f} s)")
    alone = _sentence_transformers(turns[:: max(1, len(turns) // SAMPLE)][:SAMPLE])
    print(f"sentence-transformers fp32, embedding alone    {alone:8.1f} turns/s     (one by one, model loaded)")
    print(f"ratio                                          {ours / alone:8.1f}")
    print(
        f"the reference system, as published             {REFERENCE:8.1f} messages/s  (not measured here)\n", flush=True
    )


def _sentence_transformers(turns: list[str]) -> float:
    """Turns a second through the library itself, one by one, on as many threads as it likes."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    from sentence_transformers import SentenceTransformer

    from lightmem_cli.local_models.minilm import model_folder

    model = SentenceTransformer(str(model_folder()), device="cpu")
    model.encode(turns[:3])
    began = time.perf_counter()
    for turn in turns:
        model.encode([turn])
    return len(turns) / (time.perf_counter() - began)


def _growth(scale: int, *, embed: str) -> None:
    messages = _messages(seed=1)
    print(f"growth to {scale:,} messages, {embed}, {CHUNK:,} a process")
    print(f"{'messages':>9}  {'ms/message':>10}  {'CPU ms':>7}  {'peak MB':>8}  disk MB by part", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        home = Path(folder) / "home"
        for thousand in range(1, scale // CHUNK + 1):
            took = _ingest(list(itertools.islice(messages, CHUNK)), Path(folder), home, embed=embed)
            if thousand in ROWS or thousand == scale // CHUNK:
                wall, cpu = took.seconds / CHUNK * 1000, took.cpu_seconds / CHUNK * 1000
                print(
                    f"{thousand * CHUNK:>9,}  {wall:>10.2f}  {cpu:>7.2f}  {took.peak_bytes / 1e6:>8.0f}  {_disk(home)}",
                    flush=True,
                )
            if thousand in (1, scale // CHUNK):
                _one_more(messages, Path(folder), home, embed=embed)


def _one_more(messages: Iterator[bytes], folder: Path, home: Path, *, embed: str) -> None:
    """What one more message and one cold question cost now."""
    more = [_ingest([next(messages)], folder, home, embed=embed) for _ in range(AGAIN)]
    asked = [lightmem("retrieve", QUESTION, home=home, embed=embed) for _ in range(AGAIN)]
    for what, taken in (("one more message", more), ("one cold question", asked)):
        seconds = statistics.median(one.seconds for one in taken)
        cpu = statistics.median(one.cpu_seconds for one in taken)
        peak = max(one.peak_bytes for one in taken) / 1e6
        print(f"{'':>9}  {what}: {seconds * 1000:.0f} ms (CPU {cpu * 1000:.0f} ms), peak {peak:.0f} MB", flush=True)


def _ingest(rows: list[bytes], folder: Path, home: Path, *, embed: str) -> Finished:
    chunk = folder / "chunk.jsonl"
    chunk.write_bytes(b"".join(rows))
    return lightmem("ingest", chunk, home=home, embed=embed)


def _disk(home: Path) -> str:
    """Bytes by part of the profile's folder."""
    sizes: dict[str, int] = {}
    profile = home / "profiles" / "default"
    for path in profile.rglob("*"):
        if path.is_file():
            part = path.relative_to(profile).parts[0].partition(".db")[0]
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
    return ", ".join(f"{part} {size / 1e6:.1f}" for part, size in sorted(sizes.items()) if size > 10_000)


def _messages(*, seed: int) -> Iterator[bytes]:
    """Endless distinct messages of a few sentences each, as long as the set's own, in sessions of twenty."""
    chance = random.Random(seed)
    turns = []
    for path in sorted((DATA / "locomo").glob("*.messages.jsonl")):
        turns += [json.loads(line)["content"] for line in path.read_text(encoding="utf-8").splitlines()]
    if not turns:
        transcript()  # says why, and ends
    turns = [[part for part in re.split(r"(?<=[.!?])\s+", turn) if part.strip()] for turn in turns if turn.strip()]
    sentences = [part for turn in turns for part in turn]
    began = datetime(2020, 1, 1, 9, tzinfo=UTC)
    for number in itertools.count():
        said = " ".join(
            _own(sentence, number, chance) for sentence in chance.choices(sentences, k=_length(turns, chance))
        )
        row = {
            "conversation": f"c{number // 2000}",
            "session": f"s{number // 20}",
            "id": f"n{number}",
            "speaker": _name(number // 2000 * 2 + number % 2),
            "timestamp": (began + timedelta(minutes=37 * number)).isoformat(),
            "content": said,
        }
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _length(turns: list[list[str]], chance: random.Random) -> int:
    return len(chance.choice(turns))


def _own(sentence: str, number: int, chance: random.Random) -> str:
    """`sentence` about a name of its own, so that no text, and no vector, comes twice."""
    name = _name(number * 7 + chance.randrange(7))
    words = sentence.split()
    places = [at for at, word in enumerate(words) if at and word[:1].isupper() and word[1:2].islower()]
    if places:
        at = chance.choice(places)
        words[at] = re.sub(r"\w+", name, words[at], count=1)
        return " ".join(words)
    bare = sentence.rstrip(".!?")
    return f"{bare} with {name}{sentence[len(bare) :] or '.'}"


def _name(number: int) -> str:
    """A name that no other number has."""
    name = ""
    number += len(SYLLABLES)
    while number:
        number, rest = divmod(number, len(SYLLABLES))
        name += SYLLABLES[rest]
    return name.capitalize()


if __name__ == "__main__":
    main()
