"""Reads a window of a conversation's messages in one forward pass: which tokens to keep, and what attends to what."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from lightmem_cli.local_models.device import choose_device, maybe_accelerated
from lightmem_cli.local_models.folders import model_folder
from lightmem_cli.local_models.token_shape import WITHOUT, Shape, read_shape
from lightmem_cli.protocols import Pieces, Reading

if TYPE_CHECKING:
    from pathlib import Path

    from lightmem_cli.local_models.minilm import Precision
    from lightmem_cli.local_models.token_pieces import Splitter
    from lightmem_cli.protocols import Progress, TokenReader, Vectors
    from lightmem_cli.records import Message

DEFAULT_MODEL: Final = "microsoft/llmlingua-2-bert-base-multilingual-cased-meetingbank"
_REMEMBERED: Final = 8  # windows; with attention about 1 MB each


class TokenModel(Protocol):
    """A token classifier without its tokenizer."""

    def run(self, ids: Sequence[int], *, attention: bool) -> tuple[Vectors, Vectors | None]:
        """Read one window, special tokens and all.

        The probability of each token to be kept, float32, shape (tokens,); and, if wanted, how much each attends to
        each, float32, shape (tokens, tokens): the mean over the heads of the last third of the layers.
        """
        ...


def open_token_pass(
    model: str,
    *,
    device: str,
    precision: Precision,
    progress: Progress,
    exact: bool = False,
    without: str = WITHOUT,
) -> TokenReader:
    """Open a token-classification model of BERT's or XLM-RoBERTa's kind by Hub name or folder.

    With `exact` windows have the edges, and texts the special tokens, that the llmlingua package gives them.
    `without` says how to do without the model, for whom it is not right.

    Raises:
        MissingPart: it is not on this machine, or is not such a model.
    """
    from lightmem_cli.local_models.token_pieces import Splitter

    folder = model_folder(model, without=without)
    shape = read_shape(folder, without=without)
    splitter = Splitter(folder, shape=shape, exact=exact, without=without)
    classifier = _open_model(
        model, folder, shape=shape, device=device, precision=precision, progress=progress, without=without
    )
    return TokenPass(classifier, splitter=splitter, window=shape.window)


def _open_model(
    name: str, folder: Path, *, shape: Shape, device: str, precision: Precision, progress: Progress, without: str
) -> TokenModel:
    """In int8 on the processor by onnxruntime, else by torch in float32."""
    where = "cpu" if precision == "int8" and not maybe_accelerated(device) else choose_device(device)
    if precision == "int8" and where.startswith("cpu"):
        from lightmem_cli.local_models.token_model_onnx import OnnxTokenModel

        return OnnxTokenModel(folder, name=name, shape=shape, progress=progress, without=without)
    from lightmem_cli.local_models.token_model_torch import TorchTokenModel

    progress(f"loading {name} on {where} …")
    return TorchTokenModel(folder, name=name, shape=shape, device=where, without=without)


class _Window(NamedTuple):
    messages: tuple[Message, ...]
    reading: Reading
    in_parts: bool  # one long message, which has no attention


class TokenPass:
    """A token classifier that remembers the last windows it read. Threads may share one: they take turns."""

    def __init__(self, model: TokenModel, *, splitter: Splitter, window: int) -> None:
        self._model = model
        self._splitter = splitter
        self._limit = window - 2
        self._passes = 0
        self._windows: list[_Window] = []  # the latest last
        self._turn = RLock()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def passes(self) -> int:
        return self._passes

    def pieces(self, text: str) -> Pieces:
        with self._turn:
            return self._splitter.pieces(text)

    def read(self, messages: Sequence[Message], *, attention: bool = False) -> Reading:
        wanted = tuple(messages)
        if not wanted:
            return Reading([], _nothing() if attention else None)
        with self._turn:
            for window in reversed(self._windows):
                found = _part(window, wanted, attention=attention)
                if found is not None:
                    return found
            window = self._read(wanted, attention=attention)
            self._windows = [*self._windows, window][-_REMEMBERED:]
            return window.reading

    def _read(self, messages: tuple[Message, ...], *, attention: bool) -> _Window:
        import numpy as np

        texts = [self._splitter.pieces(message.content).ids for message in messages]
        ids = [piece for text in texts for piece in text]
        if len(ids) > self._limit:
            if len(messages) > 1:
                raise ValueError(f"{len(messages)} messages of {len(ids)} tokens are no window of {self._limit}")
            parts = [self._pass(part, attention=False)[0] for part in self._parts(ids)]
            return _Window(messages, Reading([_frozen(np.concatenate(parts))], None), in_parts=True)
        keep, attends = self._pass(ids, attention=attention)
        ends = np.cumsum([len(text) for text in texts])[:-1]
        return _Window(messages, Reading(np.split(keep, ends), attends), in_parts=False)

    def _pass(self, ids: Sequence[int], *, attention: bool) -> tuple[Vectors, Vectors | None]:
        """One forward pass over tokens of text, between the special ones."""
        import numpy as np

        if not ids:
            return np.empty(0, np.float32), _nothing() if attention else None
        before, behind = self._splitter.edges
        self._passes += 1
        keep, attends = self._model.run([before, *ids, behind], attention=attention)
        return _frozen(keep[1:-1]), None if attends is None else _rows_of_one(attends[1:-1, 1:-1])

    def _parts(self, ids: Sequence[int]) -> list[Sequence[int]]:
        """The tokens of a long text in parts that each fit a window, and end with a sentence where one ends there."""
        parts = []
        begin = 0
        while len(ids) - begin > self._limit:
            most = begin + self._limit
            end = next((n for n in range(most, begin, -1) if self._splitter.ends_sentence(ids[n - 1])), most)
            parts.append(ids[begin:end])
            begin = end
        return [*parts, ids[begin:]]


def _part(window: _Window, wanted: tuple[Message, ...], *, attention: bool) -> Reading | None:
    """What a window says of `wanted`, where they stand in it next to each other; else None.

    Attention is only ever that of the window itself. What is left of a window when a topic is cut off is read anew:
    another process, which remembers nothing, must come to the same cuts.
    """
    keep, attends = window.reading
    if wanted == window.messages:
        known = not attention or attends is not None or window.in_parts
        return Reading(keep, attends if attention else None) if known else None
    if attention:
        return None
    places = range(len(window.messages) - len(wanted) + 1)
    first = next((place for place in places if window.messages[place : place + len(wanted)] == wanted), None)
    return None if first is None else Reading(keep[first : first + len(wanted)], None)


def _rows_of_one(attends: Vectors) -> Vectors:
    """`attends` with rows that sum to 1; a token that attends to nothing else of these attends to all alike."""
    import numpy as np

    totals = attends.sum(axis=1, keepdims=True)
    some = totals > 0
    alike = np.float32(1 / len(attends))
    return _frozen(np.where(some, attends / np.where(some, totals, 1), alike))


def _frozen(array: Vectors) -> Vectors:
    """`array`, which a window remembers, so that nobody changes it."""
    array.setflags(write=False)
    return array


def _nothing() -> Vectors:
    """The attention of no tokens."""
    import numpy as np

    return np.empty((0, 0), np.float32)
