"""`lightmem forget --purge`: not a byte of what was said is left, and what other messages say is as if it never was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking import Answered, Asking, Request
from lightmem_cli.engine.doctor import doctor
from lightmem_cli.engine.forget import Target, resolve
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.purge import Purged, purge, to_purge, would_purge
from lightmem_cli.engine.revise import revise
from lightmem_cli.engine.undo import plan, undo
from lightmem_cli.errors import BadReply, InputError, ProfileBusy
from lightmem_cli.language.words import analyze
from lightmem_cli.llm.scripted import ScriptedModel
from lightmem_cli.protocols import Prompt
from lightmem_cli.records import Compressed, Kind, State
from lightmem_cli.store.history.compressed import Shortened
from tests.memories import empty_home, kept_by, line, opened, take, take_into
from tests.process import lightmem, lines_of
from tests.test_forget import SAID, entries, fact, found, hide, merge, rows, state, summarize

SECRET = "Quetzalcoatlus was my password until Thermidor, and Xylocopa is the new one."
CAPTION = "a marmalade-coloured okapi"
SPEAKER = "Zerubbabel"
FIRST = "My bank card lies under the ficus of Popocatepetl."  # what the message said before it was replaced
WORDS = ["Quetzalcoatlus", "Thermidor", "Xylocopa", "okapi", "marmalade", "Zerubbabel", "ficus", "Popocatepetl"]
ONLY_SHORTENED = "Chrysanthemum"  # so that it is found nowhere else


def secret(content: str = SECRET, **fields: object) -> bytes:
    return line(
        id="m9",
        speaker=SPEAKER,
        content=content,
        image_caption=CAPTION,
        session="day1",
        conversation="talk",
        timestamp="2024-05-01T11:00Z",
        agent="marmalade-7",
        **fields,
    )


def shorten(memory: Memory, id: str, text: str) -> None:
    """Keep `text` as what a message is shortened to."""
    [message] = memory.history.purge.messages(name=id)
    said = memory.history.messages.get([message.id])[message.id].content
    with memory.history.transaction():
        memory.history.compressed.keep([Shortened(message.id, said, Compressed(text, 0.5))], made_by="a test")


def erase(memory: Memory, *ids: str, **place: str) -> Purged:
    return purge(memory, to_purge(memory, resolve(memory, Target(ids=ids, **place))))


def traces(home: Path, words: Sequence[str]) -> set[str]:
    """Which of `words`, or of their stems, stand in which file, in whatever case and encoding."""
    wanted = {word: {word.lower(), *(stem.lower() for stem in analyze(word))} for word in words}
    seen = set()
    for path in home.rglob("*"):
        data = path.read_bytes().lower() if path.is_file() else b""
        for word, forms in wanted.items():
            if any(form.encode(coding) in data for form in forms for coding in ("utf-8", "utf-16-le")):
                seen.add(f"{word} in {path.name}")
    return seen


def asked(memory: Memory, *messages: int, about: str, reply: str) -> Answered[str]:
    """Ask a model about messages, by history's integers; what begins with "not" is refused, with the words quoted."""

    def read(text: str) -> str:
        if text.startswith("not"):
            raise BadReply(f"it says {text!r}")
        return text

    memory.__dict__["model"] = ScriptedModel(lambda prompt: reply)
    request = Request(
        purpose="extract", version="facts-1", prompt=Prompt("p", about), most=99, messages=messages, read=read
    )
    left = [request]
    with memory.run("extract") as run:
        [answered] = Asking(memory, run=run).work(lambda: left.pop() if left else None)
    return answered


def calls(memory: Memory) -> list[tuple[bytes, str | None, str | None, int]]:
    """What the ledger holds of each call: the hash of what was asked, the reply, why it was refused, and its cost."""
    query = "SELECT input_hash, reply, refused, prompt_tokens + completion_tokens FROM model_calls ORDER BY id"
    return memory.history.connection.execute(query).fetchall()


def integers(memory: Memory) -> tuple[set[int], set[int]]:
    """The messages and the entries that revisions point to."""
    messages: set[int] = set()
    targets: set[int] = set()
    for sides in memory.history.connection.execute("SELECT before, after FROM revisions"):
        for side in map(json.loads, sides):
            messages.update(message for message, _ in side.get("sources", []))
            targets.update(target for target, _ in side.get("links", []))
    return messages, targets


def is_sound(memory: Memory) -> bool:
    """Nothing points to what is not there, and doctor is content."""
    messages, targets = integers(memory)
    purged = {one.id for one in memory.history.purge.messages() if one.purged}
    gone = targets - set(memory.history.entries.get(targets))
    bare = [one.id for one in entries(memory).values() if not one.sources]
    return not (messages & purged or gone or bare) and all(finding.well for finding in doctor(memory))


