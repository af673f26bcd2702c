"""Speaks two protocols of language-model servers, to the byte: Ollama's (NDJSON), and OpenAI's (server-sent events).

Facts from their sources: Ollama cuts a prompt that is longer than num_ctx without a word: the system message and the
end of the prompt stay, `prompt_eval_count` is num_ctx / 2 + 2 (or, in older ones, num_ctx), and the status is 200.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from model_faults import Fault, Said

if TYPE_CHECKING:
    from model_server import Asked, ModelServer

Json = dict[str, Any]

DEFAULT_MODEL: Final = "llama3.2:latest"
DIGEST: Final = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72"
WHEN: Final = "2025-06-01T12:00:00.123456789Z"


class Refused(NamedTuple):
    """An answer that is an error: HTTP's status, the body, headers."""

    status: int
    body: Json
    headers: dict[str, str]


class Wire(Protocol):
    """How one protocol asks and answers. `read` are the tokens of the prompt that the model got to see."""

    @property
    def name(self) -> Literal["ollama", "openai"]: ...

    @property
    def chat_path(self) -> str: ...

    @property
    def stream_type(self) -> str: ...

    def get(self, path: str) -> tuple[int, Json]: ...

    def post(self, path: str, body: Json) -> tuple[int, Json]: ...

    def schema(self, body: Json) -> Json | None: ...

    def streams(self, body: Json) -> bool: ...

    def most(self, body: Json) -> int | None: ...

    def refused(self, asked: Asked, fault: Fault | None) -> Refused | None: ...

    def read(self, asked: Asked) -> int: ...

    def whole(self, asked: Asked, said: Said, *, read: int, fault: Fault | None) -> Json: ...

    def pieces(self, asked: Asked, said: Said, *, read: int, fault: Fault | None) -> Iterator[str]:
        """What is sent piece by piece, each with its line ends; the last one says that it was the last."""
        ...


class OllamaWire:
    name: Final = "ollama"
    chat_path: Final = "/api/chat"
    stream_type: Final = "application/x-ndjson"

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def get(self, path: str) -> tuple[int, Json]:
        if path == "/api/version":
            return 200, {"version": "0.12.3"}
        if path == "/api/tags":
            names = [DEFAULT_MODEL] if self._server.models is None else self._server.models
            details = self._details()
            return 200, {
                "models": [
                    {"name": name, "model": name, "modified_at": WHEN, "size": 2019393189, "digest": DIGEST}
                    | {"details": details}
                    for name in names
                ]
            }
        return 404, {"error": "404 page not found"}

    def post(self, path: str, body: Json) -> tuple[int, Json]:
        if path != "/api/show":
            return 404, {"error": "404 page not found"}
        name = body.get("model", "")
        if not self._pulled(name):
            return 404, {"error": f"model '{name}' not found"}
        capabilities = ["completion", "tools", *(["thinking"] if self._server.thinks else [])]
        return 200, {
            "modelfile": "# Modelfile",
            "parameters": 'stop "<|eot_id|>"',
            "template": "{{ .Prompt }}",
            "details": self._details(),
            "model_info": {
                "general.architecture": "llama",
                "general.parameter_count": 3212749888,
                "llama.block_count": 28,
                "llama.context_length": self._server.context,
                "llama.embedding_length": 3072,
            },
            "capabilities": capabilities,
            "modified_at": WHEN,
        }

    def schema(self, body: Json) -> Json | None:
        form = body.get("format")
        return form if isinstance(form, dict) else None

    def streams(self, body: Json) -> bool:
        return bool(body.get("stream", True))

    def most(self, body: Json) -> int | None:
        most = body.get("options", {}).get("num_predict")
        return most if isinstance(most, int) and most > 0 else None

    def refused(self, asked: Asked, fault: Fault | None) -> Refused | None:
        model = str(asked.body.get("model", ""))
        name = fault.name if fault else None
        if name == "404-model" or not self._pulled(model):
            return Refused(404, {"error": f'model "{model}" not found, try pulling it first'}, {})
        if asked.body.get("think") and not self._server.thinks:
            return Refused(400, {"error": f'"{model}" does not support thinking'}, {})
        texts: dict[str, tuple[int, str]] = {
            "400": (400, "invalid options: num_ctx"),
            "401": (401, "unauthorized"),
            "402": (402, "payment required"),
            "429": (429, "too many concurrent requests"),
            "quota": (429, "you've reached your hourly usage limit, please upgrade to continue"),
            "500": (500, "llama runner process has terminated: exit status 2"),
            "503": (503, "server busy, please try again.  maximum pending requests exceeded"),
            "overflow": (
                400,
                f"request ({self._sent(asked)} tokens) exceeds the available context size"
                f" ({self._window(asked)} tokens), try increasing it",
            ),
        }
        if name not in texts or fault is None:
            return None
        status, text = texts[name]
        return Refused(status, {"error": text}, retry_headers(self._server, fault))

    def read(self, asked: Asked) -> int:
        sent, window = self._sent(asked), self._window(asked)
        if sent <= window:
            return sent
        kept = window if self._server.older else window // 2 + 2
        left = int(kept * self._server.characters_a_token) - len(asked.prefix)
        asked.prompt = asked.prompt[-max(1, left) :]
        return kept

    def whole(self, asked: Asked, said: Said, *, read: int, fault: Fault | None) -> Json:
        message: Json = {"role": "assistant", "content": said.text}
        if self._thinking(asked):
            message["thinking"] = "Let me see."
        return self._head(asked) | {"message": message} | self._end(said, read=read, fault=fault)

    def pieces(self, asked: Asked, said: Said, *, read: int, fault: Fault | None) -> Iterator[str]:
        head = self._head(asked)
        if self._thinking(asked):
            thought = {"role": "assistant", "content": "", "thinking": "Let me see."}
            yield _line(head | {"message": thought, "done": False})
        for piece in parts(said.text):
            yield _line(head | {"message": {"role": "assistant", "content": piece}, "done": False})
        if fault is not None and fault.name == "error-mid-stream":
            yield _line({"error": "an error was encountered while running the model: unexpected EOF"})
            return
        last = {"message": {"role": "assistant", "content": ""}}
        yield _line(head | last | self._end(said, read=read, fault=fault))

    def _head(self, asked: Asked) -> Json:
        return {"model": asked.body.get("model"), "created_at": WHEN}

    def _end(self, said: Said, *, read: int, fault: Fault | None) -> Json:
        end: Json = {"done_reason": "stop" if said.whole else "length", "done": True}
        end |= {"total_duration": 5191566416, "load_duration": 2154458}
        if fault is None or fault.name != "no-usage":
            end |= {"prompt_eval_count": read, "prompt_eval_duration": 383809000}
        return end | {"eval_count": self._server.tokens(said.text), "eval_duration": 4799921000}

    def _thinking(self, asked: Asked) -> bool:
        return self._server.thinks and asked.body.get("think") is not False

    def _sent(self, asked: Asked) -> int:
        return self._server.tokens(asked.prefix + asked.prompt)

    def _window(self, asked: Asked) -> int:
        return min(int(asked.options.get("num_ctx", 4096)), self._server.context)

    def _pulled(self, name: str) -> bool:
        return self._server.models is None or bool({name, f"{name}:latest"} & set(self._server.models))

    def _details(self) -> Json:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        }


