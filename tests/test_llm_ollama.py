"""Ollama: the real client against a server that speaks its wire; context sizes, silent cuts, thinking, every fault."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier
from typing import Any, get_args

import pytest
from model_faults import Fault, NamedFault
from model_server import SHORT_ANSWER, Asked, ModelServer
from model_wires import OllamaWire, Refused

from lightmem_cli.errors import (
    BadReply,
    HalfRead,
    LightmemError,
    MissingPart,
    ModelError,
    ProfileError,
    Rejected,
    TooLong,
    Unavailable,
)
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm import open_language_model
from lightmem_cli.llm.ollama import OllamaModel
from lightmem_cli.llm.ollama_server import OllamaServer
from lightmem_cli.llm.patience import Patience
from lightmem_cli.profiles.settings import Llm
from lightmem_cli.protocols import Prompt, Reply
from lightmem_cli.records import Usage

ASKED = Prompt("You take notes.", "<talk>\n## Monday\n1 Anna: I adopted a greyhound.\n2 Boris: Zoë, really?\n</talk>")
FACTS = {
    "facts": [
        {"of": [1], "text": "Anna said: I adopted a greyhound."},
        {"of": [2], "text": "Boris said: Zoë, really?"},
    ]
}
SCHEMA = {
    "type": "object",
    "properties": {"facts": {"type": "array"}},
    "required": ["facts"],
    "additionalProperties": False,
}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


Opens = Callable[..., OllamaModel]


@pytest.fixture
def opens(server: ModelServer, said: list[str]) -> Iterator[Opens]:
    """Opens a model at the server; its waits pass at once."""
    opened: list[OllamaModel] = []

    def model(**settings: Any) -> OllamaModel:
        llm = Llm(**{"use": "ollama", "model": "llama3.2", "base_url": server.url, "timeout_seconds": 5, **settings})
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        patience = Patience(
            f"Ollama at {server.url}",
            retries=llm.retries,
            hint="ollama serve",
            notice=said.append,
            clock=lambda: now[0],
            sleep=sleep,
        )
        opened.append(OllamaModel(llm, notice=said.append, patience=patience))
        return opened[-1]

    yield model
    for one in opened:
        one.close()


@pytest.fixture
def said() -> list[str]:
    return []


# What is asked, and what comes back


def test_a_reply_with_what_it_cost(server: ModelServer, opens: Opens) -> None:
    reply = opens().complete(ASKED, most=300, schema=SCHEMA)
    assert json.loads(reply.text) == FACTS
    assert reply.usage == Usage(
        calls=1, prompt_tokens=count_tokens("".join(ASKED)), completion_tokens=count_tokens(reply.text)
    )
    assert reply.whole
    assert reply.seconds > 0


def test_the_request_says_all_that_the_settings_say(server: ModelServer, opens: Opens) -> None:
    model = opens(temperature=0.5, keep_alive="3h", options={"seed": 7, "top_k": 5, "temperature": 0.25})
    model.complete(ASKED, most=300, schema=SCHEMA)
    [asked] = server.calls
    assert asked.body["model"] == "llama3.2"
    assert (asked.prefix, asked.prompt) == ASKED
    assert [message["role"] for message in asked.body["messages"]] == ["system", "user"]
    assert asked.body["format"] == SCHEMA
    assert asked.body["keep_alive"] == "3h"
    assert "think" not in asked.body
    assert asked.options == {"temperature": 0.25, "num_ctx": 4096, "num_predict": 300, "seed": 7, "top_k": 5}


@pytest.mark.parametrize(("set_to", "sent"), [("10m", "10m"), ("-1", -1), ("300", 300)])
def test_a_number_of_seconds_to_stay_is_sent_as_a_number(
    server: ModelServer, opens: Opens, set_to: str, sent: object
) -> None:
    opens(keep_alive=set_to).complete(ASKED, most=10)
    assert server.calls[0].body["keep_alive"] == sent


def test_without_a_schema_no_format_is_asked_for(server: ModelServer, opens: Opens) -> None:
    assert opens().complete(Prompt("Answer.", "Where?"), most=10).text == "The memory does not say."
    assert "format" not in server.calls[0].body


def test_a_reply_that_ran_into_the_limit_is_not_whole(server: ModelServer, opens: Opens) -> None:
    reply = opens().complete(ASKED, most=5)
    assert not reply.whole
    assert len(reply.text) == 20
    assert reply.usage.completion_tokens == 5


def test_pieces_are_told_as_they_come_and_are_the_reply(server: ModelServer, opens: Opens) -> None:
    server.reply = lambda asked: "The greyhound of Zoë — 犬 — is called Max. " * 9
    pieces: list[str] = []
    reply = opens().complete(ASKED, most=300, tell=pieces.append)
    assert len(pieces) > 10
    assert "".join(pieces) == reply.text == server.reply(server.calls[0])


def test_what_a_teller_raises_is_not_taken_for_the_servers_fault(server: ModelServer, opens: Opens) -> None:
    def broken(piece: str) -> None:
        raise AttributeError("a bug of ours")

    with pytest.raises(AttributeError, match="a bug of ours"):
        opens().complete(ASKED, most=300, tell=broken)


def test_a_prompt_that_the_server_had_read_before_is_counted_as_we_count_it(server: ModelServer, opens: Opens) -> None:
    server.faults.append("no-usage")
    ours = sum(map(count_tokens, ASKED))
    reply = opens().complete(ASKED, most=300)
    assert reply.usage == Usage(
        calls=1, prompt_tokens=ours, completion_tokens=count_tokens(reply.text), cached_tokens=ours
    )


def test_half_a_surrogate_pair_is_sent_as_a_question_mark(server: ModelServer, opens: Opens) -> None:
    opens().complete(Prompt("Note.", "cut \ud83d off"), most=10)
    assert server.calls[0].prompt == "cut ? off"


def test_eight_threads_ask_at_once_and_the_model_is_looked_at_once(server: ModelServer, opens: Opens) -> None:
    together = Barrier(8, timeout=60)

    def reply(asked: Asked) -> str:
        together.wait()  # nobody is answered before eight have asked
        return f"re: {asked.prompt}"

    server.reply = reply
    model = opens(timeout_seconds=90)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda n: model.complete(Prompt("Say", f"number {n}"), most=50), range(16)))
    assert [reply.text for reply in replies] == [f"re: number {n}" for n in range(16)]
    assert server.most_at_once == 8
    assert server.requests.count("POST /api/show") == 1


# How much context is asked for


def window(server: ModelServer) -> list[int]:
    return [asked.options["num_ctx"] for asked in server.calls]


@pytest.mark.parametrize(
    ("characters", "most", "num_ctx"),
    [(40, 100, 4096), (8000, 1500, 4096), (12_000, 1000, 8192), (40_000, 1000, 16_384), (300_000, 2000, 131_072)],
)
def test_num_ctx_is_the_step_that_holds_prompt_and_reply(
    server: ModelServer, opens: Opens, characters: int, most: int, num_ctx: int
) -> None:
    opens().complete(Prompt("Note.", "word " * (characters // 5)), most=most)
    assert window(server) == [num_ctx]


def test_num_ctx_grows_and_never_shrinks(server: ModelServer, opens: Opens) -> None:
    model = opens()
    for characters in (100, 20_000, 100, 50_000, 100):
        model.complete(Prompt("Note.", "x" * characters), most=100)
    assert window(server) == [4096, 8192, 8192, 16_384, 16_384]


def test_text_of_which_each_character_is_a_token_gets_the_room_it_needs(server: ModelServer, opens: Opens) -> None:
    server.characters_a_token = 1
    opens().complete(Prompt("笔记", "我养了一只灰狗" * 700), most=100)  # 4,900 characters
    assert window(server) == [8192]


def test_the_models_own_context_is_the_limit(server: ModelServer, opens: Opens) -> None:
    server.context = 6000
    model = opens()
    assert model.context == 6000
    model.complete(Prompt("Note.", "x" * 16_000), most=1000)
    assert window(server) == [6000]
    with pytest.raises(TooLong, match=r"more than the 6,000 that ollama/llama3\.2 reads at once"):
        model.complete(Prompt("Note.", "x" * 20_000), most=1000)
    assert len(server.calls) == 1  # nothing was sent


def test_the_settings_limit_the_context_too(server: ModelServer, opens: Opens) -> None:
    model = opens(context=5000)
    assert model.context == 5000
    model.complete(Prompt("Note.", "x" * 15_500), most=1000)
    assert window(server) == [5000]
    with pytest.raises(TooLong):
        model.complete(Prompt("Note.", "x" * 18_000), most=1000)


def asked_on(model: OllamaModel, prompt: Prompt, *, most: int = 100) -> tuple[Reply, list[HalfRead]]:
    """The reply, and what went before it: asked until the prompt is read."""
    paid: list[HalfRead] = []
    while True:
        try:
            return model.complete(prompt, most=most), paid
        except HalfRead as half:
            paid.append(half)


def test_num_ctx_of_the_settings_is_sent_as_it_is(server: ModelServer, opens: Opens) -> None:
    model = opens(options={"num_ctx": 3000})
    model.complete(ASKED, most=100)
    assert window(server) == [3000]
    assert model.context == 3000
    with pytest.raises(TooLong):
        model.complete(Prompt("Note.", "x" * 12_000), most=100)


def test_a_prompt_that_was_cut_is_asked_again_with_more_room(server: ModelServer, opens: Opens) -> None:
    server.characters_a_token = 1  # a model that needs four times the tokens we think
    model = opens()
    reply, paid = asked_on(model, Prompt("Note.", "1 Anna: yes\n" * 900))  # 10,805 tokens
    assert window(server) == [4096, 8192, 16_384]
    assert [len(asked.prompt) for asked in server.calls] == [2045, 4093, 10_800]  # what the model saw of it
    assert [half.paid and half.paid[0] for half in paid] == [2050, 4098]
    assert [half.room for half in paid] == [8192, 16_384]
    assert (reply.usage.calls, reply.usage.prompt_tokens) == (1, 10_805)
    server.calls.clear()
    model.complete(Prompt("Note.", "1 Anna: yes\n" * 1800), most=100)
    assert window(server) == [32_768]  # it has learned


def test_a_cut_that_no_context_mends_is_too_long(server: ModelServer, opens: Opens) -> None:
    server.characters_a_token = 1
    server.context = 8192
    with pytest.raises(TooLong, match="8,192") as raised:
        asked_on(opens(), Prompt("Note.", "1 Anna: yes\n" * 900))
    assert window(server) == [4096, 8192]
    assert raised.value.paid == (4098, server.tokens(SHORT_ANSWER))  # for nothing


def test_a_reply_that_fills_the_widest_window_is_good(server: ModelServer, opens: Opens) -> None:
    server.characters_a_token = 3.6  # as models do that count a little more than we
    server.reply = lambda asked: "y" * int(3.6 * 1980)
    reply = opens(context=4096).complete(Prompt("Say.", "abcd " * 1592), most=1985)
    assert len(reply.text) == int(3.6 * 1980)
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens > 4096
    assert window(server) == [4096]


def test_a_reply_that_fills_a_window_that_may_be_wider_is_asked_for_again(server: ModelServer, opens: Opens) -> None:
    server.characters_a_token = 3.2
    server.reply = lambda asked: "y" * 6368  # 1,990 tokens
    reply, paid = asked_on(opens(), Prompt("Say.", "abcd " * 1430), most=2000)  # 2,240 tokens
    assert (len(reply.text), [half.room for half in paid]) == (6368, [8192])
    assert window(server) == [4096, 8192]


def test_a_cut_answer_that_was_told_already_is_an_error_and_the_next_has_room(
    server: ModelServer, opens: Opens
) -> None:
    server.characters_a_token = 1
    model = opens()
    prompt = Prompt("Note.", "1 Anna: yes\n" * 500)
    with pytest.raises(HalfRead, match="only a part"):
        model.complete(prompt, most=100, tell=lambda piece: None)
    assert model.complete(prompt, most=100, tell=lambda piece: None).whole


def test_a_prompt_as_long_as_a_cut_one_by_chance_is_asked_twice_and_taken(server: ModelServer, opens: Opens) -> None:
    reply, paid = asked_on(opens(), Prompt("Note.", "x" * (2050 * 4 - 5)))
    assert window(server) == [4096, 8192]
    assert [half.paid and half.paid[0] for half in paid] == [2050]
    assert reply.text


def test_an_older_ollama_cuts_to_the_whole_window(server: ModelServer, opens: Opens) -> None:
    server.characters_a_token = 1
    server.older = True
    asked_on(opens(), Prompt("Note.", "1 Anna: yes\n" * 500))
    assert window(server) == [4096, 8192]


def test_a_server_that_refuses_what_does_not_fit_is_asked_with_more_room(server: ModelServer, opens: Opens) -> None:
    server.faults.append("overflow")
    assert json.loads(opens().complete(ASKED, most=300).text) == FACTS
    assert window(server) == [4096, 8192]


def test_a_server_that_refuses_every_size_is_too_long(server: ModelServer, opens: Opens) -> None:
    server.always("overflow")
    with pytest.raises(TooLong, match="131,072"):
        opens().complete(ASKED, most=300)
    assert window(server) == [4096, 8192, 16_384, 32_768, 65_536, 131_072]


# Thinking


@pytest.mark.parametrize(
    ("setting", "sent"), [("off", False), ("on", True), ("low", "low"), ("medium", "medium"), ("high", "high")]
)
def test_thinking_is_asked_for_as_set(server: ModelServer, opens: Opens, setting: str, sent: object) -> None:
    server.thinks = True
    reply = opens(thinking=setting).complete(ASKED, most=300)
    assert server.calls[0].body["think"] == sent
    assert json.loads(reply.text) == FACTS  # the thoughts are no part of it


def test_a_model_that_cannot_think_is_asked_without_from_then_on(
    server: ModelServer, opens: Opens, said: list[str]
) -> None:
    model = opens(thinking="on", retries=0)
    for _ in range(3):
        assert json.loads(model.complete(ASKED, most=300).text) == FACTS
    assert [asked.body.get("think") for asked in server.calls] == [True, None, None, None]
    assert said == ["ollama/llama3.2 cannot think as llm.thinking says: it is asked without"]


@pytest.mark.parametrize("within_the_reply", [True, False])
def test_thoughts_are_not_told(server: ModelServer, opens: Opens, within_the_reply: bool) -> None:
    if within_the_reply:
        server.reply = lambda asked: "<think>Let me see. It is four, I think.</think>\n\nFour."
    else:
        server.thinks, server.reply = True, lambda asked: "Four."
    pieces: list[str] = []
    reply = opens().complete(ASKED, most=300, tell=pieces.append)
    assert "".join(pieces) == reply.text == "Four."


def test_who_thinks_all_tokens_away_is_told_of_once(server: ModelServer, opens: Opens, said: list[str]) -> None:
    server.thinks = True
    model = opens()
    for _ in range(2):
        server.faults.append("thoughts-only")
        reply = model.complete(ASKED, most=300)
        assert (reply.text, reply.whole) == ("", False)
    assert len(said) == 1
    assert "lightmem config set llm.thinking off" in said[0]


@pytest.mark.parametrize(("thinking", "more"), [("auto", 0), ("off", 0), ("on", 2000), ("low", 2000)])
def test_who_is_told_to_think_has_room_for_it(server: ModelServer, opens: Opens, thinking: str, more: int) -> None:
    server.thinks = True
    model = opens(thinking=thinking)
    model.complete(Prompt("Note.", "x" * 10_000), most=300)
    assert model.thoughts == more
    assert server.calls[0].options["num_predict"] == 300 + more
    assert server.calls[0].options["num_ctx"] == (8192 if more else 4096)
    server.context = 4000
    with pytest.raises(TooLong) if more else nullcontext():
        opens(thinking=thinking).complete(Prompt("Note.", "x" * 10_000), most=300)


def test_who_cannot_think_has_no_room_for_it(server: ModelServer, opens: Opens) -> None:
    opens(thinking="on").complete(ASKED, most=300)
    assert [asked.options["num_predict"] for asked in server.calls] == [2300, 300]


# Faults


WAITS_OUT: list[NamedFault] = ["500", "503", "429"]


@pytest.mark.parametrize("fault", [*WAITS_OUT, "hang"])
def test_what_passes_is_waited_out(server: ModelServer, opens: Opens, fault: NamedFault) -> None:
    server.faults.append(fault)
    slow = fault == "hang"
    reply = opens(timeout_seconds=0.5 if slow else 5).complete(ASKED, most=300)
    assert json.loads(reply.text) == FACTS
    assert len(server.calls) == 2
    assert reply.usage.calls == 1
    if slow:  # the try that failed is not counted
        first, second = server.calls
        while second.ended is None:  # the server's thread may still be at its last step
            time.sleep(0.01)
        assert reply.seconds < second.ended - first.began


@pytest.mark.parametrize("fault", ["cut", "error-mid-stream", "stall"])
def test_a_reply_that_breaks_off_was_paid_and_is_not_asked_for_again(
    server: ModelServer, opens: Opens, fault: NamedFault
) -> None:
    """Not by the model: whoever asked decides whether to pay for it once more."""
    server.faults.append(fault)
    with pytest.raises(ModelError) as raised:
        opens(timeout_seconds=0.5).complete(ASKED, most=300)
    assert type(raised.value) is ModelError
    assert raised.value.paid is not None
    read, written = raised.value.paid
    assert read == sum(map(count_tokens, ASKED))
    assert 0 < written < count_tokens(json.dumps(FACTS))
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("fault", "error", "tries", "says"),
    [
        ("400", Rejected, 1, "invalid options"),
        ("401", Unavailable, 1, "does not let us in"),
        ("402", Unavailable, 1, "wants to be paid"),
        ("quota", Unavailable, 1, "wants to be paid"),
        ("404-model", MissingPart, 1, "has no model llama3.2"),
        ("429", Unavailable, 3, "lets no more calls in"),
        ("500", ModelError, 3, "fails (HTTP 500): llama runner process has terminated"),
        ("503", ModelError, 3, "server busy"),
        ("hang", ModelError, 3, "fell silent: no sign of it for 0.2 s"),
        ("stall", ModelError, 1, "fell silent"),
        ("cut", ModelError, 1, "broke off"),
        ("error-mid-stream", ModelError, 1, "unexpected EOF"),
        ("not-utf8", BadReply, 1, "cannot be read"),
        ("html", BadReply, 1, "cannot be read"),
    ],
)
def test_what_stays_is_the_right_error(
    server: ModelServer, opens: Opens, fault: NamedFault, error: type[LightmemError], tries: int, says: str
) -> None:
    server.always(fault)
    with pytest.raises(LightmemError) as raised:
        opens(retries=2, timeout_seconds=0.2 if fault in ("hang", "stall") else 5).complete(ASKED, most=300)
    assert type(raised.value) is error
    assert says in raised.value.message
    assert raised.value.hint
    assert "\n" not in raised.value.message
    assert len(server.calls) == tries


REFUSED = {"400", "401", "402", "404-model", "429", "500", "503", "overflow", "quota", "hang", "stall", "cut"}
UNREADABLE = {"error-mid-stream", "not-utf8", "html"}


@pytest.mark.parametrize("fault", sorted(set(get_args(NamedFault)) - REFUSED - UNREADABLE))
def test_a_reply_that_says_nonsense_is_the_callers_to_check(
    server: ModelServer, opens: Opens, fault: NamedFault
) -> None:
    server.faults.append(fault)
    reply = opens().complete(ASKED, most=300, schema=SCHEMA)
    assert len(server.calls) == 1
    assert reply.whole == (fault not in ("truncated", "thoughts-only"))


@pytest.mark.parametrize("fault", ["cut", "stall", "error-mid-stream"])
def test_once_a_piece_was_told_nothing_is_tried_again(server: ModelServer, opens: Opens, fault: NamedFault) -> None:
    server.always(fault)
    pieces: list[str] = []
    with pytest.raises(ModelError):
        opens(timeout_seconds=0.3).complete(ASKED, most=300, tell=pieces.append)
    assert pieces
    assert len(server.calls) == 1


def test_before_a_piece_was_told_it_is(server: ModelServer, opens: Opens) -> None:
    server.faults.append("500")
    pieces: list[str] = []
    assert opens().complete(ASKED, most=300, tell=pieces.append).text == "".join(pieces)


def test_the_server_asks_to_wait_and_the_person_hears_of_it(server: ModelServer, opens: Opens, said: list[str]) -> None:
    server.faults.append(Fault("429", retry_after="20"))
    opens().complete(ASKED, most=300)
    assert said == [f"Ollama at {server.url} asks to wait 20 s"]


def test_a_limit_that_is_used_up_holds_back_the_next_call(server: ModelServer, opens: Opens, said: list[str]) -> None:
    server.headers = {"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "1m6s"}
    model = opens()
    model.complete(ASKED, most=300)
    assert said == []
    model.complete(ASKED, most=300)
    assert said == [f"Ollama at {server.url} asks to wait 66 s"]


def test_a_server_that_is_down_is_unavailable_and_used_when_it_is_back(server: ModelServer, opens: Opens) -> None:
    model = opens()
    with server.stopped(), pytest.raises(Unavailable, match="does not answer") as raised:
        model.complete(ASKED, most=300)
    assert raised.value.hint == "ollama serve"
    assert json.loads(model.complete(ASKED, most=300).text) == FACTS
    with server.stopped(), pytest.raises(Unavailable):  # now in the middle, when the model is known
        model.complete(ASKED, most=300)


def test_a_server_that_is_down_is_waited_for_once(server: ModelServer, said: list[str]) -> None:
    """However many threads ask, and for the model's context first: the wait is one, and is told once."""
    slept: list[float] = []
    llm = Llm(use="ollama", model="llama3.2", base_url=server.url)
    patience = Patience("Ollama", retries=4, hint="", notice=said.append, sleep=slept.append)
    model = OllamaModel(llm, notice=said.append, patience=patience)
    with server.stopped(), ThreadPoolExecutor(4) as threads:
        with pytest.raises(Unavailable):
            model.context  # noqa: B018 - it is asked for
        for failed in [threads.submit(model.complete, ASKED, most=10) for _ in range(4)]:
            assert isinstance(failed.exception(), Unavailable)
    assert len(slept) == 4 and sum(slept) < 10
    assert len(said) <= 2


