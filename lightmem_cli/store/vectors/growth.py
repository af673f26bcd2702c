"""Adds a conversation's new vectors to the files: behind the tail at their own cost, now and then all in one part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmem_cli.store.files import append, new_file, private_folder
from lightmem_cli.store.vectors.generation import Generation, empty_main, faiss_library
from lightmem_cli.store.vectors.manifest import (
    GONE,
    MAIN,
    MAIN_IDS,
    TAIL,
    TAIL_IDS,
    Manifest,
    file_of,
    new_mark,
    sweep,
    write_manifest,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lightmem_cli.protocols import Ids

    Codes = NDArray[np.uint8]

# Up to this many rows NumPy alone answers (20 ms cold, 2 ms warm); importing faiss costs 200 ms.
SMALL = 16_384
_SHARE = 8  # a tail longer than an eighth of the main part is folded in: a vector is rewritten some 8 times in all
_BLOCK = 8_192  # rows copied at once


def must_fold(manifest: Manifest, *, added: int, removed: int) -> bool:
    """Whether tail and removals would outgrow what is cheap to read on open and to search without FAISS."""
    waiting = manifest.tail + manifest.gone + added + removed
    return waiting > max(SMALL, manifest.main // _SHARE)


def grow(folder: Path, before: Manifest, *, fresh: dict[int, bytes], gone: Ids, position: int) -> Manifest:
    """Put `fresh` behind the tail and the rows `gone` behind the removals."""
    private_folder(folder)
    after = replace(
        before,
        generation=before.generation or new_mark(),
        position=position,
        tail=before.tail + len(fresh),
        gone=before.gone + len(gone),
    )
    grown = {TAIL: b"".join(fresh.values()), TAIL_IDS: _ids(fresh).tobytes(), GONE: gone.tobytes()}
    changed = {name for name, data in grown.items() if data}
    for name in sorted(changed):
        append(file_of(folder, name, generation=after.generation), grown[name], at=before.sizes()[name])
    return write_manifest(folder, after, changed=changed)


def fold(
    folder: Path, before: Manifest, *, read: Generation, fresh: dict[int, bytes], gone: Ids, position: int
) -> Manifest:
    """Write all living rows, sorted by id, as a new generation: in its main part, or, where they are few, its tail."""
    private_folder(folder)
    sweep(folder, keep={before.generation})  # the generation before that, and what an interrupted fold left
    alive = np.ones(before.rows + len(fresh), np.bool_)
    alive[read.gone(before)] = False
    alive[gone] = False
    rows = np.flatnonzero(alive)
    ids = np.concatenate([read.main_ids, read.tail_ids(before), _ids(fresh)])[rows]
    order = np.argsort(ids)
    tail = read.tail(before).astype("<f2").view(np.uint8)  # exact: each number was a float16
    new = np.frombuffer(b"".join(fresh.values()), np.uint8).reshape(-1, tail.shape[1])
    sources = {"main": read.main_codes(), "rest": np.concatenate([tail, new])}
    after = Manifest(space=before.space, generation=new_mark(), position=position)
    if len(rows) > SMALL // 2:
        index, codes = empty_main(len(rows), dimension=before.space.dimension)
        _fill(codes, rows[order], **sources)
        size = _write_main(file_of(folder, MAIN, generation=after.generation), index)
        after, names = replace(after, main=len(rows), main_bytes=size), (MAIN, MAIN_IDS)
    else:
        codes = np.empty((len(rows), tail.shape[1]), np.uint8)
        _fill(codes, rows[order], **sources)
        _write(file_of(folder, TAIL, generation=after.generation), codes)
        after, names = replace(after, tail=len(rows)), (TAIL, TAIL_IDS)
    _write(file_of(folder, names[1], generation=after.generation), ids[order])
    return write_manifest(folder, after, changed=set(names) if len(rows) else set())


def _fill(target: Codes, rows: Ids, *, main: Codes, rest: Codes) -> None:
    """Copy the float16 bytes of `rows`, counted through `main` and on through `rest`, into `target`."""
    for start in range(0, len(rows), _BLOCK):
        wanted, block = rows[start : start + _BLOCK], target[start : start + _BLOCK]
        old = wanted < len(main)
        block[old] = main[wanted[old]]
        block[~old] = rest[wanted[~old] - len(main)]


def _write_main(path: Path, index: Any) -> int:
    """Write a FAISS index; returns its size in bytes. A full disk is Python's OSError, as Python writes."""
    with new_file(path) as file:
        faiss_library().write_index(index, faiss_library().PyCallbackIOWriter(file.write))
        return file.tell()


def _write(path: Path, rows: NDArray[Any]) -> None:
    with new_file(path) as file:
        file.write(rows.tobytes())


def _ids(fresh: dict[int, bytes]) -> Ids:
    return np.fromiter(fresh, "<i8", count=len(fresh))
