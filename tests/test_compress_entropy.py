"""The most surprising words stay: by frequencies or by a language model, to the rate, in order, in any script."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tiny_causal_model import TEXT, WINDOW, make_tiny_gpt2

from lightmem_cli.compress import ALL_KEPT, HowToShorten, open_compressor
from lightmem_cli.compress.entropy import EntropyCompressor, _grouped
from lightmem_cli.errors import MissingPart, ProfileError
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.local_models.causal import open_causal_model
from lightmem_cli.records import Compressed, Message, Role


def how(**choices: Any) -> HowToShorten:
    settings: dict[str, Any] = {
        "reader": lambda: pytest.fail("no reader is needed"),
        "model": "",
        "rate": 0.6,
        "minimum": 8,
        "keep": ALL_KEPT,
        "roles": "both",
        "surprise": "average",
        "device": "cpu",
        "progress": lambda line: None,
    }
    return HowToShorten(**(settings | choices))


def said(content: str, role: Role = Role.USER, speaker: str | None = None) -> Message:
    return Message(conversation="", session="", id="1", position=0, role=role, content=content, speaker=speaker)


def short(text: str, **choices: Any) -> Compressed:
    return open_compressor("entropy", how(**choices)).compress([said(text)])[0]


def bare(text: str) -> str:
    return "".join(text.split())


def is_part(left: str, text: str) -> bool:
    """Whether the characters of `left` stand in `text` in the same order."""
    characters = iter(text)
    return all(character in characters for character in left)


def runs(text: str) -> set[str]:
    """The words of scripts that write spaces, and numbers."""
    han = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    return set(re.findall(rf"[^\W_\u0300-\u036f\u0900-\u0fff\u3040-\u30ff{han}]+", text))


# ---- laws -------------------------------------------------------------------------------------------------------

SAID = """
the a of and I you was is not so really very don't it's went school yesterday Anna Berlin job week family home ` " ' (
painting sunrise quickly awesome hey thanks 3 2023 well-known xylophone ! ? . , … — ) 😊 👩‍💻 naïve été und nicht ich
Hund Schmetterling я не школу 昨天 我们没有去北京大学 昨日は東京で食べました カタカナ ฉันไม่ได้ไปโรงเรียน 한국어 학교에
हिन्दी مرحبا `x_y` https://x.org/a?b=c me@x.co “quoted” 「い」 ```
"""
WORDS = st.sampled_from(SAID.split())
TEXTS = st.one_of(
    st.lists(WORDS, max_size=60).map(" ".join),
    st.lists(st.tuples(WORDS, st.sampled_from(["", " ", "  ", "\n", "\t", "\u3000"])), max_size=60).map(
        lambda parts: "".join(word + gap for word, gap in parts)
    ),
    st.text(max_size=80),
)
RATES = st.floats(0.05, 1)
KEPT = st.lists(st.sampled_from(ALL_KEPT), unique=True).map(tuple)


@given(texts=st.lists(TEXTS, max_size=4), rate=RATES, minimum=st.integers(0, 12), keep=KEPT)
def test_no_message_is_lost_and_what_stays_is_in_its_order(
    texts: list[str], rate: float, minimum: int, keep: tuple[Any, ...]
) -> None:
    compressor = EntropyCompressor(how(rate=rate, minimum=minimum, keep=keep))
    messages = [said(text) for text in texts]
    assert compressor.filled(messages) == len(messages)
    result = compressor.compress(messages)
    assert len(result) == len(texts)
    for text, its in zip(texts, result, strict=True):
        assert is_part(bare(its.text), text)
        assert 0 <= its.kept <= 1
        assert len(its.text) <= len(text)
        assert its.kept < 1 or its.text == text
        assert runs(its.text) <= runs(text)
        assert bare(its.text) or not bare(text)
        assert its == compressor.compress([said(text)])[0]


@given(
    words=st.lists(st.text(st.sampled_from("abcdeinorst"), min_size=1, max_size=9), min_size=50, max_size=70),
    marks=st.lists(st.sampled_from(["", "", "", ",", ".", "!", " -", "?!"]), min_size=70, max_size=70),
    rate=st.floats(0.1, 0.99),
)
def test_the_rate_is_held_where_nothing_is_forced(words: list[str], marks: list[str], rate: float) -> None:
    text = " ".join(word + mark for word, mark in zip(words, marks, strict=False))
    result = short(text, rate=rate, minimum=0, keep=())
    assert result.kept == pytest.approx(rate, abs=0.03)
    assert len(result.text) == pytest.approx(result.kept * len(text), abs=2)  # the first word has no space before it


@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["it", "went", "so", "quickly", "sunrise", "Anna"]), st.sampled_from(',.!—;:)"')),
        min_size=60,
        max_size=60,
    ),
    space=st.sampled_from(["", " "]),
    rate=st.floats(0.05, 0.99) | st.sampled_from([0.9, 0.95]),
)
def test_the_rate_is_held_in_a_text_that_is_half_marks(parts: list[tuple[str, str]], space: str, rate: float) -> None:
    text = " ".join(word + space + mark for word, mark in parts)
    assert short(text, rate=rate, minimum=0, keep=()).kept == pytest.approx(rate, abs=0.03)


@given(
    text=st.text(
        st.sampled_from("我昨天没有去北京大学因为生病了這個們週末昨日はで食べましたカタカナ。，ฉันไม่ได้ปโรงเีย"),
        min_size=1,
    ),
    rate=RATES,
)
def test_no_space_is_invented_where_none_is_written(text: str, rate: float) -> None:
    assert not re.search(r"\s", short(text, rate=rate, minimum=0).text)


@given(
    parts=st.lists(st.sampled_from(["我昨天没有去北京", "カタカナ", "ฉันไม่", "a"]), min_size=2, max_size=9), rate=RATES
)
def test_no_space_is_lost_between_words_that_stay(parts: list[str], rate: float) -> None:
    left = short(" ".join(parts), rate=rate, minimum=0).text
    assert all(any(is_part(piece, part) for part in parts) for piece in left.split())


# ---- examples ---------------------------------------------------------------------------------------------------


def test_what_says_little_goes_first() -> None:
    text = "Wow, that's really awesome! I went to the pottery workshop with my kids and it was so relaxing."
    assert short(text, keep=(), rate=0.5, minimum=0).text == "awesome! I went pottery workshop kids relaxing."


@pytest.mark.parametrize(
    ("text", "stays", "goes"),
    [
        ("我昨天没有去北京大学，因为我生病了。", "昨天 北京大学 生病", "我 了 因为"),
        ("Gestern bin ich mit dem Hund in den Park gegangen, und er war froh", "Gestern Hund Park gegangen", "ich mit"),
        ("Я вчера не ходил в школу, потому что я болел", "вчера ходил болел", "потому"),
        ("Ayer fui con mi hermana a la playa y nadamos en el mar", "hermana playa nadamos", "con la el"),
    ],
)
def test_other_languages_have_their_own_frequencies(text: str, stays: str, goes: str) -> None:
    left = short(text, minimum=0, keep=()).text
    assert all(word in left for word in stays.split())
    assert not any(f" {word} " in f" {left} " for word in goes.split())


def test_a_mark_goes_with_what_it_hangs_on() -> None:
    left = short(
        "Hey! Wow! So! It was! The zugzwang (in the xylophone) was, as it is, paraphernalia. And so!", minimum=0
    )
    assert not re.search(r"(^|\s)[!,.)]|\(\s", left.text)


def test_a_pause_does_not_stand_before_the_mark_that_ends() -> None:
    for pause in (",", " —", ";"):
        text = f"Caroline{pause} thanks! Mental health is a big deal to so many of us, and it was good to hear it."
        assert re.match("Caroline!? Mental", short(text, rate=0.5).text)
    assert "so,!" in short("It is so,! Zugzwang and so it is", rate=0.9, minimum=0).text  # as it was said


def test_words_that_only_a_mark_parted_stay_apart() -> None:
    assert "1990—1995" in short("it was so, from 1990—1995, that it was what it is", rate=0.4).text
    left = short("xylophone,and,zugzwang it was so that it is; [LightMem](https://x.org/a) or so it is", rate=0.6).text
    assert left.startswith("xylophone zugzwang ")
    assert "LightMem https://x.org/a" in left


def test_thai_is_shortened_by_phrases_and_a_single_one_stays() -> None:
    one = "ฉันไปโรงเรียนกับเพื่อนทุกวันเพราะสนุกมาก"
    assert short(f"{one}! ok", rate=0.1, minimum=0) == Compressed(f"{one}! ok", 1.0)
    phrases = ["เมื่อวานฝนตกหนัก", "ฉันอยู่บ้าน", "อ่านหนังสือ", "แล้วก็นอน"]
    left = short(" ".join(phrases), rate=0.5, minimum=0, keep=())
    assert set(left.text.split()) < set(phrases)
    assert left.kept == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("text", ["", " \n", "😊", "a", "!", "ok", "\ud800", "x" * 100_000])
def test_what_cannot_be_shortened_stays(text: str) -> None:
    assert short(text, rate=0.1, minimum=0) == Compressed(text, 1.0)


def test_a_short_message_stays_and_the_minimum_is_in_tokens() -> None:
    text = "I am so very glad that you came"  # 31 characters
    assert short(text, rate=0.1) == Compressed(text, 1.0)
    assert count_tokens(short(f"{text} and it is {text}", rate=0.1).text) in range(7, 10)


@given(text=TEXTS, rate=RATES)
def test_where_the_minimum_holds_all_the_text_is_as_it_was_said(text: str, rate: float) -> None:
    assert short(text, rate=rate, minimum=len(text)) == Compressed(text, 1.0)


def test_a_heading_keeps_its_mark_where_nothing_needs_to_go() -> None:
    assert short("# Zugzwang xylophone wedding days", rate=0.6, minimum=4).kept < 1
    for text in (
        "# Zugzwang xylophone wedding day",
        "# Zugzwang xylophone wedding days",
        "- [ ] Zugzwang xylophone weddings",
    ):
        assert short(text, rate=0.6, minimum=8, keep=()) == Compressed(text, 1.0)


def test_an_emoji_says_as_much_as_a_rare_word() -> None:
    text = "It was so very much of what there is to be: your birthday 🎂 and they all were there with me, 👍👍👍"
    left = short(text, rate=0.4, minimum=0, keep=()).text
    assert all(one in left for one in ("🎂", "👍👍👍", "birthday"))
    assert "there is to be" not in left


def test_rate_1_changes_nothing() -> None:
    assert short("the  same \n text,  as it is " * 9, rate=1.0).text == "the  same \n text,  as it is " * 9


def test_a_hundred_thousand_words() -> None:
    text = "I said that another word, don't go so soon, Bob! " * 10_000
    result = short(text)
    assert result.kept == pytest.approx(0.6, abs=0.03)
    assert is_part(bare(result.text), text)


@pytest.mark.parametrize(
    ("roles", "shortened"),
    [("user", [True, False, True, False, False]), ("assistant", [False, True, True, False, False]),
     ("both", [True, True, True, False, False])],
)  # fmt: skip
def test_only_the_roles_that_are_asked_for_are_shortened(roles: str, shortened: list[bool]) -> None:
    text = "it was so very much of what there is to be said of it " * 3
    senders = [
        (Role.USER, None),
        (Role.ASSISTANT, None),
        (Role.ASSISTANT, "Anna"),
        (Role.SYSTEM, None),
        (Role.TOOL, None),
    ]
    result = EntropyCompressor(how(roles=roles)).compress([said(text, *sender) for sender in senders])
    assert [its.text != text for its in result] == shortened
    assert [its.kept < 1 for its in result] == shortened


def test_the_name_tells_all_that_changes_the_text() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"rate": 0.5}, {"minimum": 9}, {"keep": ()}, {"keep": ("names",)}, {"roles": "user"}, {"model": "x"},
        {"model": "x", "surprise": "first"}, {"model": "y"},
    ]  # fmt: skip
    assert len({EntropyCompressor(how(**change)).name for change in changes}) == len(changes)
    for same in ({"surprise": "first"}, {"device": "cuda"}, {"keep": ALL_KEPT[::-1]}):
        assert EntropyCompressor(how(**same)).name == EntropyCompressor(how()).name


# ---- by a language model ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gpt2(tmp_path_factory.mktemp("models") / "gpt2")


@pytest.fixture(scope="module")
def expected(gpt2: Path) -> Callable[[list[int]], list[float]]:
    """The bits of each token but the first by transformers' own model and torch's log-softmax."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gpt2).eval()

    def bits(ids: list[int]) -> list[float]:
        with torch.no_grad():
            logs = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
        return [-logs[at - 1, ids[at]].item() / math.log(2) for at in range(1, len(ids))]

    return bits


