"""`lightmem reindex`: embeds a memory anew, beside the old vectors, and makes its indexes again."""

from __future__ import annotations

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import interruptible, notice, progress

EXAMPLES = examples(
    "lightmem reindex", "lightmem config set embed.use sentence-transformers && lightmem reindex --profile work"
)


def reindex(profile: ProfileOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Embed a memory anew, and index it.

    What is not in the profile's vector space yet is embedded beside the old vectors, then the two are swapped.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.care import reindex as embed_anew

    with Memory(open_chosen(profile, home=home), notice=notice) as memory:
        state = "the vectors that were are still there, and the same command goes on from there"
        with interruptible(state), progress("embedding", unit="entries") as report:
            embedded = embed_anew(memory, progress=report)
        space = memory.embedder.space
    if as_json:
        render.as_json({"embedded": embedded, "space": space.name, "revision": space.revision})
    else:
        notice(f"embedded {embedded:,} entries with {space.name}; the indexes are new")
