"""Holds what a language model found in a conversation against the sentences that it is said to rest on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lightmem_cli.engine.embedding import sentences_of
from lightmem_cli.extract.support import is_supported, told
from lightmem_cli.protocols import Embedder
from lightmem_cli.records import Entry, Kind, Message

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors


def is_borne_out(
    entry: Entry, messages: Sequence[Message], claim: Vectors | None, said: Iterable[Vectors], *, talk: Sequence[str]
) -> bool:
    """Whether the `messages` that an entry rests on say it.

    `claim` is its own vector, shape (dimension,), or None where it has none; `said` those of the messages' sentences,
    each of shape (n, dimension); `talk` all that the model was shown, as `told` has it. A topic's summary says nothing
    that anybody said.
    """
    if entry.kind is Kind.SUMMARY:
        return True
    cosine = 0.0 if claim is None else _nearest(claim, said)
    return is_supported(entry.text, [told(message) for message in messages], cosine=cosine, talk=talk)


def sentence_vectors(embedder: Embedder, message: Message) -> Vectors:
    """The vectors of a message's sentences, float32, shape (n, dimension)."""
    import numpy as np

    texts = [window for text in sentences_of(message) for window in embedder.windows(text)]
    return embedder.embed(texts).astype("<f2").astype(np.float32)  # with as many digits as the shelf keeps


def _nearest(claim: Vectors, said: Iterable[Vectors]) -> float:
    """The best cosine of a vector with those of sentences, and with the mean of each message's."""
    import numpy as np

    mine = claim.astype(np.float32)
    best = 0.0
    for rows in said:
        if len(rows):
            mean = rows.mean(axis=0)
            best = max(best, float((rows @ mine).max()), float(mean @ mine / (np.linalg.norm(mean) or 1.0)))
    return best
