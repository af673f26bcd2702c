"""Takes a transcript into a memory: journalled first, then turned into facts, embedded and indexed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeAlias

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Estimate
from lightmem_cli.engine.consolidate import after_ingest
from lightmem_cli.engine.extraction import Flush, is_read_by_model, read_waiting
from lightmem_cli.engine.identify import Identifier
from lightmem_cli.engine.journal import OnConflict, journal
from lightmem_cli.engine.pending import work_off
from lightmem_cli.engine.steps import Done
from lightmem_cli.engine.topics import ask_to_close
from lightmem_cli.errors import InputError, LightmemError, MissingPart, ProfileError, Unavailable
from lightmem_cli.records import Row
from lightmem_cli.transcript import BadLine, Item, Skipped

OnError: TypeAlias = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a transcript came to: messages by what became of them, facts born, entries embedded, topics that ended.

    `messages` are new, `known` were there already, `rejected` could not be read, `skipped` hold nothing by design. Of
    what a language model read: `unsupported` facts, which their messages do not bear out, messages set `aside`, and the
    calls and tokens that it took.
    """

    messages: int = 0
    known: int = 0
    replaced: int = 0
    rejected: int = 0
    skipped: int = 0
    facts: int = 0
    embedded: int = 0
    topics: int = 0
    unsupported: int = 0
    aside: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToIngest:
    """The choices of one ingest. `conversation` and `session` name what rows leave unnamed.

    With `keep_open` the last topic of a session does not end with the transcript. A language model reads what is new
    once all is kept; where transcripts come `live`, also while more may come.
    """

    conversation: str | None = None
    session: str | None = None
    append: bool = False
    on_conflict: OnConflict = "refuse"
    on_error: OnError = "stop"
    journal_only: bool = False
    keep_open: bool = False
    live: bool = False


def ingest(
    memory: Memory,
    transcripts: Iterable[Iterable[Sequence[Item]]],
    how: HowToIngest,
    *,
    reject: Callable[[BadLine], None],
    progress: Callable[[Ingested], None],
    tell: Callable[[Estimate], None] | None = None,
) -> Ingested:
    """Ingest transcripts, each an iterable of batches as they become available.

    Every batch is journalled and worked off before the next is asked for, so a slow pipe is searchable line by line.
    Bad lines go to `reject` (`on_error = "skip"`), or the first one ends the ingest after all before it was kept.
    `tell` is told what a language model's reading is to take, before it begins.

    Raises:
        InputError: a bad line, with `on_error = "stop"`.
        MissingPart, Unavailable, ProfileError: a model is not there: all was kept, and what takes the model waits for
            it.
    """
    with memory.run("ingest") as run:
        work = _Ingest(memory, how, run=run, reject=reject, progress=progress)
        for batches in transcripts:
            work.take(batches)
        total = work.finish(tell)
    after_ingest(memory, journal_only=how.journal_only)
    return total


