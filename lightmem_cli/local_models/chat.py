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
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from lightmem_cli.errors import MissingPart, ModelError, Unavailable
from lightmem_cli.local_models.causal_files import load_weights
from lightmem_cli.local_models.chat_tokens import Asked, ChatTokens
from lightmem_cli.local_models.choice import Choice, Sampling
from lightmem_cli.local_models.constraint import Constraint, Vocabulary
from lightmem_cli.protocols import JsonSchema

if TYPE_CHECKING:
    import torch

_KEPT: Final = 4  # prefixes whose keys and values stay in memory: one per task; 1,000 tokens of an 8B model are 128 MB
# Layers that attend to all that came before them, or to a window of it, as a model's config.json names them. Any other
# kind is read whole, which is right for each and slower: it may keep a state that only grows token by token.
_ATTEND: Final = frozenset({"full_attention", "sliding_attention", "chunked_attention", "indexed_attention"})
_Computed: TypeAlias = dict[str, Any]  # what a model computed so far, by the name that it takes it under
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
        self._folder, self._hint = folder, hint
        self._device = device
        self._keep = keep
        self._kept: OrderedDict[tuple[int, ...], _Computed] = OrderedDict()
        # Where a model takes no such argument, the scores after every token are computed: only memory is lost.
        takes = inspect.signature(self._model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        rows = self._model.get_input_embeddings().weight.shape[0]
        if tokens.size > rows:  # beside marks that were added later, and are never read
            raise MissingPart(
                f"in {folder} the tokenizer is another model's: {tokens.size} tokens, {rows} rows", hint=hint
            )
        self._parts = _in_parts(self._model.config)
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
            MissingPart: the model cannot go on from what it read.
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

    def _begun(self, asked: Asked) -> tuple[_Computed, int]:
        """What is computed of a prompt's fixed part, for one reply, and how many of its tokens were so before."""
        if not self._parts or not asked.fixed:
            return {}, 0
        fixed = tuple(asked.ids[: asked.fixed])
        if fixed in self._kept:
            self._kept.move_to_end(fixed)
            return copy.deepcopy(self._kept[fixed]), len(fixed)
        cache: _Computed = {}
        self._read(cache, fixed, at_once=True)
        if self._keep:
            self._kept[fixed] = copy.deepcopy(cache)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return cache, 0

    def _read(self, cache: _Computed, ids: Sequence[int], *, at_once: bool) -> torch.Tensor:
        """The scores of each token to come after `ids`, which follow what is in `cache`, shape (tokens,).

        What is computed of `ids` goes into `cache`. A model takes it under the name that it hands it out by:
        `past_key_values`, `cache_params` or `cache`, by its kind and the release of transformers.
        """
        import torch
        from transformers import Cache

        for part in [ids] if at_once else [[id] for id in ids]:
            row = torch.tensor([part], device=self._device)
            out = self._model(input_ids=row, use_cache=True, **cache, **self._last_only)
            cache.update((name, value) for name, value in out.items() if isinstance(value, Cache))
            if not cache:
                raise MissingPart(
                    f"the model in {self._folder} cannot be used: it does not hand out what it computed",
                    hint=self._hint,
                )
            scores: torch.Tensor = out.logits[0, -1]
        return scores


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


def _in_parts(config: Any) -> bool:
    """Whether a model reads a text in parts as it reads it whole: each of its layers attends to what came before."""
    kinds = getattr(config.get_text_config(decoder=True), "layer_types", None)
    return kinds is None or _ATTEND.issuperset(kinds)


def _listed(ids: int | list[int] | None) -> frozenset[int]:
    return frozenset([ids] if isinstance(ids, int) else ids or [])
