"""Looks after a memory: counts what it holds, shows one piece with its sources, and checks and mends the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightmem_cli.engine import Memory
from lightmem_cli.engine.pending import embed_some, work_off
from lightmem_cli.errors import InputError, MissingPart
from lightmem_cli.records import Entry, Message


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry with the messages it rests on (each with its neighbours), its links, and what else rests on them."""

    entry: Entry
    trail: list[list[Message]]
    links: list[tuple[str, str, str]]
    siblings: list[Entry]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked: whether it is well, what was seen, and the command that mends it."""

    check: str
    well: bool
    seen: str
    mend: str | None = None


def stats(memory: Memory) -> dict[str, object]:
    """What `stats --json` prints (DESIGN §7)."""
    history = memory.history
    files = [path for path in memory.profile.folder.rglob("*") if path.is_file()]
    usage = history.counts.model_calls()
    fields = ("calls", "prompt_tokens", "completion_tokens", "cached_tokens")
    return {
        "messages": history.counts.messages(),
        "segments": history.counts.segments(),
        "entries": history.counts.entries(),
        "pending": history.work.pending(),
        "quarantined": len(history.work.quarantined()),
        "conflicts": history.counts.conflicts(),
        "llm": {purpose: {field: getattr(its, field) for field in fields} for purpose, its in usage.items()},
        "disk_bytes": sum(path.stat().st_size for path in files),
    }


def show(memory: Memory, prefix: str, *, around: int) -> Shown:
    """The turn of the message whose id is `prefix`, or else the one entry whose id begins so.

    Raises:
        InputError: no entry or several begin so.
    """
    history = memory.history
    found = history.entries.find_by_message(prefix) or history.entries.find(prefix.lower())
    if not found:
        raise InputError(f"no entry's id begins with {prefix!r}", hint="lightmem retrieve --json QUERY prints ids")
    if len(found) > 1:
        raise InputError(
            f"{prefix!r} is not one entry: {', '.join(name for _, name in found)}", hint="give more of the id"
        )
    id = found[0][0]
    entry = history.entries.get([id])[id]
    trail = [history.messages.around(key, radius=around) for key in entry.sources]
    resting = {other for message in history.entries.source_ids(id) for other in history.entries.of_message(message)}
    siblings = [other for other_id, other in sorted(history.entries.get(resting).items()) if other_id != id]
    return Shown(entry=entry, trail=trail, links=history.entries.links_of(id), siblings=siblings)


def reindex(memory: Memory, *, progress: Callable[[int], None]) -> int:
    """Embed every entry in the profile's space beside the old vectors, swap, and make the indexes again.

    Queries go on in the old space until the swap; cut short, it goes on where it stopped. Returns how many entries
    were embedded.
    """
    history = memory.history
    embedded = 0
    with memory.run("reindex") as run:
        wanted = memory.embedder.space
        with history.transaction():
            space = history.vectors.space_id(wanted)
        for done in work_off_if_same(memory, run=run):
            embedded += done
        asked: set[int] = set()  # an entry without a single word in it never gets a view, and is not asked twice
        while True:
            with history.transaction():
                waiting = [id for id in history.vectors.entries_without_views(space) if id not in asked]
                if not waiting:
                    history.vectors.activate(space)
                    history.vectors.drop_other_spaces(space)
                    break
                asked.update(waiting)
                history.work.add("embed", waiting, space=space)
            while some := embed_some(memory, space=space, queue=space):
                embedded += some
                progress(embedded)
        memory.indexes.rebuild(space=(space, wanted))
    return embedded


def work_off_if_same(memory: Memory, *, run: int) -> list[int]:
    """Do the pending work first, where the profile's space is the active one."""
    active = memory.history.vectors.active_space()
    if active is not None and active[1] != memory.embedder.space:
        return []
    return [done.embedded for done in work_off(memory, run=run)]


def doctor(memory: Memory) -> list[Finding]:
    """Check the parts of a memory against each other, mending what can be made again."""
    history = memory.history
    problems = history.check()
    findings = [
        Finding("history", not problems, problems[0] if problems else f"{history.counts.messages():,} messages")
    ]
    waiting = sum(history.work.pending().values())
    findings.append(
        Finding("pending work", not waiting, f"{waiting:,} items wait", "lightmem extract" if waiting else None)
    )
    quarantined = history.work.quarantined()
    seen = f"{len(quarantined):,} items" + (f", the first: {quarantined[0].reason}" if quarantined else "")
    findings.append(Finding("quarantine", not quarantined, seen, "lightmem extract" if quarantined else None))
    return findings + _check_embedder(memory) + _check_indexes(memory)


def _check_embedder(memory: Memory) -> list[Finding]:
    active = memory.history.vectors.active_space()
    try:
        wanted = memory.embedder.space
    except MissingPart as missing:
        return [Finding("embedder", False, missing.message, missing.hint)]
    if active is None or active[1] == wanted:
        return [Finding("embedder", True, f"{wanted.name} {wanted.revision}, {wanted.dimension} dimensions")]
    return [
        Finding("embedder", False, f"vectors are of {active[1].name}, settings of {wanted.name}", "lightmem reindex")
    ]


def _check_indexes(memory: Memory) -> list[Finding]:
    """Compare each index's size with history's; one that differs is made again."""
    history = memory.history
    space = history.vectors.active_space()
    memory.indexes.catch_up(space=space)
    words, entries = len(memory.indexes.words), sum(sum(its.values()) for its in history.counts.entries().values())
    vectors = len(memory.indexes.vectors(space[1])) if space else 0
    shelved = history.vectors.count(space[0]) if space else 0
    if (words, vectors) == (entries, shelved):
        return [
            Finding("words index", True, f"{words:,} entries"),
            Finding("vectors index", True, f"{vectors:,} vectors"),
        ]
    memory.indexes.rebuild(space=space)
    return [
        Finding("words index", True, f"held {words:,} of {entries:,} entries: made again"),
        Finding("vectors index", True, f"held {vectors:,} of {shelved:,} vectors: made again"),
    ]