class _Ingest:
    """One ingest: what it came to so far, and the models that it has found out it must do without."""

    def __init__(
        self,
        memory: Memory,
        how: HowToIngest,
        *,
        run: int,
        reject: Callable[[BadLine], None],
        progress: Callable[[Ingested], None],
    ) -> None:
        self._memory = memory
        self._how = how
        self._run = run
        self._reject = reject
        self._progress = progress
        self._total = Ingested()
        self._touched: set[tuple[str, str]] = set()
        self._lacks: list[LightmemError] = []
        self._cuts = True
        self._reads = is_read_by_model(memory)

    def take(self, batches: Iterable[Sequence[Item]]) -> None:
        """Ingest one transcript.

        Raises:
            InputError: a bad line, with `on_error = "stop"`.
        """
        how = self._how
        known = self._memory.history.messages.identified_by_order
        identifier = Identifier(known, conversation=how.conversation, session=how.session, append=how.append)
        ends: dict[tuple[str, str], tuple[int, int]] = {}
        for batch in batches:
            bad = self._journal(batch, identifier, ends=ends)
            self._progress(self._total)
            for line in bad if how.on_error == "skip" else ():
                self._reject(line)
            if not how.journal_only:
                self._work_off()
                if how.live:
                    self._read("full", places=ends.keys())
            if bad and how.on_error == "stop":
                hint = "mend the line and run again, or pass --on-error skip"
                raise InputError(f"{bad[0].origin}: {bad[0].reason}", hint=hint)
        self._touched |= ends.keys()
        if not how.keep_open:  # nor where it broke off: what follows may belong to the same topic
            ask_to_close(self._memory.history, ends)

    def finish(self, tell: Callable[[Estimate], None] | None) -> Ingested:
        """Do what is left, also what an earlier run, cut short, left behind; what it all came to.

        Raises:
            MissingPart, Unavailable, ProfileError: what a model is not there for waits.
        """
        if self._how.journal_only:
            self._memory.indexes.catch_up(space=None)
            return self._total
        self._work_off()
        if self._how.keep_open or not self._cuts:  # what is left is gathered in another way once more is cut
            self._read("full", places=self._touched, tell=tell)
        else:
            self._read("ended", tell=tell)
        if self._lacks:
            raise self._lacks[0]
        return self._total

    def _journal(
        self, batch: Sequence[Item], identifier: Identifier, *, ends: dict[tuple[str, str], tuple[int, int]]
    ) -> list[BadLine]:
        """Journal one batch, in order, note how far it reaches in each session, and say which of its lines were bad."""
        stop = self._how.on_error == "stop"
        bad: list[BadLine] = []
        rows: list[Row] = []
        skipped = 0
        for item in batch:
            match item:
                case Row():
                    rows.append(item)
                case Skipped():
                    skipped += 1
                case BadLine():
                    bad.append(item)
                    if stop:
                        break
        on_conflict = self._how.on_conflict
        journalled = journal(self._memory.history, rows, identifier, run=self._run, on_conflict=on_conflict, stop=stop)
        for place, end in journalled.ends.items():
            ends[place] = max(end, ends.get(place, end))
        refused = [_refused(row, reason) for row, reason in journalled.refused]
        bad = refused + bad if not (stop and refused) else refused  # a refused row came before the bad line
        total = self._total
        self._total = replace(
            total,
            messages=total.messages + journalled.new,
            known=total.known + journalled.known,
            replaced=total.replaced + journalled.replaced,
            rejected=total.rejected + len(bad),
            skipped=total.skipped + skipped,
        )
        return bad

    def _work_off(self) -> None:
        """Work off what waits. What takes a model that is not on this machine is left, and the rest is done."""
        try:
            for done in work_off(self._memory, run=self._run, topics=self._cuts):
                self._add(done)
        except MissingPart as missing:
            self._lacks.append(missing)
            self._cuts = False

    def _read(
        self,
        flush: Flush,
        *,
        places: Collection[tuple[str, str]] | None = None,
        tell: Callable[[Estimate], None] | None = None,
    ) -> None:
        """Have a language model read what waits, where one does; one that is not there is asked no more."""
        if not self._reads:
            return
        memory = self._memory
        try:
            for done in read_waiting(memory, run=self._run, flush=flush, places=places, tell=tell):
                memory.indexes.catch_up(space=memory.history.vectors.active_space())
                self._add(done)
                self._reads = done.stopped is None
        except (MissingPart, Unavailable, ProfileError) as error:
            self._lacks.append(error)
            self._reads = False

    def _add(self, done: Done) -> None:
        self._total = _plus(self._total, done)
        self._progress(self._total)


def _refused(row: Row, reason: str) -> BadLine:
    """A row that could be read and not be journalled, as a line that can be mended and ingested again."""
    fields = {
        field: value for field, value in asdict(row).items() if value is not None and field not in ("origin", "raw")
    }
    if row.said_at is not None:
        fields["timestamp"] = row.said_at.isoformat()
        del fields["said_at"]
    return BadLine(origin=row.origin, reason=reason, raw=json.dumps(fields, ensure_ascii=False).encode())


def _plus(total: Ingested, done: Done) -> Ingested:
    return replace(
        total,
        facts=total.facts + done.born,
        embedded=total.embedded + done.embedded,
        topics=total.topics + len(done.topics),
        unsupported=total.unsupported + done.unsupported,
        aside=total.aside + done.aside,
        calls=total.calls + done.usage.calls,
        prompt_tokens=total.prompt_tokens + done.usage.prompt_tokens,
        completion_tokens=total.completion_tokens + done.usage.completion_tokens,
        cached_tokens=total.cached_tokens + done.usage.cached_tokens,
    )
