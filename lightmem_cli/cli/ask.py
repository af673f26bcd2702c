"""`lightmem ask`: answers a question from a conversation's memory, citing what was said."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.retrieve import (
    AskedAtOption,
    AsOfOption,
    ConversationOption,
    SessionOption,
    SinceOption,
    SpeakerOption,
    UntilOption,
    read_filter,
    read_moment,
)
from lightmem_cli.cli.talk import notice
from lightmem_cli.errors import InputError

_NO_MODEL = (
    'no language model is set (llm.use = "none"), so this is the evidence itself; '
    "any model can be given it: lightmem ask QUESTION --json | …"
)

EXAMPLES = examples(
    'lightmem ask "When did Gina lose her job?"',
    'lightmem ask "what does Anna like?" --speaker Anna --json',
    "echo 'Where did we eat?' | lightmem ask",
)


def ask(
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="Else one from stdin.")] = None,
    speaker: SpeakerOption = None,
    conversation: ConversationOption = None,
    session: SessionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_of: AsOfOption = None,
    asked_at: AskedAtOption = None,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question with the best evidence, cited.

    Without a language model the evidence itself is the answer.
    """
    from datetime import UTC, datetime

    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.recall import Query, Recall

    chosen = open_chosen(profile, home=home)
    settings = chosen.settings
    where = read_filter(
        settings,
        kinds=None,
        speakers=speaker,
        conversation=conversation,
        session=session,
        since=since,
        until=until,
        as_of=as_of,
    )
    moment = read_moment(asked_at, option="--asked-at", settings=settings) or datetime.now(UTC)
    text = question if question is not None else _from_stdin()
    if not text.strip():
        raise InputError("an empty question has no answer", hint='lightmem ask "When did Gina lose her job?"')
    out = render.Renderer(settings.transcript.zone)
    query = Query(text=text, where=where, limit=settings.retrieve.limit, asked_at=moment)
    with Memory(chosen, notice=notice, reader=True) as memory:
        recall = Recall(memory)
        answer = recall.ask(query)
        days = recall.speaks_of(answer.citations)
        if as_json:
            times = recall.times(answer.citations)
            citations = [{"n": n} | out.hit_json(hit, times) for n, hit in enumerate(answer.citations, start=1)]
            usage = asdict(answer.usage)
            render.as_json(
                {"question": text, "answer": answer.text, "citations": citations, "model": answer.model, "usage": usage}
            )
            return
    if not answer.citations:
        typer.echo(answer.text)
    for number, hit in enumerate(answer.citations, start=1):
        typer.echo(f"[{number}] {out.entry_line(hit.entry)}")
        place = f"session {hit.entry.session}, message {', '.join(key.id for key in hit.entry.sources)}"
        spoken_of = "".join(f" · speaks of {render.span(day)}" for day in days[hit.entry.id])
        typer.echo(f"    {hit.entry.id} · {place}{spoken_of}")
    notice(_NO_MODEL)


def _from_stdin() -> str:
    if sys.stdin.isatty():
        raise InputError("no question given", hint='lightmem ask "When did Gina lose her job?"')
    return sys.stdin.buffer.read().decode("utf-8", "replace").strip()
