"""Keeps one summary of each stretch of a conversation, and makes it anew where what it retells has changed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from lightmem_cli.engine import Memory
from lightmem_cli.engine.embedding import embed_some
from lightmem_cli.engine.pending import work_first
from lightmem_cli.engine.summaries.asked import Asked
from lightmem_cli.engine.summaries.drafts import Drafts
from lightmem_cli.engine.summaries.material import KINDS
from lightmem_cli.engine.summaries.shelf import Became, Shelf, Summary
from lightmem_cli.errors import MissingPart, Unavailable
from lightmem_cli.records import Kind, Usage
from lightmem_cli.store.history.windows import Place
from lightmem_cli.store.locks import exclusive
from lightmem_cli.summarize import Per, Window, window_of

__all__ = ["Summarized", "Summary", "Unmade", "summarize"]


@dataclass(frozen=True, slots=True)
class Unmade:
    """A window that no summary could be had of, and why."""

    window: Window
    reason: str


@dataclass(frozen=True, slots=True)
class Summarized:
    """What became of the windows that were looked at, and the run that wrote (None: nothing was to be written).

    `too_few`: windows of too few different facts for a summary. `left_out` would have had one that was forgotten, or
    undone. Of a language model's: `failed` are windows of which no reply could be used, `unmade` says why; `left` were
    not asked about, `stopped` says why. The next run goes on with both.
    """

    written: int = 0
    unchanged: int = 0
    too_few: int = 0
    set_aside: int = 0
    left_out: int = 0
    failed: int = 0
    left: int = 0
    run: int | None = None
    stopped: str | None = None
    unmade: tuple[Unmade, ...] = ()
    usage: Usage = field(default_factory=Usage)


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
    of the time zone, and from rules to a language model and back. What is pending is done first. `tell` gets each
    summary as it is written, `progress` how many of how many windows are done. Cut short, it goes on where it stopped:
    what a language model replied is not paid again.

    Raises:
        Unavailable, MissingPart: of the language model, after all that it replied was kept.
        ProfileBusy: another process asks for summaries of this memory.
    """
    work_first(memory)
    alone = _alone(memory) if memory.settings.summarize.use == "llm" else nullcontext()
    with alone, _Pass(memory, conversation=conversation, anew=anew) as one:
        return one.work(tell=tell, progress=progress)


def _alone(memory: Memory) -> AbstractContextManager[None]:
    """Inside, no other process asks for summaries: two that go through the same windows would pay for each twice."""
    busy = "another process is summarizing this memory"
    return exclusive(memory.profile.folder / "summarize.lock", wait=0, busy=busy)


