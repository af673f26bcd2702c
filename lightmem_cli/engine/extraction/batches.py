"""Gathers what a language model is to read of a conversation into batches: each is what one call reads.

A batch is kept once it is made, so that who is cut short, and whoever comes next, reads the same together. Which there
are depends on what was said, and on when somebody asked for the rest; not on how fast anybody was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, groupby
from typing import Literal, TypeAlias

from lightmem_cli.engine import Memory
from lightmem_cli.engine.shorten import shorten_rest
from lightmem_cli.extract.buffer import Sized, Topic, gather
from lightmem_cli.extract.llm import HowToAsk, Line, cost_of, line_of
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.records import row_text
from lightmem_cli.store.history.buffer import Place, Unread

# What is read, of topics that have ended: what fills a call; or also the rest of each session of which every topic has
# ended; or the rest of all. The rest of several sessions of a conversation is read together.
Flush: TypeAlias = Literal["full", "ended", "all"]


_USUAL = 16  # messages of a topic; LoCoMo's conv-26 has 18, conv-41 15


def how_to_ask(settings: Settings) -> HowToAsk:
    """What a profile says about prompts and replies."""
    extract = settings.extract
    return HowToAsk(
        mode=extract.mode,
        metadata=extract.metadata,
        summary=extract.summary,
        threshold=extract.threshold,
        zone=settings.transcript.zone,
    )


def make_batches(memory: Memory, *, flush: Flush, places: Collection[Place] | None = None) -> None:
    """Gather what waits, and strike off what is not to be read; all in one step. With `places`, only there.

    Raises:
        MissingPart: the model that shortens, or the one that counts tokens, is not on this machine.
        ProfileError: the profile names no language model.
    """
    history = memory.history
    waiting = [one for topics in _sessions(memory, places) for one in chain.from_iterable(topics)]
    if not waiting:
        return
    _shorten_first(memory, waiting)
    tokens = _counting(memory)
    for one in waiting:  # counted before anything is locked
        tokens(one)
    with history.transaction():
        sessions = list(_sessions(memory, places))
        unread = chain.from_iterable(chain.from_iterable(sessions))
        history.work.done("extract", [one.id for one in unread if not _is_read(memory, one)])
        for batch in _gathered(memory, sessions, flush=flush, tokens=tokens):
            history.work.batch([one.id for one in batch])


def planned(memory: Memory) -> list[list[Unread]]:
    """The batches that are made, and those that would be if everything were read now. Nothing is changed.

    Topics that are not cut yet are taken to be of usual length.
    """
    history, tokens = memory.history, _counting(memory)
    made = [history.buffer.read(items) for _, items in history.work.batches()]
    unsettled = history.buffer.unsettled()
    sessions = list(_sessions(memory, None, uncut=unsettled))
    return made + _gathered(memory, sessions, flush="all", tokens=tokens, unsettled=set())


def topics_of(unread: Iterable[Unread]) -> list[list[Unread]]:
    """Messages, in order, by the topics that they are of."""
    return [list(its) for _, its in groupby(unread, key=lambda one: (one.place, one.topic))]


def line(memory: Memory, one: Unread) -> Line:
    """A message as it is sent."""
    settings = memory.settings
    shortens = settings.extract.text == "compressed" and settings.compress.use != "none"
    return line_of(one.message, one.shortened if shortens else None)


def _counting(memory: Memory) -> Callable[[Unread], int]:
    """What it costs to send a message: each text is counted once."""
    count = cache(memory.model.tokens)
    return lambda one: count(cost_of(line(memory, one)))


def _shorten_first(memory: Memory, waiting: Iterable[Unread]) -> None:
    """Make the shortened texts that are to be sent, and that are not there."""
    settings = memory.settings
    if settings.extract.text == "original" or settings.compress.use == "none" or settings.segment.use == "none":
        return
    if any(one.shortened is None and one.message.content.strip() and _is_read(memory, one) for one in waiting):
        for _ in shorten_rest(memory):
            pass


def _sessions(
    memory: Memory, places: Collection[Place] | None, *, uncut: Collection[str] = ()
) -> Iterator[list[list[Unread]]]:
    """Of each session that has any, the topics that have ended with the messages that wait in each.

    Where nothing cuts topics, a message is one. In the conversations `uncut`, what is in none yet is taken to be in
    topics of usual length.
    """
    buffer = memory.history.buffer
    for place, ids in buffer.places().items():
        if places is not None and place not in places:
            continue
        unread = buffer.read(ids)
        if memory.settings.segment.use == "none":
            yield [[one] for one in unread]
            continue
        topics = topics_of(one for one in unread if one.topic is not None)
        if place[0] in uncut:
            rest = [one for one in unread if one.topic is None]
            topics += [rest[at : at + _USUAL] for at in range(0, len(rest), _USUAL)]
        if topics:
            yield topics


def _is_read(memory: Memory, one: Unread) -> bool:
    """Whether there is anything in a message to make a fact of."""
    return not one.hidden and one.message.is_of(memory.settings.extract.roles) and bool(row_text(one.message).strip())


def _gathered(
    memory: Memory,
    sessions: Sequence[list[list[Unread]]],
    *,
    flush: Flush,
    tokens: Callable[[Unread], int],
    unsettled: set[str] | None = None,
) -> list[list[Unread]]:
    """What is read together, of the topics of sessions, in the order of their conversations."""
    buffer, most = memory.history.buffer, memory.settings.extract.buffer_tokens
    unsettled = buffer.unsettled() if unsettled is None else unsettled
    found: list[list[Topic[Unread]]] = []
    for conversation, its in groupby(sessions, key=lambda topics: topics[0][0].place[0]):
        rest: list[Topic[Unread]] = []
        for topics in its:
            full, left = gather(_sized(memory, topics, tokens=tokens), tokens=most)
            found += full
            place = topics[0][0].place
            if flush == "all" or (flush == "ended" and _all_ended(memory, place)):
                rest += left
        if flush != "full" and conversation not in unsettled:  # else whoever settles it comes here afterwards
            full, last = gather(rest, tokens=most)
            found += [*full, *([last] if last else [])]
    return [[one.item for topic in batch for one in topic] for batch in found]


def _sized(
    memory: Memory, topics: Iterable[Sequence[Unread]], *, tokens: Callable[[Unread], int]
) -> Iterator[Topic[Unread]]:
    for topic in topics:
        if its := [Sized(one, tokens(one)) for one in topic if _is_read(memory, one)]:
            yield its


def _all_ended(memory: Memory, place: Place) -> bool:
    return memory.settings.segment.use == "none" or memory.history.buffer.all_ended(place)
