"""Short-term memory on the whole product: no message is lost, and what is read together is settled."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import Kept, dies_after, dies_before, empty_home, kept_by, line, opened, take_into

from lightmem_cli.embed.hashing import HashingEmbedder
from lightmem_cli.engine import Budget, Memory
from lightmem_cli.engine.asking.work import _AHEAD
from lightmem_cli.engine.extraction import estimate, ready
from lightmem_cli.engine.forget import Target, forget, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.pending import work_first, work_off
from lightmem_cli.engine.purge import purge
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.steps import Done
from lightmem_cli.errors import MissingPart, ModelError, ProfileError, Rejected, TooLong, Unavailable
from lightmem_cli.llm.scripted import ScriptedModel, every_line_a_fact
from lightmem_cli.protocols import Prompt
from lightmem_cli.records import Filter, Kind, State
from lightmem_cli.store.history import work

# Who is killed in the middle of a generator leaves it to be closed when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

laws = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])

LLM: dict[str, object] = {"use": "llm", "roles": "both", "buffer_tokens": 64}
SAID = (
    "I adopted a greyhound called Biscuit, and he sleeps on the sofa all day.",
    "We moved to Lisbon, and my sister Clara helped me carry the old piano upstairs.",
    "My brother works as a nurse in a hospital in Oslo.",
    "Boris painted the kitchen yellow, and the garden fence green.",
    "Thanks!",
    "I bought two tickets for the concert in the botanical garden.",
    "図書館は大学の隣にあります。",
    "",
)
Script = Callable[[Prompt], "str | BaseException"]


def asked_together(prompt: Prompt) -> str:
    """Every line a fact that also names the company it was read in: other company, other facts."""
    company = (
        hashlib.blake2b(prompt.body.encode(), digest_size=4)
        .hexdigest()
        .translate(str.maketrans("0123456789", "ghijklmnop"))
    )
    reply = json.loads(every_line_a_fact(prompt))
    for fact in reply["facts"]:
        fact["text"] += f" {company}"
    return json.dumps(reply)


@contextmanager
def reading(
    home: Path, script: Script = asked_together, *, said: list[str] | None = None, **overrides: Any
) -> Iterator[Memory]:
    """A memory whose language model follows a script."""
    extract = {**LLM, **overrides.pop("extract", {})}
    with opened(home, said=said, extract=extract, **overrides) as memory:
        memory.__dict__["model"] = ScriptedModel(script)
        yield memory


def model_of(memory: Memory) -> ScriptedModel:
    model = memory.model
    assert isinstance(model, ScriptedModel)
    return model


def extract(memory: Memory) -> list[Done]:
    """As `lightmem extract`."""
    with memory.run("extract") as run:
        return list(work_off(memory, run=run, ask="all"))


def facts(memory: Memory, state: State = State.ACTIVE) -> list[str]:
    entries = memory.history.entries
    return [one.text for one in entries.get(entries.of_kind(Kind.FACT)).values() if one.state is state]


def companies(memory: Memory) -> list[list[str]]:
    """The messages that each call read, by their texts."""
    return [re.findall(r"^\d+ [^:]+: (.*)$", prompt.body, re.MULTILINE) for prompt in model_of(memory).prompts]


def rows(count: int = 24, *, sessions: int = 3, conversation: str = "", **fields: object) -> list[bytes]:
    """Messages of several sessions, one after the other."""
    each = count // sessions
    return [
        line(
            id=f"m{number}",
            session=f"s{number // each}",
            conversation=conversation,
            speaker=("Anna", "Boris")[number % 2],
            timestamp=f"2024-05-{number // each + 1:02}T{10 + number % each // 60}:{number % each % 60:02}:00Z",
            content=f"I saw heron {number} in the reeds. {SAID[number % 4]}",
            **fields,
        )
        for number in range(count)
    ]


@st.composite
def transcripts(draw: st.DrawFn, *, most: int = 24) -> list[bytes]:
    """Rows of several sessions and conversations, one after the other or interleaved, with silences and odd ones."""
    found: list[bytes] = []
    places = [("", "s1"), ("", "s2"), ("trip", "s1"), ("", "s3")]
    hours = dict.fromkeys(places, 8)
    interleaved = draw(st.booleans())
    place = places[0]
    for number in range(draw(st.integers(0, most))):
        if interleaved or draw(st.integers(0, 4)) == 0:
            place = draw(st.sampled_from(places))
        if draw(st.integers(0, 3)) == 0:
            hours[place] += 2  # a silence ends a topic
        fields: dict[str, object] = {"content": draw(st.sampled_from(SAID)), "id": f"m{number}"}
        fields["role"] = draw(st.sampled_from(["user", "user", "user", "assistant", "tool"]))
        if draw(st.integers(0, 5)) == 0:
            fields["image_caption"] = "a photo of a yellow kitchen"
        found.append(
            line(
                conversation=place[0],
                session=place[1],
                speaker=draw(st.sampled_from([None, "Anna", "Boris"])),
                timestamp=f"2024-05-{hours[place] // 24 + 1:02}T{hours[place] % 24:02}:{number % 60:02}:00Z",
                **fields,
            )
        )
    return found


def whole(
    lines: Sequence[bytes], how: HowToIngest | None = None, script: Script = asked_together, **overrides: Any
) -> Kept:
    """What an undisturbed ingest makes of a transcript."""
    with empty_home() as home, reading(home, script, **overrides) as memory:
        take_into(memory, lines, how)
        return kept_by(memory)


# What is read together -----------------------------------------------------------------------------------------------


def test_sessions_are_read_in_full_buffers_and_their_rests_together(home: Path) -> None:
    with reading(home) as memory:
        total = take_into(memory, rows(24))
        assert memory.history.work.pending() == {}
        read = [text for company in companies(memory) for text in company]
        assert sorted(read) == sorted({text for text in read}) and len(read) == 24
        assert total.facts == len(facts(memory)) + len(facts(memory, State.UNSUPPORTED)) == 24
        assert total.calls == len(companies(memory)) == memory.history.counts.model_calls()["extract"].usage.calls
        sizes = [sum(len(text) + 7 for text in company) / 4 for company in companies(memory)]
        assert all(size >= 64 for size in sizes[:-1])


def test_raw_turns_are_searchable_before_any_call(home: Path) -> None:
    seen: list[int] = []

    def script(prompt: Prompt) -> str:
        with opened(home, reader=True) as reader:
            seen.append(len(Recall(reader).retrieve(Query(text="heron in the reeds", where=Filter(), limit=50))))
        return every_line_a_fact(prompt)

    with reading(home, script, llm={"concurrency": 1}) as memory:
        take_into(memory, rows(12))
    assert seen[0] >= 12


def test_a_fact_is_found_with_its_sources_prompt_and_model(home: Path) -> None:
    with reading(home, every_line_a_fact) as memory:
        take_into(memory, rows(4, sessions=1))
        hits = Recall(memory).retrieve(Query(text="Who saw heron 2?", where=Filter(kinds=(Kind.FACT,))))
        [fact] = [hit.entry for hit in hits if "heron 2 " in hit.entry.text]
        assert (fact.sources[0].id, fact.speaker, fact.model, fact.prompt) == ("m2", "Anna", "scripted/test", "facts-1")
        assert fact.said_at is not None and fact.said_at.day == 1


def test_only_the_roles_that_are_asked_for_are_read_and_captions_with_them(home: Path) -> None:
    lines = [
        line(id="1", session="s", role="user", content="I planted an oak.", image_caption="a young oak"),
        line(id="2", session="s", role="assistant", content="How lovely, an oak!"),
        line(id="3", session="s", role="tool", content="{}"),
        line(id="4", session="s", role="user", content="  "),
        line(id="5", session="s", role="user", content="", image_caption="a watering can"),
    ]
    with reading(home, every_line_a_fact, extract={"roles": "user"}) as memory:
        take_into(memory, lines)
        assert companies(memory) == [["I planted an oak. [image: a young oak]", "[image: a watering can]"]]
        assert memory.history.work.pending() == {}


def test_what_holds_nothing_to_read_costs_no_call(home: Path) -> None:
    with reading(home) as memory:
        take_into(memory, [line(id="1", session="s", role="tool", content="{}"), line(id="2", session="s", content="")])
        assert companies(memory) == []
        assert memory.history.work.pending() == {}


def test_shortened_texts_are_sent_where_there_are_any(home: Path) -> None:
    lines = rows(6, sessions=1)
    with reading(home, compress={"use": "entropy", "rate": 0.5}) as memory:
        take_into(memory, lines)
        shortened = {text for text, *_ in kept_by(memory).shortened.values()}
        assert {text for company in companies(memory) for text in company} == shortened
    with empty_home() as other, reading(other, compress={"use": "entropy"}, extract={"text": "original"}) as memory:
        take_into(memory, lines)
        assert {text for company in companies(memory) for text in company} == {
            json.loads(one)["content"] for one in lines
        }


def test_texts_that_were_not_shortened_yet_are_shortened_before_they_are_sent(home: Path) -> None:
    lines = rows(6, sessions=1)
    shorten: dict[str, Any] = {"compress": {"use": "entropy", "rate": 0.5}}
    with opened(home, extract={**LLM, "use": "llm"}) as memory:
        memory.__dict__["model"] = ScriptedModel(lambda prompt: Unavailable("down"))
        with suppress(Unavailable):
            take_into(memory, lines, HowToIngest(keep_open=True))
        assert kept_by(memory).shortened == {}
    with reading(home, **shorten) as memory:
        take_into(memory, lines)
        assert len(kept_by(memory).shortened) == 6
        state = kept_by(memory)
    assert state == whole(lines, **shorten)


def test_without_topics_what_was_said_is_read_message_by_message(home: Path) -> None:
    with reading(home, segment={"use": "none"}) as memory:
        take_into(memory, rows(24), HowToIngest(keep_open=True))
        open_ones = memory.history.work.pending()["extract"]
        assert 0 < open_ones < 24
        assert ready(memory) == open_ones
        extract(memory)
        assert memory.history.work.pending() == {}
        assert sorted(text for company in companies(memory) for text in company) == sorted(
            json.loads(one)["content"] for one in rows(24)
        )


def test_a_topic_larger_than_two_buffers_is_read_in_parts(home: Path) -> None:
    lines = [line(id=f"m{n}", session="s", content=f"The heron number {n} stood in the reeds.") for n in range(60)]
    with reading(home, segment={"use": "none"}) as memory:
        take_into(memory, lines)
        sizes = [len(company) for company in companies(memory)]
        assert sum(sizes) == 60 and max(sizes) <= 8


def test_what_is_in_an_open_topic_waits_until_somebody_ends_it(home: Path) -> None:
    with reading(home) as memory:
        take_into(memory, rows(3, sessions=1), HowToIngest(keep_open=True))
        assert memory.history.work.pending() == {"extract": 3}
        assert ready(memory) == 0
        work_first(memory)
        assert [run.command for run in memory.history.runs.newest(9)] == ["ingest"], "there was nothing to do"
        take_into(memory, rows(3, sessions=1))
        assert memory.history.work.pending() == {}
        assert len(companies(memory)) == 1


# Nothing depends on who was fast -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [dies_before, dies_after])
@pytest.mark.parametrize(
    "how", [HowToIngest(), HowToIngest(keep_open=True), HowToIngest(live=True)], ids=["plain", "open", "live"]
)
def test_a_run_that_dies_at_any_step_is_made_good_by_the_next(
    dies: Callable[[int, Callable[[], object]], int], how: HowToIngest
) -> None:
    lines = rows(12)
    undisturbed = whole(lines, how)

    def once(home: Path) -> None:
        with reading(home) as memory:
            take_into(memory, lines, how)

    with empty_home() as home:
        steps = dies(sys.maxsize, lambda: once(home))
    assert steps > 8
    for step in range(steps):
        with empty_home() as home:
            dies(step, lambda home=home: once(home))  # type: ignore[misc]
            with reading(home) as memory:
                take_into(memory, lines, how)
                assert kept_by(memory) == undisturbed, f"died at step {step} of {steps}"


def test_what_was_paid_before_a_death_is_not_paid_again() -> None:
    lines = rows(36)
    with empty_home() as home, reading(home) as memory:
        take_into(memory, lines)
        calls = len(companies(memory))
    assert calls > 2 * _AHEAD
    for step in range(0, 40, 3):
        with empty_home() as home:
            prompts: list[Prompt] = []

            def script(prompt: Prompt, prompts: list[Prompt] = prompts) -> str:
                prompts.append(prompt)
                return asked_together(prompt)

            def once(home: Path = home, script: Script = script) -> None:
                with reading(home, script, llm={"concurrency": 1}) as memory:
                    take_into(memory, lines)

            dies_before(step, once)
            once()
            assert len(set(prompts)) == calls
            assert len(prompts) <= calls + _AHEAD, "only what was on its way is asked again"


@laws
@given(transcripts(), st.data())
def test_half_with_an_open_end_then_whole_is_whole(lines: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(lines)), label="cut")
    live = data.draw(st.booleans(), label="live")
    with empty_home() as home, reading(home) as memory:
        take_into(memory, lines[:cut], HowToIngest(keep_open=True, live=live))
        take_into(memory, lines, HowToIngest(live=live))
        assert kept_by(memory) == whole(lines)


@laws
@given(transcripts(most=10))
def test_one_message_at_a_time_is_the_whole(lines: list[bytes]) -> None:
    with empty_home() as home, reading(home) as memory:
        for end in range(1, len(lines) + 1):
            take_into(memory, lines[:end], HowToIngest(keep_open=True))
        take_into(memory, lines)
        assert kept_by(memory) == whole(lines)


@laws
@given(transcripts(most=16))
def test_journal_first_and_the_rest_later_is_a_plain_ingest(lines: list[bytes]) -> None:
    with empty_home() as home, reading(home) as memory:
        take_into(memory, lines, HowToIngest(journal_only=True))
        extract(memory)
        assert kept_by(memory) == whole(lines)


@laws
@given(transcripts(), st.integers(1, 4), st.data())
def test_a_server_that_is_down_for_any_calls_costs_nothing(
    lines: list[bytes], at_once: int, data: st.DataObject
) -> None:
    down = data.draw(st.sets(st.integers(0, 20)), label="down")
    calls = iter(range(10_000))

    def script(prompt: Prompt) -> str | BaseException:
        return Unavailable("nobody answers") if next(calls) in down else asked_together(prompt)

    with empty_home() as home:
        with reading(home, script, llm={"concurrency": at_once}) as memory:
            try:
                take_into(memory, lines, HowToIngest(live=data.draw(st.booleans(), label="live")))
            except Unavailable as error:
                assert "lightmem extract" in str(error.hint)
                assert memory.history.work.quarantined() == []
                assert memory.history.work.pending().keys() == {"extract"}
        with reading(home) as memory:
            extract(memory)
            assert kept_by(memory) == whole(lines)


def test_a_server_that_is_down_leaves_everything_else_done(home: Path) -> None:
    with reading(home, lambda prompt: Unavailable("nobody answers")) as memory:
        with pytest.raises(Unavailable) as refused:
            take_into(memory, rows(24))
        assert "nothing is lost: lightmem extract goes on from here" in str(refused.value.hint)
        assert memory.history.work.pending() == {"extract": 24}
        assert memory.history.counts.segments() > 0
        assert Recall(memory).retrieve(Query(text="Who saw heron 7?", where=Filter()))
        assert len(model_of(memory).prompts) <= 2 * memory.settings.llm.concurrency, "nobody asks a dead server on"
        prompts = model_of(memory).prompts
        prompts.clear()
        with pytest.raises(Unavailable):
            take_into(memory, rows(24), HowToIngest(live=True))
        assert len(prompts) <= 2 * memory.settings.llm.concurrency, "once in an ingest is enough"


def test_no_language_model_at_all_is_told_when_everything_else_is_done(home: Path) -> None:
    with opened(home, extract=LLM) as memory:
        with pytest.raises(ProfileError, match="no language model"):
            take_into(memory, rows(24))
        assert memory.history.work.pending() == {"extract": 24}
        assert Recall(memory).retrieve(Query(text="Who saw heron 7?", where=Filter()))


def test_nobody_pays_for_what_cannot_be_embedded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reading(home) as memory:
        take_into(memory, rows(24), HowToIngest(journal_only=True))
        monkeypatch.setattr(Memory, "space", lambda self: (_ for _ in ()).throw(MissingPart("no embedder")))
        with pytest.raises(MissingPart):
            extract(memory)
        assert companies(memory) == []


def test_a_budget_ends_the_asking_cleanly_and_the_next_run_goes_on(home: Path) -> None:
    said: list[str] = []
    with reading(home, said=said, llm={"concurrency": 1}) as memory:
        memory.budget = Budget(2500)
        take_into(memory, rows(24))
        waiting = memory.history.work.pending()["extract"]
        assert 0 < waiting < 24
        assert memory.budget.spent <= 2500
        assert any("budget of 2,500 tokens" in one and f"{waiting} messages wait" in one for one in said), said
        memory.budget = None
        extract(memory)
        assert kept_by(memory) == whole(rows(24))


# What a model makes of it --------------------------------------------------------------------------------------------


def poisoned(*words: str, fault: Callable[[], str | BaseException] = lambda: "no json at all") -> Script:
    """Replies with a fault wherever one of `words` is shown."""

    def script(prompt: Prompt) -> str | BaseException:
        return fault() if any(f"heron {word} " in prompt.body for word in words) else every_line_a_fact(prompt)

    return script


@laws
@given(st.sets(st.integers(0, 23)), st.sampled_from(["prose", "too long", "rejected", "cut off"]))
def test_halving_loses_nothing_whatever_is_poisoned(which: set[int], fault: str) -> None:
    faults: dict[str, Callable[[], str | BaseException]] = {
        "prose": lambda: "I would rather not.",
        "too long": lambda: TooLong("too long"),
        "rejected": lambda: Rejected("the content filter"),
        "cut off": lambda: '{"facts": [' + " " * 100_000,
    }
    lines = rows(24)
    script = poisoned(*map(str, which), fault=faults[fault])
    with empty_home() as home:
        with reading(home, script) as memory:
            with suppress(Unavailable):  # it may look as if the model could read nothing
                take_into(memory, lines)
            runs = 0
            while memory.history.work.pending() and (len(which) < 24 or runs < 9):
                with suppress(Unavailable):
                    extract(memory)
                runs += 1
                assert runs < 12
            aside = memory.history.messages.get([one.item for one in memory.history.work.quarantined()])
            if len(which) < 24:  # else nothing says that the model can read at all
                assert {one.id for one in aside.values()} == {f"m{number}" for number in which}
            assert len(facts(memory)) == 24 - len(which)
            assert len(aside) + memory.history.work.pending().get("extract", 0) == len(which)
        with reading(home, every_line_a_fact) as memory:  # as they were formed, and now they can be read
            extract(memory)
            assert kept_by(memory) == whole(lines, script=every_line_a_fact)


def test_an_empty_reply_is_an_answer(home: Path) -> None:
    with reading(home, lambda prompt: '{"facts": []}') as memory:
        total = take_into(memory, rows(24))
        assert (total.facts, total.aside) == (0, 0)
        assert memory.history.work.pending() == {} and memory.history.work.quarantined() == []


def test_a_batch_that_one_prompt_fails_on_is_set_aside_whole_and_tried_again_as_it_was(home: Path) -> None:
    with reading(
        home, poisoned("3", fault=lambda: ModelError("500 from the server")), llm={"concurrency": 1}
    ) as memory:
        take_into(memory, rows(24))
        aside = memory.history.work.quarantined()
        assert {one.reason for one in aside} == {"500 from the server"}
        together = [company for company in companies(memory) if any("heron 3 " in text for text in company)]
        assert len(together) == 1 and len(aside) == len(together[0])
        turns = Recall(memory).retrieve(Query(text="Who saw heron 3?", where=Filter()))
        assert turns, "its turns are found all the same"
    with reading(home) as memory:
        extract(memory)
        assert companies(memory) == together


def test_a_model_that_can_read_nothing_is_not_asked_about_every_message(home: Path) -> None:
    with reading(home, lambda prompt: "I cannot help with that.", extract={"buffer_tokens": 512}) as memory:
        with pytest.raises(Unavailable, match="failed 3 times in a row"):
            take_into(memory, rows(240, sessions=3))
        assert len(model_of(memory).prompts) == 6  # three batches, and a second time each
        aside, waiting = memory.history.work.quarantined(), memory.history.work.pending()["extract"]
        assert (len(aside), waiting) == (0, 240)


def test_a_bad_reply_is_asked_for_once_more_with_what_was_wrong(home: Path) -> None:
    replies = iter(["certainly! here are the facts"])

    def script(prompt: Prompt) -> str:
        return next(replies, None) or every_line_a_fact(prompt)

    with reading(home, script) as memory:
        total = take_into(memory, rows(4, sessions=1))
        assert (total.facts, total.calls) == (4, 2)
        assert "That is wrong" in model_of(memory).prompts[1].body


def test_what_its_messages_do_not_say_is_kept_aside(home: Path) -> None:
    def script(prompt: Prompt) -> str:
        made_up = {"of": [1], "text": "Leonardo inherited seventeen submarines from the Vatican."}
        return json.dumps({"facts": [made_up, *json.loads(every_line_a_fact(prompt))["facts"]]})

    with reading(home, script) as memory:
        total = take_into(memory, rows(4, sessions=1))
        assert total.unsupported == 1
        assert facts(memory, State.UNSUPPORTED) == ["Leonardo inherited seventeen submarines from the Vatican."]
        hits = Recall(memory).retrieve(Query(text="Who inherited submarines?", where=Filter(kinds=(Kind.FACT,))))
        assert not any("submarines" in hit.entry.text for hit in hits)


def test_one_odd_fact_does_not_keep_others_from_being_remembered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = HashingEmbedder.windows

    def picky(self: HashingEmbedder, text: str) -> list[str]:
        if "said:" in text and "heron 2 " in text:
            raise ValueError("an odd text")
        return windows(self, text)

    monkeypatch.setattr(HashingEmbedder, "windows", picky)
    with reading(home, every_line_a_fact) as memory:
        total = take_into(memory, rows(4, sessions=1))
        assert total.facts == 4
        extract(memory)
        assert [(one.stage, one.reason) for one in memory.history.work.quarantined()] == [
            ("embed", "ValueError: an odd text")
        ]


# What happens while a call is in flight ------------------------------------------------------------------------------


def meanwhile(home: Path, do: Callable[[Memory], object], *, reply: Script = every_line_a_fact) -> Script:
    """Does something in another process's stead, once, while the first call is in flight."""
    done: list[object] = []

    def script(prompt: Prompt) -> str | BaseException:
        if not done:
            done.append(do)
            with opened(home) as other:
                do(other)
        return reply(prompt)

    return script


