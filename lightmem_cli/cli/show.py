"""`lightmem show`: shows one entry of a memory, back to the words that were said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice

if TYPE_CHECKING:
    from lightmem_cli.engine.show import Linked, Shown
    from lightmem_cli.records import Message, MessageKey, Segment

EXAMPLES = examples("lightmem show 3fa9", "lightmem show D1:3 --around 0", "lightmem show 3fa9c01b22de --json")
_FROM = {
    "supersedes": "supersedes",
    "merged_into": "merged into",
    "summarizes": "summarizes",
    "conflicts": "conflicts with",
}
_TO = {
    "supersedes": "superseded by",
    "merged_into": "says also what was said by",
    "summarizes": "summarized in",
    "conflicts": "conflicts with",
}


def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The beginning of an entry's id, or a message's id.")],
    around: Annotated[
        int | None,
        typer.Option(min=0, max=100, metavar="N", help="Neighbours of each source message; else 2, a summary's none."),
    ] = None,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one entry and where it comes from.

    That is the messages it rests on, with what was said around them; what else rests on them; and what it was merged
    into or summarizes. `lightmem log ID` tells how it came to be so.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.show import show as show_entry

    chosen = open_chosen(profile, home=home)
    out = render.Renderer(chosen.settings.transcript.zone)
    with Memory(chosen, notice=notice, reader=True) as memory:
        shown = show_entry(memory, id, around=around)
    if as_json:
        render.as_json(_json(shown, out))
    else:
        _print(shown, out)


def _json(shown: Shown, out: render.Renderer) -> dict[str, object]:
    links = [
        {"from": link.source, "to": link.target, "kind": link.kind.value, "text": link.other.text or None}
        for link in shown.links
    ]
    siblings = [{"id": one.id, "kind": one.kind.value, "text": one.text or None} for one in shown.siblings]
    return out.entry_json(shown.entry) | {
        "trail": [[_message_json(message, shown, out) for message in messages] for messages in shown.trail],
        "links": links,
        "siblings": siblings,
        "born": {"run": shown.born.id, "command": shown.born.command, "at": _born_at(shown, out)},
        "revisions": shown.revisions,
        "topic": None if shown.topic is None else _topic_json(shown.topic),
        "compressed": None if shown.sent is None else shown.sent.text,
        "kept": None if shown.sent is None else round(shown.sent.kept, 4),
    }


def _topic_json(topic: Segment) -> dict[str, object]:
    return {
        "id": topic.id,
        "first": topic.first.id,
        "last": topic.last.id,
        "cut_by": topic.cut_by,
        "score": None if topic.score is None else round(topic.score, 4),
    }


def _message_json(message: Message, shown: Shown, out: render.Renderer) -> dict[str, object]:
    why = shown.unspoken.get(message.key)
    told = out.message_json(message)
    return told if why is None else told | {"content": None, "image_caption": None, why: True}


def _print(shown: Shown, out: render.Renderer) -> None:
    entry = shown.entry
    typer.echo(f"{entry.id}  {entry.kind}, {entry.state}, version {entry.version}{', pinned' if entry.pinned else ''}")
    typer.echo(f"  {out.entry_line(entry)}")
    for name, values in (("keywords", entry.keywords), ("entities", entry.entities)):
        if values:
            typer.echo(f"  {name}: {', '.join(map(render.one_line, values))}")
    _print_sensed(shown)
    summarized = [link for link in shown.links if link.kind == "summarizes" and link.source == entry.id]
    rest = _print_summarized(summarized, shown, out)
    for messages in rest:
        typer.echo(f"said in session {render.one_line(messages[0].session)}:")
        _print_messages(messages, shown, out)
    if shown.siblings:
        typer.echo("resting on the same words:")
        for one in shown.siblings:
            happened = f" ({render.span(one.happened)})" if one.happened else ""
            state = "" if one.state == "active" else f" ({one.state})"
            text = f": {render.one_line(one.text)}{happened}" if one.text else ""
            typer.echo(f"  {one.id}  {one.kind}{state}{text}")
    for link in shown.links:
        if link not in summarized:
            kind = (_FROM if link.source == entry.id else _TO)[link.kind]
            typer.echo(f"{kind} {link.other.id}  {_text(link)}")
    revised = f"; {render.counted(shown.revisions, 'revision')}: lightmem log {entry.id}" if shown.revisions else ""
    made = f", made by {entry.model} with {entry.prompt}" if entry.model else ""
    typer.echo(f"born in run {shown.born.id} ({shown.born.command}) {_born_at(shown, out)}{made}{revised}")


def _print_sensed(shown: Shown) -> None:
    """How a turn's message is sent to a language model, and the topic it is of."""
    if shown.sent is not None:
        typer.echo(f"  sent as ({100 * shown.sent.kept:.0f} %): {render.one_line(shown.sent.text)}")
    if shown.topic is not None:
        first, last = render.one_line(shown.topic.first.id), render.one_line(shown.topic.last.id)
        score = "" if shown.topic.score is None else f" ({shown.topic.score:.2f})"
        typer.echo(f"  of the topic from {first} to {last}, ended by {shown.topic.cut_by}{score}")


def _print_summarized(links: Iterable[Linked], shown: Shown, out: render.Renderer) -> list[list[Message]]:
    """What a summary says in short, each with the words it rests on; the parts of the trail that are left."""
    said = {key: messages for key, messages in zip(shown.entry.sources, shown.trail, strict=True) if messages}
    told: set[MessageKey] = set()
    for link in links:
        if not told:
            typer.echo("it summarizes:")
        other = link.other
        own_words = other.kind == "turn" and any(key in said for key in other.sources)
        typer.echo(f"  {other.id}  {other.kind}{'' if own_words else f': {_text(link)}'}")
        for key in other.sources:
            if key in said:
                _print_messages(said[key], shown, out, indent="    ")
        told.update(other.sources)
    return [messages for key, messages in said.items() if key not in told]


def _print_messages(messages: Iterable[Message], shown: Shown, out: render.Renderer, *, indent: str = "") -> None:
    for message in messages:
        mark = ">" if message.key in shown.entry.sources else " "
        why = shown.unspoken.get(message.key)
        line = out.message_line(message if why is None else replace(message, content=f"({why})"))
        typer.echo(f"{indent}{mark} {render.one_line(message.id)}  {line}")


def _text(link: Linked) -> str:
    return render.one_line(link.other.text) or f"({link.other.state})"


def _born_at(shown: Shown, out: render.Renderer) -> str | None:
    born = shown.entry.recorded_at or datetime.fromisoformat(shown.born.started_at)
    return out.time(born.astimezone(out.zone).replace(microsecond=0))
