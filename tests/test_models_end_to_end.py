"""The whole product with a language model, as a shell sees it: real commands, real clients, a scripted server.

conv-26 with paper.toml, its 419 messages shortened and cut by a tiny stand-in for LLMLingua-2; then StructMem's events.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from model_life import BIRDS, MODEL, WIRES, Life, Wire, as_lines, asks, notes, spent, talk
from model_server import Asked, ModelServer
from process import start
from tiny_token_models import make_tiny_llmlingua

from lightmem_cli.prompts import load
from lightmem_cli.records import Kind, State

QUESTION = "When did Caroline go to the LGBTQ support group?"
ASKED = ("--asked-at", "2023-11-01")
PURPOSES = {"facts": "extract", "events": "extract", "update": "update", "summary": "summarize", "answer": "ask"}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        running.reply = says
        running.models = [MODEL]
        yield running


def says(asked: Asked) -> str:
    """`notes`, and an answer that cites the piece of memory which holds it; the first doubt is a correction."""
    if "Question" in asked.prompt:
        number = re.findall(r"^\[(\d+)\].*LGBTQ support group yesterday", asked.prompt, re.MULTILINE)[0]
        return (
            f"Caroline went to the LGBTQ support group on 7 May 2023 [{number}], and it was powerful to her [{number}]."
        )
    if compared := re.search(r"^Compare:\n(\d+): (\d+)", asked.prompt, re.MULTILINE):
        older, newer = map(int, compared.groups())
        return json.dumps({"verdicts": [{"older": older, "newer": newer, "does": "corrects"}]})
    return notes(asked)


def purpose(asked: Asked) -> str:
    """What a call was for, by its instructions."""
    [found] = [what for name, what in PURPOSES.items() if asked.prefix.startswith(load(name).always[:120])]
    return "probe" if found == "extract" and "Lyon in March" in asked.prompt else found


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def is_within(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether `part` is what is left of `whole` when words of it are left out."""
    rest = iter(whole)
    return all(any(word == other for other in rest) for word in part)


def printed(life: Life, *arguments: str) -> list[Any]:
    """What a command in a process of its own prints as JSON lines."""
    return [json.loads(line) for line in life.runs(*arguments).stdout.splitlines()]


@pytest.mark.parametrize("wire", WIRES)
def test_a_whole_life(wire: Wire, server: ModelServer, home: Path, tmp_path: Path, lightmem_data: Path) -> None:
    transcript = lightmem_data / "locomo" / "conv-26.messages.jsonl"
    tiny = make_tiny_llmlingua(tmp_path)
    env = {"LIGHTMEM_COMPRESS__MODEL": str(tiny), **asks(server, wire)}
    life = Life(home, env)
    life.here("init", "default", "--from", "paper")
    taken = json.loads(life.runs("ingest", transcript, "--json").stdout)
    assert (taken["messages"], taken["facts"], taken["calls"]) == (419, taken["facts"], len(server.calls))
    _facts_rest_on_what_was_said(life, _rows(transcript))
    _metadata_and_topics_are_kept(life, _rows(transcript))
    _days_are_summarized(life, server, _rows(transcript))
    _corrections_are_made(life, server)
    _an_answer_is_streamed(life, server, wire)
    _answers_cite_what_was_said(life, server, wire)
    _all_is_well(life)
    _counts_are_the_servers(life, server)
    _again_costs_nothing(life, server, transcript)


def _rows(transcript: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in transcript.read_text("utf-8").splitlines()]
    return {row["id"]: row for row in rows}


def _facts_rest_on_what_was_said(life: Life, said: Mapping[str, Mapping[str, Any]]) -> None:
    """Each message is the source of one fact, which has its words: those that the compressor kept, in their order."""
    facts = life.entries(Kind.FACT)
    assert [fact.text for fact in facts if fact.state is not State.ACTIVE] == []
    assert sorted(key.id for fact in facts for key in fact.sources) == sorted(said)
    for fact in facts:
        [source] = fact.sources
        message = said[source.id]
        name, _, its = fact.text.partition(" said: ")
        told = f"{message['content']} image {message.get('image_caption', '')}"
        kept = words(its)[:-1] if len(fact.text) >= 300 else words(its)  # the last may be cut
        assert name == message["speaker"] == fact.speaker
        assert is_within(kept, words(told)), (fact.text, message)
        assert fact.said_at == datetime.fromisoformat(f"{message['timestamp']}+00:00")
        assert (source.conversation, source.session) == ("conv-26", message["session"])