def ids_of(folder: Path, text: str) -> list[int]:
    from transformers import AutoTokenizer

    found: list[int] = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
    return found


def test_bits_are_those_of_transformers(gpt2: Path, expected: Callable[[list[int]], list[float]]) -> None:
    text = "the cat went home, naïve 😊 Zoë"
    found = open_causal_model(str(gpt2), device="cpu", progress=lambda line: None).information(text)
    ids = ids_of(gpt2, text)
    assert len(ids) < WINDOW
    assert [token.bits for token in found] == pytest.approx(expected([0, *ids]), abs=1e-4)
    assert max(token.bits for token in found) > min(token.bits for token in found) + 1
    assert {at for token in found for at in range(token.begin, token.end)} == set(range(len(text)))


def test_a_long_text_is_read_in_windows_that_overlap(gpt2: Path, expected: Callable[[list[int]], list[float]]) -> None:
    text = TEXT * 8
    found = [token.bits for token in open_causal_model(str(gpt2), device="cpu", progress=print).information(text)]
    row = [0, *ids_of(gpt2, text)]
    assert len(found) == len(row) - 1 > 4 * WINDOW
    assert found[: WINDOW - 1] == pytest.approx(expected(row[:WINDOW]), abs=1e-4)
    half = WINDOW // 2
    for begin in range(WINDOW, len(row), half):
        window = expected(row[begin - half : begin + half])[half - 1 :]
        assert found[begin - 1 : begin - 1 + len(window)] == pytest.approx(window, abs=1e-4)


