"""Runs one check over a conversation's history after the other, and mends what it finds, as a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

from lightmem_cli.engine import Memory
from lightmem_cli.engine.doctor import Finding
from lightmem_cli.store.history import History
from lightmem_cli.store.history.checks import Checks
from lightmem_cli.store.history.faults import Fault

RESTORE = "lightmem restore FILE"  # a backup: what is damaged beyond mending here may be whole there


class Mending:
    """What mends need: the memory, and the run in which they happen, begun with the first of them."""

    def __init__(self, memory: Memory, stack: ExitStack) -> None:
        self.memory = memory
        self.again: list[int] = []  # entries to be embedded anew
        self._stack = stack

    @property
    def history(self) -> History:
        return self.memory.history

    @property
    def begun(self) -> bool:
        """Whether anything was mended."""
        return "run" in vars(self)

    @cached_property
    def run(self) -> int:
        return self._stack.enter_context(self.memory.run("doctor"))


Mend = Callable[[Mending, Sequence[Fault]], None]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that can be wrong: how it is called, how it is found, how it is mended, and what is said of that.

    Without `mend`, `command` mends it.
    """

    wrong: str
    find: Callable[[Checks], list[Fault]]
    mend: Mend | None = None
    made: str = "made right"
    command: str = RESTORE


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one part of history, and what is said where all is well. If a `vital` one is not, that is all."""

    name: str
    sound: Callable[[Memory], str]
    checks: Sequence[Check]
    vital: bool = False


def examine(mending: Mending, group: Group) -> list[Finding]:
    """Run the checks of a group; what was found, or that all is well."""
    findings = [finding for check in group.checks if (finding := _examine(mending, group.name, check))]
    return findings or [Finding(group.name, True, group.sound(mending.memory))]


def _examine(mending: Mending, name: str, check: Check) -> Finding | None:
    """What one check finds; None where all is well."""
    history = mending.history
    with history.checks.snapshot():
        found = check.find(history.checks)
    if not found:
        return None
    if check.mend is None:
        return Finding(name, False, told(check.wrong, found), check.command)
    run = mending.run  # a transaction of its own
    assert run
    with history.transaction():
        found = check.find(history.checks)  # another process may have changed it since
        if not found:
            return None
        check.mend(mending, found)
        left = check.find(history.checks)
    if left:
        return Finding(name, False, told(f"{check.wrong}, beyond mending here", left), check.command)
    return Finding(name, True, f"{told(check.wrong, found)}: {check.made}", mended=True)


def told(wrong: str, found: Sequence[Fault]) -> str:
    """How many of what, and which first."""
    return f"{wrong}: {len(found):,}, the first is {found[0].name}"
