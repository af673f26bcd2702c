"""Takes a transcript into a memory: journalled first, then turned into facts, embedded and indexed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
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


@dataclass(slots=True)
class _Gone:
    """What an ingest has found out that it must do without: models of topics, and the language model."""

    errors: list[LightmemError] = field(default_factory=list)
    topics: bool = False
    reading: bool = False


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
    total = Ingested()
    gone = _Gone()
    touched: set[tuple[str, str]] = set()
    with memory.run("ingest") as run:
        for batches in transcripts:
            known = memory.history.messages.identified_by_order
            identifier = Identifier(known, conversation=how.conversation, session=how.session, append=how.append)
            ends: dict[tuple[str, str], tuple[int, int]] = {}
            for batch in batches:
                total, bad = _take(memory, batch, identifier, how, run=run, total=total, ends=ends)
                progress(total)
                for line in bad if how.on_error == "skip" else ():
                    reject(line)
                if not how.journal_only:
                    total = _work_off(memory, total, run=run, progress=progress, gone=gone)
                    if how.live:
                        total = _read(memory, total, "full", places=ends.keys(), run=run, progress=progress, gone=gone)
                if bad and how.on_error == "stop":
                    raise InputError(
                        f"{bad[0].origin}: {bad[0].reason}",
                        hint="mend the line and run again, or pass --on-error skip",
                    )
            touched |= ends.keys()
            if not how.keep_open:  # nor where it broke off: what follows may belong to the same topic
                ask_to_close(memory.history, ends)
        if how.journal_only:
            memory.indexes.catch_up(space=None)
        else:
            # Also what an earlier run, cut short, left behind.
            total = _work_off(memory, total, run=run, progress=progress, gone=gone)
            # Where topics could not be cut, what is left would be gathered in another way once they are.
            flush: Flush = "full" if how.keep_open or gone.topics else "ended"
            places = touched if flush == "full" else None
            total = _read(memory, total, flush, places=places, run=run, progress=progress, gone=gone, tell=tell)
        if gone.errors:
            raise gone.errors[0]
    after_ingest(memory, journal_only=how.journal_only)
    return total


def _work_off(
    memory: Memory,
    total: Ingested,
    *,
    run: int,
    progress: Callable[[Ingested], None],
    gone: _Gone,
) -> Ingested:
    """Work off what waits. A model that is not here is noted in `gone`, and the rest is kept and worked off."""
    try:
        for done in work_off(memory, run=run, topics=not gone.topics):
            total = _plus(total, done)
            progress(total)
    except MissingPart as missing:
        gone.errors.append(missing)
        gone.topics = True
    return total


def _read(
    memory: Memory,
    total: Ingested,
    flush: Flush,
    *,
    places: Collection[tuple[str, str]] | None,
    run: int,
    progress: Callable[[Ingested], None],
    gone: _Gone,
    tell: Callable[[Estimate], None] | None = None,
) -> Ingested:
    """Have a language model read what waits, where one does. One that is not there is noted in `gone`."""
    if gone.reading or not is_read_by_model(memory):
        return total
    try:
        for done in read_waiting(memory, run=run, flush=flush, places=places, tell=tell):
            memory.indexes.catch_up(space=memory.history.vectors.active_space())
            total = _plus(total, done)
            progress(total)
            gone.reading = done.stopped is not None
    except (MissingPart, Unavailable, ProfileError) as error:
        gone.errors.append(error)
        gone.reading = True
    return total


def _take(
    memory: Memory,
    batch: Sequence[Item],
    identifier: Identifier,
    how: HowToIngest,
    *,
    run: int,
    total: Ingested,
    ends: dict[tuple[str, str], tuple[int, int]],
) -> tuple[Ingested, list[BadLine]]:
    """Journal one batch, in order, note how far it reaches in each session, and say which of its lines were bad."""
    stop = how.on_error == "stop"
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
    journalled = journal(memory.history, rows, identifier, run=run, on_conflict=how.on_conflict, stop=stop)
    for place, end in journalled.ends.items():
        ends[place] = max(end, ends.get(place, end))
    refused = [_refused(row, reason) for row, reason in journalled.refused]
    bad = refused + bad if not (stop and refused) else refused  # a refused row came before the bad line
    return (
        replace(
            total,
            messages=total.messages + journalled.new,
            known=total.known + journalled.known,
            replaced=total.replaced + journalled.replaced,
            rejected=total.rejected + len(bad),
            skipped=total.skipped + skipped,
        ),
        bad,
    )


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
