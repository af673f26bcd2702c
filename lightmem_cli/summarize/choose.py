"""Chooses the few facts of a stretch of a conversation that say the most of all that was said in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from lightmem_cli.language.english import (
    BASE_VERBS,
    COMMON_OPENINGS,
    OPENING_STATES,
    PAST_VERBS,
    PRAISE,
    SECOND_PERSON,
    words,
)
from lightmem_cli.records import Entry
from lightmem_cli.summarize.phrase import plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightmem_cli.protocols import Vectors

    Numbers: TypeAlias = NDArray[np.float64]

MOST_COMPARED = 2_000  # facts of one window: 32 MB of cosines; of more, those that say most

# How much a fact of each sort says beside its words. Behind each stands what it adds to the share of LoCoMo's
# observations that six sentences tell at cosine .6, and to that of the evidence for questions asked later: .739 and
# .613 with all of them on conv-41, 42 and 43, .651 and .468 with none.
_SORTS = {
    "dated": 1.5,  # .020 and .076: "lost her job yesterday"
    "names": 1.3,  # .016 and .035: whom or where
    "happened": 1.1,  # .003 and .013: something did
    "own": 1.1,  # .007 and .017: begins with the name of who says it
    "listener": 0.8,  # .008 and .006: "you can pick any day"
    "courtesy": 0.7,  # nothing, and reads better: praise at that, "Gina is glad to cheer you on"
    "leans": 0.85,  # .017 and .018: on the sentence before it, "It was so much fun"
    "opens": 0.85,  # .008 and nothing: "Let's …", "Sounds …"
    "picture": 0.4,  # .033 and .024: what a photo shows
}
_PICTURE = re.compile(
    r"(?:\S+ ){0,4}shares a photo of |A photo of |(?:Here['’]s|Here is|Check) (?:\w+ ){0,3}(?:pic|photo|picture)\b"
)
_LEANING = "it it's that that's this these those they they're there there's"
_TELLING = "a an the he she his her their my our in on at for from"  # openings of what may well say something
_LEANS = frozenset(_LEANING.split())
_OPENS = (COMMON_OPENINGS - _LEANS - frozenset(_TELLING.split())) | {"let's"}
_COURTEOUS = PRAISE | OPENING_STATES
_SAME = 0.95  # cosine from which a sentence has been told already


def choose(facts: Sequence[Entry], vectors: Vectors, *, most: int) -> list[int]:
    """The indices of up to `most` facts, in the order of `facts`; a function of these arguments alone.

    `vectors` are unit or zero rows, float32, shape (len(facts), dimension): a fact without one counts by its own words.

    Each choice adds the fact that raises most how well all facts are told: a fact is told as well as the nearest chosen
    one is near to it (cosine squared), and counts by what it says (facility location, greedily).
    """
    import numpy as np

    weights = np.array([weight(fact) for fact in facts])
    looked_at = np.sort(np.argsort(-weights, kind="stable")[:MOST_COMPARED])
    weights = weights[looked_at]
    told_by = _told_by([facts[at] for at in looked_at], vectors[looked_at])
    told = np.zeros(len(looked_at))
    left = np.ones(len(looked_at), bool)
    chosen: list[int] = []
    while len(chosen) < most and left.any():
        gains = (np.maximum(told_by, told) - told) @ weights * np.sqrt(weights)
        best = int(np.argmax(np.where(left, np.round(gains, 6), -1.0)))
        chosen.append(int(looked_at[best]))
        told = np.maximum(told, told_by[best])
        left &= told_by[best] < _SAME**2
        left[best] = False
    return sorted(chosen)


def weight(fact: Entry) -> float:
    """How much a fact says, from 0 to a little above 1: its importance, by the sorts it is of."""
    sorts = _sorts(fact)
    found = 1.0 if fact.pinned else fact.importance
    for sort, factor in _SORTS.items():
        found *= factor if sort in sorts else 1.0
    return found


def _sorts(fact: Entry) -> set[str]:
    said = plain(fact)
    found = words(said)
    first = found[0] if found else ""
    to_listener = not SECOND_PERSON.isdisjoint(found)
    sorts = {
        "dated": fact.happened is not None,
        "names": bool(fact.entities),
        "happened": any(_is_past(word) for word in found),
        "own": fact.speaker is not None and said.casefold().startswith(f"{fact.speaker.casefold()} "),
        "listener": to_listener,
        "courtesy": to_listener and fact.happened is None and not _COURTEOUS.isdisjoint(found),
        "leans": first in _LEANS or (first.endswith("s") and first[:-1] in BASE_VERBS),
        "opens": first in _OPENS,
        "picture": _PICTURE.match(said) is not None,
    }
    return {sort for sort, applies in sorts.items() if applies}


def _is_past(word: str) -> bool:
    return word in PAST_VERBS or (len(word) > 4 and word.endswith("ed") and word not in OPENING_STATES)


def _told_by(facts: Sequence[Entry], vectors: Vectors) -> Numbers:
    """How well each fact tells each other, 0 to 1, shape (n, n): itself and its like wholly, the others by nearness."""
    import numpy as np

    rows = vectors.astype(np.float64)
    near: Numbers = np.round(np.clip(rows @ rows.T, 0.0, 1.0) ** 2, 6)
    texts = np.array([" ".join(fact.text.casefold().split()) for fact in facts], dtype=object)
    near[texts[:, None] == texts[None, :]] = 1.0
    return near
