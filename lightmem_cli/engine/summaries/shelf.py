"""Keeps the one summary that stands for each stretch of a conversation, and writes what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from enum import Enum

from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.summaries.drafts import Draft
from lightmem_cli.records import Entry, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.summarize import Per, Window, window_of


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary as it was written, the facts it tells in the order said, and how many facts its window has."""

    entry: Entry
    facts: tuple[Entry, ...]
    among: int


class Became(Enum):
    """What became of a window that was looked at."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    TOO_FEW = "too few"
    SET_ASIDE = "set aside"
    LEFT_OUT = "left out"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to become of a window: the summaries that stand for it no more, and the one that was born before."""

    became: Became
    outdated: dict[int, Entry]
    known: int | None = None

    @property
    def writes(self) -> bool:
        return self.became is Became.WRITTEN or bool(self.outdated)


class Shelf:
    """The summaries of windows of one kind. `begun` is the run that writes, begun when it is first asked for."""

    def __init__(self, history: History, *, per: Per, zone: tzinfo, begun: Callable[[], int]) -> None:
        self._history = history
        self._per: Per = per
        self._zone = zone
        self._begun = begun
        self.wrote = False  # whether anything was

    def take(self, window: Window, draft: Callable[[], Draft | None], *, tell: Callable[[Summary], None]) -> Became:
        """Let a window have the summary that `draft` makes; in one transaction, if anything is to be written.

        `draft` is called again in there, where anything has changed since: somebody else may just have written this
        summary, or forgotten what it tells.
        """
        history = self._history
        with history.checks.snapshot():
            position = history.runs.position()
            drafted = draft()
            change = self._change(window, drafted)
        if not change.writes:
            return change.became
        run, told = self._begun(), None
        with history.transaction():
            if history.runs.position() != position:
                drafted = draft()
                change = self._change(window, drafted)
            written = self._write(change, drafted, run=run)
            if drafted is not None and written is not None:
                entry = history.entries.get([written])[written]
                told = Summary(entry, tuple(drafted.facts.values()), drafted.among)
        if told is not None:
            tell(told)
        return change.became

    def current(self, window: Window) -> dict[int, Entry]:
        """The window's active summaries: one, unless somebody brought another back."""
        if window.days is not None:
            found = self._history.windows.summaries_of_days(window.conversation, window.days)
        else:
            undated = self._per != "session"
            found = self._history.windows.summaries_of_session(window.conversation, window.session, undated=undated)
        return self._history.entries.get(found)

    def drop_other_zones(self, conversation: str | None) -> int:
        """Set aside the summaries of days that begin at another hour than the profile's; how many there were."""
        if not self._of_other_zones(conversation):
            return 0
        run = self._begun()
        with self._history.transaction():
            outdated = self._of_other_zones(conversation)  # asked again: someone else may just have forgotten one
            self.wrote = True
            step = self._history.revisions.new_step()
            self._set_aside(outdated, run=run, reason="days begin at another hour now", step=step)
        return len(outdated)

    def _change(self, window: Window, draft: Draft | None) -> _Change:
        current = {id: entry for id, entry in self.current(window).items() if not entry.pinned}
        if draft is None:
            return _Change(Became.SET_ASIDE if current else Became.TOO_FEW, current)
        known = self._history.entries.born_as(draft.entry)
        if known is None:
            return _Change(Became.WRITTEN, current)
        old = self._history.entries.get([known])[known]
        if old.state is State.DELETED and not (draft.entry.prompt and self._fell_with_another(known)):
            return _Change(Became.LEFT_OUT, {id: entry for id, entry in current.items() if self._quotes_hidden(id)})
        outdated = {id: entry for id, entry in current.items() if id != known}
        as_it_is = not outdated and old == draft.over(old) and self._quotes(known) == set(draft.shown)
        return _Change(Became.UNCHANGED if as_it_is else Became.WRITTEN, outdated, known)

    def _write(self, change: _Change, draft: Draft | None, *, run: int) -> int | None:
        """Write a change, in a transaction; history's integer for the summary that stands now, where one is written."""
        history = self._history
        self.wrote = True
        step = history.revisions.new_step()
        written = None
        if draft is not None and change.became is Became.WRITTEN:
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

    def _of_other_zones(self, conversation: str | None) -> dict[int, Entry]:
        """The active summaries of days that begin at another hour than the profile's, but for those that are pinned."""
        periods: tuple[Per, ...] = ("day", "week", "month")
        foreign = [
            id
            for id, days in self._history.windows.calendar_summaries(conversation)
            if not any(window_of("", "", days.start, per=per, zone=self._zone).days == days for per in periods)
        ]
        return {id: old for id, old in self._history.entries.get(foreign).items() if not old.pinned}

    def _fell_with_another(self, id: int) -> bool:
        """Whether a deleted summary was hidden as something it was made of was, and not for itself.

        Asked again without that, a model may well say the same.
        """
        quoted = self._quotes(id)
        life = self._history.revisions.of_entry(id)
        return bool(life) and any(one.entry in quoted for one in self._history.revisions.of_step(life[-1].step))

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
