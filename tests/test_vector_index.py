"""The vector index is a plain inner product over what history holds, whatever happened to its files on the way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightmem_cli.errors import SpaceMismatch, StoreError
from lightmem_cli.protocols import Scored, Selection, VectorIndex
from lightmem_cli.records import Filter, Space
from lightmem_cli.store.files import IndexBroken
from lightmem_cli.store.vectors import growth as growth_module
from lightmem_cli.store.vectors import open_vectors
from lightmem_cli.store.vectors.manifest import read_manifest

DIMENSION = 24
SPACE = Space(name="test", revision="1", dimension=DIMENSION)
Truth = dict[int, bytes]

_numbers = count()
# Few distinct vectors, so that many tie, and few ids, so that they are replaced and removed.
ids = st.integers(1, 40)
steps = st.lists(
    st.tuples(st.dictionaries(ids, st.integers(0, 12), max_size=14), st.lists(ids, max_size=8)), min_size=1, max_size=6
)
selections = st.none() | st.builds(
    lambda chosen, inverted: Selection(np.array(sorted(chosen), np.int64), inverted), st.sets(ids), st.booleans()
)
slow_disk = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold after a handful of vectors, and ask FAISS about all but two."""
    monkeypatch.setattr("lightmem_cli.store.vectors.growth.SMALL", 10)
    monkeypatch.setattr("lightmem_cli.store.vectors.growth._BLOCK", 3)
    monkeypatch.setattr("lightmem_cli.store.vectors.faiss_flat._FEW", 2)
    monkeypatch.setattr("lightmem_cli.store.vectors.faiss_flat._SPARE", 1)


def vector(seed: int, *, dimension: int = DIMENSION) -> np.ndarray[Any, np.dtype[np.float32]]:
    row = np.random.default_rng(seed).standard_normal(dimension)
    return (row / np.linalg.norm(row)).astype(np.float32)


def stored(seed: int) -> bytes:
    return vector(seed).astype("<f2").tobytes()


def opened(folder: Path, *, select: Selection | None = None, **how: bool) -> VectorIndex:
    return open_vectors("faiss", folder, space=SPACE, select=lambda where: select, **how)


def expected(truth: Truth, query: Any, k: int, select: Selection | None = None) -> list[tuple[int, float]]:
    """NumPy over the decoded float16 rows, best first, ties by id."""
    rows = []
    for id_, data in truth.items():
        if select is None or (id_ in select.ids) != select.inverted:
            row = np.frombuffer(data, "<f2").astype(np.float64)
            rows.append((id_, float(np.float32((row * query.astype(np.float64)).sum()))))
    return sorted(rows, key=lambda pair: (-pair[1], pair[0]))[:k]


def pairs(found: Scored) -> list[tuple[int, float]]:
    assert found.ids.dtype == np.int64 and found.scores.dtype == np.float32
    return list(zip(found.ids.tolist(), found.scores.tolist(), strict=True))


def contents(index: VectorIndex) -> tuple[int, list[tuple[int, float]]]:
    return index.position, pairs(index.search(vector(1000), 10_000))


@pytest.mark.usefixtures("tiny")
@slow_disk
@given(steps=steps, k=st.integers(0, 50), select=selections, reopen=st.booleans(), seed=st.integers(0, 12))
def test_search_is_numpys_after_any_history(
    tmp_path: Path, steps: Any, k: int, select: Selection | None, reopen: bool, seed: int
) -> None:
    folder, truth = tmp_path / str(next(_numbers)), Truth()
    index = opened(folder, select=select)
    for position, (add, remove) in enumerate(steps, start=1):
        if reopen:
            index = opened(folder, select=select)
        rows = {id_: stored(seed) for id_, seed in add.items()}
        index.apply(add=rows.items(), remove=remove, position=position)
        truth = {id_: data for id_, data in truth.items() if id_ not in remove} | rows
        assert (len(index), index.position) == (len(truth), position)
    for reading in (index, opened(folder, select=select), opened(folder, select=select, readonly=True)):
        assert (len(reading), reading.position) == (len(truth), len(steps))
        for query in (vector(seed), vector(99), 7 * vector(98)):
            assert pairs(reading.search(query, k)) == expected(truth, query, k)
            assert pairs(reading.search(query, k, Filter())) == expected(truth, query, k, select)
        assert (held := reading.contents()).position == len(steps)
        assert list(held.rows) == sorted(truth.items())
    bulk = opened(folder / "bulk")
    bulk.apply(add=truth.items(), remove=[], position=len(steps))
    assert contents(bulk) == contents(index)


