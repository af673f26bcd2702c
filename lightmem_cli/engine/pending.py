"""Does what a journalled conversation waits for: facts extracted, texts embedded and indexed, topics cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Estimate
from lightmem_cli.engine.embedding import embed_some
from lightmem_cli.engine.extraction import Flush, is_read_by_model, read_waiting, ready, wait_for_others
from lightmem_cli.engine.extraction.by_rules import extract_some
from lightmem_cli.engine.steps import Done
from lightmem_cli.engine.topics import cut_topics
from lightmem_cli.errors import MissingPart

_UNINDEXED_SECONDS = 1.0  # between calls: whoever looks indexes the rest; 24 ms for each batch kept servers waiting


def work_off(
    memory: Memory,
    *,
    run: int,
    topics: bool = True,
    ask: Flush | None = None,
    tell: Callable[[Estimate], None] | None = None,
) -> Iterator[Done]:
    """Do all pending work, a step at a time; each step is committed and searchable when it is yielded.

    Topics come last, and not at all without `topics`: what needs a model of theirs holds up nothing else. Where a
    language model extracts, it is asked behind them, and only with `ask`, about what that says. With "all" what other
    processes have begun is waited for, and done where they died.

    Raises:
        MissingPart: a model that this takes is not on this machine; what does not take it is done.
        Unavailable: so is the language model's server; what can be done without it is done.
        ProfileError: a language model is to extract, and none is set.
    """
    missing: list[MissingPart] = []
    stopped = False
    others = wait_for_others(memory) if ask == "all" and is_read_by_model(memory) else iter(())
    while True:
        for done in _work(memory, run=run, topics=topics, ask=ask, tell=tell, missing=missing):
            yield done
            stopped = done.stopped is not None
        if stopped or next(others, None) is None:
            break
    if missing:
        raise missing[0]


def work_first(memory: Memory, *, progress: Callable[[int], None] = lambda done: None) -> None:
    """Do what the memory's messages still wait for, if anything: what is not a fact yet cannot be merged or told.

    Topics that cannot be cut are left to a later run.

    Raises:
        MissingPart, ModelError, ProfileError: as `work_off`.
    """
    if not _waits(memory):
        return
    count = 0
    missing: list[MissingPart] = []
    with memory.run("extract") as run:
        for done in _work(memory, run=run, ask="all", missing=missing):
            count += done.extracted + done.embedded
            progress(count)
    if missing:
        memory.notice(f"topics stay open: {missing[0].message}")


def _waits(memory: Memory) -> bool:
    """Whether anything can be done now. A message need not wait for anything but the end of its topic."""
    pending = memory.history.work.pending()
    messages = pending.pop("extract", 0)
    if pending or memory.history.work.quarantined():
        return True
    return bool(messages and (ready(memory) if is_read_by_model(memory) else True))


def _work(
    memory: Memory,
    *,
    run: int,
    missing: list[MissingPart],
    topics: bool = True,
    ask: Flush | None,
    tell: Callable[[Estimate], None] | None = None,
) -> Iterator[Done]:
    """As `work_off`, waiting for nobody. A model that cuts or shortens, and is not there, goes to `missing`."""
    yield from _without_model(memory, run=run)
    if topics and not missing:
        try:
            for some in cut_topics(memory, run=run):
                yield Done(topics=tuple(some))
        except MissingPart as error:
            missing.append(error)
    if ask is not None and is_read_by_model(memory):
        # What is left of topics is gathered in another way once all are cut.
        indexed = 0.0
        for done in read_waiting(memory, run=run, flush="full" if missing else ask, tell=tell):
            if time.monotonic() - indexed > _UNINDEXED_SECONDS:
                memory.indexes.catch_up(space=memory.history.vectors.active_space())
                indexed = time.monotonic()
            yield done
        if indexed:
            memory.indexes.catch_up(space=memory.history.vectors.active_space())


def _without_model(memory: Memory, *, run: int) -> Iterator[Done]:
    """Extract where rules do that, embed and index."""
    while extracted := extract_some(memory, run=run):
        yield extracted
        memory.indexes.catch_up(space=None)
    space = memory.history.vectors.active_space()
    if memory.history.work.pending().get("embed", 0):
        space = memory.space()
        while embedded := embed_some(memory, space=space[0], queue=0):
            memory.indexes.catch_up(space=space)
            yield Done(embedded=embedded)
    memory.indexes.catch_up(space=space)
