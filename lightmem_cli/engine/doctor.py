"""Checks the parts of a conversation's memory against each other, and mends what can be made again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from lightmem_cli.engine import NO_LOCKS, Memory
from lightmem_cli.engine.extraction import waits_for_topics
from lightmem_cli.errors import ExitCode, MissingPart

_TRIES = 5  # at a moment in which nobody writes
_OF_TOPICS = {"segment", "close"}  # stages of work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked: whether it is well now, and what was seen; if it was not well before, it is `mended`.

    What is not well has the command that mends it, and its exit code.
    """

    check: str
    well: bool
    seen: str
    mend: str | None = None
    exit_code: ExitCode = ExitCode.STORE
    mended: bool = False


def doctor(memory: Memory) -> list[Finding]:
    """Check the parts of a memory against each other, mending what can be made again."""
    problems = memory.history.check()
    seen = problems[0] if problems else f"{memory.history.counts.messages():,} messages"
    findings = [
        Finding("history", not problems, seen),
        *check_work(memory),
        *check_processes(memory),
        check_embedder(memory),
        *check_sensory(memory),
    ]
    return findings + _check_indexes(memory)


def check_work(memory: Memory) -> list[Finding]:
    """What waits to be done, and what was set aside."""
    work = memory.history.work
    pending, quarantined = work.pending(), work.quarantined()
    topics_open = waits_for_topics(memory)
    waiting = f"{sum(pending.values()):,} steps wait"
    if topics_open and pending.keys() == {"extract"}:
        waiting = f"{pending['extract']:,} messages wait for their topics to end"
    seen = f"{len(quarantined):,} items" + (f", the first: {quarantined[0].reason}" if quarantined else "")
    return [
        Finding("pending work", True, waiting, mends_of(pending, topics_open=topics_open)),
        Finding("quarantine", not quarantined, seen, mends_of(one.stage for one in quarantined), ExitCode.MODEL),
    ]


def mends_of(stages: Iterable[str], *, topics_open: bool = False) -> str | None:
    """The command that does the waiting steps of `stages`; None where there is none.

    With `topics_open`, a language model can read nothing of what waits before its topics have ended.
    """
    waiting = set(stages)
    if not waiting:
        return None
    if topics_open and waiting == {"extract"}:
        return "lightmem segment, then lightmem extract"
    return "lightmem segment" if waiting <= _OF_TOPICS else "lightmem extract"  # which goes on to topics


def check_processes(memory: Memory) -> list[Finding]:
    """Who is at work and what each holds, and who died at it. That is no damage: what they held is free at once."""
    work = memory.history.work
    at_work, dead = work.owners(), work.dead()
    seen = "; ".join(one.holds for one in at_work) or "nobody is at work"
    if dead:
        seen += f"; {dead:,} died at work, and what {'it' if dead == 1 else 'they'} held is free"
    findings = [Finding("processes", True, seen)]
    if not work.locks_work:
        findings.append(Finding("locks", False, NO_LOCKS, "move LIGHTMEM_HOME to a local disk"))
    return findings


def check_embedder(memory: Memory) -> Finding:
    """Whether the embedder opens, and makes vectors of the space that is searched."""
    active = memory.history.vectors.active_space()
    try:
        wanted = memory.embedder.space
    except MissingPart as missing:
        return Finding("embedder", False, missing.message, missing.hint, ExitCode.MISSING)
    if active is None or active[1] == wanted:
        return Finding("embedder", True, f"{wanted.name} {wanted.revision}, {wanted.dimension} dimensions")
    seen = f"vectors are of {active[1].name}, settings of {wanted.name}"
    return Finding("embedder", False, seen, "lightmem reindex")