def hide(memory: Memory, *names: str) -> None:
    forget(memory, resolve(memory, Target(ids=names)))


def test_a_message_that_is_forgotten_meanwhile_makes_no_fact(home: Path) -> None:
    with reading(home, meanwhile(home, lambda other: hide(other, "m1"))) as memory:
        take_into(memory, rows(4, sessions=1))
        assert len(facts(memory)) == 3 and not any("heron 1 " in text for text in facts(memory))
        assert memory.history.work.pending() == {}


def test_a_message_that_is_purged_meanwhile_leaves_nothing(home: Path) -> None:
    def erase(other: Memory) -> None:
        purge(other, [one.id for one in resolve(other, Target(ids=("m1",))).messages])

    with reading(home, meanwhile(home, erase)) as memory:
        take_into(memory, rows(4, sessions=1))
        assert len(facts(memory)) == 3 and not any("heron 1 " in text for text in facts(memory))
        [(replies,)] = memory.history.connection.execute("SELECT count(reply) FROM model_calls")
        assert replies == 0, "what it quoted is not kept"


def test_a_message_that_is_replaced_meanwhile_is_read_again(home: Path) -> None:
    new = line(
        id="m1", session="s0", speaker="Boris", timestamp="2024-05-01T10:01:00Z", content="I saw an owl in the barn."
    )

    def replace(other: Memory) -> None:
        take_into(other, [new], HowToIngest(on_conflict="replace", journal_only=True))

    with reading(home, meanwhile(home, replace)) as memory:
        take_into(memory, rows(4, sessions=1))
        assert not any("heron 1 " in text for text in facts(memory))
        extract(memory)
        assert "Boris said: I saw an owl in the barn." in facts(memory)
        assert len(facts(memory)) == 4
        assert memory.history.work.pending() == {}


