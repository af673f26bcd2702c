"""Checks through which vectors a conversation is found, and embeds again what is seen wrongly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from lightmem_cli.engine.deep.mending import Check, Group, Mending, examine, told
from lightmem_cli.engine.doctor import Finding
from lightmem_cli.engine.embedding import embed_some, views
from lightmem_cli.engine.topics import cut_now_or_later
from lightmem_cli.records import Entry
from lightmem_cli.store.history.checks import Checks
from lightmem_cli.store.history.faults import Fault
from lightmem_cli.store.history.vectors import text_hash

_AT_ONCE = 1_000  # entries, or vectors
_FAR_FROM_ONE = 0.01  # float16 keeps the length of a unit vector to .001

_UNREADABLE = (ValueError, ArithmeticError, LookupError, RecursionError)  # what an odd text can raise


def check_vectors(mending: Mending) -> list[Finding]:
    """Whether each vector is one, and is of use."""
    checks = [
        Check("vectors that are none", _not_vectors, _drop, made="dropped, and made again"),
        Check("spaces, of which not one is the one that is searched", _not_one_space, _choose_space, made="chosen"),
        Check("vectors that nothing is seen through", partial(_unused, mending), _drop, made="dropped"),
    ]
    return examine(mending, Group("vectors", lambda memory: f"{memory.history.counts.vectors():,} of length 1", checks))


def ask_again(mending: Mending) -> bool:
    """Ask for what mending has changed to be embedded anew; whether there is anything."""
    history = mending.history
    again, mending.again = dict.fromkeys(mending.again), []
    if again:
        with history.transaction():
            history.work.add("embed", history.entries.get(again))
    return bool(again)


def embed_again(mending: Mending) -> None:
    """Embed that, and cut the topics that mending has opened."""
    memory = mending.memory
    space = memory.space()[0]
    while embed_some(memory, space=space, queue=0):
        pass
    for _ in cut_now_or_later(memory, run=mending.run):
        pass


def check_views(mending: Mending, *, step: Callable[[int], None]) -> Finding:
    """Whether each entry is seen through the vectors of what it says now."""
    active = mending.history.vectors.active_space()
    if active is None:
        return Finding("views", True, "nothing is embedded yet")
    wrong, count = [], 0
    for seen in _seen(mending, space=active[0]):
        step(len(seen))
        count += len(seen)
        wrong += [fault for fault, well in seen if not well]
    if not wrong:
        return Finding("views", True, f"{count:,} entries are seen through what they say")
    assert mending.run
    mending.again = [fault.id for fault in wrong]
    ask_again(mending)
    embed_again(mending)
    left = [fault for fault in wrong if not _is_seen(mending, fault.id, space=active[0])]
    if left:
        return Finding("views", False, told("entries that cannot be embedded", left), "lightmem extract")
    return Finding("views", True, f"{told('entries seen wrongly', wrong)}: made again", mended=True)


def _seen(mending: Mending, *, space: int) -> Iterator[list[tuple[Fault, bool]]]:
    """Entries, some at a time, and whether each is seen rightly, or waits to be."""
    history, last = mending.history, 0
    while True:
        with history.checks.snapshot():
            ids = history.checks.vectors.entries_after(last, limit=_AT_ONCE)
            if not ids:
                return
            waiting = history.checks.vectors.to_be_embedded()
            found = history.checks.vectors.seen_through(ids, space=space)
            judged = [
                (Fault(id, entry.id), id in waiting or _expected(mending, id, entry) == found.get(id, []))
                for id, entry in history.entries.get(ids).items()
            ]
        yield judged
        last = ids[-1]


def _is_seen(mending: Mending, id: int, *, space: int) -> bool:
    with mending.history.checks.snapshot():
        entry = mending.history.entries.get([id]).get(id)
        found = mending.history.checks.vectors.seen_through([id], space=space)
        return entry is None or _expected(mending, id, entry) == found.get(id, [])


def _expected(mending: Mending, id: int, entry: Entry) -> list[bytes] | None:
    """The hashes of the texts an entry is to be seen through; None where they cannot be told."""
    try:
        return [text_hash(text) for text in views(mending.memory, id, entry)]
    except _UNREADABLE:
        return None


def _not_vectors(checks: Checks) -> list[Fault]:
    """Vectors of another dimension than their space, or not of length 1."""
    found = []
    for space, dimension, _ in checks.vectors.spaces():
        rows = iter(checks.vectors.embeddings(space))
        while some := list(islice(rows, _AT_ONCE)):
            found += [Fault(id, f"vector {id}") for id in _odd(some, dimension=dimension)]
    return found


def _odd(rows: Iterable[tuple[int, bytes]], *, dimension: int) -> list[int]:
    import numpy as np

    whole = [(id, data) for id, data in rows if len(data) == 2 * dimension]
    odd = [id for id, data in rows if len(data) != 2 * dimension]
    vectors = np.frombuffer(b"".join(data for _, data in whole), "<f2").astype(np.float64).reshape(-1, dimension)
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    near = np.abs(lengths - 1) <= _FAR_FROM_ONE  # false for what is not a number, too
    return sorted([*odd, *(id for (id, _), well in zip(whole, near.tolist(), strict=True) if not well)])


def _unused(mending: Mending, checks: Checks) -> list[Fault]:
    """Vectors without a view; while another process is at work it may be about to use one."""
    return [] if mending.history.work.owners() else checks.vectors.unused_vectors()


def _drop(mending: Mending, faults: Iterable[Fault]) -> None:
    ids = [fault.id for fault in faults]
    for space, _, active in mending.history.checks.vectors.spaces():
        if active:
            mending.again += mending.history.mends.drop_vectors(ids, space=space)
            return
    mending.history.mends.drop_vectors(ids, space=0)


def _not_one_space(checks: Checks) -> list[Fault]:
    spaces = checks.vectors.spaces()
    searched = sum(active for _, _, active in spaces)
    return [Fault(id, f"space {id}") for id, _, _ in spaces] if spaces and searched != 1 else []


def _choose_space(mending: Mending, faults: Iterable[Fault]) -> None:
    """Search the one that holds the most."""
    vectors = mending.history.vectors
    vectors.activate(max((fault.id for fault in faults), key=vectors.count))
