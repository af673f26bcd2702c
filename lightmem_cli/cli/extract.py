"""`lightmem extract`: turns a conversation into facts, as a filter or for the messages a memory has waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.ingest import tell_quarantined
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import interruptible, notice, progress
from lightmem_cli.cli.transcripts import Transcripts
from lightmem_cli.records import Roles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.pending import Done
    from lightmem_cli.profiles import Profile

EXAMPLES = examples(
    "lightmem extract chat.jsonl",
    "cat chat.jsonl | lightmem extract - | jq -r .text",
    "lightmem extract                  # does the memory's pending work",
)


def extract(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="Filter these (- is stdin); else do pending work.")
    ] = None,
    use: Annotated[Literal["rules"] | None, typer.Option(help="Else extract.use.")] = None,
    roles: Annotated[Roles | None, typer.Option(help="Whose messages; else extract.roles.")] = None,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn messages into facts.

    With FILE the facts are printed as JSON lines and nothing is remembered. Without, what the memory's messages still
    wait for is done: facts, vectors, indexes and topics.
    """
    chosen = open_chosen(profile, home=home, overrides={"extract": {"use": use, "roles": roles}})
    if not files:
        with interruptible("nothing is lost: run it again"):
            _work_off(chosen, as_json=as_json)
        return
    from lightmem_cli.engine.filters.extract import extract_only

    out = render.Renderer(chosen.settings.transcript.zone)
    for entry in extract_only(Transcripts(files).read(chosen.settings), chosen.settings):
        render.as_json(out.entry_json(entry))


def _work_off(chosen: Profile, *, as_json: bool) -> None:
    """Do what the memory's messages still wait for."""
    from lightmem_cli.engine import Memory

    extracted = born = embedded = topics = 0
    with Memory(chosen, notice=notice) as memory:
        with memory.run("extract") as run:
            for done in working_off(memory, run=run):
                extracted, born, embedded = extracted + done.extracted, born + done.born, embedded + done.embedded
                topics += len(done.topics)
        quarantined = memory.history.work.quarantined()
    if as_json:
        counts = {"messages": extracted, "facts": born, "embedded": embedded, "topics": topics}
        render.as_json({**counts, "quarantined": len(quarantined)})
    elif not extracted + embedded + topics:
        notice("nothing was waiting")
    else:
        ended = f", {render.counted(topics, 'topic')}" if topics else ""
        parts = (render.counted(extracted, "message"), render.counted(born, "fact"))
        notice(f"{', '.join(parts)}, {embedded:,} embedded{ended}")
    tell_quarantined(quarantined)


def working_off(memory: Memory, *, run: int) -> Iterator[Done]:
    """Do a memory's pending work with a bar; what comes of it, step by step."""
    from lightmem_cli.engine.pending import work_off

    steps = 0
    with progress("working off", unit="items") as report:
        for done in work_off(memory, run=run):
            steps += done.extracted + done.embedded
            report(steps)
            yield done
