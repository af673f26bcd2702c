"""What is restored was read whole before: a backup with any cell that nothing can read changes nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from damage import damage, unguarded
from memories import Killed, empty_home, kept, line, opened, take, take_into
from process import lightmem
from typer.testing import CliRunner, Result

from lightmem_cli.cli import app
from lightmem_cli.engine import backup as backups
from lightmem_cli.engine.backup import unpacked
from lightmem_cli.engine.deep import deep
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.errors import InputError, LightmemError
from lightmem_cli.profiles import open_profile
from lightmem_cli.store import migrations
from lightmem_cli.store.read_through import BadCell, read_through
from lightmem_cli.store.schema import tables

DONE, INPUT, STORE = 0, 2, 3
HISTORY = Path("profiles") / "default" / "history.db"
quiet = [].append


def chat(count: int, *, word: str = "heron") -> list[bytes]:
    days = [f"2024-03-{1 + n // 5:02}T10:{n:02}:00+01:00" for n in range(count)]
    return [
        line(
            session=f"s{n // 10}",
            id=f"m{n}",
            speaker="Anna",
            timestamp=day,
            content=f"I saw {word} number {n} by the mill.",
        )
        for n, day in enumerate(days)
    ]


# What commands leave in these tables only with a language model, or while they run.
_ROWS = """
INSERT INTO leases VALUES (7, 4000000, 1.5, 'elsewhere');
INSERT INTO jobs (stage, item, batch, lease, reason) VALUES ('extract', 1, 3, 7, 'no reply');
INSERT INTO model_calls VALUES (5, 1, 'extract', 'm', 'p', x'0011223344556677', 'yes', 9, 8, 7, .5, '2024-03-01', 'no');
INSERT INTO model_inputs VALUES (5, 1);
INSERT INTO judged VALUES (1, 2, x'00112233445566778899aabb');
INSERT INTO profile VALUES ('update.taken', '3');
INSERT INTO profile VALUES ('llm http://127.0.0.1', '20000 x');
"""


def ran(*arguments: str | Path) -> Result:
    """Run a command in this process: an error is raised as it is."""
    runner = CliRunner(env={"LIGHTMEM_EMBED__USE": "hashing"})
    return runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose memory has rows in every table, and a sound backup of it: `backup.zip`."""
    with empty_home() as home:
        with opened(home, compress={"use": "entropy"}) as memory:
            take_into(memory, chat(20))
            take_into(memory, chat(24)[20:], HowToIngest(keep_open=True))
        assert ran("summarize", "--home", home).exit_code == DONE
        assert ran("forget", "m3", "--yes", "--home", home).exit_code == DONE
        with closing(sqlite3.connect(home / HISTORY)) as connection:
            connection.executescript(_ROWS)
            for table in tables():
                assert connection.execute(f"SELECT count(*) FROM {table.name}").fetchone() > (0,), table.name
        assert lightmem("backup", home / "backup.zip", "--home", home).returncode == DONE
        yield home


@pytest.fixture
def good(home: Path) -> Iterator[tuple[Path, list[str]]]:
    """A home with another memory, and its canonical state; at the end it is still that, and goes on."""
    take(home, chat(12, word="stork"))
    before = exported(home)
    yield home, before
    assert exported(home) == before
    assert [path.name for path in (home / "profiles").iterdir()] == ["default"]
    assert ran("ingest", write(home / "more.jsonl", chat(13, word="stork")), "--home", home).exit_code == DONE
    assert len(exported(home)) > len(before)


