"""`lightmem ask`: answers a question from a conversation's memory, citing what was said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.conversation import Spoken, at_a_terminal, interrupted, questions
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
from lightmem_cli.cli.talk import notice, tell_nothing_found

if TYPE_CHECKING:
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.answering import Answering, Said
    from lightmem_cli.engine.recall import Query, Recall
    from lightmem_cli.records import Answer

_NO_MODEL = (
    'no language model is set (llm.use = "none"): this is the evidence itself; --json hands it to a model of yours'
)

EXAMPLES = examples(
    'lightmem ask "When did Gina lose her job?"',
    'lightmem ask "what does Anna like?" --speaker Anna --json',
    "echo 'Where did we eat?' | lightmem ask",
    "lightmem ask                      # on a terminal: one question after the other",
    'lightmem ask "Where did we eat?" --context | ollama run llama3.2',
)

LimitOption = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="From at most N turns and facts.")
]
BudgetOption = Annotated[
    int | None,
    typer.Option(min=100, metavar="N", help="Tokens of memory that a model is shown; else ask.budget_tokens."),
]
ContextOption = Annotated[
    bool, typer.Option("--context", help="Print what a model would be asked, and ask none: for a model of yours.")
]


def ask(
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="Else from stdin.")] = None,
    limit: LimitOption = None,
    budget_tokens: BudgetOption = None,
    context: ContextOption = False,
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
    """Answer a question from the memory, citing what was said.

    Each [n] in the answer is a piece of the memory, listed below it. Without a language model (llm.use) the evidence
    itself is the answer. Without a QUESTION, on a terminal: a conversation, until Ctrl-D; Ctrl-C ends an answer.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.recall import Query, Recall

    chosen = open_chosen(profile, home=home, overrides={"ask": {"budget_tokens": budget_tokens}})
    zone = chosen.settings.transcript.zone
    where = read_filter(
        zone, speakers=speaker, conversation=conversation, session=session, since=since, until=until, as_of=as_of
    )
    query = Query(text="", where=where, limit=limit, asked_at=read_asked_at(asked_at, zone=zone))
    asked = questions(question)
    with Memory(chosen, notice=notice, reader=True) as memory:
        talk = _Talk(memory, Recall(memory), as_json=as_json)
        if context:
            talk.show_context(asked, query)
        elif chosen.settings.llm.use == "none":
            talk.show_evidence(asked, query)
        else:
            talk.answer(asked, query, goes_on=at_a_terminal(question))


class _Talk:
    """Takes questions, one after the other, and prints what becomes of each."""

    def __init__(self, memory: Memory, recall: Recall, *, as_json: bool) -> None:
        self._memory = memory
        self._recall = recall
        self._as_json = as_json
        self._out = render.for_output(memory.settings.transcript.zone)

    def show_evidence(self, asked: Iterator[str], query: Query) -> None:
        """Without a language model: the best evidence."""
        limit = self._memory.settings.retrieve.limit if query.limit is None else query.limit
        shown = False
        for text in asked:
            answer = self._recall.ask(replace(query, text=text, limit=limit), most=query.limit or 5)
            shown = shown or bool(answer.citations)
            if self._as_json:
                self._print_json(text, answer)
            elif answer.citations:
                self._print_sources(answer)
            else:
                typer.echo(answer.text)
        if shown and not self._as_json:
            notice(_NO_MODEL)

    def show_context(self, asked: Iterator[str], query: Query) -> None:
        """What a language model would be asked, by whoever reads our output."""
        from lightmem_cli.engine.answering import Answering
        from lightmem_cli.language.tokens import count_tokens

        for text in asked:
            prompt, packed = Answering(self._memory, recall=self._recall).context(replace(query, text=text))
            if not packed.hits:
                tell_nothing_found(self._memory, query.where)
            if self._as_json:
                times = self._recall.times(packed.hits)
                evidence = [{"n": n} | self._out.hit_json(hit, times) for n, hit in enumerate(packed.hits, start=1)]
                tokens = sum(map(count_tokens, prompt))
                render.as_json({"question": text} | prompt._asdict() | {"tokens": tokens, "evidence": evidence})
            else:
                typer.echo("\n\n".join(prompt))

    def answer(self, asked: Iterator[str], query: Query, *, goes_on: bool) -> None:
        """With a language model; `goes_on`: what fails, and what is interrupted, is not the end."""
        from lightmem_cli.engine.answering import Answering

        answering = Answering(self._memory, recall=self._recall)
        for text in asked:
            fault = None
            with interrupted(goes_on=goes_on):
                fault = self._answer(answering, replace(query, text=text)).fault
            if fault is None:
                continue
            if not goes_on:
                raise fault
            notice(f"{fault.message} ({fault.hint})" if fault.hint else fault.message)

    def _answer(self, answering: Answering, query: Query) -> Said:
        if self._as_json:
            said = answering.ask(query)
            self._print_json(query.text, said.answer)
            return said
        with Spoken() as spoken:
            said = answering.ask(query, tell=spoken.say)
            if not spoken.any and (said.answer.model or not said.answer.found):
                spoken.say(said.answer.text)
        self._print_rest(said, query)
        return said

    def _print_rest(self, said: Said, query: Query) -> None:
        """What is to be said behind an answer: its sources, or why it has none."""
        answer = said.answer
        if answer.citations:
            if answer.model:
                typer.echo()
            self._print_sources(answer)
        elif answer.found:
            notice("(no source cited)")
        elif answer.model:
            notice("lightmem retrieve shows what comes nearest")
        else:
            tell_nothing_found(self._memory, query.where)

    def _print_json(self, question: str, answer: Answer) -> None:
        render.as_json({"question": question} | answer_json(answer, self._recall, self._out))

    def _print_sources(self, answer: Answer) -> None:
        days = self._recall.speaks_of(answer.citations)
        for number, hit in zip(answer.numbers, answer.citations, strict=True):
            typer.echo(f"[{number}] {self._out.entry_line(hit.entry)}")
            session = f"session {hit.entry.session}, " if hit.entry.session else ""  # a day's summary is of several
            place = f"{session}message {', '.join(key.id for key in hit.entry.sources)}"
            spoken_of = "".join(f" · speaks of {render.span(day)}" for day in days[hit.entry.id])
            typer.echo(f"    {hit.entry.id} · {render.one_line(place)}{spoken_of}")


def answer_json(answer: Answer, recall: Recall, out: render.Renderer) -> dict[str, object]:
    """An answer as `ask --json` prints it: the evidence it cites, and the days which that speaks of."""
    times, days = recall.times(answer.citations), recall.speaks_of(answer.citations)
    citations = [
        {"n": number}
        | out.hit_json(hit, times)
        | {"speaks_of": [[out.time(day.start), out.time(day.end)] for day in days[hit.entry.id]]}
        for number, hit in zip(answer.numbers, answer.citations, strict=True)
    ]
    return {
        "answer": answer.text,
        "found": answer.found,
        "citations": citations,
        "model": answer.model,
        "usage": asdict(answer.usage),
    }
