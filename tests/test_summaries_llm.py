"""Each stretch of a conversation has one summary that a language model wrote: paid once, and of nothing forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from memories import dies_after, dies_before, empty_home, kept, opened, take, take_into
from process import lightmem, lines_of
from test_laws import laws, transcripts
from test_summaries import chat, days_of, forget_elsewhere, of_kind, quotes, runs_of, said, summaries, what_is_told

from lightmem_cli.engine import Budget, Memory
from lightmem_cli.engine.asking.lanes import Lanes
from lightmem_cli.engine.deep import deep
from lightmem_cli.engine.forget import Target, forget, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.pin import pin
from lightmem_cli.engine.purge import purge, to_purge
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.summaries import Summarized, summarize
from lightmem_cli.engine.undo import plan, undo
from lightmem_cli.errors import ModelError, ProfileBusy, Unavailable
from lightmem_cli.llm.scripted import ScriptedModel
from lightmem_cli.protocols import Prompt
from lightmem_cli.records import Filter, Kind, State, TimeRange

ASKS = {"use": "llm"}
ARM = "I broke my arm at the skating rink yesterday."
_LINE = re.compile(r"^(\d+) (.*)$", re.MULTILINE)


def parts(prompt: Prompt) -> tuple[list[str], list[str]]:
    """The lines of the window, and those from other times."""
    facts, _, earlier = prompt.body.partition("<earlier>")
    return [text for _, text in _LINE.findall(facts.partition("<facts>")[2])], [
        text for _, text in _LINE.findall(earlier)
    ]


def first_of_each(prompt: Prompt) -> str:
    """Retells the first line of the window, and the first from another time where there is one."""
    facts, earlier = parts(prompt)
    told = [facts[0], *earlier[:1]]
    of = [1, *([len(facts) + 1] if earlier else [])]
    return json.dumps({"summary": " And ".join(text.rstrip(".!") for text in told) + ".", "of": of})


def all_of_it(prompt: Prompt) -> str:
    """Retells every line, and names none."""
    facts, earlier = parts(prompt)
    return json.dumps({"summary": " ".join(facts + earlier), "of": []})


def first_line(prompt: Prompt) -> str:
    return json.dumps({"summary": f"Told so: {prompt.body.splitlines()[0]}", "of": [1]})


def the_same(prompt: Prompt) -> str:
    """Retells the first line of the window alone, whatever else is shown."""
    return json.dumps({"summary": parts(prompt)[0][0], "of": [1]})


def asked(memory: Memory, reply: Callable[[Prompt], Any] = first_of_each, **how: Any) -> ScriptedModel:
    """Let the memory ask a model that replies so."""
    model = ScriptedModel(reply, **how)
    memory.__dict__["model"] = model
    return model


def with_model(home: Path, **overrides: Any) -> Memory:
    settings = {"summarize": ASKS | overrides.pop("summarize", {}), **overrides}
    memory = opened(home, **settings)
    asked(memory)
    return memory


@contextmanager
def ingested(rows: Sequence[bytes], **overrides: Any) -> Iterator[Memory]:
    with empty_home() as home, with_model(home, **overrides) as memory:
        take_into(memory, rows)
        yield memory


def model_of(memory: Memory) -> ScriptedModel:
    found = memory.model
    assert isinstance(found, ScriptedModel)
    return found


def texts(memory: Memory, *states: State) -> str:
    return "\n".join(one.text for one in summaries(memory, *states).values())


def add(memory: Memory, kind: Kind, text: str, *, of: str, **fields: Any) -> int:
    """Let an entry be born of the message `of`, as extraction does it."""
    [(turn, _)] = memory.history.entries.find_by_message(of)
    [message] = memory.history.entries.source_ids(turn)
    [said_by] = memory.history.entries.get([turn]).values()
    entry = replace(said_by, kind=kind, text=text, **{"importance": 0.5, **fields})
    with memory.run("extract") as run, memory.history.transaction():
        born = memory.history.entries.add(entry, sources=[message], run=run)
        assert born is not None
        memory.history.work.add("embed", [born])
    return born


# What a summary is -------------------------------------------------------------------------------------------------


def test_a_summary_says_what_made_it_and_what_it_rests_on() -> None:
    with ingested(chat(2, 3)) as memory:
        done = summarize(memory)
        assert (done.written, done.failed, done.left, done.usage.calls) == (2, 0, 0, 2)
        assert days_of(memory) == ["2023-01-02", "2023-01-03"]
        first, second = summaries(memory).items()
        for _, summary in (first, second):
            assert (summary.prompt, summary.model) == ("summary-1", "scripted/test")
            assert summary.text.startswith(f"{summary.happened.start.day} January 2023: ")  # type: ignore[union-attr]
        assert {key.session for key in first[1].sources} == {"s2"}
        assert len(first[1].sources) == 1
        assert {key.session for key in second[1].sources} == {"s2", "s3"}, "what it goes on from is a source, too"
        assert second[1].said_at == datetime(2023, 1, 3, 10, 33, tzinfo=UTC)
        shown = memory.history.entries.get(quotes(memory, second[0])).values()
        facts, earlier = parts(model_of(memory).prompts[1])
        assert len(shown) == len(facts) + len(earlier), "whatever of that is forgotten takes it along"
        assert [found for found in deep(memory, progress=lambda rows: None) if found.mended or not found.well] == []


def test_it_is_found_by_its_kind_and_by_each_of_its_sentences() -> None:
    with ingested(chat(2, 3)) as memory:
        asked(memory, all_of_it)
        summarize(memory)
        recall = Recall(memory)
        for id, summary in summaries(memory).items():
            own = [one for one in memory.history.entries.get(quotes(memory, id)).values() if "number" in one.text]
            found = recall.retrieve(Query(text=own[-1].text, where=Filter(kinds=(Kind.SUMMARY,))))
            assert own[-1].said_at
            assert len(found) == 2
            views = memory.history.reading.embedded([id], space=1)
            assert len(views.vectors) > 4, summary.text
        usual = Filter(kinds=(Kind.TURN, Kind.FACT, Kind.RELATION))
        assert Kind.SUMMARY not in {hit.entry.kind for hit in recall.retrieve(Query(text="January", where=usual))}


def test_each_summary_is_told_as_it_is_written() -> None:
    with ingested(chat(2, 3)) as memory:
        told, steps = [], []
        summarize(memory, tell=told.append, progress=lambda done, among: steps.append((done, among)))
        assert [len(summary.facts) for summary in told] == [1, 1]
        assert {summary.entry.id for summary in told} == {one.id for one in summaries(memory).values()}
        assert steps == [(1, 2), (2, 2)]


@pytest.mark.parametrize("window", ["session", "day", "week", "month"])
def test_windows(window: str) -> None:
    with ingested(chat(2, 5, 9), summarize={"window": window}) as memory:
        written = summarize(memory).written
        assert written == {"session": 3, "day": 3, "week": 2, "month": 1}[window]
        assert all(text.count("January 2023: ") == 1 for text in texts(memory).splitlines())


def test_what_has_no_time_is_summarized_by_session() -> None:
    rows = [said(number, day=2, timestamp=None, session="undated") for number in range(4)]
    with ingested([*rows, *chat(3)]) as memory:
        assert summarize(memory).written == 2
        (undated,) = [one for one in summaries(memory).values() if one.happened is None]
        assert (undated.session, undated.said_at) == ("undated", None)
        (prompt,) = [one for one in model_of(memory).prompts if one.body.startswith("Undated. ")]
        assert parts(prompt)[1] == [], "nobody knows what came before it"


def test_a_fact_by_itself_is_not_asked_about() -> None:
    with ingested([said(1, day=2, content="I adopted a greyhound.")]) as memory:
        assert summarize(memory) == Summarized(too_few=1)
        assert model_of(memory).prompts == []
        assert runs_of(memory) == ["ingest"]


def test_of_a_window_that_is_too_large_the_facts_that_say_most_are_shown() -> None:
    with ingested(chat(2, each=40)) as memory:
        model = asked(memory, context=1_100)
        assert summarize(memory).written == 1
        (prompt,) = model.prompts
        facts, _ = parts(prompt)
        assert 4 < len(facts) < 40
        assert sum(map(model.tokens, prompt)) < 1_100


def test_where_a_prompt_proves_too_long_half_as_much_is_shown() -> None:
    with ingested(chat(2, each=40)) as memory:
        model = asked(memory, context=1_100)
        model.context = 0  # nobody told
        complete = model.complete

        def short(prompt: Prompt, **how: Any) -> Any:
            model.context = 1_100
            try:
                return complete(prompt, **how)
            finally:
                model.context = 0

        model.complete = short  # type: ignore[method-assign]
        assert summarize(memory).written == 1
        assert len(model.prompts) > 1
        assert len(parts(model.prompts[-1])[0]) < len(parts(model.prompts[0])[0]) // 2 + 1


# Paid once ---------------------------------------------------------------------------------------------------------


def test_the_second_run_asks_nothing() -> None:
    with ingested(chat(2, 3)) as memory:
        summarize(memory)
        runs, position = runs_of(memory), memory.history.runs.position()
        assert summarize(memory) == Summarized()
        assert summarize(memory, anew=True) == Summarized(unchanged=2)
        assert len(model_of(memory).prompts) == 2
        assert (runs_of(memory), memory.history.runs.position()) == (runs, position)


def test_only_windows_whose_facts_changed_are_asked_about() -> None:
    with ingested(chat(2, 3, 4)) as memory:
        summarize(memory)
        (old,) = [id for id, one in summaries(memory).items() if one.text.startswith("3 January")]
        take_into(memory, [said(30, day=3, id="m1", content=ARM, timestamp="2023-01-03T09:00:00")])
        assert summarize(memory).written == 1
        assert len(model_of(memory).prompts) == 4
        assert "skating rink" in texts(memory)
        assert list(summaries(memory, State.SUPERSEDED)) == [old]


def test_other_settings_make_all_anew_and_going_back_costs_nothing() -> None:
    with empty_home() as home:
        take(home, chat(2, 3))
        calls = []
        for settings in ({}, {"use": "rules"}, {}, {"sentences": 2}, {}):
            with with_model(home, summarize=settings) as memory:
                model = asked(memory, first_line)
                assert summarize(memory).written == 2
                assert len(summaries(memory)) == 2
                calls.append(len(model.prompts))
                made_by = {one.model for one in summaries(memory).values()}
                assert made_by == {None if settings.get("use") == "rules" else "scripted/test"}
        assert calls == [2, 0, 0, 2, 0]


def test_another_model_is_asked_only_where_something_changed_or_all_is_looked_at() -> None:
    with ingested(chat(2, 3)) as memory:
        summarize(memory)
        model = asked(memory, name="scripted/other")
        assert summarize(memory) == Summarized()
        assert summarize(memory, anew=True).written == 2
        assert len(model.prompts) == 2
        assert {one.model for one in summaries(memory).values()} == {"scripted/other"}


def test_several_windows_are_asked_about_at_once_and_written_one_by_one() -> None:
    lock, now, most, never = Lock(), [0], [0], Event()

    def reply(prompt: Prompt) -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        never.wait(0.05)
        with lock:
            now[0] -= 1
        return first_of_each(prompt)

    with ingested(chat(*range(2, 10)), llm={"concurrency": 3}) as memory:
        asked(memory, reply)
        assert summarize(memory).written == 8
        assert most == [3]


def test_no_transaction_waits_for_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    with ingested(chat(2, 3, 4)) as memory:
        following = Lanes.next

        def checked(self: Lanes[Any, Any]) -> Any:
            assert not memory.history.connection.in_transaction
            return following(self)

        monkeypatch.setattr(Lanes, "next", checked)
        assert summarize(memory).written == 3


def test_the_same_talk_in_two_conversations_is_paid_once() -> None:
    rows = [said(number, day=2, conversation=name) for name in ("one", "other") for number in range(20, 24)]
    with ingested(rows) as memory:
        assert summarize(memory).written == 2
        assert {one.conversation for one in summaries(memory).values()} == {"one", "other"}
        assert len(model_of(memory).prompts) == 1


def test_before_a_long_run_it_is_said_what_that_takes() -> None:
    with empty_home() as home:
        take(home, chat(*range(2, 8)))
        lines: list[str] = []
        with opened(home, said=lines, summarize=ASKS) as memory:
            asked(memory)
            summarize(memory)
        (line,) = lines
        assert line.startswith("asking scripted/test for summaries: about 6 calls, ")


def test_two_at_once_never_pay_twice() -> None:
    with ingested(chat(2)) as memory:
        with FileLock(memory.profile.folder / "summarize.lock"), pytest.raises(ProfileBusy):
            summarize(memory)
        assert summarize(memory).written == 1


# Seeds -------------------------------------------------------------------------------------------------------------


def test_the_historical_scope_is_what_was_said_before() -> None:
    with ingested(chat(2, 3, 4)) as memory:
        summarize(memory)
        days = [re.findall(r"^## (\S+)", one.body.partition("<earlier>")[2], re.MULTILINE) for one in _by_day(memory)]
        assert days[0] == []
        assert set(days[1]) == {"2023-01-02"}
        assert set(days[2]) <= {"2023-01-02", "2023-01-03"}


def test_the_global_scope_is_all_that_is_outside() -> None:
    with ingested(chat(2, 3, 4), summarize={"scope": "global"}) as memory:
        summarize(memory)
        for prompt in _by_day(memory):
            own, others = (set(re.findall(r"^## (\S+)", part, re.MULTILINE)) for part in prompt.body.split("<earlier>"))
            assert others
            assert not own & others


def _by_day(memory: Memory) -> list[Prompt]:
    return sorted(model_of(memory).prompts, key=lambda prompt: prompt.body)


def test_as_of_a_day_no_summary_tells_of_what_was_said_later() -> None:
    with ingested(chat(2, 3), summarize={"scope": "global"}) as memory:
        summarize(memory)
        where = Filter(kinds=(Kind.SUMMARY,), as_of=datetime(2023, 1, 2, 23, tzinfo=UTC))
        assert Recall(memory).retrieve(Query(text="January", where=where)) == []


@pytest.mark.parametrize(("seeds", "most"), [(0, 0), (2, 2)])
def test_there_are_so_many_seeds_at_most(seeds: int, most: int) -> None:
    with ingested(chat(2, 3), summarize={"seeds": seeds}) as memory:
        summarize(memory)
        assert max(len(parts(prompt)[1]) for prompt in model_of(memory).prompts) == most


def test_what_is_hidden_or_of_another_conversation_is_no_seed() -> None:
    other = [said(number, day=1, conversation="other", id=f"o{number}") for number in range(10, 14)]
    with ingested([*other, *chat(2, 3)]) as memory:
        forget(memory, resolve(memory, Target(ids=("m21",))))
        summarize(memory)
        shown = [line for prompt in model_of(memory).prompts for line in parts(prompt)[1]]
        assert shown
        assert not any(re.search(r"number (21|1\d)\b", line) for line in shown)


def test_summaries_of_other_windows_are_no_seeds_and_those_of_topics_are() -> None:
    with ingested(chat(2, 3)) as memory:
        summarize(memory)
        text = "Anna broke her arm at the skating rink once before."
        add(memory, Kind.SUMMARY, text, of="m21", prompt="facts-1", model="scripted/test", speaker=None)
        take_into(memory, [*chat(4), said(48, day=4, content="I broke my arm at the skating rink again.")])
        summarize(memory)
        _, earlier = parts(model_of(memory).prompts[-1])
        assert any(text in line for line in earlier)
        assert not any("January 2023:" in line for line in earlier)


# Relations, and summaries of topics --------------------------------------------------------------------------------


def test_relations_are_shown_beside_the_facts_of_their_turn() -> None:
    with ingested(chat(2)) as memory:
        add(memory, Kind.RELATION, "Anna trusts Boris with her greyhound.", of="m21")
        summarize(memory)
        facts, _ = parts(model_of(memory).prompts[0])
        at = next(at for at, text in enumerate(facts) if "trusts" in text)
        assert "number 21" in facts[at - 1]


def test_a_changed_relation_changes_its_day_for_a_model_and_not_for_rules() -> None:
    for use, written in (("llm", 1), ("rules", 0)):
        with ingested(chat(2, 3), summarize={"use": use}) as memory:
            id = add(memory, Kind.RELATION, "Anna trusts Boris.", of="m21")
            summarize(memory)
            entry = of_kind(memory, Kind.RELATION)[id]
            with memory.run("test") as run, memory.history.transaction():
                revise(memory.history, id, replace(entry, text="Anna trusts nobody."), run=run, reason="test")
            asked(memory, lambda prompt: json.dumps({"summary": parts(prompt)[0][-1], "of": []}))
            assert summarize(memory).written == written


@pytest.mark.parametrize("use", ["rules", "llm"])
@pytest.mark.parametrize("window", ["session", "day"])
def test_a_summary_of_a_topic_is_none_of_its_session_or_day(use: str, window: str) -> None:
    with ingested(chat(2), summarize={"use": use, "window": window}) as memory:
        said_at = datetime(2023, 1, 2, tzinfo=UTC)
        days = {"happened": TimeRange(said_at, said_at + timedelta(days=1))}
        topics = {
            add(memory, Kind.SUMMARY, "They talked of herons.", of="m20", prompt="facts-1", model="m", speaker=None),
            add(memory, Kind.SUMMARY, "They spoke of birds.", of="m21", prompt="events-1", session="", **days),
        }
        assert summarize(memory).written == 1
        take_into(memory, [said(24, day=2, content=ARM)])
        summarize(memory, anew=True)
        assert topics <= set(summaries(memory)), "it stands beside the other"
        assert not any(target in topics for id in summaries(memory) for target in quotes(memory, id))


# What is forgotten, pinned or undone -------------------------------------------------------------------------------


def test_whatever_it_was_shown_and_is_forgotten_takes_a_summary_along() -> None:
    """Also where the model did not say that it told of it."""
    with ingested(chat(2, 3)) as memory:
        summarize(memory)
        (second,) = [id for id, one in summaries(memory).items() if one.text.startswith("3 January")]
        shown = memory.history.entries.get(quotes(memory, second)).values()
        *_, uncited = [fact for fact in shown if fact.session == "s3"]
        assert not set(uncited.sources) & set(summaries(memory)[second].sources)
        forget(memory, resolve(memory, Target(ids=(uncited.id,))))
        assert days_of(memory) == ["2023-01-02"]
        assert summarize(memory).written == 1
        assert days_of(memory) == ["2023-01-02", "2023-01-03"]
        facts, _ = parts(model_of(memory).prompts[-1])
        assert not any(uncited.text in line for line in facts)


def test_a_forgotten_seed_takes_a_summary_along_and_it_is_asked_for_again() -> None:
    with ingested(chat(2, 3, 4)) as memory:
        asked(memory, the_same)
        summarize(memory)
        before = texts(memory)
        (third,) = [id for id, one in summaries(memory).items() if one.text.startswith("4 January")]
        seed = next(one for one in memory.history.entries.get(quotes(memory, third)).values() if one.session != "s4")
        forget(memory, resolve(memory, Target(ids=(seed.id,))))
        assert "2023-01-04" not in days_of(memory)
        asked(memory, the_same)
        summarize(memory)
        assert texts(memory) == before, "the same words may stand again, now made of other things"
        for id in summaries(memory):
            assert {one.state for one in memory.history.entries.get(quotes(memory, id)).values()} == {State.ACTIVE}
        assert summarize(memory) == Summarized()


def test_a_purged_seed_leaves_nothing_and_its_window_is_asked_about_again() -> None:
    secret = "I hid the emerald under the floor of the attic."
    with empty_home() as home, with_model(home, summarize={"sentences": 100}) as memory:
        take_into(memory, [*chat(2), said(29, day=2, content=secret), *chat(3)])
        take_into(memory, [said(39, day=3, content="I hid the ruby under the floor of the attic, too.")])
        asked(memory, all_of_it)
        summarize(memory)
        assert "emerald" in next(one.text for one in summaries(memory).values() if one.text.startswith("3 "))
        purge(memory, to_purge(memory, resolve(memory, Target(ids=("m29",)))))
        assert days_of(memory) == []
        assert summarize(memory).written == 2
        assert "emerald" not in texts(memory, *State)
        folder = memory.profile.folder
    assert not [path for path in folder.rglob("*") if path.is_file() and b"emerald" in path.read_bytes()]


def test_a_forgotten_summary_is_not_made_again() -> None:
    with ingested(chat(2)) as memory:
        summarize(memory)
        (summary,) = summaries(memory).values()
        forget(memory, resolve(memory, Target(ids=(summary.id,))))
        assert summarize(memory) == Summarized(left_out=1)
        assert summarize(memory) == Summarized()
        assert summarize(memory, anew=True) == Summarized(left_out=1)
        assert len(model_of(memory).prompts) == 1
        take_into(memory, [said(20, day=2, id="m1", content=ARM, timestamp="2023-01-02T09:00:00")])
        assert summarize(memory).written == 1


def test_undone_summaries_stay_undone_and_undo_brings_back_what_they_superseded() -> None:
    with ingested(chat(2)) as memory:
        summarize(memory)
        before = what_is_told(memory)
        take_into(memory, [said(20, day=2, id="m1", content=ARM, timestamp="2023-01-02T09:00:00")])
        summarize(memory)
        assert what_is_told(memory) != before
        undo(memory, plan(memory))
        assert what_is_told(memory) == before
        assert summarize(memory, anew=True) == Summarized(left_out=1)
        assert what_is_told(memory) == before


def test_a_pinned_summary_stays() -> None:
    with ingested(chat(2)) as memory:
        summarize(memory)
        (old,) = summaries(memory).values()
        pin(memory, [old.id], pinned=True)
        take_into(memory, [said(20, day=2, id="m1", content=ARM, timestamp="2023-01-02T09:00:00")])
        assert summarize(memory).written == 1
        assert old.id in {one.id for one in summaries(memory).values()}


def test_a_replaced_message_changes_its_day_and_the_old_words_cost_nothing() -> None:
    rows = chat(2)
    with ingested(rows) as memory:
        summarize(memory)
        before = what_is_told(memory)
        other = said(20, day=2, content="I sold the piano to a school in Porto.")
        take_into(memory, [other], HowToIngest(on_conflict="replace"))
        summarize(memory)
        assert "piano" in texts(memory)
        take_into(memory, rows, HowToIngest(on_conflict="replace"))
        summarize(memory)
        assert what_is_told(memory) == before
        assert len(model_of(memory).prompts) == 2


@pytest.mark.parametrize("erase", [False, True])
@pytest.mark.parametrize(("of", "words"), [("m29", "rink"), ("m21", "number 21")])
def test_what_is_forgotten_while_it_is_asked_is_not_in_it(of: str, words: str, erase: bool) -> None:
    """Be it of the window itself or a seed of another one: what was replied is not kept, and it is asked again."""
    with empty_home() as home:
        take(home, [*chat(2), said(29, day=2, content=ARM), *chat(3)])
        with with_model(home, llm={"concurrency": 1}, summarize={"sentences": 100}) as memory:
            waits = [True]

            def reply(prompt: Prompt) -> str:
                if waits and words in prompt.body:
                    waits.clear()
                    forget_elsewhere(home, of, erase=erase)
                return all_of_it(prompt)

            model = asked(memory, reply)
            summarize(memory)
            assert not waits
            assert words not in texts(memory, *State)
            assert days_of(memory) == ["2023-01-02", "2023-01-03"]
            assert len(model.prompts) > 2
            for id in summaries(memory):
                assert {one.state for one in memory.history.entries.get(quotes(memory, id)).values()} == {State.ACTIVE}


# Faults ------------------------------------------------------------------------------------------------------------


def faulty(fault: object, *, day: str) -> Callable[[Prompt], object]:
    return lambda prompt: fault if prompt.body.startswith(f"{day} January") else first_of_each(prompt)


@pytest.mark.parametrize(
    "fault", ["", "{}", '{"summary": "I cannot help with that.", "of": []}', "prose", ModelError("500"), "{" * 9_999]
)
def test_a_window_without_a_reply_is_left_for_the_next_run(fault: object) -> None:
    with empty_home() as home, empty_home() as sound:
        for folder in (home, sound):
            take(folder, chat(2, 3, 4))
        with with_model(sound) as memory:
            summarize(memory)
        with with_model(home) as memory:
            asked(memory, faulty(fault, day="3"))  # type: ignore[arg-type]
            done = summarize(memory)
            assert (done.written, done.failed) == (2, 1)
            assert [one.window.days.start.day for one in done.unmade if one.window.days] == [3]
            assert done.unmade[0].reason
            assert days_of(memory) == ["2023-01-02", "2023-01-04"]
            model = asked(memory)
            assert summarize(memory).written == 1
            assert len(model.prompts) == 1
            assert summarize(memory) == Summarized()
        assert kept(home).state == kept(sound).state


def test_a_server_that_goes_leaves_what_it_replied() -> None:
    with empty_home() as home, with_model(home, llm={"concurrency": 1}) as memory:
        take_into(memory, chat(2, 3, 4))
        gone = Unavailable("nobody answers", hint="ollama serve")
        asked(memory, faulty(gone, day="3"))
        with pytest.raises(Unavailable):
            summarize(memory)
        assert "2023-01-02" in days_of(memory)
        assert memory.history.work.pending().get("embed", 0) == 0
        model = asked(memory)
        summarize(memory)
        assert days_of(memory) == ["2023-01-02", "2023-01-03", "2023-01-04"]
        assert len(model.prompts) <= 2


def test_a_budget_ends_it_before_it_is_passed_and_the_next_run_goes_on() -> None:
    with empty_home() as home, with_model(home, llm={"concurrency": 1}) as memory:
        take_into(memory, chat(2, 3, 4))
        memory.budget = Budget(1_800)
        done = summarize(memory)
        assert done.written + done.left == 3
        assert done.left > 0
        assert done.stopped is not None
        assert done.usage.tokens <= 1_800
        memory.budget = None
        assert summarize(memory).written == done.left
        assert len(model_of(memory).prompts) == 3
        memory.budget = Budget(1)
        assert summarize(memory, anew=True) == Summarized(unchanged=3), "what is known costs nothing"


@pytest.mark.parametrize("dies", [dies_before, dies_after])
def test_a_run_that_dies_anywhere_is_made_good_by_the_next(
    dies: Callable[[int, Callable[[], object]], int],
) -> None:
    rows = [*chat(2, 3), said(38, day=3, content=ARM), *chat(5)]

    def done(home: Path) -> int:
        with with_model(home, llm={"concurrency": 1}) as memory:
            summarize(memory)
            return len(model_of(memory).prompts)

    def prepared(home: Path) -> Path:
        take(home, rows[:8])
        done(home)
        take(home, rows)
        return home

    with empty_home() as folder:
        steps = dies(10_000, lambda: done(prepared(folder)))
        whole = kept(folder)
        assert steps > 10
    for step in range(steps + 1):
        with empty_home() as home:
            prepared(home)
            dies(step, lambda at=home: done(at))
            done(home)
            assert kept(home) == whole, f"died at step {step} of {steps}"


# Laws --------------------------------------------------------------------------------------------------------------


def retold(prompt: Prompt) -> str:
    """A reply that depends on all that is shown."""
    facts, earlier = parts(prompt)
    words = sorted({word for line in facts + earlier for word in line.split()})
    return json.dumps({"summary": " ".join(words[:60]) or "nothing", "of": list(range(1, 1 + len(facts), 2))})


@laws
@given(transcripts(), st.data())
def test_summaries_depend_on_what_is_remembered_and_not_on_when_they_were_made(
    rows: list[bytes], data: st.DataObject
) -> None:
    settings = {
        "window": data.draw(st.sampled_from(["session", "day", "week", "month"])),
        "scope": data.draw(st.sampled_from(["historical", "global"])),
    }
    half = data.draw(st.integers(0, len(rows)))
    with empty_home() as home, with_model(home, summarize=settings) as memory:
        asked(memory, retold)
        take_into(memory, rows[:half])
        summarize(memory)
        take_into(memory, rows)
        summarize(memory)
        summarize(memory, anew=True)  # what was said later may be a seed for what was told before
        in_steps = what_is_told(memory)
        model = asked(memory, retold)
        assert summarize(memory, anew=True).written == 0
        assert model.prompts == []
    with empty_home() as home, with_model(home, summarize=settings) as memory:
        asked(memory, retold)
        take_into(memory, rows)
        summarize(memory)
        assert what_is_told(memory) == in_steps


# The command -------------------------------------------------------------------------------------------------------


def script(tmp_path: Path, *lines: object) -> dict[str, str]:
    """An environment whose language model replies from a file."""
    file = tmp_path / "replies.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"LIGHTMEM_LLM__USE": "scripted", "LIGHTMEM_LLM__MODEL": str(file)}


GOOD = {"reply": {"summary": "Anna works at a garden. Boris waits for a niece.", "of": [1, 3]}}
BAD = {"reply": "no", "when": "3 January 2023. At most"}


def test_the_command_asks_a_model(home: Path, tmp_path: Path) -> None:
    take(home, chat(2, 3))
    env = script(tmp_path, GOOD)
    answered = lightmem("summarize", "--use", "llm", "--json", env=env)
    assert answered.returncode == 0, answered.stderr
    rows = [json.loads(row) for row in lines_of(answered.stdout)]
    assert [row["text"] for row in rows] == [
        f"{day} January 2023: Anna works at a garden. Boris waits for a niece." for day in (2, 3)
    ]
    assert all(len(row["facts"]) == 2 for row in rows)
    assert lines_of(answered.stderr) == ["2 windows summarized; lightmem undo 2 takes that back"]
    again = lightmem("summarize", "--use", "llm", "--all", env=env)
    assert lines_of(again.stderr) == ["nothing to summarize (2 unchanged)"]
    calls = json.loads(lightmem("stats", "--json").stdout)["llm"]["summarize"]
    assert calls["calls"] == 2
    shown = json.loads(lightmem("show", rows[0]["id"], "--json").stdout)
    assert "summary-1" in json.dumps(shown)
    assert "scripted/replies.jsonl" in json.dumps(shown)


def test_a_window_that_failed_is_told_with_exit_code_5(home: Path, tmp_path: Path) -> None:
    take(home, chat(2, 3))
    failed = lightmem("summarize", "--use", "llm", "--quiet", env=script(tmp_path, BAD, GOOD))
    assert failed.returncode == 5
    first, hint = lines_of(failed.stderr)
    assert first.startswith("lightmem: 1 window could not be summarized, the first (2023-01-03) because of this: ")
    assert hint == "  hint: nothing is lost: the next lightmem summarize tries again"
    mended = lightmem("summarize", "--use", "llm", env=script(tmp_path, GOOD))
    assert (mended.returncode, lines_of(mended.stderr)) == (
        0,
        ["1 window summarized, 1 unchanged; lightmem undo 3 takes that back"],
    )


def test_a_budget_is_kept_and_said(home: Path, tmp_path: Path) -> None:
    take(home, chat(2, 3))
    stopped = lightmem("summarize", "--use", "llm", "--budget-tokens", "50", env=script(tmp_path, GOOD))
    assert stopped.returncode == 0
    [said] = lines_of(stopped.stderr)
    assert said.startswith(
        "no window summarized (2 left for the next run: the budget of 50 tokens would be passed (0 are"
    )


def test_without_a_model_it_is_said_how_to_name_one(home: Path) -> None:
    take(home, chat(2))
    refused = lightmem("summarize", "--use", "llm")
    assert refused.returncode == 2
    assert "lightmem config set llm.use" in refused.stderr.decode()
