"""Locks: who is at work is there as long as its process is, and where there are no locks, that is said."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from memories import empty_home, line, opened, take_into

from lightmem_cli.engine import NO_LOCKS
from lightmem_cli.engine.backup.staging import staging
from lightmem_cli.engine.doctor import check_processes
from lightmem_cli.store.locks import Leases, exclusive, is_held


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def refuses(_file: int, _how: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_lease_is_held_until_it_is_let_go(folder: Path) -> None:
    mine, other = Leases(folder), Leases(folder)
    number = mine.take()
    assert mine.held(number) and other.held(number) and mine.locks_work
    mine.close()
    assert not other.held(number)


def test_where_nothing_can_be_written_nothing_is_at_risk(folder: Path) -> None:
    folder.touch()
    assert Leases(folder).locks_work


def test_two_who_look_at_once_do_not_see_each_other(folder: Path) -> None:
    gone = Leases(folder)
    number = gone.take()
    gone.close()
    [path] = folder.iterdir()
    with path.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not Leases(folder).held(number)


def test_what_dead_owners_left_is_swept_and_nothing_else(folder: Path) -> None:
    dead, known, living = Leases(folder), Leases(folder), Leases(folder)
    dead.take()
    kept = {known.take(), living.take()}
    dead.close()
    of_known = known.mine
    known.close()
    assert of_known is not None
    Leases(folder).sweep([of_known])
    assert {int(path.stem, 16) for path in folder.iterdir()} == kept
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())


def test_a_forked_child_holds_nothing_of_its_parents(folder: Path) -> None:
    mine = Leases(folder)
    number = mine.take()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        assert Leases(folder).held(number), "the parent's lock stays its own"
        mine.close()
        assert not Leases(folder).held(number), "the child would keep it"
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *done):
            os.close(end)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for another user")
def test_what_root_holds_the_owner_of_the_profile_can_look_at(folder: Path) -> None:
    os.chown(folder.parent, 1000, 1000)
    Leases(folder).take()
    with exclusive(folder.parent / "indexes.lock", wait=0, busy=""):
        made = [folder, *folder.iterdir(), folder.parent / "indexes.lock"]
        assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1000, 1000)}


def test_a_pipe_and_a_link_in_the_place_of_a_lock_hold_nobody_up(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "pipe.lock")
    (folder / "link.lock").symlink_to("/dev/zero")
    Leases(folder).sweep([])
    assert not is_held(folder / "pipe.lock")


def test_where_there_are_no_locks_nothing_of_another_is_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fcntl, "flock", refuses)
    with staging(tmp_path, prefix=".x-") as living, staging(tmp_path, prefix=".x-"):
        assert living.exists()


def test_a_file_that_is_not_there_is_held_by_nobody(folder: Path) -> None:
    assert not is_held(folder / "none.lock")
    (folder.parent / "file").touch()
    assert not is_held(folder.parent / "file" / "none.lock")


@pytest.mark.parametrize("flock", [refuses, lambda file, how: None], ids=["refused", "pretended"])
def test_a_disk_without_locks_is_told_of_once_and_stops_nobody(monkeypatch: pytest.MonkeyPatch, flock: object) -> None:
    monkeypatch.setattr(fcntl, "flock", flock)
    said: list[str] = []
    row = line(content="I adopted a dog.", session="s", id="1")
    with empty_home() as home, opened(home, said=said) as memory, opened(home) as other:
        take_into(memory, [row])
        take_into(memory, [row])
        assert said.count(NO_LOCKS) == 1
        processes, locks = check_processes(memory)
        assert (processes.well, locks.well, locks.seen) == (True, False, NO_LOCKS)
        memory.history.work.reopen()
        assert other.history.work.owners() == []
