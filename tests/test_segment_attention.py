"""The attention segmenter: a topic ends where a turn attends most to the turn before it, computed by hand and anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_token_models import KINDS, Kind, make_tiny_llmlingua
from token_readers import EDGE, ToldReader, spoken, told

from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.segment.attention import AttentionSegmenter
from lightmem_cli.segment.buffer import maxima, shares


def gaps_of(said: Sequence[Spoken], *, reader: ToldReader | None = None, ended: bool = True) -> list[Gap]:
    known = reader or ToldReader()
    return AttentionSegmenter(lambda: known, buffer_tokens=512).gaps(said, start=0, ended=ended)


def test_a_topic_ends_where_the_attention_to_the_turn_before_is_highest() -> None:
    gaps = gaps_of(told(9, 9, 2, 3, 8, 4, 1, 6, 3, 3))
    assert [gap.after for gap in gaps] == list(range(9))
    assert [gap.after for gap in gaps if gap.by == "attention"] == [3, 6]
    assert {gap.by for gap in gaps} == {"attention", None}
    # The first two turns have nothing to choose between; the others attend as they were told to.
    assert [gap.score for gap in gaps] == pytest.approx([0, 0.2, 0.3, 0.8, 0.4, 0.1, 0.6, 0.3, 0.3])


@pytest.mark.parametrize(
    "digits",
    [
        (5, 5, 5, 5, 5, 5, 5),  # nothing stands out
        (0, 0, 9, 8, 7, 6, 5),  # the first share has no share before it
        (0, 0, 1, 2, 3, 4, 9),  # nothing is said behind the last
        (0, 0, 1, 7, 7, 1, 0),  # neither of two equal ones is higher than the other
        (0, 0, 1, 9),
        (0, 9),
        (9,),
    ],
)
def test_what_is_no_maximum_cuts_nothing(digits: tuple[int, ...]) -> None:
    gaps = gaps_of(told(*digits))
    assert [gap.after for gap in gaps] == list(range(len(digits) - 1))
    assert {gap.by for gap in gaps} <= {None}


def test_a_turn_without_tokens_stays_with_what_it_follows() -> None:
    said = told(0, 0, 2, 3, 8, 4, 1)
    said[4:4] = [spoken("", number=10), spoken(" \n", number=11)]  # before the turn that attends most
    said[3:3] = [spoken("", number=12)]
    said.append(spoken("", number=13))
    gaps = gaps_of(said)
    assert [gap.after for gap in gaps if gap.by] == [6]
    assert said[7].message.content.startswith("8")
    assert [gap.score for gap in gaps] == pytest.approx([0, 0.2, 0, 0.3, 0, 0, 0.8, 0.4, 0.1, 0])
    assert gaps_of([spoken("")] * 4) == [Gap(after, 0.0, None) for after in range(3)]


def test_tokens_at_the_edges_of_a_window_take_part_in_no_turn() -> None:
    """All attention goes to the first token and from the last one: a hand's breadth further in it would decide."""
    attention = np.full((20, 20), 0.001, np.float32)
    attention[:, :EDGE] = 1
    attention[-EDGE:, :] = 1
    assert shares(attention, tokens=[5, 5, 5, 5])[2:] == pytest.approx([5 / 8, 5 / 13], abs=1e-6)
    attention[:, EDGE] = 1
    assert shares(attention, tokens=[5, 5, 5, 5])[2:] == pytest.approx([0.005 / 1.007, 0.005 / 1.012], abs=1e-6)


def expected_shares(attention: np.ndarray, tokens: Sequence[int]) -> dict[int, float]:
    """What the paper says, one token at a time."""
    owner = [turn for turn, count in enumerate(tokens) for _ in range(count)]
    inside = range(EDGE, len(owner) - EDGE)
    turns = sorted({owner[place] for place in inside})
    found = {}
    for at in range(2, len(turns)):
        mine = [place for place in inside if owner[place] == turns[at]]
        to = [
            sum(attention[place, other] for place in mine for other in inside if owner[other] == turn) / len(mine)
            for turn in turns[:at]
        ]
        found[turns[at]] = float(to[-1] / sum(to))
    return found


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 2**32 - 1))
def test_shares_are_what_they_are_said_to_be(tokens: list[int], seed: int) -> None:
    attention = np.random.default_rng(seed).random((sum(tokens), sum(tokens)), np.float32) + 0.001
    attention /= attention.sum(axis=1, keepdims=True)
    found = shares(attention, tokens=tokens)
    assert len(found) == len(tokens)
    assert {turn: share for turn, share in enumerate(found) if share is not None} == pytest.approx(
        expected_shares(attention.astype(np.float64), tokens), abs=1e-6
    )