def _metadata_and_topics_are_kept(life: Life, said: Mapping[str, object]) -> None:
    facts, summaries = life.entries(Kind.FACT), life.entries(Kind.SUMMARY)
    assert {fact.importance for fact in facts} == {0.7}
    assert {(fact.keywords, fact.entities) for fact in facts} == {(("friends", "talk", "told"), ("Clara",))}
    told = Counter(key.id for summary in summaries for key in summary.sources)
    assert told == Counter(said.keys()), "every message is told of in the summary of its topic, and in no other"
    assert all(len({key.session for key in summary.sources}) == 1 for summary in summaries)
    made = {(entry.prompt, entry.model) for entry in (*facts, *summaries)}
    assert made == {("facts-1", f"{life.env['LIGHTMEM_LLM__USE']}/{MODEL}")}


def _days_are_summarized(life: Life, server: ModelServer, said: Mapping[str, Mapping[str, Any]]) -> None:
    days = {row["timestamp"][:10] for row in said.values()}
    before = len(server.calls)
    rows = printed(life, "summarize", "--use", "llm", "--json")
    assert sorted(row["from"][:10] for row in rows) == sorted(days)
    assert len(server.calls) - before == len(days)
    for row in rows:
        own = [said[id]["timestamp"][:10] for id in row["sources"]]
        assert own, "a summary rests on messages"
        assert set(own) == {row["from"][:10]}
    assert life.rows("summarize", "--use", "llm") == []
    assert len(server.calls) - before == len(days), "the second time nothing was asked"
    found = life.row("retrieve", "LGBTQ support group", "--kind", "summary")["hits"]
    assert found
    assert {id for hit in found for id in hit["sources"]} <= said.keys()


def _corrections_are_made(life: Life, server: ModelServer) -> None:
    before = len(server.calls)
    steps = printed(life, "update", "--json")
    asked = server.calls[before:]
    assert {purpose(call) for call in asked} == {"update"}
    assert {step["do"] for step in steps} == {"correct"}
    assert len(steps) <= len(asked)  # what one reply corrects, another may find gone
    gone = {entry.id for entry in life.entries(Kind.FACT) if entry.state is State.SUPERSEDED}
    assert gone == {step["old"]["id"] for step in steps}
    assert life.rows("update") == []
    assert len(server.calls) == before + len(asked), "the second time nothing was asked"


