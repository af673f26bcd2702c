"""Reads a message with a causal language model: how many bits of news each of its tokens is, given those before it.

Importing torch and transformers costs about 4 s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.device import choose_device
from lightmem_cli.local_models.folders import model_folder
from lightmem_cli.local_models.token_weights import not_finite

if TYPE_CHECKING:
    from lightmem_cli.protocols import Progress

WITHOUT: Final = 'without it: lightmem config set compress.model ""    (word frequencies, no model)'
_WINDOW: Final = 512  # tokens read at once, where the model can: 300 MB of scores for 150,000 kinds of token
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # how such a model's class is named
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no tokenizer takes


class TokenNews(NamedTuple):
    """A token: its characters of the text, [begin, end), and -log2 of its probability given the tokens before it."""

    begin: int
    end: int
    bits: float


def open_causal_model(name: str, *, device: str, progress: Progress) -> CausalModel:
    """Open a causal language model by Hub name or folder; nothing is downloaded.

    Raises:
        MissingPart: it is not on this machine, or is not such a model, or the device is not there.
        ProfileError: torch knows no such device.
    """
    folder = model_folder(name, without=WITHOUT)
    where = choose_device(device)
    progress(f"loading {name} on {where} …")
    return CausalModel(folder, device=where)


class CausalModel:
    """A causal language model with its tokenizer; in float32 on a cpu, elsewhere in its own precision."""

    def __init__(self, folder: Path, *, device: str) -> None:
        self._tokenizer = _load_tokenizer(folder)
        self._model = _load_model(folder, device)
        self._device = device
        config = self._model.config.get_text_config()
        self._window = min(_WINDOW, int(getattr(config, "max_position_embeddings", None) or _WINDOW))
        self._any_token = math.log2(config.vocab_size)

    def information(self, text: str) -> list[TokenNews]:
        """The tokens of `text`, in order.

        The first one follows the token that begins a text; where the model has none, it is as surprising as any. What
        is longer than a window is read in several: of each but the first, the first half is what was read before.
        """
        read = self._tokenizer(
            _SURROGATE.sub("\ufffd", text),
            add_special_tokens=False,
            split_special_tokens=True,  # "</s>" in a message is text, not the end of one
            return_offsets_mapping=True,
            verbose=False,
        )
        bits = self._bits(read["input_ids"])
        return [TokenNews(begin, end, news) for (begin, end), news in zip(read["offset_mapping"], bits, strict=True)]

    def _bits(self, ids: Sequence[int]) -> list[float]:
        if not ids:
            return []
        begins = self._tokenizer.bos_token_id
        bits = [self._any_token] if begins is None else []
        row = [*ids] if begins is None else [begins, *ids]
        bits += self._news(row[: self._window])
        known = self._window // 2
        for begin in range(self._window, len(row), self._window - known):
            end = begin + self._window - known
            bits += self._news(row[begin - known : end])[known - 1 :]
        return bits

    def _news(self, ids: Sequence[int]) -> list[float]:
        """The bits of each of `ids` but the first, given those before it."""
        import torch

        with torch.inference_mode():
            row = torch.tensor([ids], device=self._device)
            scores = self._model(input_ids=row, use_cache=False).logits[0, :-1].float()
            chosen = scores.gather(1, row[0, 1:, None])[:, 0]
            nats = torch.logsumexp(scores, dim=-1) - chosen
            found: list[float] = (nats / math.log(2)).cpu().tolist()
        return found


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    _refuse_other_kinds(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises nothing narrower
        raise _unreadable("tokenizer", folder, error) from error
    # Where the files are missing, transformers makes a tokenizer of special tokens alone.
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise MissingPart(f"{folder} has no fast tokenizer: there is no tokenizer.json", hint=WITHOUT)
    return tokenizer


def _refuse_other_kinds(folder: Path) -> None:
    """Raise MissingPart for what transformers would make into a causal model all the same, as it does of a BERT."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable("config.json", folder, error) from error
    kinds = config.architectures or []
    if config.is_encoder_decoder or (kinds and not any(kind.endswith(_CAUSAL) for kind in kinds)):
        raise MissingPart(f"{folder} is a {' or '.join(kinds)}, not a causal language model", hint=WITHOUT)


def _load_model(folder: Path, device: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if device == "cpu" else "auto",
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unreadable("weights", folder, error) from error
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise MissingPart(f"the weights in {folder} lack {missing[0]} ({len(missing)} in all)", hint=WITHOUT)
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise not_finite(name, folder, anew=WITHOUT)
    return model.to(device).eval()


def _unreadable(part: str, folder: Path, error: Exception) -> MissingPart:
    first = str(error).strip().partition("\n")[0]
    return MissingPart(f"the {part} in {folder} cannot be read: {first}", hint=WITHOUT)
