"""Measures which repetitions `lightmem update` takes out of a conversation's facts, and what that costs recall.

    python scripts/bench_update.py [--half first|second|all] [--threshold T] [--only pairs|locomo] [--conversations a,b]

pairs    the rule over the sentence pairs of $LIGHTMEM_DATA/pairs, embedded by the product, beside cosine alone: the
         share of each kind of pair that is merged. Wrong are SICK's contradictions and STS-B's pairs below 3, right
         those from 4.8 up. --half takes the first or second half of each file.
locomo   each conversation in a fresh home, through the command line: ingest, R@10, update, R@10 again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bench_retrieval as retrieval
import numpy as np
from processes import DATA

from lightmem_cli.embed import open_embedder
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.records import Entry, Kind
from lightmem_cli.update.decide import same

WRONG_AT_MOST = 0.01  # of SICK's contradictions, for the second baseline
_UNANSWERABLE = {"adversarial", "abstention"}
_SICK = ("CONTRADICTION", "NEUTRAL", "ENTAILMENT")
_STSB = ("below 3", "3 to 4.8", "from 4.8")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences, the kind of pair they are, and the cosine of their vectors."""

    a: str
    b: str
    kind: str
    cosine: float


def main() -> None:
    options = _options()
    if options.only != "locomo":
        _pairs(half=options.half, threshold=options.threshold)
    os.environ["LIGHTMEM_UPDATE__THRESHOLD"] = str(options.threshold)  # for the commands below
    if options.only != "pairs":
        _locomo(options.conversations)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("first", "second", "all"), default="all")
    parser.add_argument("--threshold", type=float, default=Settings().update.threshold)
    parser.add_argument("--only", choices=("pairs", "locomo"))
    parser.add_argument("--conversations", type=lambda text: [part for part in text.split(",") if part], default=[])
    return parser.parse_args()


# ---- the pairs --------------------------------------------------------------------------------------------------


def _pairs(*, half: str, threshold: float) -> None:
    found = _read_pairs(half)
    against = sorted((pair.cosine for pair in found if pair.kind == _SICK[0]), reverse=True)
    # Just above the first contradiction too many.
    strict = float(np.nextafter(against[int(WRONG_AT_MOST * len(against))], 2))
    rules: dict[str, Callable[[Pair], bool]] = {
        f"lightmem, from {threshold:g}": lambda pair: _is_same(pair, threshold),
        f"cosine alone, from {threshold:g}": lambda pair: pair.cosine >= threshold,
        f"cosine alone, from {strict:.3f}": lambda pair: pair.cosine >= strict,
    }
    kinds = (*_SICK, *_STSB)
    counts = [sum(pair.kind == kind for pair in found) for kind in kinds]
    print(f"merged, % ({half})          " + "".join(f"{kind.capitalize():>15}" for kind in kinds))
    print(f"{'N':28}" + "".join(f"{count:>15,}" for count in counts))
    for name, rule in rules.items():
        merged = [sum(pair.kind == kind and rule(pair) for pair in found) for kind in kinds]
        shares = (100 * part / whole for part, whole in zip(merged, counts, strict=True))
        print(f"{name:28}" + "".join(f"{share:>15.2f}" for share in shares), flush=True)


def _read_pairs(half: str) -> list[Pair]:
    rows = [(row, row["label"]) for row in _half(DATA / "pairs/sick.jsonl", half)]
    rows += [(row, _stsb_kind(float(row["score"]))) for row in _half(DATA / "pairs/stsb.jsonl", half)]
    texts = {text: at for at, text in enumerate(dict.fromkeys(row[side] for row, _ in rows for side in ("a", "b")))}
    embedder = open_embedder("onnx", progress=lambda line: print(line, file=sys.stderr))
    vectors = embedder.embed(list(texts)).astype("<f2").astype("<f4")  # as the store keeps them
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Pair(row["a"], row["b"], kind, float(vectors[texts[row["a"]]] @ vectors[texts[row["b"]]])) for row, kind in rows
    ]


def _half(path: Path, half: str) -> list[dict[str, str]]:
    if not path.is_file():
        print(f"skipped: no {path}; set LIGHTMEM_DATA (README says where to get the sets)")
        sys.exit(0)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    middle = len(rows) // 2
    return {"first": rows[:middle], "second": rows[middle:], "all": rows}[half]


def _stsb_kind(score: float) -> str:
    return _STSB[(score >= 3) + (score >= 4.8)]


def _is_same(pair: Pair, threshold: float) -> bool:
    """As facts of one speaker, who has no name."""
    a = Entry(id="", kind=Kind.FACT, text=pair.a, conversation="", session="", sources=())
    return same(a, replace(a, text=pair.b), cosine=pair.cosine, threshold=threshold) is not None


# ---- LoCoMo -----------------------------------------------------------------------------------------------------


def _locomo(chosen: Sequence[str]) -> None:
    folder = DATA / "locomo"
    names = chosen or sorted(path.name.split(".")[0] for path in folder.glob("*.questions.jsonl"))
    print(f"\n{'LoCoMo':14}{'N':>6}{'facts':>8}{'merged':>8}{'R@10':>9}{'after':>9}{'change':>9}")
    before: list[float] = []
    after: list[float] = []
    total = np.zeros(2, int)
    for name in names:
        conversation = retrieval._read(folder, name, skip=_UNANSWERABLE)
        with tempfile.TemporaryDirectory(prefix="lightmem-bench-") as home:
            retrieval._run("ingest", "--home", home, str(conversation.messages))
            facts = json.loads(retrieval._run("stats", "--home", home, "--json"))["entries"]["fact"]["active"]
            first = _recall(conversation, home)
            merges = map(json.loads, retrieval._run("update", "--home", home, "--json").splitlines())
            dropped = sum(len(merge["drop"]) for merge in merges)
            second = _recall(conversation, home)
        _line(name, first, second, facts=facts, dropped=dropped)
        before += first
        after += second
        total += [facts, dropped]
    _line("all", before, after, facts=int(total[0]), dropped=int(total[1]))


def _recall(conversation: retrieval.Conversation, home: str) -> list[float]:
    """R@10 of each question with evidence."""
    queries = ("--queries", str(conversation.questions), "--limit", str(retrieval.LIMIT), "--json")
    output = retrieval._run("retrieve", "--home", home, *queries)
    hits = {row["id"]: row["hits"] for row in map(json.loads, output.splitlines())}
    found = ((one, retrieval._from_hits(hits[one.id])) for one in conversation.asked)
    return [retrieval._score(one, its, conversation)["R@10"] for one, its in found]


def _line(name: str, before: Sequence[float], after: Sequence[float], *, facts: int, dropped: int) -> None:
    first, second = float(np.mean(before)), float(np.mean(after))
    counts = f"{len(before):>6}{facts:>8,}{dropped:>8,}"
    print(f"{name:14}{counts}{first:>9.4f}{second:>9.4f}{second - first:>+9.4f}", flush=True)


if __name__ == "__main__":
    main()
