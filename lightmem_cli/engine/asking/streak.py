"""Counts how often in a row a language model failed on a conversation alike, so that nobody pays for more of it.

The count is kept between runs, for each purpose and for these settings: a hook asks about one topic each time.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, get_args

from lightmem_cli.engine.asking.request import Purpose
from lightmem_cli.errors import ModelError, Unavailable
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Remembered

MOST: Final = 3  # requests that fail alike before one was answered: it is the model, and not what it was sent
_HINT: Final = "name another one: lightmem config set llm.model NAME; lightmem doctor tries this one"


class Streak:
    """The requests of one run that failed before any was answered, on top of those of earlier runs.

    `over` says, once they are too many, why no more is asked.
    """

    def __init__(self, settings: Settings, *, name: str, kept: Remembered | None, often: bool) -> None:
        """`name` is the model's. `kept` outlives the run. A command that runs `often` does not ask just to see."""
        self._name = name
        self._kept = kept
        self._often = often
        self._settings = _of(settings)
        self._times: dict[Purpose, int] = {}
        self._answered: set[Purpose] = set()
        self.over: Unavailable | None = None

    def room(self, purpose: Purpose, *, most: int) -> int:
        """How many requests may be under way: before one was answered, no more than may fail."""
        return min(most, max(1, MOST - self._before(purpose))) if self.is_open(purpose) else most

    def is_open(self, purpose: Purpose) -> bool:
        """Whether none was answered yet, so that it may be the model."""
        return purpose not in self._answered

    def refuse(self, purpose: Purpose) -> Unavailable | None:
        """Why nothing is to be asked at all, if so.

        After `lightmem doctor` has seen the model fail, nobody asks. After a streak, a command that runs often does
        not, and any other asks one thing, to see whether that has changed.
        """
        if self._before("probe"):
            self.over = self._unfit("failed when lightmem doctor tried it")
        elif self._often and self.is_open(purpose) and self._before(purpose) >= MOST:
            self.over = self._unfit(f"failed {self._before(purpose)} times in a row")
        return self.over

    def answered(self, purpose: Purpose) -> None:
        """Note that a request was answered: it is not the model."""
        if self.is_open(purpose):
            self._answered.add(purpose)
            self._note(purpose, 0)

    def failed(self, purpose: Purpose, fault: ModelError, *, again: bool) -> None:
        """Note that a request failed. That one did `again` which failed in an earlier run says nothing of the model."""
        times = self._before(purpose)
        if not self.is_open(purpose) or (again and times < MOST):
            return
        self._note(purpose, times + 1)
        if times + 1 >= MOST:
            self.over = self._unfit(f"failed {times + 1} times in a row, the last time with: {fault.message}")

    def tried(self, *, failed: bool) -> None:
        """Note what came of asking the model one small thing: where it did well it is trusted with all again."""
        for purpose in ("probe",) if failed else get_args(Purpose):
            self._note(purpose, int(failed))

    def _note(self, purpose: Purpose, times: int) -> None:
        """Keep how often it failed in a row."""
        if times != self._before(purpose):
            self._times[purpose] = times
            if self._kept is not None:
                self._kept.remember(_key(purpose), json.dumps([times, self._settings]))

    def _before(self, purpose: Purpose) -> int:
        if purpose not in self._times:
            kept = None if self._kept is None else self._kept.remembered(_key(purpose))
            times, settings = json.loads(kept) if kept else (0, "")
            self._times[purpose] = int(times) if settings == self._settings else 0
        return self._times[purpose]

    def _unfit(self, how: str) -> Unavailable:
        return Unavailable(f"{self._name} is asked no more: it {how}", hint=_HINT)


def _key(purpose: Purpose) -> str:
    return f"failed {purpose}"


def _of(settings: Settings) -> str:
    """What decides how a model does: with other settings it may do well."""
    made_of = settings.llm.model_dump_json(), settings.extract.model_dump_json(exclude={"use"})
    return hashlib.blake2b("\n".join(made_of).encode(), digest_size=8).hexdigest()
