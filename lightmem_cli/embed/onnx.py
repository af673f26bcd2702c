"""Embeds a conversation's sentences with all-MiniLM-L6-v2 through onnxruntime and tokenizers alone, without torch.

A vector is a function of its text alone, bit for bit: texts of one length in wordpieces share a run, so nothing is
padded, and in int8 no number in a run is taken over more than one token or one text (local_models/bert_graph.py).
Another kind of processor, or another onnxruntime, may round a last bit differently: vectors repeat on one machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lightmem_cli.embed.windows import windows
from lightmem_cli.errors import ProfileError
from lightmem_cli.local_models import minilm
from lightmem_cli.local_models.device import processors
from lightmem_cli.local_models.minilm import Precision
from lightmem_cli.local_models.onnx_export import Export, open_export, revision
from lightmem_cli.local_models.surrogates import well_formed
from lightmem_cli.records import Space

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from lightmem_cli.protocols import Progress, Vectors

_RUN_TOKENS: Final = 192  # wordpieces in a run: what lies between two layers then stays in a core's second-level cache
_MAX_WORKERS: Final = 8


class OnnxEmbedder:
    """all-MiniLM-L6-v2 on single-threaded workers that share one session; the session is made when first needed."""

    def __init__(self, *, model: str | None, precision: Precision, workers: int | None, progress: Progress) -> None:
        if model not in (None, minilm.NAME):
            hint = "lightmem config set embed.use sentence-transformers"
            raise ProfileError(f'embed.use = "onnx" runs {minilm.NAME}, not {model}', hint=hint)
        self._precision = precision
        self._workers = workers or min(processors(), _MAX_WORKERS)
        self._progress = progress

    @property
    def space(self) -> Space:
        return Space(name=minilm.NAME, revision=revision(self._precision), dimension=minilm.DIMENSION)

    def windows(self, text: str) -> list[str]:
        return windows(text, self._model.tokenizer, limit=minilm.MAX_TOKENS - 2)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, float32, (len(texts), 384); of each text the first 256 wordpieces count."""
        import numpy as np

        vectors = np.empty((len(texts), minilm.DIMENSION), np.float32)
        pieces = self._wordpieces(texts)
        runs = list(_runs(pieces, most=_RUN_TOKENS if self._precision == "int8" else 1))
        ids = [[pieces[text] for text in run] for run in runs]
        alone = len(runs) < 2 or self._workers == 1  # a question starts no threads
        results = (self._run(texts_ids) for texts_ids in ids) if alone else self._pool.map(self._run, ids)
        for run, rows in zip(runs, results, strict=True):
            vectors[run] = rows
        return vectors

    def _wordpieces(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._model.tokenizer.encode_batch_fast([well_formed(text) for text in texts])
        ids = [encoding.ids for encoding in encodings]
        return [i if len(i) <= minilm.MAX_TOKENS else [*i[: minilm.MAX_TOKENS - 1], i[-1]] for i in ids]

    def _run(self, ids: list[list[int]]) -> Vectors:
        """Embed texts of one length: the mean of each text's last hidden states, made a unit vector."""
        import numpy as np

        hidden = self._model.session.run(["hidden"], {"ids": np.array(ids, np.int64)})[0]
        total = hidden.sum(axis=1)
        rows: Vectors = total / np.sqrt((total * total).sum(axis=1, keepdims=True))
        return rows

    @cached_property
    def _model(self) -> _Model:
        return _load(open_export(self._precision, progress=self._progress))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="embed")


class _Model(NamedTuple):
    tokenizer: Tokenizer
    session: Any  # onnxruntime.InferenceSession, safe to run from many threads at once


def _load(export: Export) -> _Model:
    """Build the session while another thread builds the tokenizer, which a question then does not wait for (25 ms)."""
    with ThreadPoolExecutor(1) as beside:
        tokenizer = beside.submit(_tokenizer, export.tokenizer)
        return _Model(session=_session(export.graph), tokenizer=tokenizer.result())


def _tokenizer(data: bytes) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(data)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _session(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # written fused already
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _runs(pieces: Sequence[Sequence[int]], *, most: int) -> Iterator[list[int]]:
    """The positions of texts to embed together: of one length, at most `most` wordpieces, but at least one text."""
    by_length: dict[int, list[int]] = {}
    for position, ids in enumerate(pieces):
        by_length.setdefault(len(ids), []).append(position)
    for length in sorted(by_length, reverse=True):  # the longest first: the workers finish together
        positions = by_length[length]
        step = max(1, most // length)
        yield from (positions[start : start + step] for start in range(0, len(positions), step))
