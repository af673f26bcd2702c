"""Looks after a memory of conversations: counts what it holds, and embeds and indexes it anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from lightmem_cli.engine import Memory
from lightmem_cli.engine.embedding import embed_some
from lightmem_cli.engine.topics import cut_now_or_later
from lightmem_cli.errors import ProfileBusy


def stats(memory: Memory) -> dict[str, object]:
    """What `stats --json` prints (DESIGN §7); `held` only while other processes hold some of what is pending."""
    history = memory.history
    holders = history.work.holders()
    files = [path for path in memory.profile.folder.rglob("*") if path.is_file()]
    shortened, kept = history.counts.compressed()
    return {
        "messages": history.counts.messages(),
        "segments": history.counts.segments(),
        "compressed": {"messages": shortened, "kept": round(kept, 4) if shortened else None},
        "entries": history.counts.entries(),
        "pending": history.work.pending(),
        **({"held": [owner._asdict() for owner in holders]} if holders else {}),
        "quarantined": len(history.work.quarantined()),
        "conflicts": history.counts.conflicts(),
        "pinned": history.counts.pinned(),
        "forgotten": history.counts.forgotten(),
        "llm": {
            purpose: asdict(asked.usage) | {"seconds": round(asked.seconds, 3)}
            for purpose, asked in history.counts.model_calls().items()
        },
        "disk_bytes": sum(path.stat().st_size for path in files),
    }


def reindex(memory: Memory, *, progress: Callable[[int], None]) -> int:
    """Embed every entry in the profile's space beside the old vectors, index them, and swap.

    Cut short, it goes on where it stopped. Returns how many entries were embedded.

    Raises:
        ProfileBusy: another process does the same; it is that one's to finish.
    """
    history = memory.history
    embedded = 0
    with memory.run("reindex") as run:
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
        for _ in cut_now_or_later(memory, run=run):  # of what could not be embedded in the space that was
            pass
    return embedded


def _swap(memory: Memory, space: int) -> None:
    """Compare queries in `space` from now on, and let go of the others."""
    if memory.history.work.waits("embed", space=space):
        raise ProfileBusy("another process is embedding this memory anew", hint="let it finish, or try again after it")
    memory.history.vectors.activate(space)
    memory.history.vectors.drop_other_spaces(space)
