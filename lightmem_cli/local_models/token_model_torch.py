"""Reads a window of a conversation with a token classifier in float32 on any device, through torch and transformers.

Importing both costs about 4 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.folders import fetched_anew
from lightmem_cli.local_models.token_shape import WITHOUT, Shape, attentive_layers
from lightmem_cli.local_models.token_weights import not_finite

if TYPE_CHECKING:
    from lightmem_cli.protocols import Vectors


class TorchTokenModel:
    """transformers' own model; attention is written out ("eager"), since the fused kind keeps no probabilities."""

    def __init__(self, folder: Path, *, name: str, shape: Shape, device: str, without: str = WITHOUT) -> None:
        self._model = _load(folder, device, anew=fetched_anew(name, without=without))
        self._layers = attentive_layers(shape.layers)
        self._device = device

    def run(self, ids: Sequence[int], *, attention: bool) -> tuple[Vectors, Vectors | None]:
        """The probability of each token of a window to be kept, and how much each attends to each, if wanted."""
        import torch

        with torch.inference_mode():
            window = torch.tensor([ids], device=self._device)
            out = self._model(input_ids=window, output_attentions=attention)
            keep = torch.softmax(out.logits.float(), dim=-1)[0, :, 1].cpu().numpy()
            if not attention:
                return keep, None
            total = sum(layer[0].mean(dim=0) for layer in out.attentions[-self._layers :])
            return keep, (total / self._layers).cpu().numpy()


def _load(folder: Path, device: str, *, anew: str) -> Any:
    """The model, on `device`; `anew` is the hint where its weights are not right."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model, found = AutoModelForTokenClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are looked at below, and said in one line
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise MissingPart(f"the weights in {folder} cannot be read: {first}", hint=anew) from error
    if missing := sorted(found["missing_keys"]):
        raise MissingPart(f"the weights in {folder} lack {missing[0]}", hint=anew)
    for name, *shapes in sorted(found["mismatched_keys"]):
        there, wanted = (tuple(shape) for shape in shapes)
        raise MissingPart(f"in the weights of {folder}, {name} has the shape {there}, not {wanted}", hint=anew)
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise not_finite(name, folder, anew=anew)
    return model.to(device).eval()