def test_what_was_forgotten_before_its_call_is_not_sent(home: Path) -> None:
    with reading(home) as memory:
        take_into(memory, rows(4, sessions=1), HowToIngest(journal_only=True))
        hide(memory, "m1")
        extract(memory)
        assert not any("heron 1 " in text for company in companies(memory) for text in company)
        assert memory.history.work.pending() == {}


def test_what_is_forgotten_behind_a_batch_is_not_sent_with_it(home: Path) -> None:
    with reading(home, lambda prompt: Unavailable("down")) as memory:
        with suppress(Unavailable):
            take_into(memory, rows(4, sessions=1))
        hide(memory, "m1")
    with reading(home, every_line_a_fact) as memory:
        extract(memory)
        assert len(companies(memory)) == 1
        assert not any("heron 1 " in text for text in companies(memory)[0])
        assert memory.history.work.pending() == {}


def test_a_forgotten_fact_does_not_come_back(home: Path) -> None:
    """Its message is read again, as another one of its batch was replaced, and says it in other words."""
    with reading(home, every_line_a_fact) as memory:
        take_into(memory, rows(2, sessions=1))
        [fact] = [
            one
            for one in memory.history.entries.get(memory.history.entries.of_kind(Kind.FACT)).values()
            if "heron 1 " in one.text
        ]
        hide(memory, fact.id)
        with memory.history.transaction():
            memory.history.work.add("extract", [id for id, _ in [memory.history.messages.find(fact.sources[0])]])  # type: ignore[misc]
        memory.__dict__["model"] = ScriptedModel(lambda prompt: every_line_a_fact(prompt).replace("reeds.", "reeds!"))
        extract(memory)
        assert not any("heron 1 " in text for text in facts(memory))
        assert memory.history.work.pending() == {}


