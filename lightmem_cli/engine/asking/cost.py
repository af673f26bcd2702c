"""Counts what asking about a conversation may cost: before a long run, and call by call within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil

from lightmem_cli.engine import Budget
from lightmem_cli.protocols import JsonSchema, Prompt
from lightmem_cli.records import Usage

_TEMPLATE = 32  # tokens that a server's chat template puts around a prompt, at most
_IN_WORDS = 32  # around a schema, where the server is told it in words
_LONG = 256  # tokens of a prompt in which what is put around it hardly counts
_LEAST = 0.85  # tokens that a server counts for one of ours, at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is still to be asked: calls, the tokens of their prompts, and those that their replies have at most.

    `known` are the requests that the ledger answers for nothing. Repairs, and what replies lead to, are not foreseen.
    """

    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    known: int = 0

    @property
    def said(self) -> str:
        """For a person: "about 18 calls, 20,700 prompt tokens, at most 9,220 of replies"."""
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        known = f"; {self.known:,} more known already" if self.known else ""
        prompts, replies = _rounded(self.prompt_tokens), _rounded(self.reply_tokens)
        return f"about {calls}, {prompts:,} prompt tokens, at most {replies:,} of replies{known}"


class Allowance:
    """Lets calls begin as long as the budget holds what was spent and all that those under way may cost.

    `stopped` says, once that was not so, why not all was asked. Without a budget all is free, and nothing is counted.
    """

    def __init__(self, budget: Budget | None, *, count: Callable[[str], int]) -> None:
        self._budget = budget
        self._count = count
        self._count_prefix = cache(count)  # it is the same for every call
        self._wanted = 0
        self.stopped: str | None = None

    def reserve(self, prompt: Prompt, *, most: int, schema: JsonSchema | None = None, room: int = 0) -> int | None:
        """Set aside the most that a call can cost, as far as that can be known; None where that is too much now.

        What was sent once and read in part takes up to `room` tokens the next time.
        """
        budget = self._budget
        if budget is None:
            return 0
        cost = max(room, self._at_most(prompt, schema=schema, budget=budget) + most)
        if budget.spent + budget.reserved + cost > budget.tokens:
            self._wanted = cost
            return None
        budget.reserved += cost
        return cost

    def release(self, reserved: int, *, spent: int = 0) -> None:
        """Count what a call did cost, for what was set aside."""
        if self._budget is not None:
            self._budget.reserved -= reserved
            self._budget.spent += spent

    def settle(self, prompt: Prompt, *, reserved: int, usage: Usage, schema: JsonSchema | None = None) -> None:
        """The same for a call whose cost the server told; if it counts more tokens than we do, so do we from now on.

        A long prompt shows at which rate; each sets a limit to what may be put around all of them.
        """
        self.release(reserved, spent=usage.tokens)
        budget = self._budget
        if budget is None:
            return
        ours, seen = self.tokens(prompt), usage.prompt_tokens
        if ours >= _LONG:
            budget.rate = max(1.0, budget.rate, seen / (ours + self._count_prefix(_in_words(schema))))
        extra = max(_TEMPLATE, seen - _LEAST * ours)
        budget.extra = extra if budget.extra is None else min(budget.extra, extra)

    def stop(self) -> None:
        """Ask nothing more: the next call might pass the budget."""
        assert self._budget is not None
        spent, tokens = self._budget.spent, self._budget.tokens
        next_one = f"{spent:,} are spent, and the next call may take {self._wanted:,}"
        self.stopped = f"the budget of {tokens:,} tokens would be passed ({next_one})"

    def tokens(self, prompt: Prompt) -> int:
        """The tokens of a prompt, as we count them."""
        return self._count_prefix(prompt.prefix) + self._count(prompt.body)

    def _at_most(self, prompt: Prompt, *, schema: JsonSchema | None, budget: Budget) -> int:
        words = _in_words(schema)
        tokens = self.tokens(prompt) + self._count_prefix(words)
        most = tokens * budget.rate if budget.rate else max(tokens, _careful("".join((*prompt, words))))
        around = _TEMPLATE if budget.extra is None else budget.extra
        return ceil(most + around) + (_IN_WORDS if schema is not None else 0)


def _in_words(schema: JsonSchema | None) -> str:
    """What a server is sent that cannot be told a schema in another way; who can be told may count it all the same."""
    return "" if schema is None else json.dumps(schema, ensure_ascii=False)


def _careful(text: str) -> int:
    """What no server counts `text` for more than: two ASCII characters a token (talk has four), and else each byte."""
    plain = len(text.encode("ascii", "ignore"))
    return ceil(plain / 2) + len(text.encode("utf-8", "surrogatepass")) - plain


def _rounded(number: int) -> int:
    """To three digits."""
    return round(number, min(0, 3 - len(str(number))))
