"""Measures sensory memory: messages a second and memory, against a loop that reads one message at a time; and int8.

    python scripts/bench_sensory.py                       # both parts: about three minutes
    python scripts/bench_sensory.py --only throughput
    python scripts/bench_sensory.py --only agreement

Both parts need a model that nobody has to download: all-MiniLM-L6-v2's six layers with a head that says which tokens to
keep. First, one conversation shortened and cut by attention; beside it, in the same run, what LightMem's published code
does: a call of llmlingua's `compress_prompt` for each message, and a forward pass of transformers for each 512 tokens'
attention. Each has a process of its own. Then the head and the last layers learn a rule (digits, names and rare words
are kept), and on words they have not seen int8 is held against float32.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from processes import DATA, Finished, environment, run, transcript

if TYPE_CHECKING:
    from lightmem_cli.local_models.minilm import Precision
    from lightmem_cli.records import Message

NAME = "bert-base-multilingual-cased-stand-in"  # the llmlingua package goes by the name
RATE = 0.6
WINDOW = 512  # tokens, as the reference fills it
STEPS = 300
BATCH = 4  # turns
LEARNING = 2  # the last layers learn, with the head
RARE = 4.5  # Zipf: words up to here are kept by the rule, one in 30,000
PRECISIONS: tuple[Precision, ...] = ("int8", "fp32")
TARGETS = {"ratio": 10, "agreement": 0.97}


def main() -> None:
    options = _options()
    if options.child == "stand-in":
        stand_in(options.model)
        return
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.model, _messages(options.transcript))))
        return
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    chat = options.transcript or transcript("conv-26")
    with tempfile.TemporaryDirectory(prefix="bench-sensory-") as folder:
        os.environ["LIGHTMEM_CACHE"] = f"{folder}/cache"  # nothing stays of a model that nobody uses
        model = Path(folder) / NAME
        # Not made here: a process that is started counts the peak of the one that started it as its own.
        run([sys.executable, __file__, "--child", "stand-in", "--model", model], env=environment())
        if options.only != "agreement":
            _throughput(chat, model, runs=options.runs)
        if options.only != "throughput":
            _agreement(chat, model, steps=options.steps)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transcript", type=Path, help="default: LoCoMo's conv-26")
    parser.add_argument("--only", choices=["throughput", "agreement"], help="one part alone")
    parser.add_argument("--runs", type=int, default=3, help="of each process (default 3)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of learning the rule (default {STEPS})")
    parser.add_argument("--child", choices=["stand-in", *CHILDREN], help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def stand_in(folder: Path) -> None:
    """MiniLM as a token classifier with a random head."""
    import torch
    from transformers import BertForTokenClassification
    from transformers.utils import logging

    from lightmem_cli.local_models.minilm import model_folder

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    model = BertForTokenClassification.from_pretrained(model_folder(), num_labels=2)
    model.classifier.weight.data.normal_(0, 0.2)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(model_folder() / name, folder)


def _messages(path: Path) -> list[Message]:
    from lightmem_cli.records import Message, Role

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Message(
            conversation=row.get("conversation", ""),
            session=row["session"],
            id=row["id"],
            position=number,
            role=Role(row.get("role", "user")),
            content=row["content"],
        )
        for number, row in enumerate(rows)
    ]


# Throughput.


class Taken(NamedTuple):
    """What one process came to: seconds until it could begin, seconds for the messages, and what it did."""

    opened: float
    seconds: float
    done: dict[str, float]
    whole: Finished


def _throughput(chat: Path, model: Path, *, runs: int) -> None:
    count = len(_messages(chat))
    _child("ours", chat, model)  # prepares the int8 form, once
    pairs = [[_child(name, chat, model) for name in CHILDREN] for _ in range(runs)]  # what else runs slows both alike
    ours, theirs = zip(*pairs, strict=True)
    print(f"{chat.name}: {count} messages, rate {RATE}; six layers, 384 wide; median of {runs}")
    print(f"{'':<34}{'messages/s':>11}{'seconds':>9}{'opening':>9}{'peak MB':>9}{'CPU s, all':>12}")
    medians = []
    for name, taken in (("compress + segment, int8", ours), ("one by one, as the reference does", theirs)):
        seconds = statistics.median(one.seconds for one in taken)
        opened = statistics.median(one.opened for one in taken)
        peak = statistics.median(one.whole.peak_bytes for one in taken) / 1e6
        cpu = statistics.median(one.whole.cpu_seconds for one in taken)
        medians.append((seconds, seconds + opened))
        print(f"{name:<34}{count / seconds:>11.1f}{seconds:>9.2f}{opened:>9.2f}{peak:>9.0f}{cpu:>12.1f}")
    (quick, quick_whole), (slow, slow_whole) = medians
    print(
        f"ratio {slow / quick:.1f} (target {TARGETS['ratio']}); with opening the models {slow_whole / quick_whole:.1f}"
    )
    for name, taken in (("ours", ours), ("reference", theirs)):
        print(f"{name}: " + ", ".join(f"{what} {value:g}" for what, value in taken[0].done.items()))
    print(flush=True)


def _child(name: str, chat: Path, model: Path) -> Taken:
    arguments = ["--child", name, "--transcript", str(chat), "--model", str(model)]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    whole = run([sys.executable, __file__, *arguments], env=environment() | offline)
    opened, seconds, done = json.loads(whole.stdout.splitlines()[-1])
    return Taken(opened, seconds, done, whole)


def _ours(model: Path, messages: Sequence[Message]) -> tuple[float, float, dict[str, float]]:
    """The engine's sensory memory, with one model for both: topics as the talk goes on, each shortened as it ends."""
    began = time.perf_counter()
    from datetime import timedelta

    from lightmem_cli.engine.sensory import Sensory
    from lightmem_cli.profiles.settings import Compress, Segment, Settings
    from lightmem_cli.protocols import Spoken
    from lightmem_cli.segment import OpenTopic

    compress = Compress(use="llmlingua2", model=str(model), rate=RATE)
    sensory = Sensory(Settings(compress=compress, segment=Segment(use="attention")), notice=lambda line: None)
    compressor, segmenter = sensory.compressor, sensory.segmenter
    assert compressor is not None and segmenter is not None
    compressor.compress(messages[:1])
    ready = time.perf_counter()
    kept = []
    topics = 0
    for _, session in groupby(messages, lambda message: message.session):
        talk = list(session)
        topic = OpenTopic(segmenter=segmenter, silence=timedelta(days=1))
        begin = 0
        for number, message in enumerate(talk, start=1):
            for ended in topic.take([Spoken(message, None)], ended=number == len(talk)):
                kept += [one.kept for one in compressor.compress(talk[begin : begin + ended.turns])]
                begin += ended.turns
                topics += 1
    seconds = time.perf_counter() - ready
    assert len(kept) == len(messages)
    done = {"topics": topics, "forward passes": sensory._reader(str(model)).passes, "kept": statistics.mean(kept)}
    return ready - began, seconds, done


