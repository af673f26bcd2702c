"""Doctor finds each kind of damage, mends what anything attests, then finds nothing, and never cries wolf."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from memories import Kept, empty_home, kept, line, opened, take
from process import lightmem, lines_of, start
from typer.testing import CliRunner

from lightmem_cli.cli import app
from lightmem_cli.engine import Memory
from lightmem_cli.engine.deep import deep, rows_of
from lightmem_cli.engine.doctor import Finding, doctor, mends_of
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.purge import purge
from lightmem_cli.engine.revise import revise
from lightmem_cli.records import Entry, Kind, LinkKind, State
from lightmem_cli.store.history import History
from lightmem_cli.store.vectors import open_vectors
from lightmem_cli.store.words import open_words

SAID = [
    ("walk", "w1", "Anna", "I adopted a greyhound called Biscuit in March. He sleeps all day."),
    ("walk", "w2", "Boris", "I adopted a greyhound in March, too. What does Biscuit eat?"),
    ("walk", "w3", "Anna", "Biscuit eats chicken and rice. I cook it on Sundays."),
    ("walk", "w4", "Boris", "\n  \n"),
    ("walk", "w5", "Anna", "I moved to Lisbon last week. My flat has a balcony."),
    ("walk", "w6", "Boris", "I painted my kitchen green on Monday."),
    ("phone", "p1", "Anna", "I bought tickets for the concert in Porto."),
    ("phone", "p2", "Boris", "I am allergic to peanuts, remember that."),
    ("phone", "p3", "Anna", "I play the violin every morning."),
    ("phone", "p61", "Boris", "I sold my car to Zoë."),
]


def row(session: str, id: str, speaker: str, content: str, **more: object) -> bytes:
    hours, minutes = divmod(int(id[1:]), 60)
    time = f"2024-03-{10 if session == 'walk' else 12}T{10 + 3 * hours}:{minutes:02}:00+00:00"
    return line(session=session, id=id, speaker=speaker, content=content, timestamp=time, **more)


def history_of(home: Path) -> Path:
    return home / "profiles" / "default" / "history.db"


def facts(memory: Memory, word: str) -> list[tuple[int, Entry]]:
    """The facts that hold `word`, oldest first."""
    entries = memory.history.entries
    return [(id, fact) for id, fact in entries.get(entries.of_kind(Kind.FACT)).items() if word in fact.text]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A memory that was ingested, replaced in, merged, summarized, and of which something was forgotten."""
    with empty_home() as home:
        take(home, [row(*one, image_caption="a dog" if one[1] == "w3" else None) for one in SAID])
        take(home, [line(conversation="other", session="walk", id="w1", speaker="Zoë", content="I live in Zürich.")])
        reworded = row("walk", "w6", "Boris", "I painted my kitchen yellow on Tuesday, and my hall.")
        take(home, [reworded], HowToIngest(on_conflict="replace"))
        with opened(home) as memory:
            merge_and_forget(memory)
            memory.indexes.catch_up(space=memory.history.vectors.active_space())
        assert well(home)
        yield home


def merge_and_forget(memory: Memory) -> None:
    history = memory.history
    (kept_id, keep), (dropped_id, drop) = facts(memory, "greyhound")[:2]
    with memory.run("update") as run, history.transaction():
        step = history.revisions.new_step()
        links = [(kept_id, LinkKind.MERGED_INTO)]
        gone = replace(drop, state=State.SUPERSEDED)
        revise(history, dropped_id, gone, run=run, reason="same", links=links, step=step)
        rests_on = [*history.entries.source_ids(kept_id), *history.entries.source_ids(dropped_id)]
        text = "Anna and Boris adopted greyhounds in March."
        revise(history, kept_id, replace(keep, text=text), run=run, reason="same", sources=rests_on, step=step)
    with memory.run("summarize") as run, history.transaction():
        quoted = [id for id, _ in facts(memory, "Biscuit")]
        sources = sorted({message for id in quoted for message in history.entries.source_ids(id)})
        keys = tuple(history.messages.get(sources)[message].key for message in sources)
        summary = Entry(
            id="", kind=Kind.SUMMARY, text="Anna has a dog, Biscuit.", conversation="", session="walk", sources=keys
        )
        links = [(id, LinkKind.SUMMARIZES) for id in quoted]
        born = history.entries.add(summary, sources=sources, run=run, links=links)
        assert born is not None
        history.work.add("embed", [born])
    with memory.run("forget") as run, history.transaction():
        turn = history.entries.find_by_message("p2")[0][0]
        message = history.entries.source_ids(turn)[0]
        step = history.revisions.new_step()
        for id, entry in history.entries.get(history.entries.of_message(message)).items():
            revise(history, id, replace(entry, state=State.DELETED), run=run, reason="forgotten", step=step)
    with memory.run("extract") as run:
        from lightmem_cli.engine.pending import work_off

        assert list(work_off(memory, run=run))


