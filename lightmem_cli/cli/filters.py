"""Reads the options that say which parts of a conversation may answer a question."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from datetime import tzinfo

    from lightmem_cli.records import Filter, Kind

KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help="turn, fact, relation or summary; else all but summary."),
]
SpeakerOption = Annotated[list[str] | None, typer.Option("--speaker", metavar="NAME", help="Only said by them.")]
ConversationOption = Annotated[str | None, typer.Option("--conversation", metavar="NAME", help="Only in this one.")]
SessionOption = Annotated[str | None, typer.Option("--session", metavar="NAME", help="Only in this one.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only said then or later.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only said by then.")]
AsOfOption = Annotated[str | None, typer.Option("--as-of", metavar="TIME", help="What was known then.")]
AskedAtOption = Annotated[
    str | None, typer.Option("--asked-at", metavar="TIME", help='The day that "last week" is meant from; else now.')
]


def read_filter(
    zone: tzinfo,
    *,
    kinds: Sequence[str] | None = None,
    speakers: Sequence[str] | None,
    conversation: str | None,
    session: str | None,
    since: str | None,
    until: str | None,
    as_of: str | None,
) -> Filter:
    """The filter that the options of a query mean; times without an offset are of `zone`."""
    from lightmem_cli.records import Filter

    return Filter(
        kinds=_kinds(kinds or ("turn", "fact", "relation")),
        speakers=tuple(speakers or ()),
        conversation=conversation,
        session=session,
        since=read_moment(since, option="--since", zone=zone),
        until=read_moment(until, option="--until", zone=zone, end_of=True),
        as_of=read_moment(as_of, option="--as-of", zone=zone, end_of=True),
    )


def read_moment(text: str | None, *, option: str, zone: tzinfo, end_of: bool = False) -> datetime | None:
    """A time as typed; a bare day, month or year means its beginning, or (`end_of`) its end."""
    from lightmem_cli.language.timestamps import parse_period

    if text is None:
        return None
    try:
        return parse_period(text, zone=zone, end_of=end_of)
    except ValueError as error:
        raise InputError(
            f"{option}: {error}", hint=f"write it as in {option} 2024-01-15T10:30, 2024-01-15 or 2024-01"
        ) from error


def read_asked_at(text: str | None, *, zone: tzinfo) -> datetime:
    """When a question is asked: as typed, else now."""
    return read_moment(text, option="--asked-at", zone=zone) or datetime.now(UTC)


def _kinds(names: Sequence[str]) -> tuple[Kind, ...]:
    from lightmem_cli.records import Kind

    for name in names:
        if name not in set(Kind):
            raise InputError(f"--kind: there is no kind {name!r}", hint=f"one of {', '.join(Kind)}")
    return tuple(Kind(name) for name in names)
