"""`lightmem retrieve`: finds the pieces of a conversation that a question needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.filters import (
    AskedAtOption,
    AsOfOption,
    ConversationOption,
    KindOption,
    SessionOption,
    SinceOption,
    SpeakerOption,
    UntilOption,
    read_asked_at,
    read_filter,
    read_moment,
)
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice, tell_nothing_found
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from datetime import tzinfo

    from lightmem_cli.engine.recall import Query, Recall
    from lightmem_cli.records import Hit

EXAMPLES = examples(
    'lightmem retrieve "When did Gina lose her job?"',
    'lightmem retrieve "trip to Rome" --since 2024-01-01 --speaker Anna --limit 5',
    'lightmem retrieve "what do I like to cook" --budget-tokens 800 --json | jq .hits[].text',
    "lightmem retrieve --queries questions.jsonl --limit 60 --json",
)


QueriesOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="Many, as JSON lines: id, question, asked_at; - is stdin.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N hits; else retrieve.limit.")
]
BudgetOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="As many hits as fit in N tokens.")]
StrategyOption = Annotated[
    Literal["hybrid", "vectors", "words"] | None, typer.Option("--strategy", help="Else retrieve.strategy.")
]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Show the part each signal played.")]


class Asked(NamedTuple):
    """A query with the id that its row came with."""

    id: object
    query: Query


def retrieve(
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="What to look for.")] = None,
    queries: QueriesOption = None,
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
    explain: ExplainOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the memory holds on a question, best first."""
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.recall import Query, Recall

    chosen = open_chosen(profile, home=home, overrides={"retrieve": {"strategy": strategy, "limit": limit}})
    zone = chosen.settings.transcript.zone
    where = read_filter(
        zone,
        kinds=kind,
        speakers=speaker,
        conversation=conversation,
        session=session,
        since=since,
        until=until,
        as_of=as_of,
    )
    most = None if budget_tokens and limit is None else chosen.settings.retrieve.limit
    moment = read_asked_at(asked_at, zone=zone)
    model = Query(text=query or "", where=where, limit=most, budget_tokens=budget_tokens, asked_at=moment)
    asked = list(_asked(query, queries, model, zone=zone))
    with Memory(chosen, notice=notice, reader=True) as memory:
        recall = Recall(memory)
        for one in asked:
            hits = recall.retrieve(one.query)
            if as_json:
                render.as_json(_json(one, hits, recall, zone=zone, explain=explain))
                continue
            _print(one, hits, zone=zone, explain=explain, many=queries is not None)
            if not hits:
                tell_nothing_found(memory, where)


def _print(one: Asked, hits: Sequence[Hit], *, zone: tzinfo, explain: bool, many: bool) -> None:
    if many:
        typer.echo(f"# {render.one_line(one.query.text)}")
    out = render.for_output(zone)
    for hit in hits:
        typer.echo(out.entry_line(hit.entry) + (_explained(hit) if explain else ""))


def _json(one: Asked, hits: Sequence[Hit], recall: Recall, *, zone: tzinfo, explain: bool) -> dict[str, object]:
    """What `retrieve --json` prints for a query."""
    out, times = render.Renderer(zone), recall.times(hits)
    rows = [out.hit_json(hit, times) | (_signals(hit) if explain else {}) for hit in hits]
    return {"id": one.id, "query": one.query.text, "hits": rows}


def _asked(query: str | None, queries: str | None, model: Query, *, zone: tzinfo) -> Iterator[Asked]:
    """The typed query, or those of a file; what they do not say themselves is as in `model`."""
    if (query is None) == (queries is None):
        raise InputError("give one QUERY, or --queries FILE", hint='lightmem retrieve "When did Gina lose her job?"')
    rows = [(None, query, None)] if query is not None else _rows(queries or "")
    for id, text, its_time in rows:
        if not text.strip():
            raise InputError("an empty question finds nothing", hint='lightmem retrieve "When did Gina lose her job?"')
        moment = read_moment(str(its_time), option="asked_at", zone=zone) if its_time is not None else model.asked_at
        yield Asked(id, replace(model, text=text, asked_at=moment))


def _rows(name: str) -> Iterator[tuple[object, str, object]]:
    """The queries of a JSON lines file: (id, text, asked_at)."""
    try:
        lines = (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).splitlines()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}", hint="name a file of questions, or -") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        hint = 'write each line as {"id": 1, "question": "When did Gina lose her job?"}'
        try:
            row = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except ValueError as error:
            raise InputError(f"{name}:{number}: invalid JSON: {error}", hint=hint) from error
        named = [row[key] for key in ("question", "query") if row.get(key) is not None] if isinstance(row, dict) else []
        if not named or not isinstance(named[0], str):
            raise InputError(f"{name}:{number}: no question", hint=hint)
        yield row.get("id"), named[0], row.get("asked_at")


def _signals(hit: Hit) -> dict[str, object]:
    return {"signals": {name: round(part, 6) for name, part in hit.signals.items()}}


def _explained(hit: Hit) -> str:
    parts = sorted(hit.signals.items(), key=lambda item: -abs(item[1]))
    return f"\n    {hit.score:.3f} = " + " + ".join(f"{name} {part:.3f}" for name, part in parts if round(part, 3))
