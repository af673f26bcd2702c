"""`lightmem retrieve`: finds the pieces of a conversation that a question needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine.recall import Query
    from lightmem_cli.profiles.settings import Settings
    from lightmem_cli.records import Filter, Kind

EXAMPLES = examples(
    'lightmem retrieve "When did Gina lose her job?"',
    'lightmem retrieve "trip to Rome" --since 2024-01-01 --speaker Anna --limit 5',
    'lightmem retrieve "what do I like to cook" --budget-tokens 800 --json | jq .hits[].text',
    "lightmem retrieve --queries questions.jsonl --limit 60 --json",
)

LimitOption = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N hits; else retrieve.limit.")
]
BudgetOption = Annotated[
    int | None, typer.Option("--budget-tokens", min=1, metavar="N", help="As many hits as fit in N tokens.")
]
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
StrategyOption = Annotated[
    Literal["hybrid", "vectors", "words"] | None, typer.Option("--strategy", help="Else retrieve.strategy.")
]


class Asked(NamedTuple):
    """A query with the id that its row came with."""

    id: object
    query: Query


def retrieve(
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="What to look for.")] = None,
    queries: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Many, as JSON lines: id, question, asked_at; - is stdin."),
    ] = None,
    limit: LimitOption = None,
    budget_tokens: BudgetOption = None,
    kind: KindOption = None,
    speaker: SpeakerOption = None,
    conversation: ConversationOption = None,
    session: SessionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_of: AsOfOption = None,
    asked_at: AskedAtOption = None,
    strategy: StrategyOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the part each signal played.")] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the memory holds on a question, best first."""
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.recall import Recall

    if (query is None) == (queries is None):
        raise InputError("give one QUERY, or --queries FILE", hint='lightmem retrieve "When did Gina lose her job?"')
    chosen = open_chosen(profile, home=home, overrides={"retrieve": {"strategy": strategy, "limit": limit}})
    settings = chosen.settings
    where = read_filter(
        settings,
        kinds=kind,
        speakers=speaker,
        conversation=conversation,
        session=session,
        since=since,
        until=until,
        as_of=as_of,
    )
    size = (None if budget_tokens and limit is None else settings.retrieve.limit, budget_tokens)
    asked = list(_asked(query, queries, where, size=size, asked_at=asked_at, settings=settings))
    out = render.Renderer(settings.transcript.zone)
    with Memory(chosen, notice=notice, reader=True) as memory:
        recall = Recall(memory)
        for id, one in asked:
            hits = recall.retrieve(one)
            if as_json:
                times = recall.times(hits)
                rows = [out.hit_json(hit, times) | _signals(hit.signals, explain) for hit in hits]
                render.as_json({"id": id, "query": one.text, "hits": rows})
                continue
            if queries is not None:
                typer.echo(f"# {render.one_line(one.text)}")
            for hit in hits:
                typer.echo(out.entry_line(hit.entry) + (_explained(hit.score, hit.signals) if explain else ""))


def read_filter(
    settings: Settings,
    *,
    kinds: Sequence[str] | None,
    speakers: list[str] | None,
    conversation: str | None,
    session: str | None,
    since: str | None,
    until: str | None,
    as_of: str | None,
) -> Filter:
    """The filter that the options of a query mean."""
    from lightmem_cli.records import Filter

    return Filter(
        kinds=_kinds(kinds),
        speakers=tuple(speakers or ()),
        conversation=conversation,
        session=session,
        since=read_moment(since, option="--since", settings=settings),
        until=read_moment(until, option="--until", settings=settings, end_of=True),
        as_of=read_moment(as_of, option="--as-of", settings=settings, end_of=True),
    )


def _kinds(names: Sequence[str] | None) -> tuple[Kind, ...]:
    from lightmem_cli.records import Kind

    try:
        return tuple(Kind(name) for name in names or ("turn", "fact", "relation"))
    except ValueError as error:
        raise InputError(f"--kind: {error}", hint=f"one of {', '.join(Kind)}") from error


def read_moment(text: str | None, *, option: str, settings: Settings, end_of: bool = False) -> datetime | None:
    """A time as typed; a bare day means its beginning, or (`end_of`) its end."""
    from lightmem_cli.language.timestamps import parse_moment

    if text is None:
        return None
    try:
        return parse_moment(text, zone=settings.transcript.zone, end_of=end_of)
    except ValueError as error:
        raise InputError(f"{option}: {error}", hint=f"write a time as in {option} 2024-01-15T10:30") from error


def _asked(
    query: str | None,
    queries: str | None,
    where: Filter,
    *,
    size: tuple[int | None, int | None],
    asked_at: str | None,
    settings: Settings,
) -> Iterator[Asked]:
    from datetime import UTC

    from lightmem_cli.engine.recall import Query

    now = read_moment(asked_at, option="--asked-at", settings=settings) or datetime.now(UTC)
    rows: Iterator[tuple[object, str, object]] = iter([(None, query, None)]) if query is not None else _rows(queries)
    for id, text, its_time in rows:
        if not text.strip():
            raise InputError("an empty question finds nothing", hint='lightmem retrieve "When did Gina lose her job?"')
        moment = read_moment(str(its_time), option="asked_at", settings=settings) if its_time is not None else None
        yield Asked(id, Query(text=text, where=where, limit=size[0], budget_tokens=size[1], asked_at=moment or now))


def _rows(name: str | None) -> Iterator[tuple[object, str, object]]:
    """The queries of a JSON lines file: (id, text, asked_at)."""
    assert name is not None
    try:
        lines = (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).splitlines()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}", hint="name a file of questions, or -") from error
    hint = 'write each as {"id": 1, "question": "When did Gina lose her job?"}'
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except ValueError as error:
            raise InputError(f"{name}:{number}: invalid JSON: {error}", hint=hint) from error
        text = row.get("question", row.get("query")) if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise InputError(f"{name}:{number}: no question", hint=hint)
        yield row.get("id"), text, row.get("asked_at")


def _signals(signals: dict[str, float], explain: bool) -> dict[str, object]:
    return {"signals": {name: round(part, 6) for name, part in signals.items()}} if explain else {}


def _explained(score: float, signals: dict[str, float]) -> str:
    parts = sorted(signals.items(), key=lambda item: -abs(item[1]))
    return f"\n    {score:.3f} = " + " + ".join(f"{name} {part:.3f}" for name, part in parts if round(part, 3))