def test_thousands_of_rows_equal_numpy_with_the_real_thresholds(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((20_000, DIMENSION)).astype("<f2")
    rows[5_000:9_000] = rows[5_000]  # four thousand times the same
    truth = {int(id_): row.tobytes() for id_, row in zip(rng.permutation(20_000) + 1, rows, strict=True)}
    items = list(truth.items())
    index = opened(tmp_path)
    index.apply(add=items[:17_000], remove=[], position=1)
    index.apply(add=items[17_000:], remove=[], position=2)
    assert list(tmp_path.glob("main-*.faiss"))
    for query, k in ((rows[5_000].astype(np.float32), 50), (vector(3), 7), (vector(3), 30_000)):
        unit = query / np.linalg.norm(query)
        assert pairs(index.search(unit, k)) == expected(truth, unit, k)


@pytest.mark.parametrize("rows", [3_000, 20_000])
def test_float32_rounding_neither_leaves_a_row_out_nor_orders_it(tmp_path: Path, rows: int) -> None:
    """Rows of the same numbers in other orders tie exactly against an even query, but not when summed in float32."""
    rng = np.random.default_rng(8)
    numbers = vector(4).astype("<f2")
    truth = {id_: rng.permutation(numbers).tobytes() for id_ in range(1, rows + 1)}
    query = np.full(DIMENSION, DIMENSION**-0.5, np.float32)
    decoded = np.array([np.frombuffer(data, "<f2") for data in truth.values()]).astype(np.float32)
    assert len(set((decoded @ query).tolist())) > 5
    index = opened(tmp_path)
    index.apply(add=truth.items(), remove=[], position=1)
    assert bool(list(tmp_path.glob("main-*.faiss"))) == (rows > 16_384)
    assert pairs(index.search(query, 30)) == expected(truth, query, 30)
    assert index.search(query, 30).ids.tolist() == list(range(1, 31))


@pytest.mark.usefixtures("tiny")
def test_what_another_process_writes_is_seen_by_who_has_it_open(tmp_path: Path) -> None:
    writer, reader = opened(tmp_path), opened(tmp_path, readonly=True)
    for n in range(1, 60):
        writer.apply(add=[(n, stored(n))], remove=[n - 3], position=n)
        assert contents(reader) == contents(writer)
    writer.clear()
    assert (reader.position, len(reader)) == (0, 0)
    second = opened(tmp_path)
    second.apply(add=[(5, stored(5))], remove=[], position=4)
    writer.apply(add=[(6, stored(6))], remove=[], position=5)
    assert [id_ for id_, _ in contents(second)[1]] == [id_ for id_, _ in contents(reader)[1]] and len(second) == 2


@pytest.mark.usefixtures("tiny")
def test_contents_are_those_of_one_moment(tmp_path: Path) -> None:
    writer, reader = opened(tmp_path), opened(tmp_path, readonly=True)
    assert reader.contents().position == 0 and not list(reader.contents().rows)
    for rows in (4, 30):  # of the tail alone, and of a main part
        writer.apply(add=[(n, stored(n)) for n in range(1, rows)], remove=[], position=1)
        writer.apply(add=[], remove=[2], position=rows)
        before = {n: stored(n) for n in range(1, rows) if n != 2}
        taken = [reader.contents(), writer.contents()]
        for n in range(100, 160):
            writer.apply(add=[(n, stored(n))], remove=[n - 100], position=rows + n)
            reader.search(vector(1), 1)
        assert [held.position for held in taken] == [rows, rows]
        assert [dict(held.rows) for held in taken] == [before, before]
        writer.clear()


@pytest.mark.usefixtures("tiny")
def test_old_generations_do_not_pile_up(tmp_path: Path) -> None:
    index = opened(tmp_path)
    for n in range(1, 200):
        index.apply(add=[(n, stored(n))], remove=[n - 1], position=n)
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * 5


@pytest.mark.usefixtures("tiny")
def test_a_crash_between_any_two_writes_leaves_before_or_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fsync and rename of a growth, a fold and a clear fails once; the next process finds one of two states."""

    def start(folder: Path, rows: int) -> VectorIndex:
        index = opened(folder)
        index.apply(add=[(n, stored(n)) for n in range(1, rows)], remove=[], position=1)
        index.apply(add=[(rows, stored(rows))], remove=[1], position=2)
        return index

    def change(index: VectorIndex) -> None:
        index.apply(add=[(n, stored(n + 7)) for n in (3, 50, 51)], remove=[2], position=3)

    changes: list[tuple[int, Callable[[VectorIndex], None]]] = [(4, change), (9, change), (30, change)]
    changes.append((30, lambda index: index.clear()))  # type: ignore[attr-defined]
    for rows, act in changes:
        calm = start(tmp_path / str(next(_numbers)), rows)
        before = contents(calm)
        act(calm)
        after = contents(calm)
        for failing in count(1):
            folder = tmp_path / str(next(_numbers))
            index = start(folder, rows)
            crashed = fails_at(monkeypatch, failing, lambda index=index, act=act: act(index))
            found = contents(opened(folder))
            assert found in (before, after)
            assert contents(index) == found  # and who lived through it (a full disk) sees the same
            act(index)
            assert contents(opened(folder)) == after
            if not crashed:
                break
        assert failing > 2


def fails_at(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> bool:
    """Run `act` with the `number`-th fsync or rename failing as on a full disk; whether it came to that."""
    calls = count(1)

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if next(calls) == number:
                raise OSError(28, "No space left on device")
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync))
        patch.setattr(os, "replace", failing(os.replace))
        try:
            act()
        except StoreError as error:
            assert "No space left" in error.message
            return True
    return False


def test_a_torn_append_is_invisible_and_overwritten(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.apply(add=[(1, stored(1)), (2, stored(2))], remove=[], position=1)
    for file in tmp_path.glob("tail-*"):
        with file.open("ab") as out:
            out.write(b"half a row")
    index = opened(tmp_path)
    index.apply(add=[(3, stored(3))], remove=[], position=2)
    assert [id_ for id_, _ in sorted(contents(opened(tmp_path))[1])] == [1, 2, 3]


def damaged_manifest(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a manifest that is not JSON": lambda f: (f / "manifest.json").write_text("{"),
    "an empty manifest": lambda f: (f / "manifest.json").write_text(""),
    "a manifest that is a list": lambda f: (f / "manifest.json").write_text("[]"),
    "another position": lambda f: damaged_manifest(f, {"position": 99}),
    "a later format": lambda f: damaged_manifest(f, {"format": 2}),
    "no main": lambda f: next(f.glob("main-*.faiss")).unlink(),
    "a short main": lambda f: os.truncate(next(f.glob("main-*.faiss")), 700),
    "a changed main": lambda f: flip(next(f.glob("main-*.faiss"))),
    "changed ids": lambda f: flip(next(f.glob("main-*.ids"))),
    "a short tail": lambda f: os.truncate(next(f.glob("tail-*.f16")), 10),
    "a changed tail": lambda f: flip(next(f.glob("tail-*.f16"))),
    "changed removals": lambda f: flip(next(f.glob("gone-*.rows"))),
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_on_opening_and_can_be_cleared(tmp_path: Path, damage: str) -> None:
    index = opened(tmp_path)
    index.apply(add=[(n, stored(n)) for n in range(1, 20)], remove=[], position=1)
    index.apply(add=[(20, stored(20))], remove=[3], position=2)
    DAMAGES[damage](tmp_path)
    with pytest.raises(IndexBroken):
        opened(tmp_path)
    with pytest.raises(IndexBroken):
        opened(tmp_path, readonly=True)
    again = opened(tmp_path, anew=True)
    assert (len(again), again.position) == (0, 0)
    again.apply(add=[(1, stored(1))], remove=[], position=3)
    assert contents(opened(tmp_path)) == contents(again)


def test_another_spaces_vectors_are_refused(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.apply(add=[(1, stored(1))], remove=[], position=1)
    with pytest.raises(IndexBroken, match="test"):
        read_manifest(tmp_path, space=Space(name="other", revision="1", dimension=DIMENSION))
    with pytest.raises(SpaceMismatch):
        index.search(vector(1, dimension=DIMENSION + 1), 5)
    with pytest.raises(StoreError, match="vector 7"):
        index.apply(add=[(7, b"short")], remove=[], position=2)
    assert index.position == 1


def test_opening_writes_nothing_and_a_reader_cannot(tmp_path: Path) -> None:
    folder = tmp_path / "space"
    reader = opened(folder, readonly=True)
    assert (len(opened(folder)), len(reader), reader.position) == (0, 0, 0)
    assert pairs(reader.search(vector(1), 5)) == []
    assert not folder.exists()
    opened(folder).apply(add=[(1, stored(1))], remove=[], position=1)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StoreError):
        reader.apply(add=[], remove=[1], position=2)
    with pytest.raises(StoreError):
        opened(folder, readonly=True, anew=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(reader) == 1


def test_a_small_memory_never_imports_faiss(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.apply(add=[(n, stored(n)) for n in range(500)], remove=[], position=1)
    code = (
        "import sys, numpy as np; from pathlib import Path; from lightmem_cli.records import Space\n"
        "from lightmem_cli.store.vectors import open_vectors\n"
        f"space = Space(name='test', revision='1', dimension={DIMENSION})\n"
        "index = open_vectors('faiss', Path(sys.argv[1]), space=space, select=lambda where: None)\n"
        f"found = index.search(np.ones({DIMENSION}, np.float32), 5)\n"
        "index.apply(add=[], remove=[3], position=2)\n"
        "print(len(found.ids), 'faiss' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", "False"]


def test_cost_of_growing_is_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of vectors written per vector stay bounded as the index grows tenfold."""
    monkeypatch.setattr("lightmem_cli.store.vectors.growth.SMALL", 64)
    written = [0]
    real = growth_module._fill

    def counting(target: Any, rows: Any, **more: Any) -> None:
        written[0] += len(rows)
        real(target, rows, **more)

    monkeypatch.setattr("lightmem_cli.store.vectors.growth._fill", counting)
    index, per_vector = opened(tmp_path), []
    for n in range(0, 4_000, 20):
        index.apply(add=[(n + i, stored(i)) for i in range(20)], remove=[], position=n)
        per_vector.append(written[0] / (n + 20))
    assert max(per_vector) < 10