def test_a_model_that_is_not_pulled_names_those_that_are(server: ModelServer, opens: Opens) -> None:
    server.models = ["qwen3:8b", "gemma3:latest"]
    for ask in (lambda model: model.complete(ASKED, most=300), lambda model: model.probe()):
        with pytest.raises(MissingPart) as raised:
            ask(opens())
        assert raised.value.message.endswith("has no model llama3.2; it has gemma3:latest, qwen3:8b")
        assert raised.value.hint == "ollama pull llama3.2"
    opens(model="gemma3").complete(ASKED, most=300)


def test_what_is_no_ollama_server_is_said_so(server: ModelServer, opens: Opens) -> None:
    with pytest.raises(Unavailable, match="is no Ollama server") as raised:
        opens(base_url=f"{server.url}/elsewhere").complete(ASKED, most=300)
    assert "llm.base_url" in str(raised.value.hint)


# Opening it, and what a person is told


def test_probe_says_what_the_model_is(server: ModelServer, opens: Opens) -> None:
    line = f"ollama/llama3.2: 3.2B, Q4_K_M, 131,072 tokens of context; Ollama at {server.url}"
    assert opens().probe() == line
    assert server.calls == []


def test_without_a_models_name_there_is_nothing_to_ask() -> None:
    with pytest.raises(ProfileError) as raised:
        OllamaModel(Llm(use="ollama"), notice=print)
    assert "lightmem config set llm.model" in str(raised.value.hint)


