"""Cuts what was journalled of each session into topics, as far as enough follows, and shortens what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from lightmem_cli.engine import Memory
from lightmem_cli.errors import MissingPart
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Compressor, Segmenter, Spoken
from lightmem_cli.records import Segment
from lightmem_cli.segment import ALWAYS, OpenTopic, hardly_grown, unit_means
from lightmem_cli.store.history import History
from lightmem_cli.store.history.compressed import Shortened
from lightmem_cli.store.history.segments import Said
from lightmem_cli.store.history.work import Stage

JOBS_AT_ONCE = 1024  # of each stage

# What one odd session can make a segmenter, a compressor or a model of theirs raise; the others go on.
_ONE_SESSION_FAILED = (ValueError, ArithmeticError, LookupError, RuntimeError)  # torch's memory runs out as the last
_STAGES: tuple[Stage, ...] = ("segment", "close")
_LONGEST_SILENCE = 1e9  # minutes, some 2,000 years: a timedelta holds no more than a thousand times that

_Place: TypeAlias = tuple[str, str]  # a conversation and a session
_Job: TypeAlias = tuple[Stage, int]


class _Ended(NamedTuple):
    """A topic that has ended: what was said in it, what cut it and how clearly, and its messages' shortened texts."""

    said: list[Said]
    by: str
    score: float
    shortened: list[Shortened]
    made_by: str


@dataclass(frozen=True, slots=True)
class Topic:
    """A segment that was made, and how many messages it holds."""

    segment: Segment
    messages: int


@dataclass(frozen=True, slots=True)
class _Tail:
    """The open tail of a session as one moment of history held it, and the open topic that is to take it in.

    It begins at position `begins`. `said` and `turns` are the same messages, as history and as a segmenter knows them;
    behind those in `ending`, somebody asked for the topic to end.
    """

    begins: int
    said: list[Said]
    turns: list[Spoken]
    ending: set[int]
    topic: OpenTopic


@dataclass(frozen=True, slots=True)
class _Session:
    """The jobs that were claimed of one session, and its open tail, where that is to be looked at now.

    It is not where turns of it wait for their vectors (`waits`), nor where it can wait for more turns.
    """

    jobs: list[_Job]
    tail: _Tail | None = None
    waits: bool = False


def ask_to_close(history: History, ends: Mapping[_Place, tuple[int, int]]) -> None:
    """Ask for a session's topic to end behind a message, given by position and integer, unless that is settled."""
    still_open = [id for place, (position, id) in ends.items() if position >= history.segments.open_from(*place)]
    if still_open:
        with history.transaction():
            history.work.add("close", still_open)


def ask_to_close_all(history: History) -> None:
    """Ask for every open topic to end with the last message of its session."""
    with history.transaction():
        history.work.add("close", history.segments.last_of_open())


def silence_of(settings: Settings) -> timedelta:
    """The longest silence within a topic."""
    return timedelta(minutes=min(settings.segment.silence_minutes, _LONGEST_SILENCE))


def cut_topics(memory: Memory, *, run: int) -> Iterator[list[Topic]]:
    """Cut what waits to be cut, a step at a time; each step is committed when it is yielded.

    A session some of whose turns another process still embeds is left to that one, which comes here afterwards. A turn
    that could not be embedded counts as one that says nothing, so that it holds up nothing, and its cuts stay.

    Raises:
        MissingPart: a model that cuts or shortens is not on this machine; the topics stay open until it is.
    """
    history = memory.history
    if memory.settings.segment.use == "none":
        if _asked(history):
            memory.sensory.tell_that_nothing_is_shortened()
            _strike_off_all(history)
        return
    while True:
        left: dict[_Place, list[_Job]] = {}
        while sessions := _claim(memory):
            yield _cut(memory, sessions, run=run)
            for place, session in sessions.items():
                if session.waits:
                    left.setdefault(place, []).extend(session.jobs)
        if not left:
            return
        with history.transaction():
            _give_back(history, _ours(history, [job for jobs in left.values() for job in jobs]))
        # Whoever embeds may have looked for this work while it was held here: where that is done, it is ours again.
        if all(_waits(memory, place) for place in left):
            return


