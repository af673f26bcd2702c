"""Writes what an update does to a conversation's facts as lines that a person can read, edit and apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, assert_never

from lightmem_cli.errors import InputError
from lightmem_cli.update.steps import Conflict, Correction, Dropped, Fact, Merge, Step

_HINT = "lightmem update --dry-run prints a plan that can be edited"
_KINDS = {str: "a text", int: "a whole number", dict: "an object", list: "a list"}

_Value = TypeVar("_Value")


def to_json(step: Step) -> dict[str, object]:
    """A step as one line of a plan.

    Of a merge the `text` beside "keep" and "drop" is what will stand, and may be edited.
    """
    match step:
        case Merge():
            return {
                "do": "merge",
                "keep": {"id": step.keep, "version": step.version, "text": step.text},
                "drop": [_fact(one) | {"why": one.why} for one in step.drop],
                "text": step.text,
            }
        case Correction():
            return {"do": "correct", "old": _fact(step.old), "by": _fact(step.by), "why": step.why}
        case Conflict():
            return {"do": "conflict", "one": _fact(step.one), "other": _fact(step.other), "why": step.why}
        case _:
            assert_never(step)


def from_json(row: object, origin: str) -> Step:
    """Read one line of a plan; `origin` is its "file:line".

    Raises:
        InputError: it is no such line, or does two things to one fact.
    """
    if not isinstance(row, Mapping):
        raise _wrong(origin, "not an object")
    if "do" not in row:
        raise _wrong(origin, '"do" is missing')
    match row["do"]:
        case "merge":
            return _merge(row, origin)
        case "correct":
            old, by = (_read_fact(row, name, origin) for name in ("old", "by"))
            _refuse_twins(old, by, origin)
            return Correction(old, by, _field(row, "why", str, origin))
        case "conflict":
            one, other = (_read_fact(row, name, origin) for name in ("one", "other"))
            _refuse_twins(one, other, origin)
            return Conflict(one, other, _field(row, "why", str, origin))
        case what:
            raise _wrong(origin, f'"do" is {str(what)[:40]!r}: only "merge", "correct" and "conflict" can be done')


def _fact(fact: Fact) -> dict[str, object]:
    return {"id": fact.id, "version": fact.version, "text": fact.text}


def _read_fact(row: Mapping[str, object], name: str, origin: str) -> Fact:
    fact = _field(row, name, dict, origin)
    inside = f"{name}."
    return Fact(
        id=_field(fact, "id", str, origin, inside=inside),
        version=_field(fact, "version", int, origin, inside=inside),
        text=_field(fact, "text", str, origin, inside=inside),
    )


def _refuse_twins(one: Fact, other: Fact, origin: str) -> None:
    if not (one.id and other.id):
        raise _wrong(origin, '"id" is empty')
    if one.id == other.id:
        raise _wrong(origin, f"{one.id} is named twice: it takes two facts")


def _merge(row: Mapping[str, object], origin: str) -> Merge:
    keep, drop = _field(row, "keep", dict, origin), _field(row, "drop", list, origin)
    merge = Merge(
        keep=_field(keep, "id", str, origin, inside="keep."),
        version=_field(keep, "version", int, origin, inside="keep."),
        text=_field(row, "text", str, origin),
        drop=tuple(_dropped(one, f"drop[{at}]", origin) for at, one in enumerate(drop)),
    )
    _check(merge, origin)
    return merge


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
