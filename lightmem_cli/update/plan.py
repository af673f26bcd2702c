"""Plans which of a conversation's facts are merged into which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lightmem_cli.records import Entry
from lightmem_cli.update.decide import same, standing
from lightmem_cli.update.steps import Dropped, Merge


def plan(facts: Sequence[Entry], pairs: Iterable[tuple[int, int, float]], *, threshold: float) -> list[Merge]:
    """Choose which of `facts` stay, and which go into which of them.

    `pairs` are (index into facts, index into facts, cosine) of facts that may say the same. In the order of `standing`,
    a fact goes into the nearest one that stays and says the same as it does, or else stays itself: nothing is merged
    through a third fact, a pinned one never goes, and what stays has nothing left to merge. The order of `facts` and
    that of `pairs` do not matter.
    """
    order = sorted(range(len(facts)), key=lambda at: standing(facts[at]))
    place = {at: rank for rank, at in enumerate(order)}
    near = _neighbours(pairs)
    stays: set[int] = set()
    dropped: defaultdict[int, list[Dropped]] = defaultdict(list)
    for at in order:
        found = None if facts[at].pinned else _nearest(facts, at, stays, near.get(at, {}), place, threshold=threshold)
        if found is None:
            stays.add(at)
        else:
            target, why = found
            dropped[target].append(Dropped(facts[at].id, facts[at].version, facts[at].text, why))
    return [Merge(facts[at].id, facts[at].version, facts[at].text, tuple(dropped[at])) for at in order if at in dropped]


def _neighbours(pairs: Iterable[tuple[int, int, float]]) -> dict[int, dict[int, float]]:
    """Of each fact, the facts it was paired with, and the cosine: the highest where a pair comes twice."""
    near: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for one, other, cosine in pairs:
        if one != other:
            best = max(cosine, near[one].get(other, cosine))
            near[one][other] = near[other][one] = best
    return near


def _nearest(
    facts: Sequence[Entry],
    at: int,
    stays: set[int],
    near: Mapping[int, float],
    place: Mapping[int, int],
    *,
    threshold: float,
) -> tuple[int, str] | None:
    """The fact that stays and says the same as the one `at`, and why: the nearest, then the first in order."""
    for other in sorted(stays & near.keys(), key=lambda other: (-near[other], place[other])):
        why = same(facts[at], facts[other], cosine=near[other], threshold=threshold)
        if why is not None:
            return other, why
    return None
