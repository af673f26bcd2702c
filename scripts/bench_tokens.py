"""Counts what a language model is asked to make a memory of a conversation: calls and tokens, stage by stage.

    python scripts/bench_tokens.py                                # the five conversations: about three minutes
    python scripts/bench_tokens.py --conversations conv-26
    python scripts/bench_tokens.py --set extract.mode=event --set extract.metadata=true

A server on loopback stands in for the model. It makes a fact of every line that it is shown, so that nothing that could
be sent later is saved; it finds nothing to correct, and summarizes in a sentence. A token is four characters, of what
is sent and of what is replied. Both speakers' messages are read, shortened to .8, in buffers of 768 tokens: as the
reference was measured on conv-26 (25 calls and 52.3k prompt tokens to extract, 66 and 48.6k to update), whose figures
are the baseline there. Beside it stands, measured in the same run, one call a topic with every word in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from processes import CONVERSATIONS, lightmem, transcript

WORK = {
    "llm.use": "openai",
    "llm.model": "stand-in",
    "extract.use": "llm",
    "extract.roles": "both",
    "extract.buffer_tokens": 768,
    "compress.use": "entropy",
    "compress.rate": 0.8,
    "update.use": "llm",
    "summarize.use": "llm",
}
A_CALL_A_TOPIC = {"extract.buffer_tokens": 64, "extract.text": "original", "compress.use": "none"}
STAGES = ("extract", "update", "summarize")
TARGETS = {"calls": 18, "prompt_tokens": 21_000}  # of conv-26's extraction


class Cost(NamedTuple):
    """What a stage asked for, in tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def said(self) -> str:
        return f"{self.calls:>5,} {self.prompt_tokens:>9,} {self.completion_tokens:>9,}"


REFERENCE = {"extract": Cost(25, 52_300), "update": Cost(66, 48_600)}  # LightMem's published code, on conv-26


def main() -> None:
    options = _options()
    chosen = dict(pair.split("=", 1) for pair in options.set)
    print(f"{'':<10} {'':<22} {'calls':>5} {'prompt':>9} {'reply':>9}")
    missed = []
    for name in options.conversations:
        ours = _costs(name, WORK | chosen, stages=STAGES)
        plain = _costs(name, WORK | chosen | A_CALL_A_TOPIC, stages=STAGES[:1])["extract"]
        for stage, cost in ours.items():
            print(
                f"{name:<10} {stage:<22} {cost.said}{_ratio(cost, REFERENCE.get(stage)) if name == 'conv-26' else ''}"
            )
        print(f"{name:<10} {'(a call a topic)':<22} {plain.said}  ours takes {_share(ours['extract'], plain)}")
        if name == "conv-26" and not chosen:
            missed = [what for what, most in TARGETS.items() if getattr(ours["extract"], what) > most]
    if missed:
        sys.exit(f"conv-26: more than the target: {', '.join(missed)}")


def _costs(name: str, settings: Mapping[str, object], *, stages: Sequence[str]) -> dict[str, Cost]:
    """What each stage costs on a conversation, in a fresh home."""
    from model_server import ModelServer

    with tempfile.TemporaryDirectory(prefix="bench-tokens-") as folder, ModelServer() as server:
        server.reply = _reply
        home, used = Path(folder), {**settings, "llm.base_url": server.openai_url}
        lightmem("ingest", transcript(name), home=home, settings=used)
        for stage in stages[1:]:
            lightmem(stage, "--quiet", home=home, settings=used)
        asked = json.loads(lightmem("stats", "--json", home=home, settings=used).stdout)["llm"]
        sent = sum(-(-len(call.prefix) // 4) + -(-len(call.prompt) // 4) for call in server.calls)
    told = sum(its["prompt_tokens"] for its in asked.values())
    if abs(told - sent) > len(server.calls):
        sys.exit(f"{name}: the ledger has {told:,} prompt tokens, and the server was sent {sent:,}")
    return {stage: Cost(*(asked.get(stage, {}).get(field, 0) for field in Cost._fields)) for stage in stages}


def _reply(asked: object) -> str:
    from model_server import Asked, every_line_a_fact

    assert isinstance(asked, Asked)
    if "<talk>" in asked.prompt:
        return every_line_a_fact(asked)
    return json.dumps(_least(asked.schema or {}))


def _least(schema: Mapping[str, object]) -> object:
    """The least that is of a schema: empty lists, a sentence for each text."""
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            assert isinstance(properties, Mapping)
            return {name: _least(its) for name, its in properties.items()}
        case "array":
            return [1] if schema.get("minItems") else []
        case "string":
            return "They spoke of what they had done, and of what they want to do next."
        case _:
            return 1


def _ratio(cost: Cost, reference: Cost | None) -> str:
    if reference is None:
        return ""
    return f"  reference {reference.calls} and {reference.prompt_tokens:,}: {_share(cost, reference)}"


def _share(cost: Cost, of: Cost) -> str:
    return f"{cost.calls / of.calls:.2f} of the calls, {cost.prompt_tokens / of.prompt_tokens:.2f} of the prompt tokens"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conversations", nargs="+", default=list(CONVERSATIONS), metavar="NAME")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting, as table.key")
    return parser.parse_args()


if __name__ == "__main__":
    main()
