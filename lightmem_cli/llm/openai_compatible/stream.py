"""Hears a reply about a conversation while it comes: its words, what it cost, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lightmem_cli.llm.thoughts import Aloud
from lightmem_cli.local_models.surrogates import mended, well_formed
from lightmem_cli.records import Usage


@dataclass(slots=True)
class Heard:
    """What came so far. `answers` says whether any of it was a piece of a chat at all."""

    tell: Callable[[str], None] | None = None
    told: bool = False
    answers: bool = False
    finish: str = ""
    refusal: str = ""
    thought: bool = False  # as far as the server tells
    usage: Mapping[str, object] = field(default_factory=dict)
    _aloud: Aloud = field(default_factory=Aloud)
    _pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The reply, without what was thought before it; halves of a pair of surrogates may come in two pieces."""
        return mended("".join(self._pieces))

    def listen(self, events: Iterable[object]) -> None:
        """Take in `events`, each a chunk of a stream or a whole completion, as the wire has them."""
        for event in events:
            if isinstance(event, Mapping):
                self._say(self._aloud.piece(self._piece(event)))
        self._say(self._aloud.rest())

    def _piece(self, event: Mapping[str, object]) -> str:
        """The words in `event`; what else it says of the reply is noted."""
        usage, choices = event.get("usage"), event.get("choices")
        if isinstance(usage, Mapping):
            self.usage = usage
            self.thought = self.thought or bool(_count(_part(usage, "completion_tokens_details"), "reasoning_tokens"))
        if not isinstance(choices, list):
            return ""
        self.answers = True
        choice = choices[0] if choices else None
        if not isinstance(choice, Mapping):
            return ""
        self.finish = str(choice.get("finish_reason") or self.finish)
        said = choice.get("delta") or choice.get("message")
        if not isinstance(said, Mapping):
            return ""
        self.refusal += _plain(said.get("refusal"))
        self.thought = self.thought or bool(said.get("reasoning_content") or said.get("reasoning"))
        return _plain(said.get("content"))

    def _say(self, piece: str) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        if self.tell is not None:
            self.told = True
            self.tell(well_formed(piece))


def _plain(content: object) -> str:
    """A message's content: a text, or parts of which some are texts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return ""


def usage_of(usage: Mapping[str, object], *, prompt: int, reply: int) -> Usage:
    """What a server counted; where it did not, the tokens that `prompt` and `reply` have as we count them."""
    read = _count(usage, "prompt_tokens") or prompt
    written = _count(usage, "completion_tokens")
    cached = _count(_part(usage, "prompt_tokens_details"), "cached_tokens")
    cached = cached or _count(usage, "prompt_cache_hit_tokens") or 0  # as DeepSeek names them
    return Usage(
        calls=1,
        prompt_tokens=read,
        completion_tokens=reply if written is None else written,
        cached_tokens=min(read, cached),
    )


def _part(usage: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = usage.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(usage: Mapping[str, object], name: str) -> int | None:
    count = usage.get(name)
    return count if isinstance(count, int) and count >= 0 else None