def test_a_fact_that_is_said_again_is_supported_again(home: Path) -> None:
    before, after = (
        line(id="a", session="s", speaker="Anna", content=content)
        for content in ("I adopted a greyhound called Biscuit.", "I adopted a tortoise called Waffle.")
    )
    replace = HowToIngest(on_conflict="replace")
    with reading(home, every_line_a_fact) as memory:
        take_into(memory, [before])
        take_into(memory, [after], replace)
        assert facts(memory) == ["Anna said: I adopted a tortoise called Waffle."]
        take_into(memory, [before], replace)
        assert facts(memory) == ["Anna said: I adopted a greyhound called Biscuit."]


def test_a_fact_of_two_messages_needs_both(home: Path) -> None:
    def both(prompt: Prompt) -> str:
        return json.dumps({"facts": [{"of": [1, 2], "text": "Anna and Boris saw heron 0 and heron 1 in the reeds."}]})

    with reading(home, meanwhile(home, lambda other: hide(other, "m1"), reply=both)) as memory:
        take_into(memory, rows(2, sessions=1))
        assert facts(memory) == []
    with empty_home() as other, reading(other, both) as memory:
        take_into(memory, rows(2, sessions=1))
        [fact] = memory.history.entries.get(memory.history.entries.of_kind(Kind.FACT)).values()
        assert [key.id for key in fact.sources] == ["m0", "m1"]


