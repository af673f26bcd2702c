"""Measures how much of what was worth noting in a conversation its summaries tell, against named baselines.

    python scripts/bench_summaries.py [--data DIR] [--conversations a,b] [--sentences N]

DIR holds NAME.messages.jsonl, NAME.observations.jsonl and NAME.questions.jsonl (default: $LIGHTMEM_DATA/locomo). Each
conversation is ingested into a fresh home and summarized by session by the `lightmem` command beside this Python. The
baselines take as many facts of the same session:

    first        those said first
    random       any, mean of ten draws
    centroid     those nearest to the mean of all
    informative  those of the highest importance

obs@.6 and obs@.7 are the shares of the session's observations, which a model noted, that one of the chosen facts has at
that cosine (all-MiniLM-L6-v2, int8); evidence is the share of the messages that answer questions asked later which the
chosen facts rest on, each counted as often as it is asked for; characters is the mean length of the chosen facts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from processes import DATA, lightmem

from lightmem_cli.embed import open_embedder

DRAWS = 10
COLUMNS = ("obs@.6", "obs@.7", "evidence", "characters")


@dataclass(frozen=True, slots=True)
class Fact:
    id: str
    text: str
    importance: float
    sources: frozenset[str]


@dataclass(frozen=True, slots=True)
class Session:
    """A session's facts with their vectors, its observations' vectors, and how often each message is asked for."""

    facts: list[Fact]
    vectors: Any
    observations: Any
    asked_for: Counter[str]
    summary: list[int]


Choose = Callable[[Session, int], Iterable[int]]


def main() -> None:
    options = _options()
    embedder = open_embedder("onnx", progress=lambda line: None)
    rows: dict[str, list[list[float]]] = {}
    for name in options.conversations:
        sessions = _sessions(options.data, name, sentences=options.sentences, embed=embedder.embed)
        print(f"\n{name}: {len(sessions)} sessions, {sum(len(one.facts) for one in sessions):,} facts")
        print(f"{'':14}" + "".join(f"{column:>12}" for column in COLUMNS))
        for label, ways in _ways().items():
            means = np.mean([_measure(sessions, way, most=options.sentences) for way in ways], axis=0)
            rows.setdefault(label, []).append(means.tolist())
            _line(label, means)
    print(f"\nmean of {len(options.conversations)} conversations")
    for label, its in rows.items():
        _line(label, np.mean(its, axis=0))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, default=DATA / "locomo")
    parser.add_argument("--conversations", type=lambda text: text.split(","), help="names; default: all in DIR")
    parser.add_argument("--sentences", type=int, default=6)
    options = parser.parse_args()
    found = sorted(path.name.removesuffix(".messages.jsonl") for path in options.data.glob("*.messages.jsonl"))
    options.conversations = options.conversations or found
    return options


def _sessions(data: Path, name: str, *, sentences: int, embed: Callable[[Sequence[str]], Any]) -> list[Session]:
    """Ingest and summarize a conversation, and read what is to be compared; sessions without observations are none."""
    with tempfile.TemporaryDirectory(prefix="bench-summaries-") as folder:
        home = Path(folder)
        lightmem("ingest", data / f"{name}.messages.jsonl", home=home)
        printed = lightmem("summarize", "--window", "session", "--sentences", str(sentences), "--json", home=home)
        state = [json.loads(line) for line in lightmem("export", "--state", home=home).stdout.splitlines()]
    quoted = {id for line in printed.stdout.splitlines() for id in json.loads(line)["facts"]}
    facts: dict[str, list[Fact]] = {}
    for row in state:
        if row.get("kind") == "fact" and row["state"] == "active":
            fact = Fact(row["id"], row["text"], row["importance"], frozenset(key[-1] for key in row["sources"]))
            facts.setdefault(row["session"], []).append(fact)
    session_of = {row["id"]: row["session"] for row in state if row["record"] == "message"}
    order = {row["id"]: at for at, row in enumerate(row for row in state if row["record"] == "message")}
    observations: dict[str, list[str]] = {}
    for row in _read(data / f"{name}.observations.jsonl"):
        if row["evidence"]:
            observations.setdefault(session_of[row["evidence"][0]], []).append(row["fact"])
    asked = Counter(
        message
        for row in _read(data / f"{name}.questions.jsonl")
        if row["category"] != "adversarial"
        for message in row["evidence"]
    )
    sessions = []
    for session in sorted(observations.keys() & facts.keys()):
        its = sorted(facts[session], key=lambda fact: min(order[id] for id in fact.sources))
        here = {id: count for id, count in asked.items() if session_of.get(id) == session}
        summary = [at for at, fact in enumerate(its) if fact.id in quoted]
        vectors = embed([fact.text for fact in its])
        sessions.append(Session(its, vectors, embed(observations[session]), Counter(here), summary))
    return sessions


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _ways() -> dict[str, list[Choose]]:
    def drawn(seed: int) -> Choose:
        return lambda its, most: np.random.default_rng(seed).permutation(len(its.facts))[:most].tolist()

    return {
        "first": [lambda its, most: range(min(most, len(its.facts)))],
        "random": [drawn(seed) for seed in range(DRAWS)],
        "centroid": [
            lambda its, most: np.argsort(-(its.vectors @ its.vectors.mean(axis=0)), kind="stable")[:most].tolist()
        ],
        "informative": [
            lambda its, most: np.argsort([-one.importance for one in its.facts], kind="stable")[:most].tolist()
        ],
        "lightmem": [lambda its, most: its.summary],
        "all facts": [lambda its, most: range(len(its.facts))],
    }


def _measure(sessions: Iterable[Session], way: Choose, *, most: int) -> list[float]:
    """The columns' numbers over all sessions of a conversation."""
    told = np.zeros(4)
    among = np.zeros(4)
    for its in sessions:
        chosen = [int(at) for at in way(its, most)]
        nearest = (its.observations @ its.vectors[chosen].T).max(axis=1) if chosen else np.zeros(len(its.observations))
        sources = {id for at in chosen for id in its.facts[at].sources}
        evidence = sum(count for id, count in its.asked_for.items() if id in sources)
        told += [
            (nearest >= 0.6).sum(),
            (nearest >= 0.7).sum(),
            evidence,
            sum(len(its.facts[at].text) for at in chosen),
        ]
        among += [len(nearest), len(nearest), its.asked_for.total(), 1]
    return list(told / np.maximum(among, 1))


def _line(label: str, numbers: Iterable[float]) -> None:
    *shares, characters = numbers
    print(f"{label:14}" + "".join(f"{share:>12.3f}" for share in shares) + f"{characters:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
