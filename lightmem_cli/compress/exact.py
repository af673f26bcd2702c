"""Chooses the words of a conversation's message as the llmlingua package does, so that both can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lightmem_cli.compress.token_words import Group

if TYPE_CHECKING:
    from lightmem_cli.protocols import Pieces, TokenReader, Vectors

_NO_WORDS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "<unk>", "<s>", "</s>", "<pad>", "<mask>")


def special_tokens(reader: TokenReader) -> frozenset[int]:
    """The ids of the tokens that make no word for the package: the unknown one and the marks at a window's edges.

    They are asked for by name: a reader that splits a text as the package does makes one token of each.
    """
    pieces = [reader.pieces(name).ids for name in _NO_WORDS]
    return frozenset(ids[0] for ids in pieces if len(ids) == 1)


def groups_exactly(pieces: Pieces, *, special: frozenset[int]) -> list[Group]:
    """The words of a text as the package joins them, which `special` tokens are no part of.

    (`PromptCompressor.__merge_token_to_word`)
    """
    groups: list[list[int]] = []
    for place, (token, begins) in enumerate(zip(pieces.ids, pieces.begins, strict=True)):
        if token in special:
            continue
        if begins or not groups:
            groups.append([place])
        else:
            groups[-1].append(place)
    return [tuple(group) for group in groups]


def choose_exactly(
    groups: Sequence[Group], probabilities: Vectors, *, rate: float, count: Callable[[Group], int] = len
) -> list[bool]:
    """Which words stay, by the probabilities of a text's tokens, float32, shape (tokens,).

    A word is as probable as its tokens in the mean, and counts as often as `count` says: by default as it has tokens,
    in the package as it has tokens of a vocabulary that is downloaded. What is more probable than the percentile that
    leaves `rate` of all that stays: of one word, or of equally probable ones, nothing does.
    (`PromptCompressor.__compress`; in its float32, so that what is equal there is equal here.)
    """
    import numpy as np

    means = [sum(probabilities[list(group)]) / len(group) for group in groups]
    weighed = [mean for mean, group in zip(means, groups, strict=True) for _ in range(count(group))]
    reduce_rate = max(0, 1 - rate)
    if reduce_rate <= 0 or not weighed:
        return [True] * len(groups)
    threshold = np.percentile(weighed, min(int(100 * reduce_rate + 1), 100))
    return [bool(mean > threshold or threshold == 1.0 == mean) for mean in means]
