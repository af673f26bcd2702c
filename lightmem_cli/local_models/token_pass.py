"""Reads a window of a conversation's messages in one forward pass: which tokens to keep, and what attends to what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lightmem_cli.local_models.minilm import Precision
    from lightmem_cli.protocols import Progress, TokenReader

DEFAULT_MODEL: Final = "microsoft/llmlingua-2-bert-base-multilingual-cased-meetingbank"


def open_token_pass(model: str, *, device: str, precision: Precision, progress: Progress) -> TokenReader:
    """Open a token-classification model of BERT's or XLM-RoBERTa's kind by Hub name or folder.

    Raises:
        MissingPart: it is not on this machine, or is not such a model.
    """
    raise NotImplementedError
