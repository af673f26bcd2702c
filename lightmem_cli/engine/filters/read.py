"""Has a language model read a transcript without remembering any of it, nor what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from lightmem_cli.engine import Budget, embedder_of
from lightmem_cli.engine.asking import Answered, Estimate, Request
from lightmem_cli.engine.asking.cost import Allowance
from lightmem_cli.engine.asking.ledger import Ledger
from lightmem_cli.engine.asking.request import LESS_MAY_DO
from lightmem_cli.engine.asking.streak import Streak
from lightmem_cli.engine.asking.work import Work
from lightmem_cli.engine.extraction.batches import how_to_ask
from lightmem_cli.engine.extraction.births import named
from lightmem_cli.engine.extraction.support import is_borne_out, sentence_vectors
from lightmem_cli.engine.filters.segment import segment_only
from lightmem_cli.engine.sensory import Sensory
from lightmem_cli.errors import InputError, ProfileError
from lightmem_cli.extract.buffer import Sized, Topic, gather, halves
from lightmem_cli.extract.llm import (
    Line,
    cost_of,
    line_of,
    most_of,
    prompt_of,
    read_reply,
    schema_of,
    version_of,
)
from lightmem_cli.extract.support import told
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Embedder, LanguageModel, Progress, Reply
from lightmem_cli.records import Entry, Message, State, Usage, row_text
from lightmem_cli.transcript import Item

_Topics: TypeAlias = list[Topic[Line]]
_Place: TypeAlias = tuple[int, ...]  # of a batch among all; of a half, with which one it is


@dataclass(slots=True)
class Read:
    """How far a transcript was read: messages, what that took, and the reasons why some of them could not be.

    `stopped` says why not all was read: the budget.
    """

    messages: int = 0
    usage: Usage = field(default_factory=Usage)
    aside: list[str] = field(default_factory=list)
    stopped: str | None = None


def read_only(
    transcripts: Iterable[Iterable[Sequence[Item]]],
    settings: Settings,
    *,
    notice: Progress,
    budget: Budget | None = None,
    progress: Callable[[Read], None] = lambda read: None,
) -> Iterator[Entry]:
    """The facts of transcripts, in their order, however many are asked for at once. `progress` is told how far it is.

    Raises:
        InputError: at the first line that cannot be read, after the facts of all rows before it.
        Unavailable, MissingPart: nobody answers; after the facts that were found.
        ProfileError: the settings name no language model.
    """
    reader = _Reader(settings, notice=notice, budget=budget)
    yield from reader.read(transcripts, progress=progress)


def estimate_only(transcripts: Iterable[Iterable[Sequence[Item]]], settings: Settings, *, notice: Progress) -> Estimate:
    """What it would take to read transcripts; nobody is asked.

    Raises:
        InputError: at the first line that cannot be read.
        ProfileError, MissingPart: there is no model that could be asked.
    """
    return _Reader(settings, notice=notice, budget=None).estimate(transcripts)


class _OffTheRecord(Ledger):
    """Counts what calls cost, and keeps nothing."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.usage = Usage()

    def known(self, request: Request[Any], *, key: bytes) -> Answered[Any] | None:  # noqa: ARG002
        return None

    def _keep(self, request: Request[Any], *, key: bytes, reply: Reply, refused: str | None) -> None:  # noqa: ARG002
        self.usage += reply.usage


