"""Opens the transcripts that a command names, one conversation after the other, or reads the one in its pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Settings
    from lightmem_cli.transcript import Item

_HINT = "name a transcript file, or - for stdin"


class Transcripts:
    """The named files, or stdin for `-` and for no name at all. Each is opened when its turn has come."""

    def __init__(self, names: list[str] | None) -> None:
        """
        Raises:
            InputError: one is not there, a directory or unreadable; or there is no name, and no pipe either.
        """
        if not names and sys.stdin.isatty():
            hint = "name a FILE, or pipe one in: cat chat.jsonl | lightmem ingest -"
            raise InputError("no transcript given", hint=hint)
        self._names = names or ["-"]
        self._behind = 0  # bytes of the files that were read to their end
        self._current: BinaryIO | None = None
        for name in self._names:
            if name != "-":
                _opened(name).close()  # a wrong name is told before anything is kept

    @property
    def paths(self) -> list[Path]:
        return [Path(name) for name in self._names if name != "-"]

    @property
    def size(self) -> int | None:
        """The bytes of all files together; None where one is a pipe."""
        if len(self.paths) < len(self._names) or not all(path.is_file() for path in self.paths):
            return None
        return sum(path.stat().st_size for path in self.paths)

    @property
    def at(self) -> int:
        """The bytes read so far."""
        return self._behind + (self._current.tell() if self._current is not None else 0)

    def read(
        self, settings: Settings, *, format: Literal["auto", "jsonl", "json"] = "auto", keep_raw: bool = False
    ) -> Iterator[Iterator[list[Item]]]:
        """One transcript after the other, each as batches of its items; `keep_raw`: see `read_transcript`."""
        from lightmem_cli.transcript import read_transcript

        zone = settings.transcript.zone
        for name in self._names:
            if name == "-":
                yield read_transcript(sys.stdin.buffer, name="stdin", zone=zone, format=format, keep_raw=keep_raw)
                continue
            with _opened(name) as self._current:
                yield read_transcript(self._current, name=name, zone=zone, format=format, keep_raw=keep_raw)
                self._behind += self._current.tell()
            self._current = None


def _opened(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}", hint=_HINT) from error
