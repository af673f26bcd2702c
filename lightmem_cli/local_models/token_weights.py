"""Reads the weights of a model that says what to keep of a conversation, from safetensors files, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.token_shape import WITHOUT, Family, Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ENCODERS: Final[dict[Family, str]] = {"bert": "bert.", "xlm-roberta": "roberta."}
_CLASSIFIER: Final = "classifier."


def weight_files(folder: Path, *, anew: str = WITHOUT, without: str = WITHOUT) -> list[Path]:
    """The safetensors files of the model in `folder`, one or many.

    `anew` is the hint where they are not right, `without` says how to do without the model.

    Raises:
        MissingPart: there are none, or not all.
    """
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MissingPart(f"cannot read {index}: {error}", hint=anew) from error
        files = [folder / Path(name).name for name in names]
        lost = [file.name for file in files if not file.is_file()]
        if lost:
            raise MissingPart(f"{folder} has no {lost[0]}, which holds part of the weights", hint=anew)
        return files
    if (folder / "pytorch_model.bin").is_file():
        raise MissingPart(
            f"int8 is made from model.safetensors, and {folder} has only a .bin", hint=_with_torch(without)
        )
    raise MissingPart(f"{folder} has no weights: there is no model.safetensors", hint=anew)


class Tensors(Mapping[str, "NDArray[np.float32]"]):
    """The tensors whose names begin with `prefix`, by the rest of their name, in float32, read when asked for.

    Raises MissingPart, with the hint `anew`, for one that holds what is no number, or too large for float32.
    """

    def __init__(self, places: dict[str, Any], prefix: str, *, folder: Path, anew: str) -> None:
        self._places = places
        self._prefix = prefix
        self._folder = folder
        self._anew = anew

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        import numpy as np

        full = self._prefix + name
        with np.errstate(all="ignore"):
            array: NDArray[np.float32] = self._places[full].get_tensor(full).astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise not_finite(full, self._folder, anew=self._anew)
        return array

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._places if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def open_weights(
    files: list[Path], *, shape: Shape, anew: str = WITHOUT, without: str = WITHOUT
) -> tuple[Tensors, Tensors]:
    """The encoder's tensors and the classifier's, each of the shape that `shape` says. `anew`, `without`: as in
    `weight_files`.

    Raises:
        MissingPart: a file is broken, a tensor is not there or has another shape, or int8 is not made of such a model.
    """
    from safetensors import SafetensorError, safe_open

    if shape.activation != "gelu":
        raise MissingPart(f"int8 is made of models with gelu, not with {shape.activation}", hint=_with_torch(without))
    places: dict[str, Any] = {}
    for file in files:
        try:
            opened = safe_open(file, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise MissingPart(f"the weights in {file} cannot be read: {error}", hint=anew) from error
        places |= dict.fromkeys(opened.keys(), opened)  # type: ignore[no-untyped-call]
    for name, wanted in _expected(shape).items():
        if name not in places:
            raise MissingPart(f"the weights in {files[0].parent} lack {name}", hint=anew)
        part = places[name].get_slice(name)
        if tuple(part.get_shape()) != wanted:
            found = f"has the shape {tuple(part.get_shape())}, not {wanted}"
            raise MissingPart(f"in the weights of {files[0].parent}, {name} {found}", hint=anew)
        if part.get_dtype() not in ("F32", "F16", "F64"):
            raise MissingPart(f"int8 is not made of weights kept as {part.get_dtype()}", hint=_with_torch(without))
    prefixes = (_ENCODERS[shape.family], _CLASSIFIER)
    encoder, classifier = (Tensors(places, prefix, folder=files[0].parent, anew=anew) for prefix in prefixes)
    return encoder, classifier


def _with_torch(without: str) -> str:
    return f"lightmem config set compress.precision fp32    ({without})"


def not_finite(name: str, folder: Path, *, anew: str) -> MissingPart:
    """What is wrong with weights whose tensor `name` is damaged; `anew` is the hint."""
    return MissingPart(f"the weights in {folder} are damaged: {name} holds what is no finite number", hint=anew)


def _expected(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor that is needed, with its shape."""
    width, inner = shape.width, shape.inner
    found: dict[str, tuple[int, ...]] = {}

    def dense(name: str, outputs: int, inputs: int) -> None:
        found[f"{name}.weight"] = outputs, inputs
        found[f"{name}.bias"] = (outputs,)

    def norm(name: str) -> None:
        found[f"{name}.LayerNorm.weight"] = found[f"{name}.LayerNorm.bias"] = (width,)

    root = _ENCODERS[shape.family]
    for table, rows in (("word", shape.vocabulary), ("position", shape.positions), ("token_type", shape.types)):
        found[f"{root}embeddings.{table}_embeddings.weight"] = rows, width
    norm(f"{root}embeddings")
    for number in range(shape.layers):
        layer = f"{root}encoder.layer.{number}."
        for part in ("query", "key", "value"):
            dense(f"{layer}attention.self.{part}", width, width)
        dense(f"{layer}attention.output.dense", width, width)
        norm(f"{layer}attention.output")
        dense(f"{layer}intermediate.dense", inner, width)
        dense(f"{layer}output.dense", width, inner)
        norm(f"{layer}output")
    dense("classifier", 2, width)
    return found
