"""Measures how much of a question's evidence `lightmem retrieve` finds in a conversation, against named baselines.

    python scripts/bench_retrieval.py [--data DIR] [--conversations a,b] [--strategy words] [--skip adversarial]

DIR holds NAME.messages.jsonl and NAME.questions.jsonl (default: $LIGHTMEM_DATA/locomo). Each conversation is ingested
into a fresh home by the `lightmem` command beside this Python; the baselines rank the same messages in this process:

    rank_bm25   BM25Okapi over raw turns, with the product's analyzer
    minilm      all-MiniLM-L6-v2 (int8) over raw turns, by cosine

Turns are ranked by first mention among the hits' sources, sessions by their first turn. Questions without evidence,
and of categories left out, are counted and not scored. In brackets: a 95 % bootstrap interval over questions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmem_cli.embed import open_embedder
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.language.words import analyze

TURNS = (5, 10, 20, 60)
SESSIONS = 5
BUDGETS = (250, 500, 1000, 2000)
LIMIT = 60
RESAMPLES = 2000
_DATA = Path(os.environ.get("LIGHTMEM_DATA", Path(__file__).parents[2] / "shared/data")) / "locomo"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with evidence: its id, text, category, and the ids of the messages that answer it."""

    id: str
    text: str
    category: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    texts: dict[str, str]
    sessions: dict[str, str]
    asked: list[Asked]
    left_out: Counter[str]
    questions: Path
    messages: Path


@dataclass(frozen=True, slots=True)
class Found:
    """One ranking: distinct messages, best first, each with the tokens that showing it costs (0: shown already)."""

    messages: list[str]
    tokens: list[int]


