"""Changes what a conversation is remembered by, with a trace: what says something else is embedded anew."""

from __future__ import annotations

from collections.abc import Sequence

from lightmem_cli.records import Entry, LinkKind
from lightmem_cli.store.history import History
from lightmem_cli.store.history.revisions import Revision


def revise(
    history: History,
    id: int,
    after: Entry,
    *,
    run: int,
    reason: str,
    sources: Sequence[int] | None = None,
    links: Sequence[tuple[int, LinkKind]] | None = None,
    step: int | None = None,
) -> int:
    """Rewrite an entry (see `Revisions.revise`); the number of the revision."""
    text = history.entries.get([id])[id].text
    revision = history.revisions.revise(id, after, run=run, reason=reason, sources=sources, links=links, step=step)
    if after.text != text:
        embed_anew(history, id)
    return revision


def take_back(history: History, revision: Revision, *, run: int, reason: str, step: int) -> int:
    """Give an entry back what `revision` changed; the number of the revision that does so."""
    number = history.revisions.take_back(revision, run=run, reason=reason, step=step)
    if "text" in revision.before:
        embed_anew(history, revision.entry)
    return number


def embed_anew(history: History, id: int) -> None:
    """Drop what an entry was seen through, and ask for new vectors."""
    history.vectors.forget_views(id)
    history.work.add("embed", [id])
