"""Sensory memory at ingest: what has ended is shortened with its topic, beside what was said, and read once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from changes import called
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import dies_after, empty_home, kept, kept_by, line, opened, take, take_into
from process import lightmem
from test_segment import SAID, TWO, Neighbours, cutting_with, talks, topics

import lightmem_cli.engine.sensory
import lightmem_cli.segment
from lightmem_cli.engine.care import reindex
from lightmem_cli.engine.deep import deep
from lightmem_cli.engine.ingest import HowToIngest, ingest
from lightmem_cli.engine.pending import work_first, work_off
from lightmem_cli.engine.topics import ask_to_close_all
from lightmem_cli.errors import MissingPart
from lightmem_cli.protocols import Compressor, Gap, Spoken
from lightmem_cli.records import Compressed, Entry, Kind, Message, MessageKey
from lightmem_cli.store.history.compressed import Shortened

laws = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
CALLED = {"LIGHTMEM_COMPRESS__USE": "entropy"}  # which, in this process, is what `shortening_with` says


@dataclass
class Fresh:
    """A compressor that can be computed by hand: it keeps the words that no earlier message of the topic has."""

    name: str = "fresh words"
    topics: list[list[str]] = field(default_factory=list)
    before: Callable[[Sequence[Message]], None] = lambda messages: None

    def filled(self, messages: Sequence[Message]) -> int:
        return len(messages)

    def compress(self, messages: Sequence[Message]) -> list[Compressed]:
        self.topics.append([message.id for message in messages])
        self.before(messages)
        return [_fresh(message, messages) for message in messages]


def _fresh(message: Message, topic: Sequence[Message]) -> Compressed:
    old = {word for one in topic if one.position < message.position for word in one.content.split()}
    words = message.content.split()
    left = [word for word in words if word not in old]
    return Compressed(" ".join(left), len(left) / len(words) if words else 1.0)


@contextmanager
def shortening_with(compressor: Compressor) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, cutting_with(Neighbours()):
        patch.setattr(lightmem_cli.engine.sensory, "open_compressor", lambda use, how: compressor)
        patch.setenv("LIGHTMEM_COMPRESS__USE", "entropy")
        yield


def close(home: Path) -> None:
    with opened(home) as memory, memory.run("segment") as run:
        ask_to_close_all(memory.history)
        list(work_off(memory, run=run))


def shortened(home: Path) -> dict[str, str]:
    return {id: text for (_, _, id), (text, _, _) in kept(home).shortened.items()}


def expected(home: Path, *, made_by: str = "fresh words") -> dict[MessageKey, tuple[str, float, str]]:
    """What `Fresh` makes of the topics that have ended, taken from the messages as they are now."""
    found = {}
    with opened(home) as memory:
        for one in memory.history.segments.all():
            session = [said.message for said in memory.history.segments.said(one.conversation, one.session, since=0)]
            ids = [message.id for message in session]
            topic = session[ids.index(one.first.id) : ids.index(one.last.id) + 1]
            for message in topic:
                if message.content.strip():
                    text, share = _fresh(message, topic).text, _fresh(message, topic).kept
                    found[message.key] = (text, share, made_by)
    return found


# With the topic ----------------------------------------------------------------------------------------------------


def test_the_messages_of_an_ended_topic_are_shortened_and_the_open_ones_are_not() -> None:
    compressor = Fresh()
    with shortening_with(compressor), empty_home() as home:
        take(home, TWO, HowToIngest(keep_open=True))
        ended = topics(home)
        assert [(one.first.id, one.last.id) for one in ended] == [("a0", "a2"), ("b0", "b2")]
        assert kept(home).shortened == expected(home)
        assert shortened(home)["a1"] == "Biscuit the loves long walks."
        assert compressor.topics == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
        close(home)
        assert kept(home).shortened == expected(home)
        assert len(shortened(home)) == len(TWO)


def test_what_is_stored_and_indexed_stays_whole() -> None:
    with empty_home() as home, empty_home() as plain:
        with shortening_with(Fresh()):
            take(home, TWO)
        with cutting_with(Neighbours()):
            take(plain, TWO)
        assert kept(home).shortened
        assert kept(home)._replace(shortened={}) == kept(plain)


@laws
@given(rows=talks())
def test_every_message_with_words_is_shortened_once_its_session_has_ended(rows: list[bytes]) -> None:
    with shortening_with(Fresh()), empty_home() as home:
        take(home, rows)
        assert kept(home).shortened == expected(home)
        assert len(expected(home)) == sum(bool(json.loads(row)["content"].strip()) for row in rows)


@laws
@given(data=st.data())
def test_any_portions_kept_open_and_then_the_whole_are_shortened_as_the_whole_at_once(data: st.DataObject) -> None:
    rows = data.draw(talks())
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)))))
    with shortening_with(Fresh()), empty_home() as once, empty_home() as grown:
        take(once, rows)
        for begin, end in zip([0, *cuts], cuts, strict=False):
            take(grown, rows[begin:end], HowToIngest(keep_open=True, journal_only=data.draw(st.booleans())))
        take(grown, rows)
        assert topics(grown) == topics(once)
        assert kept(grown) == kept(once)


def test_a_topic_says_how_clearly_it_ends() -> None:
    with cutting_with(Neighbours()), empty_home() as home:
        take(home, TWO)
        assert {(one.cut_by, one.score) for one in topics(home)} == {("similarity", 0.5), ("session", 1.0)}


def test_without_a_segmenter_nothing_is_shortened() -> None:
    with shortening_with(Fresh()), empty_home() as home:
        said: list[str] = []
        with opened(home, said=said, segment={"use": "none"}) as memory:
            take_into(memory, TWO[:6])
            take_into(memory, TWO)
        assert (topics(home), shortened(home)) == ([], {})
        notice = "compress.use = entropy shortens topics, and segment.use is none: nothing is shortened"
        assert said == [notice], "once, not for each batch"
        said.clear()
        with opened(home, said=said, segment={"use": "none"}) as memory, memory.run("extract") as run:
            list(work_off(memory, run=run))
        assert said == [], "nothing waits"
    with empty_home() as home, opened(home, said=said, segment={"use": "none"}, compress={"use": "none"}) as memory:
        take_into(memory, TWO)
        assert said == []


def test_a_topic_that_began_since_is_looked_at_though_an_earlier_one_was_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which another process ended: a long one is looked at anew only once it has grown."""
    looked_at: list[int] = []

    class Watched(Neighbours):
        def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
            looked_at.append(len(turns) - start)
            return []

    monkeypatch.setattr(lightmem_cli.segment, "_LONG", 4)
    rows = [line(id=f"m{n}", session="s", content="And on it goes.") for n in range(52)]
    with cutting_with(Watched()), empty_home() as home, opened(home) as memory:
        take_into(memory, rows[:40], HowToIngest(keep_open=True))
        close(home)
        looked_at.clear()
        take_into(memory, rows[40:], HowToIngest(keep_open=True))
        assert looked_at == [12]
        looked_at.clear()
        take_into(memory, [line(id="m52", session="s", content="And on.")], HowToIngest(keep_open=True))
        assert looked_at == [], "it has hardly grown"


