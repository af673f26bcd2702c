"""Lists what a conversation's history must not contradict itself in, table by table, and what mends each of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from lightmem_cli.engine import Memory
from lightmem_cli.engine.deep import repairs
from lightmem_cli.engine.deep.mending import Check, Group, Mending
from lightmem_cli.engine.revise import revise
from lightmem_cli.records import State
from lightmem_cli.store.history.checks import Checks
from lightmem_cli.store.history.faults import Fault
from lightmem_cli.store.read_through import BadCell


def _ids(faults: Iterable[Fault]) -> list[int]:
    return [fault.id for fault in faults]


def _entries(memory: Memory) -> int:
    return sum(sum(its.values()) for its in memory.history.counts.entries().values())


def _calls(memory: Memory) -> int:
    return sum(asked.usage.calls for asked in memory.history.counts.model_calls().values())


def _drop_orphans(mending: Mending, _: object) -> None:
    mending.again += mending.history.mends.drop_orphans()


def _set_aside(mending: Mending, faults: Sequence[Fault]) -> None:
    """Let summaries stand no more, as `summarize` does; it makes them anew without what is gone."""
    history, step = mending.history, mending.history.revisions.new_step()
    for id, entry in history.entries.get(fault.id for fault in faults).items():
        after, reason = replace(entry, state=State.UNSUPPORTED), "what it retells was forgotten"
        revise(history, id, after, run=mending.run, reason=reason, step=step)


def _times(table: str) -> Check:
    return Check(
        f"{table} with times that cannot be read",
        lambda checks: checks.wrong_times(table),
        lambda mending, faults: mending.history.mends.tell_times(table, [fault.id for fault in faults]),
        made="read from their seconds, or emptied",
    )


# The cells that a check finds and mends, whatever they hold; of the first ones, also where they are of another type.
_MENDED_WHOLLY = {
    ("messages", "said_epoch"),
    ("entries", "said_epoch"),
    ("entries", "keywords"),
    ("entries", "entities"),
    ("model_calls", "prompt_tokens"),
    ("model_calls", "completion_tokens"),
    ("model_calls", "cached_tokens"),
    ("model_calls", "seconds"),
    ("model_calls", "reply"),
    ("compressed", "text"),
    ("compressed", "kept"),
    ("jobs", "batch"),
}
_MENDED = _MENDED_WHOLLY | {
    ("messages", "said_at"),
    ("messages", "turn"),
    ("messages", "position"),
    ("entries", "kind"),
    ("entries", "state"),
    ("entries", "birth"),
    ("entries", "version"),
    ("entries", "said_at"),
    ("entries", "happened_from"),
    ("entries", "happened_to"),
    ("entries", "valid_until"),
    ("links", "kind"),
    ("spaces", "active"),
    ("vectors", "text_hash"),
    ("vectors", "embedding"),
}


def is_mended(one: BadCell) -> bool:
    """Whether a check of this list finds a cell that cannot be read; the others stand in the way of the checks."""
    if one.fault == "points":
        return True
    return (one.table, one.column) in (_MENDED_WHOLLY if one.fault == "type" else _MENDED)


READABLE = Group(
    "records",
    lambda memory: f"{memory.history.counts.messages() + _entries(memory):,} can be read",
    [
        Check("references to rows that are not there", Checks.orphans, _drop_orphans, made="dropped"),
        Check("entries of no known kind", Checks.unknown_kinds, repairs.kinds),
        Check("entries in no known state", Checks.unknown_states, repairs.states),
        Check(
            "entries with keywords or entities that cannot be read",
            Checks.unreadable_names,
            lambda mending, faults: mending.history.mends.empty_names([fault.id for fault in faults]),
            made="emptied",
        ),
        Check(
            "entries with links of no known kind",
            Checks.unknown_links,
            lambda mending, faults: mending.history.mends.drop_unknown_links(),
            made="dropped",
        ),
        _times("messages"),
        _times("entries"),
    ],
    vital=True,
)

MESSAGES = Group(
    "messages",
    lambda memory: f"{memory.history.counts.messages():,}, each in its place",
    [
        Check(
            "messages out of their place",
            Checks.misplaced_messages,
            lambda mending, faults: mending.history.mends.place_messages(),
            made="numbered anew, in their order",
        ),
    ],
)

TURNS = Group(
    "turns",
    lambda memory: "each message with words is found by them",
    [
        Check("messages without a turn", Checks.without_turn, repairs.lost_turns, made="made again"),
        Check("messages unlike their turns", Checks.other_turns, repairs.turns),
        Check("turns of no message", Checks.spare_turns, repairs.spare_turns, made="hidden"),
    ],
)

ENTRIES = Group(
    "entries",
    lambda memory: f"{_entries(memory):,} rest on what was said, and are what they were born as",
    [
        Check("entries unlike their last revision", Checks.unlike_recorded, repairs.recorded),
        Check("entries that rest on nothing", Checks.without_sources, repairs.sources),
        Check("entries that rest on another conversation", Checks.foreign_sources, repairs.foreign_sources),
        Check("entries that are not what they were born as", Checks.misnamed, repairs.identities),
        Check("superseded entries, and nothing says by what", Checks.superseded_by_nothing, repairs.superseded),
        Check("entries that rest on less than what was merged into them", Checks.uncovered, repairs.uncovered),
        Check("entries made of forgotten messages", Checks.made_of_the_forgotten, repairs.of_the_forgotten, "hidden"),
        Check("summaries of nothing", Checks.summaries_of_nothing),
        Check("summaries of what was forgotten", Checks.summaries_of_the_forgotten, _set_aside, made="set aside"),
        Check(
            "entries whose version does not count their revisions",
            Checks.misnumbered,
            lambda mending, faults: mending.history.mends.number_versions([fault.id for fault in faults]),
        ),
    ],
)

TOPICS = Group(
    "topics",
    lambda memory: f"{memory.history.counts.segments():,}, laid end to end",
    [
        Check("sessions with topics that do not lie end to end", Checks.untiled, repairs.topics, made="cut again"),
    ],
)

SHORTENED = Group(
    "shortened texts",
    lambda memory: f"{memory.history.counts.compressed()[0]:,}, each made of its message",
    [
        Check(
            "shortened texts that are not made of their messages",
            lambda checks: checks.compressed.unlike_messages(),
            lambda mending, faults: mending.history.compressed.drop(_ids(faults)),
            made="dropped",
        ),
    ],
)

CALLS = Group(
    "model calls",
    lambda memory: f"{_calls(memory):,}, each with what it cost and whose words it sent",
    [
        Check(
            "calls that hold what was purged",
            lambda checks: checks.calls.of_the_purged(),
            lambda mending, faults: mending.history.calls.erase_calls(_ids(faults)),
            made="erased",
        ),
        Check(
            "calls with a reply, and nothing says to whose words",
            lambda checks: checks.calls.of_nobody(),
            lambda mending, faults: mending.history.calls.erase_calls(_ids(faults)),
            made="erased, as no purge would find them",
        ),
        Check(
            "calls that cannot be read",
            lambda checks: checks.calls.unreadable(),
            lambda mending, faults: mending.history.calls.make_readable(_ids(faults)),
            made="what is no number counts for nothing",
        ),
    ],
)

WORK = Group(
    "jobs and changes",
    lambda memory: "each is about something that is there",
    [
        Check(
            "jobs about what is not there",
            Checks.aimless_jobs,
            lambda mending, faults: mending.history.mends.drop_jobs([fault.id for fault in faults]),
            made="dropped",
        ),
        Check(
            "jobs in a batch of what a language model does not read",
            Checks.misbatched_jobs,
            lambda mending, faults: mending.history.mends.unbatch(_ids(faults)),
            made="taken out",
        ),
        *(
            Check(
                f"{name} that no index was told of",
                partial(Checks.unnoted, what=what),
                partial(lambda mending, faults, what: mending.history.mends.note(what, _ids(faults)), what=what),
                made="told",
            )
            for what, name in (("entry", "entries"), ("vector", "vectors"))
        ),
    ],
)
