"""Holds what a model writes about a conversation to a JSON schema: says before each token which ones may come.

The grammar is that of the llguidance library. JSON is written compactly: a model that may write blanks between two
brackets may write nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from lightmem_cli.errors import MissingPart, ModelError
from lightmem_cli.protocols import JsonSchema

if TYPE_CHECKING:
    import torch

# What the library does not know of JSON Schema is left out: the reply is checked by whoever asked.
_COMPACT: Final[dict[str, Any]] = {"whitespace_flexible": False, "lenient": True}
_ANOTHER: Final = "take a model with byte-level BPE or byte fallback, as nearly all chat models have"


class Vocabulary:
    """A model's tokens as llguidance reads them, `size` of them; 0.02 to 1 s to make."""

    def __init__(self, tokenizer: Any, *, size: int, ends: Collection[int]) -> None:
        """`tokenizer` is transformers' fast one; `ends` are the tokens that end a reply.

        Raises:
            MissingPart: the tokens stand for no bytes that the library knows.
        """
        from llguidance.hf import from_tokenizer

        try:
            self.tokens = from_tokenizer(tokenizer, n_vocab=max(size, len(tokenizer)), eos_token=sorted(ends))
        except (ValueError, RuntimeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise MissingPart(f"this model's tokens cannot be held to a schema: {first}", hint=_ANOTHER) from error


class Constraint:
    """One reply on its way: what may come next, after the tokens it `took`."""

    def __init__(self, vocabulary: Vocabulary, schema: JsonSchema) -> None:
        """
        Raises:
            ModelError: no grammar can be made of the schema.
        """
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_COMPACT)  # type: ignore[arg-type]
        self._matcher = LLMatcher(vocabulary.tokens, grammar, log_level=0)
        self._check()

    @property
    def done(self) -> bool:
        """Whether the reply is whole, and nothing more may come."""
        return self._matcher.is_stopped()

    def forced(self) -> list[int]:
        """Tokens that must come next, whatever the model would say."""
        return self._matcher.compute_ff_tokens()

    def took(self, ids: list[int]) -> None:
        """
        Raises:
            ModelError: the grammar has grown beyond the library's limits.
        """
        self._matcher.consume_tokens(ids)
        self._check()

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """`scores`, shape (1, tokens), with -inf for each token that may not come next."""
        import numpy as np
        import torch

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: scores.shape[-1]].astype(bool)
        allowed.resize(scores.shape[-1], refcheck=False)  # rows of the model that no token has: never
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), float("-inf"))

    def _check(self) -> None:
        if self._matcher.is_error():
            first = self._matcher.get_error().strip().partition("\n")[0]
            raise ModelError(f"the model cannot be held to the reply's schema: {first}")