@pytest.mark.parametrize("words", ["fts5", "rank-bm25"])
def test_no_byte_is_left_of_what_was_purged(home: Path, words: str) -> None:
    """Not of its first words, its facts, their merged rewording, a summary, its speaker, its caption or its stems."""
    with opened(home, store={"words": words}) as memory:
        # Debian's SQLite wipes what it deletes by itself, others leave it in free pages.
        memory.history.connection.execute("PRAGMA secure_delete = OFF")
        take_into(memory, [*rows(), secret(FIRST)])
        take_into(memory, [secret()], HowToIngest(on_conflict="replace"))
        hide(memory, "m9")
        undo(memory, plan(memory))
        garden, hidden = fact(memory, "garden")[0], fact(memory, "Quetzalcoatlus")[0]
        merge(memory, garden, hidden, text=entries(memory)[hidden].text)
        summarize(memory, [garden, fact(memory, "heron")[0]])
        memory.indexes.catch_up(space=memory.space())
        folder = memory.profile.folder
        (folder / "words" / "corpus.jsonl.77.new").write_text(SECRET)  # as a killed process may leave it
        (folder / "vectors" / "an-old-space").mkdir()
        (folder / "vectors" / "an-old-space" / "tail-00.f16.77.new").write_text(SECRET)
        shorten(memory, "m9", f"Quetzalcoatlus {ONLY_SHORTENED}")
        assert {one.partition(" ")[0] for one in traces(home, [*WORDS, ONLY_SHORTENED])} == {*WORDS, ONLY_SHORTENED}
        done = erase(memory, "m9")
        assert (done.messages, {fate.was.kind for fate in done.fates}) == (1, {Kind.TURN, Kind.FACT, Kind.SUMMARY})
        # With the memory open: its log and shared memory are there too.
        assert traces(home, [*WORDS, ONLY_SHORTENED]) == set()
        assert is_sound(memory)
        assert fact(memory, "garden")[0] == garden  # which says what it said at first
        assert found(memory, "garden river") >= {"m2"}
    assert traces(home, [*WORDS, ONLY_SHORTENED]) == set()
    assert traces(home, ["greyhound"])  # words are found where they are


def test_no_byte_is_left_of_what_a_language_model_said_of_it(home: Path) -> None:
    """Nor the hash of what it was asked: who guesses the words could prove them by it. What it cost stays known."""
    with opened(home) as memory:
        memory.history.connection.execute("PRAGMA secure_delete = OFF")
        take_into(memory, [*rows(), secret()])
        (hers,), (other,) = memory.history.purge.messages(name="m9"), memory.history.purge.messages(name="m2")
        asked(memory, hers.id, other.id, about=SECRET, reply=f"Zerubbabel: {SECRET}")
        asked(memory, hers.id, about=SECRET + " ", reply=f"not Zerubbabel but {ONLY_SHORTENED}")  # and once more
        asked(memory, other.id, about="the garden", reply="Boris works at the garden.")
        before = calls(memory)
        cost = memory.history.counts.model_calls()
        assert traces(home, [ONLY_SHORTENED])
        erase(memory, "m9")
        after = calls(memory)
        assert after[-1] == before[-1]
        assert [row[:3] for row in after[:-1]] == [(b"", None, None)] * 3
        assert [row[3] for row in after] == [row[3] for row in before]
        assert memory.history.counts.model_calls() == cost
        assert traces(home, [*WORDS, ONLY_SHORTENED]) == set()
        hashes = [row[0] for row in before[:-1]]
        assert not any(hash in path.read_bytes() for path in home.rglob("*") if path.is_file() for hash in hashes)
        assert asked(memory, other.id, about="the garden", reply="?").value == "Boris works at the garden."
        assert is_sound(memory)


def test_a_reply_that_comes_when_its_message_is_purged_already_is_not_kept(home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, [*rows(), secret()])
        (hers,), (his,) = memory.history.purge.messages(name="m9"), memory.history.purge.messages(name="m2")
        erase(memory, "m9")
        for reply in (SECRET, f"not {SECRET}"):  # to what was asked before
            asked(memory, hers.id, his.id, about=reply, reply=reply)
        assert {row[:3] for row in calls(memory)} == {(b"", None, None)}
        assert len(calls(memory)) == 3
        memory.history.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert traces(home, WORDS) == set()


