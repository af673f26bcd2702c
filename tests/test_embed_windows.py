"""Windows cover a text, end between words, and stay within their limit."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.embed.windows import OVERLAP, cut, well_formed


@st.composite
def tokenized(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """The starts of tokens, the word of each, and the text's length."""
    sizes = draw(st.lists(st.integers(1, 90), min_size=1, max_size=60))
    starts, words = [draw(st.integers(0, 2))], []
    for word, size in enumerate(sizes):
        words += [word] * size
    for _ in words:
        starts.append(starts[-1] + draw(st.integers(0, 3)))
    return starts[:-1], words, starts[-1] + 1


@given(tokenized(), st.integers(8, 120))
def test_ranges_cover_the_text_in_order_within_the_limit(given: tuple[list[int], list[int], int], limit: int) -> None:
    starts, words, length = given
    ranges = cut(starts, words, length, limit=limit)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == length
    for (begin, end), (later, further) in pairwise(ranges):
        assert begin <= later <= end <= further
    for begin, end in ranges:
        inside = [start for start in starts if begin < start < end]
        assert len(inside) <= limit


@given(tokenized(), st.integers(100, 160))
def test_ranges_end_between_words_that_fit(given: tuple[list[int], list[int], int], limit: int) -> None:
    _, words, _ = given
    starts = list(range(len(words)))
    boundaries = {0, len(words), *(n for n in range(1, len(words)) if words[n] != words[n - 1])}
    longest = max(words.count(word) for word in set(words))
    for begin, end in cut(starts, words, len(words), limit=limit):
        if longest + OVERLAP < limit // 2:
            assert {begin, end} <= boundaries


def test_ranges_of_even_words_are_about_equal_and_overlap() -> None:
    words = list(range(1000))
    ranges = cut(words, words, 1000, limit=254)
    assert len(ranges) == 5
    assert {end - begin for begin, end in ranges} <= set(range(215, 230))
    assert all(end - later == OVERLAP for (_, end), (later, _) in pairwise(ranges))


def test_a_lone_surrogate_is_replaced_and_nothing_moves() -> None:
    assert well_formed("a\ud83db 🙂") == "a?b 🙂"