class _Counter:
    """Stands for the vocabulary that the llmlingua package would download: four characters are a token."""

    def encode(self, text: str) -> list[int]:
        return [0] * max(1, len(text) // 4)


def _reference(model: Path, messages: Sequence[Message]) -> tuple[float, float, dict[str, float]]:
    """One call for each message, and one more pass for the attention of each 512 tokens."""
    began = time.perf_counter()
    import tiktoken

    tiktoken.encoding_for_model = lambda name: _Counter()
    import torch
    from llmlingua import PromptCompressor

    compressor = PromptCompressor(str(model), use_llmlingua2=True, device_map="cpu")
    tokenizer, classifier = compressor.tokenizer, compressor.model
    compressor.compress_prompt(messages[0].content, rate=RATE)
    ready = time.perf_counter()
    kept = []
    for message in messages:
        if message.content.strip():
            found = compressor.compress_prompt(message.content, rate=RATE)
            kept.append(found["compressed_tokens"] / found["origin_tokens"])
    passes = 0
    classifier.set_attn_implementation("eager")  # the other kinds keep no attention
    for buffer in _buffers(messages, tokenizer):
        with torch.no_grad():
            out = classifier(input_ids=torch.tensor([buffer]), output_attentions=True)
        torch.stack(out.attentions[-2:]).mean(dim=(0, 2))
        passes += 1
    done = {"calls": len(kept), "forward passes": len(kept) + passes, "kept": statistics.mean(kept)}
    return ready - began, time.perf_counter() - ready, done


def _buffers(messages: Sequence[Message], tokenizer: Any) -> Iterator[list[int]]:
    """The ids of whole messages, with the special tokens, up to 512 at a time; a session begins a new buffer."""
    before, behind = tokenizer.cls_token_id, tokenizer.sep_token_id
    for _, session in groupby(messages, lambda message: message.session):
        ids: list[int] = []
        for message in session:
            more = tokenizer(message.content, add_special_tokens=False).input_ids[: WINDOW - 2]
            if len(ids) + len(more) > WINDOW - 2:
                yield [before, *ids, behind]
                ids = []
            ids += more
        if ids:
            yield [before, *ids, behind]


CHILDREN = {"ours": _ours, "reference": _reference}


# int8 beside float32.


def _agreement(chat: Path, model: Path, *, steps: int) -> None:
    others = [path for path in sorted((DATA / "locomo").glob("*.messages.jsonl")) if path.name != chat.name]
    began = time.perf_counter()
    learned = _learn([message.content for path in others for message in _messages(path)], model, steps=steps)
    took = time.perf_counter() - began
    print(f"learned the rule in {steps} steps, {took:.0f} s; {learned:.3f} of the last tokens right")
    quick, exact = ([stay for stays in _decisions(chat, model, precision=one) for stay in stays] for one in PRECISIONS)
    alike = sum(one == other for one, other in zip(quick, exact, strict=True)) / len(exact)
    print(f"{chat.name}, rate {RATE}: of {len(exact):,} words {sum(exact) / len(exact):.3f} stay in float32;")
    print(f"int8 decides as float32 does on {alike:.4f} of them (target {TARGETS['agreement']})", flush=True)


def _learn(texts: list[str], model: Path, *, steps: int) -> float:
    """Teach the stand-in in `model` to keep what `_is_kept` keeps; the share of tokens it gets right in the end."""
    import torch
    from transformers import AutoTokenizer, BertForTokenClassification

    torch.manual_seed(0)
    chance = random.Random(0)
    tokenizer = AutoTokenizer.from_pretrained(model)
    classifier = BertForTokenClassification.from_pretrained(model)
    learning = [*classifier.bert.encoder.layer[-LEARNING:].parameters(), *classifier.classifier.parameters()]
    classifier.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    steps_of = torch.optim.AdamW(learning, lr=5e-4)
    shares = []
    for _ in range(steps):
        batch = chance.choices([text for text in texts if text.strip()], k=BATCH)
        coded = tokenizer(batch, padding=True, truncation=True, max_length=64, return_tensors="pt")
        labels = torch.tensor([_labels(text, coded, number) for number, text in enumerate(batch)])
        out = classifier(**coded, labels=labels)
        out.loss.backward()
        steps_of.step()
        steps_of.zero_grad()
        there = labels >= 0
        shares.append(float((out.logits.argmax(-1) == labels)[there].float().mean()))
    classifier.save_pretrained(model)
    return statistics.mean(shares[-20:])


def _labels(text: str, coded: Any, number: int) -> list[int]:
    """1 for each token of a word the rule keeps, 0 for the others, -100 for what is no token of the text."""
    found = []
    for word in coded.word_ids(number):
        begin, end = (0, 0) if word is None else coded.word_to_chars(number, word)
        found.append(-100 if word is None else int(_is_kept(text[begin:end])))
    return found


def _is_kept(word: str) -> bool:
    """Digits, names, and rare words."""
    from wordfreq import zipf_frequency

    return any(c.isdigit() for c in word) or (word.isalpha() and zipf_frequency(word, "en") < RARE)


def _decisions(chat: Path, model: Path, *, precision: Precision) -> list[list[bool]]:
    """Of each message, which words stay, by the default compressor's rule with nothing forced."""
    from lightmem_cli.compress.choose import choose
    from lightmem_cli.compress.token_words import as_words, groups_of, token_spans
    from lightmem_cli.local_models.token_pass import open_token_pass

    reader = open_token_pass(str(model), device="cpu", precision=precision, progress=lambda line: None)
    found = []
    for window in _windows(_messages(chat), reader):
        for message, keep in zip(window, reader.read(window).keep, strict=True):
            pieces = reader.pieces(message.content)
            spans = token_spans(message.content, pieces)
            words = as_words(groups_of(message.content, pieces, spans), spans, keep.tolist())
            found.append(choose(words, rate=RATE, minimum=0))
    return found


def _windows(messages: Sequence[Message], reader: Any) -> Iterator[list[Message]]:
    window: list[Message] = []
    tokens = 0
    for message in messages:
        more = len(reader.pieces(message.content).ids)
        if tokens + more > reader.limit:
            yield window
            window, tokens = [], 0
        window.append(message)
        tokens += more
    yield window


if __name__ == "__main__":
    main()
