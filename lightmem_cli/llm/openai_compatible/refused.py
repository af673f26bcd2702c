"""Reads why a server says nothing of a conversation: in the words of OpenAI, DeepSeek, vLLM, llama.cpp, LM Studio."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lightmem_cli.llm.patience import Reached, TryFailed, without_key

if TYPE_CHECKING:
    from openai import APIError

_TOO_LONG: Final = re.compile(
    r"context.?length.?exceeded|exceed_context_size|context (?:length|size|window|shift)|maximum model length|"
    r"prompt is too (?:long|big|large)|input is too (?:long|large)|too many (?:input )?tokens|"
    r"reduce the length of|input token count|inputs? tokens.{0,60}must be <=|string_above_max_length|"
    r"exceeds? the (?:available|model'?s?|maximum) context|longer than the (?:maximum )?(?:model|context)|"
    r"maximum context|token limit exceeded|trying to keep the first \d+ tokens",
    re.IGNORECASE,
)
# A model that is busy, or "not available right now", is there. "Not loaded" is llama.cpp's word for one that is not.
_NO_MODEL: Final = re.compile(
    r"model_not_found|\bmodels?\b.{0,120}(?:not found|does ?n[o']t exist|not exist)|\bmodel is not loaded\b|"
    r"no models? (?:is |are )?(?:loaded|found)|unknown model|failed to load model",
    re.IGNORECASE | re.DOTALL,
)
# "Billing" alone says nothing: OpenAI tells of it wherever a minute's limit is reached.
_NO_MONEY: Final = re.compile(r"insufficient[ _](?:quota|balance|credits?|funds)", re.IGNORECASE)
_NEVER: Final = re.compile(r"request too large", re.IGNORECASE)  # for a minute's limit: it will not fit the next one
_ASKED_HEADERS: Final = ("retry-after", "x-ratelimit-")
_CONNECTING: Final = ("ConnectError", "ConnectTimeout")


@dataclass(frozen=True, slots=True)
class Refused:
    """What a server said instead of an answer, without the key; `headers` are those that say when to come again."""

    words: str
    reached: Reached = "answer"
    status: int | None = None
    code: str = ""
    param: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return f"{self.code} {self.words}"

    @property
    def is_too_long(self) -> bool:
        """Whether the prompt, or what a reply may have besides, is more than the model or the account takes at once."""
        if self.status == 429:
            return _NEVER.search(self.said) is not None
        return self.status == 413 or (self.status in (None, 400, 422, 500) and _TOO_LONG.search(self.said) is not None)

    @property
    def is_no_model(self) -> bool:
        return self.status in (400, 404, 422) and _NO_MODEL.search(self.said) is not None

    @property
    def is_no_such_page(self) -> bool:
        """Whether there is a server, but nothing where a chat should be."""
        return self.status in (404, 405) and not self.is_no_model

    @property
    def is_bad_json(self) -> bool:
        """Whether it was the reply that was bad: Groq checks replies itself."""
        return self.code.startswith("json_validate_failed")

    @property
    def is_money(self) -> bool:
        return self.status in (402, 429) and _NO_MONEY.search(self.said) is not None

    def as_try(self, *, told: bool) -> TryFailed:
        """A try that failed so; an error behind pieces of the reply comes without a status, and breaks it off."""
        return TryFailed(
            self.words,
            reached="broken" if self.status is None and self.reached == "answer" else self.reached,
            status=self.status,
            headers=self.headers,
            told=told,
            money=self.is_money,
        )


def read_refusal(error: APIError, *, key: str) -> Refused:
    """What `error` says. The error itself holds the request, and so the key: nothing is to be raised from it."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APIConnectionError):
        why = error.__cause__
        reached: Reached = "broken"
        if type(why).__name__ in _CONNECTING:
            reached = "nobody"
        elif isinstance(error, APITimeoutError):
            reached = "silence"
        return Refused(without_key(str(why or error) or type(why).__name__, key=key), reached)
    status, headers = None, {}
    code = str(error.code or "")  # llama.cpp's is a number, which openai 2 hands on as it is
    if re.fullmatch("[45][0-9]{2}", code):  # OpenRouter's, in the middle of a stream
        status = int(code)
    if isinstance(error, APIStatusError):
        status = error.status_code
        headers = {name: value for name, value in error.response.headers.items() if name.startswith(_ASKED_HEADERS)}
    words = without_key(_words(error.body) or (f"HTTP {status}" if status else error.message), key=key)
    said = f"{code} {error.type or ''}".strip()
    return Refused(words, "answer", status, code=said, param=str(error.param or ""), headers=headers)


def read_error(body: object, *, key: str) -> Refused | None:
    """The error in a body that came as if all was well; None where it has none."""
    if not isinstance(body, Mapping) or not body.get("error") or body.get("choices"):
        return None
    error = body["error"]
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    return Refused(without_key(_words(body) or "an error", key=key), "answer", status, code=str(code or ""))


def _words(body: object) -> str:
    """What the body of an error says to a person: {"message"}, FastAPI's {"detail"}, a text. "" where nothing."""
    words = ""
    match body:
        case {"message": str(words)} | {"error": str(words) | {"message": str(words)}} | {"detail": str(words)}:
            pass
        case {"detail": [*problems]}:
            words = "; ".join(_words(problem) for problem in problems)
        case {"msg": str(words), "loc": [*path]}:
            words = f"{'.'.join(map(str, path))}: {words}"
        case str(words) if words.lstrip().startswith("<"):
            words = "a web page instead of an answer"
        case str(words):
            pass
    return words.strip()