# Others at the same memory -------------------------------------------------------------------------------------------


def at_work(*items: int) -> Iterator[list[work.Owner]]:
    """Another process that holds so many items, each time somebody looks; then it has done them."""
    return iter([[work.Owner(4711, "box", 0.0, held)] for held in items] + [[]] * 99)


def test_who_waits_for_another_sleeps_longer_and_longer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = at_work(6, 5, 4, 3, 2, 1)
    slept: list[float] = []
    monkeypatch.setattr(work.Work, "holders", lambda self: next(others))
    monkeypatch.setattr("time.sleep", slept.append)
    with reading(home) as memory:
        extract(memory)
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_who_gets_nothing_done_is_not_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = at_work(*[6] * 90)
    slept: list[float] = []
    monkeypatch.setattr(work.Work, "holders", lambda self: next(others))
    monkeypatch.setattr("time.sleep", slept.append)
    with reading(home) as memory:
        extract(memory)
    assert 10 <= sum(slept) < 13


def test_what_a_process_held_that_died_meanwhile_is_read_too(home: Path) -> None:
    with opened(home) as other:

        def script(prompt: Prompt) -> str:
            other.history.work.close()  # as the system does with the lock of who dies
            return asked_together(prompt)

        _read_what_another_held(home, script, other)


def _read_what_another_held(home: Path, script: Script, other: Memory) -> None:
    with reading(home, script) as memory:
        with memory.run("extract"):
            list(work_off(memory, run=1))
        with suppress(Unavailable), reading(home, lambda prompt: Unavailable("down")) as third:
            take_into(third, rows(24))
        with other.history.transaction():
            assert other.history.work.claim_batch() is not None
        extract(memory)
        assert kept_by(memory) == whole(rows(24))