@pytest.fixture(scope="module")
def before(lived: Path) -> Kept:
    return kept(lived)


@pytest.fixture
def copy(lived: Path) -> Iterator[Path]:
    with empty_home() as home:
        shutil.copytree(lived, home, dirs_exist_ok=True)
        yield home


def examined(home: Path) -> list[Finding]:
    with opened(home) as memory:
        return deep(memory, progress=lambda rows: None)


def amiss(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.mended or not finding.well]


def well(home: Path) -> bool:
    found = amiss(examined(home))
    assert found == []
    with opened(home) as memory:
        assert amiss(doctor(memory)) == []
    return True


def damage(home: Path, *statements: str) -> int:
    """Write into history behind everybody's back; how many rows that changed."""
    with closing(sqlite3.connect(history_of(home), isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        before = connection.total_changes
        for statement in statements:
            connection.execute(statement)
        return connection.total_changes - before


def one(where: str, table: str = "entries") -> str:
    return f"(SELECT id FROM {table} WHERE {where} ORDER BY id LIMIT 1)"


TURN, FACT = one("kind = 'turn' AND text LIKE 'Biscuit eats%'"), one("kind = 'fact' AND text LIKE '%chicken%'")
REWORDED = one("kind = 'turn' AND text LIKE '%yellow%'")
KEPT, DROPPED = one("text LIKE 'Anna and Boris%'"), one("state = 'superseded'")
SUMMARY = one("kind = 'summary'")
FORGOTTEN = one("kind = 'fact' AND text LIKE '%peanuts%'")
ZOE = one("name = 'w1' AND conversation = 'other'", "messages")
MESSAGE, BLANK = one("name = 'w3'", "messages"), one("name = 'w4'", "messages")
CALL = (  # of a language model, and whose words it sent
    "INSERT INTO model_calls (id, run, purpose, model, prompt, input_hash, reply, prompt_tokens, completion_tokens,"
    " cached_tokens, seconds, recorded_at)"
    " VALUES (99, 1, 'extract', 'm', 'facts-1', x'31', 'Biscuit.', 7, 2, 0, 0.5, '')"
)
SENT = f"INSERT INTO model_inputs VALUES (99, {MESSAGE})"

# What leaves the very state that was there before: (check, part of what is said, statements).
MENDED: dict[str, tuple[str, str, list[str]]] = {
    "a turn's text": ("turns", "unlike their turns", [f"UPDATE entries SET text = 'Hm.' WHERE id = {TURN}"]),
    "a turn's speaker": ("turns", "unlike", [f"UPDATE entries SET speaker = 'Eve' WHERE id = {TURN}"]),
    "a turn's time": ("records", "times", [f"UPDATE entries SET said_at = '2025-13-01' WHERE id = {TURN}"]),
    "a turn's other time": (
        "turns",
        "unlike",
        [f"UPDATE entries SET said_at = '2024-05-01T10:00:00+00:00', said_epoch = 1714557600.0 WHERE id = {TURN}"],
    ),
    "a turn's session": ("turns", "unlike", [f"UPDATE entries SET session = 'phone' WHERE id = {TURN}"]),
    "a reworded turn's text": ("turns", "unlike", [f"UPDATE entries SET text = 'Hm.' WHERE id = {REWORDED}"]),
    "a message's words": ("turns", "unlike", [f"UPDATE messages SET content = 'Hm.' WHERE id = {MESSAGE}"]),
    "a reworded message's words": ("turns", "unlike", ["UPDATE messages SET content = 'Hm.' WHERE name = 'w6'"]),
    "a message's seconds": ("records", "times", ["UPDATE messages SET said_epoch = 5.0 WHERE name = 'w3'"]),
    "a message's time": ("records", "times", ["UPDATE messages SET said_at = 'noon' WHERE name = 'w3'"]),
    "no turn": ("turns", "without a turn", [f"UPDATE messages SET turn = NULL WHERE id = {MESSAGE}"]),
    "another's turn": ("turns", "without a turn", [f"UPDATE messages SET turn = {REWORDED} WHERE id = {MESSAGE}"]),
    "a turn that rests on nothing": ("turns", "without", [f"DELETE FROM sources WHERE entry = {TURN}"]),
    "a turn that is gone": (
        "records",
        "not there",
        [f"DELETE FROM views WHERE entry = {TURN}", f"DELETE FROM entries WHERE id = {TURN}"],
    ),
    "positions": ("messages", "out of their place", ["UPDATE messages SET position = position + 7 WHERE position > 2"]),
    "a fact that rests on nothing": ("entries", "rest on nothing", [f"DELETE FROM sources WHERE entry = {FACT}"]),
    "a fact that rests on another conversation": (
        "entries",
        "another conversation",
        [f"UPDATE sources SET message = {ZOE} WHERE entry = {FACT}"],
    ),
    "a fact of another conversation": (
        "entries",
        "another conversation",
        [f"UPDATE entries SET conversation = 'other' WHERE id = {FACT}"],
    ),
    "a fact of another session": ("entries", "born as", [f"UPDATE entries SET session = 'phone' WHERE id = {FACT}"]),
    "a fact's words": ("entries", "born as", [f"UPDATE entries SET text = 'Hm.' WHERE id = {FACT}"]),
    "a fact's id": ("entries", "born as", [f"UPDATE entries SET name = 'abcdefabcdef' WHERE id = {FACT}"]),
    "a fact's identity": ("entries", "born as", [f"UPDATE entries SET birth = x'00' WHERE id = {FACT}"]),
    "a fact's kind": ("records", "no known kind", [f"UPDATE entries SET kind = 'fakt' WHERE id = {FACT}"]),
    "a fact's state": ("records", "no known state", [f"UPDATE entries SET state = 'on' WHERE id = {FACT}"]),
    "a merged fact's state": (
        "entries",
        "last revision",
        [f"UPDATE entries SET state = 'active' WHERE id = {DROPPED}"],
    ),
    "a merged fact's unknown state": (
        "records",
        "no known state",
        [f"UPDATE entries SET state = '' WHERE id = {DROPPED}"],
    ),
    "a merged fact's link": ("entries", "last revision", [f"DELETE FROM links WHERE source = {DROPPED}"]),
    "an unknown link": (
        "records",
        "links of no known kind",
        [f"INSERT INTO links VALUES ({FACT}, {TURN}, 'likes', 1)"],
    ),
    "a forgotten fact's state": (
        "entries",
        "last revision",
        [f"UPDATE entries SET state = 'active' WHERE id = {FORGOTTEN}"],
    ),
    "the text of a merger": ("entries", "last revision", [f"UPDATE entries SET text = 'Hm.' WHERE id = {KEPT}"]),
    "the sources of a merger": (
        "entries",
        "last revision",
        [f"DELETE FROM sources WHERE entry = {KEPT} AND born = 0"],
    ),
    "a version": ("entries", "count their revisions", [f"UPDATE entries SET version = 9 WHERE id = {FACT}"]),
    "a view": ("views", "seen wrongly", [f"DELETE FROM views WHERE entry = {FACT}"]),
    "a view of another text": (
        "views",
        "seen wrongly",
        [f"UPDATE views SET vector = (SELECT max(id) FROM vectors) WHERE entry = {TURN} AND view = 0"],
    ),
    "a view too many": (
        "views",
        "seen wrongly",
        [f"INSERT INTO views SELECT {FACT}, space, 7, vector FROM views LIMIT 1"],
    ),
    "a vector of nothing": (
        "vectors",
        "that are none",
        [f"UPDATE vectors SET embedding = zeroblob(512) WHERE id IN (SELECT vector FROM views WHERE entry = {FACT})"],
    ),
    "a short vector": ("vectors", "that are none", ["UPDATE vectors SET embedding = x'0011' WHERE id % 3 = 0"]),
    "a vector that is no number": (
        "vectors",
        "that are none",
        ["UPDATE vectors SET embedding = CAST(x'007e' || substr(embedding, 3) AS BLOB) WHERE id % 4 = 0"],
    ),
    "an unused vector": (
        "vectors",
        "nothing is seen through",
        [
            "INSERT INTO vectors (space, text_hash, embedding) SELECT space, x'01', embedding FROM vectors LIMIT 1",
            "INSERT INTO changes (what, item) SELECT 'vector', max(id) FROM vectors",
        ],
    ),
    "a vector that is gone": ("records", "not there", ["DELETE FROM vectors WHERE id % 3 = 0"]),
    "no space": ("vectors", "not one", ["UPDATE spaces SET active = 0"]),
    "a job about nothing": (
        "jobs and changes",
        "not there",
        ["INSERT INTO jobs (stage, item) VALUES ('embed', 99999)"],
    ),
    "changes without an entry": ("jobs and changes", "told of", [f"DELETE FROM changes WHERE item = {FACT}"]),
    "a link to nothing": ("records", "not there", [f"INSERT INTO links VALUES ({FACT}, 99999, 'conflicts', 1)"]),
    "a source of nothing": ("records", "not there", [f"INSERT INTO sources VALUES (99999, {MESSAGE}, 1)"]),
    "a shortened text of other characters": (
        "shortened texts",
        "not made of their messages",
        [f"INSERT INTO compressed VALUES ({MESSAGE}, 'Biscuit bakes', .4, 'x')"],
    ),
    "a shortened text in another order": (
        "shortened texts",
        "not made of their messages",
        [f"INSERT INTO compressed VALUES ({MESSAGE}, 'chicken Biscuit', .4, 'x')"],
    ),
    "more than all of a message": (
        "shortened texts",
        "not made of their messages",
        [f"INSERT INTO compressed VALUES ({MESSAGE}, 'Biscuit', 1.01, 'x')"],
    ),
    "no share of a message": (
        "shortened texts",
        "not made of their messages",
        [f"INSERT INTO compressed VALUES ({MESSAGE}, 'Biscuit', 'half', 'x')"],
    ),
    "a shortened text of nothing": (
        "shortened texts",
        "not made of their messages",
        [f"INSERT INTO compressed VALUES ({BLANK}, '', 1.0, 'x')"],
    ),
    "a shortened text of no message": (
        "records",
        "not there",
        ["INSERT INTO compressed VALUES (99999, 'x', 0.5, 'x')"],
    ),
    "a call that sent the words of no message": (
        "records",
        "not there",
        [CALL, "INSERT INTO model_inputs VALUES (99, 99999)"],
    ),
    "an input of no call": ("records", "not there", [f"INSERT INTO model_inputs VALUES (98, {MESSAGE})"]),
    "a reply to nobody's words": ("model calls", "to whose words", [CALL]),
    "a reply that is no text": (
        "model calls",
        "cannot be read",
        [CALL, SENT, "UPDATE model_calls SET reply = x'ff'"],
    ),
    "costs that are no numbers": (
        "model calls",
        "cannot be read",
        [CALL, SENT, "UPDATE model_calls SET prompt_tokens = -1, cached_tokens = 'x', seconds = 'long'"],
    ),
    "another order in SQLite's own index": (
        "history",
        "made again",
        [
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = 'CREATE INDEX entries_by_time ON entries (importance)'"
            " WHERE name = 'entries_by_time'",
        ],
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_is_attested_is_mended_to_what_it_was(copy: Path, before: Kept, name: str) -> None:
    check, said, statements = MENDED[name]
    assert damage(copy, *statements) > 0
    found = amiss(examined(copy))
    assert all(finding.well and finding.mended for finding in found), found
    assert found and (found[0].check, said in found[0].seen) == (check, True), found
    assert kept(copy) == before
    assert well(copy)


# What is mended with a revision, or otherwise to another state: what the entries of a query are then.
REVISED: dict[str, tuple[str, str, list[str], str, list[tuple[object, ...]]]] = {
    "superseded by nothing": (
        "entries",
        "nothing says by what",
        [f"UPDATE entries SET state = 'superseded' WHERE id = {FACT}"],
        f"SELECT state, version FROM entries WHERE id = {FACT}",
        [("active", 2)],
    ),
    "made of what was forgotten": (
        "entries",
        "made of forgotten messages",
        [
            f"DELETE FROM revisions WHERE entry = {FORGOTTEN}",
            f"UPDATE entries SET state = 'active', version = 1 WHERE id = {FORGOTTEN}",
        ],
        f"SELECT state, version FROM entries WHERE id = {FORGOTTEN}",
        [("deleted", 2)],
    ),
    "a summary that quotes what was forgotten": (
        "entries",
        "summaries of what was forgotten",
        [f"INSERT INTO links VALUES ({SUMMARY}, {FORGOTTEN}, 'summarizes', 1)"],
        f"SELECT state, version FROM entries WHERE id = {SUMMARY}",
        [("unsupported", 2)],
    ),
    "a summary that rests on what was forgotten": (
        "entries",
        "summaries of what was forgotten",
        [f"INSERT INTO sources SELECT {SUMMARY}, message, 0 FROM sources WHERE entry = {FORGOTTEN}"],
        f"SELECT state, version FROM entries WHERE id = {SUMMARY}",
        [("unsupported", 2)],
    ),
    "a second turn": (
        "turns",
        "of no message",
        [
            "INSERT INTO entries SELECT 9999, 'abcdefabcdef', x'abcdefabcdef000000000000000000ff', kind, text,"
            " conversation, session, speaker, agent, said_at, said_epoch, happened_from, happened_to, valid_until,"
            " importance, keywords, entities, state, pinned, prompt, model, 1, run, recorded_at FROM entries"
            f" WHERE id = {TURN}",
            f"INSERT INTO sources VALUES (9999, {MESSAGE}, 0)",
        ],
        "SELECT state, version FROM entries WHERE id = 9999",
        [("deleted", 2)],
    ),
    "keywords": (
        "records",
        "keywords",
        [f"UPDATE entries SET keywords = '[1', entities = '[1]' WHERE id = {FACT}"],
        f"SELECT keywords, entities FROM entries WHERE id = {FACT}",
        [("[]", "[]")],
    ),
}


@pytest.mark.parametrize("name", REVISED)
def test_what_nothing_attests_is_mended_with_a_trace(copy: Path, name: str) -> None:
    check, said, statements, query, expected = REVISED[name]
    assert damage(copy, *statements) > 0
    found = amiss(examined(copy))
    assert found and all(finding.well for finding in found), found
    assert any(finding.check == check and said in finding.seen for finding in found), found
    with closing(sqlite3.connect(history_of(copy))) as connection:
        assert connection.execute(query).fetchall() == expected
    assert well(copy)


def test_sources_lost_in_a_merger_are_brought_back(copy: Path) -> None:
    """Where the revision, too, has lost them."""
    with opened(copy) as memory:
        before = list(memory.history.state.rows())
        (kept_id, entry) = facts(memory, "Anna and Boris")[0]
        fewer = memory.history.entries.source_ids(kept_id)[:1]
        with memory.run("test") as run, memory.history.transaction():
            revise(memory.history, kept_id, entry, run=run, reason="x", sources=fewer)
    found = amiss(examined(copy))
    assert [(one.check, one.mended) for one in found] == [("entries", True)]
    assert "merged into them" in found[0].seen
    with opened(copy) as memory:
        assert list(memory.history.state.rows()) == before
    assert well(copy)


def calls(home: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(history_of(home))) as connection:
        query = "SELECT input_hash, reply, refused, prompt_tokens, cached_tokens, seconds FROM model_calls"
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("statements", "left"),
    [
        ([CALL, SENT], (b"1", "Biscuit.", None, 7, 0, 0.5)),
        ([CALL], (b"", None, None, 7, 0, 0.5)),
        ([CALL, "INSERT INTO model_inputs VALUES (99, 99999)"], (b"", None, None, 7, 0, 0.5)),
        ([CALL, SENT, "UPDATE model_calls SET reply = x'ff', cached_tokens = 'x'"], (b"1", None, None, 7, 0, 0.5)),
        ([CALL, SENT, "UPDATE model_calls SET seconds = -1"], (b"1", "Biscuit.", None, 7, 0, 0.0)),
    ],
)
def test_what_a_call_cost_outlives_what_is_wrong_with_it(
    copy: Path, statements: list[str], left: tuple[object, ...]
) -> None:
    damage(copy, *statements)
    examined(copy)
    assert calls(copy) == [left]
    assert well(copy)


def test_a_reply_that_a_purge_left_is_erased(copy: Path) -> None:
    with opened(copy) as memory:
        purge(memory, [memory.history.purge.messages(name="p3")[0].id])
    purged = "(SELECT id FROM messages WHERE purged IS NOT NULL)"
    damage(copy, CALL, f"INSERT INTO model_inputs SELECT 99, {purged}", SENT)
    [found] = amiss(examined(copy))
    assert (found.check, found.mended) == ("model calls", True)
    assert "hold what was purged" in found.seen
    assert calls(copy) == [(b"", None, None, 7, 0, 0.5)]
    assert well(copy)


def test_a_job_that_no_model_does_is_taken_out_of_its_batch(copy: Path) -> None:
    damage(copy, f"INSERT INTO jobs (stage, item, batch) VALUES ('segment', {MESSAGE}, 3)")
    found = amiss(examined(copy))
    assert [one.check for one in found if "in a batch" in one.seen and one.mended] == ["jobs and changes"]
    with closing(sqlite3.connect(history_of(copy))) as connection:
        assert connection.execute("SELECT count(*) FROM jobs WHERE batch IS NOT NULL").fetchone() == (0,)


BEYOND: dict[str, tuple[str, str, list[str]]] = {
    "a role": ("records", "role 'ghost' is not a role", [f"UPDATE messages SET role = 'ghost' WHERE id = {MESSAGE}"]),
    "a revision": ("records", "revisions row 1: after '{' is not", ["UPDATE revisions SET after = '{' WHERE id = 1"]),
    "a kind that fits none": (
        "records",
        "kind",
        [f"UPDATE entries SET kind = 'fakt', text = 'Hm.' WHERE id = {FACT}"],
    ),
    "a source that is gone": ("records", "not there", [f"INSERT INTO sources VALUES ({FACT}, 99999, 1)"]),
    "a summary's words": ("entries", "born as", ["UPDATE entries SET text = 'Hm.' WHERE kind = 'summary'"]),
    "what a summary is of": ("entries", "summaries of nothing", ["DELETE FROM links WHERE kind = 'summarizes'"]),
    "what a fact rests on": (
        "entries",
        "rest on nothing",
        [f"DELETE FROM sources WHERE entry = {FACT}", f"UPDATE entries SET text = 'Hm.' WHERE id = {FACT}"],
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_cannot_be_mended_is_said_with_a_command(copy: Path, name: str) -> None:
    check, said, statements = BEYOND[name]
    assert damage(copy, *statements) > 0
    for _ in range(2):
        bad = [finding for finding in examined(copy) if not finding.well]
        assert [(finding.check, finding.mend) for finding in bad] == [(check, "lightmem restore FILE")], bad
        assert said in bad[0].seen


def test_the_command_line_names_what_is_bad_and_exits_with_3(copy: Path) -> None:
    damage(copy, f"UPDATE entries SET speaker = 'Eve' WHERE id = {TURN}")
    damage(copy, *BEYOND["what a summary is of"][2])
    run = lightmem("doctor", "--deep", "--home", copy)
    assert run.returncode == 3, run.stderr
    bad = [said for said in lines_of(run.stdout) if not said.startswith("ok ")]
    assert len(bad) == 1 and bad[0].startswith("BAD  entries: summaries of nothing"), bad
    assert bad[0].endswith("(mend: lightmem restore FILE)")
    assert sum("made right" in said for said in lines_of(run.stdout)) == 1


def test_a_damaged_file_is_said_to_be(copy: Path) -> None:
    path = history_of(copy)
    data = bytearray(path.read_bytes())
    middle = len(data) // 4096 // 2 * 4096
    data[middle : middle + 4096] = b"\x07" * 4096
    path.write_bytes(data)
    run = lightmem("doctor", "--deep", "--home", copy, "--json")
    assert run.returncode == 3, run.stderr
    assert "Traceback" not in run.stderr.decode()
    told = [json.loads(each) for each in lines_of(run.stdout)]
    assert not told or (not told[0]["well"] and told[0]["mend"] == "lightmem restore FILE")


def in_words(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "profiles" / "default" / "words" / "words.db")) as connection, connection:
        connection.execute(statement)


def in_vectors(home: Path, **change: object) -> None:
    with opened(home) as memory:
        active = memory.history.vectors.active_space()
        assert active is not None
        folder = memory.profile.folder / "vectors" / active[1].slug
        index = open_vectors("faiss", folder, space=active[1], select=lambda where: None)
        index.apply(**{"add": [], "remove": [], "position": index.position} | change)  # type: ignore[arg-type]


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 32] = b"\x05" * 32
    path.write_bytes(data)


def files(home: Path, pattern: str) -> Path:
    return next((home / "profiles" / "default").glob(pattern))


IN_INDEX: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a row is missing": ("words", lambda home: in_words(home, "DELETE FROM words WHERE rowid = 3")),
    "a row too many": ("words", lambda home: in_words(home, "INSERT INTO words VALUES ('dog')")),
    "other terms": ("words", lambda home: in_words(home, "UPDATE words SET terms = 'dog' WHERE rowid = 3")),
    "terms not listed": ("words", lambda home: in_words(home, "UPDATE words_content SET c0 = 'dog' WHERE id = 3")),
    "garbage": ("words", lambda home: files(home, "words/words.db").write_bytes(b"garbage" * 999)),
    "a vector is missing": ("vectors", lambda home: in_vectors(home, remove=[3])),
    "a vector too many": ("vectors", lambda home: in_vectors(home, add=[(9999, bytes(512))])),
    "another vector": ("vectors", lambda home: in_vectors(home, add=[(3, b"\x01\x02" * 256)])),
    "flipped bytes": ("vectors", lambda home: overwrite(files(home, "vectors/*/tail-*.f16"))),
    "no manifest": ("vectors", lambda home: files(home, "vectors/*/manifest.json").write_text("{")),
}


@pytest.mark.parametrize("name", IN_INDEX)
def test_an_index_that_differs_is_made_again(copy: Path, name: str) -> None:
    index, act = IN_INDEX[name]
    act(copy)
    found = amiss(examined(copy))
    assert [(finding.check, finding.mended) for finding in found] == [(f"{index} index", True)], found
    assert "made again" in found[0].seen
    assert well(copy)


@pytest.mark.parametrize("name", ["words", "vectors"])
def test_an_index_that_was_deleted_is_told_of_as_mended(copy: Path, name: str) -> None:
    for arguments in (["doctor"], ["doctor", "--deep"]):
        shutil.rmtree(copy / "profiles" / "default" / name)
        run = lightmem(*arguments, "--json", "--home", copy)
        assert run.returncode == 0
        found = {row["check"]: row for row in map(json.loads, lines_of(run.stdout)) if row["check"].endswith(" index")}
        assert {check: row["mended"] for check, row in found.items()} == {
            "words index": name == "words",
            "vectors index": name == "vectors",
        }
        assert "made again" in found[f"{name} index"]["seen"]
    assert amiss(examined(copy)) == []


def test_a_rank_bm25_index_is_compared_too(copy: Path) -> None:
    with opened(copy, store={"words": "rank-bm25"}) as memory:
        memory.indexes.catch_up(space=None)
        index = open_words("rank-bm25", memory.profile.folder / "words", select=lambda where: None)
        index.apply(add=[], remove=[2], position=index.position)
    for expected in (["words index"], []):
        with opened(copy, store={"words": "rank-bm25"}) as memory:
            assert [one.check for one in amiss(deep(memory, progress=lambda rows: None))] == expected


def test_topics_that_do_not_lie_end_to_end_are_cut_again(copy: Path) -> None:
    with opened(copy) as memory:
        topics = [(one.first, one.last) for one in memory.history.segments.all()]
    assert len(topics) > 2
    for wrong in (
        "UPDATE segments SET last = (SELECT max(id) FROM messages WHERE session = 'phone') WHERE session = 'walk'",
        "DELETE FROM segments WHERE session = 'phone' AND id = (SELECT min(id) FROM segments WHERE session = 'phone')",
        "UPDATE segments SET session = 'nowhere' WHERE id = (SELECT min(id) FROM segments)",
        "UPDATE segments SET first = last, last = first",
    ):
        assert damage(copy, wrong)
        assert [(one.check, one.mended) for one in amiss(examined(copy))] == [("topics", True)], wrong
        with opened(copy) as memory:
            assert [(one.first, one.last) for one in memory.history.segments.all()] == topics
            assert not memory.history.work.pending()
    assert well(copy)


def test_a_shortened_text_that_is_one_is_left_alone(copy: Path) -> None:
    damage(copy, f"INSERT INTO compressed VALUES ({MESSAGE}, 'Biscuit  chicken.' || char(10) || ' Sundays.', 1, 'x')")
    damage(copy, "INSERT INTO compressed SELECT id, '', 0, 'x' FROM messages WHERE name = 'w5'")
    assert well(copy)
    assert len(kept(copy).shortened) == 2


@pytest.mark.parametrize(
    ("compress", "segment", "checks"),
    [
        ({"use": "llmlingua2", "model": "nowhere/to-be-found"}, {}, ["compressor"]),
        ({"use": "entropy", "model": "nowhere/to-be-found"}, {}, ["compressor"]),
        ({}, {"use": "attention", "model": "nowhere/to-be-found"}, ["segmenter"]),
        (
            {"use": "llmlingua2", "model": "nowhere/to-be-found"},
            {"use": "hybrid"},
            ["compressor", "segmenter"],
        ),
        ({"use": "entropy"}, {"use": "similarity"}, []),
    ],
)
def test_a_model_of_sensory_memory_that_is_not_there_is_told(
    copy: Path, compress: dict[str, object], segment: dict[str, object], checks: list[str]
) -> None:
    with opened(copy, compress=compress, segment=segment) as memory:
        found = amiss(doctor(memory))
    assert [(one.check, one.well, one.exit_code) for one in found] == [(check, False, 4) for check in checks]
    for one in found:
        assert "nowhere/to-be-found is not on this machine" in one.seen
        assert one.mend is not None and one.mend.startswith("hf download nowhere/to-be-found")


def test_a_folder_that_holds_no_model_is_told(copy: Path, tmp_path: Path) -> None:
    folder = str(tmp_path)
    for use in ("entropy", "llmlingua2"):
        with opened(copy, compress={"use": use, "model": folder}) as memory:
            (found,) = amiss(doctor(memory))
        assert (found.check, found.well) == ("compressor", False)
        assert "config.json" in found.seen


def test_what_waits_names_the_command_that_does_it(copy: Path) -> None:
    assert mends_of([]) is None
    for stage, command in (("embed", "extract"), ("segment", "segment"), ("close", "segment")):
        assert mends_of([stage]) == f"lightmem {command}"
    assert mends_of(["extract", "close"]) == "lightmem extract"
    with opened(copy) as memory, memory.history.transaction():
        memory.history.work.add("close", memory.history.segments.last_of_open() or [1])
    pending = next(one for one in examined(copy) if one.check == "pending work")
    assert pending.mend == "lightmem segment"


def test_what_waits_is_not_called_missing(copy: Path) -> None:
    take(copy, [row("phone", "p4", "Anna", "I have lost my umbrella.")], HowToIngest(journal_only=True))
    found = examined(copy)
    assert amiss(found) == []
    assert next(one for one in found if one.check == "pending work").mend == "lightmem extract"
    assert next(one for one in found if one.check == "views").well


def test_without_the_embedder_the_rest_is_checked_and_mended(copy: Path) -> None:
    damage(copy, f"UPDATE entries SET text = 'Hm.' WHERE id = {TURN}")
    with opened(copy, embed={"use": "nowhere:gone"}) as memory:
        found = amiss(deep(memory, progress=lambda rows: None))
    assert [(one.check, one.well) for one in found] == [("turns", True), ("embedder", False)]
    assert found[1].exit_code == 4
    take(copy, [])
    assert well(copy)


def test_killed_runs_are_counted_and_no_damage(copy: Path) -> None:
    damage(copy, "UPDATE runs SET ended_at = NULL, outcome = NULL WHERE id = 1")
    found = examined(copy)
    assert amiss(found) == []
    assert next(one for one in found if one.check == "runs").seen == "1 were cut short"


def test_a_process_that_died_at_work_is_told_of_and_no_damage(copy: Path) -> None:
    """Killed behind its last step: the same command has nothing left to do, and opens no run that would sign it off."""
    damage(copy, "UPDATE runs SET ended_at = NULL, outcome = NULL WHERE id = 1")
    damage(copy, f"INSERT INTO leases VALUES (77, {os.getpid()}, 5.0, '{socket.gethostname()}')")  # nobody has its lock
    with opened(copy) as memory:
        quick = doctor(memory)
    for found in (quick, examined(copy)):
        assert amiss(found) == []
        seen = next(one for one in found if one.check == "processes").seen
        assert seen == "nobody is at work; 1 died at work, and what it held is free"
    take(copy, [row("phone", "p4", "Anna", "I have lost my umbrella.")])
    assert next(one for one in examined(copy) if one.check == "processes").seen == "nobody is at work"


def test_progress_goes_through_all_rows(copy: Path) -> None:
    told: list[int] = []
    with opened(copy) as memory:
        deep(memory, progress=told.append)
        assert told == sorted(told)
        assert 0 < told[-1] <= rows_of(memory)


LIFE = [
    ["update"],
    ["summarize"],
    ["forget", "w5"],
    ["undo"],
    ["forget", "w2"],
    ["forget", "--purge", "--yes", "w1"],
    ["summarize"],
    ["undo", "2"],
    ["reindex"],
]


def test_a_whole_life_gives_no_false_alarm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_EMBED__USE", "hashing")
    monkeypatch.setenv("LIGHTMEM_COMPRESS__USE", "entropy")
    again = [(session, f"{id[0]}{int(id[1:]) + 20}", speaker, said) for session, id, speaker, said in SAID]
    take(home, [row(*one) for one in [*SAID, *again]])
    take(home, [row("walk", "w3", "Anna", "Biscuit eats fish.")], HowToIngest(on_conflict="replace"))
    take(home, [row("walk", "w6", "Boris", "")], HowToIngest(on_conflict="replace"))
    assert well(home)
    ended = []
    for arguments in LIFE:
        ended.append(CliRunner().invoke(app, [*arguments, "--home", str(home)]).exit_code)
        assert well(home), arguments
    assert kept(home).shortened
    assert ended.count(0) > len(LIFE) // 2, (
        ended
    )  # what is refused by now, such as an undo behind a purge, is no matter


def test_an_empty_memory_is_well(home: Path) -> None:
    run = lightmem("doctor", "--deep", "--home", home)
    assert run.returncode == 0, run.stderr
    assert all(each.startswith("ok ") for each in lines_of(run.stdout))


def test_while_another_process_ingests_there_is_no_false_alarm(home: Path) -> None:
    chat = b"".join(
        row(f"s{number // 40}", f"m{number % 40}", "Anna", f"I saw heron number {number} near the old mill on Monday.")
        for number in range(600)
    )
    assert lightmem("ingest", "-", "--home", home, feed=chat[:300]).returncode == 2  # the last line is half a line
    writer = start("ingest", "-", "--home", home, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert writer.stdin is not None
    lines = chat.splitlines(keepends=True)
    writer.stdin.write(lines[0])
    writer.stdin.flush()
    with opened(home) as memory:
        while not memory.history.work.owners():
            assert writer.poll() is None
            time.sleep(0.02)
    for at in range(0, len(lines), 100):
        writer.stdin.write(b"".join(lines[at : at + 100]))
        writer.stdin.flush()
        with opened(home) as memory:
            assert amiss(deep(memory, progress=lambda rows: None)) == []
            assert amiss(doctor(memory)) == []
            assert [owner.pid for owner in memory.history.work.owners()] == [writer.pid]
    writer.stdin.close()
    assert writer.wait(timeout=120) == 0
    assert well(home)


def test_history_is_open_for_others_while_it_is_read(copy: Path) -> None:
    """A snapshot holds up nobody, and sees nothing of what they write."""
    with opened(copy) as memory, closing(History(history_of(copy))) as other:
        with memory.history.checks.snapshot():
            before = list(memory.history.checks.texts())
            with other.transaction():
                other.mends.set_entry(1, text="Hm.")
            assert list(memory.history.checks.texts()) == before
        assert dict(memory.history.checks.texts())[1] == "Hm."
