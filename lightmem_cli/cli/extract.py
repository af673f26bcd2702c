"""`lightmem extract`: turns a conversation into facts, as a filter or for the messages a memory has waiting."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.ingest import raise_misread, tell_held, tell_long, tell_quarantined, told_cost, told_facts
from lightmem_cli.cli.options import BudgetOption, HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import interruptible, notice, progress
from lightmem_cli.cli.transcripts import Transcripts
from lightmem_cli.errors import ModelError
from lightmem_cli.records import Roles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightmem_cli.engine import Budget, Memory
    from lightmem_cli.engine.asking import Estimate
    from lightmem_cli.engine.extraction import Flush
    from lightmem_cli.engine.steps import Done
    from lightmem_cli.profiles import Profile

EXAMPLES = examples(
    "lightmem extract chat.jsonl",
    "cat chat.jsonl | lightmem extract - | jq -r .text",
    "lightmem extract                  # does the memory's pending work",
    "lightmem extract --dry-run        # what a language model would be asked: calls and tokens",
    "lightmem extract --use llm --budget-tokens 50000",
)


def extract(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="Filter these (- is stdin); else do pending work.")
    ] = None,
    use: Annotated[Literal["rules", "llm"] | None, typer.Option(help="Else extract.use.")] = None,
    roles: Annotated[Roles | None, typer.Option(help="Whose messages; else extract.roles.")] = None,
    budget_tokens: BudgetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what a language model would be asked; ask nobody.")
    ] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn messages into facts.

    With FILE the facts are printed as JSON lines and nothing is remembered. Without, what the memory's messages still
    wait for is done: facts, vectors, indexes and topics. With --use llm a language model reads the topics that have
    ended, several in one call; what it fails on is set aside, found as it was said, and tried again the next time.
    """
    from lightmem_cli.engine import Budget

    chosen = open_chosen(profile, home=home, overrides={"extract": {"use": use, "roles": roles}})
    budget = None if budget_tokens is None else Budget(budget_tokens)
    if dry_run:
        _foretell(chosen, files, as_json=as_json)
    elif files:
        _filter(chosen, Transcripts(files), budget=budget)
    else:
        with interruptible("nothing is lost: run it again"):
            _work_off(chosen, budget=budget, as_json=as_json)


def working_off(
    memory: Memory,
    *,
    run: int,
    ask: Flush | None = None,
    tell: Callable[[Estimate], None] | None = None,
) -> Iterator[Done]:
    """Do a memory's pending work with a bar; what comes of it, step by step."""
    from lightmem_cli.engine.pending import work_off

    steps = tokens = 0
    with progress("working off", unit="items") as report:
        for done in work_off(memory, run=run, ask=ask, tell=tell):
            steps += done.extracted + done.embedded
            tokens += done.usage.tokens
            report(steps, also=spent(tokens))
            yield done


def spent(tokens: int) -> str:
    """What a bar says of the tokens that were spent so far."""
    return f", {tokens:,} tokens" if tokens else ""


def _work_off(chosen: Profile, *, budget: Budget | None, as_json: bool) -> None:
    """Do what the memory's messages still wait for."""
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.steps import Done

    total = Done()
    with Memory(chosen, notice=notice) as memory:
        memory.budget = budget
        with memory.run("extract") as run:
            for done in working_off(memory, run=run, ask="all", tell=tell_long):
                total += done
        quarantined, holders = memory.history.work.quarantined(), memory.history.work.holders()
    if as_json:
        born = {"messages": total.extracted, "facts": total.born, "unsupported": total.unsupported}
        rest = {"embedded": total.embedded, "topics": len(total.topics), "quarantined": len(quarantined)}
        render.as_json({**born, **rest, **asdict(total.usage)})
    else:
        nothing = "nothing else was waiting" if holders else "nothing was waiting"
        notice(nothing if total == Done() else _summary(total))
    tell_held(holders)
    tell_quarantined([one for one in quarantined if not (total.aside and one.stage == "extract")])
    if total.aside:
        raise_misread(quarantined)


def _summary(total: Done) -> str:
    """What was done, in one line for a person."""
    parts = [
        render.counted(total.extracted, "message"),
        told_facts(total.born, unsupported=total.unsupported),
        f"{total.embedded:,} embedded",
    ]
    parts += [render.counted(len(total.topics), "topic")] if total.topics else []
    parts += [told_cost(total.usage.calls, total.usage.tokens)] if total.usage.calls else []
    return ", ".join(parts)


def _foretell(chosen: Profile, files: list[str] | None, *, as_json: bool) -> None:
    """Say what a language model would be asked, about files or about what the memory has waiting."""
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.asking import Estimate
    from lightmem_cli.engine.extraction import estimate, in_open_topics
    from lightmem_cli.engine.filters.read import estimate_only

    settings = chosen.settings
    open_ones = 0
    if settings.extract.use != "llm":
        about = Estimate()
        notice("rules extract here, and take no tokens (--use llm)")
    elif files:
        about = estimate_only(Transcripts(files).read(settings), settings, notice=notice)
    else:
        with Memory(chosen, notice=notice, reader=True) as memory:
            about = estimate(memory)
            open_ones = in_open_topics(memory)
    if as_json:
        render.as_json(asdict(about))
    else:
        typer.echo(about.said if about.calls or about.known else "nothing to ask")
    if open_ones:
        notice(f"{render.counted(open_ones, 'message')} of open topics not counted (lightmem segment ends them)")


def _filter(chosen: Profile, transcripts: Transcripts, *, budget: Budget | None) -> None:
    """Print the facts of transcripts."""
    settings = chosen.settings
    out = render.Renderer(settings.transcript.zone)
    if settings.extract.use == "llm":
        _filter_by_model(chosen, transcripts, out, budget=budget)
        return
    from lightmem_cli.engine.filters.extract import extract_only

    for entry in extract_only(transcripts.read(settings), settings):
        render.as_json(out.entry_json(entry))


def _filter_by_model(chosen: Profile, transcripts: Transcripts, out: render.Renderer, *, budget: Budget | None) -> None:
    from lightmem_cli.engine.filters.read import Read, read_only

    so_far = Read()
    with progress("reading", unit="messages", beside_output=True) as report:

        def tell(read: Read) -> None:
            nonlocal so_far
            so_far = read
            report(read.messages, also=spent(read.usage.tokens))

        read = transcripts.read(chosen.settings)
        for entry in read_only(read, chosen.settings, notice=notice, budget=budget, progress=tell):
            render.as_json(out.entry_json(entry))
    if so_far.stopped:
        notice(f"{so_far.stopped}: the rest was not read")
    if so_far.aside:
        count = render.counted(len(so_far.aside), "message")
        raise ModelError(
            f"the language model failed on {count}, the first time with: {so_far.aside[0]}",
            hint="the facts of all others are printed; try another llm.model, or a smaller extract.buffer_tokens",
        )
