"""A script that stands in for a language model: what it replies, counts, cuts off, and refuses to read."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import InputError, ModelError, ProfileError, TooLong, Unavailable
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm import open_language_model
from lightmem_cli.llm.scripted import EVERY_LINE_A_FACT, ScriptedModel, every_line_a_fact
from lightmem_cli.profiles.settings import Llm
from lightmem_cli.protocols import Prompt

TALK = """Today is Monday.
1 Not: a line of the talk
<talk>
## 2023-05-08 Mon 13:56
1 Caroline: I adopted a greyhound: a fast one [image: a dog]
2 Dr. Melanie Ray: ok
3 Caroline: </talk
</talk>
4 Nor: this"""


def ask(model: ScriptedModel, body: str = "", *, most: int = 1000) -> str:
    return model.complete(Prompt("", body), most=most).text


def script(folder: Path, *lines: object) -> ScriptedModel:
    path = folder / "replies.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return ScriptedModel.from_file(Llm(use="scripted", model=str(path)))


def test_every_numbered_line_of_the_talk_becomes_a_fact() -> None:
    assert json.loads(every_line_a_fact(Prompt("3 In: the instructions", TALK))) == {
        "facts": [
            {"of": [1], "text": "Caroline said: I adopted a greyhound: a fast one [image: a dog]"},
            {"of": [2], "text": "Dr. Melanie Ray said: ok"},
            {"of": [3], "text": "Caroline said: </talk"},
        ]
    }


def test_a_prompt_without_talk_gives_no_facts_and_a_long_line_is_cut() -> None:
    assert every_line_a_fact(Prompt("", "what?")) == '{"facts": []}'
    (fact,) = json.loads(every_line_a_fact(Prompt("", f"7 Anna: {'x' * 400}")))["facts"]
    assert fact == {"of": [7], "text": f"Anna said: {'x' * 289}"}


@given(st.text(), st.text(), st.text(), st.integers(1, 50))
def test_a_reply_comes_in_pieces_is_counted_by_characters_and_has_no_more_tokens_than_asked_for(
    prefix: str, body: str, said: str, most: int
) -> None:
    pieces: list[str] = []
    model = ScriptedModel(lambda prompt: said)
    reply = model.complete(Prompt(prefix, body), most=most, tell=pieces.append)

    assert "".join(pieces) == reply.text
    assert said.startswith(reply.text)
    assert reply.whole == (reply.text == said) == (count_tokens(said) <= most)
    assert reply.usage.completion_tokens == count_tokens(reply.text) <= most
    assert reply.usage.prompt_tokens == model.tokens(prefix) + model.tokens(body)
    assert (reply.usage.calls, reply.usage.cached_tokens) == (1, 0)
    assert model.prompts == [Prompt(prefix, body)]


def test_an_exception_that_the_script_returns_is_raised() -> None:
    told: list[str] = []
    model = ScriptedModel(lambda prompt: Unavailable("nobody answers"))
    with pytest.raises(Unavailable, match="nobody answers"):
        model.complete(Prompt("", "hello"), most=5, tell=told.append)
    assert (told, model.prompts) == ([], [Prompt("", "hello")])


def test_what_is_longer_than_the_context_is_refused() -> None:
    model = ScriptedModel(lambda prompt: "yes", context=10)
    assert ask(model, "x" * 20, most=5) == "yes"
    with pytest.raises(TooLong):
        ask(model, "x" * 20, most=6)


def test_several_threads_are_answered_at_once_each_after_the_delay() -> None:
    model = ScriptedModel(lambda prompt: prompt.body, delay=0.05)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda n: ask(model, str(n)), range(64)))
    assert replies == [str(n) for n in range(64)]
    assert sorted(model.prompts) == sorted(Prompt("", str(n)) for n in range(64))
    assert 8 * 0.05 <= time.monotonic() - began < 64 * 0.05  # one after the other it takes all of 3.2 s


def test_of_the_lines_that_fit_the_first_answers(tmp_path: Path) -> None:
    model = script(
        tmp_path,
        {"when": "greyhound", "reply": "a dog", "once": True},
        {"when": "greyhound", "reply": {"facts": [{"of": [1], "text": "Müller"}]}},
        "",
        {"reply": EVERY_LINE_A_FACT, "when": "<talk>"},
        {"reply": ""},
    )
    assert ask(model, "the greyhound") == "a dog"
    assert ask(model, "the greyhound") == '{"facts": [{"of": [1], "text": "Müller"}]}'
    assert model.complete(Prompt("of a greyhound", ""), most=99).text.startswith("{")  # the instructions count, too
    assert ask(model, TALK.replace("greyhound", "cat")).count('"of"') == 3
    assert ask(model, "whatever") == ""


def test_a_line_for_once_answers_one_of_many_threads(tmp_path: Path) -> None:
    model = script(tmp_path, {"reply": "first", "once": True}, {"reply": "later"})
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda n: ask(model), range(200)))
    assert sorted(replies) == ["first"] + ["later"] * 199


def test_a_prompt_that_no_line_fits_is_named(tmp_path: Path) -> None:
    model = script(tmp_path, {"when": "cats", "reply": "yes"})
    with pytest.raises(ModelError, match=r'no reply to the prompt "1 Anna: I like dogs') as raised:
        ask(model, f"1 Anna: I like\ndogs {'x' * 500}")
    assert len(raised.value.message) < 300
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON: Expecting property name"),
        ("[1]", "not a JSON object"),
        ('{"when": "x"}', '"reply" is missing'),
        ('{"reply": 5}', '"reply" is a string or an object'),
        ('{"reply": "x", "when": null}', '"when" is a string'),
        ('{"reply": "x", "once": 1}', '"once" is true or false'),
        ('{"reply": "x", "wen": "y"}', 'unknown key "wen"'),
    ],
)
def test_a_broken_line_is_named_with_its_place(tmp_path: Path, line: str, what: str) -> None:
    with pytest.raises(InputError) as raised:
        script(tmp_path, {"reply": "fine"}, "", line)
    assert raised.value.message.startswith(f"{tmp_path / 'replies.jsonl'}:3: ")
    assert what in raised.value.message
    assert raised.value.hint


def test_a_file_that_is_not_text_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    for content, what in ((b'{"reply": "\xff"}', ":1: this is not UTF-8"), (b"\n \n", "there is no reply")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=what):
            ScriptedModel.from_file(Llm(use="scripted", model=str(path)))


def test_a_profile_must_name_a_file_that_is_there(tmp_path: Path) -> None:
    for model in ("", str(tmp_path / "none.jsonl"), str(tmp_path)):
        with pytest.raises(ProfileError) as raised:
            open_language_model(Llm(use="scripted", model=model), notice=print)
        assert raised.value.hint


def test_a_profile_opens_its_file_of_replies(tmp_path: Path) -> None:
    path = tmp_path / "demo.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"reply": "yes"}\r\n')
    model = open_language_model(Llm(use="scripted", model=str(path), context=5000), notice=print)
    assert model is not None
    assert (model.name, model.context) == ("scripted/demo.jsonl", 5000)
    assert model.complete(Prompt("", "?"), most=5).text == "yes"
    before = model.manner
    path.write_bytes(b'{"reply": "no"}')
    again = ScriptedModel.from_file(Llm(use="scripted", model=str(path)))
    assert again.manner != before  # what it said before is not its reply any more
