"""Fits the weights with which the default segmenter judges where a conversation turns, and prints them.

    python scripts/fit_segmentation.py [--half first|second|all] [--without near,wide,...]

Logistic regression over the gaps between the turns of three sets, each set weighing the same, on the signals that
lightmem_cli/segment/similarity.py reads. Copy what it prints to the weights there; `bench_segmentation.py --half
second` says what they are worth on the half they were not fitted on. Needs scikit-learn, which sentence-transformers
brings.
"""

from __future__ import annotations

import argparse

import numpy as np
from bench_segmentation import Dialogue, read
from sklearn.linear_model import LogisticRegression

from lightmem_cli.embed import open_embedder
from lightmem_cli.engine.pending import sentences_of
from lightmem_cli.protocols import Embedder, Spoken
from lightmem_cli.records import Message, Role
from lightmem_cli.segment.similarity import WEIGHTS, Talk

SETS = ("dialseg_711", "tiage", "meeting_committee")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("first", "second", "all"), default="first", help="of each set")
    parser.add_argument("--without", type=lambda text: text.split(","), default=[], help="signals to leave out")
    options = parser.parse_args()
    names = [name for name in WEIGHTS if name not in options.without]
    embedder = open_embedder("onnx", progress=print)
    rows, ends, shares = [], [], []
    for name in SETS:
        found = [gap for dialogue in read(name, half=options.half) for gap in _gaps(dialogue, embedder)]
        rows += [[signals[one] for one in names] for signals, _ in found]
        ends += [end for _, end in found]
        shares += [1 / len(found)] * len(found)
    values, weights = np.array(rows, np.float64), np.array(shares)
    spread = values.std(0) + 1e-9
    model = LogisticRegression(C=1.0, max_iter=2000)
    model.fit((values - values.mean(0)) / spread, ends, sample_weight=weights / weights.mean())
    fitted = model.coef_[0] / spread
    print(f"{len(ends):,} gaps, {sum(ends):,} of them the end of a topic")
    print(f"bias {model.intercept_[0] - fitted @ values.mean(0):.3f}")
    for name, weight in zip(names, fitted, strict=True):
        print(f"{name:<22} {weight:>7.3f}   in the product {WEIGHTS[name]:>7.3f}")


def _gaps(dialogue: Dialogue, embedder: Embedder) -> list[tuple[dict[str, float], bool]]:
    """The signals of every gap of a dialogue, and whether a topic ends there."""
    turns = [_spoken(text, at, embedder) for at, text in enumerate(dialogue.turns)]
    ends = set(np.cumsum(dialogue.gold).tolist())
    talk = Talk(turns)
    return [(talk.signals(at), at + 1 in ends) for at in range(len(turns) - 1)]


def _spoken(text: str, at: int, embedder: Embedder) -> Spoken:
    """A turn with the vector that an ingest gives it."""
    message = Message(conversation="", session="s", id=str(at), position=at, role=Role.USER, content=text)
    windows = [window for sentence in sentences_of(message) for window in embedder.windows(sentence)]
    if not windows:
        return Spoken(message, None)
    total = embedder.embed(windows).astype("<f2").astype(np.float32).sum(0)
    return Spoken(message, total / np.linalg.norm(total))


if __name__ == "__main__":
    main()