def test_without_a_token_to_begin_with_the_first_is_as_surprising_as_any(tmp_path: Path) -> None:
    folder = make_tiny_gpt2(tmp_path / "gpt2", begins=False)
    model = open_causal_model(str(folder), device="cpu", progress=lambda line: None)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert model.information("the cat")[0].bits == math.log2(vocabulary)
    assert model.information("") == []


def test_a_word_is_as_surprising_as_its_tokens_or_their_first(gpt2: Path) -> None:
    text = "the cat xylophone went, naïve"
    tokens = open_causal_model(str(gpt2), device="cpu", progress=lambda line: None).information(text)
    average = EntropyCompressor(how(model=str(gpt2)))._source.words(text)
    first = EntropyCompressor(how(model=str(gpt2), surprise="first"))._source.words(text)
    assert [text[word.begin : word.end] for word in average] == ["the", "cat", "xylophone", "went", ",", "naïve"]
    assert sum(word.tokens for word in average) == len(tokens)
    at = 0
    for mean, begin in zip(average, first, strict=True):
        bits = [token.bits for token in tokens[at : at + int(mean.tokens)]]
        at += len(bits)
        assert mean.score == pytest.approx(sum(bits) / len(bits))
        assert begin.score == bits[0]
    assert [word.score for word in average] != [word.score for word in first]