def test_another_compressor_leaves_what_is_there_as_it_is() -> None:
    with empty_home() as home:
        with shortening_with(Fresh(name="one")):
            take(home, TWO, HowToIngest(keep_open=True))
        with shortening_with(Fresh(name="two")):
            close(home)
        made_by = {id: by for (_, _, id), (_, _, by) in kept(home).shortened.items()}
        assert {by: sorted(id for id in made_by if made_by[id] == by) for by in set(made_by.values())} == {
            "one": ["a0", "a1", "a2", "b0", "b1", "b2"],
            "two": ["a3", "a4", "a5", "b3", "b4", "b5"],
        }


# What happens to the words afterwards, or meanwhile ----------------------------------------------------------------


def other_words(id: str) -> bytes:
    return line(id=id, session=id[0], content="My tortoise is called Waffle.")


def test_other_words_of_a_message_drop_its_shortened_text_and_no_other() -> None:
    with shortening_with(Fresh()), empty_home() as home:
        take(home, TWO)
        before = kept(home).shortened
        take(home, [other_words("a1")], HowToIngest(on_conflict="replace"))
        assert kept(home).shortened == {key: text for key, text in before.items() if key[2] != "a1"}
        take(home, TWO, HowToIngest(on_conflict="replace"))
        with opened(home) as memory:
            assert memory.history.compressed.unlike_messages() == []


@pytest.mark.parametrize("purged", [False, True], ids=["replaced", "purged"])
def test_words_that_change_while_they_are_shortened_leave_none_of_the_old_ones(purged: bool) -> None:
    from test_purge import erase, traces

    with empty_home() as home:

        def change(messages: Sequence[Message]) -> None:
            if messages[0].id == "a0" and not changed:
                changed.append(True)
                with opened(home) as other:
                    if purged:
                        erase(other, "a1")
                    else:
                        take_into(other, [other_words("a1")], HowToIngest(on_conflict="replace", journal_only=True))

        changed: list[bool] = []
        said = {"id": "a1", "session": "a", "content": "Biscuit loves waterfalls."}
        rows = [TWO[0], line(**said), *TWO[2:]]
        with shortening_with(Fresh(before=change)):
            take(home, rows)
        assert changed
        assert set(shortened(home)) == {f"{session}{n}" for session in "ab" for n in range(6)} - {"a1"}
        assert well(home)
        if purged:
            assert traces(home, ["waterfalls"]) == set()


