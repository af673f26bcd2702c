"""Derived files are replaced whole or not at all, are private, and a full disk is said in one line."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lightmem_cli.errors import StoreError
from lightmem_cli.store.files import IndexBroken, append, fingerprint, new_file, private_folder, read_object, stamp_of


def test_a_new_file_takes_its_place_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with new_file(path) as file:
        file.write(b"one")
    before = stamp_of(path)
    with pytest.raises(RuntimeError), new_file(path) as file:
        file.write(b"two")
        raise RuntimeError
    assert (path.read_bytes(), stamp_of(path), list(tmp_path.iterdir())) == (b"one", before, [path])
    with new_file(path) as file:
        file.write(b"two")
    assert path.read_bytes() == b"two" and stamp_of(path) != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_folders_are_private_all_the_way(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    private_folder(tmp_path / "a" / "b")
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        private_folder(tmp_path / "file" / "below")


def test_append_overwrites_what_was_never_vouched_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    append(path, b"abc", at=0)
    append(path, b"defgh", at=3)
    append(path, b"X", at=4)
    assert path.read_bytes() == b"abcdX"


@pytest.mark.parametrize("size", [0, 1, 5_000, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_a_fingerprint_sees_both_ends_and_the_size_but_nothing_behind(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    data = bytes(n % 251 for n in range(size))
    path.write_bytes(data + b"more")
    found = fingerprint(path, size=size)
    path.write_bytes(data)
    assert fingerprint(path, size=size) == found
    for at in {0, size - 1} & set(range(size)):
        path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        assert fingerprint(path, size=size) != found
    with pytest.raises(EOFError):
        fingerprint(path, size=size + 1)


def test_what_is_no_object_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert read_object(path) is None
    for text in ("", "{", "[]", "3", "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(IndexBroken, match="file"):
            read_object(path)


def test_a_full_disk_is_one_line_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left") as caught, new_file(tmp_path / "file"):
        pass
    assert caught.value.hint is not None and "df" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="RLIMIT_FSIZE is POSIX")
@pytest.mark.parametrize("index", ["faiss", "fts5", "rank-bm25"])
def test_no_index_mistakes_a_full_disk_for_damage_and_each_goes_on_afterwards(tmp_path: Path, index: str) -> None:
    """A limit on the size of files stands in for the full disk: writes fail part of the way, as there."""
    code = """
import resource, sys
from pathlib import Path
from lightmem_cli.errors import StoreError
from lightmem_cli.protocols import Document
from lightmem_cli.records import Space
from lightmem_cli.store.files import IndexBroken
from lightmem_cli.store.vectors import open_vectors
from lightmem_cli.store.words import open_words

folder, use = Path(sys.argv[1]), sys.argv[2]
def opened():
    if use == "faiss":
        return open_vectors(use, folder, space=Space(name="s", revision="1", dimension=64), select=lambda _: None)
    return open_words(use, folder, select=lambda _: None)
def rows(start, stop):
    if use == "faiss":
        return [(n, bytes(128)) for n in range(start, stop)]
    return [Document(n, tuple(f"term{m}" for m in range(n, n + 20))) for n in range(start, stop)]
index = opened()
index.apply(add=rows(0, 100), remove=[], position=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
for stop in (9_000, 30_000):
    try:
        index.apply(add=rows(100, stop), remove=[], position=2)
    except IndexBroken as error:
        sys.exit(f"broken: {error}")
    except StoreError as error:
        print(error.message, "|", error.hint)
    else:
        sys.exit("it fitted")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for again in (index, opened()):
    assert (len(again), again.position) == (100, 1), (len(again), again.position)
index.apply(add=rows(100, 9_000), remove=[], position=2)
assert (len(opened()), opened().position) == (9_000, 2)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), index], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2 and "df -h" in done.stdout
