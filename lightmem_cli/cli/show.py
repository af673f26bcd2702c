"""`lightmem show`: shows one entry of a memory, back to the words that were said."""

from __future__ import annotations

from typing import Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice

EXAMPLES = examples("lightmem show 3fa9", "lightmem show D1:3 --around 0", "lightmem show 3fa9c01b22de --json")


def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The beginning of an entry's id, or a message's id.")],
    around: Annotated[int, typer.Option(min=0, max=100, metavar="N", help="Neighbours of each source message.")] = 2,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one entry and where it comes from.

    That is the messages it rests on, with what was said around them, and what else rests on them.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.care import show as show_entry

    chosen = open_chosen(profile, home=home)
    out = render.Renderer(chosen.settings.transcript.zone)
    with Memory(chosen, notice=notice) as memory:
        shown = show_entry(memory, id, around=around)
    entry = shown.entry
    if as_json:
        links = [dict(zip(("from", "to", "kind"), link, strict=True)) for link in shown.links]
        trail = [[out.message_json(message) for message in messages] for messages in shown.trail]
        siblings = [{"id": one.id, "kind": one.kind.value, "text": one.text} for one in shown.siblings]
        render.as_json(out.entry_json(entry) | {"trail": trail, "links": links, "siblings": siblings})
        return
    typer.echo(f"{entry.id}  {entry.kind}, {entry.state}, version {entry.version}{', pinned' if entry.pinned else ''}")
    typer.echo(f"  {out.entry_line(entry)}")
    for name, values in (("keywords", entry.keywords), ("entities", entry.entities)):
        if values:
            typer.echo(f"  {name}: {', '.join(values)}")
    for messages in shown.trail:
        typer.echo(f"said in session {render.one_line(entry.session)}:")
        for message in messages:
            mark = ">" if message.key in entry.sources else " "
            typer.echo(f"{mark} {message.id}  {out.message_line(message)}")
    if shown.siblings:
        typer.echo("resting on the same words:")
        for one in shown.siblings:
            happened = f" ({render.span(one.happened)})" if one.happened else ""
            state = "" if one.state == "active" else f" ({one.state})"
            typer.echo(f"  {one.id}  {one.kind}{state}: {render.one_line(one.text)}{happened}")
    for source, target, kind in shown.links:
        typer.echo(f"link: {source} {kind} {target}")
