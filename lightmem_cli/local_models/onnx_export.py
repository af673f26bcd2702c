"""Keeps the encoder that reads a conversation's sentences in the user's cache: exported once, checked when opened."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models import minilm
from lightmem_cli.local_models.minilm import Precision
from lightmem_cli.protocols import Progress

RECIPE: Final = 1  # raise it when bert_graph.py changes in a way that changes vectors


class Export(NamedTuple):
    """An encoder ready to run: its ONNX graph and its tokenizer, both as bytes that agree with their manifest."""

    graph: bytes
    tokenizer: bytes


def revision(precision: Precision) -> str:
    """Names the vectors this export makes: precision, weights and recipe; the same on every machine."""
    return f"{precision}-{minilm.WEIGHTS_SHA256[:8]}-r{RECIPE}"


def cache_folder() -> Path:
    """`$LIGHTMEM_CACHE`, else the user's cache directory; not created."""
    if named := os.environ.get("LIGHTMEM_CACHE"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("lightmem", appauthor=False)


def open_export(precision: Precision, *, progress: Progress) -> Export:
    """Read the cached export (23 MB in int8, hashed in about 15 ms), making it first where it is absent or damaged.

    Several processes may ask at once: one exports, the others wait for it.
    Raises MissingPart where the model's package is absent or is not the published one, or the cache cannot be written.
    """
    folder = cache_folder() / "models" / f"{minilm.NAME}-{revision(precision)}"
    found = _read(folder)
    if found is not None:
        return found
    try:
        return _export_once(folder, precision, progress=progress)
    except OSError as error:
        hint = "set LIGHTMEM_CACHE to a directory that can be written"
        raise MissingPart(
            f"cannot keep the exported model in {folder}: {error.strerror or error}", hint=hint
        ) from error


def _read(folder: Path) -> Export | None:
    """The export in `folder`, or None where any of it is absent or disagrees with the manifest."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        export = Export(graph=(folder / "model.onnx").read_bytes(), tokenizer=(folder / "tokenizer.json").read_bytes())
    except (OSError, ValueError):
        return None
    return export if manifest == _manifest(export) else None


def _manifest(export: Export) -> dict[str, str | int]:
    return {
        "source_sha256": minilm.WEIGHTS_SHA256,
        "recipe": RECIPE,
        "graph_sha256": sha256(export.graph).hexdigest(),
        "tokenizer_sha256": sha256(export.tokenizer).hexdigest(),
    }


def _export_once(folder: Path, precision: Precision, *, progress: Progress) -> Export:
    from filelock import FileLock, Timeout

    _make_private(folder)
    lock = FileLock(folder.with_name(folder.name + ".lock"), mode=0o600)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        progress(f"waiting for another process that prepares {minilm.NAME} …")
        lock.acquire()
    try:
        found = _read(folder)
        return found if found is not None else _export(folder, precision, progress=progress)
    finally:
        lock.release()


def _export(folder: Path, precision: Precision, *, progress: Progress) -> Export:
    """Export into `folder`. The manifest comes last: until then what lies there is not taken for an export."""
    again = (folder / "manifest.json").exists()
    source = minilm.model_folder()
    progress(f"{'the cached copy is damaged: ' if again else ''}preparing {minilm.NAME} ({precision}), once …")
    from safetensors.numpy import load_file

    from lightmem_cli.local_models.bert_graph import write_graph

    weights = load_file(minilm.verified_weights(source))
    graph = write_graph(
        weights, layers=minilm.LAYERS, heads=minilm.HEADS, tokens=minilm.MAX_TOKENS, precision=precision
    )
    export = Export(graph=graph, tokenizer=(source / "tokenizer.json").read_bytes())
    _replace(folder / "model.onnx", export.graph)
    _replace(folder / "tokenizer.json", export.tokenizer)
    _replace(folder / "manifest.json", json.dumps(_manifest(export), indent=1).encode())
    return export


def _make_private(folder: Path) -> None:
    """Make `folder`, and those above it that are missing, for this user alone, which `parents=True` would not."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _replace(path: Path, data: bytes) -> None:
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
