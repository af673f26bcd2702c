"""Changes a memory as `update`, `summarize` and `forget` do, each change a run with revisions of one step.

And calls the command in this process, where nothing but what it prints is of interest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from process import HASHING
from typer.testing import CliRunner, Result

from lightmem_cli.cli import app
from lightmem_cli.engine import Memory
from lightmem_cli.engine.forget import summaries_of
from lightmem_cli.engine.pending import work_off
from lightmem_cli.engine.revise import revise
from lightmem_cli.records import Entry, Kind, LinkKind, State

CHAT = (
    {"id": "1", "session": "s", "speaker": "Gina", "content": "I lost my job as a banker on 3 May 2023."},
    {"id": "2", "session": "s", "speaker": "Jon", "content": "I adopted a greyhound called Biscuit."},
    {"id": "3", "session": "t", "speaker": "Gina", "content": "I lost my job as a banker at the bank."},
    {"id": "4", "session": "t", "speaker": "Jon", "content": "Thanks!"},
    {"id": "5", "session": "t", "speaker": "Jon", "content": "I sold the house in Lisbon."},
)


def called(*arguments: str, **env: str) -> Result:
    """What `lightmem ARGUMENTS` prints, with the model-free embedder."""
    return CliRunner(env={**HASHING, **env}).invoke(app, list(arguments), prog_name="lightmem", catch_exceptions=True)


def of_kind(memory: Memory, kind: Kind) -> list[int]:
    return memory.history.entries.of_kind(kind)


def entry(memory: Memory, id: int) -> Entry:
    return memory.history.entries.get([id])[id]


def links_from(memory: Memory, id: int) -> list[tuple[int, LinkKind]]:
    return [(target, kind) for source, target, kind in memory.history.entries.links_of(id) if source == id]


def merge(memory: Memory, old: int, into: int, *, text: str | None = None) -> int:
    """Merge one entry into another, whose text is rewritten to `text`; the run."""
    history = memory.history
    with memory.run("update") as run:
        with history.transaction():
            step = history.revisions.new_step()
            one, other = entry(memory, old), entry(memory, into)
            links = [*links_from(memory, old), (into, LinkKind.MERGED_INTO)]
            reason = f"says the same as {other.id}"
            revise(history, old, replace(one, state=State.SUPERSEDED), run=run, reason=reason, links=links, step=step)
            sources = [*history.entries.source_ids(into), *history.entries.source_ids(old)]
            after = other if text is None else replace(other, text=text)
            revise(history, into, after, run=run, reason=f"{one.id} says it too", sources=sources, step=step)
        _work_off(memory, run)
    return run


def rewrite(memory: Memory, id: int, *texts: str) -> int:
    """Give an entry other texts, one after the other; the run."""
    with memory.run("update") as run:
        with memory.history.transaction():
            for text in texts:
                revise(memory.history, id, replace(entry(memory, id), text=text), run=run, reason="corrected")
        _work_off(memory, run)
    return run


def summarize(memory: Memory, ids: Sequence[int]) -> tuple[int, int]:
    """Let a summary of `ids` be born; the run and the summary."""
    history = memory.history
    with memory.run("summarize") as run:
        with history.transaction():
            entries = history.entries.get(ids)
            keys = tuple(dict.fromkeys(key for one in entries.values() for key in one.sources))
            sources = sorted({message for id in ids for message in history.entries.source_ids(id)})
            text = " ".join(one.text for one in entries.values())
            born = Entry(id="", kind=Kind.SUMMARY, text=text, conversation="", session="", sources=keys)
            links = [(id, LinkKind.SUMMARIZES) for id in ids]
            summary = history.entries.add(born, sources=sources, run=run, links=links)
            if summary is None:  # born before
                summary = history.entries.born_as(born)
                assert summary is not None
            else:
                history.work.add("embed", [summary])
        _work_off(memory, run)
    return run, summary


def hide(memory: Memory, ids: Iterable[int]) -> int:
    """Delete entries, as forgetting them would, and the summaries that quote them; the run."""
    history = memory.history
    with memory.run("forget") as run:
        with history.transaction():
            step = history.revisions.new_step()
            wanted = list(ids)
            quoting = [id for id in summaries_of(history, wanted) if entry(memory, id).state is not State.DELETED]
            for id in dict.fromkeys([*wanted, *sorted(quoting)]):
                gone = replace(entry(memory, id), state=State.DELETED)
                revise(history, id, gone, run=run, reason="forgotten", step=step)
        _work_off(memory, run)
    return run


def with_what_rests_on_it_alone(memory: Memory, turn: int) -> list[int]:
    """A turn, and what would rest on nothing that is not forgotten once its message is."""
    entries = memory.history.entries
    [message] = entries.source_ids(turn)
    resting = {id: set(entries.source_ids(id)) for id in entries.of_message(message)}
    spoken = set().union(*resting.values()).difference(entries.forgotten(set().union(*resting.values())), [message])
    return [turn, *(id for id, sources in resting.items() if id != turn and not sources & spoken)]


def _work_off(memory: Memory, run: int) -> None:
    for _ in work_off(memory, run=run):
        pass