def test_what_a_model_was_sent_as_the_words_of_another_message_is_erased_too(home: Path) -> None:
    """A fact that took in a forgotten one says its words, and rests on its own message alone."""
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop, text="Anna calls her greyhound Popocatepetl.")
        hide(memory, "m3")
        sent = memory.history.entries.source_ids(keep)
        (third,), (second,) = memory.history.purge.messages(name="m3"), memory.history.purge.messages(name="m2")
        assert third.id not in sent
        asked(memory, *sent, about="one", reply="Popocatepetl is a dog.")
        asked(memory, second.id, about="two", reply="Boris gardens.")
        erase(memory, "m3")
        assert [reply for _, reply, _, _ in calls(memory)] == [None, "Boris gardens."]
        assert traces(home, ["Popocatepetl"]) == set()


def test_a_tombstone_keeps_identity_place_time_and_role(home: Path) -> None:
    take(home, [*rows(), secret()])
    with opened(home) as memory:
        (before,) = memory.history.purge.messages(name="m9")
        erase(memory, "m9")
        (after,) = memory.history.purge.messages(name="m9")
        assert after == before._replace(turn=None, purged=True)
        (row,) = [one for one in state(memory) if one.get("id") == "m9"]
        assert (row["position"], row["role"], row["timestamp"]) == (5, "user", "2024-05-01T11:00:00+00:00")
        assert (row["content"], row["image_caption"], row["speaker"], row["agent"]) == ("", None, None, None)
        assert memory.history.entries.of_message(after.id) == []


def test_what_was_merged_into_a_purged_fact_comes_back(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        before = [
            one for one in state(memory) if one["record"] == "entry" and one["sources"] != [["talk", "day1", "m1"]]
        ]
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop)
        done = erase(memory, "m1")
        assert [(fate.was.id, fate.was.state, fate.now) for fate in done.fates if fate.now] == [
            (entries(memory)[drop].id, State.SUPERSEDED, State.ACTIVE)
        ]
        assert [one for one in state(memory) if one["record"] == "entry"] == before
        assert is_sound(memory)


def test_a_fact_that_had_taken_in_a_purged_one_says_again_what_it_said_at_birth(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        before, seen = entries(memory)[keep], kept_by(memory).seen_through[entries(memory)[keep].id]
        merge(memory, keep, drop, text=entries(memory)[drop].text)
        hide(memory, "m3")  # even where it does not rest on it any more
        quoting = summarize(memory, [keep, fact(memory, "heron")[0]])
        erase(memory, "m3")
        after = entries(memory)[keep]
        assert quoting not in entries(memory)
        assert kept_by(memory).seen_through[after.id] == seen
        assert (after.text, after.sources, after.state) == (before.text, before.sources, State.ACTIVE)
        assert memory.history.work.pending() == {}  # it was embedded anew
        assert is_sound(memory)
        with pytest.raises(InputError, match="has nothing to take back"):
            plan(memory, run=2)  # of the merger nothing is left to undo


def test_a_fact_that_nobody_is_left_to_say_is_hidden(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop)
        with memory.run("test") as run, memory.history.transaction():  # it is left with what it was not born of
            others = memory.history.entries.source_ids(drop)
            revise(memory.history, keep, entries(memory)[keep], run=run, reason="x", sources=others)
        erase(memory, "m3")
        kept = entries(memory)[keep]
        assert (kept.state, [key.id for key in kept.sources]) == (State.DELETED, ["m1"])
        assert is_sound(memory)


def test_purging_the_words_that_a_forgotten_fact_was_born_of_finds_it_without_them(home: Path) -> None:
    """The message was forgotten, so that the fact rests on another one alone: its text is the forgotten one's."""
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop)
        hide(memory, "m1")
        erase(memory, "m1")
        assert keep not in entries(memory)
        assert entries(memory)[drop].state is State.ACTIVE
        assert is_sound(memory)


def test_nothing_that_lost_a_part_of_its_past_is_taken_back_to_it(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        keep, drop = fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0]
        merge(memory, keep, drop)
        undo(memory, plan(memory))
        run = memory.history.runs.newest(1)[0].id
        erase(memory, "m1")
        with pytest.raises(InputError, match="changed since"):
            plan(memory, run=run)  # it would be merged into nothing
        assert is_sound(memory)


