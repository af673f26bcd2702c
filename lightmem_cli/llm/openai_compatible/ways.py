"""Words a question about a conversation so that one server takes it, and learns from what the server refuses.

OpenAI's wire has dialects: which form of reply can be asked for, what the limit of tokens is called, whether there is a
temperature. What is refused is left out or said in another way, and what worked is remembered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.protocols import JsonSchema, Prompt

if TYPE_CHECKING:
    from lightmem_cli.llm.openai_compatible.refused import Refused
    from lightmem_cli.profiles.settings import Llm

Body: TypeAlias = dict[str, object]

_IN_WORDS: Final = "Reply with one JSON object that follows this JSON Schema, and with nothing else:"
_NEXT_FORM: Final[Mapping[str, Literal["json_object", "text"]]] = {"json_schema": "json_object", "json_object": "text"}
# How servers name what they cannot do: OpenAI, DeepSeek, vLLM with its grammars, llama.cpp, LM Studio, TGI.
_ABOUT_FORM: Final = re.compile(
    r"response.?format|json.?schema|json.?object|json.?mode|structured.?output|grammar|guided", re.I
)
_VAGUE: Final = re.compile(r"(?:http \d+|bad request|invalid request|unprocessable (?:entity|content))?\W*", re.I)
_CEILING: Final = re.compile(r"at most (\d+) completion tokens|range of max_tokens is \[\d+, ?(\d+)\]", re.I)
# The statuses of a refusal that is about how it was asked. What a server says that is out of order teaches nothing.
ASKED_WRONGLY: Final = frozenset({400, 404, 422, 501})


@dataclass(frozen=True, slots=True)
class Ways:
    """How one server is asked for one model. Its fields say what it takes, as far as that is known."""

    form: Literal["json_schema", "json_object", "text"] = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens", ""] = "max_tokens"
    temperature: bool = True
    stream: bool = True
    stream_usage: bool = True
    thinking: int = 0  # the place in `wishes` of how it is told to think
    ceiling: int = 0  # the most tokens that it lets anybody ask for; 0: nobody knows

    def body(self, prompt: Prompt, *, most: int, schema: JsonSchema | None, llm: Llm, wishes: Sequence[Body]) -> Body:
        """What is sent. The prefix is the same to the last character for every call with the same schema."""
        system = prompt.prefix
        if schema is not None and self.form != "json_schema":
            system = f"{system}\n\n{_IN_WORDS}\n{json.dumps(schema, ensure_ascii=False)}"
        messages = [("system", system), ("user", prompt.body)]
        body: Body = {
            "model": llm.model,
            "messages": [{"role": role, "content": content} for role, content in messages if content],
            "stream": self.stream,
        }
        if self.limit:
            body[self.limit] = min(most, self.ceiling) if self.ceiling else most
        if self.temperature:
            body["temperature"] = llm.temperature
        if self.stream and self.stream_usage:
            body["stream_options"] = {"include_usage": True}
        if schema is not None and self.form == "json_schema":
            form = {"name": "reply", "strict": True, "schema": schema}  # ours require all their keys, as strict wants
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif schema is not None and self.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body | (wishes[self.thinking] if self.thinking < len(wishes) else {}) | llm.options

    def without(self, refused: Refused, *, sent: Body) -> Ways | None:
        """Another way to ask, where the server `refused` a part of what was `sent`; None where it names none."""
        if refused.status not in ASKED_WRONGLY:
            return None
        words = refused.param if refused.param in sent else f"{refused.param} {refused.words}"
        for changed in (self._limited(refused.words, words, sent), self._shorter(words, sent)):
            if changed is not None:
                return changed
        if "response_format" in sent and _ABOUT_FORM.search(words):
            return replace(self, form=_NEXT_FORM[self.form])
        if self.stream and re.search(r"\bstream(?:ing|ed)?\b", words, re.I):
            return replace(self, stream=False)
        return None

    def guessed(self, refused: Refused, *, sent: Body) -> Ways | None:
        """What may help, once, where the server does not say what it `refused`: another form of reply."""
        if "response_format" in sent and refused.status in (400, 422) and _VAGUE.fullmatch(refused.words):
            return replace(self, form=_NEXT_FORM[self.form])
        return None

    def _limited(self, said: str, words: str, sent: Body) -> Ways | None:
        """With another limit of tokens, where `words` are about that."""
        if self.limit not in sent:
            return None
        if found := _CEILING.search(said):
            ceiling = int(found[1] or found[2])
            return replace(self, ceiling=ceiling) if ceiling and ceiling != self.ceiling else None
        if not re.search(rf"\b{self.limit}\b", words):
            return None
        other: Literal["max_tokens", "max_completion_tokens"]
        other = "max_completion_tokens" if self.limit == "max_tokens" else "max_tokens"
        return replace(self, limit=other)

    def _shorter(self, words: str, sent: Body) -> Ways | None:
        """Without the one of the other parameters that `words` name."""
        if "temperature" in sent and self.temperature and re.search(r"\btemperature\b", words):
            return replace(self, temperature=False)
        if "stream_options" in sent and re.search(r"\bstream_options\b|\binclude_usage\b", words):
            return replace(self, stream_usage=False)
        if re.search(r"\breasoning_effort\b|\bchat_template_kwargs\b|\benable_thinking\b|\bthinking\b", words) and (
            sent.keys() & {"reasoning_effort", "chat_template_kwargs", "thinking"}
        ):
            return replace(self, thinking=self.thinking + 1)
        return None

    def written(self) -> str:
        return json.dumps(asdict(self))


def sent_tokens(body: Body) -> int:
    """The tokens of the messages that are sent, as we count them."""
    messages = body["messages"]
    assert isinstance(messages, list)
    return sum(count_tokens(message["content"]) for message in messages)


def read_ways(text: str) -> Ways | None:
    """What `Ways.written` wrote; None for anything else."""
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    usual = asdict(Ways())
    if not isinstance(fields, dict) or fields.keys() != usual.keys():
        return None
    if any(type(fields[name]) is not type(value) for name, value in usual.items()):
        return None
    return Ways(**fields)


def wishes(llm: Llm, *, host: str) -> tuple[Body, ...]:
    """The ways to say how much the model is to think, from the best one to the last: not to say it."""
    deepseek, openai = is_of(host, "deepseek.com"), is_of(host, "openai.com")
    match llm.thinking:
        case "auto":
            return ({},)
        case "off" if openai:
            return ({"reasoning_effort": "none"}, {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}, {})
        case "on" if openai:
            return ({},)
        case "off" | "on" if deepseek:
            return ({"thinking": {"type": "enabled" if llm.thinking == "on" else "disabled"}}, {})
        case "off" | "on":
            return ({"chat_template_kwargs": {"enable_thinking": llm.thinking == "on"}}, {})
        case effort:
            return ({"reasoning_effort": effort}, {})


def is_of(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