@given(text=TEXTS, rate=RATES)
def test_by_a_model_too_nothing_is_lost(
    gpt2_compressor: Callable[[float], EntropyCompressor], text: str, rate: float
) -> None:
    compressor = gpt2_compressor(rate)
    result = compressor.compress([said(text)])[0]
    assert is_part(bare(result.text), text)
    words = compressor._source.words(text)
    assert bare("".join(text[word.begin : word.end] for word in words)) == bare(text)
    assert all(word.tokens >= 1 for word in words)


@pytest.fixture(scope="module")
def gpt2_compressor(gpt2: Path) -> Callable[[float], EntropyCompressor]:
    """A compressor by the tiny model, loaded once for all rates."""
    source = EntropyCompressor(how(model=str(gpt2)))._source

    def at(rate: float) -> EntropyCompressor:
        compressor = EntropyCompressor(how(model=str(gpt2), rate=rate, minimum=0))
        compressor._source = source
        return compressor

    return at


@given(
    words=st.lists(st.sampled_from([*TEXT.split(), "xylophone"]), min_size=50, max_size=90), rate=st.floats(0.1, 0.95)
)
def test_by_a_model_the_rate_is_of_its_tokens(gpt2: Path, gpt2_compressor: Any, words: list[str], rate: float) -> None:
    compressor = gpt2_compressor(rate)
    compressor._how = how(model=str(gpt2), rate=rate, minimum=0, keep=())
    assert compressor.compress([said(" ".join(words))])[0].kept == pytest.approx(rate, abs=0.03)


