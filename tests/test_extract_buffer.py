"""Short-term memory as a pure function: what is read together depends on what was said, not on how it came in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.extract.buffer import Sized, Topic, gather, halves

Said = list[list[Sized[int]]]


@st.composite
def topics(draw: st.DrawFn, *, least: int = 0) -> Said:
    """Topics of numbered messages, some of them longer than two calls."""
    sizes = draw(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=least, max_size=8))
    number = iter(range(1000))
    return [[Sized(next(number), tokens) for tokens in its] for its in sizes]


def items(batch: list[Topic[int]]) -> list[int]:
    return [one.item for topic in batch for one in topic]


def tokens(batch: list[Topic[int]]) -> int:
    return sum(one.tokens for topic in batch for one in topic)


def test_a_buffer_is_full_with_the_topic_that_brings_it_there() -> None:
    said = [[Sized("a", 30)], [Sized("b", 30), Sized("c", 30)], [Sized("d", 50)], [Sized("e", 10)]]
    full, rest = gather(said, tokens=64)
    assert full == [said[:2]]
    assert rest == said[2:]


def test_a_topic_of_more_than_two_buffers_is_read_in_several_calls() -> None:
    said = [[Sized("first", 20)], [Sized(number, 10) for number in range(20)], [Sized("last", 10)]]
    full, rest = gather(said, tokens=64)
    # 50 tokens fill the first; of the 150 that are left 70 are more than enough, and the last 80 are not too many.
    assert [[len(topic) for topic in batch] for batch in full] == [[1, 5], [7], [8]]
    assert rest == [said[-1]]
    full, rest = gather([said[1][:12]], tokens=64)  # not more than two: it stays whole
    assert [[len(topic) for topic in batch] for batch in full] == [[12]]
    assert rest == []


def test_a_message_longer_than_a_buffer_is_read_alone_or_with_what_waited() -> None:
    full, rest = gather([[Sized("a", 10)], [Sized("b", 500)], [Sized("c", 1)]], tokens=64)
    assert [items(batch) for batch in full] == [["a", "b"]]
    assert items(rest) == ["c"]


@given(topics(), st.integers(1, 100))
def test_everything_is_in_one_buffer_and_in_order(said: Said, most: int) -> None:
    full, rest = gather(said, tokens=most)
    assert [item for batch in [*full, rest] for item in items(batch)] == items(list(said))
    assert all(tokens(batch) >= most for batch in full)
    assert tokens(rest) < most
    # No more than it takes: what filled a buffer was its last topic, or its last message where that topic was long.
    for batch in full:
        without = tokens(batch[:-1])
        assert without < most
        if tokens(batch) - without > 2 * most:
            assert tokens(batch) - batch[-1][-1].tokens < most


@given(topics(), st.integers(1, 100), st.data())
def test_what_comes_later_moves_nothing(said: Said, most: int, data: st.DataObject) -> None:
    """Gathered in portions, each from what was not in a full buffer, the same calls are made as at once."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=3), label="cuts"))
    made: list[list[int]] = []
    rest: list[Topic[int]] = []
    for begin, end in zip([0, *cuts], [*cuts, len(said)], strict=True):
        full, rest = gather([*rest, *said[begin:end]], tokens=most)
        made += [items(batch) for batch in full]
    at_once, last = gather(said, tokens=most)
    assert made == [items(batch) for batch in at_once]
    assert items(rest) == items(last)


def test_halves_meet_between_topics_where_that_is_fair() -> None:
    said = [[Sized(1, 10), Sized(2, 10)], [Sized(3, 10), Sized(4, 10), Sized(5, 10)]]
    assert halves(said) == ([1, 2], [3, 4, 5])
    lopsided = [[Sized(1, 1)], [Sized(2, 10), Sized(3, 10), Sized(4, 10)]]
    assert halves(lopsided) == ([1, 2], [3, 4])
    assert halves([[Sized(1, 0), Sized(2, 0)]]) == ([1], [2])
    assert halves([[Sized(1, 500)], [Sized(2, 1)]]) == ([1], [2])


@given(topics(least=1).filter(lambda said: sum(map(len, said)) > 1))
def test_halves_are_two_and_lose_nothing(said: Said) -> None:
    first, second = halves(said)
    assert first and second
    assert first + second == items(list(said))


@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_halving_reaches_every_message(count: int) -> None:
    waiting = [list(range(count))]
    alone = []
    while waiting:
        its = waiting.pop()
        if len(its) == 1:
            alone += its
        else:
            waiting += halves([[Sized(item, 5) for item in its]])
    assert sorted(alone) == list(range(count))
