"""`lightmem log`: tells what each command did to a memory, and what one of its entries lived through."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine.log import Event, Told, Value
    from lightmem_cli.records import Entry
    from lightmem_cli.store.history.runs import Run

EXAMPLES = examples(
    "lightmem log",
    "lightmem log 3fa9                                     # the life of one entry",
    "lightmem log --run 7",
    "lightmem log --limit 1000 --json | jq 'select(.command == \"update\")'",
)
_NOUNS = {
    "turn": ("message", "messages"),
    "fact": ("fact", "facts"),
    "relation": ("relation", "relations"),
    "summary": ("summary", "summaries"),
}

_BESIDE_ENTRIES = ("doctor", "reindex")  # what they did may be on no record: mended rows, new vectors


def log(
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="An entry's life: the beginning of its id, or a message's id.")
    ] = None,
    run: Annotated[int | None, typer.Option("--run", min=1, metavar="N", help="All that run N did.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many runs, newest first.")] = 20,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what changed a memory, and when.

    Without ID the runs are listed: each command that wrote, and what it did. What was only asked of a language model is
    not among them; `lightmem stats` counts it. With ID, what happened to that entry since it was born. `lightmem undo`
    takes a run or a revision back.
    """
    if id is not None and run is not None:
        raise InputError("an entry's life and a run are two questions", hint="give ID or --run, not both")
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.log import life, run_told, runs

    chosen = open_chosen(profile, home=home)
    teller = _Teller(render.Renderer(chosen.settings.transcript.zone), as_json=as_json)
    with Memory(chosen, notice=notice, reader=True) as memory:
        if id is not None:
            entry, events = life(memory, id)
            teller.life(entry, events)
        elif run is not None:
            told, events = run_told(memory, run)
            teller.run_told(told, events)
        else:
            teller.runs(runs(memory, limit=limit))


