"""A fact is supported where its turns say it, in whatever words; what nobody said is not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.embed import open_embedder
from lightmem_cli.engine.embedding import sentences_of
from lightmem_cli.extract.support import is_supported, overlap, told
from lightmem_cli.records import Message, Role

if TYPE_CHECKING:
    from lightmem_cli.protocols import Embedder, Vectors

TALK = [
    "Caroline: I went to a LGBTQ support group yesterday and it was so powerful.",
    "Melanie: Wow! My daughter Sara and I adopted three kittens on Friday.",
    "Caroline: Do they scratch? I'd love to see NYC with them.",
]
GROUP, KITTENS = TALK[:1], TALK[1:2]


def message(content: str, **fields: object) -> Message:
    known = {"conversation": "c", "session": "s", "id": "1", "position": 0, "role": Role.USER}
    return Message(content=content, **(known | fields))  # type: ignore[arg-type]


def test_what_a_message_tells_is_who_says_what_with_the_image() -> None:
    assert told(message("hi", speaker="Anna")) == "Anna: hi"
    assert told(message("hi", role=Role.ASSISTANT, image_caption="a dog")) == "Assistant: hi\n[a dog]"


def test_the_words_of_the_turns_count_in_whatever_form() -> None:
    assert overlap("Caroline went to a support group.", GROUP, talk=TALK) == (1.0, 1.0, ())
    assert overlap("Melanie has adopted kittens.", GROUP, talk=TALK).own == 0
    assert overlap("Melanie has adopted kittens.", GROUP, talk=TALK).talk == 1
    half = overlap("Melanie adopts iguanas.", KITTENS, talk=TALK)
    assert 0 < half.own < 0.5  # the rarer word counts more
    assert overlap("", GROUP, talk=TALK).own == 1


def test_who_talks_and_when_counts_neither_way() -> None:
    bare = overlap("went to a support group", GROUP, talk=TALK)
    named = "On 7 May 2023, a Sunday in May, Caroline went to a support group with Melanie."
    assert overlap(named, GROUP, talk=TALK) == bare == (1.0, 1.0, ())


@pytest.mark.parametrize(
    ("text", "strange"),
    [
        ("Melanie and Sara adopted 3 kittens.", ()),
        ("Melanie and Sara adopted four kittens.", ("4",)),
        ("Melanie and Sara have adopted twenty kittens, and 1,500 mice.", ("20", "1500")),
        ("Melanie has a daughter whose name is Peggy.", ("Peggy",)),
        ("Caroline would love to see New York City.", ()),
        ("Caroline would love to see New Orleans.", ("New Orleans",)),
        ("Melanie adopted the kittens on 5 May 2023.", ()),
        ("Melanie adopted the kittens two years ago.", ("2",)),
    ],
)
def test_numbers_and_names_that_nobody_said_are_strange(text: str, strange: tuple[str, ...]) -> None:
    assert overlap(text, KITTENS, talk=TALK).strange == strange
    assert is_supported(text, KITTENS, cosine=0.99, talk=TALK) is (not strange)
    assert is_supported(text, KITTENS, cosine=0.99)  # nobody knows what else was said


def test_what_has_no_word_of_the_turns_needs_a_near_vector() -> None:
    text = "Caroline felt accepted."
    assert is_supported(text, GROUP, cosine=0.7, talk=TALK)
    assert not is_supported(text, GROUP, cosine=0.5, talk=TALK)
    assert is_supported("Caroline went to a support group.", GROUP, cosine=0.1, talk=TALK)


def test_other_languages_are_held_against_their_own_words() -> None:
    talk = ["Jürgen: Ich habe gestern drei Katzen aus dem Tierheim in Zürich geholt.", "小明: 我昨天参加了支持小组。"]
    assert is_supported("Jürgen hat 3 Katzen aus dem Tierheim geholt.", talk[:1], cosine=0.3, talk=talk)
    assert is_supported("小明参加了支持小组。", talk[1:], cosine=0.3, talk=talk)
    assert not is_supported("小明想去东京旅游。", talk[1:], cosine=0.3, talk=talk)


TEXTS = st.text(max_size=60) | st.sampled_from(TALK)


@given(TEXTS, st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3), st.floats(-1, 1))
def test_more_talk_and_nearer_vectors_never_speak_against_a_fact(
    text: str, said: list[str], talk: list[str], cosine: float
) -> None:
    found = overlap(text, said, talk=talk)
    assert 0 <= found.own <= found.talk <= 1
    if is_supported(text, said, cosine=cosine, talk=talk):
        assert is_supported(text, said, cosine=cosine)
        assert is_supported(text, said, cosine=min(1, cosine + 0.1), talk=talk)


def test_what_models_wrote_of_a_conversation_is_supported_by_its_turns_and_by_few_others(lightmem_data: Path) -> None:
    """On a conversation that nothing was fitted on; `scripts/fit_support.py` prints the whole table."""
    folder = lightmem_data / "locomo"
    if not (folder / "conv-43.observations.jsonl").exists():
        pytest.skip(f"no conv-43 in {folder}")
    embedder, draw = open_embedder("onnx", progress=lambda _: None), random.Random(5)
    messages = {row["id"]: _message(row) for row in _rows(folder / "conv-43.messages.jsonl")}
    facts = [row for row in _rows(folder / "conv-43.observations.jsonl") if row["evidence"][0] in messages]
    right = wrong = changed = 0
    for row, vector in zip(facts, embedder.embed([row["fact"] for row in facts]), strict=True):
        text, its = row["fact"], messages[row["evidence"][0]]
        other = draw.choice([one for one in messages.values() if one.session != its.session])
        nearness, talk = _nearness(embedder, vector, its), _talk(messages, its)
        right += is_supported(text, [told(its)], cosine=nearness, talk=talk)
        changed += is_supported(f"{text} It cost 8,713 dollars.", [told(its)], cosine=nearness, talk=talk)
        nearness, talk = _nearness(embedder, vector, other), _talk(messages, other)
        wrong += is_supported(text, [told(other)], cosine=nearness, talk=talk)
    assert right >= 0.98 * len(facts)
    assert wrong <= 0.15 * len(facts)
    assert changed == 0


def _nearness(embedder: Embedder, vector: Vectors, message: Message) -> float:
    rows = embedder.embed(sentences_of(message))
    mean = rows.mean(axis=0)
    return float(max((rows @ vector).max(), mean @ vector / np.linalg.norm(mean)))


def _talk(messages: dict[str, Message], message: Message) -> list[str]:
    return [told(one) for one in messages.values() if one.session == message.session]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _message(row: dict[str, Any]) -> Message:
    fields = {name: row.get(name) for name in ("conversation", "session", "id", "speaker", "image_caption")}
    return message(row["content"], **fields)