def _an_answer_is_streamed(life: Life, server: ModelServer, wire: Wire) -> None:
    """What was said so far stands on stdout while the server is still speaking."""
    go_on, pieces = Event(), iter(range(1000))

    def between() -> None:
        if next(pieces) == 20:
            go_on.wait(60)

    server.between = between
    asked = start(
        "ask", QUESTION, *ASKED, env=life.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert asked.stdout is not None
    begun = asked.stdout.read(10)
    call = server.calls[-1]
    assert begun
    assert b"Caroline went".startswith(begun)
    assert call.stream
    assert call.ended is None, "the server is not done"
    go_on.set()
    rest, told = asked.communicate(timeout=60)
    server.between = lambda: None
    life.said += [begun + rest, told]
    assert (asked.returncode, told) == (0, b"")
    answer, blank, source, place = (begun + rest).decode().splitlines()
    [number] = set(re.findall(r"\[(\d+)\]", answer))
    assert answer == says(call)
    assert blank == ""
    assert source.startswith(f"[{number}] 2023-05-08T13:56:00 Mon Caroline: I went to a LGBTQ support group yesterday")
    assert "session session_1, message D1:3" in place


def _answers_cite_what_was_said(life: Life, server: ModelServer, wire: Wire) -> None:
    before = len(server.calls)
    answer = life.row("ask", QUESTION, *ASKED)
    assert len(server.calls) == before, "the answer is known"
    assert answer["answer"] == says(server.calls[-1])
    [citation] = answer["citations"]
    assert citation["sources"] == ["D1:3"]
    [evidence] = citation["evidence"]
    assert (evidence["id"], evidence["session"], evidence["time"]) == ("D1:3", "session_1", "2023-05-08T13:56:00")
    assert citation["speaks_of"] == [["2023-05-07T00:00:00", "2023-05-08T00:00:00"]]
    assert (answer["found"], answer["model"]) == (True, f"{wire}/{MODEL}")
    [anew] = printed(life, "ask", f"{QUESTION} Please?", *ASKED, "--json")
    prompts, replies = spent(server, server.calls[before:])
    assert anew["usage"] == {"calls": 1, "prompt_tokens": prompts, "completion_tokens": replies, "cached_tokens": 0}
    context = life.here("ask", QUESTION, *ASKED, "--context").stdout
    asked = next(call for call in server.calls if call.prompt.endswith(QUESTION))
    assert context == f"{asked.prefix}\n\n{asked.prompt}\n"
    assert len(server.calls) == before + 1


def _all_is_well(life: Life) -> None:
    quick, deep = printed(life, "doctor", "--json"), life.rows("doctor", "--deep")
    assert [finding for finding in (*quick, *deep) if not finding["well"] or finding["mended"]] == []
    assert {"language model", "its replies", "its context"} <= {finding["check"] for finding in quick}


def _counts_are_the_servers(life: Life, server: ModelServer) -> None:
    counted = life.row("stats")["llm"]
    assert set(counted) == {"extract", "update", "summarize", "ask", "probe"}
    for name, its in counted.items():
        calls = [call for call in server.calls if purpose(call) == name]
        prompts, replies = spent(server, calls)
        told = (its["calls"], its["prompt_tokens"], its["completion_tokens"], its["cached_tokens"])
        assert told == (len(calls), prompts, replies, 0), name


def _again_costs_nothing(life: Life, server: ModelServer, transcript: Path) -> None:
    life.here("summarize", "--use", "llm", "--all")  # days of which facts were corrected are told anew
    life.here("ask", QUESTION, *ASKED)
    asked, kept = len(server.calls), life.kept()
    assert life.row("ingest", transcript)["known"] == 419
    life.here("extract")
    life.here("summarize", "--use", "llm")
    life.here("summarize", "--use", "llm", "--all")
    life.here("update")
    life.here("ask", QUESTION, *ASKED)
    assert len(server.calls) == asked
    assert life.kept() == kept


@pytest.mark.parametrize("wire", WIRES)
def test_events(wire: Wire, server: ModelServer, home: Path) -> None:
    """StructMem: facts and relations of the same turns, days retold with what came before beside them."""
    life = Life(home, asks(server, wire))
    life.here("init", "default", "--from", "structmem")
    life.runs("ingest", "-", feed=as_lines(talk()))
    facts, relations = life.entries(Kind.FACT), life.entries(Kind.RELATION)
    assert (len(facts), len(relations)) == (40, 40)
    for entries, said in ((facts, "said"), (relations, "told it")):
        for entry in entries:
            [bird] = [bird for bird in BIRDS if bird in entry.text]
            assert f" {said}: " in entry.text
            assert [key.id for key in entry.sources] == [f"m{BIRDS.index(bird)}"]
            assert (entry.state, entry.prompt) == (State.ACTIVE, "events-1")
    assert Counter(fact.sources for fact in facts) == Counter(relation.sources for relation in relations)
    assert {purpose(call) for call in server.calls} == {"extract"}

    before = len(server.calls)
    days = printed(life, "summarize", "--json")
    assert sorted(row["from"][:10] for row in days) == [f"2024-05-0{day}" for day in range(1, 6)]
    calls = server.calls[before:]
    assert len(calls) == 5
    assert sum("<earlier>" in call.prompt for call in calls) == 4, "the first day has none before it"
    for row in days:
        day = int(row["from"][8:10])
        assert set(row["sources"]) <= {f"m{number}" for number in range(8 * day)}
    assert life.rows("summarize") == []
    assert len(server.calls) == before + 5
    found = life.row("retrieve", "avocet", "--kind", "relation")["hits"]
    assert found[0]["sources"] == ["m0"]
