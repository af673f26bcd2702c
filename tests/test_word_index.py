"""Both words indexes answer alike: number for number, under filters, updates, removals and reopening."""

from __future__ import annotations

import math
import multiprocessing
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightmem_cli.errors import ProfileBusy, StoreError
from lightmem_cli.protocols import Document, Scored, Selection, WordIndex
from lightmem_cli.records import Filter
from lightmem_cli.store.files import IndexBroken
from lightmem_cli.store.words import open_words

Use = Literal["fts5", "rank-bm25"]
USES: tuple[Use, ...] = ("fts5", "rank-bm25")
Corpus = dict[int, tuple[str, ...]]

words = st.sampled_from(["dog", "cat", "run", "2023", "café", "黒猫", "猫が", "not", "or", "near", "and"])
documents = st.lists(words, max_size=8).map(tuple)
steps = st.lists(
    st.tuples(st.dictionaries(st.integers(1, 12), documents, max_size=6), st.lists(st.integers(1, 14), max_size=4)),
    min_size=1,
    max_size=5,
)
selections = st.none() | st.builds(
    lambda ids, inverted: Selection(np.array(sorted(ids), np.int64), inverted),
    st.sets(st.integers(1, 14), max_size=8),
    st.booleans(),
)
slow_disk = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
_numbers = count()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose `fresh` child differs in every Hypothesis example."""
    yield tmp_path


def opened(use: Use, folder: Path, *, select: Selection | None = None, **how: bool) -> WordIndex:
    return open_words(use, folder, select=lambda where: select, **how)


def filled(use: Use, folder: Path, corpus: Corpus) -> WordIndex:
    index = opened(use, folder / f"{use}-{next(_numbers)}")
    index.apply(add=[Document(id_, terms) for id_, terms in corpus.items()], remove=[], position=1)
    return index


def reference(corpus: Corpus, query: list[str], select: Selection | None) -> dict[int, float]:
    """BM25 written out: k1 = 1.2, b = 0.75, an idf of 0 or less lifted to 1e-6."""
    found: dict[int, float] = {}
    average = sum(map(len, corpus.values())) / max(1, len(corpus))
    for id_, terms in corpus.items():
        if not set(terms) & set(query):
            continue
        if select is not None and (id_ in select.ids) == select.inverted:
            continue
        tf = Counter(terms)
        found[id_] = 0.0
        for term in set(query):
            n = sum(term in other for other in corpus.values())
            idf = math.log((len(corpus) - n + 0.5) / (n + 0.5))
            length = 1 - 0.75 + 0.75 * len(terms) / average
            found[id_] += (idf if idf > 0 else 1e-6) * tf[term] * 2.2 / (tf[term] + 1.2 * length)
    return found


def assert_like(found: Scored, expected: dict[int, float], k: int) -> None:
    assert found.ids.dtype == np.int64 and found.scores.dtype == np.float32
    ids, scores = found.ids.tolist(), found.scores.tolist()
    assert len(ids) == min(k, len(expected)) == len(set(ids))
    assert scores == pytest.approx([expected[id_] for id_ in ids], rel=1e-5)
    assert scores == pytest.approx(sorted(expected.values(), reverse=True)[:k], rel=1e-5)
    assert ids == [id_ for _, id_ in sorted(zip(found.scores.tolist(), ids, strict=True), key=lambda p: (-p[0], p[1]))]


@pytest.mark.parametrize("use", USES)
@slow_disk
@given(steps=steps, query=st.lists(words, max_size=5), k=st.integers(0, 20), select=selections)
def test_scores_are_bm25_after_any_history(
    folder: Path, use: Use, steps: list[tuple[Corpus, list[int]]], query: list[str], k: int, select: Selection | None
) -> None:
    path, corpus = folder / str(next(_numbers)), Corpus()
    for position, (add, remove) in enumerate(steps, start=1):
        index = opened(use, path, select=select)
        index.apply(add=[Document(id_, terms) for id_, terms in add.items()], remove=remove, position=position)
        corpus = {id_: terms for id_, terms in corpus.items() if id_ not in remove} | add
        assert (len(index), index.position) == (len(corpus), position)
        index.close()
    index = opened(use, path, select=select)
    assert (len(index), index.position) == (len(corpus), len(steps))
    assert_like(index.search(query, k, Filter()), reference(corpus, query, select), k)
    assert_like(index.search(query, k), reference(corpus, query, None), k)
    for reading in (index, opened(use, path, readonly=True)):
        assert (held := reading.contents()).position == len(steps)
        assert [(row.id, row.terms) for row in held.rows] == sorted(corpus.items())
        reading.close()


@slow_disk
@given(corpus=st.dictionaries(st.integers(1, 50), documents, max_size=30), query=st.lists(words, max_size=5))
def test_both_backends_agree(folder: Path, corpus: Corpus, query: list[str]) -> None:
    one, other = (filled(use, folder, corpus) for use in USES)
    found, oracle = one.search(query, 100), other.search(query, 100)
    assert dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(
        dict(zip(oracle.ids.tolist(), oracle.scores.tolist(), strict=True)), rel=1e-5
    )
    one.close()


@pytest.mark.parametrize("use", USES)
def test_ties_go_by_id_at_the_edge_too(folder: Path, use: Use) -> None:
    index = filled(use, folder, {id_: ("same",) for id_ in range(60, 0, -1)} | {99: ("other",)})
    assert index.search(["same"], 5).ids.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("use", USES)
def test_a_question_of_thousands_of_words_and_of_query_syntax(folder: Path, use: Use) -> None:
    index = filled(use, folder, {1: ("near", "2"), 2: ("terms",), 3: ("x",)})
    assert index.search(["near", "2", "terms", "or", "not", "and"], 9).ids.tolist() == [1, 2]
    assert index.search([f"w{n}" for n in range(5_000)] + ["x"], 9).ids.tolist() == [3]
    assert index.search(['"'], 9).ids.tolist() == []


@pytest.mark.parametrize("use", USES)
def test_one_open_index_takes_another_filter_for_each_search(folder: Path, use: Use) -> None:
    filled(use, folder, {id_: ("dog",) for id_ in range(1, 6)}).close()
    chosen: list[Selection | None] = [None]
    index = open_words(use, next(folder.iterdir()), select=lambda where: chosen[0])
    for ids, inverted, found in [
        ([1, 2], False, [1, 2]),
        ([4, 5], False, [4, 5]),
        ([4, 5], True, [1, 2, 3]),
        ([], False, []),
        ([], True, [1, 2, 3, 4, 5]),
    ]:
        chosen[0] = Selection(np.array(ids, np.int64), inverted)
        assert index.search(["dog"], 9, Filter()).ids.tolist() == found
        assert index.search(["dog"], 9).ids.tolist() == [1, 2, 3, 4, 5]
    chosen[0] = None
    assert index.search(["dog"], 9, Filter()).ids.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("use", USES)
def test_nothing_is_there_until_something_is_applied(folder: Path, use: Use) -> None:
    for how in ({}, {"readonly": True}):
        index = opened(use, folder / "none", **how)
        assert (len(index), index.position, index.search(["dog"], 5).ids.tolist()) == (0, 0, [])
        index.close()
    assert not (folder / "none").exists()


@pytest.mark.parametrize("use", USES)
def test_files_are_private_and_a_reader_cannot_write(folder: Path, use: Use) -> None:
    home = folder / "words"
    index = opened(use, home)
    index.apply(add=[Document(1, ("dog",))], remove=[], position=7)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    reader = opened(use, home, readonly=True)
    assert (reader.position, reader.search(["dog"], 5).ids.tolist()) == (7, [1])
    with pytest.raises(StoreError):
        reader.apply(add=[Document(2, ("cat",))], remove=[], position=8)
    with pytest.raises(StoreError):
        reader.clear()
    assert (len(index), index.position) == (1, 7)


@pytest.mark.parametrize("use", USES)
def test_an_open_reader_sees_what_a_writer_adds_and_a_rebuild(folder: Path, use: Use) -> None:
    writer, reader = opened(use, folder), opened(use, folder, readonly=True)
    for position in (1, 2, 3):
        writer.apply(add=[Document(position, ("dog",))], remove=[], position=position)
        assert (reader.position, len(reader), len(reader.search(["dog"], 9).ids)) == (position, position, position)
    writer.clear()
    assert (reader.position, len(reader), reader.search(["dog"], 9).ids.tolist()) == (0, 0, [])
    writer.apply(add=[Document(9, ("cat",))], remove=[], position=4)
    assert (reader.position, reader.search(["cat"], 9).ids.tolist()) == (4, [9])


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("damage", [b"", b"{}", b"not a database at all" * 500, b"[1]\n[2]", None])
def test_a_damaged_or_foreign_file_is_said_to_be_broken_and_can_be_cleared(
    folder: Path, use: Use, damage: bytes | None
) -> None:
    index = filled(use, folder, {id_: ("dog", f"w{id_}") for id_ in range(2_000)})
    index.close()
    (home,) = folder.iterdir()
    (file,) = home.iterdir()
    with file.open("r+b") as out:
        out.truncate(file.stat().st_size // 2 if damage is None else 0)
        out.write(damage or b"")
    with pytest.raises(IndexBroken):
        opened(use, home).search(["dog", "w7"], 5)
    with pytest.raises(IndexBroken):
        opened(use, home, readonly=True).search(["dog", "w7"], 5)
    rebuilt = opened(use, home, anew=True)
    assert (len(rebuilt), rebuilt.position) == (0, 0)
    rebuilt.apply(add=[Document(1, ("dog",))], remove=[], position=3)
    assert opened(use, home).search(["dog"], 5).ids.tolist() == [1]


@pytest.mark.parametrize("use", USES)
def test_contents_are_those_of_one_moment(folder: Path, use: Use) -> None:
    assert list(opened(use, folder / "none").contents().rows) == []
    index = filled(use, folder, {1: ("dog", "dog"), 2: (), 3: ("黒猫",)})
    held = index.contents()
    index.apply(add=[Document(1, ("cat",)), Document(4, ("dog",))], remove=[3], position=2)
    assert held.position == 1
    assert list(held.rows) == [Document(1, ("dog", "dog")), Document(2, ()), Document(3, ("黒猫",))]
    after = index.contents()
    index.clear()  # type: ignore[attr-defined]
    assert after.position == 2
    assert list(after.rows) == [Document(1, ("cat",)), Document(2, ()), Document(4, ("dog",))]


def test_lists_of_terms_that_are_not_the_documents_are_damage(folder: Path) -> None:
    index = filled("fts5", folder, {1: ("dog",), 2: ("cat",)})
    (home,) = folder.iterdir()
    with closing(sqlite3.connect(home / "words.db")) as other, other:
        other.execute("UPDATE words_content SET c0 = 'bird' WHERE id = 2")
    assert index.search(["cat"], 5).ids.tolist() == [2]
    with pytest.raises(IndexBroken):
        index.contents()


def test_another_databases_file_is_refused(folder: Path) -> None:
    with sqlite3.connect(folder / "words.db") as other:
        other.execute("CREATE TABLE stamp (position)")
    with pytest.raises(IndexBroken):
        opened("fts5", folder)


def test_a_failed_apply_changes_nothing(folder: Path) -> None:
    index = filled("fts5", folder, {1: ("dog",), 2: ("cat",)})

    def failing() -> Iterator[Document]:
        yield Document(3, ("dog",))
        raise StoreError("history went away")

    with pytest.raises(StoreError, match="went away"):
        index.apply(add=failing(), remove=[1], position=2)
    assert (len(index), index.position, index.search(["dog"], 5).ids.tolist()) == (2, 1, [1])


def test_a_reader_does_not_wait_for_a_writer(folder: Path) -> None:
    index = filled("fts5", folder, {1: ("dog",)})
    (home,) = folder.iterdir()
    other = sqlite3.connect(home / "words.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE stamp SET position = 9")
    assert (index.position, opened("fts5", home).search(["dog"], 5).ids.tolist()) == (1, [1])
    other.execute("ROLLBACK")
    other.close()


def test_a_second_writer_is_told_that_the_profile_is_busy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightmem_cli.store.words.fts5._WAIT", 0.05)
    index = filled("fts5", folder, {1: ("dog",)})
    (home,) = folder.iterdir()
    other = sqlite3.connect(home / "words.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ProfileBusy):
        index.apply(add=[], remove=[1], position=2)
    other.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="takes root to become a user without rights")
def test_an_unwritable_folder_can_be_read(folder: Path) -> None:
    for use in USES:
        index = filled(use, folder, {1: ("dog",)})
        index.close()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
        for file in path.iterdir():
            file.chmod(0o755 if file.is_dir() else 0o644)
    for path in folder.parents:
        if path.stat().st_uid == 0 and str(path).startswith("/tmp/pytest"):
            path.chmod(0o755)
    child = multiprocessing.get_context("fork").Process(target=_read_as_nobody, args=(sorted(folder.iterdir()),))
    child.start()
    child.join()
    assert child.exitcode == 0


def _read_as_nobody(homes: list[Path]) -> None:
    os.setresuid(65534, 65534, 65534)
    for use, home in zip(USES, homes, strict=True):
        assert not os.access(home, os.W_OK)
        assert opened(use, home, readonly=True).search(["dog"], 5).ids.tolist() == [1]
