"""Looks after a memory: counts what it holds, shows one piece with its sources, and checks and mends the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightmem_cli.engine import Memory
from lightmem_cli.engine.pending import embed_some
from lightmem_cli.errors import ExitCode, InputError, MissingPart, ProfileBusy
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
    """One thing that was checked: whether it is well, what was seen, the command that mends it, and its exit code."""

    check: str
    well: bool
    seen: str
    mend: str | None = None
    exit_code: ExitCode = ExitCode.STORE


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
    """Embed every entry in the profile's space beside the old vectors, index them, and swap.

    Cut short, it goes on where it stopped. Returns how many entries were embedded.

    Raises:
        ProfileBusy: another process does the same; it is that one's to finish.
    """
    history = memory.history
    embedded = 0
    with memory.run("reindex"):
        wanted = memory.embedder.space
        with history.transaction():
            space = history.vectors.space_id(wanted)
        asked: set[int] = set()  # an entry without a single word in it never gets a view, and is not asked twice
        while True:
            with history.transaction():
                missing = [id for id in history.vectors.entries_without_views(space) if id not in asked]
                asked.update(missing)
                history.work.add("embed", missing, space=space)
            while some := embed_some(memory, space=space, queue=space):
                embedded += some
                progress(embedded)
            memory.indexes.build_vectors((space, wanted))
            with history.transaction():
                if set(history.vectors.entries_without_views(space)) <= asked:
                    _swap(memory, space)
                    break
        memory.indexes.drop_other_vectors(wanted)
        memory.indexes.catch_up(space=(space, wanted))
    return embedded


def _swap(memory: Memory, space: int) -> None:
    """Compare queries in `space` from now on, and let go of the others."""
    if memory.history.work.waits("embed", space=space):
        raise ProfileBusy("another process is embedding this memory anew", hint="let it finish, or try again after it")
    memory.history.vectors.activate(space)
    memory.history.vectors.drop_other_spaces(space)


def doctor(memory: Memory) -> list[Finding]:
    """Check the parts of a memory against each other, mending what can be made again."""
    history = memory.history
    problems = history.check()
    findings = [
        Finding("history", not problems, problems[0] if problems else f"{history.counts.messages():,} messages")
    ]
    waiting = sum(history.work.pending().values())
    findings.append(Finding("pending work", True, f"{waiting:,} steps wait", "lightmem extract" if waiting else None))
    quarantined = history.work.quarantined()
    seen = f"{len(quarantined):,} items" + (f", the first: {quarantined[0].reason}" if quarantined else "")
    mend = "lightmem extract" if quarantined else None
    findings.append(Finding("quarantine", not quarantined, seen, mend, ExitCode.MODEL))
    return findings + _check_embedder(memory) + _check_indexes(memory)


def _check_embedder(memory: Memory) -> list[Finding]:
    active = memory.history.vectors.active_space()
    try:
        wanted = memory.embedder.space
    except MissingPart as missing:
        return [Finding("embedder", False, missing.message, missing.hint, ExitCode.MISSING)]
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
            Finding("words index", True, f"the words of {words:,} entries"),
            Finding("vectors index", True, f"{vectors:,} vectors, one for each distinct sentence"),
        ]
    memory.indexes.rebuild(space=space)
    return [
        Finding("words index", True, f"held {words:,} of {entries:,} entries: made again"),
        Finding("vectors index", True, f"held {vectors:,} of {shelved:,} vectors: made again"),
    ]