@settings(max_examples=20)
@given(gone=st.sets(st.sampled_from([*SAID])), forgotten=st.sets(st.sampled_from([*SAID]), max_size=2))
def test_what_is_left_is_what_the_others_alone_would_have_made(gone: set[str], forgotten: set[str]) -> None:
    with empty_home() as home, empty_home() as other:
        take(home, rows())
        take(other, rows({id: said for id, said in SAID.items() if id not in gone}))
        with opened(home) as memory, opened(other) as expected:
            for one in sorted(forgotten):
                hide(memory, one)
            for one in sorted(forgotten - gone):
                hide(expected, one)
            if gone:
                erase(memory, *sorted(gone))
            mine, theirs = kept_by(memory), kept_by(expected)
            assert [one for one in mine.state if one["record"] == "entry"] == [
                one for one in theirs.state if one["record"] == "entry"
            ]
            assert mine._replace(state=[]) == theirs._replace(state=[])
            assert len(memory.indexes.words) == len(entries(memory))
            assert is_sound(memory)


def timed(content: str, **fields: object) -> bytes:
    return line(content=content, speaker="Zoe", session="s", timestamp="2024-05-01T10:00Z", **fields)


def ordered(content: str) -> bytes:
    return line(content=content, session="s")


@pytest.mark.parametrize("say", [timed, ordered], ids=["by time", "by order"])
def test_what_was_purged_stays_gone_when_its_transcript_comes_again(home: Path, say: type[bytes]) -> None:
    said = [say("Good morning."), say("The code is zanzibar."), say("Good morning."), say("Bye now.")]
    take(home, said)
    with opened(home) as memory:
        second = memory.history.purge.messages()[1]
        erase(memory, second.key.id)
        before = state(memory)
        for how in (HowToIngest(), HowToIngest(on_conflict="replace")):
            done = take_into(memory, said, how)
            assert (done.known, done.messages, done.replaced) == (4, 0, 0)
            assert state(memory) == before
        done = take_into(memory, [*said, say("And one thing more.")])  # it has grown
        assert (done.known, done.messages) == (4, 1)
        assert traces(home, ["zanzibar"]) == set()


def test_the_same_id_with_other_words_stays_gone_too(home: Path) -> None:
    take(home, [*rows(), secret()])
    with opened(home) as memory:
        erase(memory, "m9")
        before = state(memory)
        for content in (SECRET, "Something else entirely was said here."):
            done = take_into(memory, [secret(content)], HowToIngest(on_conflict="replace"))
            assert (done.known, done.replaced) == (1, 0)
        assert state(memory) == before


def test_the_place_of_a_purged_row_takes_a_transcript_that_was_cleaned_too(home: Path) -> None:
    said = [ordered("Good morning."), ordered("The code is zanzibar."), ordered("Bye now.")]
    take(home, said)
    with opened(home) as memory:
        erase(memory, memory.history.purge.messages()[1].key.id)
        cleaned = [said[0], ordered("[removed]"), said[2], ordered("Hello again.")]
        done = take_into(memory, cleaned)
        assert (done.known, done.messages) == (3, 1)
        assert "[removed]" not in str(state(memory))
        with pytest.raises(InputError, match="message 1 of session 's' is journalled with other words"):
            take_into(memory, [ordered("Another talk."), *said[1:]])
        with pytest.raises(InputError, match="message 5 of session 's' is journalled with other words"):
            take_into(memory, [*cleaned, ordered("")])  # an empty row
            take_into(memory, [*cleaned, ordered("Not empty.")])


def test_of_a_session_that_is_purged_whole_only_its_own_words_are_known(home: Path) -> None:
    """Otherwise a new talk under its name would be taken for the old one, and lost without a word."""
    said = [ordered("Good morning."), ordered("Good morning."), ordered("Bye now.")]
    take(home, said)
    with opened(home) as memory:
        erase(memory, session="s")
        assert take_into(memory, said).known == 3
        with pytest.raises(InputError, match="message 1 of session 's' was purged") as error:
            take_into(memory, [ordered("A new talk.")])
        assert "--append" in error.value.message
        assert take_into(memory, [ordered("Bye now.")], HowToIngest(append=True)).messages == 1
        assert [one for one in state(memory) if one.get("content") == "Bye now."]
        assert take_into(memory, [*said, ordered("Bye now.")]).known == 4


def test_equal_words_said_later_do_not_get_the_purged_ones_id(home: Path) -> None:
    said = [ordered("Good morning."), ordered(""), ordered("Bye now."), ordered("")]
    take(home, said)
    with opened(home) as memory:
        first = memory.history.purge.messages()[0]
        erase(memory, first.key.id)
        done = take_into(memory, [*said, ordered("Good morning."), ordered("")])
        assert (done.known, done.messages) == (4, 2)
        ids = [one.key.id for one in memory.history.purge.messages()]
        assert len(set(ids)) == 6
        assert take_into(memory, [*said, ordered("Good morning."), ordered("")]).messages == 0