class _Teller:
    """Prints runs and events."""

    def __init__(self, out: render.Renderer, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json

    def runs(self, runs: list[Told]) -> None:
        for told in runs:
            if self._as_json:
                render.as_json(self._run_json(told))
            else:
                typer.echo(self._run_line(told))
        if not runs:
            notice("nothing has been written to this memory yet")

    def run_told(self, told: Told, events: list[Event]) -> None:
        if self._as_json:
            self._events_json(events)
            return
        typer.echo(f"run {self._run_line(told).strip()}")
        last = None
        for event in events:
            if event.entry.id != last:
                typer.echo(f"{event.entry.id}  {event.entry.kind}: {render.one_line(event.entry.text)}")
            last = event.entry.id
            self._event(event)

    def life(self, entry: Entry, events: list[Event]) -> None:
        if self._as_json:
            self._events_json(events)
            render.as_json({"event": "now"} | self._out.entry_json(entry))
            return
        typer.echo(f"{entry.id}  {entry.kind}: {render.one_line(events[0].entry.text)}")
        for event in events:
            self._event(event)
        typer.echo(f"  now {entry.state}, version {entry.version}{', pinned' if entry.pinned else ''}")
        typer.echo(f"    {self._out.entry_line(entry)}")

    def _event(self, event: Event) -> None:
        undone = f" (undone by run {event.undone_by})" if event.undone_by else ""
        where = f"{self._when(event.at)} in run {event.run.id} ({event.run.command})"
        if event.revision is None:
            sources = ", ".join(render.one_line(key.id) for key in event.entry.sources)
            typer.echo(f"  born {where}, from {sources}{undone}")
            return
        reason = render.one_line(event.reason or "")
        typer.echo(f"  revision {event.revision}, {where}: {reason}{undone}")
        for name, (before, after) in event.changes.items():
            for line in _change_lines(name, before, after):
                typer.echo(f"    {line}")

    def _events_json(self, events: list[Event]) -> None:
        for event in events:
            entry = event.entry
            told: dict[str, object] = {"event": "born" if event.revision is None else "revised"}
            told |= {"run": event.run.id, "command": event.run.command, "at": self._when(event.at)}
            told |= {"id": entry.id, "kind": entry.kind.value, "text": entry.text, "state": entry.state.value}
            if event.revision is None:
                told["sources"] = _jsonable("sources", entry.sources)
            else:
                told |= {"revision": event.revision, "reason": event.reason}
                told["changes"] = {
                    name: {"before": _jsonable(name, before), "after": _jsonable(name, after)}
                    for name, (before, after) in event.changes.items()
                }
            render.as_json(told | {"undone_by": event.undone_by})

    def _run_json(self, told: Told) -> dict[str, object]:
        run = told.run
        return {
            "run": run.id,
            "command": run.command,
            "started": self._when(datetime.fromisoformat(run.started_at)),
            "ended": self._when(datetime.fromisoformat(run.ended_at)) if run.ended_at else None,
            "outcome": run.outcome,
            "born": told.deeds.born,
            "revised": told.deeds.revised,
            "topics": told.traces.topics,
            "purged": told.traces.purged,
            "purged_since": told.traces.lost,
            "llm": asdict(told.traces.usage),
            "undoes": list(told.undid),
            "undone_by": told.undone_by,
            "wholly_undone": told.wholly,
        }

    def _run_line(self, told: Told) -> str:
        run = told.run
        did = [_counted(told.deeds.born[kind], *nouns) for kind, nouns in _NOUNS.items() if kind in told.deeds.born]
        if told.deeds.revised:
            did.append(f"{_counted(told.deeds.revised, 'entry', 'entries')} revised")
        if told.traces.topics:
            did.append(f"{_counted(told.traces.topics, 'topic', 'topics')}")
        if told.traces.purged:
            did.append(f"{_counted(told.traces.purged, 'message', 'messages')} purged")
        if told.undid:
            did.append(f"undid run {', '.join(map(str, told.undid))}")
        if told.undone_by is not None:
            did.append(f"{'' if told.wholly else 'partly '}undone by run {told.undone_by}")
        if told.traces.lost:
            did.append(f"{_counted(told.traces.lost, 'message', 'messages')} of it purged since")
        spent = [render.cost(told.traces.usage)] if told.traces.usage.calls else []
        ended = [] if run.outcome == "done" else [_outcome(run)]
        when = self._when(datetime.fromisoformat(run.started_at))
        return (
            f"{run.id:>4}  {when}  {run.command:<9}  {', '.join([*(did or _nothing(told)), *spent, *ended])}".rstrip()
        )

    def _when(self, moment: datetime) -> str | None:
        return self._out.time(moment.astimezone(self._out.zone).replace(microsecond=0))


def _nothing(told: Told) -> list[str]:
    """What there is to say of a run of which no deed is on record."""
    if told.traces.purge is not None:
        return [f"nothing that outlived the purge of run {told.traces.purge}"]
    return [] if told.run.command in _BESIDE_ENTRIES else ["no entry changed"]


def _outcome(run: Run) -> str:
    return "going on, or killed" if run.outcome is None else render.one_line(run.outcome)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _change_lines(name: str, before: Value, after: Value) -> list[str]:
    """One change for a person: what it was and what it became, or what was added (+) and removed (-)."""
    if name not in ("sources", "links"):
        old, new = _said(before), _said(after)
        return [f"{name}: {old}", f"{'→':>{len(name)}}  {new}"] if name == "text" else [f"{name}: {old} → {new}"]
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    changed = [f"+ {_named(one)}" for one in after if one not in before]
    changed += [f"- {_named(one)}" for one in before if one not in after]
    return [f"{name}: {', '.join(changed)}"] if changed else []


def _said(value: Value) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(render.one_line(str(one)) for one in value) or "none"
        case _:
            return render.one_line(str(value)) or "none"


def _named(one: object) -> str:
    """A message by its id; a link by its kind and the entry it leads to."""
    if isinstance(one, tuple) and len(one) == 2:
        kind, target = one
        return f"{kind.replace('_', ' ')} {target}"
    return render.one_line(str(getattr(one, "id", one)))


def _jsonable(name: str, value: Value) -> object:
    match name, value:
        case "sources", tuple():
            return [one._asdict() for one in value]  # type: ignore[union-attr]  # sources are message keys
        case "links", tuple():
            return [{"kind": str(kind), "to": target} for kind, target in value]  # type: ignore[misc,str-unpack]  # and links pairs
        case _:
            return list(value) if isinstance(value, tuple) else value
