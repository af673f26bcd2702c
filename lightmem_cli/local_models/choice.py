"""Chooses the next token of what a model writes about a conversation: the likeliest, or one by chance from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightmem_cli.errors import ModelError

if TYPE_CHECKING:
    import torch

    from lightmem_cli.local_models.constraint import Constraint


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a reply is chosen. What is None is as the model's makers recommend, if they do."""

    temperature: float = 0  # 0: always the likeliest token
    seed: int = 0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def recommended(self, config: Any) -> Sampling:
        """The same, with what a model's generation_config.json says of the likeliest tokens to choose among.

        Its penalty for repetitions is not taken: facts repeat the words that they are made of.
        """
        return Sampling(
            temperature=self.temperature,
            seed=self.seed,
            top_k=self.top_k if self.top_k is not None else getattr(config, "top_k", None),
            top_p=self.top_p if self.top_p is not None else getattr(config, "top_p", None),
            min_p=self.min_p if self.min_p is not None else getattr(config, "min_p", None),
            repetition_penalty=self.repetition_penalty,
        )


class Choice:
    """Chooses the tokens of one reply. The same seed and the same scores are the same reply, on any device."""

    def __init__(self, sampling: Sampling) -> None:
        import torch
        from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

        self._sampling = sampling
        self._chance = torch.Generator().manual_seed(sampling.seed)
        self._narrow = _narrowing(sampling) if sampling.temperature else None
        self._before: Any = LogitsProcessorList()
        if sampling.repetition_penalty:
            self._before.append(RepetitionPenaltyLogitsProcessor(penalty=sampling.repetition_penalty))

    def next(self, scores: torch.Tensor, *, ids: Sequence[int], constraint: Constraint | None) -> int:
        """The token after `ids`, by `scores`, shape (tokens,), among those that the `constraint` lets through.

        Raises:
            ModelError: there is none: the model computes what is no number.
        """
        import torch

        row = torch.tensor([ids if self._before else []], device=scores.device)  # only the penalty reads it
        scores = self._before(row, scores[None].float())
        if constraint is not None:
            scores = constraint.mask(scores)
        if not torch.isfinite(scores.max()):
            raise ModelError(
                "the model computes what is no number", hint="lightmem config set llm.device cpu    (slower, but exact)"
            )
        if self._narrow is None:
            return int(scores.argmax())
        chances = torch.softmax(self._narrow(row, scores)[0], dim=-1).cpu()
        return int(torch.multinomial(chances, 1, generator=self._chance))


def _narrowing(sampling: Sampling) -> Any:
    """What leaves the tokens to choose among, each with its score at the temperature."""
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps: Any = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
    if sampling.top_k:
        steps.append(TopKLogitsWarper(top_k=sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1:
        steps.append(TopPLogitsWarper(top_p=float(sampling.top_p)))
    if sampling.min_p:
        steps.append(MinPLogitsWarper(min_p=float(sampling.min_p)))
    return steps
