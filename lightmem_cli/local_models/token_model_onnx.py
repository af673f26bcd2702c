"""Reads a window of a conversation with a token classifier in int8 on the processor, through onnxruntime alone.

The graph is made once from the model's weights and kept in the user's cache.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.device import processors
from lightmem_cli.local_models.folders import fetched_anew
from lightmem_cli.local_models.onnx_export import Source, make_private, open_kept, replace
from lightmem_cli.local_models.token_shape import WITHOUT, Shape
from lightmem_cli.local_models.token_weights import open_weights, weight_files
from lightmem_cli.privacy import cache_folder

if TYPE_CHECKING:
    from lightmem_cli.protocols import Progress, Vectors

_RECIPE: Final = 1  # raise it when token_graph.py or bert_graph.py change in a way that changes readings


class OnnxTokenModel:
    """One session on all processors, made when first needed; what a window becomes does not depend on their number."""

    def __init__(self, folder: Path, *, name: str, shape: Shape, progress: Progress, without: str = WITHOUT) -> None:
        self._folder = folder
        self._name = name
        self._shape = shape
        self._progress = progress
        self._without = without
        self._anew = fetched_anew(name, without=without)
        self._files = weight_files(folder, anew=self._anew, without=without)

    def run(self, ids: Sequence[int], *, attention: bool) -> tuple[Vectors, Vectors | None]:
        """The probability of each token of a window to be kept, and how much each attends to each, if wanted.

        Raises RuntimeError, as torch does, where onnxruntime fails, perhaps for want of memory.
        """
        import numpy as np

        window = {"ids": np.array([ids], np.int64), "attentive": np.array(attention)}
        session = self._session
        try:
            keep, attends = session.run(["keep", "attention"], window)
        except _failures() as error:
            raise RuntimeError(f"onnxruntime: {error}") from error
        return keep, attends if attention else None

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = processors()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # written fused already
        # A thread that waits actively takes the processor from those that work, where other programs run beside it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        (graph,) = open_kept(self._source(), progress=self._progress)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def _source(self) -> Source:
        """Named by all that the graph is made from, wherever the folder lies and whatever it is called."""
        try:
            weights = [_file_sha256(file) for file in self._files]
        except OSError as error:
            raise MissingPart(f"cannot read the weights in {self._folder}: {error}", hint=self._anew) from error
        whole = sha256("\n".join([*weights, repr(self._shape)]).encode()).hexdigest()
        return Source(
            name=self._name,
            precision="int8",
            folder=f"tokens-int8-{whole[:16]}-r{_RECIPE}",
            stamp={"source_sha256": whole, "recipe": _RECIPE},
            parts=("graph",),
            make=self._make,
        )

    def _make(self, begin: Callable[[], None]) -> tuple[bytes, ...]:
        from lightmem_cli.local_models.token_graph import write_token_graph

        encoder, classifier = open_weights(self._files, shape=self._shape, anew=self._anew, without=self._without)
        begin()
        return (write_token_graph(encoder, classifier, shape=self._shape, precision="int8"),)


def _failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises when it runs a graph; its own exceptions have no common class but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    return raised.EPFail, raised.EngineError, raised.Fail, raised.InvalidArgument, raised.RuntimeException


def _file_sha256(path: Path) -> str:
    """The sha256 of a file, which is remembered with its size and time: 700 MB take half a second."""
    path = path.resolve()
    seen_at = cache_folder() / "models" / "weights.json"
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns, state.st_ino]
    seen = _seen(seen_at)
    match seen.get(str(path)):
        case [*before, str(known)] if before == stamp:
            return known
    with path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    kept = {name: entry for name, entry in seen.items() if Path(name).is_file()}
    try:
        make_private(seen_at.parent)
        replace(seen_at, json.dumps(kept | {str(path): [*stamp, found]}, indent=1).encode())
    except OSError:
        pass  # it is then hashed again
    return found


def _seen(path: Path) -> dict[str, Any]:
    try:
        seen = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return seen if isinstance(seen, dict) else {}