def test_an_answer_about_words_that_were_replaced_makes_no_fact_of_the_new_ones(home: Path) -> None:
    """The old words are with the model while another process replaces them; the new ones are asked about meanwhile."""
    more = " The water was still and the wind was cold." * 8  # as much as one call is to read
    lines = [line(id=f"m{n}", session="s", content=f"I saw heron {n} in the reeds.{more}") for n in range(8)]
    replacement = line(id="m0", session="s", content=f"I saw heron 0 and it was a stork.{more}")
    replaced, asked_anew = threading.Event(), threading.Event()

    def script(prompt: Prompt) -> str:
        if "it was a stork" in prompt.body:
            asked_anew.set()
        elif "heron 0 " in prompt.body:
            assert asked_anew.wait(30)
        elif not replaced.is_set():
            replaced.set()
            with suppress(Unavailable), reading(home, lambda prompt: Unavailable("down"), **each_alone) as other:
                take_into(other, [replacement], HowToIngest(on_conflict="replace"))
        return every_line_a_fact(prompt)

    each_alone: dict[str, Any] = {"segment": {"use": "none"}}
    with reading(home, script, llm={"concurrency": 2}, **each_alone) as memory:
        take_into(memory, lines, HowToIngest(journal_only=True))
        extract(memory)
        found = facts(memory)
        assert [text for text in found if "heron 0" in text] == [text for text in found if "it was a stork" in text]
        assert len(companies(memory)) == 9, "each by itself, and one twice"
        assert len(found) == len(set(found)) == 8 and memory.history.work.pending() == {}