def well(home: Path) -> bool:
    with opened(home) as memory:
        return all(one.well and not one.mended for one in deep(memory, progress=lambda rows: None))


# What fails, dies or is not there ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])  # as which torch says that memory ran out
def test_a_topic_that_cannot_be_shortened_sets_its_session_aside_and_no_other(kind: type[Exception]) -> None:
    def fail(messages: Sequence[Message]) -> None:
        if messages[0].session == "a":
            raise kind("odd")

    with empty_home() as home, empty_home() as whole:
        with shortening_with(Fresh(before=fail)):
            take(home, TWO)
            assert {one.session for one in topics(home)} == {"b"}
            assert {id[0] for id in shortened(home)} == {"b"}
            with opened(home) as memory:
                assert {one.reason for one in memory.history.work.quarantined()} == {f"{kind.__name__}: odd"}
        with shortening_with(Fresh()):
            take(home, TWO)
            take(whole, TWO)
            assert (topics(home), kept(home)) == (topics(whole), kept(whole))


def test_a_message_whose_reading_runs_out_of_memory_is_set_aside_and_no_other() -> None:
    class Odd:
        def extract(self, messages: Sequence[Message]) -> list[Entry]:
            if messages[0].id == "a1":
                raise RuntimeError("out of memory")
            return []

    with empty_home() as home, opened(home, segment={"use": "none"}) as memory:
        memory.extractor = Odd()
        take_into(memory, TWO)
        assert [one.reason for one in memory.history.work.quarantined()] == ["RuntimeError: out of memory"]


def test_too_few_texts_are_not_taken_for_those_of_other_messages() -> None:
    class Short(Fresh):
        def compress(self, messages: Sequence[Message]) -> list[Compressed]:
            return super().compress(messages)[1:]

    with shortening_with(Short()), empty_home() as home:
        take(home, TWO)
        assert (topics(home), shortened(home)) == ([], {})
        with opened(home) as memory:
            assert memory.history.work.quarantined()


