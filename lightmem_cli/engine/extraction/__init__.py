"""Has a language model read what a conversation's short-term memory holds, and remembers what it finds there.

Each batch is one call. Whatever comes back, no message is lost: one whose batch nobody could read is set aside with the
reason, is found as it was said, and is tried again by the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Answered, Asking, Estimate, Request
from lightmem_cli.engine.asking.lanes import Done as Judged
from lightmem_cli.engine.asking.lanes import Lanes
from lightmem_cli.engine.asking.request import LESS_MAY_DO
from lightmem_cli.engine.extraction.batches import Flush, how_to_ask, line, make_batches, planned, topics_of
from lightmem_cli.engine.extraction.taking import Batch, Found, Weighed, look_up, take, weigh
from lightmem_cli.engine.steps import Done
from lightmem_cli.errors import LightmemError, MissingPart, ModelError, Unavailable
from lightmem_cli.extract.buffer import Sized, halves
from lightmem_cli.extract.llm import cost_of, most_of, prompt_of, read_reply, schema_of, version_of
from lightmem_cli.records import Entry
from lightmem_cli.store.history.buffer import Place, Unread
from lightmem_cli.store.history.work import Owner

__all__ = ["Flush", "estimate", "in_open_topics", "is_read_by_model", "read_waiting", "ready", "waits_for_topics"]

_LOOK_SECONDS = 0.1, 1.0  # between two looks at what another process does: at first, and at most
_PATIENCE_SECONDS = 10.0  # that another process is waited for which gets nothing done: it may be stopped


def is_read_by_model(memory: Memory) -> bool:
    """Whether a language model is to extract from what was said."""
    return memory.settings.extract.use == "llm"


def ready(memory: Memory) -> int:
    """How many messages a language model can read now; the others wait for their topics to end."""
    readable, topic_open = memory.history.buffer.waiting()
    return readable + (topic_open if memory.settings.segment.use == "none" else 0)


def in_open_topics(memory: Memory) -> int:
    """How many messages wait for topics to end that nobody is going to end by himself."""
    buffer = memory.history.buffer
    return 0 if memory.settings.segment.use == "none" or buffer.unsettled() else buffer.waiting()[1]


def waits_for_topics(memory: Memory) -> bool:
    """Whether all that is still to be read waits for topics to end."""
    return is_read_by_model(memory) and not ready(memory)


def estimate(memory: Memory) -> Estimate:
    """What it would take to read all that waits; nobody is asked anything.

    Raises:
        ProfileError, MissingPart: there is no model that could be asked.
    """
    reading = _Reading(memory, run=None)
    return reading.estimate(planned(memory))


def read_waiting(
    memory: Memory,
    *,
    run: int,
    flush: Flush,
    places: Collection[Place] | None = None,
    tell: Callable[[Estimate], None] | None = None,
) -> Iterator[Done]:
    """Gather what waits into batches (see `make_batches`), and read them, a step at a time; each step is committed.

    `tell` is told what it is to take, before the first call.

    Raises:
        Unavailable, MissingPart: nobody answers; what was answered is kept, and all else waits.
        ProfileError: there is something to read, and the profile names no language model.
    """
    make_batches(memory, flush=flush, places=places)
    waiting = memory.history.work.batches()
    if not waiting:
        return
    reading = _Reading(memory, run=run)
    if tell is not None:
        tell(reading.estimate([memory.history.buffer.read(items) for _, items in waiting]))
    yield from reading.work()


def wait_for_others(memory: Memory) -> Iterator[bool]:
    """Wait while other processes get work done; a step each time there may be something to do here.

    What they held when they died is free, and what they did not finish may be ours.
    """
    work = memory.history.work
    pause, longest = _LOOK_SECONDS
    idle = 0.0
    seen: list[Owner] = []
    while (at_work := work.holders()) or work.dead() or seen:
        if at_work:
            idle = idle if at_work == seen else 0.0
            if idle >= _PATIENCE_SECONDS:
                return
            time.sleep(pause)
            idle += pause
            if pause < longest <= 2 * pause:
                memory.notice(f"{at_work[0].named}, works on this memory, too: waiting for it (Ctrl-C loses nothing)")
            pause = min(2 * pause, longest)
        if work.dead():
            with memory.history.transaction():
                work.free()
        seen = at_work
        yield bool(at_work)


class _Reading:
    """The batches of one run: what is asked about each, and what becomes of it."""

    def __init__(self, memory: Memory, *, run: int | None) -> None:
        self._memory = memory
        self._history = memory.history
        self._run = run
        self._how = how_to_ask(memory.settings)
        self._asking = Asking(memory, run=run)
        self._judging: Lanes[Found, Weighed] = Lanes(lambda found: weigh(memory.embedder, found), most=1)
        self._in_judgement = 0
        self._under_way: dict[int, Batch] = {}  # by their requests' identities
        self._halves: set[int] = set()

    def estimate(self, batches: Collection[list[Unread]]) -> Estimate:
        made = [self._batch(0, unread) for unread in batches]
        return self._asking.estimate(self._request(batch) for batch in made if batch.messages)

    def work(self) -> Iterator[Done]:
        """Read all batches that nobody holds. What was found is judged beside, so that no call waits for that."""
        self._memory.space()  # whoever cannot embed what comes back need not ask
        gone: LightmemError | None = None
        try:
            with closing(self._asking.work(self._next)) as answers:
                for answered in answers:
                    yield from self._settled(answered)
                    yield from map(self._taken, self._judging.arrived())
        except (Unavailable, MissingPart) as error:
            gone = error
        while self._in_judgement:
            yield self._taken(self._judging.next())
        self._judging.end()
        self._give_back()
        if gone is not None:
            gone.hint = _going_on(gone.hint)
            raise gone
        if self._asking.stopped:
            self._memory.notice(f"{self._asking.stopped}: {ready(self._memory):,} messages wait (lightmem extract)")
            yield Done(stopped=self._asking.stopped)

    def _give_back(self) -> None:
        """Let whoever comes next take what was claimed and not answered."""
        if self._under_way:
            with self._history.transaction():
                for batch in self._under_way.values():
                    self._history.work.give_back(batch.number)

    def _next(self) -> Request[list[Entry]] | None:
        """What is to be asked about the next batch that nobody holds."""
        while True:
            with self._history.transaction():
                claimed = self._history.work.claim_batch(
                    first=self._halves, smallest=self._asking.wants_least("extract")
                )
                if claimed is None:
                    return None
                number, items, attempts = claimed
                batch = self._batch(number, self._history.buffer.read(items), again=attempts > 0)
                # What was forgotten since the batch was made is not sent.
                self._history.work.done("extract", [id for id in items if id not in batch.messages])
            if batch.messages:
                request = self._request(batch)
                self._under_way[id(request)] = batch
                return request

    def _batch(self, number: int, unread: Collection[Unread], *, again: bool = False) -> Batch:
        sent = [one for one in unread if not one.hidden]
        return Batch(
            number,
            messages={one.id: one.message for one in sent},
            topics=[[line(self._memory, one) for one in topic] for topic in topics_of(sent)],
            again=again,
        )

    def _request(self, batch: Batch) -> Request[list[Entry]]:
        topics, how, model = batch.topics, self._how, self._memory.model.name
        return Request(
            purpose="extract",
            version=version_of(how),
            prompt=prompt_of(topics, how),
            most=most_of(topics, how),
            messages=tuple(batch.messages),
            again=batch.again,
            least=len(batch.messages) == 1,
            schema=schema_of(topics, how),
            read=lambda text: read_reply(text, topics, how, model=model),
        )

    def _settled(self, answered: Answered[list[Entry]]) -> Iterator[Done]:
        """What becomes of one batch: what was found in it is judged first."""
        batch = self._under_way.pop(id(answered.request))
        if answered.value is not None:
            self._judging.put(look_up(self._memory, batch, answered.value, usage=answered.usage))
            self._in_judgement += 1
        else:
            assert answered.fault is not None
            yield Done(usage=answered.usage, aside=self._failed(batch, answered.fault))

    def _taken(self, judged: Judged[Found, Weighed]) -> Done:
        self._in_judgement -= 1
        if judged.error is not None:
            raise judged.error
        assert judged.result is not None and self._run is not None
        return take(self._memory, judged.result, run=self._run)

    def _failed(self, batch: Batch, fault: ModelError) -> int:
        """Halve a batch that could not be read, or set it aside; how many messages were set aside."""
        with self._history.transaction():
            held = [id for id in batch.messages if id in set(self._history.work.held_of(batch.number))]
            if self._asking.stopped:  # nor was it asked to say it better
                self._history.work.give_back(batch.number)
                return 0
            if len(held) > 1 and isinstance(fault, LESS_MAY_DO):
                self._halve(batch, held)
                return 0
            for id in held:
                self._history.work.quarantine("extract", id, fault.message)
        return len(held)

    def _halve(self, batch: Batch, held: Collection[int]) -> None:
        tokens, ids = self._memory.model.tokens, iter(batch.messages)
        topics = [[Sized(next(ids), tokens(cost_of(line))) for line in topic] for topic in batch.topics]
        kept = [[one for one in topic if one.item in held] for topic in topics]
        for half in halves([topic for topic in kept if topic]):
            self._halves.add(self._history.work.batch(half))


def _going_on(hint: str | None) -> str:
    goes_on = "lightmem extract goes on from here"
    if hint and "nothing is lost" in hint:
        return f"{hint}; {goes_on}"
    kept = f"nothing is lost: {goes_on}"
    return f"{hint}; {kept}" if hint else kept
