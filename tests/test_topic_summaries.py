"""Summaries of topics, written by a language model while it extracts: found, sound, and forgotten with their facts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memories import line, opened, take_into

from lightmem_cli.engine import Memory
from lightmem_cli.engine.deep import deep
from lightmem_cli.engine.forget import Target, forget, resolve
from lightmem_cli.engine.pending import work_off
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.summaries import summarize
from lightmem_cli.llm.scripted import ScriptedModel, every_line_a_fact
from lightmem_cli.protocols import Prompt
from lightmem_cli.records import Entry, Filter, Kind, LinkKind, State

SAID = (
    "I adopted a greyhound called Biscuit.",
    "My sister Clara moved to Lisbon.",
    "I sold three bowls at the market.",
)


def told(prompt: Prompt) -> str:
    reply = json.loads(every_line_a_fact(prompt))
    topics = re.findall(r"^## .*?topic (\d+)", prompt.body, flags=re.MULTILINE)
    reply["topics"] = [
        {"topic": int(number), "summary": f"In matter {number} Anna told her news."} for number in topics
    ]
    return json.dumps(reply)


@contextmanager
def remembered(home: Path) -> Iterator[Memory]:
    rows = [
        line(id=f"m{day}", session=f"s{day}", speaker="Anna", timestamp=f"2024-05-0{day}T10:00:00Z", content=text)
        for day, text in enumerate(SAID, start=1)
    ]
    extract = {"use": "llm", "summary": True, "buffer_tokens": 64}
    with opened(home, extract=extract, llm={"use": "scripted"}) as memory:
        memory.__dict__["model"] = ScriptedModel(told)
        take_into(memory, rows)
        with memory.run("extract") as run:
            list(work_off(memory, run=run, ask="all"))
        yield memory


def of_kind(memory: Memory, kind: Kind) -> dict[int, Entry]:
    return memory.history.entries.get(memory.history.entries.of_kind(kind))


def sound(memory: Memory) -> None:
    assert [found for found in deep(memory, progress=lambda rows: None) if not found.well or found.mended] == []


def test_each_topic_has_one_and_it_points_to_the_facts_of_its_messages(home: Path) -> None:
    with remembered(home) as memory:
        summaries, facts = of_kind(memory, Kind.SUMMARY), of_kind(memory, Kind.FACT)
        assert [entry.session for entry in summaries.values()] == ["s1", "s2", "s3"]
        for id, entry in summaries.items():
            links = memory.history.entries.links_from(id)
            assert {kind for _, kind in links} == {LinkKind.SUMMARIZES}
            assert {facts[target].sources for target, _ in links} == {entry.sources}
        sound(memory)


def test_retrieval_finds_them_where_they_are_asked_for(home: Path) -> None:
    with remembered(home) as memory:
        hits = Recall(memory).retrieve(Query(text="What news did Anna tell?", where=Filter(kinds=(Kind.SUMMARY,))))
        assert len(hits) == 3


def test_who_forgets_a_fact_forgets_what_retells_it(home: Path) -> None:
    with remembered(home) as memory:
        biscuit = next(entry for entry in of_kind(memory, Kind.FACT).values() if "Biscuit" in entry.text)
        forget(memory, resolve(memory, Target(ids=(biscuit.id,))))
        states = [entry.state for entry in of_kind(memory, Kind.SUMMARY).values()]
        assert states == [State.DELETED, State.ACTIVE, State.ACTIVE]
        sound(memory)


def test_summaries_of_days_leave_them_alone(home: Path) -> None:
    with remembered(home) as memory:
        before = of_kind(memory, Kind.SUMMARY)
        summarize(memory)
        summarize(memory, anew=True)
        now = of_kind(memory, Kind.SUMMARY)
        assert {id: now[id] for id in before} == before
        sound(memory)
