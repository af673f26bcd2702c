"""Shortens a conversation's messages for a language model: what says little goes, what must be right stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never, get_args

if TYPE_CHECKING:
    from lightmem_cli.protocols import Compressor, Progress, TokenReader
    from lightmem_cli.records import Roles

Use: TypeAlias = Literal["llmlingua2", "entropy"]
Keep: TypeAlias = Literal["digits", "names", "negations", "dates", "quotes", "code", "urls"]
ALL_KEPT: tuple[Keep, ...] = get_args(Keep)


@dataclass(frozen=True, slots=True)
class HowToShorten:
    """The choices that the compressors have.

    `reader` opens LLMLingua-2's model, called `model`, in `precision`, when first needed; for `entropy`, `model` is the
    name or folder of a causal language model, or "" for word frequencies. `minimum` is in tokens, of each message.
    `roles` are those whose messages are shortened. `exact` decides as the llmlingua package does.
    """

    reader: Callable[[], TokenReader]
    model: str
    rate: float
    minimum: int
    keep: tuple[Keep, ...]
    roles: Roles
    surprise: Literal["average", "first"]
    device: str
    progress: Progress
    precision: Literal["int8", "fp32"] = "int8"
    exact: bool = False


def open_compressor(use: Use, how: HowToShorten) -> Compressor:
    """Open the compressor `use`; models load when the first message comes."""
    match use:
        case "llmlingua2":
            from lightmem_cli.compress.llmlingua2 import LLMLingua2Compressor

            return LLMLingua2Compressor(how)
        case "entropy":
            from lightmem_cli.compress.entropy import EntropyCompressor

            return EntropyCompressor(how)
        case _:
            assert_never(use)