def test_a_run_that_dies_at_any_step_leaves_the_shortening_to_the_next() -> None:
    rows = [line(id=f"m{n}", session=f"s{n % 9 // 6}", content=SAID[n // 3 % 7]) for n in range(24)]
    with shortening_with(Fresh()):
        with empty_home() as home:
            steps = _die_at(home, rows, step=1000)
            whole, cut = kept(home), topics(home)
        assert len(cut) > 3 and len(whole.shortened) == 24
        for step in range(steps):
            with empty_home() as home:
                _die_at(home, rows, step=step)
                take(home, rows)
                assert (kept(home), topics(home)) == (whole, cut), f"died at step {step} of {steps}"


def _die_at(home: Path, rows: Sequence[bytes], *, step: int) -> int:
    return dies_after(step, lambda: take(home, rows))


def missing(messages: Sequence[Message]) -> None:
    raise MissingPart("the model is not here", hint="get the model")


def batches(rows: Sequence[bytes]) -> list[list[object]]:
    """Each row as a batch of its own, as a slow pipe gives them."""
    import io
    from datetime import UTC

    from lightmem_cli.transcript import read_transcript

    return [batch for row in rows for batch in read_transcript(io.BytesIO(row), name="test", zone=UTC)]  # type: ignore[misc]


def test_without_its_model_all_is_kept_and_found_and_a_later_run_makes_up_for_it() -> None:
    """Also what comes behind the first batch that would take the model."""
    with empty_home() as home, empty_home() as whole:
        compressor = Fresh(before=missing)
        with shortening_with(compressor), opened(home) as memory:
            with pytest.raises(MissingPart) as lacking:
                ingest(
                    memory,
                    [batches(TWO)],  # type: ignore[list-item]
                    HowToIngest(),
                    reject=lambda bad: None,
                    progress=lambda total: None,
                )
            assert lacking.value.hint == "get the model"
            assert len(compressor.topics) == 1, "a model that is not here was asked for again"
            assert memory.history.runs.newest(1)[0].outcome == "failed: the model is not here"
            assert memory.history.work.pending().keys() == {"segment", "close"}
            assert memory.history.work.quarantined() == []
        with shortening_with(Fresh()):
            take(whole, TWO)
            done, before = kept(whole), kept(home)
            assert (before.state, before.vectors, before.shortened) == (done.state, done.vectors, {})
            take(home, TWO)
            assert (kept(home), topics(home)) == (done, topics(whole))


def test_what_needs_no_topics_goes_on_without_their_model() -> None:
    with empty_home() as home, shortening_with(Fresh(before=missing)):
        take(home, TWO, HowToIngest(journal_only=True))
        said: list[str] = []
        with opened(home, said=said) as memory:
            work_first(memory)
            assert memory.history.work.pending() == {"segment": 12, "close": 2}
            reindex(memory, progress=lambda done: None)
            assert said.count("topics stay open: the model is not here") == 2
        for command in ("update", "summarize"):
            ran = called(command, "--home", str(home))
            assert ran.exit_code == 0, ran.stderr
        assert well(home)


def test_the_command_says_what_is_missing_and_how_to_get_it(home: Path) -> None:
    nowhere = {"LIGHTMEM_COMPRESS__USE": "llmlingua2", "LIGHTMEM_COMPRESS__MODEL": str(home / "nowhere")}
    for arguments in (["ingest", "-"], ["extract"]):
        ran = lightmem(*arguments, feed=b"".join(TWO), env=nowhere)
        assert ran.returncode == 4, ran.stderr
        assert "nowhere" in ran.stderr.decode()
        assert arguments[0] != "ingest" or b"kept: 12 new messages, " in ran.stderr
    assert b"greyhound" in lightmem("retrieve", "greyhound").stdout
    assert lightmem("ingest", "-", feed=b"".join(TWO)).returncode == 0
    assert topics(home)


# What is shown -----------------------------------------------------------------------------------------------------


def test_a_turn_is_shown_as_it_is_sent_and_a_forgotten_one_is_not() -> None:
    with shortening_with(Fresh()), empty_home() as home:
        take(home, TWO)
        said = called("show", "a1", "--home", str(home)).stdout.splitlines()
        assert "  sent as (83 %): Biscuit the loves long walks." in said
        assert "  of the topic from a0 to a2, ended by similarity (0.50)" in said
        told = json.loads(called("show", "a1", "--json", "--home", str(home)).stdout)
        assert (told["compressed"], told["kept"]) == ("Biscuit the loves long walks.", 0.8333)
        assert (told["topic"]["first"], told["topic"]["last"], told["topic"]["score"]) == ("a0", "a2", 0.5)
        with opened(home) as memory:
            fact = next(iter(memory.history.entries.get(memory.history.entries.of_kind(Kind.FACT)).values()))
        told = json.loads(called("show", fact.id, "--json", "--home", str(home)).stdout)
        assert (told["compressed"], told["kept"], told["topic"]) == (None, None, None)
        assert called("forget", "a1", "--home", str(home)).exit_code == 0
        told = json.loads(called("show", "a1", "--json", "--home", str(home)).stdout)
        assert (told["compressed"], told["kept"]) == (None, None)
        assert shortened(home)["a1"], "hidden, not erased"
        assert "sent as" not in called("show", "a1", "--home", str(home)).stdout


def test_stats_count_what_was_shortened() -> None:
    with empty_home() as home:
        with cutting_with(Neighbours()):
            take(home, TWO[:6])
        assert "shortened" not in called("stats", "--home", str(home)).stdout
        assert json.loads(called("stats", "--json", "--home", str(home)).stdout)["compressed"] == {
            "messages": 0,
            "kept": None,
        }
        with shortening_with(Fresh()):
            take(home, TWO)
        texts = kept(home).shortened
        told = json.loads(called("stats", "--json", "--home", str(home)).stdout)["compressed"]
        content = {json.loads(row)["id"]: json.loads(row)["content"] for row in TWO}
        total = sum(len(content[id]) for _, _, id in texts)
        share = sum(made[1] * len(content[id]) for (_, _, id), made in texts.items()) / total
        assert told == {"messages": 6, "kept": round(share, 4)}
        [one] = [one for one in called("stats", "--home", str(home)).stdout.splitlines() if "shortened" in one]
        assert one.split()[:5] == ["shortened", "6", "to", f"{100 * share:.0f}", "%"]


def test_the_table_keeps_what_was_shortened_of_what_is_still_said(home: Path) -> None:
    take(home, TWO)
    with opened(home) as memory:
        history = memory.history
        [a0, a1] = [one.id for one in history.segments.said("", "a", since=0)][:2]
        text = Compressed("greyhound", 0.25)
        history.compressed.keep([Shortened(a0, SAID[0], text), Shortened(a1, "other", text)], made_by="x")
        assert history.compressed.of([a0, a1, 99]) == {a0: (text, "x")}
        history.compressed.keep([Shortened(a0, SAID[0], Compressed("", 0.0))], made_by="y")
        assert history.compressed.of([a0]) == {a0: (Compressed("", 0.0), "y")}
        history.compressed.drop([a0])
        assert history.compressed.of([a0, a1]) == {}
        assert kept_by(memory).shortened == {}
