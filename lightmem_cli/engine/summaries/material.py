"""Reads what a language model is shown of a stretch of a conversation, and drafts the summary it makes of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Request
from lightmem_cli.engine.summaries.drafts import (
    FEWEST,
    Draft,
    days_said,
    last_said,
    mean_vectors,
    sources_of,
    summary_of,
)
from lightmem_cli.engine.summaries.seeds import Seeds
from lightmem_cli.prompts import load
from lightmem_cli.records import Entry, Kind, TimeRange
from lightmem_cli.summarize import Per, Window, choose, heading
from lightmem_cli.summarize.llm import SCHEMA, Told, line, read_reply, render, reply_tokens

KINDS = (Kind.FACT, Kind.RELATION)
_MOST_SHOWN = 6_000  # tokens of lines, some 200 facts: a few sentences need no more, however much the model reads
LEAST = 100  # tokens of lines: what is too long even so, is not so because of them
_LEAST_SHOWN = 200  # tokens of lines that are tried, whatever context the model says it has
_SPARE = 0.85  # of the context: servers count other tokens than we do, and set templates around prompts


@dataclass(frozen=True, slots=True)
class Material:
    """What is shown of a window, by history's integers and in the order said: `facts` of it, and what came `earlier`.

    `own` are all facts and relations of the window; `tokens` are those of the lines.
    """

    window: Window
    days: TimeRange | None
    own: tuple[int, ...]
    facts: dict[int, Entry]
    earlier: dict[int, Entry]
    tokens: int

    @property
    def shown(self) -> dict[int, Entry]:
        return self.facts | self.earlier


class Materials:
    """Reads windows of one kind for a language model: a function of what is remembered, its vectors and the settings.

    Of a window with more facts than there is room for, those are shown that tell all of them best. To summarize it in
    parts, and then the parts, would ask several times, and lose twice what one reply leaves out.
    """

    def __init__(self, memory: Memory, *, space: int | None) -> None:
        settings = memory.settings.summarize
        self._history = memory.history
        self._model = memory.model
        self._space = space
        self._per: Per = settings.window
        self._most = settings.sentences
        self._zone = memory.settings.transcript.zone
        self._seeds = Seeds(memory.history, most=settings.seeds, scope=settings.scope, space=space)
        self._room = self._room_for_lines()

    def of(self, window: Window, *, room: int | None = None) -> Material | None:
        """What there is to show of a window as it is now; None where that is too little to summarize."""
        room = room or self._room
        own = self._own(window)
        entries = self._history.entries.get(own)
        if len({" ".join(entry.text.casefold().split()) for entry in entries.values()}) < FEWEST:
            return None
        facts = self._fitting(own, entries, room=room)
        earlier = self._seeds.of(window, own=own, shown=facts)
        left = max(room // 4, room - sum(map(self._cost, facts.values())))
        kept = self._first(earlier, room=left)
        days = window.days or days_said(entries.values(), zone=self._zone)
        tokens = sum(map(self._cost, [*facts.values(), *kept.values()]))
        return Material(window, days, tuple(own), facts, kept, tokens)

    def holds(self, material: Material) -> bool:
        """Whether all that was shown is still as it was, and nothing has come to the window."""
        shown = material.shown
        return tuple(self._own(material.window)) == material.own and self._history.entries.get(shown) == shown

    def request(self, material: Material) -> Request[Told]:
        facts, earlier = list(material.facts.values()), list(material.earlier.values())
        title = self._title(material)
        return Request(
            purpose="summarize",
            version=load("summary").version,
            prompt=render(facts, earlier, title=title, most=self._most, zone=self._zone),
            most=reply_tokens(lines=len(material.shown), most=self._most),
            messages=sources_of(self._history, material.shown),
            least=material.tokens <= LEAST,
            read=partial(read_reply, facts=facts, earlier=earlier, title=title, most=self._most),
            schema=SCHEMA,
        )

    def draft(self, material: Material, told: Told) -> Draft:
        """The summary that says what a model told of a window. It rests on the lines that were named."""
        shown = list(material.shown)
        named = {shown[at]: material.shown[shown[at]] for at in told.of}
        facts = {id: entry for id, entry in named.items() if id in material.facts}
        title = self._title(material)
        text = f"{title}: {told.text}" if title else told.text
        entry = summary_of(material.window, list(named.values()), text=text, days=material.days)
        entry = replace(
            entry,
            said_at=last_said([*material.facts.values(), *named.values()]),
            prompt=load("summary").version,
            model=self._model.name,
        )
        return Draft(entry, facts, tuple(shown), sources_of(self._history, named), len(material.own))

    def _own(self, window: Window) -> list[int]:
        windows = self._history.windows
        if window.days is not None:
            return windows.facts_between(window.conversation, window.days, kinds=KINDS)
        undated = self._per != "session"
        return windows.facts_of_session(window.conversation, window.session, undated=undated, kinds=KINDS)

    def _title(self, material: Material) -> str:
        return heading(material.days, per=self._per) if material.days else ""

    def _fitting(self, own: Sequence[int], entries: Mapping[int, Entry], *, room: int) -> dict[int, Entry]:
        """The facts of a window, or where their lines are too many for `room`, those that tell all of them best."""
        costs = [self._cost(entries[id]) for id in own]
        if sum(costs) <= room:
            return {id: entries[id] for id in own}
        facts = [entries[id] for id in own]
        most = max(FEWEST, room * len(own) // sum(costs))
        chosen = choose(facts, mean_vectors(self._history, own, space=self._space), most=most)
        while len(chosen) > FEWEST and sum(costs[at] for at in chosen) > room:
            chosen.remove(max(chosen, key=lambda at: (costs[at], -at)))
        return {own[at]: facts[at] for at in chosen}

    def _first(self, entries: Mapping[int, Entry], *, room: int) -> dict[int, Entry]:
        """As many of `entries` as fit, from the last said on backwards; in their order."""
        kept: list[int] = []
        for id in reversed(list(entries)):
            room -= self._cost(entries[id])
            if room < 0:
                break
            kept.append(id)
        return {id: entries[id] for id in reversed(kept)}

    def _cost(self, entry: Entry) -> int:
        return self._model.tokens(line(entry, zone=self._zone)) + 4  # its number, and its share of a heading

    def _room_for_lines(self) -> int:
        if not self._model.context:
            return _MOST_SHOWN
        fixed = self._model.tokens(load("summary").prefix()) + reply_tokens(lines=0, most=self._most) + 30
        free = int(self._model.context * _SPARE) - self._model.thoughts - fixed
        return max(_LEAST_SHOWN, min(_MOST_SHOWN, free * 4 // 5))  # a fifth for the numbers in the reply
