"""Makes entries of what a language model claims was said, with all that can be told of the turns it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone, tzinfo

from lightmem_cli.extract.claims import Claim
from lightmem_cli.language.information import rarest
from lightmem_cli.language.names import entities
from lightmem_cli.language.times import find_times
from lightmem_cli.records import Entry, Kind, Message, TimeRange, entry_id

_KEYWORDS = 6  # of what the model gave none for


def entry_of(
    claim: Claim, messages: Sequence[Message], *, prompt: str, model: str, metadata: bool, zone: tzinfo
) -> Entry:
    """The entry of `claim`, resting on `messages` in their order: where the first was said, when the last was.

    The model's keywords, category and names are taken with `metadata` alone. `zone` is that of the days it names where
    nobody knows when it was said.
    """
    kind, text = Kind(claim.what), claim.text
    first, sources = messages[0], tuple(message.key for message in messages)
    said_at = next((message.said_at for message in reversed(messages) if message.said_at), None)
    words = dict.fromkeys(word for word in (claim.category, *claim.keywords) if word and metadata)
    return Entry(
        id=entry_id(kind, first.conversation, first.session, text, sources),
        kind=kind,
        text=text,
        conversation=first.conversation,
        session=first.session,
        sources=sources,
        speaker=_alike(message.speaker for message in messages),
        agent=_alike(message.agent for message in messages),
        said_at=said_at,
        happened=_happened(text, said_at, zone=zone),
        importance=0.5 if claim.importance is None else round(claim.importance, 3),
        keywords=tuple(words) or rarest(text, count=_KEYWORDS),
        entities=(claim.entities if metadata else ()) or entities(text),
        prompt=prompt,
        model=model,
    )


def _happened(text: str, said_at: datetime | None, *, zone: tzinfo) -> TimeRange | None:
    """The first time that `text` names; a "yesterday" that the model left is that of `said_at`."""
    found = next((mention.range for mention in find_times(text, said_at)), None)
    if found is None or said_at is not None:
        return found
    return TimeRange(*(_in_zone(moment, zone) for moment in found))


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """The same reading of the clock in `zone`, with the offset that is kept there then."""
    offset = moment.replace(tzinfo=zone).utcoffset()
    return moment if offset is None else moment.replace(tzinfo=timezone(offset))


def _alike(values: Iterable[str | None]) -> str | None:
    """What all `values` are; None where they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None
