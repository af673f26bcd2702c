"""Keeps the processes that work on a conversation's memory apart, by the operating system's locks on files.

The kernel frees the lock of a process that ends, however and wherever it does: killed, in a container that is gone, on
another host of a shared disk. No process number, host name or clock is asked. Who only looks takes a shared lock, so
that two who look at once do not see each other (but on Windows, which has none: there the next look is right). The
library filelock has no such lock; and where a disk has no locks it goes over to files that outlive whoever made them.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from lightmem_cli.errors import ProfileBusy, StoreError
from lightmem_cli.store.files import private_folder, storing

_SUFFIX = ".lock"
_NO_LINK, _NO_WAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)  # a pipe would be waited for
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_LOOK_SECONDS = 0.05
_OPEN: set[int] = set()  # descriptors of the locked files of this process


@contextmanager
def exclusive(path: Path, *, wait: float, busy: str) -> Iterator[None]:
    """Hold the lock on `path` inside, after up to `wait` seconds of another's holding it. Without locks, just go on.

    Raises:
        ProfileBusy: another one holds it still; that is what `busy` says.
        StoreError: the file cannot be made.
    """
    with storing(path):
        is_new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600)
        if is_new:
            _hand_over(path)
    _OPEN.add(file)
    until = time.monotonic() + wait
    try:
        while _lock(file, shared=False) is False:
            if time.monotonic() >= until:
                raise ProfileBusy(busy, hint="let it finish, or try again")
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        _close(file)


class _Mine(NamedTuple):
    """A lease that `process` holds: its number, its locked file, and whether that lock keeps anybody out."""

    number: int
    file: int
    works: bool
    process: int


class Leases:
    """The locks on the files of one folder, each named by the number of its lease."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: _Mine | None = None

    @property
    def mine(self) -> int | None:
        """The number of the lease that this object holds."""
        own = self._own()
        return None if own is None else own.number

    def _own(self) -> _Mine | None:
        """That lease; a forked child holds none of its parent's."""
        if self._mine is not None and self._mine.process != os.getpid():
            self._mine = None
        return self._mine

    @property
    def locks_work(self) -> bool:
        """Whether locks keep anybody out here. Some network disks have none, and some only pretend."""
        if (own := self._own()) is not None:
            return own.works
        try:
            return self._try() or self._try()  # a sweep may come between the making of a file and its lock
        except StoreError:
            return True  # nothing can be written here, so nothing is at risk

    def _try(self) -> bool:
        number = self.take()
        try:
            return self.locks_work
        finally:
            self.drop(number)

    def take(self) -> int:
        """Hold a new lease; its number, which no other had or will have. Call inside a transaction, so that nobody
        sweeps between the making of its file and the lock.

        Raises:
            StoreError: its file cannot be written.
        """
        assert self.mine is None, "whoever is at work holds one lease"
        if not self._folder.exists():
            private_folder(self._folder)
            _hand_over(self._folder)
        number = int.from_bytes(os.urandom(6))
        path = self._path(number)
        with storing(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            _hand_over(path)
        _OPEN.add(file)
        self._mine = _Mine(number, file, _lock(file, shared=False) is True and is_held(path), os.getpid())
        return number

    def held(self, number: int) -> bool:
        """Whether the owner of a lease is there, be it stopped or on another host."""
        return self.mine == number or is_held(self._path(number))

    def drop(self, number: int) -> None:
        """End a lease, this object's own or that of an owner who is gone."""
        if self.mine == number:
            self.close()
        with suppress(OSError):  # a read-only disk: the file says nothing without its lock
            self._path(number).unlink(missing_ok=True)

    def sweep(self, known: Collection[int]) -> None:
        """Remove the files of owners that are gone, but for the `known` ones. Call inside a transaction."""
        names = {self._path(number).name for number in (*known, *([] if self.mine is None else [self.mine]))}
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path.name not in names and not is_held(path):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock, as the kernel does for who is killed: the file stays until somebody sweeps."""
        if (own := self._own()) is not None:
            _close(own.file)
            self._mine = None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012x}{_SUFFIX}"


def is_held(path: Path) -> bool:
    """Whether another open file holds the lock on `path`. Where there are no locks, nobody does."""
    return _is_free(path) is False


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock on `path`, for certain: there are locks."""
    return _is_free(path) is True


def _is_free(path: Path) -> bool | None:
    """None where there are no locks."""
    try:
        file = os.open(path, os.O_RDONLY | _NO_LINK | _NO_WAIT)
    except OSError as error:  # of another user's nothing can be known
        return error.errno in _GONE
    try:
        return _lock(file, shared=True)
    finally:
        os.close(file)


def _close(file: int) -> None:
    if file in _OPEN:  # not in a forked child, which has closed it
        _OPEN.discard(file)
        os.close(file)


if sys.platform == "win32":
    import msvcrt

    def _hand_over(path: Path) -> None:
        """There is no such user."""

    def _lock(file: int, *, shared: bool) -> bool | None:
        """Lock an open file; False where another one has it, None where there are no locks."""
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        except OSError:
            return None
        if shared:  # there is no such lock: it is given back at once
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        return True

else:
    import fcntl

    def _lock(file: int, *, shared: bool) -> bool | None:
        """Lock an open file; False where another one has it, None where there are no locks."""
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _hand_over(path: Path) -> None:
        """Let what root makes be its folder's owner's, as SQLite does: else that one could not look at it."""
        if os.geteuid() == 0:
            with suppress(OSError):
                its = path.parent.stat()
                os.chown(path, its.st_uid, its.st_gid, follow_symlinks=False)

    def _close_all() -> None:
        """A forked child shares its parent's locks, and would hold them when that is gone."""
        for file in _OPEN:
            os.close(file)
        _OPEN.clear()

    os.register_at_fork(after_in_child=_close_all)
