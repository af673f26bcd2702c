"""Measures where `lightmem segment` ends a topic, against the topics that people marked.

    python scripts/bench_segmentation.py [--sets dialseg_711,tiage,meeting_committee] [--half first|second|all]
                                         [--use similarity|attention|hybrid] [--model NAME]

Every dialogue of $LIGHTMEM_DATA/segmentation is a session of one transcript, piped through `lightmem segment - --json`.
The default segmenter was fitted on these very sets: `fit_segmentation.py --unseen` says what it is worth on halves that
it has not seen. Pk and WindowDiff are nltk's, with a window of half the dialogue's mean gold topic, and their mean over
the dialogues; F1 is of all boundaries, one turn off allowed. Beside it: no cut, a cut every so many turns as the set's
mean topic has, and as many cuts as there are, at random places.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from nltk.metrics.segmentation import pk, windowdiff
from processes import DATA, LIGHTMEM, environment

SETS = ("dialseg_711", "tiage", "meeting_committee")
HEAD = f"{'':<32}{'Pk':>7}{'WindowDiff':>12}{'F1 ±1':>8}{'cuts / gold':>13}"


class Dialogue(NamedTuple):
    """Its turns, and the lengths of its topics as people marked them."""

    turns: list[str]
    gold: list[int]


Cut = Callable[[Dialogue], list[int]]  # a dialogue's topics, as lengths


def main() -> None:
    options = _options()
    print(HEAD)
    for name in options.sets:
        dialogues = read(name, half=options.half)
        topics = _segment(dialogues, use=options.use, model=options.model)
        print(f"{name}, {options.half}: {len(dialogues)} dialogues, {sum(len(d.turns) for d in dialogues):,} turns")
        print(measure(options.use or "lightmem", list(zip(dialogues, topics, strict=True))))
        for way, cut in baselines(dialogues, seed=options.seed).items():
            print(measure(way, [(dialogue, cut(dialogue)) for dialogue in dialogues]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(SETS), help="which (default: all)")
    parser.add_argument("--half", choices=("first", "second", "all"), default="all", help="of each set (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the random cuts (default 1)")
    parser.add_argument("--use", choices=("similarity", "attention", "hybrid"), help="a segmenter (else the default)")
    parser.add_argument("--model", metavar="NAME", help="whose attention is read, a Hub name or a folder")
    return parser.parse_args()


def read(name: str, *, half: str) -> list[Dialogue]:
    path = DATA / "segmentation" / f"{name}.jsonl"
    if not path.is_file():
        print(f"skipped: no {path}; set LIGHTMEM_DATA (README says where to get the sets)")
        sys.exit(0)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    middle = len(rows) // 2
    rows = {"first": rows[:middle], "second": rows[middle:], "all": rows}[half]
    return [Dialogue(row["utterances"], row["segments"]) for row in rows]


def baselines(dialogues: Sequence[Dialogue], *, seed: int) -> dict[str, Cut]:
    """What any segmenter should do better than: no cut, one every so many turns, and as many as people, anywhere."""
    every = round(mean(length for dialogue in dialogues for length in dialogue.gold))
    chance = random.Random(seed)
    return {
        "no cut": lambda dialogue: [len(dialogue.turns)],
        f"every {every}": lambda dialogue: _every(dialogue, every),
        "random": lambda dialogue: _at_random(dialogue, chance),
    }


def _segment(dialogues: Sequence[Dialogue], *, use: str | None, model: str | None) -> list[list[int]]:
    """The topics of each dialogue, as lengths, from one process."""
    chosen = [*(("--use", use) if use else ()), *(("--model", model) if model else ())]
    rows = [
        json.dumps({"session": str(number), "content": turn})
        for number, dialogue in enumerate(dialogues)
        for turn in dialogue.turns
    ]
    with tempfile.TemporaryDirectory() as home:
        run = subprocess.run(
            [*LIGHTMEM, "segment", "-", "--json", *chosen],
            input="\n".join(rows).encode(),
            env=environment(Path(home)),
            capture_output=True,
            check=False,
        )
    if run.returncode:
        sys.exit(f"lightmem segment: exit {run.returncode}\n{run.stderr.decode()}")
    topics: list[dict[int, int]] = [{} for _ in dialogues]
    for line in run.stdout.splitlines():
        row = json.loads(line)
        counted = topics[int(row["session"])]
        counted[row["segment"]] = counted.get(row["segment"], 0) + 1
    return [list(counted.values()) for counted in topics]


def _every(dialogue: Dialogue, length: int) -> list[int]:
    whole, rest = divmod(len(dialogue.turns), length)
    return [length] * whole + [rest] * bool(rest)


def _at_random(dialogue: Dialogue, chance: random.Random) -> list[int]:
    cuts = sorted(chance.sample(range(1, len(dialogue.turns)), len(dialogue.gold) - 1))
    return [end - begin for begin, end in zip([0, *cuts], [*cuts, len(dialogue.turns)], strict=True)]


def measure(way: str, cut: Sequence[tuple[Dialogue, list[int]]]) -> str:
    """A line under `HEAD` that says how dialogues are cut in a way; with each go its topics, as lengths."""
    pks, differences, gold_cuts, cuts, met = [], [], 0, 0, 0
    for dialogue, lengths in cut:
        assert sum(lengths) == sum(dialogue.gold) == len(dialogue.turns)
        window = max(1, round(len(dialogue.turns) / len(dialogue.gold) / 2))
        gold, found = _gaps(dialogue.gold), _gaps(lengths)
        pks.append(pk(gold, found, k=window))
        differences.append(windowdiff(gold, found, k=window))
        met += _met(dialogue.gold, lengths)
        gold_cuts, cuts = gold_cuts + len(dialogue.gold) - 1, cuts + len(lengths) - 1
    f1 = 2 * met / (gold_cuts + cuts)
    return f"{'':<20}{way:<12}{mean(pks):>7.3f}{mean(differences):>12.3f}{f1:>8.3f}{cuts / gold_cuts:>13.2f}"


def _gaps(lengths: Sequence[int]) -> str:
    """A character for each gap between turns, 1 where a topic ends."""
    ends = set(accumulate(lengths))
    return "".join("1" if at in ends else "0" for at in range(1, sum(lengths)))


def _met(gold: Sequence[int], found: Sequence[int]) -> int:
    """How many boundaries of `found` have one of `gold` at most one turn off, each met once."""
    left, met = set(accumulate(gold[:-1])), 0
    for at in accumulate(found[:-1]):
        near = [one for one in (at, at - 1, at + 1) if one in left]
        if near:
            left.remove(near[0])
            met += 1
    return met


if __name__ == "__main__":
    main()