@given(st.lists(st.one_of(st.none(), st.integers(0, 3).map(float))))
def test_a_maximum_is_higher_than_what_is_on_either_side(some: list[float | None]) -> None:
    known = [turn for turn, share in enumerate(some) if share is not None]
    expected = [
        turn
        for before, turn, after in zip(known, known[1:], known[2:], strict=False)
        if some[before] < some[turn] > some[after]  # type: ignore[operator]
    ]
    assert maxima(some) == expected


def test_the_model_is_opened_when_the_first_turn_is_to_be_judged_and_once() -> None:
    opened: list[ToldReader] = []

    def opening() -> ToldReader:
        opened.append(ToldReader())
        return opened[-1]

    segmenter = AttentionSegmenter(opening, buffer_tokens=512)
    assert segmenter.gaps([], start=0, ended=True) == []
    assert opened == []
    for _ in range(3):
        segmenter.gaps(told(1, 2, 3, 4, 5, 6), start=0, ended=True)
    [reader] = opened
    assert reader.passes == 3


# A model of the kind that is used -----------------------------------------------------------------------------------

TALK = (
    "I went to the support group on Monday, and it was really good.",
    "Thanks for the time, Caroline! Did you like it?",
    "",
    "Very much. We did not have to do anything.",
    "I have to work on Monday, so I could not go.",
    "My dog likes the park in May, just like you.",
    "Berlin is great at that time of the year!",
    "你好，今日は天気がいい。",
    "Do you go to Berlin, Melanie?",
    "We have time in May: that is the week I like.",
    "Great!",
    "The group is very good for me, and I did a lot of work there.",
    "So did she.",
    "What a day it was; and it is not Monday.",
    "I love my work.",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    return {kind: make_tiny_llmlingua(tmp_path_factory.mktemp("models"), kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_models_own_attentions_come_to_the_same_cuts(folders: dict[Kind, Path], kind: Kind) -> None:
    from lightmem_cli.local_models.token_pass import open_token_pass

    reader = open_token_pass(str(folders[kind]), device="cpu", precision="fp32", progress=lambda line: None)
    said = [spoken(text, number=number) for number, text in enumerate(TALK)]
    attention, tokens = _attended(folders[kind], TALK)
    segmenter = AttentionSegmenter(lambda: reader, buffer_tokens=512)
    gaps = segmenter.gaps(said, start=0, ended=True)
    assert reader.passes == 1
    wanted = expected_shares(attention, tokens)
    assert {gap.after + 1: gap.score for gap in gaps if gap.score} == pytest.approx(wanted, abs=1e-3)
    turns = sorted(wanted)
    cuts = [b for a, b, c in zip(turns, turns[1:], turns[2:], strict=False) if wanted[a] < wanted[b] > wanted[c]]
    assert [gap.after + 1 for gap in gaps if gap.by] == cuts != []


def _attended(folder: Path, texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """How tokens attend to each other in one window, and the tokens of each text, through transformers alone."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder, attn_implementation="eager").eval()
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    flat = [piece for text in ids for piece in text]
    window = torch.tensor([[tokenizer.cls_token_id, *flat, tokenizer.sep_token_id]])
    with torch.no_grad():
        layers = model(window, output_attentions=True).attentions
    assert len(layers) == 4, "the last third of which are two"
    attention = np.mean([layer[0].mean(0).numpy()[1:-1, 1:-1] for layer in layers[-2:]], axis=0)
    return attention / attention.sum(axis=1, keepdims=True), [len(text) for text in ids]
