"""`lightmem ask`: answers a question from a conversation's memory, citing what was said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.filters import (
    AskedAtOption,
    AsOfOption,
    ConversationOption,
    SessionOption,
    SinceOption,
    SpeakerOption,
    UntilOption,
    read_asked_at,
    read_filter,
)
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine.recall import Recall
    from lightmem_cli.records import Answer

_NO_MODEL = (
    'no language model is set (llm.use = "none"): this is the evidence itself; --json hands it to a model of yours'
)

EXAMPLES = examples(
    'lightmem ask "When did Gina lose her job?"',
    'lightmem ask "what does Anna like?" --speaker Anna --json',
    "echo 'Where did we eat?' | lightmem ask",
    "lightmem ask                      # on a terminal: one question after the other",
)


def ask(
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="Else from stdin.")] = None,
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
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.recall import Query, Recall

    chosen = open_chosen(profile, home=home)
    zone = chosen.settings.transcript.zone
    where = read_filter(
        zone, speakers=speaker, conversation=conversation, session=session, since=since, until=until, as_of=as_of
    )
    moment = read_asked_at(asked_at, zone=zone)
    out = render.for_output(zone)
    with Memory(chosen, notice=notice, reader=True) as memory:
        recall, shown = Recall(memory), False
        for text in _questions(question):
            query = Query(text=text, where=where, limit=chosen.settings.retrieve.limit, asked_at=moment)
            answer = recall.ask(query)
            shown = shown or bool(answer.citations)
            if as_json:
                render.as_json({"question": text} | answer_json(answer, recall, out))
            else:
                _print(answer, recall, out)
    if shown and not as_json:
        notice(_NO_MODEL)


def answer_json(answer: Answer, recall: Recall, out: render.Renderer) -> dict[str, object]:
    """An answer as `ask --json` prints it: the evidence it cites, and the days which that speaks of."""
    times, days = recall.times(answer.citations), recall.speaks_of(answer.citations)
    citations = [
        {"n": number}
        | out.hit_json(hit, times)
        | {"speaks_of": [[out.time(day.start), out.time(day.end)] for day in days[hit.entry.id]]}
        for number, hit in enumerate(answer.citations, start=1)
    ]
    return {"answer": answer.text, "citations": citations, "model": answer.model, "usage": asdict(answer.usage)}


def _print(answer: Answer, recall: Recall, out: render.Renderer) -> None:
    if not answer.citations:
        typer.echo(answer.text)
    days = recall.speaks_of(answer.citations)
    for number, hit in enumerate(answer.citations, start=1):
        typer.echo(f"[{number}] {out.entry_line(hit.entry)}")
        place = f"session {hit.entry.session}, message {', '.join(key.id for key in hit.entry.sources)}"
        spoken_of = "".join(f" · speaks of {render.span(day)}" for day in days[hit.entry.id])
        typer.echo(f"    {hit.entry.id} · {render.one_line(place)}{spoken_of}")


def _questions(typed: str | None) -> Iterator[str]:
    """The typed question; else all of a pipe as one; else, on a terminal, one line after the other until Ctrl-D."""
    if typed is None and sys.stdin.isatty():
        yield from _from_terminal()
        return
    text = typed if typed is not None else sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        raise InputError("an empty question has no answer", hint='lightmem ask "When did Gina lose her job?"')
    yield text.strip()


def _from_terminal() -> Iterator[str]:
    while True:
        typer.echo("? ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            typer.echo(err=True)
            return
        if line.strip():
            yield line.strip()