def cut_now_or_later(memory: Memory, *, run: int) -> Iterator[list[Topic]]:
    """As `cut_topics`, for what does not need topics: without a model of theirs they are left to a later run."""
    try:
        yield from cut_topics(memory, run=run)
    except MissingPart as missing:
        memory.notice(f"topics stay open: {missing.message}")


def _asked(history: History) -> bool:
    """Whether there is any work, also where another process holds it: to look is cheaper than to lock."""
    return any(history.work.waits(stage, space=0) for stage in _STAGES)


def _strike_off_all(history: History) -> None:
    with history.transaction():
        for stage in _STAGES:
            while items := history.work.claim(stage, limit=JOBS_AT_ONCE):
                history.work.done(stage, items)


def _claim(memory: Memory) -> dict[_Place, _Session]:
    """Take the next jobs with the open tails of their sessions, both as they are at one moment."""
    history = memory.history
    if not _asked(history):
        return {}
    segmenter = memory.segmenter  # opened before anything is locked
    with history.transaction():
        claimed = [(stage, item) for stage in _STAGES for item in history.work.claim(stage, limit=JOBS_AT_ONCE)]
        places = history.segments.places({item for _, item in claimed})
        jobs: dict[_Place, list[_Job]] = {}
        for stage, item in claimed:
            jobs.setdefault(places[item], []).append((stage, item))
        return {place: _session(memory, place, its, segmenter=segmenter) for place, its in jobs.items()}


def _session(memory: Memory, place: _Place, jobs: list[_Job], *, segmenter: Segmenter) -> _Session:
    history = memory.history
    if _waits(memory, place):
        return _Session(jobs, waits=True)
    begins = history.segments.open_from(*place)
    turns = history.messages.next_position(*place) - begins
    looked_from, before = memory.looked_at.get(place, (begins, 0))
    # Where another process has cut here since, what was looked at was another topic.
    if not _of("close", jobs) and looked_from == begins and hardly_grown(turns, before=before):
        return _Session(jobs)
    return _Session(jobs, tail=_tail(memory, place, segmenter=segmenter))


def _waits(memory: Memory, place: _Place) -> bool:
    """Whether a turn that the next cut of a session may rest on still waits for its vectors."""
    return memory.history.segments.unembedded(*place, since=_bounds(memory, place)[0])


def _bounds(memory: Memory, place: _Place) -> tuple[int, int]:
    """The positions from which a session is to be read, as a segmenter looks back, and from which it is open."""
    lookback = memory.segmenter.lookback
    ends = memory.history.segments.ends(*place, count=lookback + 1)
    begins = ends[0][0] if ends else 0
    stretch = next((end for end, by in ends if by in ALWAYS), 0)
    return max(stretch, begins - lookback), begins


def _tail(memory: Memory, place: _Place, *, segmenter: Segmenter) -> _Tail:
    """Read the open tail of a session with its vectors, and what its next cuts may rest on."""
    history = memory.history
    since, begins = _bounds(memory, place)
    said = history.segments.said(*place, since=since)
    space = history.vectors.active_space()
    means = {}
    if space is not None:
        turns = [one.turn for one in said if one.turn is not None]
        means = unit_means(*history.reading.embedded(turns, space=space[0]))
    spoken = [Spoken(one.message, None if one.turn is None else means.get(one.turn)) for one in said]
    behind = sum(one.message.position < begins for one in said)
    dated = [turn.message.said_at is not None for turn in spoken]
    dated_before = None
    if since > 0 and any(dated[behind:]) and not any(dated[:behind]):
        dated_before = history.segments.dated_before(*place, position=since, ends=ALWAYS)
    topic = OpenTopic(
        segmenter=segmenter,
        silence=silence_of(memory.settings),
        behind=spoken[:behind],
        dated_before=dated_before,
    )
    ending = history.segments.ending_at([one.id for one in said[behind:]])
    return _Tail(begins=begins, said=said[behind:], turns=spoken[behind:], ending=ending, topic=topic)


