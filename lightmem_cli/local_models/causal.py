"""Reads a message with a causal language model: how many bits of news each of its tokens is, given those before it.

Importing torch and transformers costs about 4 s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from lightmem_cli.local_models.causal_files import load_tokenizer, load_weights
from lightmem_cli.local_models.device import choose_device
from lightmem_cli.local_models.folders import model_folder

if TYPE_CHECKING:
    from lightmem_cli.protocols import Progress

WITHOUT: Final = 'without it: lightmem config set compress.model ""    (word frequencies, no model)'
_WINDOW: Final = 512  # tokens read at once, where the model can: 300 MB of scores for 150,000 kinds of token
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
        self._tokenizer = load_tokenizer(folder, hint=WITHOUT)
        self._model = load_weights(folder, device, dtype="float32" if device == "cpu" else "auto", hint=WITHOUT)
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
