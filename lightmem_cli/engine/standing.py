"""Says which changes to what a conversation left behind still stand, and which were taken back, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lightmem_cli.store.history.revisions import Change

Stack: TypeAlias = tuple[int, ...]  # the revisions that made an entry what it is, oldest first


@dataclass(frozen=True, slots=True)
class Standing:
    """The changes of one entry, each with the stack before and after it, and the one that took it back, if any does.

    To take a revision back is to return to the stack before it. So an undone undo gives the very stack that was
    undone, and two changes that cancel each other leave no trace in it. What is in the stack stands, whichever of
    several undos of it was itself taken back last.
    """

    changes: dict[int, Change]
    before: dict[int, Stack]
    after: dict[int, Stack]
    taken_back: dict[int, Change]

    @property
    def stack(self) -> Stack:
        """What the entry is now."""
        return self.after[max(self.after)] if self.after else ()

    @property
    def unborn_by(self) -> Change | None:
        """What took the birth of the entry back."""
        return next((self.changes[id] for id in self.stack if self.changes[id].unborn), None)


def standing(changes: Sequence[Change]) -> Standing:
    """What stands of an entry's `changes`, given oldest first."""
    before: dict[int, Stack] = {}
    after: dict[int, Stack] = {}
    stack: Stack = ()
    for change in changes:
        before[change.id] = stack
        stack = (*stack, change.id) if change.undoes is None else before[change.undoes]
        after[change.id] = stack
    taken_back: dict[int, Change] = {}
    for change in reversed(changes):  # what takes a change back comes after it, and may be taken back itself
        if change.undoes is not None and change.id not in taken_back:
            taken_back[change.undoes] = change
    for change in changes:  # of what is no undo, the stack alone tells
        taken_back |= dict.fromkeys(set(before[change.id]).difference(after[change.id]), change)
    for id in stack:
        taken_back.pop(id, None)
    return Standing({change.id: change for change in changes}, before, after, taken_back)


def changed_since(its: Standing, *, targets: Sequence[int], birth: bool) -> Change | None:
    """What stands in the way of taking `targets` back, all of which stand, and then the birth; None when nothing does.

    Each must be the last thing that happened to the entry, but for what cancelled itself or only set it aside.
    """
    stack = _but_asides(its, its.stack, targets)
    for target in sorted(targets, reverse=True):
        left = _but_asides(its, its.after[target], targets)
        if stack != left:
            later = [id for id in stack[len(left) :] if id not in targets]
            later = later or [id for id in its.changes if id > target and id not in targets]
            return its.changes[later[-1]]
        stack = _but_asides(its, its.before[target], targets)
    return its.changes[stack[-1]] if birth and stack else None


def _but_asides(its: Standing, stack: Stack, targets: Sequence[int]) -> Stack:
    """`stack` without what, on top of it, only set the entry aside."""
    while stack and its.changes[stack[-1]].aside and stack[-1] not in targets:
        stack = stack[:-1]
    return stack