@pytest.mark.parametrize("every", [2, 4, 5])
def test_a_good_model_reads_all_but_what_it_refuses_in_a_few_runs(home: Path, every: int) -> None:
    """Where each batch holds a message that it refuses, the first three fail, as they would with a bad model."""
    refused = {f"m{n}" for n in range(0, 60, every)}
    with reading(home, poisoned(*(one[1:] for one in refused)), extract={"buffer_tokens": 128}) as memory:
        with suppress(Unavailable):
            take_into(memory, rows(60))
        for _ in range(9):
            if memory.history.work.pending():
                with suppress(Unavailable):
                    extract(memory)
        aside = memory.history.messages.get([one.item for one in memory.history.work.quarantined()])
        assert {one.id for one in aside.values()} == refused
        assert len(facts(memory)) == 60 - len(refused) and memory.history.work.pending() == {}


def test_a_conversation_that_another_is_still_cutting_is_not_flushed(home: Path) -> None:
    """Its rest would be gathered in another way once all its topics are there."""
    with reading(home) as memory, opened(home) as other:
        take_into(memory, rows(24), HowToIngest(journal_only=True))
        work_of = other.history.work
        with other.history.transaction():
            cutting, closing = work_of.claim("segment", limit=24), work_of.claim("close", limit=3)
            work_of.add("segment", cutting[:16])  # it has the last of three sessions in hand
            work_of.add("close", closing[:2])
        with memory.run("extract") as run:
            list(work_off(memory, run=run, ask="all"))
        assert {memory.history.segments.of_session("", f"s{number}") == [] for number in (0, 1)} == {False}
        assert memory.history.work.pending()["extract"] > 7, "also what is left of the sessions that have ended"
        with other.history.transaction():
            other.history.work.release()
        extract(memory)
        assert kept_by(memory) == whole(rows(24))


