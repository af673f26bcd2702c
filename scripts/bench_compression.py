"""Measures how many of an answer's words survive where the messages that hold it are shortened without a model.

    python scripts/bench_compression.py [--data DIR] [--conversations a,b] [--rates .6,.5]

DIR holds NAME.messages.jsonl and NAME.questions.jsonl (default: $LIGHTMEM_DATA/locomo). For each question and each
message that is evidence for it, the answer's content words that stand in the message are looked for in what is left of
it. N is how many there are. Content words are those that the list of English stop words does not have; "stems" takes
"paint" for "painted". kept is the mean fraction of a message's tokens (characters / 4) that stays, and words that of
its words.

    lightmem        the entropy compressor by word frequencies, as `lightmem compress --use entropy` has it: `keep` on
    … keep nothing  the same with nothing forced to stay
    frequent first  drops the most frequent words first, and knows nothing else
    random          drops any words (seeded)
    rarest first    drops the rarest words first

All of them cut messages into the same words, and keep as many tokens of each.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import Stemmer
from processes import DATA

from lightmem_cli.compress import ALL_KEPT, HowToShorten, open_compressor
from lightmem_cli.compress.choose import Word, choose, joined, share
from lightmem_cli.compress.tongue import Tongue
from lightmem_cli.compress.words import cut
from lightmem_cli.language.stop_words import stop_words
from lightmem_cli.records import Compressed, Message, Role

MINIMUM = 8  # tokens of each message, as the settings have it
SEED = 5
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_STOP_WORDS = stop_words("english")
_stem = Stemmer.Stemmer("english").stemWord

Shorten = Callable[[str], Compressed]


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that is evidence for a question, and the words of the question's answer."""

    message: str
    answer: frozenset[str]


@dataclass(frozen=True, slots=True)
class Row:
    """Counts over some questions: the answers' words that stand in their messages, and those that stay."""

    words: int
    stay: int
    stems: int
    stems_stay: int
    kept: float
    words_kept: float


def main() -> None:
    options = _options()
    conversations = {name: list(_asked(options.data, name)) for name in options.conversations}
    everything = [one for its in conversations.values() for one in its]
    for rate in options.rates:
        print(f"\nrate {rate:g}{'':14}{'':12}{'N':>7}{'survive':>9}{'stems':>8}{'kept':>8}{'words':>8}")
        for label, shorten in _ways(rate).items():
            remembered = cache(shorten)
            for name, its in conversations.items():
                _line(label, name, _measure(its, remembered))
            _line(label, "all", _measure(everything, remembered))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, default=DATA / "locomo")
    parser.add_argument("--conversations", type=lambda text: text.split(","), help="names; default: all in DIR")
    parser.add_argument("--rates", type=lambda text: [float(part) for part in text.split(",")], default=[0.6, 0.5])
    options = parser.parse_args()
    found = sorted(path.name.removesuffix(".messages.jsonl") for path in options.data.glob("*.messages.jsonl"))
    if not found:
        parser.exit(message=f"skipped: no messages in {options.data} (README says where to get the sets)\n")
    options.conversations = options.conversations or found
    return options


def _asked(data: Path, name: str) -> Iterator[Asked]:
    contents = {row["id"]: row["content"] for row in _read(data / f"{name}.messages.jsonl")}
    for row in _read(data / f"{name}.questions.jsonl"):
        answer = frozenset(_said(str(row["answer"]))) - _STOP_WORDS
        yield from (Asked(contents[id], answer) for id in row["evidence"])


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@cache
def _said(text: str) -> frozenset[str]:
    """The words of `text` in small letters, as the lists of stop words have them: no 's, no apostrophes."""
    words = (word.lower().replace("’", "'") for word in _WORD.findall(text))
    return frozenset(word.removesuffix("'s").replace("'", "") for word in words)


# ---- ways to shorten --------------------------------------------------------------------------------------------


def _ways(rate: float) -> dict[str, Shorten]:
    draw = random.Random(SEED).random
    return {
        "lightmem": _compressor(rate, keep_all=True),
        "… keep nothing": _compressor(rate, keep_all=False),
        "frequent first": lambda text: _dropping(text, lambda bits: bits, rate=rate),
        "random": lambda text: _dropping(text, lambda bits: draw(), rate=rate),
        "rarest first": lambda text: _dropping(text, lambda bits: -bits, rate=rate),
    }


def _compressor(rate: float, *, keep_all: bool) -> Shorten:
    def no_reader() -> Any:
        raise AssertionError("word frequencies need no model")

    how = HowToShorten(
        reader=no_reader,
        model="",
        rate=rate,
        minimum=MINIMUM,
        keep=ALL_KEPT if keep_all else (),
        roles="both",
        surprise="average",
        device="cpu",
        progress=lambda line: None,
    )
    compressor = open_compressor("entropy", how)

    def shorten(text: str) -> Compressed:
        return compressor.compress(
            [Message(conversation="", session="", id="", position=0, role=Role.USER, content=text)]
        )[0]

    return shorten


def _dropping(text: str, score: Callable[[float], float], *, rate: float) -> Compressed:
    """Keep the words of the highest score, of which only their bits are known."""
    tongue = Tongue(text)
    words = []
    before = 0
    for begin, end in cut(text, tongue):
        word = text[begin:end]
        bits = tongue.bits(word.lower().replace("’", "'")) if _WORD.search(word) else 0.0  # marks are most frequent
        words.append(Word(begin, end, (end - begin + (0 < before < begin)) / 4, score(bits)))
        before = end
    stays = choose(words, rate=rate, minimum=MINIMUM)
    return Compressed(joined(text, words, stays), share(words, stays))


# ---- figures ----------------------------------------------------------------------------------------------------


def _measure(asked: Sequence[Asked], shorten: Shorten) -> Row:
    words = stay = stems = stems_stay = 0
    for one in asked:
        said, left = _said(one.message), _said(shorten(one.message).text)
        words += len(one.answer & said)
        stay += len(one.answer & said & left)
        wanted = _stems(one.answer) & _stems(said)
        stems += len(wanted)
        stems_stay += len(wanted & _stems(left))
    messages = dict.fromkeys(one.message for one in asked)
    kept = [shorten(message).kept for message in messages]
    words_kept = [len(shorten(message).text.split()) / max(1, len(message.split())) for message in messages]
    return Row(words, stay, stems, stems_stay, _mean(kept), _mean(words_kept))


def _stems(words: Iterable[str]) -> set[str]:
    return {_stem(word) for word in words}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / max(1, len(numbers))


def _line(label: str, name: str, row: Row) -> None:
    exact = row.stay / max(1, row.words)
    stems = row.stems_stay / max(1, row.stems)
    figures = f"{row.words:>7,}{exact:>9.4f}{stems:>8.4f}{row.kept:>8.3f}{row.words_kept:>8.3f}"
    print(f"{label:20}{name:12}{figures}", flush=True)


if __name__ == "__main__":
    main()