class _Pass(ExitStack):
    """One pass over the windows of one kind. Its run begins with the first thing that is written, or paid."""

    def __init__(self, memory: Memory, *, conversation: str | None, anew: bool) -> None:
        super().__init__()
        settings, history = memory.settings, memory.history
        active = history.vectors.active_space()
        self._space = None if active is None else active[0]
        self._memory, self._history = memory, history
        self._conversation = conversation
        self._asks = settings.summarize.use == "llm"
        self._per: Per = settings.summarize.window
        self._zone = settings.transcript.zone
        self._shelf = Shelf(history, per=self._per, zone=self._zone, begun=self._begun)
        self._stage = f"summarize by {self._per}"
        self._made_as = self._settings()
        self._position = history.runs.position()  # read first: what changes from here on is the next pass's
        self._anew = anew or history.runs.taken(f"{self._stage} as") != self._made_as
        # A fact that another process is embedding is looked at again when it has its vector.
        self._settles = conversation is None and not history.work.waits("embed", space=0)
        self._run: int | None = None

    def work(self, *, tell: Callable[[Summary], None], progress: Callable[[int, int], None]) -> Summarized:
        windows = self._changed()
        asked = self._asked(windows) if self._asks and windows else None
        counts: Counter[Became] = Counter()
        gone: Unavailable | MissingPart | None = None
        with closing(self._quoted(windows, tell=tell) if asked is None else asked.work(tell=tell)) as outcomes:
            try:
                for became in outcomes:
                    counts[became] += 1
                    progress(counts.total(), len(windows))
            except (Unavailable, MissingPart) as error:
                gone = error
        if gone is None and (asked is None or not (asked.failed or asked.left)):
            counts[Became.SET_ASIDE] += self._shelf.drop_other_zones(self._conversation) if self._anew else 0
            self._settle(windows)
        if self._run is not None:
            self._embed()
        if gone is not None:
            raise gone
        done = _counted(counts, run=self._run if self._shelf.wrote else None)
        return done if asked is None else _with(done, asked)

    def _begun(self) -> int:
        if self._run is None:
            self._run = self.enter_context(self._memory.run("summarize"))
        return self._run

    def _settings(self) -> int:
        """What decides how all summaries are made, as a number. Another model is no reason to pay for all anew."""
        settings = self._memory.settings
        made_as: tuple[object, ...] = (settings.summarize.sentences, settings.transcript.timezone)
        return zlib.crc32(repr((*made_as, "llm" if self._asks else self._space)).encode())

    def _changed(self) -> list[Window]:
        """The windows of what changed since the last time, in the order of their days."""
        after = 0 if self._anew else self._history.runs.taken(self._stage)
        kinds = KINDS if self._asks else (Kind.FACT,)
        windows = self._windows(self._history.windows.changed_after(after, kinds=kinds))
        if self._asks and self._history.windows.left_bare_after(after):
            # What a model was shown of other windows was forgotten, and the summary that may tell of it with it.
            everywhere = self._windows(self._history.windows.changed_after(0, kinds=kinds))
            windows |= {window for window in everywhere if not self._shelf.current(window)}
        return sorted(windows, key=lambda one: (one.conversation, one.days is None, one.days or (), one.session))

    def _windows(self, places: Iterable[Place]) -> set[Window]:
        return {
            window_of(*place, per=self._per, zone=self._zone)
            for place in places
            if self._conversation in (None, place.conversation)
        }

    def _quoted(self, windows: Sequence[Window], *, tell: Callable[[Summary], None]) -> Generator[Became, None, None]:
        """Let the facts that say most stand for each window, word for word."""
        sentences = self._memory.settings.summarize.sentences
        drafts = Drafts(self._history, per=self._per, sentences=sentences, zone=self._zone, space=self._space)
        for window in windows:
            yield self._shelf.take(window, partial(drafts.draft, window), tell=tell)

    def _asked(self, windows: Sequence[Window]) -> Asked:
        return Asked(self._memory, self._shelf, windows=windows, begun=self._begun, space=self._space)

    def _settle(self, windows: Sequence[Window]) -> None:
        if windows and self._settles:
            with self._history.transaction():
                self._history.runs.take(self._stage, self._position)
                self._history.runs.take(f"{self._stage} as", self._made_as)

    def _embed(self) -> None:
        """Make what was written findable."""
        space = self._history.vectors.active_space()
        if self._history.work.pending().get("embed", 0):
            space = self._memory.space()
            while embed_some(self._memory, space=space[0], queue=0):
                pass
        self._memory.indexes.catch_up(space=space)


def _counted(counts: Counter[Became], *, run: int | None) -> Summarized:
    return Summarized(
        written=counts[Became.WRITTEN],
        unchanged=counts[Became.UNCHANGED],
        too_few=counts[Became.TOO_FEW],
        set_aside=counts[Became.SET_ASIDE],
        left_out=counts[Became.LEFT_OUT],
        failed=counts[Became.FAILED],
        run=run,
    )


def _with(done: Summarized, asked: Asked) -> Summarized:
    unmade = tuple(Unmade(window, fault.message) for window, fault in asked.failed)
    return replace(done, left=asked.left, stopped=asked.stopped, unmade=unmade, usage=asked.usage)
