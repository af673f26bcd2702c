"""History: migrations, births, revisions, leases, filters and the canonical state."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmem_cli.errors import ProfileBusy, StoreError
from lightmem_cli.records import (
    Compressed,
    Entry,
    Filter,
    Kind,
    Message,
    MessageKey,
    Role,
    Space,
    State,
    Usage,
    entry_id,
)
from lightmem_cli.store import migrations
from lightmem_cli.store.history import History
from lightmem_cli.store.history.calls import Call
from lightmem_cli.store.history.compressed import Shortened
from lightmem_cli.store.history.vectors import text_hash

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
FIRST = MessageKey("c", "s", "m0")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history.db")


def message(number: int, **fields: object) -> Message:
    values = {"conversation": "c", "session": "s", "id": f"m{number}", "position": number, "role": Role.USER}
    return Message(**values | {"content": f"text {number}", "said_at": NOON} | fields)  # type: ignore[arg-type]


def entry(text: str, *, kind: Kind = Kind.FACT, key: MessageKey = FIRST, **fields: object) -> Entry:
    born = Entry(id="", kind=kind, text=text, conversation=key.conversation, session=key.session, sources=(key,))
    return replace(born, **fields)  # type: ignore[arg-type]


def with_message(history: History, number: int = 0, **fields: object) -> tuple[int, int]:
    run = history.runs.begin("test")
    return history.messages.add(message(number, **fields), identified_by="given", run=run), run


def test_migrations_run_once_and_a_newer_history_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    History(path).close()
    History(path).close()
    connection = sqlite3.connect(path)
    assert [row[0] for row in connection.execute("SELECT number FROM migrations")] == [
        number for number, _ in enumerate(migrations.MIGRATIONS, start=1)
    ]
    connection.execute("INSERT INTO migrations VALUES (999, 'm999_future', '2030-01-01')")
    connection.commit()
    with pytest.raises(StoreError, match="newer lightmem"):
        History(path)


def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def m002_half(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise RuntimeError("power cut")

    path = tmp_path / "history.db"
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, m002_half])
    with pytest.raises(RuntimeError):
        History(path)
    monkeypatch.undo()
    history = History(path)
    assert not history.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()


def schema(connection: sqlite3.Connection) -> set[tuple[object, ...]]:
    columns = 'm.name, c.name, c.type, c."notnull", c.dflt_value, c.pk'
    query = f"SELECT {columns} FROM sqlite_master m, pragma_table_info(m.name) c"
    return set(connection.execute(query))


def up_to(path: Path, number: int) -> None:
    """Make a history as the version did that knew so many migrations."""
    with pytest.MonkeyPatch.context() as patch, closing(sqlite3.connect(path, isolation_level=None)) as connection:
        patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:number])
        migrations.migrate(connection)


@pytest.mark.parametrize("number", range(1, len(migrations.MIGRATIONS)))
def test_a_history_of_an_earlier_version_gets_the_same_tables(tmp_path: Path, number: int) -> None:
    up_to(tmp_path / "old.db", number)
    with closing(History(tmp_path / "old.db")) as old, closing(History(tmp_path / "new.db")) as new:
        assert schema(old.connection) == schema(new.connection)
        assert old.check() == []


def test_topics_that_were_cut_before_are_kept_and_their_messages_have_no_shortened_text(tmp_path: Path) -> None:
    up_to(tmp_path / "old.db", 2)
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO runs VALUES (1, 'ingest', '2024-01-01', '2024-01-01', 'done')")
        for id in (1, 2):
            connection.execute(
                "INSERT INTO messages (id, conversation, session, name, position, role, content, identified_by, run,"
                " recorded_at) VALUES (?, '', 's', ?, ?, 'user', 'Tea.', 'given', 1, '2024-01-01')",
                (id, f"m{id}", id - 1),
            )
        connection.execute("INSERT INTO segments VALUES (1, 'x', '', 's', 1, 1, 'silence', 1)")
    with closing(History(tmp_path / "old.db")) as history:
        [topic] = history.segments.all()
        assert (topic.first.id, topic.last.id, topic.cut_by, topic.score) == ("m1", "m1", "silence", None)
        assert history.compressed.of([1, 2]) == {}
        history.compressed.keep([Shortened(1, "Tea.", Compressed("Tea", 0.5))], made_by="x")
        said = history.segments.said("", "s", since=1)
        history.segments.add(said, cut_by="session", score=1.0, run=1)
        assert [one.score for one in history.segments.all()] == [None, 1.0]
        assert history.check() == []


def test_what_was_asked_and_what_waited_before_batches_is_kept(tmp_path: Path) -> None:
    up_to(tmp_path / "old.db", 3)
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO runs VALUES (1, 'ingest', '2024-01-01', '2024-01-01', 'done')")
        connection.execute(
            "INSERT INTO messages (id, conversation, session, name, position, role, content, identified_by, run,"
            " recorded_at) VALUES (1, '', 's', 'm1', 0, 'user', 'Tea.', 'given', 1, '2024-01-01')"
        )
        connection.execute("INSERT INTO jobs (stage, item, reason) VALUES ('extract', 1, 'it failed')")
        connection.execute(
            "INSERT INTO model_calls VALUES (1, 1, 'extract', 'm', 'p', x'01', 'tea', 7, 2, 0, 0.5, '2024-01-01')"
        )
    with closing(History(tmp_path / "old.db")) as history, closing(History(tmp_path / "new.db")) as new:
        assert history.connection.execute("SELECT stage, item, reason, batch FROM jobs").fetchall() == [
            ("extract", 1, "it failed", None)
        ]
        assert history.calls.reply("m", "p", b"\x01") == "tea"
        assert history.connection.execute("SELECT refused FROM model_calls").fetchall() == [(None,)]
        assert history.counts.model_calls() == {
            "extract": (Usage(calls=1, prompt_tokens=7, completion_tokens=2), 0.5),
        }
        indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
        assert set(history.connection.execute(indexes)) == set(new.connection.execute(indexes))
        assert history.check() == []


def call(**fields: object) -> Call:
    values: dict[str, object] = {"purpose": "extract", "model": "m", "prompt": "facts-1", "input_hash": b"1"}
    values |= {"messages": (), "usage": Usage(calls=1), "seconds": 0.5, "reply": "yes"}
    return Call(**values | fields)  # type: ignore[arg-type]


def test_the_ledger_answers_with_what_was_accepted_last(history: History) -> None:
    source, run = with_message(history)
    for reply, refused in (("one", None), ("two", None), (None, "not this")):
        history.calls.add(call(reply=reply, refused=refused, messages=(source, source)), run=run)
    assert history.calls.reply("m", "facts-1", b"1") == "two"
    for other in (("n", "facts-1", b"1"), ("m", "facts-2", b"1"), ("m", "facts-1", b"2")):
        assert history.calls.reply(*other) is None
    history.calls.erase([source])
    assert history.calls.reply("m", "facts-1", b"1") is None
    assert history.counts.model_calls()["extract"].usage.calls == 3
    history.calls.add(call(messages=(source,)), run=run)  # it is asked anew
    assert history.calls.reply("m", "facts-1", b"1") == "yes"


def test_what_is_noted_of_a_server_is_found_again(history: History) -> None:
    assert history.calls.remembered("http://a/v1 m") is None
    history.calls.remember("http://a/v1 m", "json_schema")
    history.calls.remember("http://a/v1 m", "text")
    assert history.calls.remembered("http://a/v1 m") == "text"
    assert history.calls.remembered("http://a/v1 n") is None


@pytest.mark.parametrize("content", [b"this is no database, whatever it is called", b"\0" * 8192])
def test_a_damaged_history_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        History(path)
    assert path.read_bytes() == content


def test_modes_keep_a_memory_private(history: History) -> None:
    assert history.path.stat().st_mode & 0o777 == 0o600


def test_an_entry_is_born_once(history: History) -> None:
    source, run = with_message(history)
    first = history.entries.add(entry("Anna likes tea."), sources=[source], run=run)
    assert first is not None
    stored = history.entries.get([first])[first]
    assert len(stored.id) == 12
    assert stored.sources == (MessageKey("c", "s", "m0"),)
    history.revisions.revise(
        first, replace(stored, text="Anna loves tea.", state=State.DELETED), run=run, reason="test"
    )
    assert history.entries.add(entry("Anna likes tea."), sources=[source], run=run) is None
    revised = history.entries.get([first])[first]
    assert (revised.id, revised.text, revised.version) == (stored.id, "Anna loves tea.", 2)


def test_a_revision_keeps_what_was(history: History) -> None:
    source, run = with_message(history)
    id = history.entries.add(entry("Anna likes tea."), sources=[source], run=run)
    assert id is not None
    history.revisions.revise(id, replace(history.entries.get([id])[id], text="No."), run=run, reason="corrected")
    rows = history.connection.execute("SELECT before, after, reason, run FROM revisions").fetchall()
    assert rows == [('{"text": "Anna likes tea.", "version": 1}', '{"text": "No.", "version": 2}', "corrected", run)]


def test_colliding_short_ids_get_a_longer_one(history: History) -> None:
    source, run = with_message(history)
    full = entry_id(Kind.FACT, "c", "s", "second", [MessageKey("c", "s", "m0")], length=64)
    first = history.entries.add(entry("first"), sources=[source], run=run)
    history.connection.execute("UPDATE entries SET name = ? WHERE id = ?", (full[:12], first))
    second = history.entries.add(entry("second"), sources=[source], run=run)
    assert second is not None
    assert history.entries.get([second])[second].id == full[:13]
    assert len(history.entries.find(full[:12])) == 2


def test_vectors_are_shared_by_equal_texts(history: History) -> None:
    space = history.vectors.space_id(Space(name="a", revision="1", dimension=2))
    assert history.vectors.active_space() is not None
    first = history.vectors.add(space, [(text_hash("x"), b"1234"), (text_hash("y"), b"5678")])
    again = history.vectors.add(space, [(text_hash("x"), b"1234")])
    assert again[text_hash("x")] == first[text_hash("x")]
    assert history.vectors.count(space) == 2
    assert history.runs.changes_after(0, "vector", limit=9)[0] == sorted(first.values())


def test_two_writers_never_hold_one_item(tmp_path: Path) -> None:
    mine, other = History(tmp_path / "history.db"), History(tmp_path / "history.db")
    mine.work.add("extract", range(10))
    with mine.transaction():
        first = mine.work.claim("extract", limit=4)
    with other.transaction():
        second = other.work.claim("extract", limit=99)
    assert sorted(first + second) == list(range(10))
    with mine.transaction():
        mine.work.done("extract", first)
        mine.work.release()
    with other.transaction():
        other.work.release()
        assert other.work.claim("extract", limit=99) == second


def test_a_dead_owners_lease_is_free_at_once_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead, living = History(tmp_path / "history.db"), History(tmp_path / "history.db")
    dead.work.add("extract", [1, 2])
    with dead.transaction():
        assert dead.work.claim("extract", limit=1) == [1]
    living.work.reopen()
    assert living.work.claim("extract", limit=9) == [2]
    assert [(owner.pid, owner.items) for owner in living.work.holders()] == [(os.getpid(), 1)]
    dead.close()
    assert (living.work.owners(), living.work.dead()) == ([], 1)
    living.work.reopen()
    assert living.work.claim("extract", limit=9) == [1]


def test_quarantined_work_waits_for_the_next_run(history: History) -> None:
    history.work.add("extract", [1, 2])
    assert history.work.claim("extract", limit=1) == [1]
    history.work.quarantine("extract", 1, "too odd")
    assert history.work.claim("extract", limit=9) == [2]
    assert history.work.pending() == {"extract": 1}
    assert [(job.item, job.attempts, job.reason) for job in history.work.quarantined()] == [(1, 1, "too odd")]
    history.work.reopen()
    assert history.work.claim("extract", limit=9) == [1]


def test_a_transaction_is_all_or_nothing(history: History) -> None:
    with pytest.raises(RuntimeError), history.transaction():
        with_message(history)
        raise RuntimeError
    assert history.counts.messages() == 0


def test_a_locked_history_is_busy(tmp_path: Path) -> None:
    one, other = History(tmp_path / "history.db"), History(tmp_path / "history.db")
    with one.transaction(), other.impatient(), pytest.raises(ProfileBusy), other.transaction():
        pass


moments = st.integers(0, 6).map(lambda day: NOON + timedelta(days=day))
facts = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(Kind),
        "state": st.sampled_from(State),
        "speaker": st.sampled_from(["Anna", "Ben", None]),
        "said_at": st.none() | moments,
        "key": st.sampled_from([MessageKey("c", "s", "m0"), MessageKey("c", "t", "m1"), MessageKey("d", "s", "m2")]),
    }
)
filters = st.builds(
    Filter,
    kinds=st.lists(st.sampled_from(Kind), unique=True).map(tuple),
    states=st.lists(st.sampled_from(State), unique=True).map(tuple),
    speakers=st.lists(st.sampled_from(["anna", "Ben"]), unique=True).map(tuple),
    conversation=st.none() | st.sampled_from(["c", "d", "e"]),
    session=st.none() | st.sampled_from(["s", "t"]),
    since=st.none() | moments,
    until=st.none() | moments,
    as_of=st.none() | moments,
)


def passes(one: Entry, where: Filter, *, superseded_at: datetime | None) -> bool:
    """What a filter means, in plain Python."""
    if where.as_of is not None:
        if one.said_at is None or one.said_at > where.as_of or one.state not in (State.ACTIVE, State.SUPERSEDED):
            return False
        if superseded_at is not None and superseded_at <= where.as_of:
            return False
    elif where.states and one.state not in where.states:
        return False
    return (
        (not where.kinds or one.kind in where.kinds)
        and (not where.speakers or (one.speaker or "").lower() in {name.lower() for name in where.speakers})
        and (where.conversation is None or one.conversation == where.conversation)
        and (where.session is None or one.session == where.session)
        and (where.since is None or (one.said_at is not None and one.said_at >= where.since))
        and (where.until is None or (one.said_at is not None and one.said_at <= where.until))
    )


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(facts, max_size=12), where=filters, link=st.sampled_from(["supersedes", "merged_into"]))
def test_filters_select_what_they_say(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], where: Filter, link: str
) -> None:
    history = History(tmp_path_factory.mktemp("history") / "history.db")
    keys = [MessageKey("c", "s", "m0"), MessageKey("c", "t", "m1"), MessageKey("d", "s", "m2")]
    run = history.runs.begin("test")
    sources = {
        key: history.messages.add(
            message(0, conversation=key[0], session=key[1], id=key[2]), identified_by="given", run=run
        )
        for key in keys
    }
    space = history.vectors.space_id(Space(name="a", revision="1", dimension=1))
    ids = {}
    for number, row in enumerate(rows):
        born = entry(f"text {number}", **row)  # type: ignore[arg-type]
        id = history.entries.add(born, sources=[sources[born.sources[0]]], run=run)
        assert id is not None
        ids[id] = born
        shelved = history.vectors.add(space, [(text_hash(str(number // 2)), b"12")])  # every two share a vector
        history.vectors.set_views(id, space, list(shelved.values()))
    superseded: dict[int, datetime | None] = {}
    for new, old in zip(list(ids)[1::2], list(ids)[::2], strict=False):  # each second entry replaces the one before
        ends = (new, old) if link == "supersedes" else (old, new)
        history.connection.execute("INSERT INTO links VALUES (?, ?, ?, ?)", (*ends, link, run))
        superseded[old] = ids[new].said_at
    expected = {id for id, one in ids.items() if passes(one, where, superseded_at=superseded.get(id))}

    def admitted(selection: object, among: set[int]) -> set[int]:
        if selection is None:
            return among
        chosen = set(selection.ids.tolist())  # type: ignore[attr-defined]
        return among - chosen if selection.inverted else among & chosen  # type: ignore[attr-defined]

    assert admitted(history.selector.entries(where), set(ids)) == expected
    assert set(history.selector.passing(where, list(ids))) == expected
    views = dict(history.connection.execute("SELECT entry, vector FROM views").fetchall())
    assert admitted(history.selector.vectors(where), set(views.values())) == {views[id] for id in expected}
    history.close()


def test_the_canonical_state_has_no_clock(history: History) -> None:
    source, run = with_message(history)
    history.entries.add(entry("Anna likes tea."), sources=[source], run=run)
    rows = list(history.state.rows())
    assert [row["record"] for row in rows] == ["message", "entry"]
    assert rows[1]["sources"] == [["c", "s", "m0"]]
    assert not {"recorded_at", "run", "version"} & set(rows[1])


def test_neighbours_come_from_the_same_session_only(history: History) -> None:
    ids = {}
    for number, session in enumerate(["s", "s", "t", "s", "s", "s"]):
        run = history.runs.begin("test")
        one = message(number, session=session)
        ids[number] = history.messages.add(one, identified_by="given", run=run)
        turn = history.entries.add(entry(one.content, kind=Kind.TURN, key=one.key), sources=[ids[number]], run=run)
        assert turn is not None
        history.messages.set_turn(ids[number], turn)
    near = history.reading.around([ids[0], ids[0], 999], radius=3)
    assert sorted(place.position for place in near) == [0, 1, 3]
    assert len({place.session for place in near}) == 1


def test_speakers_are_told_apart_by_conversation(history: History) -> None:
    for number, (conversation, speaker) in enumerate(
        [("c", "Ben"), ("c", "Anna"), ("d", "Cy"), ("c", "Ben"), ("d", None)]
    ):
        with_message(history, number, conversation=conversation, speaker=speaker)
    assert history.reading.speakers(Filter()) == ["Anna", "Ben", "Cy"]
    assert history.reading.speakers(Filter(conversation="d")) == ["Cy"]
