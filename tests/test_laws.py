"""The laws that a memory keeps, on the whole product: what is lost, repeated or left behind breaks one."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import (
    QUESTIONS,
    answers,
    answers_of,
    dies_before,
    empty_home,
    kept,
    line,
    opened,
    same_answers,
    take,
    take_into,
)
from process import lightmem, lines_of, start

from lightmem_cli.embed.hashing import HashingEmbedder
from lightmem_cli.engine import Memory
from lightmem_cli.engine.care import reindex
from lightmem_cli.engine.doctor import doctor
from lightmem_cli.engine.embedding import embed_some, views
from lightmem_cli.engine.ingest import HowToIngest, Ingested, ingest
from lightmem_cli.engine.pending import work_off
from lightmem_cli.engine.recall import Query, Recall
from lightmem_cli.engine.show import show
from lightmem_cli.errors import InputError, SpaceMismatch
from lightmem_cli.extract.rules import RuleExtractor
from lightmem_cli.records import Filter, Kind, Space, State, row_text
from lightmem_cli.store.history import History
from lightmem_cli.transcript import Item, read_transcript

laws = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])

SAID = (
    "I adopted a greyhound called Biscuit on 3 May 2023.",
    "We moved to Lisbon last week, and my sister Clara helped me carry the piano.",
    "I am allergic to peanuts. My brother works as a nurse in Oslo.",
    "Boris painted the kitchen yellow yesterday! Isn't it lovely?",
    "What did you do on Saturday?",
    "Thanks!",
    "Ok.",
    "I bought two tickets for the Radiohead concert, they cost 180 euros.",
    "図書館は大学の隣にあります。昨日、日本語の本を借りました。",
    "Я вчера купила новую гитару 🎸 и играла весь вечер.",
    "",
    "   ",
    "My email is a.b@example.org; the code was 0042\nand the second line stays.",
)


@st.composite
def transcripts(draw: st.DrawFn, *, most: int = 14) -> list[bytes]:
    """Rows with ids, with times or with neither, of several sessions and conversations, repeats among them."""
    ways = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(["", "trip"]), st.sampled_from([None, "s1", "s2"])),
            st.sampled_from(["id", "time", "neither"]),
            min_size=1,
            max_size=4,
        )
    )
    said = st.sampled_from(SAID) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
    rows: list[bytes] = []
    for number in range(draw(st.integers(0, most))):
        if rows and draw(st.integers(0, 6)) == 0:
            rows.append(draw(st.sampled_from(rows)))  # a client that sends a message again
            continue
        conversation, session = draw(st.sampled_from(sorted(ways, key=str)))
        fields: dict[str, object] = {"content": draw(said), "conversation": conversation, "session": session}
        fields["role"] = draw(st.sampled_from(["user", "user", "assistant", "tool"]))
        fields["speaker"] = draw(st.sampled_from([None, "Anna", "Boris", "Zoë"]))
        if draw(st.integers(0, 5)) == 0:
            fields["image_caption"] = "a photo of a yellow kitchen"
        way = ways[conversation, session]
        if way == "id":
            fields["id"] = f"m{number}"
        if way == "time" or (way == "id" and draw(st.booleans())):
            offset = draw(st.sampled_from(["", "Z", "+02:00"]))
            fields["timestamp"] = f"2023-05-{draw(st.integers(1, 4)):02}T10:0{draw(st.integers(0, 2))}:00{offset}"
        rows.append(line(**fields))
    return rows


def sample(count: int = 40) -> list[bytes]:
    """A fixed conversation that has everything in it."""
    ways: list[dict[str, object]] = [{"id": "x"}, {"timestamp": "2023-05-03T10:00:00"}, {}]
    rows = []
    for number in range(count):
        way = dict(ways[number % 3])
        if "id" in way:
            way["id"] = f"x{number}"
        said = SAID[number * 7 % len(SAID)] + (f" It was number {number}." if number % 4 else "")
        speaker = ("Anna", "Boris")[number % 2]
        rows.append(line(content=said, speaker=speaker, session=f"way{number % 3}", **way))
    return rows


# Law 1: journal first ----------------------------------------------------------------------------------------------


def test_a_run_that_dies_at_any_step_is_made_good_by_the_next() -> None:
    rows = sample(12)
    with empty_home() as home:
        steps = _die_at(home, rows, step=sys.maxsize)
        whole, answered = kept(home), answers(home)
    assert steps > 8
    for step in range(steps):
        with empty_home() as home:
            _die_at(home, rows, step=step)
            take(home, rows)
            assert kept(home) == whole, f"died at step {step} of {steps}"
            same_answers(answers(home), answered)


def _die_at(home: Path, rows: Sequence[bytes], *, step: int) -> int:
    return dies_before(step, lambda: take(home, rows))


def test_kill_9_during_ingest_then_again_gives_the_same_state(tmp_path: Path, lightmem_data: Path) -> None:
    transcript = tmp_path / "chat.jsonl"
    source = lightmem_data / "locomo" / "conv-30.messages.jsonl"
    transcript.write_bytes(b"".join(source.read_bytes().splitlines(keepends=True)[:150]))
    began = time.monotonic()
    assert lightmem("ingest", transcript, "--home", tmp_path / "whole").returncode == 0
    lasted = time.monotonic() - began
    whole = lines_of(lightmem("export", "--state", "--home", tmp_path / "whole").stdout)
    assert len(whole) > 150
    for number, share in enumerate((0.35, 0.6, 0.85)):
        home = tmp_path / f"killed{number}"
        process = start("ingest", transcript, "--home", home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=lasted * share)
        process.kill()
        process.wait()
        again = lightmem("ingest", transcript, "--home", home)
        assert again.returncode == 0, again.stderr
        assert lines_of(lightmem("export", "--state", "--home", home).stdout) == whole
        assert kept(home) == kept(tmp_path / "whole")


# Law 2: the same input twice is a no-op; half then whole equals whole ----------------------------------------------


@laws
@given(transcripts())
def test_the_same_input_twice_is_a_no_op(rows: list[bytes]) -> None:
    with empty_home() as home:
        take(home, rows)
        first, answered = kept(home), answers(home)
        with opened(home) as memory:
            position = memory.history.runs.position()
            again = take_into(memory, rows)
            assert (again.messages, again.replaced, again.rejected) == (0, 0, 0)
            assert (again.facts, again.embedded, again.known) == (0, 0, len(rows))
            assert memory.history.runs.position() == position, "indexes were given work"
        assert kept(home) == first
        assert answers(home) == answered


@laws
@given(transcripts(), st.data())
def test_half_then_whole_is_whole(rows: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)), label="cut")
    with empty_home() as once, empty_home() as twice:
        take(once, rows)
        take(twice, rows[:cut])
        answers(twice)  # a reader in between changes nothing
        take(twice, rows)
        assert kept(twice) == kept(once)
        same_answers(answers(twice), answers(once))


@laws
@given(transcripts(most=8))
def test_one_message_at_a_time_is_the_whole(rows: list[bytes]) -> None:
    with empty_home() as once, empty_home() as grown, empty_home() as piped:
        take(once, rows)
        for end in range(1, len(rows) + 1):
            take(grown, rows[:end])
        with opened(piped) as memory:
            lines = ([item for batch in _read(row) for item in batch] for row in rows)
            ingest(memory, [lines], HowToIngest(), reject=lambda line: None, progress=lambda total: None)
        assert kept(grown) == kept(piped) == kept(once)
        same_answers(answers(grown), answers(once))
        same_answers(answers(piped), answers(once))


def _read(row: bytes) -> Iterator[list[Item]]:
    return read_transcript(io.BytesIO(row), name="pipe", zone=UTC)


@laws
@given(transcripts())
def test_a_vector_is_the_same_whatever_came_with_it(rows: list[bytes]) -> None:
    with empty_home() as forth, empty_home() as back:
        take(forth, rows)
        take(back, rows[::-1], HowToIngest(append=True))
        there, here = kept(forth).vectors, kept(back).vectors
        assert all(there[hash] == here[hash] for hash in there.keys() & here.keys())
        assert there.keys() & here.keys() or not there  # the same sentences are in both


@laws
@given(transcripts())
def test_journal_first_and_the_rest_later_is_a_plain_ingest(rows: list[bytes]) -> None:
    with empty_home() as plain, empty_home() as later:
        take(plain, rows)
        take(later, rows, HowToIngest(journal_only=True))
        with opened(later) as memory, memory.run("extract") as run:
            for _ in work_off(memory, run=run):
                pass
        assert kept(later) == kept(plain)
        same_answers(answers(later), answers(plain))


def test_the_same_id_with_other_words_is_refused_or_a_revision() -> None:
    before = line(id="a", session="s", speaker="Anna", content="I adopted a greyhound called Biscuit.")
    after = line(id="a", session="s", speaker="Anna", content="I adopted a tortoise called Waffle.")
    with empty_home() as home:
        take(home, [before])
        first = kept(home)
        with pytest.raises(InputError, match="other words"):
            take(home, [after])
        assert kept(home) == first, "a refused row left a trace"
        assert take(home, [after], HowToIngest(on_conflict="replace")).replaced == 1
        with opened(home) as memory:
            rows = [row for row in memory.history.state.rows() if row["record"] == "entry"]
            states = {str(row["text"]): row["state"] for row in rows}
            assert states.pop("I adopted a tortoise called Waffle.") == State.ACTIVE
            greyhounds = [state for text, state in states.items() if "greyhound" in text]
            assert greyhounds == [State.UNSUPPORTED] * len(greyhounds)
            assert greyhounds
            assert any("Waffle" in text for text in states), "no fact was made from the new words"
            turn = next(row for row in rows if row["kind"] == "turn")
            assert turn["id"] == next(row["id"] for row in first.state if row.get("kind") == "turn"), "an id moved"
            _every_change_is_a_revision(memory)
        found = [entry for hits in answers(home) for entry, _ in hits]
        with empty_home() as anew:
            take(anew, [after])
            [expected] = [its for name, its in kept(anew).seen_through.items() if name in _turns(anew)]
        [seen] = [its for name, its in kept(home).seen_through.items() if name in _turns(home)]
        assert seen == expected, "the turn is still found by what it no longer says"
        gone = {row["id"] for row in rows if row["state"] != State.ACTIVE}
        assert found and not gone & set(found)
        again = kept(home)
        take(home, [after], HowToIngest(on_conflict="replace"))
        assert kept(home) == again


def _turns(home: Path) -> set[object]:
    return {row["id"] for row in kept(home).state if row.get("kind") == "turn"}


def _every_change_is_a_revision(memory: Memory) -> None:
    """Law 6: undoing the revisions one by one leads back to version 1 of every entry."""
    rows = memory.history.connection.execute(
        "SELECT r.entry, e.version, count(*), min(length(r.reason)), min(r.before <> r.after), min(r.run)"
        " FROM revisions r JOIN entries e ON e.id = r.entry GROUP BY r.entry"
    ).fetchall()
    assert rows
    for _, version, revisions, reason, differs, run in rows:
        assert version == revisions + 1
        assert reason and differs and run


# Law 3: opening never deletes --------------------------------------------------------------------------------------


def test_nothing_but_a_purge_deletes_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither opening in any condition nor any stage may delete a row of these tables: SQLite itself watches."""
    sacred = {"messages", "entries", "sources", "links", "revisions", "changes", "runs", "segments"}
    deleted: list[str] = []
    connect = sqlite3.connect

    def watched(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)  # type: ignore[call-overload]

        def allow(action: int, table: str | None, *_: object) -> int:
            if action in (sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_TABLE) and table in sacred:
                deleted.append(table)
            return sqlite3.SQLITE_OK

        connection.set_authorizer(allow)
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", watched)
    with empty_home() as home:
        take(home, sample())
        state = kept(home).state
        folder = home / "profiles" / "default"
        (folder / "words" / "words.db").write_bytes(b"not an index")
        for path in (folder / "vectors").rglob("*.*"):
            path.write_bytes(b"\0" * 64)
        (folder / "notes.txt").write_text("mine")
        answers(home)
        answers(home, store={"words": "rank-bm25"}, retrieve={"strategy": "words"})
        monkeypatch.setattr(HashingEmbedder, "space", Space(name="hashing", revision="2", dimension=256))
        with pytest.raises(SpaceMismatch):
            answers(home)
        with opened(home) as memory:
            doctor(memory)
            reindex(memory, progress=lambda done: None)
        replaced = line(**json.loads(sample()[0]) | {"content": "Something else entirely, in June 2023."})
        take(home, [replaced], HowToIngest(on_conflict="replace"))
        assert (folder / "notes.txt").read_text() == "mine"
        ids = {(row["record"], row["id"]) for row in state}
        assert ids <= {(row["record"], row["id"]) for row in kept(home).state}
    assert deleted == []


