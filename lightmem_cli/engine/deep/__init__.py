"""Checks a conversation's memory down to its last row, and mends what birth, revisions or other rows attest.

History is checked first, then what is derived from it. Each check reads history as it was at one moment, and judges
nothing that a job still waits for, so that other processes may go on writing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from lightmem_cli.engine import Memory
from lightmem_cli.engine.deep import derived, seen
from lightmem_cli.engine.deep.mending import RESTORE, Mending, examine
from lightmem_cli.engine.deep.tables import (
    CALLS,
    ENTRIES,
    MESSAGES,
    READABLE,
    SHORTENED,
    TOPICS,
    TURNS,
    WORK,
    is_mended,
)
from lightmem_cli.engine.doctor import (
    Finding,
    check_embedder,
    check_processes,
    check_sensory,
    check_work,
    made_anew,
)
from lightmem_cli.engine.shorten import not_shortened, shorten_rest
from lightmem_cli.errors import MissingPart
from lightmem_cli.store.read_through import read_through

_MOST = 1000  # cells that cannot be read: who has more needs no count


def rows_of(memory: Memory) -> int:
    """How many rows `deep` goes through."""
    counts = memory.history.counts
    entries = sum(sum(its.values()) for its in counts.entries().values())
    return counts.messages() + 3 * entries + counts.vectors()


def deep(memory: Memory, *, progress: Callable[[int], None]) -> list[Finding]:
    """Check all of a memory; `progress` gets the number of rows gone through."""
    done = 0

    def step(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done)

    with ExitStack() as stack:
        mending = Mending(memory, stack)
        findings = [_check_file(mending)]
        if findings[0].well:
            findings += _check_records(mending)
        if not all(finding.well for finding in findings):
            return findings  # what cannot be read cannot be compared
        broken = derived.broken_indexes(memory)
        step(memory.history.counts.messages())
        return findings + _check_history(mending, step=step) + _check_derived(mending, broken, step=step)


def _check_history(mending: Mending, *, step: Callable[[int], None]) -> list[Finding]:
    """Whether history agrees with itself, and what waits in it."""
    findings = [*check_work(mending.memory), *check_processes(mending.memory), _check_purge(mending)]
    for group in (MESSAGES, TURNS, ENTRIES, TOPICS, CALLS, WORK):
        findings += examine(mending, group)
    findings += _check_shortened(mending)
    step(sum(sum(its.values()) for its in mending.history.counts.entries().values()))
    return [*findings, _runs(mending)]


def _check_derived(mending: Mending, broken: dict[str, str], *, step: Callable[[int], None]) -> list[Finding]:
    """Whether vectors and indexes are what follows from history."""
    memory = mending.memory
    broken = dict.fromkeys(made_anew(memory), "it was missing") | broken
    findings = seen.check_vectors(mending)
    embedder = check_embedder(memory)
    findings += [embedder, *check_sensory(memory)]
    seen.ask_again(mending)
    if embedder.well:
        if mending.begun:
            seen.embed_again(mending)
        findings.append(seen.check_views(mending, step=step))
    findings.append(derived.check_words(memory, broken=broken.get("words index"), step=step))
    space = memory.history.vectors.active_space()
    if space is not None:
        fault = broken.get("vectors index")
        findings.append(derived.check_vectors(memory, space, broken=fault, step=step))
    return findings


def _check_file(mending: Mending) -> Finding:
    """Whether SQLite can read all of the file; its own indexes it can make again."""
    history = mending.history
    problems = history.checks.integrity()
    if not problems:
        return Finding("history", True, f"{history.counts.messages():,} messages in a sound file")
    with history.transaction():
        history.mends.reindex()
    left = history.checks.integrity()
    if left:
        return Finding("history", False, left[0], RESTORE)
    return Finding("history", True, f"{problems[0]}: its indexes were made again", mended=True)


def _check_records(mending: Mending) -> list[Finding]:
    """Whether every record can be read: first what nothing here mends, which would stand in the way of the rest."""
    history = mending.history
    with history.checks.snapshot():
        found = read_through(history.connection, most=_MOST, progress=lambda rows: None, passes=is_mended)
    if not found:
        return examine(mending, READABLE)
    count = f"{len(found):,}" if len(found) < _MOST else f"{_MOST:,} or more"
    return [Finding(READABLE.name, False, f"cells that cannot be read: {count}, the first is {found[0]}", RESTORE)]


def _check_shortened(mending: Mending) -> list[Finding]:
    """Whether the shortened texts are made of their messages; those that are not are made again.

    That others have none is no damage: their words were replaced since, or nothing shortened when their topic ended.
    """
    memory, name = mending.memory, SHORTENED.name
    findings = examine(mending, SHORTENED)
    dropped = any(finding.mended for finding in findings)
    lost = not_shortened(memory)
    if lost == 0:
        return findings
    if not dropped:
        plural = "message of an ended topic has" if lost == 1 else "messages of ended topics have"
        told = Finding(name, True, f"{lost:,} {plural} none", "lightmem segment")
        return [*(finding for finding in findings if not finding.well), told]
    try:
        made = sum(shorten_rest(memory))  # what was dropped is mended in a run, and so is this
    except MissingPart as missing:
        return [*findings, Finding(name, False, missing.message, missing.hint, missing.exit_code)]
    left = not_shortened(memory)
    if left:
        return [*findings, Finding(name, False, f"{left:,} cannot be made again", "lightmem segment")]
    return [*findings, Finding(name, True, f"{made:,} made again", mended=True)]


def _check_purge(mending: Mending) -> Finding:
    """Whether nothing is left of what was purged."""
    purge = mending.history.purge
    if purge.unfinished() is None:
        return Finding("purges", True, "nothing is left of what was purged")
    seen_left = "one was cut short, and words may be left on the disk"
    assert mending.run  # its beginning finishes it
    if purge.unfinished() is None:
        return Finding("purges", True, f"{seen_left}: finished", mended=True)
    return Finding("purges", False, seen_left, "lightmem extract")


def _runs(mending: Mending) -> Finding:
    """How many commands wrote, and how many of these never came to an end. That is no damage: the next one goes on."""
    history = mending.history
    own = int(mending.begun)
    cut_short = history.checks.unended_runs() - len(history.work.owners()) - own
    seen_runs = f"{max(0, cut_short):,} were cut short" if cut_short > 0 else "all came to their end"
    return Finding("runs", True, seen_runs)