@given(
    spans=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=12),
    tokens=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=20),
)
def test_each_token_belongs_to_one_word(spans: list[tuple[int, int]], tokens: list[tuple[int, int]]) -> None:
    def laid(lengths: list[tuple[int, int]]) -> list[tuple[int, int]]:
        found, at = [], 0
        for gap, length in lengths:
            found.append((at + gap, at + gap + length))
            at += gap + length
        return found

    words = laid(spans)
    assume(words)
    grouped = _grouped(words, laid(tokens))
    assert [place for _, places in grouped for place in places] == list(range(len(tokens)))
    assert all(places for _, places in grouped) or len(grouped) == 1
    assert grouped[0][0][0] == words[0][0]
    assert grouped[-1][0][1] == words[-1][1]
    assert {begin for (begin, _), _ in grouped} <= {begin for begin, _ in words}


# ---- models that are none ---------------------------------------------------------------------------------------


def spoil(folder: Path, file: str, content: bytes | None) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "bert", "architectures": ["BertForTokenClassification"]}'),
        ("config.json", b'{"model_type": "bert"}'),
        ("config.json", b'{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}'),
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{broken"),
        ("tokenizer.json", None),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff\xfe"),
    ],
)
def test_a_folder_that_is_no_causal_model_is_one_clear_line(
    gpt2: Path, tmp_path: Path, file: str, content: bytes | None
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(gpt2, folder)
    spoil(folder, file, content)
    with pytest.raises(MissingPart) as raised:
        short("the cat went home " * 9, model=str(folder))
    assert "\n" not in raised.value.message
    assert "lightmem config set compress.model" in str(raised.value.hint)


def test_weights_cut_short_are_one_clear_line(gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(gpt2, folder)
    spoil(folder, "model.safetensors", (gpt2 / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(MissingPart, match="weights"):
        short("the cat went home " * 9, model=str(folder))


def test_a_model_that_is_not_here_names_the_command_that_gets_it() -> None:
    with pytest.raises(MissingPart) as raised:
        short("the cat went home " * 9, model="someone/some-model")
    assert "hf download someone/some-model" in str(raised.value.hint)


def test_no_model_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    compressor = EntropyCompressor(how(model=str(tmp_path)))
    assert compressor.compress([said(" ")]) == [Compressed(" ", 1.0)]


def test_an_unknown_device_is_told(gpt2: Path) -> None:
    with pytest.raises(ProfileError, match="device"):
        short("the cat went home " * 9, model=str(gpt2), device="abacus")
