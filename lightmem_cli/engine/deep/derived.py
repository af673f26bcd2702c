"""Compares every row of a conversation's indexes with its history, and makes an index that differs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from lightmem_cli.engine import Memory
from lightmem_cli.engine.doctor import Finding
from lightmem_cli.language.words import analyze
from lightmem_cli.records import Space
from lightmem_cli.store.files import IndexBroken
from lightmem_cli.store.vectors import open_vectors
from lightmem_cli.store.words import open_words

_AT_ONCE = 1_000  # rows between two reports of progress

Rows: TypeAlias = Iterator[tuple[int, object]]  # by rising id
Step: TypeAlias = Callable[[int], None]


@dataclass(slots=True)
class Compared:
    """How many rows were compared, and the ids of those that differ, or are on one side alone."""

    rows: int = 0
    differing: list[int] = field(default_factory=list)


def broken_indexes(memory: Memory) -> dict[str, str]:
    """Which indexes do not open, and why. To be asked before anything opens them, as that makes them again."""
    store, folder = memory.settings.store, memory.profile.folder
    found: dict[str, str] = {}
    try:
        open_words(store.words, folder / "words", select=memory.history.selector.entries, readonly=True).close()
    except IndexBroken as broken:
        found["words index"] = broken.message
    active = memory.history.vectors.active_space()
    if active is not None:
        at = folder / "vectors" / active[1].slug
        select = memory.history.selector.vectors
        try:
            open_vectors(store.vectors, at, space=active[1], select=select, readonly=True).close()
        except IndexBroken as broken:
            found["vectors index"] = broken.message
    return found


def check_words(memory: Memory, *, broken: str | None, step: Step) -> Finding:
    """Whether the words index has each entry's terms, once."""

    def rebuild() -> None:
        memory.indexes.rebuild(space=None)

    def compare(step: Step) -> Compared:
        return _compare_words(memory, step=step)

    return _check("words index", compare, rebuild, broken=broken, memory=memory, step=step)


def check_vectors(memory: Memory, space: tuple[int, Space], *, broken: str | None, step: Step) -> Finding:
    """Whether the vectors index has each shelved vector of the space that is searched, bit for bit."""

    def rebuild() -> None:
        memory.indexes.build_vectors(space)

    def compare(step: Step) -> Compared:
        return _compare_vectors(memory, space, step=step)

    return _check("vectors index", compare, rebuild, broken=broken, memory=memory, step=step)


def _check(
    name: str,
    compare: Callable[[Step], Compared],
    rebuild: Callable[[], None],
    *,
    broken: str | None,
    memory: Memory,
    step: Step,
) -> Finding:
    """Compare, make again what differs, and compare again."""
    memory.indexes.catch_up(space=memory.history.vectors.active_space())
    fault = broken
    compared = Compared()
    try:
        compared = compare(step)
    except IndexBroken as error:
        fault = error.message
        rebuild()
        compared = compare(_silent)
    what = "entries" if name == "words index" else "vectors"
    if not compared.differing:
        if fault is None:
            return Finding(name, True, f"{compared.rows:,} {what}, each as history has it")
        return Finding(name, True, f"{fault}: made again", mended=True)
    seen = f"{len(compared.differing):,} of {compared.rows:,} {what} are not as history has them"
    rebuild()
    if compare(_silent).differing:
        return Finding(name, False, f"{seen}, also when it was made again", "lightmem reindex")
    return Finding(name, True, f"{seen}, the first is {compared.differing[0]}: made again", mended=True)


def _compare_words(memory: Memory, *, step: Step) -> Compared:
    language = memory.settings.store.language
    held = memory.indexes.words.contents()
    checks = memory.history.checks
    with checks.snapshot():
        changed = checks.changed_after(held.position, "entry")
        expected = ((id, tuple(analyze(text, language=language))) for id, text in checks.texts())
        return _compare(((row.id, row.terms) for row in held.rows), expected, changed=changed, step=step)


def _compare_vectors(memory: Memory, space: tuple[int, Space], *, step: Step) -> Compared:
    held = memory.indexes.vectors(space[1]).contents()
    checks = memory.history.checks
    with checks.snapshot():
        changed = checks.changed_after(held.position, "vector")
        return _compare(held.rows, checks.vectors.embeddings(space[0]), changed=changed, step=step)


def _compare(held: Rows, expected: Rows, *, changed: set[int], step: Step) -> Compared:
    """Walk through both at once; what changed since the index was stamped is not for it to have."""
    found = Compared()
    ours, theirs = next(held, None), next(expected, None)
    while ours is not None or theirs is not None:
        id = min(row[0] for row in (ours, theirs) if row is not None)
        here, there = ours is not None and ours[0] == id, theirs is not None and theirs[0] == id
        if ours != theirs and id not in changed:
            found.differing.append(id)
        ours, theirs = next(held, None) if here else ours, next(expected, None) if there else theirs
        found.rows += 1
        if found.rows % _AT_ONCE == 0:
            step(_AT_ONCE)
    return found


def _silent(_: int) -> None:
    """Show nobody how far it is."""
