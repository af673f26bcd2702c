"""Reads the files of a causal language model, which reads or continues a conversation, from a folder of this machine.

Importing torch and transformers costs about 4 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.token_weights import not_finite

if TYPE_CHECKING:
    import torch

_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # how such a model's class is named


def load_tokenizer(folder: Path, *, hint: str) -> Any:
    """transformers' fast tokenizer of a causal model; `hint` is that of every error.

    Raises:
        MissingPart: it is not there or cannot be read, or the model is of another kind.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    _refuse_other_kinds(folder, hint)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises nothing narrower
        raise _unreadable("tokenizer", folder, error, hint) from error
    # Where the files are missing, transformers makes a tokenizer of special tokens alone.
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise MissingPart(f"{folder} has no fast tokenizer: there is no tokenizer.json", hint=hint)
    return tokenizer


def _refuse_other_kinds(folder: Path, hint: str) -> None:
    """Raise MissingPart for what transformers would make into a causal model all the same, as it does of a BERT."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable("config.json", folder, error, hint) from error
    kinds = config.architectures or []
    if config.is_encoder_decoder or (kinds and not any(kind.endswith(_CAUSAL) for kind in kinds)):
        raise MissingPart(f"{folder} is a {' or '.join(kinds)}, not a causal language model", hint=hint)


def load_weights(folder: Path, device: str, *, dtype: torch.dtype | str, hint: str) -> Any:
    """transformers' causal model in `dtype` ("auto": as it was saved) on `device`; `hint` is that of every error.

    Raises:
        MissingPart: the weights are not all there, cannot be read, or hold what is no finite number.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise _unreadable("weights", folder, error, hint) from error
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise MissingPart(f"the weights in {folder} lack {missing[0]} ({len(missing)} in all)", hint=hint)
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise not_finite(name, folder, anew=hint)
    return model.to(device).eval()


def _unreadable(part: str, folder: Path, error: Exception, hint: str) -> MissingPart:
    first = str(error).strip().partition("\n")[0]
    return MissingPart(f"the {part} in {folder} cannot be read: {first}", hint=hint)
