"""Says which of the bytes in a vector index's files are valid, and up to which change of history they are current.

A generation is five files with one mark in their names. The main part is never changed; tail and removals only grow,
beyond what the manifest vouches for, until it is replaced and vouches for more. So a torn write is never seen, and who
still reads an older manifest finds its rows unchanged. Folding the tail into the main part starts the next generation.
"""

from __future__ import annotations

import json
import re
import secrets
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lightmem_cli.records import Space
from lightmem_cli.store.files import IndexBroken, fingerprint, new_file, read_object

FORMAT = 1
MANIFEST = "manifest.json"
MAIN, MAIN_IDS, TAIL, TAIL_IDS, GONE = "main.faiss", "main.ids", "tail.f16", "tail.ids", "gone.rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is valid on disk: how many rows of each file, their checksums, and the position they are current to."""

    space: Space
    position: int = 0
    generation: str = ""
    main: int = 0
    tail: int = 0
    gone: int = 0
    main_bytes: int = 0
    checksums: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.main + self.tail

    def sizes(self) -> dict[str, int]:
        """The valid bytes of each file; files without any need not exist."""
        row = 2 * self.space.dimension
        sizes = {MAIN: self.main_bytes, MAIN_IDS: 8 * self.main, TAIL: row * self.tail}
        return sizes | {TAIL_IDS: 8 * self.tail, GONE: 8 * self.gone}


def read_manifest(folder: Path, *, space: Space) -> Manifest:
    """What `folder` holds, checked against its files; an empty manifest where there is none."""
    path = folder / MANIFEST
    found = read_object(path)
    if found is None:
        return Manifest(space=space)
    if found.pop("check", None) != _check(found):
        raise IndexBroken(path, "was damaged")
    if found.pop("format") != FORMAT:
        raise IndexBroken(path, f"was written by another version of lightmem (this one reads format {FORMAT})")
    manifest = Manifest(**found | {"space": Space(**found["space"])})
    if manifest.space != space:
        raise IndexBroken(path, f"holds vectors of {manifest.space.name}, not of {space.name}")
    for name, size in manifest.sizes().items():
        _verify(file_of(folder, name, generation=manifest.generation), size, manifest.checksums.get(name))
    return manifest


def write_manifest(folder: Path, manifest: Manifest, *, changed: set[str]) -> Manifest:
    """Make `manifest` valid in one step, with fresh checksums of the `changed` files; returns it with them."""
    sums = dict(manifest.checksums)
    for name in changed:
        path = file_of(folder, name, generation=manifest.generation)
        sums[name] = fingerprint(path, size=manifest.sizes()[name])
    manifest = replace(manifest, checksums=sums)
    values: dict[str, Any] = {"format": FORMAT, **asdict(manifest)}
    with new_file(folder / MANIFEST) as file:
        file.write(json.dumps(values | {"check": _check(values)}, indent=1).encode())
    return manifest


def new_mark() -> str:
    """A mark that no generation had before, so that what was read of one is never taken for another's."""
    return secrets.token_hex(6)


def file_of(folder: Path, name: str, *, generation: str) -> Path:
    stem, suffix = name.split(".")
    return folder / f"{stem}-{generation}.{suffix}"


def sweep(folder: Path, *, keep: set[str]) -> None:
    """Delete the files of all generations but those in `keep`, and what a crash left half written."""
    for path in folder.iterdir():
        name = re.fullmatch(r"\w+-([0-9a-f]+)\.\w+", path.name)
        if path.suffix == ".new" or (name and name[1] not in keep):
            with suppress(PermissionError, FileNotFoundError):  # Windows keeps what a reader has open: next time
                path.unlink()


def _verify(path: Path, size: int, checksum: int | None) -> None:
    if not size:
        return
    try:
        found = fingerprint(path, size=size)
    except FileNotFoundError as error:
        raise IndexBroken(path, "is missing") from error
    except EOFError as error:
        raise IndexBroken(path, "is shorter than its manifest says") from error
    if found != checksum:
        raise IndexBroken(path, "was damaged")


def _check(values: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())
