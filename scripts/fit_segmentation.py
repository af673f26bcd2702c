"""Fits the weights with which the default segmenter judges where a conversation turns, and prints them.

    python scripts/fit_segmentation.py [--half first|second|all] [--unseen] [--without near,wide,...]

Logistic regression over the gaps between the turns of three sets, TIAGE weighing half as much again as the two others,
on the signals that lightmem_cli/segment/similarity.py reads, of chat and of meetings at once. Then either bias is moved
until there are about as many cuts as topics' ends: .95 times as many on average over DialSeg711 and TIAGE, .9 times in
meetings. Copy what is printed to the weights there. With --unseen: what weights fitted on one half of each set are
worth on its other half, with the cues of English and without them, measured as in `bench_segmentation.py`. Needs
scikit-learn, which sentence-transformers brings.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import mean

import numpy as np
from bench_segmentation import HEAD, SETS, Dialogue, baselines, measure, read
from sklearn.linear_model import LogisticRegression

from lightmem_cli.embed import open_embedder
from lightmem_cli.engine.embedding import sentences_of
from lightmem_cli.protocols import Embedder, Spoken
from lightmem_cli.records import Message, Role
from lightmem_cli.segment.similarity import CHAT, MEETING, THRESHOLD, SimilaritySegmenter, Talk, Weights

WEIGHT = {"dialseg_711": 1.0, "tiage": 1.5, "meeting_committee": 1.0}
CHATS, MEETINGS = ("dialseg_711", "tiage"), ("meeting_committee",)
CUTS = (0.95, 0.9)  # in chat and in meetings, as a multiple of the topics' ends
FAR = 8.0  # biases are looked for from its negative up to it
OF_ANY_LANGUAGE = ("a_ends_asking", "before_a_ends_asking", "b_calls")
ENGLISH = [name for name in CHAT.of | MEETING.of if name.startswith(("a_", "b_")) and name not in OF_ANY_LANGUAGE]


@dataclass(frozen=True)
class Read:
    """A dialogue as the segmenter sees it, and its gaps: their signals, how far people meet, whether a topic ends."""

    dialogue: Dialogue
    turns: list[Spoken]
    signals: list[dict[str, float]]
    meets: np.ndarray
    ends: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("first", "second", "all"), default="all", help="of each set (default: all)")
    parser.add_argument("--unseen", action="store_true", help="measure on either half what the other half gives")
    parser.add_argument("--without", type=lambda text: text.split(","), default=[], help="signals to leave out")
    options = parser.parse_args()
    embedder = open_embedder("onnx", progress=print)
    halves = ("first", "second") if options.unseen else (options.half,)
    data = {half: {name: _read_all(name, half=half, embedder=embedder) for name in SETS} for half in halves}
    if not options.unseen:
        chat, meeting = fit(data[options.half], without=options.without)
        _print("chat", chat, beside=CHAT)
        _print("meeting", meeting, beside=MEETING)
        return
    print(HEAD)
    for seen, unseen in (("second", "first"), ("first", "second")):
        chat, meeting = fit(data[seen], without=options.without)
        plain = fit(data[seen], without=[*options.without, *ENGLISH])
        for name, its in data[unseen].items():
            print(f"{name}, {unseen}: {len(its)} dialogues, weights fitted on the other half")
            print(measure("lightmem", [(one.dialogue, _cut(one, chat, meeting)) for one in its]))
            print(measure("no English", [(one.dialogue, _cut(one, *plain)) for one in its]))
            for way, cut in baselines([one.dialogue for one in its], seed=1).items():
                print(measure(way, [(one.dialogue, cut(one.dialogue)) for one in its]))


def fit(sets: Mapping[str, Sequence[Read]], *, without: Collection[str]) -> tuple[Weights, Weights]:
    """The weights of chat and of meetings, rounded, with as many cuts as there should be."""
    chat_names = [name for name in CHAT.of if name not in without]
    meeting_names = [name for name in MEETING.of if name not in without]
    values = np.concatenate([_design(its, chat_names, meeting_names) for its in sets.values()])
    ends = np.concatenate([one.ends for its in sets.values() for one in its])
    shares = np.concatenate([np.full(gaps, WEIGHT[name] / gaps) for name, gaps in _gaps(sets).items()])
    spread = np.maximum(values.std(0), 1e-3)
    spread[[0, len(chat_names) + 1]] = 1.0
    model = LogisticRegression(C=1.0, max_iter=3000, fit_intercept=False)
    model.fit(values / spread, ends, sample_weight=shares / shares.mean())
    bias, *chat = np.round(model.coef_[0] / spread, 2)[: len(chat_names) + 1].tolist()
    meeting_bias, *meeting = np.round(model.coef_[0] / spread, 2)[len(chat_names) + 1 :].tolist()
    weights = [
        Weights(bias, dict.fromkeys(CHAT.of, 0.0) | dict(zip(chat_names, chat, strict=True))),
        Weights(meeting_bias, dict.fromkeys(MEETING.of, 0.0) | dict(zip(meeting_names, meeting, strict=True))),
    ]
    return _often_enough(weights, sets)


def _often_enough(weights: list[Weights], sets: Mapping[str, Sequence[Read]]) -> tuple[Weights, Weights]:
    """The weights of chat and of meetings with biases that give as many cuts as there should be."""
    for which, names in ((0, CHATS), (1, MEETINGS), (0, CHATS)):
        its = [sets[name] for name in names]
        low, high = -FAR, FAR
        while high - low > 0.005:
            weights[which] = weights[which]._replace(bias=(low + high) / 2)
            often = mean(_cuts(one, weights) / sum(dialogue.ends.sum() for dialogue in one) for one in its)
            low, high = (low, weights[which].bias) if often > CUTS[which] else (weights[which].bias, high)
        weights[which] = weights[which]._replace(bias=round((low + high) / 2, 2))
    return weights[0], weights[1]


def _design(its: Sequence[Read], chat: Sequence[str], meeting: Sequence[str]) -> np.ndarray:
    """A row for each gap: 1 and the signals of chat, as far as people chat, then those of meetings likewise."""
    meets = np.concatenate([one.meets for one in its])[:, None]
    columns = [
        np.array([[1.0, *(signals[name] for name in names)] for one in its for signals in one.signals], np.float64)
        for names in (chat, meeting)
    ]
    return np.hstack([(1.0 - meets) * columns[0], meets * columns[1]])


def _gaps(sets: Mapping[str, Sequence[Read]]) -> dict[str, int]:
    return {name: sum(len(one.ends) for one in its) for name, its in sets.items()}


def _cuts(its: Sequence[Read], weights: Sequence[Weights]) -> int:
    """How often dialogues are cut: the segmenter's rule on the signals that were read once."""
    chat, meeting = ([weights[which].of[name] for name in (CHAT, MEETING)[which].of] for which in (0, 1))
    judge = np.array([weights[0].bias, *chat, weights[1].bias, *meeting])
    cuts = 0
    for one in its:
        total = _design([one], list(CHAT.of), list(MEETING.of)) @ judge
        said = np.array([turn.vector is not None for turn in one.turns[1:]])
        here = np.r_[0.0, np.where(said, 1 / (1 + np.exp(-total)), 0.0), 0.0]
        cuts += int(((here[1:-1] >= THRESHOLD) & (here[1:-1] >= here[:-2]) & (here[1:-1] > here[2:])).sum())
    return cuts