class OpenAiWire:
    name: Final = "openai"
    chat_path: Final = "/v1/chat/completions"
    stream_type: Final = "text/event-stream"

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def get(self, path: str) -> tuple[int, Json]:
        if path != "/v1/models":
            return 404, {"error": {"message": f"Unknown request URL: GET {path}", "type": "invalid_request_error"}}
        names = ["gpt-4o-mini"] if self._server.models is None else self._server.models
        length = {"max_model_len": self._server.context} if self._server.tells_context else {}
        data = [{"id": name, "object": "model", "created": 1721172741, "owned_by": "system"} | length for name in names]
        return 200, {"object": "list", "data": data}

    def post(self, path: str, body: Json) -> tuple[int, Json]:
        return 404, {"error": {"message": f"Unknown request URL: POST {path}", "type": "invalid_request_error"}}

    def schema(self, body: Json) -> Json | None:
        form = body.get("response_format") or {}
        schema: Json | None = form.get("json_schema", {}).get("schema")
        return schema

    def streams(self, body: Json) -> bool:
        return bool(body.get("stream", False))

    def most(self, body: Json) -> int | None:
        most: int | None = body.get("max_completion_tokens") or body.get("max_tokens")
        return most

    def refused(self, asked: Asked, fault: Fault | None) -> Refused | None:
        named = self._named(asked, fault)
        if named is not None:
            return named
        sent, limit = self._sent(asked), self._server.context
        if sent + (self.most(asked.body) or 0) > limit or (fault is not None and fault.name == "overflow"):
            text = (
                f"This model's maximum context length is {limit} tokens. However, your messages resulted in {sent}"
                " tokens. Please reduce the length of the messages."
            )
            return self._error(400, text, code="context_length_exceeded", param="messages")
        form = (asked.body.get("response_format") or {}).get("type", "text")
        if form not in self._server.structured:
            text = f"Invalid parameter: 'response_format' of type '{form}' is not supported with this model."
            return self._error(400, text, param="response_format")
        return None

    def _named(self, asked: Asked, fault: Fault | None) -> Refused | None:
        name, model = fault.name if fault else None, str(asked.body.get("model", ""))
        if name == "401" or not self.lets_in(asked.headers):
            key = asked.headers.get("authorization", "").removeprefix("Bearer ")
            shown = f"{key[:8]}{'*' * max(0, len(key) - 12)}{key[-4:]}"
            text = (
                f"Incorrect API key provided: {shown}. You can find your API key at"
                " https://platform.openai.com/account/api-keys."
            )
            return self._error(401, text, code="invalid_api_key")
        if name == "404-model" or (self._server.models is not None and model not in self._server.models):
            text = f"The model `{model}` does not exist or you do not have access to it."
            return self._error(404, text, code="model_not_found")
        match name:
            case "400":
                return self._error(400, "Unrecognized request argument supplied: options")
            case "402":
                return self._error(402, "Insufficient Balance", kind="unknown_error", code="invalid_request_error")
            case "429":
                text = (
                    f"Rate limit reached for {model} in organization org-x on requests per min (RPM):"
                    " Limit 3, Used 3, Requested 1."
                )
                found = self._error(429, text, kind="requests", code="rate_limit_exceeded")
            case "quota":
                text = "You exceeded your current quota, please check your plan and billing details."
                return self._error(429, text, kind="insufficient_quota", code="insufficient_quota")
            case "500":
                text = "The server had an error while processing your request. Sorry about that!"
                found = self._error(500, text, kind="server_error")
            case "503":
                text = "The engine is currently overloaded, please try again later."
                found = self._error(503, text, kind="server_error")
            case _:
                return None
        assert fault is not None
        return found._replace(headers=retry_headers(self._server, fault))

    def lets_in(self, headers: dict[str, str]) -> bool:
        return self._server.key is None or headers.get("authorization") == f"Bearer {self._server.key}"

    def read(self, asked: Asked) -> int:
        return self._sent(asked)

    def whole(self, asked: Asked, said: Said, *, read: int, fault: Fault | None) -> Json:
        message: Json = {"role": "assistant", "content": said.text, "refusal": None}
        if fault is not None and fault.name == "refusal" and asked.schema is not None:
            message |= {"content": None, "refusal": said.text}  # so OpenAI does with a strict schema
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
        usage = {} if fault is not None and fault.name == "no-usage" else {"usage": self._usage(said, read=read)}
        return self._head(asked, kind="chat.completion") | {"choices": [choice]} | usage

    def pieces(self, asked: Asked, said: Said, *, read: int, fault: Fault | None) -> Iterator[str]:
        head = self._head(asked, kind="chat.completion.chunk")
        wants_usage = (asked.body.get("stream_options") or {}).get("include_usage")
        wants_usage = wants_usage and (fault is None or fault.name != "no-usage")
        no_usage = {"usage": None} if wants_usage else {}
        field = "refusal" if fault is not None and fault.name == "refusal" and asked.schema is not None else "content"
        deltas: list[Json] = [{"role": "assistant", "content": ""}, *({field: piece} for piece in parts(said.text))]
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
            yield _event(head | {"choices": [choice]} | no_usage)
        if fault is not None and fault.name == "error-mid-stream":
            yield _event({"error": {"message": "The server had an error.", "type": "server_error", "code": None}})
            return
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish(said)}
        yield _event(head | {"choices": [choice]} | no_usage)
        if wants_usage:
            yield _event(head | {"choices": [], "usage": self._usage(said, read=read)})
        yield "data: [DONE]\n\n"

    def _head(self, asked: Asked, *, kind: str) -> Json:
        model = asked.body.get("model")
        return {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": model}

    def _usage(self, said: Said, *, read: int) -> Json:
        replied = self._server.tokens(said.text)
        usage: Json = {"prompt_tokens": read, "completion_tokens": replied, "total_tokens": read + replied}
        if self._server.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": min(read, self._server.cached_tokens), "audio_tokens": 0}
        return usage

    def _sent(self, asked: Asked) -> int:
        return self._server.tokens(asked.prefix + asked.prompt)

    def _error(
        self,
        status: int,
        text: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> Refused:
        return Refused(status, {"error": {"message": text, "type": kind, "param": param, "code": code}}, {})


def retry_headers(server: ModelServer, fault: Fault) -> dict[str, str]:
    """The headers of a refusal: where it is a 429, or says so itself, when to come again."""
    after = fault.retry_after if fault.retry_after is not None or fault.name != "429" else server.retry_after
    return {**({} if after is None else {"retry-after": after}), **fault.headers}


def parts(text: str) -> Iterator[str]:
    """A reply in the pieces it is streamed in: some sixty, of four characters at least."""
    size = max(4, len(text) // 60)
    for begin in range(0, len(text), size):
        yield text[begin : begin + size]


def _finish(said: Said) -> str:
    return "stop" if said.whole else "length"


def _line(row: Json) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _event(row: Json) -> str:
    return f"data: {json.dumps(row, ensure_ascii=False)}\n\n"
