"""States what a language model is asked about a conversation, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from lightmem_cli.errors import BadReply, ModelError, Rejected, TooLong
from lightmem_cli.protocols import JsonSchema, Prompt
from lightmem_cli.records import Usage

Purpose: TypeAlias = Literal["extract", "update", "summarize", "ask", "probe"]

LESS_MAY_DO: Final = (BadReply, TooLong, Rejected)  # what a request about less at once may be spared

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[Value]):
    """One thing to ask, and how to `read` the reply: what it says, or BadReply, whose message the model is shown.

    `version` is that of the prompt ("facts-1"), `most` the tokens that the reply may have. `messages` are history's
    integers of those whose words are in the prompt, in whatever wording: a purge finds by them what it must erase. Only
    where a reply need not be `whole` is one that was cut off read, too. `again`: it failed in an earlier run. `least`:
    there is no less to ask about.
    """

    purpose: Purpose
    version: str
    prompt: Prompt
    most: int
    messages: tuple[int, ...]
    read: Callable[[str], Value]
    schema: JsonSchema | None = None
    whole: bool = True
    again: bool = False
    least: bool = True


class Answered(NamedTuple, Generic[Value]):
    """A request with what its reply said, or with the `fault` that nothing could be done about; and what it cost.

    Where it is not `whole`, it was cut off, which only a request that takes that as well is told so.
    """

    request: Request[Value]
    value: Value | None
    fault: ModelError | None
    usage: Usage
    whole: bool = True
