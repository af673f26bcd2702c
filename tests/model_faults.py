"""Names every way in which a language model's server fails its reader, and spoils replies so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

NamedFault: TypeAlias = Literal[
    # refused, with the words of each wire
    "400", "401", "402", "404-model", "429", "500", "503", "overflow", "quota",
    # no whole answer: nothing at all, pieces and then nothing, an error behind the pieces, a connection cut
    "hang", "stall", "error-mid-stream", "cut",
    # an answer in another form: bytes that are not UTF-8, a web page, no figures of its cost
    "not-utf8", "html", "no-usage",
    # a reply that does not say what was asked for
    "empty", "prose", "fenced", "truncated", "schema-echo", "wrong-ids", "string-ids", "duplicates", "refusal",
    "10000-facts", "thoughts-only",
]  # fmt: skip

BROKEN = "\ue000"  # stands where bytes are sent that are not UTF-8
REFUSAL = "I'm sorry, but I can't help with that request."


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault with what can be set about it: a 429's retry-after and other headers, and how long a hang lasts."""

    name: NamedFault
    retry_after: str | None = None  # None: as the server's
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """A reply on its way: where it is not `whole`, the wire says that it ran into the limit of tokens."""

    text: str
    whole: bool = True


def spoiled(fault: Fault | None, said: Said, *, schema: Mapping[str, Any] | None) -> Said:
    """The reply as the fault has it; a fault of another kind leaves it alone. Facts are spoiled where it has any."""
    text = said.text
    match fault.name if fault else None:
        case "empty":
            return replace(said, text="")
        case "prose":
            return replace(
                said, text=f"Sure! Here is what I found:\n\n{text}\n\nLet me know if you need anything else."
            )
        case "fenced":
            return replace(said, text=f"```json\n{text}\n```")
        case "thoughts-only":
            return Said("", whole=False)
        case "truncated":
            return Said(text[: len(text) * 2 // 3], whole=False)
        case "schema-echo":
            return replace(said, text=json.dumps(schema or {"type": "object"}))
        case "refusal":
            return replace(said, text=REFUSAL)
        case "not-utf8":
            return replace(said, text=text[: len(text) // 2] + BROKEN + text[len(text) // 2 :])
        case "wrong-ids" | "string-ids" | "duplicates" | "10000-facts":
            return replace(said, text=_respoken(text, str(fault.name) if fault else ""))
        case _:
            return said


def _respoken(text: str, how: str) -> str:
    """The facts and relations of a reply, spoiled; a reply that has none, as it is."""
    try:
        reply = json.loads(text)
    except ValueError:
        return text
    if not isinstance(reply, dict) or "facts" not in reply:
        return text
    for name in {"facts", "relations"} & reply.keys():
        reply[name] = _spoil(reply[name], how)
    return json.dumps(reply, ensure_ascii=False)


def _spoil(facts: list[dict[str, Any]], how: str) -> list[dict[str, Any]]:
    match how:
        case "wrong-ids":
            return [{**fact, "of": [9000 + number for number in fact["of"]]} for fact in facts]
        case "string-ids":
            return [{**fact, "of": [str(number) for number in fact["of"]]} for fact in facts]
        case "duplicates":
            return [fact for fact in facts for _ in range(2)]
        case _:
            return [{"of": [1], "text": f"Fact number {number} of ten thousand."} for number in range(1, 10_001)]
