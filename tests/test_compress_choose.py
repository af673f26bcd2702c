"""What stays of a text keeps to its budget, and is joined as it was said."""

from __future__ import annotations

import math
import re
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
    if any(word.tokens <= rate * total(words) for word in words):
        assert abs(share(words, stays) - rate) <= 0.03
    else:
        assert sum(stays) == 1
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
def test_forced_words_that_fill_the_budget_leave_half_the_rate_of_the_others(
    words: list[Word], rate: float, minimum: int
) -> None:
    stays = choose(words, rate=rate, minimum=minimum)
    others = [(word, stay) for word, stay in zip(words, stays, strict=True) if not word.forced]
    if total(words) - total([word for word, _ in others]) >= budget_of(words, rate, minimum) and others:
        left = rate / 2 * total([word for word, _ in others])
        stay = total([word for word, stay in others if stay])
        assert abs(stay - left) <= max(word.tokens for word, _ in others)


def budget_of(words: list[Word], rate: float, minimum: int) -> float:
    """Of tokens: as many as the rate says, or the minimum, or the forced ones and half the rate of the others."""
    forced = total([word for word in words if word.forced])
    return max(rate * total(words), min(minimum, total(words)), forced + rate / 2 * (total(words) - forced))


@given(some_words(least=1, longest=1), RATES)
def test_of_words_of_one_length_those_of_the_highest_scores_stay(words: list[Word], rate: float) -> None:
    stays = choose(words, rate=rate, minimum=0)
    best = sorted(words, key=lambda word: -word.score)[: sum(stays)]  # sorted() is stable: earlier first
    assert list(compress(words, stays)) == sorted(best)


@given(some_words(least=1, forced=True), RATES, st.integers(0, 30))
def test_no_other_word_would_still_fit(words: list[Word], rate: float, minimum: int) -> None:
    stays = choose(words, rate=rate, minimum=minimum)
    over = kept(words, stays) - budget_of(words, rate, minimum)
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


def test_where_nothing_fits_the_word_that_says_most_stays_unless_it_is_a_giant() -> None:
    dash, wonderful, blob = Word(0, 1, 0.25, 0.0), Word(1, 2, 2.5, 9.0), Word(2, 3, 100, 20.0)
    assert choose([dash, wonderful], rate=0.01, minimum=0) == [False, True]
    assert choose([dash, wonderful, blob], rate=0.001, minimum=0) == [False, True, False]
    assert choose([blob, blob], rate=0.001, minimum=0) == [True, False]


@given(some_words(least=1, longest=5), st.floats(0.0001, 1))
def test_a_word_that_stays_alone_because_nothing_fits_is_the_best(words: list[Word], rate: float) -> None:
    assume(all(word.tokens > rate * total(words) + 1e-6 for word in words))
    stays = choose(words, rate=rate, minimum=0)
    assert [word.score for word in compress(words, stays)] == [max(word.score for word in words)]


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


def is_unspaced(piece: str) -> bool:
    return piece in {"你", "好", "สวัส", "ดี"}


def is_word(piece: str) -> bool:
    return piece[0].isalnum() and piece[-1].isalnum()


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
        apart = "" if is_unspaced(first) or is_unspaced(last) else between if between in '(),."\u00ad🙂' else " "
        assert parted == (apart if is_word(first) and is_word(last) else "")
    elif first.isalnum() and last.isalnum():
        assert parted == " "
    else:  # a mark that sticks to what it closes or opens
        assert parted in {"", " "}


_RUN = re.compile(r"[a-zé']+")


@given(some_text())
def test_no_two_words_become_one(drawn: tuple[str, list[Word], list[bool]]) -> None:
    text, words, stays = drawn
    runs = _RUN.findall(text)
    assert all(any(run in whole for whole in runs) for run in _RUN.findall(joined(text, words, stays)))


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
        ("so—it|goes, we’re", "so it goes we re", "so—it|goes we’re"),
        ("so,it,goes", "so goes", "so goes"),
        ("so](it)!goes", "so it goes", "so it goes"),
        ("so你it", "so it", "so it"),
        ("[so](it", "[ so it", "[so it"),
        ("你,好,a", "你 a", "你a"),
        ("so it\r\n\r\ngoes on", "so on", "so\r\non"),
        ("a b", "", ""),
    ],
)
def test_how_it_is_joined(text: str, left: str, expected: str) -> None:
    pattern = re.compile(r"สวัส|ดี|ครับ|[A-Za-z]+|[^\sA-Za-z]")
    words = [Word(*match.span(), 1, 0) for match in pattern.finditer(text)]
    wanted = pattern.findall(left)
    stays = [bool(wanted) and text[word.begin : word.end] == wanted[0] and bool(wanted.pop(0)) for word in words]
    assert not wanted
    assert joined(text, words, stays) == expected