def check_sensory(memory: Memory) -> list[Finding]:
    """Whether the models are there that shorten a conversation and cut it into topics. Their weights are not read."""
    compress, segment = memory.settings.compress, memory.settings.segment
    findings = []
    if compress.use == "llmlingua2":
        findings.append(_sensory_model("compressor", compress.use, compress.model, _check_token_reader))
    elif compress.use == "entropy" and compress.model:
        findings.append(_sensory_model("compressor", compress.use, compress.model, _check_causal_model))
    if segment.use in ("attention", "hybrid"):
        model = segment.model or (compress.model if compress.use == "llmlingua2" else "")
        findings.append(_sensory_model("segmenter", segment.use, model, _check_token_reader))
    return findings


def _sensory_model(check: str, use: str, model: str, open_it: Callable[[str], str]) -> Finding:
    try:
        return Finding(check, True, f"{use}, {open_it(model)}")
    except MissingPart as missing:
        return Finding(check, False, missing.message, missing.hint, ExitCode.MISSING)


def _check_token_reader(model: str) -> str:
    """The name of a token classifier, of which "" is one, where it is there and of the right kind."""
    from lightmem_cli.local_models.folders import model_folder
    from lightmem_cli.local_models.token_pass import DEFAULT_MODEL
    from lightmem_cli.local_models.token_shape import WITHOUT, read_shape

    name = model or DEFAULT_MODEL
    read_shape(model_folder(name, without=WITHOUT))
    return name


def _check_causal_model(model: str) -> str:
    from lightmem_cli.local_models.causal import WITHOUT
    from lightmem_cli.local_models.folders import model_folder

    folder = model_folder(model, without=WITHOUT)
    if not (folder / "config.json").is_file():
        raise MissingPart(f"{folder} is not the folder of a model: it has no config.json", hint=WITHOUT)
    return model


def _check_indexes(memory: Memory) -> list[Finding]:
    """Compare each index's size with history's; one that differs is made again."""
    space = memory.history.vectors.active_space()
    new = made_anew(memory)
    for _ in range(_TRIES):
        memory.indexes.catch_up(space=space)
        sizes = _sizes(memory)
        if sizes is not None:
            break
    else:
        return [Finding("indexes", True, "another process is writing to them: not looked at")]
    words, entries, vectors, shelved = sizes
    if (words, vectors) == (entries, shelved):
        return [
            _sound("words index", f"the words of {words:,} entries", new=new),
            _sound("vectors index", f"{vectors:,} vectors, one for each distinct sentence", new=new),
        ]
    memory.indexes.rebuild(space=space)
    return [
        _compared("words index", words, entries, "entries"),
        _compared("vectors index", vectors, shelved, "vectors"),
    ]


def made_anew(memory: Memory) -> set[str]:
    """Open the indexes; which of them were not there, or broken, so that they begin anew."""
    indexes, space = memory.indexes, memory.history.vectors.active_space()
    new = {"words index"} if memory.history.counts.entries() and indexes.words.position == 0 else set()
    if space is not None and memory.history.vectors.count(space[0]) and indexes.vectors(space[1]).position == 0:
        new.add("vectors index")
    return new


def _sound(check: str, seen: str, *, new: Collection[str]) -> Finding:
    if check in new:
        return Finding(check, True, f"was missing or broken and is made again: {seen}", mended=True)
    return Finding(check, True, seen)


def _sizes(memory: Memory) -> tuple[int, int, int, int] | None:
    """The sizes of the words index, its history, the vectors index and its history; None while they change."""
    history, indexes = memory.history, memory.indexes
    space = history.vectors.active_space()

    def positions() -> set[int]:
        return {indexes.words.position, *([indexes.vectors(space[1]).position] if space else [])}

    before = positions()
    words, vectors = len(indexes.words), len(indexes.vectors(space[1])) if space else 0
    with history.checks.snapshot():
        current = history.runs.position()
        entries = sum(sum(its.values()) for its in history.counts.entries().values())
        shelved = history.vectors.count(space[0]) if space else 0
    return (words, entries, vectors, shelved) if before == positions() == {current} else None


def _compared(check: str, held: int, of: int, what: str) -> Finding:
    if held == of:
        return Finding(check, True, f"{held:,} {what}")
    return Finding(check, True, f"held {held:,} of {of:,} {what}: made again", mended=True)