def test_only_messages_are_purged_and_a_fact_names_its_own(home: Path) -> None:
    take(home, rows())
    with opened(home) as memory:
        merge(memory, fact(memory, "called Biscuit")[0], fact(memory, "called it Biscuit")[0])
        one = fact(memory, "called Biscuit")[1]
        with pytest.raises(InputError, match=f"{one.id} is a fact") as error:
            erase(memory, one.id)
        assert error.value.hint == "lightmem forget --purge m1 m3"
        take_into(memory, rows(conversation="other"))  # where the same ids are given
        with pytest.raises(InputError) as error:
            erase(memory, one.id)
        turn = next(two for two in entries(memory, of="m1").values() if two.kind is Kind.TURN)
        assert str(error.value.hint).startswith(f"lightmem forget --purge {turn.id} ")


def test_a_dry_run_erases_nothing(home: Path) -> None:
    take(home, [*rows(), secret()])
    with opened(home) as memory:
        before = state(memory)
        ids = to_purge(memory, resolve(memory, Target(ids=("m9", "m1"))))
        shown = would_purge(memory, ids)
        assert (state(memory), memory.history.purge.unfinished()) == (before, None)
        assert erase(memory, "m9", "m1") == shown


@pytest.fixture
def reading(home: Path) -> Iterator[sqlite3.Connection]:
    """Another process that reads the memory, and does not end."""
    take(home, [*rows(), secret()])
    path = next(home.rglob("history.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM messages").fetchone()
        yield connection


def test_a_reader_keeps_the_words_on_the_disk_until_the_next_command(home: Path, reading: sqlite3.Connection) -> None:
    said: list[str] = []
    with opened(home, said=said) as memory:
        memory.history.connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(ProfileBusy, match="not yet from the disk"):
            erase(memory, "m9")
        assert not entries(memory, of="m9")
        assert traces(home, ["Xylocopa"])
        hide(memory, "m4")  # which goes on, and says why the rest has to wait
        assert [one for one in said if "finishing a purge" in one or "not yet from the disk" in one] == said[-2:]
        reading.execute("ROLLBACK")
        hide(memory, "m5")
        assert memory.history.purge.unfinished() is None
        assert traces(home, WORDS) == set()


def test_the_command_asks_counts_and_keeps_the_words_to_itself(home: Path) -> None:
    take(home, [*rows(), secret()])
    refused = lightmem("forget", "--purge", "m9")
    assert (refused.returncode, b"--yes" in refused.stderr) == (2, True)
    asked = b"Erase 1 message and all that was made of it, for good? There is no terminal to ask on"
    assert refused.stderr.startswith(b"lightmem: " + asked)
    done = lightmem("forget", "--purge", "m9", "--yes", "--json")
    printed = [json.loads(one) for one in lines_of(done.stdout)]
    assert [one["kind"] for one in printed] == ["turn", *["fact"] * (len(printed) - 1)]
    assert {(one["text"], one["was"], one["now"]) for one in printed} == {(None, "active", "purged")}
    assert done.stderr.startswith(f"purged 1 message and {len(printed) - 1} fact".encode())
    assert traces(home, WORDS) == set()
    again = lightmem("forget", "--purge", "m9", "--yes")
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"m9 is purged already; nothing was changed\n")
    shown = lightmem("show", "m9")
    assert (shown.returncode, shown.stdout) == (2, b"")
    assert b"message 'm9' was purged: its words are gone for good" in shown.stderr


@pytest.mark.parametrize(
    "step", ["lightmem_cli.engine.indexes.Indexes.erase", "lightmem_cli.store.history.purge.Purge.compact"]
)
@pytest.mark.parametrize("then", [["forget", "--purge", "--speaker", SPEAKER, "--yes"], ["extract"]], ids=" ".join)
def test_a_purge_that_was_cut_short_is_finished(
    home: Path, step: str, then: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    take(home, [*rows(), secret()])

    def cut_short(*_: object) -> None:
        raise KeyboardInterrupt

    with opened(home) as memory, monkeypatch.context() as patch:
        patch.setattr(step, cut_short)
        with pytest.raises(KeyboardInterrupt):
            erase(memory, "m9")
        assert traces(home, ["Xylocopa"])
        assert "m9" not in found(memory, "Xylocopa password")
        assert len(memory.indexes.words) == len(entries(memory))
    again = lightmem(*then)  # nobody is called so any more: it was that purge's, and is done
    assert again.returncode == 0, again.stderr
    assert b"purge that was cut short" in again.stderr
    assert traces(home, WORDS) == set()
