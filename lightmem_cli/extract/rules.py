"""Makes facts of what a conversation's people say, with no language model: one of each sentence that says enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightmem_cli.language.information import rarest
from lightmem_cli.language.names import entities
from lightmem_cli.language.statements import Statement, statements
from lightmem_cli.language.times import find_times
from lightmem_cli.records import Entry, Kind, Message, Roles, entry_id

# 1.8 facts a turn on LoCoMo's conv-41. Of its model-written observations .88 have a fact of their own turn at cosine .6
# and .74 at .7 (with nothing left out, at 2.9 a turn, .92 and .76).
THRESHOLD = 0.2
_KEYWORDS = 6

_LONGEST = 600  # characters: what is longer is pasted code or a table, and is found as its turn


@dataclass(frozen=True, slots=True)
class RuleExtractor:
    """Takes the statements of `roles` whose information reaches `threshold`; questions are none.

    A message's facts depend on that message alone.
    """

    roles: Roles = "user"
    threshold: float = THRESHOLD

    def extract(self, messages: Sequence[Message]) -> list[Entry]:
        return [fact for message in messages if message.is_of(self.roles) for fact in self._facts(message)]

    def _facts(self, message: Message) -> Iterator[Entry]:
        seen: set[str] = set()
        for statement in statements(message):
            folded = " ".join(statement.text.casefold().split())
            if statement.is_question or statement.information < self.threshold or folded in seen:
                continue
            if "```" in statement.text or len(statement.text) > _LONGEST:
                continue
            seen.add(folded)
            yield _fact(statement, message)


def _fact(statement: Statement, message: Message) -> Entry:
    times = find_times(statement.sentence, message.said_at)
    return Entry(
        id=entry_id(Kind.FACT, message.conversation, message.session, statement.text, [message.key]),
        kind=Kind.FACT,
        text=statement.text,
        conversation=message.conversation,
        session=message.session,
        sources=(message.key,),
        speaker=message.speaker,
        agent=message.agent,
        said_at=message.said_at,
        happened=times[0].range if times else None,
        importance=round(statement.information, 3),
        keywords=rarest(statement.sentence, count=_KEYWORDS),
        entities=entities(statement.sentence),
    )