def _topics(tail: _Tail, *, compressor: Compressor | None, one_by_one: bool) -> list[_Ended]:
    """The topics of an open tail that have ended.

    Each is shortened at once. Where one model does both, turns are looked at `one_by_one`: it has just read the topic
    then, and remembers few windows. Otherwise that would only take time, with similarity 2 to 8 ms a turn.
    """
    found: list[_Ended] = []
    taken = cut = 0
    ends = {place for place, one in enumerate(tail.said, start=1) if one.id in tail.ending}
    portions = range(1, len(tail.said) + 1) if one_by_one else sorted({*ends, len(tail.said)})
    for end in portions:
        for ended in tail.topic.take(tail.turns[taken:end], ended=end in ends):
            said = tail.said[cut : cut + ended.turns]
            shortened = [] if compressor is None else _shortened(said, compressor)
            made_by = "" if compressor is None else compressor.name
            found.append(_Ended(said, ended.by, ended.score, shortened, made_by))
            cut += ended.turns
        taken = end
    return found


def _shortened(said: Sequence[Said], compressor: Compressor) -> list[Shortened]:
    texts = compressor.compress([one.message for one in said])
    return [Shortened(one.id, one.message.content, text) for one, text in zip(said, texts, strict=True)]


def _cut(memory: Memory, sessions: Mapping[_Place, _Session], *, run: int) -> list[Topic]:
    """Cut the sessions that are to be looked at now, and strike off the jobs of those that do not wait."""
    history, compressor = memory.history, memory.sensory.compressor
    cuts: dict[_Place, list[_Ended]] = {}
    faults: dict[_Place, str] = {}
    for place, session in sessions.items():
        if session.tail is not None:
            try:
                cuts[place] = _topics(session.tail, compressor=compressor, one_by_one=memory.sensory.is_shared)
            except _ONE_SESSION_FAILED as error:
                faults[place] = f"{type(error).__name__}: {error}"
    made: list[Topic] = []
    with history.transaction():
        ours = set(_ours(history, [job for session in sessions.values() for job in session.jobs]))
        for place, session in sessions.items():
            jobs = [job for job in session.jobs if job in ours]
            if place in faults:
                for stage, item in jobs:
                    history.work.quarantine(stage, item, faults[place])
            elif session.tail is not None:
                made += _write(memory, place, session.tail, cuts[place], jobs, run=run)
            elif not session.waits:
                _strike_off(history, jobs)
    return made


def _write(
    memory: Memory, place: _Place, tail: _Tail, cuts: Sequence[_Ended], jobs: Sequence[_Job], *, run: int
) -> list[Topic]:
    """Keep the topics of a session that have ended, and strike off what was asked of the messages looked at."""
    history = memory.history
    if history.segments.open_from(*place) != tail.begins:
        _give_back(history, jobs)  # another process has cut here meanwhile
        return []
    made: list[Topic] = []
    for one in cuts:
        segment = history.segments.add(one.said, cut_by=one.by, score=one.score, run=run)
        history.compressed.keep(one.shortened, made_by=one.made_by)
        made.append(Topic(segment, len(one.said)))
    _strike_off(history, [*jobs, *(("segment", one.id) for one in tail.said), *(("close", id) for id in tail.ending)])
    left = len(tail.said) - sum(topic.messages for topic in made)
    memory.looked_at[place] = history.segments.open_from(*place), left
    return made


def _ours(history: History, jobs: Iterable[_Job]) -> list[_Job]:
    """Those of the claimed jobs that are still ours."""
    wanted = list(jobs)
    return [(stage, item) for stage in _STAGES for item in history.work.held(stage, _of(stage, wanted))]


def _of(stage: Stage, jobs: Iterable[_Job]) -> list[int]:
    return [item for its, item in jobs if its == stage]


def _strike_off(history: History, jobs: Sequence[_Job]) -> None:
    for stage in _STAGES:
        history.work.done(stage, _of(stage, jobs))


def _give_back(history: History, jobs: Iterable[_Job]) -> None:
    for stage, item in jobs:
        history.work.add(stage, [item])  # asking for what is claimed already frees it
