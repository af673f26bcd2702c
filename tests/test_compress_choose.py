"""What stays of a text keeps to its budget, and is joined as it was said."""

from __future__ import annotations

import math
from itertools import compress

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lightmem_cli.compress.choose import Word, choose, joined, share

RATES = st.floats(0.001, 1) | st.sampled_from([0.1, 0.25, 0.5, 0.6, 0.75, 0.999, 1.0])
SCORES = st.floats(-5, 5) | st.just(0.5)


def words_of(*tokens: float, scores: list[float] | None = None, forced: tuple[int, ...] = ()) -> list[Word]:
    scores = scores or [0.0] * len(tokens)
    return [Word(n, n + 1, each, scores[n], n in forced) for n, each in enumerate(tokens)]


@st.composite
def some_words(draw: st.DrawFn, least: int = 0, most: int = 90, forced: bool = False, longest: int = 10) -> list[Word]:
    sizes = draw(st.lists(st.integers(1, longest), min_size=least, max_size=most))
    alike = draw(st.booleans())
    scores = [0.0 if alike else draw(SCORES) for _ in sizes]
    must = [forced and draw(st.integers(0, 4)) == 0 for _ in sizes]
    return [Word(n, n + 1, *each) for n, each in enumerate(zip(sizes, scores, must, strict=True))]


def kept(words: list[Word], stays: list[bool]) -> float:
    return sum(word.tokens for word in compress(words, stays))


def total(words: list[Word]) -> float:
    return sum(word.tokens for word in words)


@given(some_words(least=50), RATES)
@example(words_of(*[1] * 48, 10, 10, scores=[1.0] * 48 + [0.0, 0.0]), 0.8)  # neither fits when its turn comes
def test_a_text_of_fifty_words_keeps_to_the_rate_within_three_points(words: list[Word], rate: float) -> None:
    stays = choose(words, rate=rate, minimum=0)
    assert abs(share(words, stays) - rate) <= 0.03
    assert share(words, stays) == pytest.approx(kept(words, stays) / total(words))


@given(some_words(least=1, forced=True), RATES, st.integers(0, 30))
def test_what_stays_is_at_least_what_must(words: list[Word], rate: float, minimum: int) -> None:
    stays = choose(words, rate=rate, minimum=minimum)
    assert len(stays) == len(words)
    assert any(stays)
    assert all(stay for word, stay in zip(words, stays, strict=True) if word.forced)
    assert kept(words, stays) >= min(minimum, total(words)) - 1e-6
    if rate == 1 or total(words) <= minimum:
        assert all(stays)


@given(some_words(least=1, forced=True), RATES, st.integers(0, 30))
def test_forced_words_that_fill_the_budget_stay_alone(words: list[Word], rate: float, minimum: int) -> None:
    stays = choose(words, rate=rate, minimum=minimum)
    forced = sum(word.tokens for word in words if word.forced)
    budget = max(rate * total(words), min(minimum, total(words)))
    if forced >= budget and rate < 1 and total(words) > minimum:
        assert stays == [word.forced for word in words]


@given(some_words(least=1, longest=1), RATES)
def test_of_words_of_one_length_those_of_the_highest_scores_stay(words: list[Word], rate: float) -> None:
    stays = choose(words, rate=rate, minimum=0)
    best = sorted(words, key=lambda word: -word.score)[: sum(stays)]  # sorted() is stable: earlier first
    assert list(compress(words, stays)) == sorted(best)


@given(some_words(least=1, forced=True), RATES, st.integers(0, 30))
def test_no_other_word_would_still_fit(words: list[Word], rate: float, minimum: int) -> None:
    stays = choose(words, rate=rate, minimum=minimum)
    budget = max(rate * total(words), min(minimum, total(words)))
    over = kept(words, stays) - budget
    for word, stay in zip(words, stays, strict=True):
        if not stay and over < 0:
            assert over + word.tokens > 1e-9
            assert over + word.tokens >= -over - 1e-6  # nor come nearer


def test_of_equal_scores_the_earlier_words_stay() -> None:
    assert choose(words_of(1, 1, 1, 1), rate=0.5, minimum=0) == [True, True, False, False]


def test_what_does_not_fit_is_passed_over() -> None:
    words = words_of(1, 6, 1, 1, 1, scores=[5, 4, 3, 2, 1])
    assert choose(words, rate=0.4, minimum=0) == [True, False, True, True, True]


def test_a_giant_word_stays_or_goes_by_which_is_nearer() -> None:
    words = words_of(*[1] * 10, 100, scores=[0.0] * 10 + [9.0])
    assert choose(words, rate=0.1, minimum=0) == [True] * 10 + [False]
    assert choose(words, rate=0.8, minimum=0)[-1]
    assert choose(words_of(100), rate=0.1, minimum=0) == [True]  # no text becomes empty
    assert choose(words_of(1, 100), rate=0.01, minimum=8) == [False, True]


@pytest.mark.parametrize("scores", [[math.inf, -math.inf, 0.0], [0.0, 0.0, 0.0]])
def test_any_scores_are_taken(scores: list[float]) -> None:
    assert choose(words_of(1, 1, 1, scores=scores), rate=0.34, minimum=0) == [True, False, False]