def exported(home: Path) -> list[str]:
    return ran("export", "--state", "--home", home).stdout.splitlines()


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def repacked(home: Path, target: Path, *statements: str, **said: object) -> Path:
    """The backup in `home` with its history changed past all that guards it, and its checksums right again."""
    with zipfile.ZipFile(home / "backup.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    history = target.with_suffix(".db")
    history.write_bytes(members["history.db"])
    assert not statements or damage(history, *statements) > 0
    return packed(target, members["profile.toml"], history.read_bytes(), json.loads(members["manifest.json"]) | said)


def packed(target: Path, settings: bytes, history: bytes, manifest: dict[str, object]) -> Path:
    members = {"profile.toml": settings, "history.db": history}
    files = {name: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in members.items()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr("manifest.json", json.dumps(manifest | {"files": files}))
    return target


# Cells that nothing can read -----------------------------------------------------------------------------------------

NOT_FINITE = "CAST(zeroblob(length(embedding) - 2) || x'007c' AS BLOB)"
BAD = {  # what is said of it: the statement
    "entries row 5: said_at 'x' is not a time": "UPDATE entries SET said_at = 'x' WHERE id = 5",
    "entries row 5: keywords 'x' is not a list of names": "UPDATE entries SET keywords = 'x' WHERE id = 5",
    "entries row 5: state 'x' is not a state": "UPDATE entries SET state = 'x' WHERE id = 5",
    "vectors row 5: embedding": "UPDATE vectors SET embedding = x'00' WHERE id = 5",
    "messages row 5: role 'x' is not a role": "UPDATE messages SET role = 'x' WHERE id = 5",
    "profile: uuid is missing": "DELETE FROM profile",
    "entries row 5: text b'\\xff' is not text in UTF-8": "UPDATE entries SET text = CAST(x'ff' AS TEXT) WHERE id = 5",
    "entries row 5: text is missing": "UPDATE entries SET text = NULL WHERE id = 5",
    "entries row 5: entities": "UPDATE entries SET entities = '[1]' WHERE id = 5",
    "entries row 6: keywords": f"UPDATE entries SET keywords = '{'[' * 100_000}' WHERE id = 6",
    "entries row 5: kind": "UPDATE entries SET kind = 'x' WHERE id = 5",
    "entries row 5: birth b'\\x00' is not 16 bytes": "UPDATE entries SET birth = x'00' WHERE id = 5",
    "entries row 5: importance inf is not finite": "UPDATE entries SET importance = 9e999 WHERE id = 5",
    "entries row 5: version": "UPDATE entries SET version = 9223372036854775807 WHERE id = 5",
    "entries row 5: said_epoch": "UPDATE entries SET said_epoch = 1.5 WHERE id = 5",
    "entries row 5: happened_to": "UPDATE entries SET happened_from = '2024-01-01T00:00:00+00:00' WHERE id = 5",
    "entries row 5: valid_until": "UPDATE entries SET valid_until = '2024-01-01' WHERE id = 5",
    "entries row 5: run 99 points to a missing row of runs": "UPDATE entries SET run = 99 WHERE id = 5",
    "messages row 5: said_at": "UPDATE messages SET said_at = '2024-13-01T10:00:00Z' WHERE id = 5",
    "messages row 5: content b'x' is not text": "UPDATE messages SET content = x'78' WHERE id = 5",
    "messages row 5: position 'x' is not a whole number": "UPDATE messages SET position = 'x' WHERE id = 5",
    "messages row 5: position 9223372036854775807": "UPDATE messages SET position = 9223372036854775807 WHERE id = 5",
    "messages row 5: turn": "UPDATE messages SET turn = 9999 WHERE id = 5",
    "messages row 5: identified_by": "UPDATE messages SET identified_by = 'luck' WHERE id = 5",
    "runs row 1: started_at": "UPDATE runs SET started_at = '2026-12-01T07:01:17.302+00-00' WHERE id = 1",
    "segments row 1: first": "UPDATE segments SET first = 999 WHERE id = 1",
    "segments row 1: score": "UPDATE segments SET score = 'x' WHERE id = 1",
    "sources row 1, 1: born": "UPDATE sources SET born = 'x' WHERE entry = 1",
    "sources row 1, 999: message 999 points": "UPDATE sources SET message = 999 WHERE entry = 1",
    "links row": "UPDATE links SET kind = 'x' WHERE kind = 'summarizes'",
    "spaces row 1: dimension": "UPDATE spaces SET dimension = 0",
    "spaces: active": "UPDATE spaces SET active = 0",
    "vectors row 5: embedding b'": f"UPDATE vectors SET embedding = {NOT_FINITE} WHERE id = 5",
    "vectors row 5: embedding '": "UPDATE vectors SET embedding = zeroblob(62) || 'xx' WHERE id = 5",
    "vectors row 5: space": "UPDATE vectors SET space = 9 WHERE id = 5",
    "vectors row 5: text_hash": "UPDATE vectors SET text_hash = x'00' WHERE id = 5",
    "views row": "UPDATE views SET vector = 99999 WHERE entry = 1",
    "leases row 7: started": "UPDATE leases SET started = 'x'",
    "jobs row": "UPDATE jobs SET stage = 'x'",
    "revisions row 1: before": "UPDATE revisions SET before = '[]' WHERE id = 1",
    "revisions row 1: after": """UPDATE revisions SET after = '{"state": "x"}' WHERE id = 1""",
    "revisions row 1: after has sources": """UPDATE revisions SET after = '{"sources": [[999, 1]]}' WHERE id = 1""",
    "revisions row 1: recorded_at": "UPDATE revisions SET recorded_at = 'x' WHERE id = 1",
    "changes row 1: what": "UPDATE changes SET what = 'x' WHERE position = 1",
    "sqlite_sequence row 'changes': seq": "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "model_calls row 5: prompt_tokens": "UPDATE model_calls SET prompt_tokens = -1",
    "model_calls row 5: seconds": "UPDATE model_calls SET seconds = 'x'",
    "compressed row 1: kept": "UPDATE compressed SET kept = 2.0 WHERE message = 1",
    "model_inputs row 5, 999: message": "UPDATE model_inputs SET message = 999",
    "judged row 1, 2: said": "UPDATE judged SET said = 'x'",
    "profile row 'update.taken': value": "UPDATE profile SET value = 'x' WHERE key = 'update.taken'",
    "migrations row 2: name": "UPDATE migrations SET name = x'00' WHERE number = 2",
}


@pytest.mark.parametrize("said", BAD)
def test_a_backup_with_one_bad_cell_changes_nothing(
    full: Path, good: tuple[Path, list[str]], tmp_path: Path, said: str
) -> None:
    bad = repacked(full, tmp_path / "bad.zip", BAD[said])
    with pytest.raises(InputError) as refused:
        ran("restore", bad, "default", "--yes", "--home", good[0])
    assert refused.value.exit_code == INPUT
    assert f"bad.zip was damaged: {said}" in refused.value.message
    assert refused.value.message.isprintable()


def test_the_command_names_the_row_in_one_line(full: Path, good: tuple[Path, list[str]], tmp_path: Path) -> None:
    bad = repacked(full, tmp_path / "bad.zip", "UPDATE entries SET said_at = 'x' WHERE id = 5")
    done = lightmem("restore", bad, "default", "--yes", "--home", good[0])
    assert (done.returncode, done.stdout) == (INPUT, b"")
    assert done.stderr.decode().splitlines() == [
        f"lightmem: {bad} was damaged: entries row 5: said_at 'x' is not a time",
        "  hint: try another backup",
    ]


MISTYPED = ("x'00'", "'x'", "CAST(x'ff88' AS TEXT)", "1.5", "7", "NULL")  # of at least five no column is


def test_no_cell_of_another_type_is_let_pass(full: Path, tmp_path: Path) -> None:
    """Every column of every table, each with values of every type.

    Harmless is what SQLite makes of the column's own type as it is written: a number in a column of text becomes text.
    """
    history = copied(full, tmp_path)
    tried = 0
    with unguarded(history) as connection:
        assert found_in(connection) == []
        for table in tables():
            for column in table.columns:
                for value in MISTYPED:
                    tried += refused_if_mistyped(
                        connection, table.name, column.name, column.type, column.required, value
                    )
    assert tried > 300


def refused_if_mistyped(
    connection: sqlite3.Connection, table: str, column: str, type: str, required: bool, value: str
) -> int:
    """1 where the value was of another type and refused; 0 where it cannot be written, or is of the column's own."""
    wanted = {"INTEGER": "integer", "REAL": "real", "TEXT": "text", "BLOB": "blob"}[type]
    connection.execute("BEGIN")
    try:
        key = f"(SELECT {column} FROM {table} LIMIT 1)"
        connection.execute(f"UPDATE OR FAIL {table} SET {column} = {value} WHERE {column} IS {key}")
        kinds = {kind for (kind,) in connection.execute(f"SELECT typeof({column}) FROM {table}")}
        undecodable = "ff88" in value and "text" in kinds
        if kinds <= {wanted, *(() if required else ("null",))} and not (wanted == "text" and undecodable):
            return 0
        found = found_in(connection)
        assert [one for one in found if (one.table, one.column) == (table, column)], (table, column, value, found)
        return 1
    except sqlite3.IntegrityError:  # the key of a row, or what has to be unique
        return 0
    finally:
        connection.execute("ROLLBACK")


def found_in(connection: sqlite3.Connection) -> list[BadCell]:
    return read_through(connection, most=50, progress=quiet)


def copied(home: Path, folder: Path) -> Path:
    """The history in the backup of `home`."""
    with zipfile.ZipFile(home / "backup.zip") as archive:
        return Path(archive.extract("history.db", folder))


def test_doctor_reports_what_restore_refuses(full: Path, tmp_path: Path) -> None:
    """Every bad cell is said, or was mended, and never is a traceback."""
    for said, statement in BAD.items():
        with empty_home() as home:
            shutil.copytree(full / "profiles", home / "profiles")
            assert damage(home / HISTORY, statement) > 0
            try:
                with opened(home, compress={"use": "entropy"}) as memory:
                    findings = deep(memory, progress=quiet)
            except LightmemError as error:
                assert error.exit_code == STORE, said
                continue
            assert any(one.mended or not one.well for one in findings), said
            with opened(home, compress={"use": "entropy"}) as memory:
                left = found_in(memory.history.connection)
            assert left == [] or any(not one.well for one in findings), (said, left)


# Schemas that are not ours --------------------------------------------------------------------------------------------

SCHEMAS = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END",
    "a view": "CREATE VIEW v AS SELECT * FROM runs",
    "another table": "CREATE TABLE more (id)",
    "a virtual table": "CREATE VIRTUAL TABLE more USING fts5(text)",
    "another column": "ALTER TABLE entries ADD COLUMN more TEXT",
    "a generated column": "ALTER TABLE entries ADD COLUMN more AS (hex(zeroblob(1000)))",
    "a column less": "ALTER TABLE entries DROP COLUMN agent",
    "a renamed column": "ALTER TABLE entries RENAME COLUMN agent TO actor",
    "an index less": "DROP INDEX entries_by_kind",
    "a check": "ALTER TABLE leases ADD COLUMN more TEXT CHECK (pid > 0)",
    "no keys": "CREATE TABLE n AS SELECT * FROM links; DROP TABLE links; ALTER TABLE n RENAME TO links",
    "a trigger under a table's name": """PRAGMA writable_schema = ON;
UPDATE sqlite_master SET rowid = rowid + 1000 WHERE tbl_name = 'judged';
INSERT INTO sqlite_master (rowid, type, name, tbl_name, rootpage, sql) VALUES (900, 'table', 'judged', 'judged', 0,
'CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END')""",
    "an older version's number": "DELETE FROM migrations WHERE number > 2",
    "no version": "DELETE FROM migrations",
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_another_schema_is_refused_before_anything_of_it_runs(
    full: Path, good: tuple[Path, list[str]], tmp_path: Path, name: str
) -> None:
    with zipfile.ZipFile(full / "backup.zip") as archive:
        settings, manifest = archive.read("profile.toml"), json.loads(archive.read("manifest.json"))
    history = copied(full, tmp_path)
    with closing(sqlite3.connect(history)) as connection:
        connection.executescript(SCHEMAS[name])
    bad = packed(tmp_path / "bad.zip", settings, history.read_bytes(), manifest)
    with pytest.raises(InputError, match=r"bad.zip was damaged: (it|malformed)"):
        ran("restore", bad, "default", "--yes", "--home", good[0])


def test_indexes_of_somebodys_own_are_dropped(full: Path, home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(full / "backup.zip") as archive:
        settings, manifest = archive.read("profile.toml"), json.loads(archive.read("manifest.json"))
    history = copied(full, tmp_path)
    with closing(sqlite3.connect(history)) as connection:
        connection.executescript("ANALYZE; CREATE UNIQUE INDEX mine ON entries (hex(name))")
    restored = packed(tmp_path / "own.zip", settings, history.read_bytes(), manifest)
    assert ran("restore", restored, "--home", home).exit_code == DONE
    with closing(sqlite3.connect(home / HISTORY)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert not names & {"mine", "sqlite_stat1"}


def test_pages_of_another_size_are_no_obstacle(full: Path, home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(full / "backup.zip") as archive:
        settings, manifest = archive.read("profile.toml"), json.loads(archive.read("manifest.json"))
    history = copied(full, tmp_path)
    with closing(sqlite3.connect(history)) as connection:
        connection.executescript("PRAGMA journal_mode = DELETE; PRAGMA page_size = 16384; VACUUM")
    take(home, chat(3, word="stork"))
    other = packed(tmp_path / "other.zip", settings, history.read_bytes(), manifest)
    assert ran("restore", other, "--yes", "--home", home).exit_code == DONE
    assert exported(home) == exported(full)


@pytest.mark.parametrize("version", range(1, len(migrations.MIGRATIONS) + 1))
def test_a_backup_of_every_version_is_restored(full: Path, home: Path, tmp_path: Path, version: int) -> None:
    """With the rows that were there then, written again into the tables of that version."""
    history, source = tmp_path / "old.db", copied(full, tmp_path)
    with closing(sqlite3.connect(history, isolation_level=None)) as connection:
        migrations.migrate(connection, to=version)
        connection.execute("DELETE FROM profile")
        connection.execute("ATTACH ? AS today", (str(source),))
        for (table,) in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
            if table in ("migrations", "sqlite_sequence"):
                continue
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            where = "WHERE stage IN ('embed', 'extract')" if table == "jobs" else ""
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table} {where}")
    with zipfile.ZipFile(full / "backup.zip") as archive:
        settings, manifest = archive.read("profile.toml"), json.loads(archive.read("manifest.json"))
    old = packed(tmp_path / "old.zip", settings, history.read_bytes(), manifest)
    assert ran("restore", old, "--home", home).exit_code == DONE
    assert exported(home) == exported(full)
    assert ran("doctor", "--home", home).exit_code in (DONE, 5)  # 5: what was quarantined, is
    bad = tmp_path / "bad.zip"
    assert damage(history, "UPDATE entries SET state = 'x' WHERE id = 5") == 1
    packed(bad, settings, history.read_bytes(), manifest)
    with pytest.raises(InputError, match=r"entries row 5: state 'x'"):
        ran("restore", bad, "default", "--yes", "--home", home)


# Damaged archives ----------------------------------------------------------------------------------------------------


def refusal(path: Path, home: Path) -> LightmemError | None:
    try:
        with unpacked(path, named=path.name, home=home, progress=quiet):
            return None
    except LightmemError as error:
        return error


def test_a_backup_cut_anywhere_is_refused(full: Path, good: tuple[Path, list[str]], tmp_path: Path) -> None:
    whole, cut = (full / "backup.zip").read_bytes(), tmp_path / "cut.zip"
    for part in range(60):
        cut.write_bytes(whole[: len(whole) * part // 60])
        error = refusal(cut, good[0])
        assert isinstance(error, InputError), part
    for bytes_less in range(1, 60):
        cut.write_bytes(whole[:-bytes_less])
        assert isinstance(refusal(cut, good[0]), InputError), bytes_less


def test_a_bit_flipped_in_what_zip_says_is_noticed_or_does_no_harm(
    full: Path, good: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """The directory and the head of each member, bit by bit: what is let pass is what was packed."""
    whole, bad = (full / "backup.zip").read_bytes(), tmp_path / "bad.zip"
    with zipfile.ZipFile(full / "backup.zip") as archive:
        heads = [at for info in archive.infolist() for at in range(info.header_offset, info.header_offset + 30)]
        history = archive.read("history.db")
        places = [*heads, *range(archive.start_dir, len(whole))]
    assert len(places) > 200
    for at in places:
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        bad.write_bytes(data)
        try:
            backup = backups.archive.unpack(bad, empty(tmp_path / "into"), named="bad.zip", progress=quiet)
        except InputError:
            continue
        assert backup.messages == 24
        assert (tmp_path / "into" / "history.db").read_bytes() == history


def empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def test_odd_archives_are_refused(full: Path, good: tuple[Path, list[str]], tmp_path: Path) -> None:
    odd = tmp_path / "odd.zip"
    with zipfile.ZipFile(full / "backup.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(odd, "w"):
        pass
    assert isinstance(refusal(odd, good[0]), InputError)
    for twice in members:
        with zipfile.ZipFile(odd, "w", zipfile.ZIP_DEFLATED) as archive, pytest.warns(UserWarning, match="Duplicate"):
            for name in (*members, twice):
                archive.writestr(name, members[name])
        error = refusal(odd, good[0])
        assert isinstance(error, InputError) and "more than once" in error.message
    for bomb in members:
        with zipfile.ZipFile(odd, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data if name != bomb else b"\0" * 60_000_000)
        assert isinstance(refusal(odd, good[0]), InputError)
    for counted in ("messages", "entries"):
        for count in (-1, 0, 25, 1 << 70):
            error = refusal(repacked(full, odd, **{counted: count}), good[0])
            assert isinstance(error, InputError) and counted in error.message


# Between the steps ---------------------------------------------------------------------------------------------------

STEPS = (
    "lightmem_cli.engine.backup.await_history",
    "lightmem_cli.engine.backup.put_in_place",
    "lightmem_cli.engine.backup.settle_restored",
    "lightmem_cli.profiles.write_file",
    "shutil.rmtree",
    "lightmem_cli.engine.indexes.Indexes.rebuild",
)


def put(source: Path, home: Path, *, step: str, when: str) -> bool:
    """Restore, dying before or after `step`; whether it was reached."""
    module, _, name = step.rpartition(".")
    reached = []

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            reached.append(step)
            if when == "after":
                real(*arguments, **options)
            raise Killed

        return call

    with unpacked(source, named="x", home=home, progress=quiet) as backup, pytest.MonkeyPatch.context() as patch:
        real = getattr(
            pytest.importorskip(module) if module != "lightmem_cli.engine.indexes.Indexes" else _indexes(), name
        )
        patch.setattr(step, dying(real))
        if step != STEPS[2]:  # a process that is killed does not clean up
            patch.setattr("lightmem_cli.engine.backup.settle_restored", _no_cleaning(backups.settle_restored))
        with pytest.raises(Killed):
            backup.put("default", home=home, notice=quiet)
    return bool(reached)


def _indexes() -> type:
    from lightmem_cli.engine.indexes import Indexes

    return Indexes


def _no_cleaning(real: Callable[..., None]) -> Callable[..., None]:
    return lambda folder, last=False: real(folder)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_restore_that_dies_anywhere_leaves_the_old_or_the_new_with_its_settings(
    full: Path, tmp_path: Path, step: str, when: str
) -> None:
    with zipfile.ZipFile(full / "backup.zip") as archive:
        settings, manifest = archive.read("profile.toml"), json.loads(archive.read("manifest.json"))
    other = settings.replace(b"limit = 20", b"limit = 7")
    assert other != settings
    source = packed(tmp_path / "x.zip", other, copied(full, tmp_path).read_bytes(), manifest)
    with empty_home() as home:
        take(home, chat(3, word="stork"))
        old = kept(home).state
        assert put(source, home, step=step, when=when)
        limit = open_profile("default", home=home).settings.retrieve.limit
        state = kept(home).state
        assert (state, limit) in ((old, 20), (kept(full).state, 7))
        assert ran("retrieve", "heron or stork", "--home", home).exit_code == DONE
        assert ran("restore", source, "default", "--yes", "--home", home).exit_code == DONE
        assert kept(home).state == kept(full).state
        assert not list((home / "profiles" / "default").glob(".restored*"))


def test_indexes_that_cannot_be_made_are_no_reason_to_say_it_failed(
    full: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightmem_cli.errors import StoreError

    def no_space(*_: object, **__: object) -> None:
        raise StoreError("no space left")

    take(home, chat(3, word="stork"))
    with monkeypatch.context() as patch:
        patch.setattr(_indexes(), "rebuild", no_space)
        done = ran("restore", full / "backup.zip", "--yes", "--home", home)
    assert done.exit_code == DONE and "indexes are not made yet: no space left" in done.stderr
    assert exported(home) == exported(full)
    assert "number 7" in ran("retrieve", "heron number 7", "--limit", "1", "--home", home).stdout


def test_settings_that_name_a_missing_embedder_are_restored_all_the_same(
    full: Path, home: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(full / "backup.zip") as archive:
        settings, manifest = archive.read("profile.toml"), json.loads(archive.read("manifest.json"))
    other = settings.replace(b'use = "onnx"', b'use = "sentence-transformers"')
    assert other != settings
    source = packed(tmp_path / "x.zip", other, copied(full, tmp_path).read_bytes(), manifest)
    assert ran("restore", source, "--home", home).exit_code == DONE
    assert exported(home) == exported(full)
