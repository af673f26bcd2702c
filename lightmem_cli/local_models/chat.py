"""Writes a reply about a conversation with a chat model in this process, token by token.

Importing torch and transformers costs about 4 s.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lightmem_cli.errors import MissingPart, ModelError, Unavailable
from lightmem_cli.local_models.causal_files import load_weights
from lightmem_cli.local_models.chat_tokens import Asked, ChatTokens
from lightmem_cli.local_models.choice import Choice, Sampling
from lightmem_cli.local_models.constraint import Constraint, Vocabulary
from lightmem_cli.protocols import JsonSchema

if TYPE_CHECKING:
    import torch

_KEPT: Final = 4  # prefixes whose keys and values stay in memory: one per task; 1,000 tokens of an 8B model are 128 MB
_CACHES: Final = ("past_key_values", "cache_params")  # how a model's forward names what it computed so far
_NO_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


class Written(NamedTuple):
    """A reply's tokens, whether it is whole, and how many tokens of the prompt had not to be computed again."""

    ids: list[int]
    whole: bool
    reused: int


class ChatModel:
    """A causal language model that continues a prompt. One thread may use it at a time.

    One with a running state beside its attention (Mamba, LFM2, Qwen3-Next) reads a whole prompt anew at each call.
    A prompt is computed in two passes, its fixed part and the rest, whether the first is remembered or not: so a reply
    does not depend, not even by rounding, on what was asked before.
    """

    def __init__(self, folder: Path, tokens: ChatTokens, *, device: str, keep: bool, hint: str) -> None:
        """`keep`: what was computed of the fixed parts of prompts stays in memory.

        Raises:
            MissingPart: the weights cannot be read, or are no chat model's.
            Unavailable: there is not enough memory for them.
        """
        with _told_in_a_line(Unavailable):
            self._model = load_weights(folder, device, dtype=_precision(device), hint=hint)
        self._device = device
        self._keep = keep
        self._kept: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        takes = inspect.signature(self._model.forward).parameters
        self._cache_name = next((name for name in _CACHES if name in takes), "")
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        if not self._cache_name:
            raise MissingPart(f"the model in {folder} cannot be used: it does not hand out what it computed", hint=hint)
        rows = self._model.get_input_embeddings().weight.shape[0]
        if tokens.size > rows:  # beside marks that were added later, and are never read
            raise MissingPart(
                f"in {folder} the tokenizer is another model's: {tokens.size} tokens, {rows} rows", hint=hint
            )
        self._parts = self._cache_name == _CACHES[0] and _in_parts(self._new_cache())
        self._ends = tokens.ends | _listed(self._model.generation_config.eos_token_id)
        if not self._ends:
            raise MissingPart(f"the model in {folder} has no token that ends a reply", hint=hint)
        self._tokens = tokens
        self._vocabulary: Vocabulary | None = None

    @property
    def about(self) -> str:
        """Its size, precision and device."""
        size = self._model.num_parameters()
        shown = next((f"{size / n:.1f}{name}" for n, name in ((1e9, "B"), (1e6, "M")) if size >= n), f"{size:,}")
        return f"{shown} parameters, {str(self._model.dtype).removeprefix('torch.')} on {self._device}"

    def constraint(self, schema: JsonSchema) -> Constraint:
        """
        Raises:
            ModelError: the model cannot be held to this schema.
            MissingPart: it cannot be held to any.
        """
        if self._vocabulary is None:
            out = self._model.get_output_embeddings() or self._model.get_input_embeddings()
            self._vocabulary = Vocabulary(self._tokens.tokenizer, size=out.weight.shape[0], ends=self._ends)
        return Constraint(self._vocabulary, schema)

    def write(
        self,
        asked: Asked,
        *,
        most: int,
        sampling: Sampling,
        constraint: Constraint | None,
        told: Callable[[list[int]], None],
    ) -> Written:
        """Up to `most` tokens that follow `asked`; `told` gets them as they come, but for the one that ends them.

        Raises:
            ModelError: there is not enough memory, or the model computes what is no number.
        """
        choice = Choice(sampling.recommended(self._model.generation_config))
        try:
            return self._write(asked, most=most, choice=choice, constraint=constraint, told=told)
        except ModelError:
            self._kept.clear()  # it may be their memory that is missing
            raise

    def _write(
        self,
        asked: Asked,
        *,
        most: int,
        choice: Choice,
        constraint: Constraint | None,
        told: Callable[[list[int]], None],
    ) -> Written:
        import torch

        with torch.inference_mode(), _told_in_a_line():
            cache, reused = self._begun(asked)
        made: list[int] = []
        first = True
        unread = asked.ids[asked.fixed if self._parts else 0 :]
        while True:
            # What the grammar forces is not asked for: it is read together with what comes before it.
            if constraint is not None and (forced := constraint.forced()[: most - len(made)]):
                constraint.took(forced)
                told(forced)
                made, unread = made + forced, unread + forced
            if constraint is not None and constraint.done:
                return Written(made, True, reused)
            if len(made) >= most:
                return Written(made, False, reused)
            with torch.inference_mode(), _told_in_a_line():
                scores = self._read(cache, unread, at_once=self._parts or first)
                token = choice.next(scores, ids=asked.ids + made, constraint=constraint)
            first = False
            made.append(token)
            if token in self._ends:
                return Written(made, True, reused)
            if constraint is not None:
                constraint.took([token])
            told([token])
            unread = [token]

    def _begun(self, asked: Asked) -> tuple[Any, int]:
        """What is computed of a prompt's fixed part, for one reply, and how many of its tokens were so before."""
        if not self._parts or not asked.fixed:
            return self._new_cache(), 0
        fixed = tuple(asked.ids[: asked.fixed])
        if fixed in self._kept:
            self._kept.move_to_end(fixed)
            return copy.deepcopy(self._kept[fixed]), len(fixed)
        cache = self._new_cache()
        self._read(cache, fixed, at_once=True)
        if self._keep:
            self._kept[fixed] = copy.deepcopy(cache)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return cache, 0

    def _read(self, cache: Any, ids: Sequence[int], *, at_once: bool) -> torch.Tensor:
        """The scores of each token to come after `ids`, which follow what is in `cache`, shape (tokens,)."""
        import torch

        for part in [ids] if at_once else [[id] for id in ids]:
            row = torch.tensor([part], device=self._device)
            how = {self._cache_name: cache, "use_cache": True, **self._last_only}
            scores: torch.Tensor = self._model(input_ids=row, **how).logits[0, -1]
        return scores

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self._model.config.get_text_config(decoder=True))


@contextmanager
def _told_in_a_line(kind: type[ModelError] = ModelError) -> Iterator[None]:
    """Make one error of `kind` of what torch says where it gets no more memory, or where something else goes wrong."""
    try:
        yield
    except (RuntimeError, IndexError, MemoryError) as error:
        first = str(error).strip().partition("\n")[0]
        if isinstance(error, MemoryError) or any(words in first.lower() for words in _NO_MEMORY):
            hint = "take a smaller model, or a lower llm.context, or lightmem config set llm.device cpu"
            raise kind("there is not enough memory for the model and this prompt", hint=hint) from error
        raise kind(f"the model failed: {first}") from error


def _precision(device: str) -> torch.dtype:
    import torch

    if device == "cpu":
        return torch.float32
    if device.startswith("cuda") and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def _in_parts(cache: Any) -> bool:
    """Whether a model with such a cache reads a text in parts as it reads it whole: each layer attends to all of it."""
    return not any(hasattr(layer, "update_recurrent_state") for layer in cache.layers)


def _listed(ids: int | list[int] | None) -> frozenset[int]:
    return frozenset([ids] if isinstance(ids, int) else ids or [])