def main() -> None:
    options = _options()
    names = options.conversations or sorted(path.name.split(".")[0] for path in options.data.glob("*.questions.jsonl"))
    if not names:
        sys.exit(f"no NAME.questions.jsonl in {options.data}")
    conversations = [_read(options.data, name, skip=set(options.skip)) for name in names]
    systems: dict[str, Callable[[Conversation], list[Found]]] = {
        "lightmem": lambda conversation: _lightmem(conversation, strategy=options.strategy),
        "rank_bm25": _rank_bm25,
        "minilm": _minilm,
    }
    for system, rank in systems.items():
        scored: list[tuple[str, dict[str, float]]] = []
        _heading(system)
        for conversation in conversations:
            rows = [
                _score(one, found, conversation)
                for one, found in zip(conversation.asked, rank(conversation), strict=True)
            ]
            _line(conversation.name, rows)
            scored += [(one.category, row) for one, row in zip(conversation.asked, rows, strict=True)]
        _line("all", [row for _, row in scored])
        for category in sorted({category for category, _ in scored}):
            _line(f"  {category}", [row for its, row in scored if its == category])
        _details([row for _, row in scored])
    left_out = sum((conversation.left_out for conversation in conversations), Counter())
    print("\nnot scored: " + (", ".join(f"{count} {why}" for why, count in sorted(left_out.items())) or "none"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = {"type": lambda text: [part for part in text.split(",") if part]}
    parser.add_argument("--data", type=Path, default=_DATA, metavar="DIR")
    parser.add_argument("--conversations", **listed, default=[], metavar="A,B")
    parser.add_argument("--skip", **listed, default=["adversarial", "abstention"], metavar="CATEGORY,…")
    parser.add_argument("--strategy", choices=("hybrid", "vectors", "words"), default="hybrid")
    return parser.parse_args()


def _read(data: Path, name: str, *, skip: set[str]) -> Conversation:
    messages, questions = data / f"{name}.messages.jsonl", data / f"{name}.questions.jsonl"
    rows = [json.loads(line) for line in messages.read_text().splitlines()]
    ids = {str(row["id"]) for row in rows}
    asked, left_out = [], Counter[str]()
    for line in questions.read_text().splitlines():
        row = json.loads(line)
        evidence = frozenset(map(str, row["evidence"])) & ids
        if row["category"] in skip:
            left_out[row["category"]] += 1
        elif not evidence:
            left_out["without evidence"] += 1
        else:
            asked.append(Asked(row["id"], row["question"], row["category"], evidence))
    texts = {str(row["id"]): f"{row['content']} {row.get('image_caption') or ''}".strip() for row in rows}
    sessions = {str(row["id"]): str(row.get("session", "")) for row in rows}
    return Conversation(name, texts, sessions, asked, left_out, questions, messages)


# ---- the systems ------------------------------------------------------------------------------------------------


def _lightmem(conversation: Conversation, *, strategy: str) -> list[Found]:
    """Through the product: one fresh home, one ingest, all questions at once."""
    with tempfile.TemporaryDirectory(prefix="lightmem-bench-") as home:
        started = time.perf_counter()
        _run("ingest", "--home", home, str(conversation.messages))
        ingested = time.perf_counter()
        queries = ("--queries", str(conversation.questions), "--limit", str(LIMIT), "--strategy", strategy, "--json")
        output = _run("retrieve", "--home", home, *queries)
        seconds = (ingested - started, time.perf_counter() - ingested)
    answers = {row["id"]: row["hits"] for row in map(json.loads, output.splitlines())}
    print(
        f"{'':12}{conversation.name}: ingest {seconds[0]:.1f} s, {len(answers)} questions {seconds[1]:.1f} s",
        file=sys.stderr,
    )
    return [_from_hits(answers[one.id]) for one in conversation.asked]


def _run(*arguments: str) -> str:
    lightmem = Path(sys.executable).with_name("lightmem")
    done = subprocess.run([lightmem, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"lightmem {' '.join(arguments)} failed ({done.returncode}):\n{done.stderr}")
    return done.stdout


def _from_hits(hits: Sequence[dict[str, object]]) -> Found:
    messages: list[str] = []
    tokens: list[int] = []
    for hit in hits:
        cost = count_tokens(str(hit["text"]))
        for id_ in map(str, hit["sources"]):  # type: ignore[call-overload]
            if id_ not in messages:
                messages.append(id_)
                tokens.append(cost)
                cost = 0
    return Found(messages, tokens)


def _rank_bm25(conversation: Conversation) -> list[Found]:
    from rank_bm25 import BM25Okapi

    index = BM25Okapi([analyze(text) or [""] for text in conversation.texts.values()], k1=1.2, b=0.75)
    return [_best(conversation, index.get_scores(sorted(set(analyze(one.text))))) for one in conversation.asked]


def _minilm(conversation: Conversation) -> list[Found]:
    embedder = open_embedder("onnx", progress=lambda line: print(line, file=sys.stderr))
    turns = embedder.embed(list(conversation.texts.values()))
    return [_best(conversation, turns @ embedder.embed([one.text])[0]) for one in conversation.asked]


def _best(conversation: Conversation, scores: np.ndarray) -> Found:
    ids = list(conversation.texts)
    messages = [ids[at] for at in np.argsort(-scores, kind="stable")[:LIMIT]]
    return Found(messages, [count_tokens(conversation.texts[id_]) for id_ in messages])


# ---- the scores -------------------------------------------------------------------------------------------------


def _score(one: Asked, found: Found, conversation: Conversation) -> dict[str, float]:
    scores = {}
    for k in TURNS:
        share = len(one.evidence.intersection(found.messages[:k])) / len(one.evidence)
        scores |= {f"R@{k}": share, f"any@{k}": float(share > 0), f"all@{k}": float(share == 1)}
    ranked = list(dict.fromkeys(conversation.sessions[id_] for id_ in found.messages))
    gold = {conversation.sessions[id_] for id_ in one.evidence}
    gains = [float(session in gold) for session in ranked[:SESSIONS]]
    ideal = _discounted([1.0] * min(len(gold), SESSIONS))
    scores |= {
        "sHit@1": gains[0] if gains else 0.0,
        f"sR@{SESSIONS}": sum(gains) / len(gold),
        f"sany@{SESSIONS}": float(any(gains)),
        f"sNDCG@{SESSIONS}": _discounted(gains) / ideal,
    }
    for budget in BUDGETS:
        scores[f"{budget} tok"] = len(one.evidence & _within(found, budget)) / len(one.evidence)
    return scores


def _discounted(gains: Iterable[float]) -> float:
    return float(sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains)))


def _within(found: Found, budget: int) -> set[str]:
    """The messages shown when hits are taken in order, passing over what does not fit."""
    shown, left = set(), budget
    for id_, cost in zip(found.messages, found.tokens, strict=True):
        if cost <= left:
            left -= cost
            shown.add(id_)
    return shown


# ---- the tables -------------------------------------------------------------------------------------------------

_COLUMNS = (
    "R@5",
    "R@10",
    "R@20",
    "R@60",
    "any@10",
    "all@10",
    "sHit@1",
    "sR@5",
    "sNDCG@5",
    *(f"{b} tok" for b in BUDGETS),
)


def _heading(system: str) -> None:
    print(f"\n{system:14}{'N':>5}" + "".join(f"{column:>10}" for column in _COLUMNS))


def _line(name: str, rows: Sequence[dict[str, float]]) -> None:
    means = "".join(f"{np.mean([row[column] for row in rows]):>10.3f}" for column in _COLUMNS) if rows else ""
    print(f"{name:14}{len(rows):>5}{means}", flush=True)


def _details(rows: Sequence[dict[str, float]]) -> None:
    """Any, all and fractional recall at every depth, and intervals for the main numbers."""
    for kind in ("any", "all"):
        print(
            f"  {kind:4}" + "".join(f"  @{k} {np.mean([row[f'{kind}@{k}'] for row in rows]):.3f}" for k in TURNS),
            end="",
        )
    print(f"   sessions any@{SESSIONS} {np.mean([row[f'sany@{SESSIONS}'] for row in rows]):.3f}")
    samples = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
    intervals = []
    for column in ("R@10", "sHit@1", "sR@5"):
        low, high = np.quantile(np.array([row[column] for row in rows])[samples].mean(axis=1), [0.025, 0.975])
        intervals.append(f"{column} [{low:.3f}, {high:.3f}]")
    print("  " + "   ".join(intervals))


if __name__ == "__main__":
    main()
