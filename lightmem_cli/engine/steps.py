"""Says what one step of work on a conversation came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightmem_cli.engine.topics import Topic
from lightmem_cli.records import Usage


@dataclass(frozen=True, slots=True)
class Done:
    """One step: messages extracted from, entries born of them, entries embedded, topics that ended.

    `unsupported` are those born that their messages do not bear out. `usage` is what a language model took for it, and
    `aside` how many messages it failed on. `stopped` says why no more was asked: the budget.
    """

    extracted: int = 0
    born: int = 0
    embedded: int = 0
    topics: tuple[Topic, ...] = ()
    unsupported: int = 0
    usage: Usage = field(default_factory=Usage)
    aside: int = 0
    stopped: str | None = None

    def __add__(self, other: Done) -> Done:
        return Done(
            extracted=self.extracted + other.extracted,
            born=self.born + other.born,
            embedded=self.embedded + other.embedded,
            topics=self.topics + other.topics,
            unsupported=self.unsupported + other.unsupported,
            usage=self.usage + other.usage,
            aside=self.aside + other.aside,
            stopped=self.stopped or other.stopped,
        )
