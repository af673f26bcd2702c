"""The retriever over a memory kept in plain dictionaries: every filter, every strategy, every kind of entry."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmem_cli.embed.hashing import HashingEmbedder
from lightmem_cli.language.words import analyze
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Scored
from lightmem_cli.records import Entry, Filter, Hit, Kind, MessageKey, State, TimeRange, entry_id
from lightmem_cli.retrieve import Retriever

EMBEDDER = HashingEmbedder()
_DIMENSION = EMBEDDER.space.dimension


class _Place(NamedTuple):
    message: int
    turn: int
    session: int
    position: int
    speaker: str


class _Embedded(NamedTuple):
    owners: np.ndarray
    vectors: np.ndarray


class Memory:
    """History and both indexes at once; a turn's integer is its message's, and a vector's is its entry's."""

    def __init__(self) -> None:
        self.kept: dict[int, Entry] = {}
        self.places: dict[int, _Place] = {}
        self.resting: dict[int, list[int]] = {}
        self.vectors: dict[int, np.ndarray] = {}
        self.sessions: dict[tuple[str, str], int] = {}

    def say(
        self, text: str, speaker: str, *, session: str = "s1", conversation: str = "", day: int = 1, embed: bool = True
    ) -> int:
        number = len(self.kept) + 1
        position = sum(
            (e.conversation, e.session, e.kind) == (conversation, session, Kind.TURN) for e in self.kept.values()
        )
        key = MessageKey(conversation, session, f"m{number}")
        said_at = datetime(2023, 5, day, 12, tzinfo=UTC)
        self._keep(number, Kind.TURN, text, (key,), said_at=said_at, speaker=speaker, embed=embed)
        place = self.sessions.setdefault((conversation, session), len(self.sessions))
        self.places[number] = _Place(number, number, place, position, speaker)
        self.resting[number] = [number]
        return number

    def tell(
        self,
        text: str,
        *turns: int,
        kind: Kind = Kind.FACT,
        happened: TimeRange | None = None,
        state: State = State.ACTIVE,
    ) -> int:
        number = len(self.kept) + 1
        keys = tuple(self.kept[turn].sources[0] for turn in turns)
        first = self.kept[turns[0]]
        self._keep(
            number, kind, text, keys, said_at=first.said_at, speaker=first.speaker, happened=happened, state=state
        )
        self.resting[number] = list(turns)
        return number

    def _keep(
        self,
        number: int,
        kind: Kind,
        text: str,
        sources: tuple[MessageKey, ...],
        *,
        embed: bool = True,
        **fields: object,
    ) -> None:
        conversation, session, _ = sources[0]
        id_ = entry_id(kind, conversation, session, text, sources)
        self.kept[number] = Entry(
            id=id_, kind=kind, text=text, conversation=conversation, session=session, sources=sources, **fields
        )
        if embed:
            self.vectors[number] = EMBEDDER.embed([text])[0]

    # ---- what history answers

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        return {id_: self.kept[id_] for id_ in ids if id_ in self.kept}

    def users(self, vectors: Sequence[int], *, space: int) -> list[tuple[int, int]]:
        return [(vector, vector) for vector in vectors]

    def sources(self, entries: Sequence[int]) -> list[tuple[int, int]]:
        return [(entry, message) for entry in entries for message in self.resting[entry]]

    def around(self, messages: Sequence[int], *, radius: int) -> list[_Place]:
        centres = [self.places[message] for message in messages]
        return [
            place
            for place in self.places.values()
            if any(c.session == place.session and abs(c.position - place.position) <= radius for c in centres)
        ]

    def embedded(self, entries: Sequence[int], *, space: int) -> _Embedded:
        owners = [entry for entry in entries if entry in self.vectors]
        rows = np.array([self.vectors[owner] for owner in owners], np.float32).reshape(len(owners), _DIMENSION)
        return _Embedded(np.array(owners, np.int64), rows)

    def admitted(self, entries: Sequence[int], where: Filter) -> set[int]:
        return {id_ for id_ in entries if _passes(self.kept[id_], where)}

    def speakers(self, where: Filter) -> list[str]:
        return sorted({place.speaker for place in self.places.values()})

    # ---- what the indexes answer

    def search(self, asked: object, k: int, where: Filter | None = None) -> Scored:
        scores = self._cosines(asked) if isinstance(asked, np.ndarray) else self._bm25(list(asked))  # type: ignore[call-overload]
        passing = [(-s, id_) for id_, s in scores.items() if where is None or _passes(self.kept[id_], where)]
        best = sorted(passing)[:k]
        return Scored(np.array([id_ for _, id_ in best], np.int64), np.array([-s for s, _ in best], np.float32))

    def _cosines(self, query: np.ndarray) -> dict[int, float]:
        return {id_: float(vector @ query) for id_, vector in self.vectors.items()}

    def _bm25(self, terms: list[str]) -> dict[int, float]:
        documents = {id_: Counter(analyze(entry.text)) for id_, entry in self.kept.items()}
        mean = sum(d.total() for d in documents.values()) / max(1, len(documents))
        scores = Counter[int]()
        for term in dict.fromkeys(terms):
            having = {id_: d for id_, d in documents.items() if term in d}
            weight = math.log(1 + (len(documents) - len(having) + 0.5) / (len(having) + 0.5))
            for id_, d in having.items():
                scores[id_] += weight * d[term] * 2.2 / (d[term] + 1.2 * (0.25 + 0.75 * d.total() / mean))
        return dict(scores)


def _passes(entry: Entry, where: Filter) -> bool:
    return (
        (not where.kinds or entry.kind in where.kinds)
        and (not where.speakers or entry.speaker in where.speakers)
        and where.conversation in (None, entry.conversation)
        and where.session in (None, entry.session)
        and (where.since is None or (entry.said_at is not None and entry.said_at >= where.since))
        and (where.until is None or (entry.said_at is not None and entry.said_at <= where.until))
        and (not where.states or entry.state in where.states)
    )


def retriever(memory: Memory, *, embedder: HashingEmbedder | None = EMBEDDER, strategy: str = "hybrid") -> Retriever:
    chosen = Settings.model_validate({"retrieve": {"strategy": strategy}})
    vectors = memory if embedder else None
    return Retriever(memory, words=memory, vectors=vectors, embedder=embedder, space=1, settings=chosen)  # type: ignore[arg-type]


def texts(hits: list[Hit]) -> list[str]:
    return [hit.entry.text for hit in hits]


@pytest.fixture
def memory() -> Memory:
    memory = Memory()
    memory.say("What did you do at the weekend?", "Anna")
    hike = memory.say("We hiked up Mount Tamalpais and saw a coyote.", "Ben")
    memory.say("I baked rye bread and gave it to my neighbour.", "Anna")
    loss = memory.say("I lost my job at the bank.", "Anna", session="s2", day=20)
    memory.say("Oh no, what will you do now?", "Ben", session="s2", day=20)
    memory.say("A coyote ate my sandwich.", "Carla", session="s1", conversation="other", day=9)
    memory.tell("Ben hiked up Mount Tamalpais.", hike)
    memory.tell("Anna lost her job at the bank.", loss)
    memory.tell("Ben hiked and saw a coyote; Anna baked bread.", hike, hike + 1, kind=Kind.SUMMARY)
    return memory


@pytest.mark.parametrize("strategy", ["hybrid", "vectors", "words"])
def test_finds_the_turn_that_answers(memory: Memory, strategy: str) -> None:
    hits = retriever(memory, strategy=strategy).retrieve(
        "Who saw a coyote on Mount Tamalpais?", where=Filter(kinds=(Kind.TURN,))
    )
    assert texts(hits)[0].startswith("We hiked")
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def test_scores_fall_and_are_the_sums_of_their_signals(memory: Memory) -> None:
    hits = retriever(memory).retrieve("Did Anna lose her job?", where=Filter())
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert hit.score == pytest.approx(sum(hit.signals.values()))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(kinds=(Kind.FACT,)), {"Ben hiked up Mount Tamalpais.", "Anna lost her job at the bank."}),
        (Filter(kinds=(Kind.SUMMARY,)), {"Ben hiked and saw a coyote; Anna baked bread."}),
        (Filter(conversation="other"), {"A coyote ate my sandwich."}),
        (Filter(session="s2", speakers=("Ben",)), {"Oh no, what will you do now?"}),
        (
            Filter(since=datetime(2023, 5, 19, tzinfo=UTC), kinds=(Kind.TURN,), speakers=("Anna",)),
            {"I lost my job at the bank."},
        ),
        (Filter(until=datetime(2023, 4, 1, tzinfo=UTC)), set()),
        (Filter(states=(State.DELETED,)), set()),
    ],
)
def test_every_filter_holds(memory: Memory, where: Filter, expected: set[str]) -> None:
    assert set(texts(retriever(memory).retrieve("coyote job hike", where=where))) == expected


def test_without_embedder_words_find_and_nothing_else_is_said(memory: Memory) -> None:
    hits = retriever(memory, embedder=None).retrieve("coyote", where=Filter(kinds=(Kind.TURN,)), limit=2)
    assert set(texts(hits)) == {"We hiked up Mount Tamalpais and saw a coyote.", "A coyote ate my sandwich."}
    assert all(not {"sentence", "turn", "around", "passage"} & hit.signals.keys() for hit in hits)
    assert retriever(memory, embedder=None).retrieve("zeppelin", where=Filter()) == []


def test_a_turn_not_embedded_yet_is_found_by_its_words(memory: Memory) -> None:
    memory.say("The zeppelin landed in Ulm.", "Ben", session="s3", embed=False)
    assert texts(retriever(memory).retrieve("Where did the zeppelin land?", where=Filter()))[0].startswith(
        "The zeppelin"
    )


def test_an_empty_memory_and_an_empty_question_find_nothing() -> None:
    empty = Memory()
    assert retriever(empty).retrieve("anything", where=Filter()) == []
    assert retriever(empty, embedder=None).retrieve("", where=Filter()) == []


def test_neighbours_lift_a_turn_in_their_own_session_only() -> None:
    memory = Memory()
    memory.say("Which instrument does your daughter play?", "Anna", session="s1")
    memory.say("The cello, since March.", "Ben", session="s1")
    memory.say("Which instrument does your daughter play?", "Anna", session="s2", conversation="x")
    memory.say("The cello, since March.", "Ben", session="s3", conversation="x")
    hits = retriever(memory).retrieve("instrument daughter", where=Filter(speakers=("Ben",)))
    assert hits[0].entry.session == "s1"


def test_neighbours_that_are_no_longer_active_lend_nothing(memory: Memory) -> None:
    plain = Memory()
    for number, entry in memory.kept.items():
        if entry.kind is Kind.TURN:
            plain.say(entry.text, entry.speaker or "", session=entry.session, conversation=entry.conversation)
            if number == 2:
                plain.kept[2] = Entry(
                    **{f: getattr(plain.kept[2], f) for f in Entry.__slots__} | {"state": State.DELETED}
                )
    hits = retriever(plain).retrieve("Mount Tamalpais", where=Filter())
    assert all("Tamalpais" not in text for text in texts(hits))
    assert all(hit.signals["words"] == 0 for hit in hits)


def test_the_named_speaker_and_the_named_days_are_lifted() -> None:
    memory = Memory()
    for day, session in ((2, "early"), (28, "late")):
        memory.say("I went swimming.", "Anna", session=session, day=day)
        memory.say("I went swimming.", "Ben", session=session, day=day)
    hits = retriever(memory).retrieve("Where did Ben swim on 28 May 2023?", where=Filter())
    assert (hits[0].entry.speaker, hits[0].entry.session) == ("Ben", "late")
    assert hits[0].signals["speaker"] > 0
    assert hits[0].signals["time"] == max(hit.signals["time"] for hit in hits)


def test_relative_days_need_the_day_of_asking(memory: Memory) -> None:
    asked = datetime(2023, 5, 21, tzinfo=UTC)
    timed = retriever(memory).retrieve("What happened yesterday?", where=Filter(), asked_at=asked)
    untimed = retriever(memory).retrieve("What happened yesterday?", where=Filter())
    assert any("time" in hit.signals for hit in timed)
    assert all("time" not in hit.signals for hit in untimed)


def test_a_fact_whose_event_lies_in_the_asked_days_is_lifted() -> None:
    memory = Memory()
    turn = memory.say("We moved house ages ago.", "Anna", day=20)
    june = TimeRange(datetime(2019, 6, 1, tzinfo=UTC), datetime(2019, 7, 1, tzinfo=UTC))
    memory.tell("Anna moved house.", turn, happened=june)
    hits = retriever(memory).retrieve("What did Anna do in June 2019?", where=Filter())
    assert texts(hits) == ["Anna moved house."]


_WORDS = st.sampled_from(["coyote", "job", "hike", "bread", "bank", "Anna", "Ben", "weekend", "2023", "什么"])


@settings(max_examples=40, deadline=None)
@given(
    turns=st.lists(
        st.tuples(st.lists(_WORDS, min_size=1, max_size=6), st.sampled_from("ab"), st.sampled_from("xy")), max_size=12
    ),
    asked=st.lists(_WORDS, max_size=5),
    limit=st.integers(1, 5),
)
def test_the_same_question_gives_the_same_hits_and_a_limit_only_cuts(
    turns: list[tuple[list[str], str, str]], asked: list[str], limit: int
) -> None:
    memory = Memory()
    for words, session, conversation in turns:
        number = memory.say(" ".join(words), "Anna", session=session, conversation=conversation)
        memory.tell(f"Anna says {words[0]}.", number)
    question = " ".join(asked)
    found = retriever(memory).retrieve(question, where=Filter())
    assert found == retriever(memory).retrieve(question, where=Filter())
    assert retriever(memory).retrieve(question, where=Filter(), limit=limit) == found[:limit]
    for _, tied in groupby(found, key=lambda hit: hit.score):
        ids = [hit.entry.id for hit in tied]
        assert ids == sorted(ids)
