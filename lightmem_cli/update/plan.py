"""Plans which of a conversation's facts are merged into which: lines a person can read, edit and apply."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lightmem_cli.errors import InputError
from lightmem_cli.records import Entry
from lightmem_cli.update.decide import same, standing

_HINT = "lightmem update --dry-run prints a plan that can be edited"
_KINDS = {str: "a text", int: "a whole number", dict: "an object", list: "a list"}

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A fact that goes, as it was when the plan was made, and why."""

    id: str
    version: int
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Merge:
    """One fact stays and others go into it; `text` is what it shall say from then on."""

    keep: str
    version: int
    text: str
    drop: tuple[Dropped, ...]


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


def to_json(merge: Merge) -> dict[str, object]:
    """A merge as one line of a plan: the `text` beside "keep" and "drop" is what will stand, and may be edited."""
    return {
        "do": "merge",
        "keep": {"id": merge.keep, "version": merge.version, "text": merge.text},
        "drop": [{"id": one.id, "version": one.version, "text": one.text, "why": one.why} for one in merge.drop],
        "text": merge.text,
    }


def from_json(row: object, origin: str) -> Merge:
    """Read one line of a plan; `origin` is its "file:line".

    Raises:
        InputError: it is no such line, or keeps and drops one fact at once.
    """
    if not isinstance(row, Mapping):
        raise _wrong(origin, "not an object")
    if "do" not in row:
        raise _wrong(origin, '"do" is missing')
    if row["do"] != "merge":
        raise _wrong(origin, f'"do" is {str(row["do"])[:40]!r}: only "merge" can be done')
    keep, drop = _field(row, "keep", dict, origin), _field(row, "drop", list, origin)
    merge = Merge(
        keep=_field(keep, "id", str, origin, inside="keep."),
        version=_field(keep, "version", int, origin, inside="keep."),
        text=_field(row, "text", str, origin),
        drop=tuple(_dropped(one, f"drop[{at}]", origin) for at, one in enumerate(drop)),
    )
    _check(merge, origin)
    return merge


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


def _dropped(row: object, where: str, origin: str) -> Dropped:
    if not isinstance(row, Mapping):
        raise _wrong(origin, f'"{where}" is not an object')
    return Dropped(
        id=_field(row, "id", str, origin, inside=f"{where}."),
        version=_field(row, "version", int, origin, inside=f"{where}."),
        text=_field(row, "text", str, origin, inside=f"{where}."),
        why=_field(row, "why", str, origin, inside=f"{where}."),
    )


def _field(row: Mapping[str, object], name: str, kind: type[_Value], origin: str, *, inside: str = "") -> _Value:
    if name not in row:
        raise _wrong(origin, f'"{inside}{name}" is missing')
    value = row[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _wrong(origin, f'"{inside}{name}" is not {_KINDS[kind]}')
    return value


def _check(merge: Merge, origin: str) -> None:
    """Refuse what no plan means to do."""
    ids = [one.id for one in merge.drop]
    if not ids:
        raise _wrong(origin, '"drop" is empty: delete the line, and nothing is merged')
    if merge.keep in ids:
        raise _wrong(origin, f"{merge.keep} is kept and dropped at once")
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise _wrong(origin, f"{twice} is dropped twice")
    if not merge.text.strip():
        raise _wrong(origin, '"text" is empty: it is what the kept fact will say')
    if not all([merge.keep, *ids]):
        raise _wrong(origin, '"id" is empty')


def _wrong(origin: str, what: str) -> InputError:
    return InputError(f"{origin}: {what}", hint=_HINT)