# Law 4: derived files are never trusted ----------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [("vectors",), ("words",), ("vectors", "words")], ids="+".join)
def test_deleting_the_indexes_changes_no_answer(gone: tuple[str, ...]) -> None:
    with empty_home() as home:
        take(home, sample())
        answered, state = answers(home), kept(home)
        assert all(hits for hits in answered[:3])
        for name in gone:
            shutil.rmtree(home / "profiles" / "default" / name)
        assert answers(home) == answered
        assert answers(home) == answered
        assert kept(home) == state


@laws
@given(transcripts(most=10), st.data())
def test_indexes_that_missed_some_of_the_history_catch_up(rows: list[bytes], data: st.DataObject) -> None:
    """Indexes restored from an older copy know less than history: they take in the rest."""
    cut = data.draw(st.integers(0, len(rows)), label="cut")
    with empty_home() as home, empty_home() as copy:
        take(home, rows[:cut])
        answers(home)
        folder = home / "profiles" / "default"
        old = [name for name in ("vectors", "words") if (folder / name).is_dir()]
        for name in old:
            shutil.copytree(folder / name, copy / name)
        take(home, rows)
        answered = answers(home)
        for name in ("vectors", "words"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in old:
            shutil.copytree(copy / name, folder / name)
        assert answers(home) == answered


def test_indexes_ahead_of_history_are_made_again() -> None:
    """History put back from an older copy: what the indexes know of the lost part is forgotten."""
    rows = sample()
    with empty_home() as home, empty_home() as older:
        take(older, rows[:20])
        answered = answers(older)
        take(home, rows[:20])
        past = (home / "profiles" / "default" / "history.db").read_bytes()
        take(home, rows)
        assert answers(home) != answered
        (home / "profiles" / "default" / "history.db").write_bytes(past)
        said: list[str] = []
        with opened(home, reader=True, said=said) as memory:
            same_answers(answers_of(memory), answered)
        assert sum("words" in line for line in said) == 1
        assert sum("vectors" in line for line in said) == 1


def test_a_reader_catches_up_what_a_writer_left() -> None:
    few = sample(10)
    with empty_home() as plain, empty_home() as home:
        take(home, few, HowToIngest(journal_only=True))
        with opened(home, reader=True) as memory:
            waiting = memory.history.work.pending()
            assert waiting["embed"] <= 64
            found = answers_of(memory)
            assert any(found)
            assert "embed" not in memory.history.work.pending(), "the reader left a few turns unembedded"
        with opened(home) as memory, memory.run("extract") as run:
            list(work_off(memory, run=run))
        take(plain, few)
        assert kept(home) == kept(plain)
        same_answers(answers(home), answers(plain))


def test_more_than_a_reader_embeds_is_left_to_the_next_writer_and_found_by_words() -> None:
    rows = [line(id=f"n{n}", session="s", content=f"The heron number {n} was seen.") for n in range(70)]
    rows.append(line(id="last", session="s", content="Boris painted the kitchen yellow."))
    said: list[str] = []
    with empty_home() as home:
        take(home, rows, HowToIngest(journal_only=True))
        with opened(home, reader=True, said=said) as memory:
            before = memory.history.work.pending()["embed"]
            assert before > 64
            query = Query(text="Who painted the kitchen?", where=Filter(kinds=(Kind.TURN,)), limit=1)
            assert [hit.entry.text for hit in Recall(memory).retrieve(query)] == ["Boris painted the kitchen yellow."]
            assert memory.history.work.pending()["embed"] == before
    assert any("lightmem extract" in line for line in said)


def test_a_reader_waits_for_no_writer() -> None:
    rows = sample(20)
    with empty_home() as home:
        take(home, rows[:10])
        take(home, rows, HowToIngest(journal_only=True))
        folder = home / "profiles" / "default"
        shutil.rmtree(folder / "words")
        writer = sqlite3.connect(folder / "history.db", isolation_level=None)
        done: list[float] = []

        def read() -> None:
            began = time.monotonic()
            assert any(answers(home))
            done.append(time.monotonic() - began)

        with FileLock(folder / "indexes.lock"):
            writer.execute("BEGIN IMMEDIATE")
            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            reader.join(15)  # the locks are never given back while it reads: a wait would be 20 s or more
            assert done, "the reader waits for a lock"
            writer.execute("ROLLBACK")
        writer.close()


# Law 5, as far as two processes of today meet ------------------------------------------------------------------------


def test_two_writers_at_once_give_the_state_of_one(tmp_path: Path) -> None:
    rows = sample(120)
    transcript = tmp_path / "chat.jsonl"
    transcript.write_bytes(b"".join(rows))
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"".join(line(**json.loads(row), conversation="other") for row in rows))
    for name in (transcript, other):
        assert lightmem("ingest", name, "--home", tmp_path / "one").returncode == 0
    assert lightmem("init", "default", "--home", tmp_path / "two").returncode == 0
    writers = [
        start("ingest", name, "--home", tmp_path / "two", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for name in (transcript, other, transcript)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    assert kept(tmp_path / "two") == kept(tmp_path / "one")
    same_answers(answers(tmp_path / "two"), answers(tmp_path / "one"))


@pytest.mark.parametrize("at_work", [(RuleExtractor, "extract"), (HashingEmbedder, "embed")], ids=lambda it: it[1])
def test_what_is_replaced_while_another_works_on_it_is_worked_on_again(
    at_work: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = line(id="a", session="s", speaker="Anna", content="I adopted a greyhound called Biscuit.")
    after = line(id="a", session="s", speaker="Anna", content="I adopted a tortoise called Waffle.")
    work_on = getattr(*at_work)
    replaced: list[Ingested] = []
    with empty_home() as home, empty_home() as anew:

        def disturbed(self: object, *arguments: object) -> object:
            if not replaced:  # once, by another writer, in the middle of this one's work
                replaced.append(Ingested())
                replaced.append(take(home, [after], HowToIngest(on_conflict="replace")))
            return work_on(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(*at_work, disturbed)
            take(home, [before])
        take(home, [after])
        take(anew, [after])
        assert replaced[1].replaced == 1
        active = [{row["text"] for row in kept(place).state if row.get("state") == "active"} for place in (home, anew)]
        assert active[0] == active[1]
        assert [kept(home).seen_through[name] for name in _turns(home)] == [
            kept(anew).seen_through[name] for name in _turns(anew)
        ]
        assert kept(home).pending == {}


# Law 6: every entry reaches its source messages --------------------------------------------------------------------


@laws
@given(transcripts())
def test_every_entry_reaches_its_sources(rows: list[bytes]) -> None:
    with empty_home() as home:
        take(home, rows)
        with opened(home) as memory:
            history = memory.history
            entries = [row for row in history.state.rows() if row["record"] == "entry"]
            messages = {(r["conversation"], r["session"], r["id"]) for r in history.state.rows() if "role" in r}
            assert len(messages) == history.counts.messages()
            for row in entries:
                shown = show(memory, str(row["id"]), around=0)
                assert shown.entry.sources and len(shown.trail) == len(shown.entry.sources)
                for key, [message] in zip(shown.entry.sources, shown.trail, strict=True):
                    assert message.key == key
                    assert (key.conversation, key.session) == (shown.entry.conversation, shown.entry.session)
                    if shown.entry.kind is Kind.TURN:
                        assert shown.entry.text == row_text(message)
            turns = [row for row in entries if row["kind"] == "turn"]
            assert len(turns) == sum(bool(_text(r).strip()) for r in history.state.rows() if "role" in r)
            for hits in [Recall(memory).retrieve(Query(text=text, where=Filter(), limit=20)) for text in QUESTIONS]:
                for hit in hits:
                    assert {tuple(key) for key in hit.entry.sources} <= messages


def _text(row: dict[str, object]) -> str:
    return f"{row['content']}{row['image_caption'] or ''}"


# Law 7: what fails is set aside and tried again ----------------------------------------------------------------------


def test_one_message_that_cannot_be_extracted_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sample(12)
    extract = RuleExtractor.extract

    def picky(self: RuleExtractor, messages: Sequence[object]) -> object:
        if any("greyhound" in message.content for message in messages):  # type: ignore[attr-defined]
            raise ValueError("no dogs")
        return extract(self, messages)  # type: ignore[arg-type]

    with empty_home() as home, empty_home() as plain:
        with monkeypatch.context() as patch:
            patch.setattr(RuleExtractor, "extract", picky)
            take(home, rows)
        with opened(home) as memory:
            aside = memory.history.work.quarantined()
            assert aside and all("no dogs" in item.reason for item in aside)
            assert memory.history.work.pending() == {}
        take(home, rows)
        take(plain, rows)
        assert kept(home) == kept(plain)


# Law 8: vectors of two spaces are never compared -------------------------------------------------------------------


def test_a_query_in_another_space_is_refused_and_reindex_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with empty_home() as home:
        take(home, sample())
        state, answered = kept(home), answers(home)
        with monkeypatch.context() as patch:
            patch.setattr(HashingEmbedder, "space", Space(name="hashing", revision="2", dimension=256))
            with pytest.raises(SpaceMismatch) as refused:
                answers(home)
            assert "reindex" in str(refused.value.hint)
            with opened(home) as memory:
                assert reindex(memory, progress=lambda done: None) > 0
            assert answers(home) == answered, "the same vectors under another name"
        with pytest.raises(SpaceMismatch):
            answers(home)
        with pytest.raises(SpaceMismatch):
            take(home, [line(content="One more thing happened to Anna in June.")])
        with opened(home) as memory:
            reindex(memory, progress=lambda done: None)
        now = kept(home)
        assert {row["id"] for row in state.state} < {row["id"] for row in now.state}, "the one more thing is lost"
        assert now.pending == {}
        assert len(now.vectors) > len(state.vectors)


def test_indexes_of_another_history_or_language_are_made_again() -> None:
    """History begun anew beside the old indexes, and grown beyond them: not one of their answers is taken over."""
    rows = sample()
    with empty_home() as home, empty_home() as fresh:
        take(home, rows[:8])
        with opened(fresh):
            pass
        (home / "profiles" / "default" / "history.db").write_bytes(
            (fresh / "profiles" / "default" / "history.db").read_bytes()
        )
        take(home, rows)
        take(fresh, rows)
        same_answers(answers(home), answers(fresh))
        said: list[str] = []
        with opened(home, said=said, store={"language": "german"}) as memory:
            memory.indexes.check(memory.history.vectors.active_space())
        assert said == ["the words index was made with another language: making it again from history"]


def test_facts_come_back_when_a_message_says_them_again() -> None:
    """A → B → A, and what A and B share: a fact is in force exactly while its message says it."""
    replacing = HowToIngest(on_conflict="replace")
    greyhound, tortoise = "I adopted a greyhound called Biscuit.", "I adopted a tortoise called Waffle."
    with empty_home() as home:
        for pet in (greyhound, tortoise, greyhound):
            content = f"I live in Lisbon near the old river port. {pet}"
            take(home, [line(id="1", session="s", speaker="Anna", content=content)], replacing)
            with opened(home) as memory:
                rows = [row for row in memory.history.state.rows() if row.get("kind") == Kind.FACT]
            facts = " ".join(str(row["text"]) for row in rows if row["state"] == State.ACTIVE)
            assert [word in facts for word in ("Lisbon", "greyhound", "tortoise")] == [
                True,
                pet == greyhound,
                pet == tortoise,
            ]


def test_a_message_replaced_while_it_is_embedded_is_embedded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works on something loses its claim when it changes."""
    replacing = HowToIngest(on_conflict="replace", journal_only=True)
    with empty_home() as home:
        take(home, [line(id="1", session="s", speaker="Anna", content="I play the cello.")], replacing)
        with opened(home) as memory, memory.run("test"):
            space = memory.space()[0]
            embed = HashingEmbedder.embed

            def slow(self: HashingEmbedder, texts: Sequence[str]) -> Any:
                monkeypatch.undo()
                take(home, [line(id="1", session="s", speaker="Anna", content="I play the trombone.")], replacing)
                return embed(self, texts)

            monkeypatch.setattr(HashingEmbedder, "embed", slow)
            assert embed_some(memory, space=space, queue=0) == 1
            assert memory.history.work.pending()["embed"] == 1
            assert embed_some(memory, space=space, queue=0) == 1
            turn = memory.history.entries.of_kind(Kind.TURN)[0]
            spoken = views(memory, turn, memory.history.entries.get([turn])[turn])
            assert "trombone" in spoken[0]
            seen = memory.history.reading.embedded([turn], space=space).vectors
            assert (seen == memory.embedder.embed(spoken).astype("<f2")).all()


def test_one_odd_message_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 7, where texts are embedded: what fails is set aside with its reason, and the next run tries it again."""
    rows = sample()
    windows = HashingEmbedder.windows

    def fragile(self: HashingEmbedder, text: str) -> list[str]:
        if "greyhound" in text:
            raise ValueError("odd")
        return windows(self, text)

    with empty_home() as home, empty_home() as whole:
        monkeypatch.setattr(HashingEmbedder, "windows", fragile)
        take(home, rows)
        with opened(home) as memory:
            quarantined = memory.history.work.quarantined()
            assert {(job.stage, job.reason) for job in quarantined} == {("embed", "ValueError: odd")}
            assert memory.history.work.pending() == {}
        monkeypatch.undo()
        take(home, rows)
        take(whole, rows)
        assert kept(home) == kept(whole)


def test_a_reader_of_a_memory_without_vectors_waits_for_no_writer() -> None:
    """Its first vectors would have to be written: while another process writes, words alone are searched."""
    with empty_home() as home:
        take(home, sample(10), HowToIngest(journal_only=True))
        writer = History(home / "profiles" / "default" / "history.db")
        said: list[str] = []
        began = time.monotonic()
        with writer.transaction(), opened(home, reader=True, said=said) as memory:
            assert any(answers_of(memory))
        assert time.monotonic() - began < 10  # a writer waits 20 s
        assert [line for line in said if line.startswith("searching words alone")]
        writer.close()
