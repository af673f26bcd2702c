"""OpenAI's wire through the real client: its dialects, what fails and how, what it costs, a key nobody ever sees."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from memories import opened
from model_faults import Fault
from model_server import ModelServer

from lightmem_cli.engine.extraction.batches import how_to_ask
from lightmem_cli.errors import (
    BadReply,
    ExitCode,
    LightmemError,
    MissingPart,
    ModelError,
    ProfileError,
    Rejected,
    TooLong,
    Unavailable,
)
from lightmem_cli.extract.llm import schema_of
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm import open_language_model
from lightmem_cli.llm.json_replies import read_object
from lightmem_cli.llm.openai_compatible import OpenAiModel
from lightmem_cli.llm.openai_compatible.ways import Ways, read_ways
from lightmem_cli.llm.patience import Patience, without_key
from lightmem_cli.llm.refusals import refuses
from lightmem_cli.profiles.settings import Llm, Settings
from lightmem_cli.protocols import Prompt
from lightmem_cli.summarize import llm as summaries
from lightmem_cli.update import correct

KEY = "sk-proj-Abcd1234efGH5678ijKL9012mnOPwxyz"
PROMPT = Prompt("Write down the facts.", "<talk>\n1 Anna: I live in Oslo.\n2 Ben: Me too.\n</talk>")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "facts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "of": {"type": "array", "items": {"type": "integer"}},
                    "text": {"type": "string"},
                },
                "required": ["of", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["facts"],
    "additionalProperties": False,
}
FACTS = {"facts": [{"of": [1], "text": "Anna said: I live in Oslo."}, {"of": [2], "text": "Ben said: Me too."}]}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_LOG", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


class Kept(dict[str, str]):
    """What is remembered of servers, in this test."""

    def remembered(self, key: str) -> str | None:
        return self.get(key)

    def remember(self, key: str, value: str) -> None:
        self[key] = value


def model(
    url: str,
    *,
    said: list[str] | None = None,
    remembered: Kept | None = None,
    slept: list[float] | None = None,
    **llm: Any,
) -> OpenAiModel:
    """A model whose waits between tries take no time."""
    said = [] if said is None else said
    settings = Llm(**{"use": "openai", "model": "gpt-test", "base_url": url, "retries": 2, **llm})
    patience = Patience(
        "the server",
        retries=settings.retries,
        hint="start it",
        notice=said.append,
        sleep=(slept if slept is not None else []).append,
        clock=time.monotonic if slept is None else lambda: sum(slept),
    )
    return OpenAiModel(settings, notice=said.append, remembered=remembered, patience=patience)


def refused(error: type[LightmemError], act: Callable[[], object]) -> LightmemError:
    with pytest.raises(error) as found:
        act()
    assert type(found.value) is error
    assert "\n" not in found.value.message
    return found.value


# What is sent, and what comes back


def test_a_reply_with_what_it_cost(server: ModelServer) -> None:
    server.cached_tokens = 5
    asking = model(server.openai_url)
    reply = asking.complete(PROMPT, most=200, schema=SCHEMA)
    assert json.loads(reply.text) == FACTS
    assert reply.whole and reply.seconds > 0
    sent = server.calls[0]
    assert (sent.prefix, sent.prompt) == PROMPT
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.body["temperature"] == 0
    assert sent.body["max_tokens"] == 200
    assert sent.body["response_format"]["json_schema"]["strict"] is True
    assert reply.usage.calls == 1
    assert reply.usage.prompt_tokens == server.tokens(PROMPT.prefix + PROMPT.body)
    assert reply.usage.completion_tokens == server.tokens(reply.text)
    assert reply.usage.cached_tokens == 5
    assert asking.name == "openai/gpt-test"


def test_the_pieces_are_told_while_they_come(server: ModelServer) -> None:
    pieces: list[str] = []
    reply = model(server.openai_url).complete(PROMPT, most=200, tell=pieces.append)
    assert len(pieces) > 5
    assert "".join(pieces) == reply.text
    assert "response_format" not in server.calls[0].body


def test_options_go_along_as_they_are_and_are_part_of_the_manner(server: ModelServer) -> None:
    one = model(server.openai_url, options={"seed": 7, "top_k": 3}, temperature=0.5)
    one.complete(PROMPT, most=10)
    assert (server.calls[0].body["seed"], server.calls[0].body["top_k"]) == (7, 3)
    others = [
        model(server.openai_url),
        model(server.openai_url, thinking="off"),
        model(server.openai_url, temperature=1),
    ]
    assert len({one.manner, *(other.manner for other in others)}) == 4
    assert model("http://127.0.0.1:1/v1").manner != others[0].manner  # another server, another reply
    assert model(f"{server.openai_url}/").manner == others[0].manner


def test_usage_that_is_not_told_is_counted(server: ModelServer) -> None:
    server.faults.append("no-usage")
    usage = model(server.openai_url).complete(PROMPT, most=200, schema=SCHEMA).usage
    assert usage.prompt_tokens == sum(-(-len(text) // 4) for text in PROMPT)
    assert usage.completion_tokens == -(-len(json.dumps(FACTS)) // 4)


def test_a_reply_that_was_cut_off_is_not_whole(server: ModelServer) -> None:
    reply = model(server.openai_url).complete(PROMPT, most=5, schema=SCHEMA)
    assert not reply.whole
    assert reply.usage.completion_tokens == 5


def test_a_refusal_is_a_reply_that_the_check_refuses(server: ModelServer) -> None:
    server.faults.extend(["refusal", "refusal"])
    asking = model(server.openai_url)
    reply = asking.complete(PROMPT, most=200, schema=SCHEMA)
    assert refuses(reply.text) and reply.whole
    assert "refusal" in refused(BadReply, lambda: read_object(reply.text, like=SCHEMA)).message
    told: list[str] = []
    assert asking.complete(PROMPT, most=200, schema=SCHEMA, tell=told.append).text == "".join(told)


def strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes `schema`: no word but these, all keys required, no others allowed."""
    words = {"type", "properties", "required", "additionalProperties", "items", "enum"}
    within = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    if schema["type"] == "object" and (
        schema["required"] != list(schema["properties"]) or schema["additionalProperties"] is not False
    ):
        return False
    return schema.keys() <= words and all(map(strict, within))


