"""Counts how often in a row a language model failed on a conversation alike, so that nobody pays for more of it.

The count is kept between runs, for each purpose and for these settings: a hook asks about one topic each time.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple, get_args

from lightmem_cli.engine.asking.request import Purpose
from lightmem_cli.errors import ModelError, Unavailable
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Remembered

MOST: Final = 3  # requests that fail alike before one was answered: it is the model, and not what it was sent
_HINT: Final = "choose another model: lightmem config set llm.model NAME; if this one was mended: lightmem doctor"


class _Noted(NamedTuple):
    """How often in a row a model failed, and whether it ever did well."""

    times: int = 0
    has_answered: bool = False


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
        self._noted: dict[Purpose, _Noted] = {}
        self._answered: set[Purpose] = set()
        self.over: Unavailable | None = None

    def is_over(self, purpose: Purpose) -> bool:
        """Whether a request that is asked now is asked only to see whether the model does well by now."""
        return self.is_open(purpose) and self._before(purpose) >= MOST

    def wants_least(self, purpose: Purpose) -> bool:
        """Whether that had better be the least there is, and not the first that was never asked: every other time.

        A good model may refuse a word in everything that is long, or in everything that comes first.
        """
        return self.is_over(purpose) and self._before(purpose) % 2 == 1

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
        elif self._often and self.is_over(purpose):
            self.over = self._unfit(f"failed {self._before(purpose)} times in a row")
        return self.over

    def answered(self, purpose: Purpose) -> None:
        """Note that a request was answered: it is not the model."""
        if self.is_open(purpose):
            self._answered.add(purpose)
            self._note(purpose, _Noted(0, True))

    def failed(self, purpose: Purpose, fault: ModelError, *, again: bool) -> None:
        """Note that a request failed. If it did so `again`, that says nothing of a model that has answered others."""
        if not self.is_open(purpose):
            return
        known = self._noted.pop(purpose, _Noted())
        fresh = self._read(purpose)  # another process may have failed, too, or have had an answer
        has_answered = fresh.has_answered or known.has_answered
        times = fresh.times if fresh.has_answered > known.has_answered else max(fresh.times, known.times)
        if again and has_answered and times < MOST:
            return
        self._note(purpose, _Noted(times + 1, has_answered))
        if times + 1 >= MOST:
            self.over = self._unfit(f"failed {times + 1} times in a row, the last time with: {fault.message}")

    def tried(self, *, failed: bool) -> None:
        """Note what came of asking the model one small thing: where it did well it is trusted with all again."""
        for purpose in ("probe",) if failed else get_args(Purpose):
            self._note(purpose, self._read(purpose)._replace(times=int(failed)))

    def _before(self, purpose: Purpose) -> int:
        return self._read(purpose).times

    def _note(self, purpose: Purpose, noted: _Noted) -> None:
        if noted != self._read(purpose):
            self._noted[purpose] = noted
            if self._kept is not None:
                self._kept.remember(self._key(purpose), f"{noted.times} {'answered' if noted.has_answered else ''}")

    def _read(self, purpose: Purpose) -> _Noted:
        if purpose not in self._noted:
            kept = None if self._kept is None else self._kept.remembered(self._key(purpose))
            times, _, rest = (kept or "").partition(" ")
            count = min(int(times[:9]), 999) if times.isdecimal() else 0
            self._noted[purpose] = _Noted(count, rest == "answered")
        return self._noted[purpose]

    def _key(self, purpose: Purpose) -> str:
        return f"failed {purpose} {self._settings}"

    def _unfit(self, how: str) -> Unavailable:
        return Unavailable(f"{self._name} is asked no more: it {how}", hint=_HINT)


def _of(settings: Settings) -> str:
    """What decides how a model does: with other settings it may do well."""
    how_fast = {"timeout_seconds", "retries", "concurrency", "keep_alive", "kv_cache"}
    asked = settings.llm.model_dump_json(exclude=how_fast)
    about = settings.extract.model_dump_json(include={"mode", "metadata", "summary", "threshold", "buffer_tokens"})
    return hashlib.blake2b(f"{asked}\n{about}".encode(), digest_size=8).hexdigest()
