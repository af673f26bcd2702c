"""Opens memories of test conversations in process, without a model, and says what two of them must agree on."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lightmem_cli.engine import Memory
from lightmem_cli.engine.indexes import Indexes
from lightmem_cli.engine.ingest import HowToIngest, Ingested, ingest
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.profiles import open_profile
from lightmem_cli.records import Filter, Kind
from lightmem_cli.store.history import History
from lightmem_cli.store.history.connection import transaction
from lightmem_cli.transcript import read_transcript

MEMORY_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # no law depends on the disk; an fsync there is free

QUESTIONS = (
    "Who adopted a greyhound?",
    "Where did Anna move in May?",
    "When did Boris paint the kitchen?",
    "allergic to peanuts",
    "日本語の図書館",
    "concert tickets",
)


def line(**fields: object) -> bytes:
    """A line of a transcript; fields that are None are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(given, ensure_ascii=False).encode() + b"\n"


@contextmanager
def empty_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="laws-", dir=MEMORY_DISK) as folder:
        yield Path(folder)


def opened(
    home: Path, *, reader: bool = False, said: list[str] | None = None, **overrides: dict[str, object]
) -> Memory:
    profile = open_profile("default", home=home, overrides={"embed": {"use": "hashing"}, **overrides})
    return Memory(profile, notice=[].append if said is None else said.append, reader=reader)


def take(home: Path, lines: Sequence[bytes], how: HowToIngest | None = None) -> Ingested:
    """Ingest `lines`, each a row of a transcript, as one file."""
    with opened(home) as memory:
        return take_into(memory, lines, how)


def take_into(memory: Memory, lines: Sequence[bytes], how: HowToIngest | None = None) -> Ingested:
    stream = io.BytesIO(b"".join(lines))
    batches = read_transcript(stream, name="test", zone=UTC)
    return ingest(memory, [batches], how or HowToIngest(), reject=lambda line: None, progress=lambda total: None)


class Kept(NamedTuple):
    """What two memories of one conversation must agree on."""

    state: list[dict[str, object]]
    vectors: dict[bytes, bytes]
    seen_through: dict[str, list[bytes]]
    shortened: dict[tuple[str, str, str], tuple[str, float, str]]
    pending: dict[str, int]


def kept(home: Path) -> Kept:
    with opened(home) as memory:
        return kept_by(memory)


def kept_by(memory: Memory) -> Kept:
    connection = memory.history.connection
    views: dict[str, list[bytes]] = {}
    for name, hash in connection.execute(
        "SELECT e.name, x.text_hash FROM views v JOIN entries e ON e.id = v.entry JOIN vectors x ON x.id = v.vector"
        " ORDER BY e.name, v.view"
    ):
        views.setdefault(name, []).append(hash)
    shortened = connection.execute(
        "SELECT m.conversation, m.session, m.name, c.text, c.kept, c.made_by FROM compressed c"
        " JOIN messages m ON m.id = c.message"
    )
    return Kept(
        state=list(memory.history.state.rows()),
        vectors=dict(connection.execute("SELECT text_hash, embedding FROM vectors")),
        seen_through=views,
        shortened={(conversation, session, id): tuple(made) for conversation, session, id, *made in shortened},
        pending=memory.history.work.pending(),
    )


Answers = list[list[tuple[str, float]]]  # per question: the entries found, best first, with their scores


def answers(home: Path, **overrides: dict[str, object]) -> Answers:
    with opened(home, reader=True, **overrides) as memory:
        return answers_of(memory)


def answers_of(memory: Memory) -> Answers:
    recall = Recall(memory)
    asked_at = datetime(2023, 6, 1, tzinfo=UTC)
    where = Filter(kinds=(Kind.TURN, Kind.FACT, Kind.RELATION))
    queries = [Query(text=text, where=where, asked_at=asked_at) for text in QUESTIONS]
    return [[(hit.entry.id, hit.score) for hit in recall.retrieve(query)] for query in queries]


def same_answers(found: Answers, expected: Answers) -> None:
    """Two histories of one conversation number its entries differently: sums in another order round differently."""
    for hits, others in zip(found, expected, strict=True):
        assert dict(hits) == pytest.approx(dict(others), abs=1e-6)


def dies_before(step: int, do: Callable[[], object]) -> int:
    """Do it, dying just before step number `step`: a commit, or an index's catching up; how many there were."""
    catch_up = Indexes.catch_up
    taken = _Taken(step)

    @contextmanager
    def mortal(self: History) -> Iterator[None]:
        with transaction(self.connection, self.path):
            yield
            taken.take()

    def mortal_catch_up(self: Indexes, **how: Any) -> None:
        taken.take()
        catch_up(self, **how)

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(History, "transaction", mortal)
        patch.setattr(Indexes, "catch_up", mortal_catch_up)
        do()
    return taken.steps


def dies_after(step: int, do: Callable[[], object]) -> int:
    """Do it, dying just after commit number `step`; how many there were."""
    taken = _Taken(step)

    @contextmanager
    def mortal(self: History) -> Iterator[None]:
        with transaction(self.connection, self.path):
            yield
        taken.take()

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(History, "transaction", mortal)
        do()
    return taken.steps


class Killed(BaseException):
    """As by kill -9: nothing catches it."""


@dataclass
class _Taken:
    most: int
    steps: int = 0

    def take(self) -> None:
        if self.steps >= self.most:
            raise Killed
        self.steps += 1