@pytest.mark.parametrize("address", ["http://[broken", "ftp://somewhere", "http://host:99999999"])
def test_an_address_that_is_none_is_a_mistake_of_whoever_set_it(
    opens: Opens, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", address)
    with pytest.raises(ProfileError, match="is no address"):
        opens(base_url="").complete(ASKED, most=10)


HOSTS = ["0.0.0.0", "myhost", "127.0.0.1", "127.0.0.1:8080", ":8080", "[::1]", "[::1]:8080", "myhost/ollama/"]


@pytest.mark.parametrize("host", [*HOSTS, "http://myhost", "https://myhost", "http://[::1]:8080", "anna:s3cret@myhost"])
def test_the_environment_means_what_it_means_to_ollama(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    import ollama

    monkeypatch.setenv("OLLAMA_HOST", host)
    server = OllamaServer(Llm(use="ollama", model="llama3.2"))
    asked, theirs = server._client()._client.base_url, ollama.Client()._client.base_url
    assert asked == theirs
    assert server.name.rstrip("/") == f"Ollama at {asked}".rstrip("/")


def test_the_environment_says_where_ollama_is(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.url.removeprefix("http://"))
    model = open_language_model(Llm(use="ollama", model="llama3.2"), notice=print)
    assert model is not None
    assert server.url in model.probe()
    model.close()


def test_a_password_in_the_address_is_used_and_never_shown(
    server: ModelServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.url.replace("//", "//anna:s3cret%21@"))
    model = OllamaModel(Llm(use="ollama", model="llama3.2", retries=0), notice=said.append)
    model.complete(ASKED, most=10)
    assert server.calls[0].headers["authorization"] == "Basic YW5uYTpzM2NyZXQh"  # anna:s3cret!
    shown = [model.probe(), model.name, model.manner]
    faults: list[NamedFault] = ["401", "404-model", "429", "500", "html"]
    for fault in faults:
        server.faults.append(fault)
        with pytest.raises(LightmemError) as raised:
            model.complete(ASKED, most=10)
        shown += [raised.value.message, str(raised.value.hint)]
    with server.stopped(), pytest.raises(LightmemError) as raised:
        model.complete(ASKED, most=10)
    shown += [raised.value.message, str(raised.value.hint), *said]
    assert not [line for line in shown if "s3cret" in line or "anna" in line]
    model.close()


@pytest.mark.parametrize("known", ["0a1b2c3d4e5f.secretPART", "kurz"])
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_a_server_that_shows_the_key_again_shows_it_to_nobody(
    server: ModelServer, opens: Opens, said: list[str], monkeypatch: pytest.MonkeyPatch, known: str, status: int
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", known)
    refusal = Refused(status, {"error": f"token {known}, or {known[:4]}****{known[-4:]}, as in Bearer {known}"}, {})
    monkeypatch.setattr(OllamaWire, "refused", lambda *_: refusal)
    with pytest.raises(LightmemError) as raised:
        opens(retries=1).complete(ASKED, most=10)
    assert server.calls[0].headers["authorization"] == f"Bearer {known}"
    assert known not in f"{raised.value.message} {raised.value.hint} {said}"


def test_its_manner_is_what_decides_replies(server: ModelServer, opens: Opens) -> None:
    manner = opens().manner
    assert manner == opens(concurrency=2, retries=1, timeout_seconds=9).manner
    others = [opens(temperature=1).manner, opens(thinking="off").manner, opens(options={"seed": 1}).manner]
    elsewhere = opens(base_url="http://elsewhere:11434").manner
    assert len({manner, *others, elsewhere}) == 5
    assert manner == opens(base_url=f"{server.url}/").manner


def test_opening_it_loads_nothing_heavy_and_asks_nobody(server: ModelServer) -> None:
    heavy = {"ollama", "httpx", "tenacity", "openai"}
    check = f"""
import sys
import lightmem_cli.llm.ollama, lightmem_cli.llm.patience
assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm import open_language_model
from lightmem_cli.profiles.settings import Llm
open_language_model(Llm(use="ollama", model="llama3.2", base_url={server.url!r}), notice=print).close()
assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", check], check=True)
    assert server.requests == []


def test_a_closed_model_asks_nobody(server: ModelServer, opens: Opens) -> None:
    model = opens()
    model.complete(ASKED, most=10)
    model.close()
    model.close()
    requests = list(server.requests)
    for ask in (lambda: model.complete(ASKED, most=10), model._server.show, model._server.names):
        with pytest.raises(ModelError, match="was closed") as raised:
            ask()
        assert type(raised.value) is ModelError
    assert server.requests == requests


@pytest.mark.parametrize("fault", ["500", "stall", "hang"])
def test_closing_it_ends_a_thread_that_tries_again_and_again(server: ModelServer, fault: NamedFault) -> None:
    server.always(Fault(fault, seconds=1))
    model = OllamaModel(Llm(use="ollama", model="llama3.2", base_url=server.url), notice=lambda line: None)
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(model.complete, ASKED, most=10)
        while not server.calls:
            time.sleep(0.01)
        model.close()
        assert type(asking.exception(timeout=60)) is ModelError
    assert len(server.calls) == 1


def test_the_server_that_stands_in_counts_calls_at_once(server: ModelServer, opens: Opens) -> None:
    server.delay = 0.1

    def reply(asked: Asked) -> str:
        return asked.prompt

    server.reply = reply
    model = opens()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: model.complete(Prompt("", str(n)), most=9), range(20)))
    assert 1.0 < server.average_at_once() <= 4.0
    assert server.most_at_once == 4