def _cut(one: Read, chat: Weights, meeting: Weights) -> list[int]:
    """The topics of a dialogue, as lengths."""
    gaps = SimilaritySegmenter(chat=chat, meeting=meeting).gaps(one.turns, start=0, ended=True)
    ends = [gap.after + 1 for gap in gaps if gap.by]
    return [end - begin for begin, end in zip([0, *ends], [*ends, len(one.turns)], strict=True)]


def _print(what: str, weights: Weights, *, beside: Weights) -> None:
    print(f"{what}\n  {'bias':<22} {weights.bias:>7.2f}   in the product {beside.bias:>7.2f}")
    for name, weight in weights.of.items():
        print(f"  {name:<22} {weight:>7.2f}   in the product {beside.of[name]:>7.2f}")


def _read_all(name: str, *, half: str, embedder: Embedder) -> list[Read]:
    dialogues = read(name, half=half)
    found = []
    for dialogue, turns in zip(dialogues, _spoken(dialogues, embedder), strict=True):
        talk, gaps = Talk(turns), range(len(turns) - 1)
        marked = set(np.cumsum(dialogue.gold).tolist())
        signals, meets = [talk.signals(at) for at in gaps], np.array([talk.meets(at) for at in gaps])
        found.append(Read(dialogue, turns, signals, meets, np.array([at + 1 in marked for at in gaps])))
    return found


def _spoken(dialogues: Sequence[Dialogue], embedder: Embedder) -> Iterator[list[Spoken]]:
    """The turns of each dialogue with the vectors that an ingest gives them."""
    messages = [[_message(text, at) for at, text in enumerate(dialogue.turns)] for dialogue in dialogues]
    windows = {
        id(message): [window for sentence in sentences_of(message) for window in embedder.windows(sentence)]
        for message in chain.from_iterable(messages)
    }
    distinct = {text: place for place, text in enumerate(dict.fromkeys(chain.from_iterable(windows.values())))}
    vectors = embedder.embed(list(distinct)).astype("<f2").astype(np.float32)
    for its in messages:
        totals = [vectors[[distinct[text] for text in windows[id(message)]]].sum(0) for message in its]
        yield [
            Spoken(message, total / np.linalg.norm(total) if windows[id(message)] else None)
            for message, total in zip(its, totals, strict=True)
        ]


def _message(text: str, at: int) -> Message:
    return Message(conversation="", session="s", id=str(at), position=at, role=Role.USER, content=text)


if __name__ == "__main__":
    main()