def test_a_hook_leaves_alone_what_failed_three_times_and_extract_does_not(home: Path) -> None:
    with reading(home, poisoned("3")) as memory:
        prompts = model_of(memory).prompts
        tried = []
        for _ in range(5):
            prompts.clear()
            take_into(memory, rows(4, sessions=1))
            tried.append(len(prompts))
            assert len(memory.history.work.quarantined()) == 1
        assert tried[1:] == [2, 2, 0, 0]
        extract(memory)
        assert len(prompts) == 2


# What it would take --------------------------------------------------------------------------------------------------


def test_an_estimate_asks_nobody_and_changes_nothing(home: Path) -> None:
    with reading(home) as memory:
        take_into(memory, rows(24), HowToIngest(journal_only=True))
        before = kept_by(memory), memory.history.runs.newest(9)
        about = estimate(memory)
        assert (kept_by(memory), memory.history.runs.newest(9)) == before and companies(memory) == []
        extract(memory)
        calls = len(companies(memory))
        assert calls - 2 <= about.calls <= calls + 2
        spent = memory.history.counts.model_calls()["extract"].usage.prompt_tokens
        assert about.prompt_tokens == pytest.approx(spent, rel=0.25)
        assert estimate(memory).calls == 0


def test_an_estimate_of_what_is_gathered_already_is_exact(home: Path) -> None:
    with reading(home, lambda prompt: Unavailable("down")) as memory:
        with suppress(Unavailable):
            take_into(memory, rows(24))
        about = estimate(memory)
    with reading(home) as memory:
        extract(memory)
        assert about.calls == len(companies(memory))
        assert about.prompt_tokens == sum(-(-len(text) // 4) for prompt in model_of(memory).prompts for text in prompt)
