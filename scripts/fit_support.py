"""Fits when a fact counts as borne out by its turns, and measures that on LoCoMo's model-written observations.

    python scripts/fit_support.py [--data DIR] [--fit conv-26,conv-30,conv-41] [--report conv-42,conv-43]

DIR holds NAME.messages.jsonl and NAME.observations.jsonl (default: $LIGHTMEM_DATA/locomo). Each observation is held
against

    its turns         those that it names as evidence
    another session   3 random turns, one by one, each from a session that it does not rest on
    its session       2 random turns of a session that it rests on, but not of its evidence: the wrong line of one call
    number            its turns, with another number in it
    name              its turns, with a name in it that another observation of the conversation has

and the table says what percentage counts as supported: all of the first should, none of the rest. (Some turns of the
same session do say the same.) What a model would be shown is taken to be the session's turns up to 14 before and
behind. N is how many there are. Random choices are seeded.

    lightmem     `is_supported`, as the engine asks it
    cosine       the fact's vector with the nearest of the turns' sentences and their mean, alone
    overlap      whether the turns have any of its words at all, alone

The threshold of the cosine is such that 99.6 % of the conversations to fit on are supported. Behind the table:
which weights and thresholds let the fewest wrong turns pass there, when 99.6 % of the right ones must. Copy what is
printed to lightmem_cli/extract/support.py.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from processes import DATA

from lightmem_cli.embed import open_embedder
from lightmem_cli.engine.embedding import sentences_of
from lightmem_cli.extract.support import Overlap, is_supported, overlap, told
from lightmem_cli.language.names import entities
from lightmem_cli.protocols import Embedder
from lightmem_cli.records import Message, Role

SEED = 5
PASS = 0.996  # of the right turns
AROUND = 14  # turns before and behind that a model is shown, too
KINDS = ("its turns", "another session", "its session", "number", "name")
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_NUMBER = re.compile(r"\d+|\b(?:two|three|four|five|six|seven|eight|nine|ten)\b")


@dataclass(frozen=True, slots=True)
class Pair:
    """A fact and the turns it is held against, with all that is known of the two."""

    kind: str
    text: str
    said: list[str]
    talk: list[str]
    cosine: float
    overlap: Overlap


Judge = Callable[[Pair], bool]


def main() -> None:
    options = _options()
    embedder = open_embedder("onnx", progress=print)
    fit, report = (
        [pair for name in names for pair in _pairs(options.data, name, embedder)]
        for names in (options.fit, options.report)
    )
    cosine = _quantile([pair.cosine for pair in _right(fit)])
    judges: dict[str, Judge] = {
        "lightmem": lambda pair: is_supported(pair.text, pair.said, cosine=pair.cosine, talk=pair.talk),
        "… talk not known": lambda pair: is_supported(pair.text, pair.said, cosine=pair.cosine),
        f"cosine ≥ {cosine:.2f}": lambda pair: pair.cosine >= cosine,
        "overlap > 0": lambda pair: pair.overlap.own > 0,
    }
    for label, pairs in ((f"fitted on {', '.join(options.fit)}", fit), (", ".join(options.report), report)):
        print(f"\n{label}\n{'':20}" + "".join(f"{kind:>17}" for kind in KINDS))
        print(f"{'N':20}" + "".join(f"{sum(pair.kind == kind for pair in pairs):>17,}" for kind in KINDS))
        for name, judge in judges.items():
            print(f"{name:20}" + "".join(f"{100 * _passing(pairs, kind, judge):>17.1f}" for kind in KINDS))
    print(
        f"\nthe best weights where {100 * PASS:g} % of the right turns pass\n{'own':>6}{'talk':>6}{'enough':>8}", end=""
    )
    print(f"{'another session':>17}{'its session':>13}")
    for wrong, own, talk, enough in sorted(_searched(fit))[:5]:
        print(f"{own:>6.1f}{talk:>6.1f}{enough:>8.3f}{100 * wrong[1]:>17.1f}{100 * wrong[2]:>13.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    names: Callable[[str], list[str]] = lambda text: text.split(",")  # noqa: E731 - argparse takes a function
    parser.add_argument("--data", type=Path, default=DATA / "locomo")
    parser.add_argument("--fit", type=names, default=["conv-26", "conv-30", "conv-41"])
    parser.add_argument("--report", type=names, default=["conv-42", "conv-43"])
    options = parser.parse_args()
    for name in [*options.fit, *options.report]:
        if not (options.data / f"{name}.observations.jsonl").exists():
            parser.exit(message=f"skipped: no {name} in {options.data} (README says where to get the sets)\n")
    return options


def _right(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.kind == KINDS[0]]


def _quantile(values: Sequence[float]) -> float:
    return float(np.quantile(values, 1 - PASS))


def _passing(pairs: Sequence[Pair], kind: str, judge: Judge) -> float:
    its = [judge(pair) for pair in pairs if pair.kind == kind]
    return sum(its) / max(1, len(its))


def _searched(pairs: Sequence[Pair]) -> Iterator[tuple[tuple[float, float, float], float, float, float]]:
    """For each pair of weights: the mean of what wrongly passes, and of either kind of turns; weights; threshold."""
    for own, talk in product(WEIGHTS, WEIGHTS):

        def score(pair: Pair, own: float = own, talk: float = talk) -> float:
            return -1.0 if pair.overlap.strange else pair.cosine + own * pair.overlap.own + talk * pair.overlap.talk

        enough = _quantile([score(pair) for pair in _right(pairs)])
        others, near = (_passing(pairs, kind, lambda pair: score(pair) >= enough) for kind in KINDS[1:3])  # noqa: B023 - used at once
        yield ((others + near) / 2, others, near), own, talk, enough


# ---- facts and what they are held against -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Conversation:
    """Its messages, in order, and the vectors of their sentences by message."""

    messages: list[Message]
    sentences: dict[str, np.ndarray]

    def pair(self, kind: str, text: str, vector: np.ndarray, turns: Sequence[str]) -> Pair:
        said = [told(message) for message in self.messages if message.id in turns]
        talk = self._around(turns)
        return Pair(kind, text, said, talk, self._nearness(vector, turns), overlap(text, said, talk=talk))

    def _around(self, turns: Sequence[str]) -> list[str]:
        places = {at for at, message in enumerate(self.messages) if message.id in turns}
        return [
            told(message)
            for at, message in enumerate(self.messages)
            if any(abs(at - place) <= AROUND and self.messages[place].session == message.session for place in places)
        ]

    def _nearness(self, vector: np.ndarray, turns: Sequence[str]) -> float:
        rows = np.concatenate([self.sentences[turn] for turn in turns])
        if not len(rows):
            return 0.0
        mean = rows.mean(0)
        return float(max((rows @ vector).max(), mean @ vector / np.linalg.norm(mean)))


def _pairs(folder: Path, name: str, embedder: Embedder) -> Iterator[Pair]:
    draw = random.Random(f"{SEED} {name}")
    observations = _read(folder / f"{name}.observations.jsonl")
    conversation = _conversation(folder, name, embedder)
    session = {message.id: message.session for message in conversation.messages}
    speakers = {message.speaker or "" for message in conversation.messages}
    names = sorted({its for row in observations for its in _names(row["fact"], speakers)})
    texts = [str(row["fact"]) for row in observations]
    for row, text, vector in zip(observations, texts, embedder.embed(texts), strict=True):
        turns = [turn for turn in row["evidence"] if turn in session]
        if not turns:
            continue
        its = {session[turn] for turn in turns}
        others = [turn for turn in session if session[turn] not in its]
        near = [turn for turn in session if session[turn] in its and turn not in turns]
        yield conversation.pair(KINDS[0], text, vector, turns)
        yield from (conversation.pair(KINDS[1], text, vector, [turn]) for turn in draw.sample(others, 3))
        yield from (conversation.pair(KINDS[2], text, vector, [turn]) for turn in draw.sample(near, 2))
        for kind, changed in ((KINDS[3], _renumbered(text, draw)), (KINDS[4], _renamed(text, names, speakers, draw))):
            if changed != text:  # its vector hardly differs, and stays
                yield conversation.pair(kind, changed, vector, turns)


def _renumbered(text: str, draw: random.Random) -> str:
    """`text` with each number replaced by a larger one."""
    return _NUMBER.sub(lambda found: str((int(found[0]) if found[0].isdigit() else 13) + draw.randint(3, 40)), text)


def _renamed(text: str, names: Sequence[str], speakers: set[str], draw: random.Random) -> str:
    """`text` with one of its names replaced by one that it does not have; those who talk keep theirs."""
    its = _names(text, speakers)
    others = [name for name in names if name not in text]
    return text.replace(draw.choice(its), draw.choice(others)) if its and others else text


def _names(text: str, speakers: set[str]) -> list[str]:
    return [name for name in entities(text) if not any(speaker in name for speaker in speakers)]


def _conversation(folder: Path, name: str, embedder: Embedder) -> _Conversation:
    messages = [_message(row, at) for at, row in enumerate(_read(folder / f"{name}.messages.jsonl"))]
    windows = {
        message.id: [window for sentence in sentences_of(message) for window in embedder.windows(sentence)]
        for message in messages
    }
    texts = list(dict.fromkeys(window for its in windows.values() for window in its))
    place = {text: at for at, text in enumerate(texts)}
    vectors = embedder.embed(texts)
    return _Conversation(messages, {id: vectors[[place[window] for window in its]] for id, its in windows.items()})


def _message(row: dict[str, Any], at: int) -> Message:
    return Message(
        conversation=row["conversation"],
        session=row["session"],
        id=row["id"],
        position=at,
        role=Role(row["role"]),
        content=row["content"],
        speaker=row["speaker"],
        said_at=datetime.fromisoformat(row["timestamp"]),
        image_caption=row.get("image_caption"),
    )


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    main()