class _Reader:
    """A transcript while it is read: what waits to be asked for, and what is found but not its turn yet."""

    def __init__(self, settings: Settings, *, notice: Progress, budget: Budget | None) -> None:
        from lightmem_cli.llm import open_language_model

        model = open_language_model(settings.llm, notice=notice)
        if model is None:
            hint = "lightmem config set llm.use ollama, and lightmem config set llm.model NAME"
            raise ProfileError('no language model is set (llm.use = "none")', hint=hint)
        self._settings = settings
        self._notice = notice
        self._model = model
        self._how = how_to_ask(settings)
        self._allowance = Allowance(budget, count=model.tokens)
        self._refused: InputError | None = None
        self._again: deque[tuple[_Place, _Topics]] = deque()  # halves
        self._open: dict[_Place, _Topics] = {}
        self._asked: dict[int, _Place] = {}
        self._found: dict[_Place, list[Entry]] = {}

    @cached_property
    def _embedder(self) -> Embedder:
        return embedder_of(self._settings, notice=self._notice)

    def estimate(self, transcripts: Iterable[Iterable[Sequence[Item]]]) -> Estimate:
        calls = prompt_tokens = reply_tokens = 0
        for topics in self._batches(transcripts):
            request = self._request(topics)
            calls += 1
            prompt_tokens += self._allowance.tokens(request.prompt)
            reply_tokens += request.most
        if self._refused is not None:
            raise self._refused
        return Estimate(calls=calls, prompt_tokens=prompt_tokens, reply_tokens=reply_tokens)

    def read(
        self, transcripts: Iterable[Iterable[Sequence[Item]]], *, progress: Callable[[Read], None]
    ) -> Iterator[Entry]:
        ledger, so_far = _OffTheRecord(self._model), Read()
        batches = enumerate(self._batches(transcripts))
        work = Work(
            self._model,
            lambda: self._next(batches),
            ledger=ledger,
            allowance=self._allowance,
            streak=Streak(self._settings, name=self._model.name, kept=None, often=False),
            at_once=self._settings.llm.concurrency,
            retries=self._settings.llm.retries,
        )
        try:
            with closing(work.answers()) as answers:
                for answered in answers:
                    self._settle(answered, so_far)
                    so_far.usage, so_far.stopped = ledger.usage, self._allowance.stopped
                    progress(so_far)
                    yield from self._ready()
        finally:
            self._model.close()
        so_far.stopped = self._allowance.stopped
        progress(so_far)
        if self._refused is not None:
            raise self._refused

    def _batches(self, transcripts: Iterable[Iterable[Sequence[Item]]]) -> Iterator[_Topics]:
        """What is read together, of one conversation at a time."""
        rest: dict[str, _Topics] = {}
        try:
            for lines in self._topics(transcripts):
                conversation = lines[0].message.conversation
                sized = [Sized(line, self._model.tokens(cost_of(line))) for line in lines]
                waiting = [*rest.get(conversation, []), sized]
                full, rest[conversation] = gather(waiting, tokens=self._settings.extract.buffer_tokens)
                yield from full
        except InputError as refused:  # what was read before it comes first
            self._refused = refused
        yield from (topics for topics in rest.values() if topics)

    def _topics(self, transcripts: Iterable[Iterable[Sequence[Item]]]) -> Iterator[list[Line]]:
        """Topics as they are sent, with what is to be read of each."""
        extract = self._settings.extract
        compressor = Sensory(self._settings, notice=self._notice).compressor if extract.text == "compressed" else None
        messages: list[Message] = []
        for one in segment_only(transcripts, self._settings, notice=self._notice):
            messages.append(one.message)
            if not one.last:
                continue
            texts = [short.text for short in compressor.compress(messages)] if compressor else [None] * len(messages)
            lines = [line_of(message, text) for message, text in zip(messages, texts, strict=True)]
            said = [line for line in lines if line.message.is_of(extract.roles) and row_text(line.message).strip()]
            if said:
                yield said
            messages = []

    def _next(self, batches: Iterator[tuple[int, _Topics]]) -> Request[list[Entry]] | None:
        if self._again:
            place, topics = self._again.popleft()
        else:
            number, topics = next(batches, (-1, []))
            place = (number,)
        if not topics:
            return None
        self._open[place] = topics
        request = self._request(topics)
        self._asked[id(request)] = place
        return request

    def _request(self, topics: _Topics) -> Request[list[Entry]]:
        lines, how, model = [[one.item for one in topic] for topic in topics], self._how, self._model.name
        return Request(
            purpose="extract",
            version=version_of(how),
            prompt=prompt_of(lines, how),
            most=most_of(lines, how),
            messages=(),
            least=sum(map(len, topics)) == 1,
            schema=schema_of(lines, how),
            read=lambda text: read_reply(text, lines, how, model=model),
        )

    def _settle(self, answered: Answered[list[Entry]], so_far: Read) -> None:
        """Take in what was found in a batch; halve one that could not be read."""
        place = self._asked.pop(id(answered.request))
        topics = self._open.pop(place)
        count = sum(map(len, topics))
        if answered.value is not None:
            self._found[place] = self._weighed(answered.value, [one.item.message for topic in topics for one in topic])
            so_far.messages += count
        elif count > 1 and isinstance(answered.fault, LESS_MAY_DO) and not self._allowance.stopped:
            for number, half in enumerate(halves(topics)):
                chosen = {id(line) for line in half}
                its = [[one for one in topic if id(one.item) in chosen] for topic in topics]
                self._again.append(((*place, number), [topic for topic in its if topic]))
        else:
            assert answered.fault is not None
            so_far.aside += [answered.fault.message] * count

    def _ready(self) -> Iterator[Entry]:
        """The facts of batches before which none is still open."""
        waiting = [*self._open, *(place for place, _ in self._again)]
        for place in sorted(self._found):
            if waiting and min(waiting) < place:
                return
            yield from self._found.pop(place)

    def _weighed(self, entries: Sequence[Entry], messages: Sequence[Message]) -> list[Entry]:
        """`entries`, those that their messages do not bear out marked as such."""
        by_key = {message.key: message for message in messages}
        talk = [told(message) for message in messages]
        said = {key: sentence_vectors(self._embedder, by_key[key]) for entry in entries for key in entry.sources}
        windows = [self._embedder.windows(entry.text)[:1] for entry in entries]
        rows = iter(self._embedder.embed([text for its in windows for text in its]))
        weighed = []
        for entry, its in zip(entries, windows, strict=True):
            sources = [by_key[key] for key in entry.sources]
            claim = next(rows) if its else None
            sentences = [said[key] for key in entry.sources]
            borne_out = is_borne_out(entry, sources, claim, sentences, talk=talk)
            weighed.append(named(replace(entry, state=entry.state if borne_out else State.UNSUPPORTED), sources))
        return weighed
