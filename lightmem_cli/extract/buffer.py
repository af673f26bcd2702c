"""Gathers the topics of a conversation as short-term memory, until they are worth one call of a language model.

What goes into which call depends on what was said alone: topics come in order, and one that follows later moves nothing
of those before it. So they may be gathered in whatever portions they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Generic, NamedTuple, TypeAlias, TypeVar

_Item = TypeVar("_Item")


class Sized(NamedTuple, Generic[_Item]):
    """Something that was said, and how many tokens it costs to send it."""

    item: _Item
    tokens: int


Topic: TypeAlias = Sequence[Sized[_Item]]


def gather(topics: Iterable[Topic[_Item]], *, tokens: int) -> tuple[list[list[Topic[_Item]]], list[Topic[_Item]]]:
    """Fill buffers with topics, in order: those that are full, each as its topics, and what is in the last one.

    A buffer is full with the topic that brings it to `tokens` or more. Of a topic with more than twice as many, so much
    goes into it as fills it, and the rest goes on as a topic of its own.
    """
    full: list[list[Topic[_Item]]] = []
    buffer: list[Topic[_Item]] = []
    taken = 0
    for topic in topics:
        sums = list(accumulate(one.tokens for one in topic))
        begin = 0
        while begin < len(topic):
            before = sums[begin - 1] if begin else 0
            end = len(topic)
            if sums[-1] - before > 2 * tokens:
                end = next(at for at in range(begin, end) if taken + sums[at] - before >= tokens) + 1
            buffer.append(topic[begin:end])
            taken += sums[end - 1] - before
            begin = end
            if taken >= tokens:
                full.append(buffer)
                buffer, taken = [], 0
    return full, buffer


def halves(topics: Sequence[Topic[_Item]]) -> tuple[list[_Item], list[_Item]]:
    """What was said in `topics`, two messages at least, as two parts of about the same size.

    They meet between two topics where that leaves neither a third of the other, else between two messages.
    """
    said = [one for topic in topics for one in topic]
    sums = list(accumulate(one.tokens + 1 for one in said))  # who says nothing counts, too
    between = [end for end in accumulate(len(topic) for topic in topics) if end < len(said)]
    fair = [end for end in between if sums[-1] <= 4 * sums[end - 1] <= 3 * sums[-1]]
    middle = min(fair or range(1, len(said)), key=lambda end: abs(2 * sums[end - 1] - sums[-1]))
    items = [one.item for one in said]
    return items[:middle], items[middle:]
