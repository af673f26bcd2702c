"""`lightmem demo`: takes a small sample conversation through every stage of its life, and shows each."""

from __future__ import annotations

import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.ask import answer_json
from lightmem_cli.cli.options import JsonOption, examples
from lightmem_cli.cli.talk import notice

if TYPE_CHECKING:
    from lightmem_cli.engine import Memory

EXAMPLES = examples("lightmem demo", "lightmem demo --json")

QUESTION = "When did Ines adopt Biscuit?"


def demo(as_json: JsonOption = False) -> None:
    """Show every stage on a sample conversation.

    It is taken in, cut into topics, made into facts, merged, summarized and asked. Your own memory is not touched.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.profiles import open_profile

    with (
        tempfile.TemporaryDirectory(prefix="lightmem-demo-") as home,
        Memory(open_profile("default", home=Path(home)), notice=notice) as memory,
    ):
        out = render.Renderer(memory.settings.transcript.zone)
        messages, seconds = _ingest_sample(memory)
        if not as_json:
            _show_stages(memory, out, messages=messages, seconds=seconds)
            _sleep(memory, out)
        _ask(memory, out, as_json=as_json)


def _ingest_sample(memory: Memory) -> tuple[int, float]:
    """Ingest the packaged conversation; how many messages it had, and the seconds it took, models at hand."""
    from lightmem_cli.engine.ingest import HowToIngest, ingest
    from lightmem_cli.transcript import read_transcript

    memory.embedder.embed(["ready"])  # the one-time preparation of the model is not the sample's time
    began = time.perf_counter()
    with as_file(files("lightmem_cli") / "samples" / "conversation.jsonl") as path, path.open("rb") as stream:
        batches = read_transcript(stream, name=path.name, zone=memory.settings.transcript.zone)
        total = ingest(memory, [batches], HowToIngest(), reject=lambda line: None, progress=lambda so_far: None)
    return total.messages, time.perf_counter() - began


def _show_stages(memory: Memory, out: render.Renderer, *, messages: int, seconds: float) -> None:
    """What ingest has made of the messages."""
    from lightmem_cli.records import Kind

    history = memory.history
    turns, facts = history.entries.of_kind(Kind.TURN), history.entries.of_kind(Kind.FACT)
    typer.echo(f"1. Journal: {messages} messages, kept word for word")
    for entry in history.entries.get(turns[:3]).values():
        typer.echo(f"   {out.entry_line(entry)}")
    topics = history.segments.all()
    typer.echo(f"\n2. Segment: {render.counted(len(topics), 'topic')}")
    for topic in topics[:4]:
        typer.echo(f"   {topic.first.id} to {topic.last.id}")
    typer.echo(f"\n3. Extract: {len(facts)} facts that stand alone, each tied to its message and its day")
    dated = [entry for entry in history.entries.get(facts).values() if entry.happened]
    for entry in dated[:4]:
        typer.echo(f"   {out.entry_line(entry)}")
    typer.echo(f"\n4. Index: {history.counts.vectors()} vectors, and the words of every entry ({seconds:.1f} s in all)")


def _sleep(memory: Memory, out: render.Renderer) -> None:
    """What is done while nobody waits."""
    from lightmem_cli.engine.consolidate import consolidate
    from lightmem_cli.engine.summaries import Summary, summarize

    done = consolidate(memory)
    typer.echo(f"\n5. Update: {done.summary}")
    for merge in done.merged:
        typer.echo(f"   {merge.text}")
        for dropped in merge.drop:
            typer.echo(f"   = {dropped.text} ({dropped.why})")
    written: list[Summary] = []
    summarize(memory, tell=written.append)
    typer.echo(f"\n6. Summarize: {render.counted(len(written), 'day')}, each in its own words")
    if written:
        typer.echo(f"   {out.entry_line(written[0].entry)}")


def _ask(memory: Memory, out: render.Renderer, *, as_json: bool) -> None:
    from datetime import UTC, datetime

    from lightmem_cli.engine.recall import Query, Recall
    from lightmem_cli.records import Filter, Kind

    where = Filter(kinds=(Kind.TURN, Kind.FACT, Kind.RELATION))
    query = Query(text=QUESTION, where=where, limit=20, asked_at=datetime(2024, 5, 13, tzinfo=UTC))
    recall = Recall(memory)
    began = time.perf_counter()
    answer = recall.ask(query)
    milliseconds = (time.perf_counter() - began) * 1000
    if as_json:
        render.as_json({"question": QUESTION} | answer_json(answer, recall, out))
        return
    typer.echo(f"\n7. Ask: {QUESTION} ({milliseconds:.0f} ms)")
    for number, hit in enumerate(answer.citations[:3], start=1):
        typer.echo(f"   [{number}] {out.entry_line(hit.entry)}")
    source = answer.citations[0].entry.sources[0]
    typer.echo(f"\n   [1] rests on message {source.id} of {source.session}, shown with its neighbours:")
    for message in memory.history.messages.around(source, radius=1):
        typer.echo(f"   {'>' if message.key == source else ' '} {out.message_line(message)}")
    typer.echo("\nYour turn: lightmem ingest FILE, then lightmem ask QUESTION")