@pytest.mark.parametrize("mode", ["flat", "event"])
@pytest.mark.parametrize("threshold", [0, 0.5])
@pytest.mark.parametrize("more", [True, False])
def test_what_we_ask_for_is_strict_as_it_is(mode: Any, threshold: float, more: bool) -> None:
    settings = Settings.model_validate(
        {"extract": {"mode": mode, "threshold": threshold, "metadata": more, "summary": more}}
    )
    for schema in (schema_of([[]], how_to_ask(settings)), correct.SCHEMA, summaries.SCHEMA):
        assert strict(schema)


def test_the_schema_is_sent_as_it_is(server: ModelServer) -> None:
    model(server.openai_url).complete(PROMPT, most=200, schema=SCHEMA)
    assert server.calls[0].schema == SCHEMA


# Dialects: a server that answers as a test says


class Spoken:
    """A server whose answers a test writes: `answer(body)` is a status with JSON, a whole reply, or raw bytes."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any], *, models: Any = None) -> None:
        self.answer = answer
        self.models = models
        self.missing = 0  # bytes of each answer that are never sent
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []


def streamed(text: str, *, finish: str = "stop", **delta: Any) -> bytes:
    """A stream with `text`."""
    events = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", **delta}}]},
        *({"choices": [{"index": 0, "delta": {"content": character}}]} for character in text),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": {"prompt_tokens": 9}},
    ]
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


@contextlib.contextmanager
def speaking(answer: Callable[[dict[str, Any]], Any], *, models: Any = None) -> Iterator[tuple[Spoken, str]]:
    spoken = Spoken(answer, models=models)

    class Connection(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

        def do_GET(self) -> None:
            self._send(404 if spoken.models is None else 200, json.dumps(spoken.models).encode(), "application/json")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            spoken.bodies.append(body)
            spoken.headers.append({name.lower(): value for name, value in self.headers.items()})
            said = spoken.answer(body)
            if isinstance(said, bytes):
                kind = "text/html" if said.startswith(b"<") else "text/event-stream"
                self._send(200, said, "application/json" if said.startswith(b"{") else kind)
            else:
                status, words = said
                self._send(status, json.dumps(words).encode(), "application/json")

        def _send(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content) + spoken.missing))
            self.end_headers()
            self.wfile.write(content)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
    Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield spoken, f"http://127.0.0.1:{listening.server_address[1]}/v1"
    finally:
        listening.shutdown()
        listening.server_close()


def openai_error(text: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None, **more}}


REFUSED_FORMS = {
    "OpenAI": (
        400,
        openai_error(
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            param="response_format",
        ),
    ),
    "OpenAI's schema": (
        400,
        openai_error("Invalid schema for response_format 'reply': In context=(), ...", param="response_format"),
    ),
    "DeepSeek": (400, openai_error("This response_format type is unavailable now")),
    "vLLM": (
        400,
        {"object": "error", "message": "The provided JSON schema contains features not supported by xgrammar."},
    ),
    "llama.cpp": (400, {"error": {"code": 400, "message": "Failed to parse grammar", "type": "invalid_request_error"}}),
    "llama.cpp, older": (400, openai_error('response_format type must be one of "text" or "json_object"')),
    "LM Studio": (400, {"error": "'response_format.type' must be 'json_object' or 'text'"}),
    "FastAPI": (
        422,
        {"detail": [{"loc": ["body", "response_format", "type"], "msg": "unexpected value", "type": "value_error"}]},
    ),
    "TGI": (422, {"error": "Failed to deserialize: unknown variant `json_schema`, expected `json_object`"}),
    "Groq": (400, openai_error("This model does not support response format `json_schema`.")),
}


@pytest.mark.parametrize("server_name", REFUSED_FORMS)
def test_who_takes_no_schema_is_shown_it_in_the_prompt(server_name: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        form = body.get("response_format", {}).get("type")
        return REFUSED_FORMS[server_name] if form == "json_schema" else streamed(json.dumps(FACTS))

    with speaking(answer) as (spoken, url):
        asking = model(url)
        for _ in range(3):
            assert json.loads(asking.complete(PROMPT, most=200, schema=SCHEMA).text) == FACTS
    forms = [body.get("response_format", {}).get("type") for body in spoken.bodies]
    assert forms == ["json_schema", "json_object", "json_object", "json_object"]
    systems = [body["messages"][0]["content"] for body in spoken.bodies]
    assert systems[0] == PROMPT.prefix
    assert systems[1].startswith(PROMPT.prefix) and json.dumps(SCHEMA) in systems[1]
    assert "json" in systems[1].lower()  # without that word OpenAI and DeepSeek refuse the form
    assert systems[1] == systems[2] == systems[3]


def test_who_takes_no_form_at_all_is_asked_in_words(server: ModelServer) -> None:
    server.structured = {"text"}
    asking = model(server.openai_url)
    for _ in range(2):
        assert json.loads(asking.complete(PROMPT, most=200, schema=SCHEMA).text) == FACTS
    forms = [call.body.get("response_format", {}).get("type") for call in server.calls]
    assert forms == ["json_schema", "json_object", None, None]
    assert json.dumps(SCHEMA) in server.calls[-1].prefix


def test_a_thread_that_comes_first_learns_for_all(server: ModelServer) -> None:
    server.structured = {"json_object", "text"}
    asking = model(server.openai_url)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: asking.complete(PROMPT, most=200, schema=SCHEMA), range(40)))
    assert all(json.loads(reply.text) == FACTS for reply in replies)
    assert len(server.calls) - 40 <= 2


def test_threads_do_not_wait_long_for_the_first(server: ModelServer) -> None:
    server.delay = 1.0
    asking = model(server.openai_url)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: asking.complete(PROMPT, most=9), range(4)))
    assert server.most_at_once == 4


def test_what_works_is_remembered_for_the_next_process(server: ModelServer) -> None:
    server.structured = {"json_object", "text"}
    kept = Kept()
    for _ in range(3):
        asking = model(server.openai_url, remembered=kept)
        asking.complete(PROMPT, most=200, schema=SCHEMA)
        asking.close()
    assert len(server.calls) == 4
    other = model(server.openai_url, remembered=kept, model="another")
    other.complete(PROMPT, most=200, schema=SCHEMA)
    assert len(server.calls) == 6
    assert KEY not in str(kept)


def test_what_was_remembered_long_ago_or_cannot_be_read_is_found_out_anew(server: ModelServer) -> None:
    kept = Kept()
    asking = model(server.openai_url, remembered=kept)
    asking.complete(PROMPT, most=200, schema=SCHEMA)
    asking.close()
    ((key, noted),) = kept.items()
    day, _, written = noted.partition(" ")
    words_alone = replace(Ways(), form="text").written()
    for note, form in (
        (f"{day} {words_alone}", None),
        (f"{int(day) - 31} {words_alone}", "json_schema"),
        (f"{int(day) + 2} {words_alone}", "json_schema"),
        (f"{day} {words_alone[:-3]}", "json_schema"),
        (f"{day} {words_alone.replace('true', '1', 1)}", "json_schema"),
        ("", "json_schema"),
    ):
        kept[key] = note
        model(server.openai_url, remembered=kept).complete(PROMPT, most=200, schema=SCHEMA)
        assert server.calls[-1].body.get("response_format", {}).get("type") == form
    assert read_ways(written) == Ways()


def test_a_remembered_way_that_fails_now_is_given_up(server: ModelServer) -> None:
    kept = Kept()
    first = model(server.openai_url, remembered=kept)
    first.complete(PROMPT, most=200, schema=SCHEMA)
    first.close()
    server.structured = {"text"}
    later = model(server.openai_url, remembered=kept)
    later.complete(PROMPT, most=200, schema=SCHEMA)
    later.close()
    assert '"form": "text"' in str(kept)


def test_a_profile_remembers(server: ModelServer, tmp_path: Path) -> None:
    server.structured = {"json_object", "text"}
    for _ in range(3):
        with opened(tmp_path, llm={"use": "openai", "model": "m", "base_url": server.openai_url}) as memory:
            memory.model.complete(PROMPT, most=200, schema=SCHEMA)
    assert len(server.calls) == 4
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    ("words", "before", "after"),
    [
        (
            openai_error(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
                " instead.",
                param="max_tokens",
                code="unsupported_parameter",
            ),
            {"max_tokens": 50},
            {"max_completion_tokens": 50},
        ),
        (
            openai_error(
                "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is"
                " supported.",
                param="temperature",
                code="unsupported_value",
            ),
            {"temperature": 0},
            {},
        ),
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]},
            {"stream_options": {"include_usage": True}},
            {},
        ),
        (
            openai_error("max_tokens is too large: 50. This model supports at most 20 completion tokens."),
            {"max_tokens": 50},
            {"max_tokens": 20},
        ),
        (
            openai_error("Invalid max_tokens value, the valid range of max_tokens is [1, 30]"),
            {"max_tokens": 50},
            {"max_tokens": 30},
        ),
    ],
)
def test_a_parameter_that_is_refused_is_left_out_or_renamed(
    words: object, before: dict[str, Any], after: dict[str, Any]
) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return (400, words) if before.items() <= body.items() else streamed("four")

    with speaking(answer) as (spoken, url):
        asking = model(url)
        assert [asking.complete(PROMPT, most=50).text for _ in range(2)] == ["four", "four"]
    first, *others = spoken.bodies
    rest = {name: value for name, value in first.items() if name not in before}
    assert others == [rest | after] * 2


def test_a_newer_openai_model_that_refuses_one_thing_after_the_other() -> None:
    def answer(body: dict[str, Any]) -> Any:
        for name in ("max_tokens", "max_completion_tokens", "temperature", "stream_options"):
            if name in body:
                return 400, openai_error(f"Unrecognized request argument supplied: {name}")
        if body.get("stream"):
            return 400, openai_error("Your organization must be verified to stream this model.", param="stream")
        return json.dumps(whole("four")).encode()

    with speaking(answer) as (spoken, url):
        asking = model(url)
        assert [asking.complete(PROMPT, most=50).text for _ in range(3)] == ["four"] * 3
    assert len(spoken.bodies) == 8
    assert spoken.bodies[-1].keys() == {"model", "messages", "stream"}


def whole(text: str | None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}


def test_who_streams_nothing_is_heard_all_the_same() -> None:
    told: list[str] = []
    with speaking(lambda body: json.dumps(whole("four")).encode()) as (spoken, url):
        asking = model(url)
        assert [asking.complete(PROMPT, most=50, tell=told.append).text for _ in range(2)] == ["four", "four"]
    assert told == ["four", "four"]
    assert [body["stream"] for body in spoken.bodies] == [True, True]  # it was paid, and is taken


def test_what_comes_at_once_may_be_cut_too() -> None:
    with speaking(lambda body: json.dumps(whole("four")).encode()) as (spoken, url):
        spoken.missing = 9
        error = refused(ModelError, lambda: model(url).complete(PROMPT, most=50))
    assert "broke off" in error.message
    assert KEY not in everything(error)
    assert len(spoken.bodies) == 3


# What is learned, and what is not


PASSING = {
    "a 500 with the word": (500, openai_error("upstream stream error: response_format, max_tokens, temperature")),
    "a 503 with the word": (503, openai_error("The streaming backend is restarting")),
    "an error at once": json.dumps({"error": {"message": "stream aborted, response_format unknown"}}).encode(),
    "a page": b"<html>streaming is down for maintenance</html>",
    "an error in the stream": b'data: {"error": {"message": "streaming with response_format failed"}}\n\n',
    "an error in the stream, with a code": b'data: {"error": {"message": "no streaming here", "code": "400"}}\n\n',
    "an error behind pieces": streamed("{").partition(b"data: [DONE]")[0].replace(b'"stop"', b"null")
    + b'data: {"error": {"message": "temperature: stream closed", "code": "400"}}\n\n',
}


@pytest.mark.parametrize("kind", PASSING)
def test_one_bad_moment_teaches_nothing(kind: str) -> None:
    said = [PASSING[kind]]
    kept = Kept()
    with speaking(lambda body: said.pop() if said else streamed(json.dumps(FACTS))) as (spoken, url):
        asking = model(url, remembered=kept)
        for _ in range(2):
            with contextlib.suppress(ModelError):
                asking.complete(PROMPT, most=200, schema=SCHEMA)
        asking.close()
    assert len(spoken.bodies) >= 2
    assert all(body == spoken.bodies[0] for body in spoken.bodies)
    assert [read_ways(noted.partition(" ")[2]) for noted in kept.values()] == [Ways()]


@pytest.mark.parametrize("status", [400, 404, 422, 501])
@pytest.mark.parametrize(("param", "words"), [("stream", "Unsupported."), (None, "This model does not do streaming.")])
def test_who_says_that_it_streams_nothing_is_believed(status: int, param: str | None, words: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return (status, openai_error(words, param=param)) if body["stream"] else json.dumps(whole("four")).encode()

    kept = Kept()
    with speaking(answer) as (spoken, url):
        asking = model(url, remembered=kept)
        assert [asking.complete(PROMPT, most=50).text for _ in range(2)] == ["four", "four"]
        asking.close()
    assert [body["stream"] for body in spoken.bodies] == [True, False, False]
    assert '"stream": false' in str(kept)


def test_who_does_not_say_what_is_wrong_is_asked_in_other_ways_that_are_not_remembered() -> None:
    def answer(body: dict[str, Any]) -> Any:
        form = body.get("response_format", {}).get("type")
        return (400, {"error": "Bad Request"}) if form == "json_schema" else streamed(json.dumps(FACTS))

    kept = Kept()
    with speaking(answer) as (spoken, url):
        asking = model(url, remembered=kept)
        for _ in range(2):
            assert json.loads(asking.complete(PROMPT, most=200, schema=SCHEMA).text) == FACTS
        asking.close()
    forms = [body.get("response_format", {}).get("type") for body in spoken.bodies]
    assert forms == ["json_schema", "json_object"] * 2
    assert kept == {}


@pytest.mark.parametrize(("thinking", "more"), [("auto", 0), ("off", 0), ("on", 2000), ("high", 2000)])
def test_who_is_told_to_think_has_room_for_it(server: ModelServer, thinking: Any, more: int) -> None:
    asking = model(server.openai_url, thinking=thinking)
    asking.complete(PROMPT, most=50)
    assert server.calls[0].body["max_tokens"] == 50 + more
    assert asking.thoughts == more


def test_who_refuses_everything_fails_and_spoils_nothing(server: ModelServer) -> None:
    asking = model(server.openai_url)
    server.always("400")
    error = refused(Rejected, lambda: asking.complete(PROMPT, most=50, schema=SCHEMA))
    assert "Unrecognized request argument supplied: options" in error.message
    server.always(None)
    asking.complete(PROMPT, most=50, schema=SCHEMA)
    assert server.calls[-1].body == server.calls[0].body


@pytest.mark.parametrize(
    ("url", "thinking", "sent"),
    [
        ("http://vllm.example/v1", "auto", {}),
        ("http://vllm.example/v1", "off", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("http://vllm.example/v1", "on", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("http://vllm.example/v1", "high", {"reasoning_effort": "high"}),
        ("https://api.deepseek.com", "off", {"thinking": {"type": "disabled"}}),
        ("https://api.deepseek.com", "on", {"thinking": {"type": "enabled"}}),
        ("", "low", {"reasoning_effort": "low"}),
        ("", "off", {"reasoning_effort": "none"}),
        ("", "on", {}),
        ("https://notopenai.com/v1", "off", {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_how_a_model_is_told_to_think(url: str, thinking: Any, sent: dict[str, Any]) -> None:
    asking = model(url, thinking=thinking, **({} if url == "" else {"api_key_env": "THEIR_KEY"}))
    body = asking._ways.body(PROMPT, most=9, schema=None, llm=asking._llm, wishes=asking._wishes)
    usual = {"model", "messages", "stream", "temperature", "stream_options", "max_tokens", "max_completion_tokens"}
    assert {name: value for name, value in body.items() if name not in usual} == sent
    assert ("max_completion_tokens" in body) == (url == "")


def test_who_cannot_be_told_to_think_is_asked_without() -> None:
    said: list[str] = []

    def answer(body: dict[str, Any]) -> Any:
        if "reasoning_effort" in body:
            return 400, openai_error("Unrecognized request argument supplied: reasoning_effort")
        return streamed("four")

    with speaking(answer) as (spoken, url):
        asking = model(url, thinking="low", said=said)
        assert [asking.complete(PROMPT, most=50).text for _ in range(2)] == ["four", "four"]
    assert len(spoken.bodies) == 3
    assert [line.partition("does not take")[2] for line in said] == [" llm.thinking = low: asked without"]


def test_thoughts_are_no_part_of_a_reply() -> None:
    told: list[str] = []
    replies = iter([streamed("<think>Four? Yes.</think>\nfour"), streamed("four", reasoning_content="Hm.")])
    with speaking(lambda body: next(replies)) as (_, url):
        asking = model(url)
        assert [asking.complete(PROMPT, most=50, tell=told.append).text for _ in range(2)] == ["four", "four"]
    assert "".join(told) == "fourfour"


def test_a_model_that_thought_until_its_tokens_were_used_up_is_told_of() -> None:
    said: list[str] = []
    with speaking(lambda body: streamed("", finish="length", reasoning_content="Hm.")) as (_, url):
        asking = model(url, said=said)
        replies = [asking.complete(PROMPT, most=50) for _ in range(2)]
    assert not any(reply.whole for reply in replies)
    assert said == [
        "openai/gpt-test thought until its tokens were used up, and said nothing: lightmem config set llm.thinking off"
    ]


def test_what_a_filter_held_back_is_a_refusal() -> None:
    with speaking(lambda body: streamed('{"facts": [', finish="content_filter")) as (_, url):
        reply = model(url).complete(PROMPT, most=50, schema=SCHEMA)
    assert refuses(reply.text)


def test_deepseek_counts_what_it_had_cached() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 36,
    }
    last = {"choices": [{"index": 0, "delta": {"content": "four"}, "finish_reason": "stop"}], "usage": usage}
    body = f": keep-alive\n\ndata: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode()
    with speaking(lambda _: body) as (_, url):
        found = model(url).complete(PROMPT, most=50).usage
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens) == (100, 7, 64)


# What fails


OVERFLOWS = {
    "OpenAI": (
        400,
        openai_error(
            "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.",
            code="context_length_exceeded",
        ),
    ),
    "OpenAI, newer": (400, openai_error("Your input exceeds the context window of this model.")),
    "OpenAI, a minute's tokens": (
        429,
        openai_error("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000."),
    ),
    "DeepSeek": (
        400,
        openai_error("This model's maximum context length is 65536 tokens. However, you requested 70000 tokens."),
    ),
    "vLLM": (
        400,
        {
            "object": "error",
            "message": "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length"
            " is 4096 tokens and your request has 100 input tokens (5000 > 4096 - 100).",
        },
    ),
    "vLLM, the prompt": (
        400,
        openai_error("The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9000,
                "n_ctx": 4096,
            }
        },
    ),
    "LM Studio": (
        400,
        {
            "error": "Trying to keep the first 6300 tokens when context the overflows. However, the model is loaded"
            " with context length of only 4096 tokens, which is not enough."
        },
    ),
    "too large": (413, {"error": "Payload Too Large"}),
}


@pytest.mark.parametrize("server_name", OVERFLOWS)
def test_what_is_too_long_is_said_to_be_so_and_not_tried_again(server_name: str) -> None:
    with speaking(lambda body: OVERFLOWS[server_name]) as (spoken, url):
        refused(TooLong, lambda: model(url).complete(PROMPT, most=50, schema=SCHEMA))
    assert len(spoken.bodies) == 1


def test_what_is_too_long_may_be_said_in_the_stream() -> None:
    error = json.dumps({"error": {"message": "context length of only 4096 tokens, which is not enough"}})
    with speaking(lambda body: f"data: {error}\n\n".encode()) as (_, url):
        refused(TooLong, lambda: model(url).complete(PROMPT, most=50))


NO_MODELS = {
    "OpenAI": (404, openai_error("The model `gpt-test` does not exist or you do not have access to it.")),
    "DeepSeek": (400, openai_error("Model Not Exist")),
    "vLLM": (404, {"object": "error", "message": "The model `gpt-test` does not exist.", "code": 404}),
    "Ollama": (404, openai_error('model "gpt-test" not found, try pulling it first')),
    "LM Studio": (400, {"error": "No models loaded. Please load a model in the developer page."}),
    "llama.cpp": (400, {"error": {"code": 400, "message": "model 'gpt-test' not found", "type": "invalid_request"}}),
    "llama.cpp, not loaded": (400, openai_error("model is not loaded")),
}


@pytest.mark.parametrize("server_name", NO_MODELS)
def test_a_model_that_is_not_there_is_missing_and_those_that_are_listed(server_name: str) -> None:
    models = {"object": "list", "data": [{"id": "other"}, {"id": "gpt-best"}]}
    with speaking(lambda body: NO_MODELS[server_name], models=models) as (spoken, url):
        error = refused(MissingPart, lambda: model(url).complete(PROMPT, most=50, schema=SCHEMA))
    assert error.message.endswith(" has no model gpt-test; it has gpt-best, other")
    assert error.hint == "lightmem config set llm.model gpt-best"
    assert error.exit_code == ExitCode.MISSING
    assert len(spoken.bodies) == 1


BUSY = {
    "OpenRouter": (400, openai_error("The model gpt-test is not available right now due to high load")),
    "a proxy": (500, openai_error("The model `gpt-test` does not exist on this replica, try again")),
    "llama.cpp": (503, {"error": {"code": 503, "message": "Loading model: not found in cache", "type": "unavailable"}}),
    "a picture": (400, openai_error("Invalid model input: could not parse image")),
    "a stream": b'data: {"error": {"message": "model runner: image not found"}}\n\n',
}


@pytest.mark.parametrize("server_name", BUSY)
def test_a_model_that_is_busy_is_not_missing(server_name: str) -> None:
    there = {"data": [{"id": "gpt-test"}]}
    with speaking(lambda _: BUSY[server_name], models=there) as (_, url), pytest.raises(ModelError) as found:
        model(url).complete(PROMPT, most=50)
    assert "has no model" not in found.value.message


@pytest.mark.parametrize(
    ("status", "words"),
    [(400, "The response was filtered by our content management policy."), (422, "messages.0.content: too odd")],
)
def test_a_no_to_one_prompt_is_that(status: int, words: str) -> None:
    with speaking(lambda body: (status, openai_error(words, code="content_filter"))) as (spoken, url):
        error = refused(Rejected, lambda: model(url).complete(PROMPT, most=50))
    assert words in error.message
    assert len(spoken.bodies) == 1


def test_a_server_without_a_chat_where_one_should_be() -> None:
    with speaking(lambda body: (404, {"detail": "Not Found"})) as (_, url):
        error = refused(Unavailable, lambda: model(url).complete(PROMPT, most=50))
    assert error.hint is not None and "/v1" in error.hint


def test_a_server_that_is_down() -> None:
    with ModelServer() as server:
        url = server.openai_url
    said: list[str] = []
    error = refused(Unavailable, lambda: model(url, said=said).complete(PROMPT, most=50))
    assert error.hint == "start it"
    assert error.exit_code == ExitCode.MODEL


@pytest.mark.parametrize("fault", ["cut", "error-mid-stream", "stall"])
def test_a_reply_that_breaks_off_was_paid_and_is_not_asked_for_again(server: ModelServer, fault: Any) -> None:
    """Not by the model: whoever asked decides whether to pay for it once more."""
    server.faults.append(fault)
    asking = model(server.openai_url, timeout_seconds=0.5)
    error = refused(ModelError, lambda: asking.complete(PROMPT, most=200, schema=SCHEMA))
    assert isinstance(error, ModelError)
    assert error.paid is not None
    assert error.paid[0] == sum(map(count_tokens, PROMPT))
    assert 0 < error.paid[1] <= count_tokens(json.dumps(FACTS))
    assert len(server.calls) == 1


@pytest.mark.parametrize("fault", ["500", "503"])
def test_what_passes_is_tried_again(server: ModelServer, fault: Any) -> None:
    server.faults.extend([fault, fault])
    assert json.loads(model(server.openai_url).complete(PROMPT, most=200, schema=SCHEMA).text) == FACTS
    assert len(server.calls) == 3


@pytest.mark.parametrize(("fault", "tries"), [("500", 3), ("cut", 1), ("error-mid-stream", 1)])
def test_what_does_not_pass_fails_this_prompt_alone(server: ModelServer, fault: Any, tries: int) -> None:
    server.always(fault)
    refused(ModelError, lambda: model(server.openai_url).complete(PROMPT, most=200, schema=SCHEMA))
    assert len(server.calls) == tries


@pytest.mark.parametrize("fault", ["cut", "error-mid-stream"])
def test_what_was_told_is_not_told_twice(server: ModelServer, fault: Any) -> None:
    server.faults.append(fault)
    told: list[str] = []
    refused(ModelError, lambda: model(server.openai_url).complete(PROMPT, most=200, tell=told.append))
    assert told
    assert len(server.calls) == 1


def test_a_stream_that_ends_without_an_end_is_cut() -> None:
    whole_stream = streamed("four")
    replies = iter([whole_stream[: whole_stream.index(b'"r"')].rpartition(b"data:")[0], whole_stream])
    with speaking(lambda body: next(replies)) as (_, url):
        asking = model(url)
        error = refused(ModelError, lambda: asking.complete(PROMPT, most=50))
        assert isinstance(error, ModelError)
        assert error.paid is not None
        assert asking.complete(PROMPT, most=50).text == "four"


def test_silence_is_waited_for_and_then_tried_again(server: ModelServer) -> None:
    fault: Any = "hang"
    server.faults.append(Fault(fault, seconds=20))
    asking = model(server.openai_url, timeout_seconds=0.4)
    assert json.loads(asking.complete(PROMPT, most=200, schema=SCHEMA).text) == FACTS
    server.always(Fault(fault, seconds=20))
    error = refused(ModelError, lambda: asking.complete(PROMPT, most=200, schema=SCHEMA))
    assert error.hint is not None and "llm.timeout_seconds" in error.hint


@pytest.mark.parametrize("fault", ["not-utf8", "html"])
def test_what_cannot_be_read_is_a_bad_reply(server: ModelServer, fault: Any) -> None:
    server.faults.append(fault)
    refused(BadReply, lambda: model(server.openai_url).complete(PROMPT, most=200, schema=SCHEMA))


@pytest.mark.parametrize("answer", [b'data: {"choices": [\n\n', b"data: 7\n\n", b"", b'{"choices": 1}', b'{"a', b"[]"])
def test_what_is_no_chat_is_a_bad_reply(answer: bytes) -> None:
    with speaking(lambda body: answer) as (_, url):
        refused(BadReply, lambda: model(url).complete(PROMPT, most=200))


def test_an_error_that_comes_as_if_all_was_well_is_one() -> None:
    error = {"error": {"message": "Rate limited", "code": 429}}
    with speaking(lambda body: json.dumps(error).encode()) as (spoken, url):
        refused(Unavailable, lambda: model(url).complete(PROMPT, most=200))
    assert len(spoken.bodies) == 3


def test_a_rate_limit_is_waited_for_as_long_as_the_server_asks(server: ModelServer) -> None:
    slept: list[float] = []
    server.faults.append(Fault("429", retry_after="7"))
    model(server.openai_url, slept=slept).complete(PROMPT, most=200)
    assert slept[0] == 0 and sum(slept) == pytest.approx(7)
    server.headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s"}
    slept.clear()
    asking = model(server.openai_url, slept=slept)
    asking.complete(PROMPT, most=200)
    assert slept == []
    asking.complete(PROMPT, most=200)
    assert sum(slept) == pytest.approx(3)


@pytest.mark.parametrize(
    "words",
    [
        "Rate limit reached on requests per min. Add a payment method at https://platform.openai.com/account/billing.",
        "Too many tokens, please wait before trying again.",
    ],
)
def test_a_minutes_limit_is_neither_an_empty_account_nor_a_long_prompt(words: str) -> None:
    replies = iter([(429, openai_error(words)), streamed("four")])
    with speaking(lambda body: next(replies)) as (_, url):
        assert model(url).complete(PROMPT, most=50).text == "four"


@pytest.mark.parametrize(("fault", "words"), [("402", "wants to be paid"), ("quota", "wants to be paid")])
def test_an_empty_account_is_not_tried_again(server: ModelServer, fault: Any, words: str) -> None:
    server.always(fault)
    error = refused(Unavailable, lambda: model(server.openai_url).complete(PROMPT, most=200))
    assert words in error.message
    assert len(server.calls) == 1


def test_a_429_that_stays_says_that_nothing_is_lost(server: ModelServer) -> None:
    server.always("429")
    error = refused(Unavailable, lambda: model(server.openai_url).complete(PROMPT, most=200))
    assert error.hint is not None and "nothing is lost" in error.hint
    assert len(server.calls) == 3


# What the server says of the model


def test_the_context_is_what_the_settings_say_or_the_server(server: ModelServer) -> None:
    assert model(server.openai_url, context=999).context == 999
    assert server.requests == []
    assert model(server.openai_url).context == 0
    server.tells_context, server.context, server.models = True, 4096, ["gpt-test"]
    asking = model(server.openai_url)
    assert (asking.context, asking.context) == (4096, 4096)
    assert server.requests == ["GET /v1/models"] * 2


@pytest.mark.parametrize(
    ("row", "context"),
    [
        ({"id": "gpt-test", "context_length": 8192}, 8192),
        ({"id": "gpt-test", "context_window": "big"}, 0),
        ({"id": "model.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 131072, "n_params": 8030261312}}, 131072),
        ({"id": "model.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 131072, "n_ctx": 4096}}, 4096),
        ({"id": "other", "max_model_len": 5}, 0),
        ({}, 0),
    ],
)
def test_the_context_in_each_servers_words(row: dict[str, Any], context: int) -> None:
    with speaking(lambda body: b"", models={"data": [row]}) as (_, url):
        assert model(url).context == context


@pytest.mark.parametrize("models", [None, [], {"data": 1}, {"data": [1]}, "x"])
def test_a_server_that_does_not_list_its_models(models: Any) -> None:
    with speaking(lambda body: b"", models=models) as (_, url):
        assert model(url).context == 0
        assert model(url).probe().startswith("openai/gpt-test: a context it does not tell; the server at http://127")


def test_a_probe_says_what_the_model_is(server: ModelServer) -> None:
    server.tells_context, server.models = True, ["gpt-test"]
    assert model(server.openai_url).probe() == (
        f"openai/gpt-test: 131,072 tokens of context; the server at {server.openai_url}"
    )
    server.models = ["another"]
    assert refused(MissingPart, model(server.openai_url).probe).hint == "lightmem config set llm.model another"
    server.key = "not ours"
    assert "OPENAI_API_KEY" in refused(Unavailable, model(server.openai_url).probe).message
    with server.stopped():
        refused(Unavailable, model(server.openai_url).probe)
        refused(Unavailable, lambda: model(server.openai_url).context)


# Addresses and keys


def test_what_the_settings_must_say() -> None:
    assert "llm.model" in refused(ProfileError, lambda: model("http://127.0.0.1:1/v1", model="")).message
    for url in ("http://", "http:///v1", "http://host:port/v1", "http://host:0/v1", "http://me:hunter2"):
        error = refused(ProfileError, lambda url=url: model(url))
        assert "hunter2" not in f"{error.message} {error.hint} {traceback.format_exception(error)}"


def test_openais_own_server_wants_a_key_and_others_may_go_without(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    for url in ("", "https://api.openai.com/v1", "https://eu.api.openai.com/v1"):
        error = refused(MissingPart, lambda url=url: model(url))
        assert "OPENAI_API_KEY" in error.message
        assert error.exit_code == ExitCode.MISSING
    monkeypatch.setenv("OPENAI_API_KEY", "  ")
    refused(MissingPart, lambda: model(""))
    model(server.openai_url).complete(PROMPT, most=9)
    assert server.calls[0].headers["authorization"] == "Bearer none"
    server.key = KEY
    error = refused(Unavailable, lambda: model(server.openai_url).complete(PROMPT, most=9))
    assert "OPENAI_API_KEY is not set" in error.message


def test_the_key_may_have_a_variable_of_its_own(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", f"{KEY[::-1]}\n")
    model(server.openai_url, api_key_env="DEEPSEEK_API_KEY").complete(PROMPT, most=9)
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY[::-1]}"
    server.key = KEY
    error = refused(
        Unavailable, lambda: model(server.openai_url, api_key_env="DEEPSEEK_API_KEY").complete(PROMPT, most=9)
    )
    assert "DEEPSEEK_API_KEY" in error.message and "DEEPSEEK_API_KEY" in str(error.hint)
    assert len(server.calls) == 2


@pytest.mark.parametrize("url", ["https://api.deepseek.com", "https://8.8.8.8/v1", "https://openai.com.example/v1"])
@pytest.mark.parametrize("set_to", [KEY, None])
def test_openais_key_is_sent_to_no_stranger(monkeypatch: pytest.MonkeyPatch, url: str, set_to: str | None) -> None:
    if set_to is None:  # then, too: nobody is to be told to put another key there
        monkeypatch.delenv("OPENAI_API_KEY")
    error = refused(ProfileError, lambda: model(url))
    assert error.message == f"OPENAI_API_KEY is OpenAI's key, and is not sent to {url}"
    assert error.hint is not None and "lightmem config set llm.api_key_env NAME" in error.hint
    assert model(url, api_key_env="THEIR_KEY").name == "openai/gpt-test"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "192.168.0.9", "100.64.1.2", "vllm", "box.local", "[fd00::1]"],
)
def test_openais_key_is_sent_to_whom_one_runs_oneself(host: str) -> None:
    assert model(f"http://{host}:8000/v1")._server.has_key


@pytest.mark.parametrize("fault", ["500", "stall", "hang"])
def test_closing_it_ends_a_thread_that_tries_again_and_again(server: ModelServer, fault: Any) -> None:
    server.always(Fault(fault, seconds=1))
    asking = OpenAiModel(
        Llm(use="openai", model="gpt-test", base_url=server.openai_url), notice=lambda line: None, remembered=Kept()
    )
    with ThreadPoolExecutor(1) as threads:
        reply = threads.submit(asking.complete, PROMPT, most=10)
        while not server.calls:
            time.sleep(0.01)
        asking.close()
        assert type(reply.exception(timeout=60)) is ModelError
    assert len(server.calls) == 1
    for ask in (lambda: asking.complete(PROMPT, most=10), asking.probe, asking._server.models):
        assert "was closed" in refused(ModelError, ask).message
    assert len(server.requests) == 1


def everything(error: BaseException) -> str:
    """All that can be read of an error and of those behind it."""
    seen = [error.args, vars(error), traceback.format_exception(error)]
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        seen.append(pickle.dumps(error))
    for behind in (error.__cause__, error.__context__):
        if behind is not None:
            seen.append(everything(behind))
    return repr(seen)


def parts_of(key: str) -> list[str]:
    """The key, and its ends, as servers show them."""
    return [key, key[:8], key[-4:], key[3:12]]


@pytest.mark.parametrize(
    "fault", ["401", "400", "429", "500", "overflow", "404-model", "quota", "not-utf8", "cut", "down"]
)
@pytest.mark.parametrize("stays", [True, False])
def test_the_key_is_nowhere(
    server: ModelServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], fault: Any, stays: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpcore", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    said: list[str] = []
    kept = Kept()
    asking = model(server.openai_url, said=said, remembered=kept)
    seen = []
    if fault == "down":
        server.stop()
    elif stays:
        server.always(fault)
    else:
        server.faults.append(fault)
    try:
        seen.append(repr(asking.complete(PROMPT, most=200, schema=SCHEMA)))
        seen.append(asking.probe())
    except LightmemError as error:
        seen += [everything(error), str(error), repr(error), str(error.hint)]
    asking.close()
    seen += [repr(asking), str(asking), asking.name, asking.manner, *said, str(kept)]
    seen += [record.getMessage() + repr(record.args) + repr(vars(record)) for record in caplog.records]
    seen += capfd.readouterr()
    assert caplog.records
    assert not [part for part in parts_of(KEY) for text in seen if part in text]


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        f"Bearer {KEY}",
        f"{KEY[:8]}{'*' * 20}{KEY[-4:]}",
        f"{KEY[:7]}...{KEY[-4:]}",
        f"****{KEY[-4:]}",
        f"{KEY[:6]}…{KEY[-4:]}",
        f"'{KEY}'",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
def test_a_server_that_shows_the_key_again_shows_it_to_nobody(echo: str, status: int) -> None:
    words = f"Something is wrong with {echo}, see https://example.com"
    with speaking(lambda body: (status, openai_error(words))) as (_, url):
        said: list[str] = []
        with pytest.raises(LightmemError) as found:
            model(url, said=said).complete(PROMPT, most=9)
    seen = everything(found.value) + str(found.value.hint) + str(said)
    assert not [part for part in parts_of(KEY) if part in seen]


def test_a_key_of_another_look_is_cut_out_too(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_key("token 0123456789abcdef is wrong", key="0123456789abcdef") == "token … is wrong"
    assert without_key("token 0123****cdef is wrong", key="0123456789abcdef") == "token … is wrong"
    assert without_key("nothing of it", key="0123456789abcdef") == "nothing of it"
    assert without_key("none", key="") == "none"


@pytest.mark.parametrize(
    "key", ["sk-kéy-1234567890", "sk-key 1234567890", "sk-key\n-1234567890", "sk-key\x00-1234567890"[:6] + "\x7f567890"]
)
def test_what_cannot_be_a_key_is_not_shown(server: ModelServer, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    error = refused(ProfileError, lambda: model(server.openai_url))
    assert "567890" not in everything(error) + str(error.hint)


def test_nothing_is_loaded_or_asked_before_it_is_needed(server: ModelServer) -> None:
    settings = Llm(use="openai", model="gpt-test", base_url=server.openai_url)
    asking = open_language_model(settings, notice=lambda line: None)
    assert isinstance(asking, OpenAiModel)
    assert asking.tokens("four four") == 3
    asking.close()
    assert server.requests == []


def test_a_lone_half_of_a_surrogate_pair_is_sent_and_heard() -> None:
    event = (
        '{"choices": [{"delta": {"content": "a \\ud83d"}}]}',
        '{"choices": [{"delta": {"content": "\\ude00 \\ud83d"}, "finish_reason": "stop"}]}',
    )
    body = "".join(f"data: {one}\n\n" for one in event).encode()
    with speaking(lambda _: body) as (_, url):
        reply = model(url).complete(Prompt("p \ud83d", "b \ude00"), most=9)
    assert reply.text == "a 😀 \ufffd"
