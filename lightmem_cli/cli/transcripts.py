"""Opens the transcripts that a command names, one conversation after the other, or reads the one in its pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Settings
    from lightmem_cli.transcript import Item


class Transcripts:
    """The named files, or stdin for `-` and for no name at all. Each is opened when its turn has come."""

    def __init__(
        self,
        names: list[str] | None,
        *,
        piped: str = "cat chat.jsonl | lightmem ingest -",
        kind: Literal["transcript", "text"] = "transcript",
    ) -> None:
        """`piped` is how to pipe one in, as a hint says it, and `kind` what kind of file each is.

        Raises:
            InputError: one is not there, a directory or unreadable; or there is no name, and no pipe either.
        """
        if not names and sys.stdin.isatty():
            raise InputError("no input given", hint=f"name a FILE, or pipe one in: {piped}")
        self._names = names or ["-"]
        self._kind = kind
        self._behind = 0  # bytes of the files that were read to their end
        self._current: BinaryIO | None = None
        for name in self._names:
            if name != "-":
                self._opened(name).close()  # a wrong name is told before anything is kept

    @property
    def paths(self) -> list[Path]:
        return [Path(name) for name in self._names if name != "-"]

    @property
    def title(self) -> str:
        """What they are called, in short."""
        first = "stdin" if self._names[0] == "-" else Path(self._names[0]).name
        return first if len(self._names) == 1 else f"{first} and {len(self._names) - 1} more"

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
            with self._opened(name) as self._current:
                yield read_transcript(self._current, name=name, zone=zone, format=format, keep_raw=keep_raw)
                self._behind += self._current.tell()
            self._current = None

    def texts(self) -> Iterator[str]:
        """Each file as one plain text, in UTF-8, without the line's end that closes it.

        Raises:
            InputError: one is not UTF-8.
        """
        for name in self._names:
            if name == "-":
                data = sys.stdin.buffer.read()
            else:
                with self._opened(name) as file:
                    data = file.read()
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                what = f"{'stdin' if name == '-' else name}: invalid UTF-8 at byte {error.start + 1}"
                raise InputError(what, hint="convert it first: iconv -f ENCODING -t UTF-8") from error
            yield text.removesuffix("\n").removesuffix("\r")

    def _opened(self, name: str) -> BinaryIO:
        try:
            return Path(name).open("rb")
        except OSError as error:
            hint = f"name a {self._kind} file, or - for stdin"
            raise InputError(f"cannot read {name}: {error.strerror}", hint=hint) from error


class Counted:
    """Transcripts that count, while they are read, their items and how many of them say nothing by design."""

    def __init__(self, transcripts: Iterable[Iterable[Sequence[Item]]]) -> None:
        self._transcripts = transcripts
        self.items = self.skipped = 0

    def __iter__(self) -> Iterator[Iterator[Sequence[Item]]]:
        return (self._read(batches) for batches in self._transcripts)

    def _read(self, batches: Iterable[Sequence[Item]]) -> Iterator[Sequence[Item]]:
        from lightmem_cli.transcript import Skipped

        for batch in batches:
            self.items += len(batch)
            self.skipped += sum(isinstance(item, Skipped) for item in batch)
            yield batch
