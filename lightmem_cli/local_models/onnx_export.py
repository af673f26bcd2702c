"""Keeps the models that read a conversation, as ONNX graphs, in the user's cache: made once, checked when opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models import minilm
from lightmem_cli.local_models.minilm import Precision
from lightmem_cli.privacy import cache_folder
from lightmem_cli.protocols import Progress

RECIPE: Final = 1  # raise it when bert_graph.py changes in a way that changes vectors
_FILES: Final = {"graph": "model.onnx", "tokenizer": "tokenizer.json"}


class Source(NamedTuple):
    """What is made, and kept in the folder `models/FOLDER` of the cache.

    `stamp` is what it is made from and how: a kept copy with another stamp is made anew. `parts` are what `make` makes,
    in its order: "graph", and "tokenizer" where there is one. `make` calls back as soon as it knows that it can.
    """

    name: str
    precision: Precision
    folder: str
    stamp: dict[str, str | int]
    parts: tuple[str, ...]
    make: Callable[[Callable[[], None]], tuple[bytes, ...]]


class Export(NamedTuple):
    """An encoder ready to run: its ONNX graph and its tokenizer, both as bytes that agree with their manifest."""

    graph: bytes
    tokenizer: bytes


def revision(precision: Precision) -> str:
    """Names the vectors this export makes: precision, weights and recipe; the same on every machine."""
    return f"{precision}-{minilm.WEIGHTS_SHA256[:8]}-r{RECIPE}"


def open_export(precision: Precision, *, progress: Progress) -> Export:
    """The embedder's export (23 MB in int8, hashed in about 15 ms), see `open_kept`.

    Raises MissingPart where the model's package is absent or is not the published one, or the cache cannot be written.
    """

    def make(begin: Callable[[], None]) -> tuple[bytes, ...]:
        source = minilm.model_folder()
        begin()
        from safetensors.numpy import load_file

        from lightmem_cli.local_models.bert_graph import write_graph

        weights = load_file(minilm.verified_weights(source))
        graph = write_graph(
            weights, layers=minilm.LAYERS, heads=minilm.HEADS, tokens=minilm.MAX_TOKENS, precision=precision
        )
        return graph, (source / "tokenizer.json").read_bytes()

    source = Source(
        name=minilm.NAME,
        precision=precision,
        folder=f"{minilm.NAME}-{revision(precision)}",
        stamp={"source_sha256": minilm.WEIGHTS_SHA256, "recipe": RECIPE},
        parts=("graph", "tokenizer"),
        make=make,
    )
    graph, tokenizer = open_kept(source, progress=progress)
    return Export(graph, tokenizer)


def open_kept(source: Source, *, progress: Progress) -> tuple[bytes, ...]:
    """Read the kept parts of a model, making them first where they are absent or damaged.

    Several processes may ask at once: one makes them, the others wait for it.
    Raises MissingPart where they cannot be made, or the cache cannot be written.
    """
    folder = cache_folder() / "models" / source.folder
    found = _read(folder, source)
    if found is not None:
        return found
    try:
        return _make_once(folder, source, progress=progress)
    except OSError as error:
        hint = "set LIGHTMEM_CACHE to a directory that can be written"
        raise MissingPart(
            f"cannot keep the exported model in {folder}: {error.strerror or error}", hint=hint
        ) from error


def _read(folder: Path, source: Source) -> tuple[bytes, ...] | None:
    """What `folder` keeps, or None where any of it is absent or disagrees with the manifest."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        parts = tuple((folder / _FILES[part]).read_bytes() for part in source.parts)
    except (OSError, ValueError):
        return None
    return parts if manifest == _manifest(source, parts) else None


def _manifest(source: Source, parts: tuple[bytes, ...]) -> dict[str, str | int]:
    named = zip(source.parts, parts, strict=True)
    return source.stamp | {f"{part}_sha256": sha256(data).hexdigest() for part, data in named}


def _make_once(folder: Path, source: Source, *, progress: Progress) -> tuple[bytes, ...]:
    from filelock import FileLock, Timeout

    make_private(folder)
    lock = FileLock(folder.with_name(folder.name + ".lock"), mode=0o600)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        progress(f"waiting for another process that prepares {source.name} …")
        lock.acquire()
    try:
        found = _read(folder, source)
        return found if found is not None else _make(folder, source, progress=progress)
    finally:
        lock.release()


def _make(folder: Path, source: Source, *, progress: Progress) -> tuple[bytes, ...]:
    """Make the parts in `folder`. The manifest comes last: until then what lies there is not taken for a model."""
    again = "the cached copy is damaged: " if (folder / "manifest.json").exists() else ""
    parts = source.make(lambda: progress(f"{again}preparing {source.name} ({source.precision}), once …"))
    for part, data in zip(source.parts, parts, strict=True):
        replace(folder / _FILES[part], data)
    replace(folder / "manifest.json", json.dumps(_manifest(source, parts), indent=1).encode())
    return parts


def make_private(folder: Path) -> None:
    """Make `folder`, and those above it that are missing, for this user alone, which `parents=True` would not."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def replace(path: Path, data: bytes) -> None:
    """Write a private file new, then rename it over `path`."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(new, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
