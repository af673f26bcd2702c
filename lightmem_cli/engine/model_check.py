"""Asks a memory's language model to extract two lines of a made-up conversation, to tell whether it can serve here."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Asking, Request
from lightmem_cli.engine.doctor import Finding
from lightmem_cli.engine.extraction.batches import how_to_ask
from lightmem_cli.errors import BadReply, ExitCode, LightmemError, MissingPart, ModelError, ProfileError, Unavailable
from lightmem_cli.extract.llm import cost_of, line_of, most_of, prompt_of, read_reply, schema_of, version_of
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.prompts import load
from lightmem_cli.records import Entry, Message, Role

# The price is another one each time: the ledger has no reply to that, and the model is really asked.
_SAID: Final = (
    ("Ada", "I moved to Lyon in March, and my sister Vera helped me carry the piano. It cost me {price} euros."),
    ("Bela", "Lyon! Then you are near the mountains now."),
)
_SLOW = 5.0  # tokens a second: an extraction of 500 takes minutes


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of the question: facts, or what was wrong, and how many tokens a second were replied."""

    facts: list[Entry] | None
    fault: ModelError | None
    speed: float


def check_language_model(memory: Memory) -> list[Finding]:
    """Whether the language model is there, replies in the JSON it is asked for, reads enough at once, and how fast.

    One call of some two hundred tokens. No findings where the profile names no model and no stage asks for one.
    """
    wanting = stages_asking(memory.settings)
    if memory.settings.llm.use == "none" and not wanting:
        return []
    try:
        seen = memory.model.probe()
    except (ModelError, MissingPart, ProfileError) as error:
        return [_bad("language model", error, wanting=wanting)]
    findings = [Finding("language model", True, seen)]
    try:
        return [*findings, _replies(_try(memory)), _context(memory)]
    except (ModelError, MissingPart) as error:
        return [*findings, _bad("its replies", error, wanting=wanting)]


def stages_asking(settings: Settings) -> list[str]:
    """The stages that a profile has ask a language model, as their keys and values."""
    uses = {"extract": settings.extract.use, "update": settings.update.use, "summarize": settings.summarize.use}
    return [f'{name}.use = "llm"' for name, use in uses.items() if use == "llm"]


def _bad(check: str, error: LightmemError, *, wanting: list[str]) -> Finding:
    without = "turns are kept and found without it" if wanting else "lightmem ask shows the evidence without it"
    return Finding(check, False, f"{error.message} ({without})", error.hint, error.exit_code)


def _try(memory: Memory) -> Tried:
    """
    Raises:
        ModelError, MissingPart: it could not be asked.
    """
    how, model = how_to_ask(memory.settings), memory.model
    topics = [[line_of(message, None) for message in _messages()]]
    request = Request(
        purpose="probe",
        version=version_of(how),
        prompt=prompt_of(topics, how),
        most=most_of(topics, how),
        messages=(),
        read=lambda text: read_reply(text, topics, how, model=model.name),
        schema=schema_of(topics, how),
    )
    began, asking = time.monotonic(), Asking(memory)
    try:
        answered = asking.once(request)
    except Unavailable:  # it is not there: of what it can do nothing was seen
        raise
    except ModelError as fault:
        asking.tried(failed=True)
        if not isinstance(fault, BadReply):
            raise
        return Tried(None, fault, 0.0)
    asking.tried(failed=False)
    return Tried(answered.value, None, answered.usage.completion_tokens / max(time.monotonic() - began, 1e-3))


def _messages() -> list[Message]:
    now, price = datetime.now(UTC), random.randrange(1_000, 10_000)  # noqa: S311 - nobody is to be kept from guessing it
    return [
        Message(
            conversation="",
            session="",
            id=str(at),
            position=at,
            role=Role.USER,
            content=text.format(price=price),
            speaker=name,
            said_at=now,
        )
        for at, (name, text) in enumerate(_SAID)
    ]


def _replies(tried: Tried) -> Finding:
    check = "its replies"
    if tried.facts is None:
        assert tried.fault is not None
        seen = f"not what was asked for: {tried.fault.message}"
        return Finding(check, False, seen, "name a larger model: lightmem config set llm.model NAME", ExitCode.MODEL)
    speed = f"{tried.speed:,.0f} tokens a second"
    if not tried.facts:
        return Finding(check, True, f"valid JSON, {speed}; it found nothing worth keeping in two plain lines")
    slow = "; that is slow: lower extract.buffer_tokens, or name a smaller model" if tried.speed < _SLOW else ""
    return Finding(check, True, f"valid JSON with {len(tried.facts)} facts of two lines, {speed}{slow}")


def _context(memory: Memory) -> Finding:
    """Whether a full buffer with its reply, and an answer with its evidence, fit what the model reads at once.

    A buffer ends with the topic that fills it, so it is often half as long again; what is longer is read in halves.
    """
    settings, model = memory.settings, memory.model
    needs = {"ask.budget_tokens": model.tokens(load("answer").always) + settings.ask.budget_tokens + settings.ask.most}
    if settings.extract.use == "llm":
        needs["extract.buffer_tokens"] = _full_buffer(memory)
    key, most = max(needs.items(), key=lambda need: need[1])
    most += model.thoughts
    if not model.context:
        return Finding(
            "its context", True, f"nobody says how much it reads at once; a call takes up to {most:,} tokens"
        )
    if model.context < most:
        seen = f"{model.context:,} tokens, and a call may take {most:,} with its reply"
        return Finding("its context", False, seen, f"lower {key}: lightmem config set {key} N", ExitCode.MODEL)
    return Finding("its context", True, f"{model.context:,} tokens, of which a call takes up to {most:,}")


def _full_buffer(memory: Memory) -> int:
    """The tokens of a call that reads a buffer half as long again as it must be, and of its reply."""
    how, model = how_to_ask(memory.settings), memory.model
    lines = [line_of(message, None) for message in _messages()]
    its = sum(model.tokens(cost_of(line)) for line in lines)
    topic = lines * max(1, round(1.5 * memory.settings.extract.buffer_tokens / max(1, its)))
    return sum(map(model.tokens, prompt_of([topic], how))) + most_of([topic], how)
