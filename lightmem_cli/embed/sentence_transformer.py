"""Embeds a conversation's text with any sentence-transformers model that is on this machine, by Hub name or by path.

Texts go through the model one by one: in a batch the shorter ones are padded, and a vector's last bits then depend on
its neighbours, on the CPU in float32 too. Importing sentence_transformers costs 4 to 6.5 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lightmem_cli.embed.windows import windows
from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models import minilm
from lightmem_cli.local_models.device import choose_device
from lightmem_cli.local_models.folders import model_folder
from lightmem_cli.local_models.surrogates import well_formed
from lightmem_cli.records import Space

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from lightmem_cli.protocols import Progress, Vectors


_WITHOUT: Final = "without it: lightmem config set embed.use onnx"


class SentenceTransformerEmbedder:
    """A sentence-transformers model in float32; without a name, the all-MiniLM-L6-v2 that is installed as a package.

    Nothing is downloaded: MissingPart names the command that does. The model is loaded when first needed.
    """

    def __init__(self, *, model: str | None, device: str, progress: Progress) -> None:
        self._name = model or minilm.NAME
        self._source = model
        self._device = device
        self._progress = progress

    @cached_property
    def space(self) -> Space:
        """Its revision is a hash of the weights, so that a renamed folder or a new download changes nothing."""
        return Space(
            name=self._name,
            revision=f"fp32-{_weights_hash(self._model)}",
            dimension=self._model.encode("").shape[-1],
        )

    def windows(self, text: str) -> list[str]:
        return windows(text, self._tokenizer, limit=self._limit)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, float32, (len(texts), dimension); what exceeds the model's window is cut off."""
        import numpy as np

        vectors = np.empty((len(texts), self.space.dimension), np.float32)
        for n, text in enumerate(texts):
            vector = self._model.encode(well_formed(text), show_progress_bar=False, convert_to_numpy=True)
            vectors[n] = vector / np.maximum(np.sqrt((vector * vector).sum()), np.float32(1e-12))
        return vectors

    def _folder(self) -> Path:
        if self._source:
            return model_folder(self._source, owner="sentence-transformers", without=_WITHOUT)
        return minilm.model_folder()

    @cached_property
    def _model(self) -> Any:
        folder = self._folder()
        device = choose_device(self._device)
        self._progress(f"loading {self._name} on {device} …")
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except (
            OSError,
            ValueError,
            KeyError,
        ) as error:  # what transformers raises over files that are absent or broken
            raise MissingPart(f"{folder} holds no model that can be read: {error}", hint=_WITHOUT) from error
        return model.float().eval()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """A copy of the model's tokenizer that neither pads nor truncates."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self._model.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _limit(self) -> int:
        """How many tokens of a text the model reads, without the special ones it adds."""
        added: int = self._model.tokenizer.num_special_tokens_to_add()
        longest: int = self._model.max_seq_length or self._model.tokenizer.model_max_length
        return longest - added


def _weights_hash(model: Any) -> str:
    """The first eight hexadecimal digits of a hash over the model's tensors and their names (90 MB: 0.1 s)."""
    from hashlib import sha256

    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:8]
