"""Shortens what was said in ended topics of a conversation and has no shortened text, or none any more."""

from __future__ import annotations

from collections.abc import Iterator

from lightmem_cli.engine import Memory
from lightmem_cli.protocols import Compressor
from lightmem_cli.store.history.compressed import Shortened

# What one odd topic can make a compressor raise; the others go on.
_ONE_TOPIC_FAILED = (ValueError, ArithmeticError, LookupError, RecursionError)


def not_shortened(memory: Memory) -> int:
    """How many messages of ended topics have no shortened text, though the profile shortens."""
    if memory.settings.compress.use == "none":
        return 0
    return sum(map(len, memory.history.compressed.missing().values()))


def shorten_rest(memory: Memory) -> Iterator[int]:
    """Shorten the messages of ended topics that have no shortened text, a topic at a time; how many there were of each.

    Each topic is committed when it is yielded, so that who is cut short goes on from there. It is read whole, as when
    it ended, but what it has is kept. What is forgotten, purged or blank is left alone. To be called inside a run.

    Raises:
        MissingPart: the model that shortens is not on this machine.
    """
    if not_shortened(memory) == 0:  # no model is opened for nothing
        return
    compressor = memory.sensory.compressor
    assert compressor is not None, "a profile that shortens has a compressor"
    for topic in memory.history.compressed.missing():
        yield _shorten(memory, topic, compressor)


def _shorten(memory: Memory, topic: int, compressor: Compressor) -> int:
    history = memory.history
    said = history.compressed.messages_of(topic)
    if not said:  # another process is cutting it anew
        return 0
    try:
        texts = compressor.compress(list(said.values()))
    except _ONE_TOPIC_FAILED as error:
        first = next(iter(said.values()))
        memory.notice(f"the topic of message {first.id} is not shortened: {type(error).__name__}: {error}")
        return 0
    made = {id: Shortened(id, message.content, text) for (id, message), text in zip(said.items(), texts, strict=True)}
    with history.transaction():
        # Asked again: somebody may just have forgotten or shortened one of them.
        missing = history.compressed.missing(topic).get(topic, [])
        history.compressed.keep((made[id] for id in missing if id in made), made_by=compressor.name)
        left = history.compressed.missing(topic).get(topic, [])
    return len(missing) - len(left)
