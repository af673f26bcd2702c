"""Shortens a conversation's messages to the words that an LLMLingua-2 model would keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from lightmem_cli.compress.choose import Word, choose, joined, share, unless_only_marks_go
from lightmem_cli.compress.exact import choose_exactly, groups_exactly, special_tokens
from lightmem_cli.compress.keep import kept_spans
from lightmem_cli.compress.token_words import as_words, groups_of, token_spans
from lightmem_cli.compress.whose import is_shortened
from lightmem_cli.records import Compressed

if TYPE_CHECKING:
    from lightmem_cli.compress import HowToShorten
    from lightmem_cli.protocols import TokenReader, Vectors
    from lightmem_cli.records import Message

REVISION: Final = 2  # raise it when the same settings come to shorten a text otherwise


class LLMLingua2Compressor:
    """Reads messages a window at a time, in one forward pass each, and holds each message to the rate on its own.

    Messages of other roles, and those that say nothing, stay as they are. They are read with the others: they are what
    the others answer, and a segmenter that has read the same window has read them too. `how.exact` reads each message
    alone, as the llmlingua package does.
    """

    def __init__(self, how: HowToShorten) -> None:
        self._how = how

    @property
    def name(self) -> str:
        from lightmem_cli.local_models.token_pass import DEFAULT_MODEL

        how = self._how
        made = f"llmlingua2-{REVISION} {how.model or DEFAULT_MODEL} {how.precision} rate {how.rate!r} roles {how.roles}"
        if how.exact:
            return f"{made} exact"
        return f"{made} minimum {how.minimum} keep {' '.join(sorted(how.keep)) or 'nothing'}"

    def filled(self, messages: Sequence[Message]) -> int:
        end, full = self._window(messages, 0)
        return end if full else 0

    def compress(self, messages: Sequence[Message]) -> list[Compressed]:
        return [short for window in self._windows(messages) for short in self._shortened(window)]

    @cached_property
    def _reader(self) -> TokenReader:
        return self._how.reader()

    @cached_property
    def _special(self) -> frozenset[int]:
        return special_tokens(self._reader)

    def _windows(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        begin = 0
        while begin < len(messages):
            end, _ = self._window(messages, begin)
            yield messages[begin:end]
            begin = end

    def _window(self, messages: Sequence[Message], begin: int) -> tuple[int, bool]:
        """Where the window that begins with the message at `begin` ends, and whether that is because it is full.

        It holds whole messages. One that is longer than a window is one alone.
        """
        if self._how.exact:
            return min(begin + 1, len(messages)), begin < len(messages)
        tokens = 0
        for place in range(begin, len(messages)):
            tokens += len(self._reader.pieces(messages[place].content).ids)
            if tokens > self._reader.limit:
                return max(place, begin + 1), True
        return len(messages), False

    def _shortened(self, window: Sequence[Message]) -> list[Compressed]:
        takes = [is_shortened(message, roles=self._how.roles) for message in window]
        if self._how.rate >= 1 or not any(takes):
            return [Compressed(message.content, 1.0) for message in window]
        if self._how.exact:
            window = [replace(message, content=message.content.strip()) for message in window]  # the package does
        keep = self._reader.read(window).keep
        return [
            self._short(message.content, probabilities) if taken else Compressed(message.content, 1.0)
            for message, probabilities, taken in zip(window, keep, takes, strict=True)
        ]

    def _short(self, text: str, probabilities: Vectors) -> Compressed:
        words, stays = (self._exactly if self._how.exact else self._chosen)(text, probabilities)
        seen = [place for place, word in enumerate(words) if word.begin < word.end]
        short = joined(text, [words[place] for place in seen], [stays[place] for place in seen])
        return Compressed(short, share(words, stays))

    def _chosen(self, text: str, probabilities: Vectors) -> tuple[list[Word], list[bool]]:
        pieces = self._reader.pieces(text)
        spans = token_spans(text, pieces)
        forced = kept_spans(text, keep=self._how.keep)
        words = as_words(groups_of(text, pieces, spans), spans, probabilities.tolist(), forced=forced)
        rate, minimum = self._how.rate, self._how.minimum
        return words, unless_only_marks_go(
            text, words, choose(words, rate=rate, minimum=minimum), rate=rate, minimum=minimum
        )

    def _exactly(self, text: str, probabilities: Vectors) -> tuple[list[Word], list[bool]]:
        """As the package: what its model does not know is no word, and goes, unless there is nothing else."""
        pieces = self._reader.pieces(text)
        spans = token_spans(text, pieces)
        groups = groups_exactly(pieces, special=self._special)
        if not any(spans[place][0] < spans[place][1] for group in groups for place in group):
            return [], []
        stays = dict(zip(groups, choose_exactly(groups, probabilities, rate=self._how.rate), strict=True))
        within = {place for group in groups for place in range(group[0], group[-1] + 1)}
        stays |= {(place,): False for place in range(len(pieces.ids)) if place not in within}
        return as_words(sorted(stays), spans, probabilities.tolist()), [stays[group] for group in sorted(stays)]
