"""Updates that a language model judges: corrections and contradictions, each once, in one step, and the way back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import dies_after, line, opened, take_into

from lightmem_cli.cli.update import _raise_first
from lightmem_cli.engine import Budget, Memory
from lightmem_cli.engine.asking.streak import Streak
from lightmem_cli.engine.consolidate import Consolidated, apply_plan, consolidate, foresee, propose
from lightmem_cli.engine.deep import deep
from lightmem_cli.engine.forget import Target, forget, resolve
from lightmem_cli.engine.pending import work_first
from lightmem_cli.engine.purge import purge, to_purge
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.undo import plan, undo
from lightmem_cli.errors import BadReply, ModelError, ProfileBusy, Unavailable
from lightmem_cli.llm.scripted import ScriptedModel
from lightmem_cli.protocols import Prompt
from lightmem_cli.records import Entry, Filter, Kind, MessageKey, State
from lightmem_cli.update.correct import Doubt, Verdict, most_of, prompt_of, read_reply
from lightmem_cli.update.lines import from_json, to_json
from lightmem_cli.update.steps import Conflict, Correction, Merge

MOVED = (
    ("m1", "2024-01-05", "Anna lives in Paris with her old dog Rex."),
    ("m2", "2024-03-05", "Anna lives in Lyon with her old dog Rex."),
    ("m3", "2024-04-05", "Boris paints the kitchen walls in a warm yellow."),
)
NOTHING = '{"verdicts": []}'


def rows(said: Sequence[tuple[str, str, str]]) -> list[bytes]:
    return [
        line(id=id, content=text, session=day, speaker="Anna", timestamp=f"{day}T10:00:00Z") for id, day, text in said
    ]


def judged(*verdicts: tuple[str, str, str]) -> Callable[[Prompt], str]:
    """A model that says (words of the older fact, words of the newer one, what it does) wherever it is shown both."""

    def reply(prompt: Prompt) -> str:
        memory, _, compare = prompt.body.partition("</memory>")
        shown = dict(re.findall(r"^(\d+) (.*)$", memory, flags=re.MULTILINE))
        pairs = [
            (older, newer)
            for older, others in re.findall(r"^(\d+): (.*)$", compare, flags=re.MULTILINE)
            for newer in others.split()
        ]
        said = [
            {"older": int(older), "newer": int(newer), "does": does}
            for older, newer in pairs
            for old, new, does in verdicts
            if old in shown[older] and new in shown[newer]
        ]
        return json.dumps({"verdicts": said})

    return reply


def memory_of(
    home: Path, said: Sequence[tuple[str, str, str]], reply: Callable[[Prompt], str | BaseException]
) -> tuple[Memory, ScriptedModel]:
    memory = opened(home, update={"use": "llm", "near": 0.3}, extract={"threshold": 0.0}, llm={"use": "scripted"})
    memory.__dict__["model"] = model = ScriptedModel(reply)
    take_into(memory, rows(said))
    work_first(memory)
    return memory, model


def states(memory: Memory) -> dict[str, str]:
    facts = memory.history.entries.get(memory.history.entries.of_kind(Kind.FACT))
    return {entry.sources[0].id: entry.state.value for entry in facts.values()}


def sound(memory: Memory) -> None:
    assert [finding for finding in deep(memory, progress=lambda rows: None) if not finding.well or finding.mended] == []


CORRECTS = judged(("Paris", "Lyon", "corrects"))


def test_a_newer_fact_supersedes_the_one_it_corrects(home: Path) -> None:
    memory, model = memory_of(home, MOVED, CORRECTS)
    with memory:
        done = consolidate(memory)
        [step] = done.steps
        assert isinstance(step, Correction)
        assert ("Paris" in step.old.text, "Lyon" in step.by.text) == (True, True)
        assert states(memory) == {"m1": "superseded", "m2": "active", "m3": "active"}
        assert "1 fact corrected by newer ones" in done.summary
        assert memory.history.counts.model_calls()["update"].usage.calls == len(model.prompts) == 1
        sound(memory)


def test_what_was_true_then_is_found_as_of_then(home: Path) -> None:
    memory, _ = memory_of(home, MOVED, CORRECTS)
    with memory:
        consolidate(memory)
        found = {}
        for month in (2, 4):
            where = Filter(kinds=(Kind.FACT,), as_of=datetime(2024, month, 1, tzinfo=UTC))
            found[month] = [
                hit.entry.text for hit in Recall(memory).retrieve(Query(text="Where lives Anna", where=where))
            ]
        assert "Paris" in found[2][0]
        assert not any("Paris" in text for text in found[4])


def test_a_second_update_asks_nobody_and_changes_nothing(home: Path) -> None:
    memory, model = memory_of(home, MOVED, judged(("Paris", "Lyon", "same")))
    with memory:
        assert [type(step) for step in consolidate(memory).steps] == [Merge]
        asked, position = len(model.prompts), memory.history.runs.position()
        assert consolidate(memory) == Consolidated()
        assert (len(model.prompts), memory.history.runs.position()) == (asked, position)


def test_only_what_is_new_is_asked_about(home: Path) -> None:
    memory, model = memory_of(home, MOVED, lambda prompt: NOTHING)
    with memory:
        consolidate(memory)
        take_into(memory, rows([("m4", "2024-06-01", "Boris paints the kitchen walls in a cold blue.")]))
        before = len(model.prompts)
        consolidate(memory)
        [prompt] = model.prompts[before:]
        assert "cold blue" in prompt.body
        assert "Paris" not in prompt.body


def test_a_contradiction_is_noted_on_both_and_both_stay(home: Path) -> None:
    memory, _ = memory_of(home, MOVED, judged(("Paris", "Lyon", "conflicts")))
    with memory:
        [step] = consolidate(memory).steps
        assert isinstance(step, Conflict)
        assert set(states(memory).values()) == {"active"}
        assert memory.history.counts.conflicts() == 1
        assert consolidate(memory) == Consolidated()
        sound(memory)


@pytest.mark.parametrize("does", ["corrects", "same", "conflicts"])
def test_an_undo_brings_back_what_was_and_it_is_not_done_again(home: Path, does: str) -> None:
    memory, _ = memory_of(home, MOVED, judged(("Paris", "Lyon", does)))
    with memory:
        before = list(memory.history.state.rows())
        run = consolidate(memory).run
        undo(memory, plan(memory, run=run))
        assert [row | {"version": 0} for row in memory.history.state.rows()] == [row | {"version": 0} for row in before]
        assert consolidate(memory).steps == ()
        sound(memory)


def test_a_pinned_fact_is_never_corrected(home: Path) -> None:
    from lightmem_cli.engine.pin import pin

    memory, _ = memory_of(home, MOVED, CORRECTS)
    with memory:
        facts = memory.history.entries.get(memory.history.entries.of_kind(Kind.FACT))
        paris = next(entry.id for entry in facts.values() if "Paris" in entry.text)
        pin(memory, [paris], pinned=True)
        assert consolidate(memory).steps == ()
        assert states(memory)["m1"] == "active"


def test_what_was_corrected_stands_again_when_the_correction_is_forgotten(home: Path) -> None:
    memory, _ = memory_of(home, MOVED, CORRECTS)
    with memory:
        consolidate(memory)
        forget(memory, resolve(memory, Target(ids=("m2",))))
        assert states(memory) == {"m1": "active", "m2": "deleted", "m3": "active"}
        sound(memory)
        undo(memory, plan(memory))
        assert states(memory) == {"m1": "superseded", "m2": "active", "m3": "active"}
        sound(memory)


def test_a_forgotten_fact_gives_back_what_it_corrected(home: Path) -> None:
    memory, _ = memory_of(home, MOVED, CORRECTS)
    with memory:
        [step] = consolidate(memory).steps
        assert isinstance(step, Correction)
        forgotten = forget(memory, resolve(memory, Target(ids=(step.by.id,))))
        assert [fate.was.id for fate in forgotten.back] == [step.old.id]
        assert states(memory)["m1"] == "active"
        sound(memory)


def test_a_budget_stops_before_it_is_passed_and_the_next_update_goes_on(home: Path) -> None:
    memory, model = memory_of(home, MOVED, CORRECTS)
    with memory:
        memory.budget = Budget(tokens=20)
        done = consolidate(memory)
        assert done.steps == () and done.stopped
        assert model.prompts == []
        memory.budget = None
        assert len(consolidate(memory).steps) == 1


@pytest.mark.parametrize("fault", [Unavailable("nobody answers"), ModelError("it hung"), BadReply("not JSON")])
def test_a_model_that_fails_loses_nothing(home: Path, fault: ModelError) -> None:
    down = True
    memory, _ = memory_of(home, MOVED, lambda prompt: fault if down else CORRECTS(prompt))
    with memory:
        done = consolidate(memory)
        assert done.steps == ()
        assert [type(one) for one in done.faults] == [type(fault)]
        down = False
        assert len(consolidate(memory).steps) == 1


def test_a_model_that_fails_alike_is_not_asked_on_and_on(home: Path) -> None:
    """Two facts are one question; a model that failed twice at others, and fails at this one, is asked no more."""
    memory, model = memory_of(home, MOVED, lambda prompt: "not JSON")
    with memory:
        earlier = Streak(memory.settings, name="", kept=memory.remembered, often=False)
        earlier.failed("update", BadReply(""), again=False)
        faults = [consolidate(memory).faults for _ in range(3)]
        assert [type(its[-1]) for its in faults] == [BadReply, Unavailable, Unavailable]
        assert len(model.prompts) == 6, "once each, and a repair"
        assert "failed 4 times in a row" in faults[-1][-1].message
        model.prompts.clear()
        with pytest.raises(Unavailable, match="is asked no more") as told:
            _raise_first([BadReply("no"), *faults[-1]])
        assert "lightmem config set llm.model" in str(told.value.hint)
        earlier.tried(failed=True)
        assert isinstance(consolidate(memory).faults[-1], Unavailable)
        assert model.prompts == []


def test_an_update_that_dies_at_any_step_is_made_good_by_the_next(tmp_path: Path) -> None:
    def run(home: Path) -> Callable[[], object]:
        def update() -> None:
            with opened(home, update={"use": "llm", "near": 0.3}, llm={"use": "scripted"}) as memory:
                memory.__dict__["model"] = ScriptedModel(CORRECTS)
                consolidate(memory)

        return update

    memory, _ = memory_of(tmp_path / "whole", MOVED, CORRECTS)
    with memory:
        consolidate(memory)
        whole = list(memory.history.state.rows())
    for step in count():
        home = tmp_path / str(step)
        memory_of(home, MOVED, CORRECTS)[0].close()
        died = dies_after(step, run(home)) == step
        run(home)()
        with opened(home) as memory:
            assert list(memory.history.state.rows()) == whole
            sound(memory)
        if not died:
            break
    assert step > 3


def test_a_fact_that_cannot_be_embedded_keeps_nobody_busy(home: Path) -> None:
    memory, model = memory_of(home, MOVED, lambda prompt: NOTHING)
    with memory:
        facts = memory.history.entries.of_kind(Kind.FACT)
        with memory.history.transaction():
            memory.history.work.add("embed", facts[-1:])
            memory.history.work.quarantine("embed", facts[-1], "odd")
        consolidate(memory)
        asked = len(model.prompts)
        assert consolidate(memory).steps == ()
        assert len(model.prompts) == asked == 1


def test_what_was_judged_is_not_paid_again_because_something_else_failed(home: Path) -> None:
    said = [
        (f"m{n}", f"2024-0{n % 6 + 1}-{n + 1:02}", f"Anna keeps {n} bees in her garden of roses.") for n in range(16)
    ]
    bad = True

    def reply(prompt: Prompt) -> str | BaseException:
        return BadReply("no") if bad and "keeps 7 bees" in prompt.body else NOTHING

    memory, model = memory_of(home, said, reply)
    with memory:
        assert consolidate(memory).faults
        first = {pair for prompt in model.prompts for pair in pairs_of(prompt) if "keeps 7 bees" not in prompt.body}
        bad, before = False, len(model.prompts)
        assert consolidate(memory).faults == ()
        again = {pair for prompt in model.prompts[before:] for pair in pairs_of(prompt)}
        assert first
        assert again
        assert not first & again


def pairs_of(prompt: Prompt) -> list[tuple[str, str]]:
    """The texts of the pairs that a prompt asks about."""
    memory, _, compare = prompt.body.partition("</memory>")
    shown = dict(re.findall(r"^(\d+) (.*)$", memory, flags=re.MULTILINE))
    held = re.findall(r"^(\d+): (.*)$", compare, flags=re.MULTILINE)
    return [(shown[older], shown[newer]) for older, others in held for newer in others.split()]


def test_what_is_purged_while_the_model_is_asked_is_left_out(home: Path) -> None:
    def purging(prompt: Prompt) -> str:
        # In another connection, as another process would; that words are left on the disk while we read, it says.
        with opened(home) as other, suppress(ProfileBusy):
            purge(other, to_purge(other, resolve(other, Target(ids=("m1",)))))
        return CORRECTS(prompt)

    memory, _ = memory_of(home, MOVED, purging)
    with memory:
        assert consolidate(memory).steps == ()
        assert states(memory) == {"m2": "active", "m3": "active"}


def test_a_small_context_is_asked_about_less_at_a_time(home: Path) -> None:
    said = [(f"m{n}", f"2024-01-{n + 1:02}", f"Anna keeps {n} bees in her garden of roses.") for n in range(24)]
    memory, _ = memory_of(home, said, lambda prompt: NOTHING)
    with memory:
        memory.__dict__["model"] = model = ScriptedModel(lambda prompt: NOTHING, context=900)
        assert consolidate(memory).faults == ()
        assert len(model.prompts) > 3


def test_the_numbers_follow_the_order_in_which_facts_were_said(home: Path) -> None:
    said = [(f"m{n}", "2024-01-05", f"Anna keeps {n} bees in her garden of roses.") for n in range(9)]
    memory, model = memory_of(home, said, lambda prompt: NOTHING)
    with memory:
        consolidate(memory)
    held = [
        (int(older), int(newer))
        for prompt in model.prompts
        for older, others in re.findall(r"^(\d+): (.*)$", prompt.body, flags=re.MULTILINE)
        for newer in others.split()
    ]
    assert held
    assert all(older < newer for older, newer in held)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("step", [None, 2, 3])
def test_a_chain_of_corrections_ends_the_same_whatever_comes_first(
    tmp_path: Path, concurrency: int, step: int | None
) -> None:
    said = [(f"m{n}", f"2024-01-{n + 1:02}", f"Anna keeps {n} bees in her garden of roses.") for n in range(12)]

    def nearest_corrects(prompt: Prompt) -> str:
        time.sleep(len(prompt.body) % 7 / 200)  # replies come in another order than they were asked for
        held = re.findall(r"^(\d+): (\d+)", prompt.body, flags=re.MULTILINE)
        verdicts = [{"older": int(older), "newer": int(newer), "does": "corrects"} for older, newer in held]
        return json.dumps({"verdicts": verdicts})

    def update(home: Path) -> list[dict[str, object]]:
        how = {"update": {"use": "llm", "near": 0.3}, "llm": {"use": "scripted", "concurrency": concurrency}}
        with opened(home, **how) as memory:
            memory.__dict__["model"] = ScriptedModel(nearest_corrects, context=1_200)
            consolidate(memory)
            return list(memory.history.state.rows())

    memory_of(tmp_path / "whole", said, nearest_corrects)[0].close()
    memory_of(tmp_path / "again", said, nearest_corrects)[0].close()
    if step is not None:
        dies_after(step, lambda: update(tmp_path / "again"))
    with opened(tmp_path / "whole", update={"use": "llm", "near": 0.3}, llm={"use": "scripted"}) as memory:
        memory.__dict__["model"] = ScriptedModel(nearest_corrects, context=1_200)
        consolidate(memory)
        whole = list(memory.history.state.rows())
    assert update(tmp_path / "again") == whole


def test_a_plan_of_rules_and_model_together_can_be_applied(home: Path) -> None:
    twice = (*MOVED, ("m4", "2024-05-05", "Anna lives in Lyon with her old dog Rex!"))
    memory, _ = memory_of(home, twice, judged(("Paris", "Lyon", "same")))
    with memory:
        merges = propose(memory).merges
        assert merges
        apply_plan(memory, [*merges, *foresee(memory, merges).steps])
        sound(memory)


def test_a_plan_foresees_what_an_update_does_and_can_be_applied(home: Path) -> None:
    memory, model = memory_of(home, MOVED, CORRECTS)
    with memory:
        position = memory.history.runs.position()
        foreseen = foresee(memory, propose(memory).merges)
        assert memory.history.runs.position() == position
        steps = [from_json(json.loads(json.dumps(to_json(step))), "plan:1") for step in foreseen.steps]
        assert steps == list(foreseen.steps)
        asked = len(model.prompts)
        done = apply_plan(memory, steps)
        assert list(done.steps) == steps
        assert states(memory)["m1"] == "superseded"
        assert apply_plan(memory, steps) == Consolidated(), "it was done already"
        assert len(model.prompts) == asked


def test_an_update_after_its_plan_pays_nothing(home: Path) -> None:
    memory, model = memory_of(home, MOVED, CORRECTS)
    with memory:
        foresee(memory, propose(memory).merges)
        asked = len(model.prompts)
        assert len(consolidate(memory).steps) == 1
        assert len(model.prompts) == asked


def entry(text: str, *, speaker: str | None = "Anna", day: int = 1) -> Entry:
    return Entry(
        id=f"{day}-{len(text)}",
        kind=Kind.FACT,
        text=text,
        conversation="",
        session="s",
        sources=(MessageKey("", "s", text[:8]),),
        speaker=speaker,
        said_at=datetime(2024, 5, day, tzinfo=UTC),
        state=State.ACTIVE,
    )


def test_each_fact_is_shown_once_however_many_it_is_held_against() -> None:
    late = entry("Anna lives in Rome.", day=9)
    early = [entry(f"Anna lives in city {day}.", day=day) for day in range(1, 5)]
    assert prompt_of([Doubt(fact, (late,)) for fact in early], [*early, late]).body.count("Rome") == 1


DOUBTS = [
    Doubt(entry("Anna lives in Paris."), (entry("Anna lives in Lyon.", day=2), entry("Anna rents a flat.", day=3))),
    Doubt(entry("Anna has a dog called Rex."), (entry("Anna's dog died.", day=4),)),
]
FACTS = [DOUBTS[0].older, DOUBTS[1].older, *DOUBTS[0].newer, *DOUBTS[1].newer]  # in the order said


def test_the_prompt_names_every_fact_and_the_reply_is_read_by_these_names() -> None:
    prompt = prompt_of(DOUBTS, FACTS)
    assert prompt.body.splitlines() == [
        "<memory>",
        "1 2024-05-01 Anna lives in Paris.",
        "2 2024-05-01 Anna has a dog called Rex.",
        "3 2024-05-02 Anna lives in Lyon.",
        "4 2024-05-03 Anna rents a flat.",
        "5 2024-05-04 Anna's dog died.",
        "</memory>",
        "Compare:",
        "1: 3 4",
        "2: 5",
    ]
    reply = (
        '{"verdicts": [{"older": 2, "newer": 5, "does": "corrects"},'
        ' {"older": "1", "newer": "3", "does": "conflicts"}]}'
    )
    assert read_reply(reply, DOUBTS, FACTS) == [
        Verdict(DOUBTS[1].older, DOUBTS[1].newer[0], "corrects"),
        Verdict(DOUBTS[0].older, DOUBTS[0].newer[0], "conflicts"),
    ]
    assert prompt.prefix == prompt_of(DOUBTS[:1], FACTS).prefix
    assert most_of(DOUBTS) > most_of(DOUBTS[:1])


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ('{"verdicts": [{"older": 1, "newer": 9, "does": "same"}]}', "1 and 9 were not to be compared"),
        ('{"verdicts": [{"older": 3, "newer": 1, "does": "same"}]}', "3 and 1 were not to be compared"),
        (
            '{"verdicts": [{"older": 1, "newer": 3, "does": "same"}, {"older": 1, "newer": 3, "does": "corrects"}]}',
            "two verdicts on 1 and 3",
        ),
        ('{"verdicts": [{"older": 1, "newer": 3, "does": "deletes"}]}', "does"),
        ("I cannot help with that.", "refusal"),
        ("", "empty"),
    ],
)
def test_a_reply_that_is_none_is_told_why(reply: str, says: str) -> None:
    with pytest.raises(BadReply, match=re.escape(says)):
        read_reply(reply, DOUBTS, FACTS)


@given(st.text(max_size=600), st.none() | st.text(max_size=40))
def test_no_fact_can_end_what_is_data_nor_begin_a_line(text: str, speaker: str | None) -> None:
    odd, plain = entry(text, speaker=speaker), entry("Anna lives in Lyon.", day=2)
    body = prompt_of([Doubt(odd, (plain,))], [odd, plain]).body
    assert len(body.splitlines()) == 6
    assert body.casefold().count("</memory>") == 1
    assert [one.split(" ")[0] for one in body.splitlines()[1:3]] == ["1", "2"]
