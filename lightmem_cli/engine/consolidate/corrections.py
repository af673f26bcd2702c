"""Has a language model judge what newer facts of a conversation do to older ones near them, and does what it says."""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Asking, Request
from lightmem_cli.engine.asking.request import LESS_MAY_DO
from lightmem_cli.engine.consolidate.pairs import candidates
from lightmem_cli.engine.consolidate.steps import do, entry_of, faults_of
from lightmem_cli.errors import ModelError
from lightmem_cli.records import Entry, LinkKind
from lightmem_cli.store.history import History
from lightmem_cli.update.correct import SCHEMA, Doubt, Verdict, most_of, prompt_of, read_reply, version
from lightmem_cli.update.decide import standing
from lightmem_cli.update.steps import Conflict, Correction, Dropped, Fact, Merge, Step

_CHARACTERS = 6_000  # of the facts that one call shows
_PAIRS = 60  # that one call asks about
_LATER = datetime.max.replace(tzinfo=UTC)
_WHY = "the language model says so"


@dataclass(frozen=True, slots=True)
class Found:
    """The doubts there are, their facts in the order said, the stage that looked, and up to where answers settle it."""

    doubts: list[Doubt]
    facts: list[Entry]
    stage: str
    settled: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What the model said of some doubts, or the fault for which it said nothing."""

    doubts: Sequence[Doubt]
    verdicts: Sequence[Verdict]
    fault: ModelError | None = None


def find(memory: Memory, *, progress: Callable[[int], None], gone: AbstractSet[str] = frozenset()) -> Found:
    """The facts that changed since the last time, or are near to such ones, each with the newer facts near to it.

    No pair that was judged before in the same words, and no fact that is `gone`, by its id. Writes nothing.
    """
    history, update = memory.history, memory.settings.update
    active = history.vectors.active_space()
    space = None if active is None else active[0]
    stage = _stage(memory, space=space)
    near = candidates(
        history,
        space=space,
        threshold=update.near,
        after=history.runs.taken(stage),
        known=(),
        progress=progress,
    )
    numbers = history.entries.numbers(fact.id for fact in near.facts)
    facts = sorted((fact for fact in near.facts if fact.id in numbers), key=_age(history, numbers))
    place = {fact.id: at for at, fact in enumerate(facts)}
    settled = _settled_pairs(history, numbers, facts, stage=stage)
    newer: dict[int, list[tuple[float, int]]] = {}
    for one, other, cosine in near.pairs:
        pair = near.facts[one].id, near.facts[other].id
        if not gone.isdisjoint(pair) or not place.keys() >= set(pair):
            continue
        old, new = sorted(place[id] for id in pair)
        if _may_concern(facts[old], facts[new]) and not settled(facts[old], facts[new]):
            newer.setdefault(old, []).append((-cosine, new))
    doubts = [
        Doubt(facts[old], tuple(facts[new] for _, new in sorted(its)[: update.top_k]))
        for old, its in sorted(newer.items())
    ]
    return Found(doubts, facts, stage, near.settled)


def judge(memory: Memory, found: Found, *, asking: Asking) -> Iterator[Judged]:
    """What the model says of what was found, call by call, as replies come; what fails is asked in halves.

    Raises:
        Unavailable, MissingPart: the model could not be asked, after all that could be.
    """
    waiting = deque(_portions(found.doubts, most=_room(memory)))
    asked: dict[int, list[Doubt]] = {}

    def next_request() -> Request[list[Verdict]] | None:
        if not waiting:
            return None
        portion = waiting.popleft()
        request = _request(memory.history, portion, found.facts)
        asked[id(request)] = portion
        return request

    for answered in asking.work(next_request):
        portion = asked[id(answered.request)]
        if answered.fault is None:
            yield Judged(portion, answered.value or [])
        elif len(portion) > 1 and isinstance(answered.fault, LESS_MAY_DO):
            middle = len(portion) // 2
            waiting.extendleft((portion[middle:], portion[:middle]))
        else:
            yield Judged(portion, [], answered.fault)


def verdicts_of(judged: Iterable[Judged], found: Found) -> list[Verdict]:
    """What the model said, in the order in which newer facts were said: as if each had been judged when it came."""
    place = {fact.id: at for at, fact in enumerate(found.facts)}
    said = [verdict for one in judged for verdict in one.verdicts]
    return sorted(said, key=lambda verdict: (place[verdict.newer.id], place[verdict.older.id]))


def carry_out(history: History, judged: Sequence[Judged], found: Found, *, run: int) -> list[Step]:
    """Do what the model said, and note what it was asked, all in one step; what was done.

    Who is cut short before it does all of it again, for nothing, as the replies are in the ledger. What another writer
    changed meanwhile is left, and asked again.
    """
    done: list[Step] = []
    ours: dict[str, int] = {}
    left: set[tuple[str, str]] = set()
    with history.transaction():
        numbers = history.entries.numbers(fact.id for fact in found.facts)  # what was purged meanwhile is in none
        for verdict in verdicts_of(judged, found):
            its = verdict.older.id, verdict.newer.id
            step = step_of(verdict, ours) if numbers.keys() >= set(its) else None
            if step is None:
                continue
            if faults_of(history, step):
                left.add(its)
                continue
            do(history, step, run=run)
            done.append(step)
            for id in its:
                ours[id] = entry_of(history, id)[1].version
        history.facts.judge(
            (numbers[doubt.older.id], numbers[fact.id], _said(found.stage, doubt.older, fact))
            for one in judged
            for doubt in one.doubts
            for fact in doubt.newer
            if one.fault is None
            and (doubt.older.id, fact.id) not in left
            and numbers.keys() >= {doubt.older.id, fact.id}
        )
    return done


def step_of(verdict: Verdict, ours: dict[str, int]) -> Step | None:
    """A verdict as a step of a plan; None where the fact that would go is pinned."""
    older, newer = (_fact(entry, ours) for entry in (verdict.older, verdict.newer))
    match verdict.does:
        case "conflicts":
            return Conflict(older, newer, _WHY)
        case "corrects":
            return None if verdict.older.pinned else Correction(older, newer, _WHY)
        case "same":
            keep, drop = sorted((verdict.older, verdict.newer), key=standing)
            if drop.pinned:
                return None
            kept, dropped = _fact(keep, ours), _fact(drop, ours)
            return Merge(kept.id, kept.version, kept.text, (Dropped(dropped.id, dropped.version, dropped.text, _WHY),))


def _stage(memory: Memory, *, space: int | None) -> str:
    """What looks at facts: another threshold, model or prompt, and everything is looked at anew."""
    update, model = memory.settings.update, memory.model
    made_as = (update.near, update.top_k, space, version(), model.name, model.manner)
    return f"correct as {zlib.crc32(repr(made_as).encode()):08x}"


def _age(history: History, numbers: Mapping[str, int]) -> Callable[[Entry], tuple[datetime, int, str]]:
    """A key that sorts facts by when they were said: by their time, then by their last message in the journal."""

    def key(fact: Entry) -> tuple[datetime, int, str]:
        return fact.said_at or _LATER, max(history.entries.source_ids(numbers[fact.id]), default=0), fact.id

    return key


def _fact(entry: Entry, ours: dict[str, int]) -> Fact:
    return Fact(entry.id, ours.get(entry.id, entry.version), entry.text)


def _may_concern(older: Entry, newer: Entry) -> bool:
    """Whether two facts may have to do with each other: they are said in different messages.

    Of a fact nobody knows the time of, and of one that has a time, nobody can say which is newer.
    """
    return set(older.sources).isdisjoint(newer.sources) and (older.said_at is None) == (newer.said_at is None)


def _settled_pairs(
    history: History, numbers: Mapping[str, int], facts: Sequence[Entry], *, stage: str
) -> Callable[[Entry, Entry], bool]:
    """What tells whether a pair was judged in these words before, or is noted to contradict itself."""
    judged = history.facts.judged(numbers[fact.id] for fact in facts)
    links = cache(lambda id: frozenset(history.entries.links_from(id)))

    def settled(older: Entry, newer: Entry) -> bool:
        old, new = numbers[older.id], numbers[newer.id]
        return judged.get((old, new)) == _said(stage, older, newer) or (old, LinkKind.CONFLICTS) in links(new)

    return settled


def _said(stage: str, older: Entry, newer: Entry) -> bytes:
    """What was judged of two facts, and by what."""
    said = "\0".join((stage, older.text, newer.text)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=12).digest()


def _room(memory: Memory) -> int:
    """How many characters of facts a call shows: no more than leave room for the reply."""
    model = memory.model
    if not model.context:
        return _CHARACTERS
    left = model.context - model.tokens(prompt_of([], []).prefix) - most_of([]) - model.thoughts - 32
    return max(0, min(_CHARACTERS, 2 * left))  # the other half is the reply's, and for numbers and dates


def _portions(doubts: Sequence[Doubt], *, most: int) -> Iterator[list[Doubt]]:
    """`doubts` as they are asked together, up to `most` characters: those that share facts, shown but once."""
    portion: list[Doubt] = []
    shown: dict[str, int] = {}
    for doubt in _neighbours_first(doubts):
        its = {fact.id: len(fact.text) for fact in (doubt.older, *doubt.newer)}
        pairs = sum(len(one.newer) for one in (*portion, doubt))
        if portion and (pairs > _PAIRS or sum((shown | its).values()) > most):
            yield portion
            portion, shown = [], {}
        portion.append(doubt)
        shown |= its
    if portion:
        yield portion


def _neighbours_first(doubts: Sequence[Doubt]) -> Iterator[Doubt]:
    """`doubts`, each followed by those that show some of its facts too."""
    of_fact: dict[str, list[Doubt]] = {}
    for doubt in doubts:
        for fact in (doubt.older, *doubt.newer):
            of_fact.setdefault(fact.id, []).append(doubt)
    seen: set[str] = set()
    for first in doubts:
        waiting = deque([first])
        while waiting:
            doubt = waiting.popleft()
            if doubt.older.id not in seen:
                seen.add(doubt.older.id)
                yield doubt
                waiting.extend(other for fact in (doubt.older, *doubt.newer) for other in of_fact[fact.id])


def _request(history: History, doubts: Sequence[Doubt], facts: Sequence[Entry]) -> Request[list[Verdict]]:
    numbers = history.entries.numbers({fact.id for doubt in doubts for fact in (doubt.older, *doubt.newer)})
    messages = {message for number in numbers.values() for message in history.entries.source_ids(number)}
    return Request(
        purpose="update",
        version=version(),
        prompt=prompt_of(doubts, facts),
        most=most_of(doubts),
        messages=tuple(sorted(messages)),
        least=len(doubts) == 1,
        read=lambda text: read_reply(text, doubts, facts),
        schema=SCHEMA,
    )
