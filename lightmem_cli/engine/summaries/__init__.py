"""Keeps one summary of each stretch of a conversation, and makes it anew where what it retells has changed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum

from lightmem_cli.engine import Memory
from lightmem_cli.engine.pending import work_first, work_off
from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.summaries.drafts import Draft, Drafts
from lightmem_cli.records import Entry, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.summarize import Per, Window, window_of


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary as it was written, the facts it quotes in the order said, and how many facts its window has."""

    entry: Entry
    facts: tuple[Entry, ...]
    among: int


@dataclass(frozen=True, slots=True)
class Summarized:
    """What became of the windows that were looked at, and the run that wrote (None: nothing was to be written).

    `too_few`: windows of too few different facts for a summary. `left_out` would have had one that was forgotten, or
    undone.
    """

    written: int = 0
    unchanged: int = 0
    too_few: int = 0
    set_aside: int = 0
    left_out: int = 0
    run: int | None = None


class _Became(Enum):
    WRITTEN = "written"
    UNCHANGED = "unchanged"
    TOO_FEW = "too_few"
    SET_ASIDE = "set_aside"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to become of a window: the summaries that stand for it no more, and the one that was born before."""

    became: _Became
    outdated: dict[int, Entry]
    known: int | None = None

    @property
    def writes(self) -> bool:
        return self.became is _Became.WRITTEN or bool(self.outdated)


def _ignore(*_: object) -> None:
    """Tell nobody."""


def summarize(
    memory: Memory,
    *,
    conversation: str | None = None,
    anew: bool = False,
    tell: Callable[[Summary], None] = _ignore,
    progress: Callable[[int, int], None] = _ignore,
) -> Summarized:
    """Summarize the windows (`[summarize] window`) whose facts changed since the last time, each in a step of its own.

    `conversation` leaves out all others; `anew` looks at every window, and so does a change of the number of sentences,
    of the time zone or of the vectors. What is pending is done first. `tell` gets each summary as it is written,
    `progress` how many of how many windows are done. Cut short, it goes on where it stopped.
    """
    work_first(memory)
    with _Pass(memory, conversation=conversation, anew=anew) as one:
        return one.work(tell=tell, progress=progress)


class _Pass(ExitStack):
    """One pass over the windows of one kind. Its run begins with the first summary that is to be written."""

    def __init__(self, memory: Memory, *, conversation: str | None, anew: bool) -> None:
        super().__init__()
        settings, history = memory.settings, memory.history
        active = history.vectors.active_space()
        space = None if active is None else active[0]
        self._memory, self._history = memory, history
        self._conversation = conversation
        self._per: Per = settings.summarize.window
        self._zone = settings.transcript.zone
        self._windows = history.windows
        self._drafts = Drafts(
            history, per=self._per, sentences=settings.summarize.sentences, zone=self._zone, space=space
        )
        self._stage = f"summarize by {self._per}"
        made_as = (settings.summarize.sentences, settings.transcript.timezone, space)
        self._made_as = zlib.crc32(repr(made_as).encode())  # what `take` keeps is a number
        self._position = history.runs.position()  # read first: what changes from here on is the next pass's
        self._anew = anew or history.runs.taken(f"{self._stage} as") != self._made_as
        # A fact that another process is embedding is looked at again when it has its vector.
        self._settles = conversation is None and not history.work.waits("embed", space=0)
        self._run: int | None = None

    def work(self, *, tell: Callable[[Summary], None], progress: Callable[[int, int], None]) -> Summarized:
        windows = self._changed()
        counts: Counter[_Became] = Counter()
        for done, window in enumerate(windows):
            progress(done, len(windows))
            counts[self._take(window, tell=tell)] += 1
        if self._anew:
            counts[_Became.SET_ASIDE] += self._drop_other_zones()
        if windows and self._settles:
            with self._history.transaction():
                self._history.runs.take(self._stage, self._position)
                self._history.runs.take(f"{self._stage} as", self._made_as)
        if self._run is not None:
            for _ in work_off(self._memory, run=self._run, topics=False):
                pass
        return Summarized(run=self._run, **{became.value: counts[became] for became in _Became})

    def _begun(self) -> int:
        if self._run is None:
            self._run = self.enter_context(self._memory.run("summarize"))
        return self._run

    def _changed(self) -> list[Window]:
        """The windows of what changed since the last time, in the order of their days."""
        places = self._windows.changed_after(0 if self._anew else self._history.runs.taken(self._stage))
        found = {
            window_of(*place, per=self._per, zone=self._zone)
            for place in places
            if self._conversation in (None, place.conversation)
        }
        return sorted(found, key=lambda one: (one.conversation, one.days is None, one.days or (), one.session))

    def _take(self, window: Window, *, tell: Callable[[Summary], None]) -> _Became:
        """Bring the summary of one window up to its facts; in one transaction, if anything is to be written."""
        history = self._history
        with history.checks.snapshot():
            position = history.runs.position()
            draft = self._drafts.draft(window)
            change = self._change(window, draft)
        if not change.writes:
            return change.became
        run, told = self._begun(), None
        with history.transaction():
            if history.runs.position() != position:  # someone else may just have done it, or forgotten what it quotes
                draft = self._drafts.draft(window)
                change = self._change(window, draft)
            written = self._write(change, draft, run=run)
            if draft is not None and written is not None:
                entry = history.entries.get([written])[written]
                told = Summary(entry, tuple(draft.facts.values()), draft.among)
        if told is not None:
            tell(told)
        return change.became

    def _change(self, window: Window, draft: Draft | None) -> _Change:
        current = {id: entry for id, entry in self._current(window).items() if not entry.pinned}
        if draft is None:
            return _Change(_Became.SET_ASIDE if current else _Became.TOO_FEW, current)
        known = self._history.entries.born_as(draft.entry)
        if known is None:
            return _Change(_Became.WRITTEN, current)
        old = self._history.entries.get([known])[known]
        if old.state is State.DELETED:
            return _Change(_Became.LEFT_OUT, {id: entry for id, entry in current.items() if self._quotes_hidden(id)})
        outdated = {id: entry for id, entry in current.items() if id != known}
        as_it_is = not outdated and old == draft.over(old) and self._quotes(known) == set(draft.facts)
        return _Change(_Became.UNCHANGED if as_it_is else _Became.WRITTEN, outdated, known)

    def _current(self, window: Window) -> dict[int, Entry]:
        """The window's active summaries: one, unless somebody brought another back."""
        if window.days is not None:
            found = self._windows.summaries_of_days(window.conversation, window.days)
        else:
            undated = self._per != "session"
            found = self._windows.summaries_of_session(window.conversation, window.session, undated=undated)
        return self._history.entries.get(found)

    def _write(self, change: _Change, draft: Draft | None, *, run: int) -> int | None:
        """Write a change, in a transaction; history's integer for the summary that stands now, where one is written."""
        history = self._history
        step = history.revisions.new_step()
        written = None
        if draft is not None and change.became is _Became.WRITTEN:
            links = [*draft.links, *((id, LinkKind.SUPERSEDES) for id in change.outdated)]
            if change.known is None:
                written = history.entries.add(draft.entry, sources=draft.sources, run=run, links=links)
                history.work.add("embed", [] if written is None else [written])
            else:
                written = change.known
                _stand_again(history, written, draft, links, run=run, step=step)
        self._set_aside(change.outdated, run=run, reason="its facts have changed", step=step)
        return written

    def _set_aside(self, outdated: dict[int, Entry], *, run: int, reason: str, step: int) -> None:
        """Let summaries stand no more. One that quotes what is hidden is not to be seen with --as-of either."""
        for id, old in outdated.items():
            state = State.UNSUPPORTED if self._quotes_hidden(id) else State.SUPERSEDED
            revise(self._history, id, replace(old, state=state), run=run, reason=reason, step=step)

    def _drop_other_zones(self) -> int:
        """Set aside the summaries of days that begin at another hour than the profile's; how many there were."""
        if not self._of_other_zones():
            return 0
        run = self._begun()
        with self._history.transaction():
            outdated = self._of_other_zones()  # asked again: someone else may just have forgotten one
            step = self._history.revisions.new_step()
            self._set_aside(outdated, run=run, reason="days begin at another hour now", step=step)
        return len(outdated)

    def _of_other_zones(self) -> dict[int, Entry]:
        """The active summaries of days that begin at another hour than the profile's, but for those that are pinned."""
        periods: tuple[Per, ...] = ("day", "week", "month")
        foreign = [
            id
            for id, days in self._windows.calendar_summaries(self._conversation)
            if not any(window_of("", "", days.start, per=per, zone=self._zone).days == days for per in periods)
        ]
        return {id: old for id, old in self._history.entries.get(foreign).items() if not old.pinned}

    def _quotes(self, id: int) -> set[int]:
        return {target for target, kind in self._history.entries.links_from(id) if kind is LinkKind.SUMMARIZES}

    def _quotes_hidden(self, id: int) -> bool:
        """Whether a summary quotes a fact that is not to be read by now; one that was merged is still said."""
        hidden = (State.DELETED, State.UNSUPPORTED)
        return any(fact.state in hidden for fact in self._history.entries.get(self._quotes(id)).values())


def _stand_again(
    history: History, id: int, draft: Draft, links: Sequence[tuple[int, LinkKind]], *, run: int, step: int
) -> None:
    """Let a summary that was set aside stand for its window again; what superseded it does so no more."""
    reason = "its facts are as they were again"
    for source, target, kind in history.entries.links_of(id):
        if target == id and kind is LinkKind.SUPERSEDES:
            kept = [link for link in history.entries.links_from(source) if link != (id, LinkKind.SUPERSEDES)]
            entry = history.entries.get([source])[source]
            revise(history, source, entry, run=run, reason=reason, links=kept, step=step)
    old = history.entries.get([id])[id]
    revise(history, id, draft.over(old), run=run, reason=reason, links=links, step=step)