def test_words_that_cost_nothing_and_no_words() -> None:
    assert choose([], rate=0.5, minimum=8) == []
    assert share([], []) == 1.0
    assert choose(words_of(0, 0), rate=0.5, minimum=0) == [True, True]
    assert share(words_of(0, 0), [True, True]) == 1.0


def test_a_hundred_thousand_words() -> None:
    words = [Word(n, n + 1, 1 + n % 5, (n * 7919) % 1000) for n in range(100_000)]
    assert share(words, choose(words, rate=0.6, minimum=8)) == pytest.approx(0.6, abs=1e-4)


PIECES = st.sampled_from(["so", "it", "goes", ".", ",", "(", ")", '"', "你", "好", "สวัส", "🙂", "don't", "\u00ad", "é"])
SPACES = st.sampled_from(["", "", " ", "  ", "\n", " \n ", "\t", "\u3000", "\u200b"])


@st.composite
def some_text(draw: st.DrawFn) -> tuple[str, list[Word], list[bool]]:
    text, words = draw(SPACES), []
    for piece in draw(st.lists(PIECES, max_size=12)):
        if draw(st.integers(0, 9)):  # some characters belong to no word
            words.append(Word(len(text), len(text) + len(piece), 1, 0))
        text += piece + draw(SPACES)
    return text, words, draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words)))


@given(some_text())
def test_a_shortened_text_says_nothing_that_was_not_said(drawn: tuple[str, list[Word], list[bool]]) -> None:
    text, words, stays = drawn
    short = joined(text, words, stays)
    original = iter(text)
    assert all(character in original for character in short if not character.isspace())  # a subsequence
    spaces = [character for character in short if character.isspace()]
    assert set(spaces) <= set(text) | {" "}
    assert len(spaces) <= sum(character.isspace() for character in text)
    rest = iter(short)
    for word in compress(words, stays):
        assert all(character in rest for character in text[word.begin : word.end])


@given(some_text())
def test_what_stays_whole_is_unchanged_and_what_goes_leaves_nothing(drawn: tuple[str, list[Word], list[bool]]) -> None:
    text, words, _ = drawn
    assert joined(text, words, [True] * len(words)) == text
    if words:
        assert joined(text, words, [False] * len(words)) == ""


@given(some_text(), st.data())
def test_words_are_parted_where_they_were_and_nowhere_else(
    drawn: tuple[str, list[Word], list[bool]], data: st.DataObject
) -> None:
    text, words, _ = drawn
    assume(len(words) > 2)
    one = data.draw(st.integers(0, len(words) - 3))
    other = data.draw(st.integers(one + 2, len(words) - 1))
    short = joined(text, words, [place in {one, other} for place in range(len(words))])
    before = text[: words[0].begin] if one == 0 else ""
    behind = text[words[-1].end :] if other == len(words) - 1 else ""
    first, last = (text[words[place].begin : words[place].end] for place in (one, other))
    assert short.startswith(before + first)
    assert short.endswith(last + behind)
    parted = short[len(before + first) : len(short) - len(last + behind)]
    between = text[words[one].end : words[other].begin]
    if "\n" in between:
        assert parted == "\n"
    elif not any(character.isspace() for character in between):
        assert parted == ""
    elif first.isalnum() and last.isalnum():
        assert parted == " "
    else:  # a mark that sticks to what it closes or opens
        assert parted in {"", " "}


@pytest.mark.parametrize(
    ("text", "left", "expected"),
    [
        ("so it goes", "so goes", "so goes"),
        ("so  it   goes", "so it", "so  it"),
        ("  so it goes  ", "so it", "  so it"),
        ("  so it goes  ", "it goes", "it goes  "),
        ("so it goes .", "so .", "so ."),
        ("so it goes.", "so .", "so."),
        ('so it goes ! " )', "so !", "so !"),
        ('so it goes."', 'so . "', 'so."'),
        ("so (it goes) on", "so ( goes ) on", "so (goes) on"),
        ("so it\n\ngoes on", "so on", "so\non"),
        ("so it\n\ngoes on", "it goes", "it\n\ngoes"),
        ("你好世界", "你世", "你世"),
        ("你好 世界", "你界", "你 界"),
        ("สวัสดีครับ", "สวัสครับ", "สวัสครับ"),
        ("今日は。天気", "今。天", "今。天"),
        ("well-known it", "well it", "well it"),
        ("a b", "", ""),
    ],
)
def test_how_it_is_joined(text: str, left: str, expected: str) -> None:
    import re

    pattern = re.compile(r"สวัส|ดี|ครับ|[A-Za-z]+|[^\sA-Za-z]")
    words = [Word(*match.span(), 1, 0) for match in pattern.finditer(text)]
    wanted = pattern.findall(left)
    stays = [bool(wanted) and text[word.begin : word.end] == wanted[0] and bool(wanted.pop(0)) for word in words]
    assert not wanted
    assert joined(text, words, stays) == expected
