"""A backup holds one moment of a memory and nothing that was erased; what is restored from it is that memory again."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from memories import Kept, empty_home, kept, line, opened, take, take_into
from process import COMMAND, environment, lightmem, lines_of, start
from typer.testing import CliRunner, Result

from lightmem_cli.cli import app
from lightmem_cli.engine.backup import unpacked
from lightmem_cli.engine.deep import deep
from lightmem_cli.errors import InputError, LightmemError, ProfileBusy, ProfileError, StoreError
from lightmem_cli.profiles import list_profiles
from lightmem_cli.store import migrations
from lightmem_cli.store.history import History
from lightmem_cli.store.locks import exclusive

len_of = [].append  # who does not look at the progress
DONE, INPUT, STORE, BUSY = 0, 2, 3, 75
SECRET = "xylophonist"


def chat(count: int, *, word: str = "heron") -> list[bytes]:
    return [
        line(
            session=f"s{n // 20}", id=f"m{n}", speaker="Anna", content=f"I saw {word} number {n} by the mill on Monday."
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose profile `default` remembers something, and a backup of it: `backup.zip`."""
    with empty_home() as home:
        with opened(home, compress={"use": "entropy"}) as memory:
            take_into(memory, chat(30))
        assert len(kept(home).shortened) == 30
        made = lightmem("backup", home / "backup.zip", "--home", home)
        assert made.returncode == DONE, made.stderr
        yield home


@pytest.fixture
def source(lived: Path) -> Path:
    return lived / "backup.zip"


def ran(*arguments: str | Path) -> Result:
    """Run a command in this process: quicker, and an error is raised as it is."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def state(home: Path, name: str = "default") -> Kept:
    if name == "default":
        return kept(home)
    folder = home / "profiles"
    with empty_home() as other:
        shutil.copytree(folder / name, other / "profiles" / "default")
        return kept(other)


def is_well(home: Path, *, indexed: bool = True) -> bool:
    """Whether nothing is to be mended; where it is not `indexed` yet, once the next command has done that."""
    with opened(home) as memory:
        if not indexed:
            memory.indexes.catch_up(space=memory.history.vectors.active_space())
        return all(one.well and not one.mended for one in deep(memory, progress=lambda rows: None))


def test_what_is_restored_is_the_same_memory(lived: Path, source: Path, home: Path) -> None:
    made = lightmem("restore", source, "--home", home)
    assert made.returncode == DONE, made.stderr
    assert "restored profile default: 30 messages" in made.stderr.decode() and made.stdout == b""
    assert state(home) == state(lived)
    profile, of = home / "profiles" / "default", lived / "profiles" / "default"
    assert (profile / "profile.toml").read_text() == (of / "profile.toml").read_text()
    assert stat.S_IMODE(profile.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in profile.rglob("*") if file.is_file()} == {0o600}
    assert [path.name for path in (home / "profiles").iterdir()] == ["default"]
    with opened(home, reader=True) as memory:  # its indexes were made at once
        active = memory.history.vectors.active_space()
        assert active is not None
        current = memory.history.runs.position()
        assert memory.indexes.words.position == memory.indexes.vectors(active[1]).position == current
    assert is_well(home)
    found = lightmem("retrieve", "Who saw heron number 7?", "--home", home, "--limit", "1")
    assert "number 7" in found.stdout.decode()


def test_it_gets_the_name_that_is_asked_for(lived: Path, source: Path, home: Path) -> None:
    for arguments, name in ([["-p", "play"], "play"], [["work", "-p", "x"], "work"]):
        told = json.loads(ran("restore", source, *arguments, "--home", home, "--json").stdout)
        assert told == {
            "profile": name,
            "folder": str(home / "profiles" / name),
            "messages": 30,
            "entries": told["entries"],
            "replaced": 0,
        }
        assert state(home, name) == state(lived)
    with pytest.raises(ProfileError):
        ran("restore", source, "../out", "--home", home)
    assert not (home / "out").exists()
    assert list_profiles(home) == ["play", "work"]


def test_a_pipe_carries_a_backup(lived: Path, home: Path) -> None:
    made = lightmem("backup", "-", "--home", lived)
    assert made.returncode == DONE and "backed up profile default to stdout" in made.stderr.decode()
    assert zipfile.ZipFile(io.BytesIO(made.stdout)).testzip() is None
    restored = lightmem("restore", "-", "copy", "--home", home, feed=made.stdout)
    assert restored.returncode == DONE, restored.stderr
    assert state(home, "copy") == state(lived)


def test_stdout_is_one_thing_and_no_terminal(lived: Path) -> None:
    both = lightmem("backup", "-", "--json", "--home", lived)
    assert (both.returncode, both.stdout) == (INPUT, b"")
    leader, terminal = pty.openpty()
    run = subprocess.Popen(
        [*COMMAND, "backup", "-", "--home", lived], stdout=terminal, stderr=subprocess.PIPE, env=environment()
    )
    _, said = run.communicate(timeout=60)
    os.close(terminal)
    os.close(leader)
    assert run.returncode == INPUT and b"terminal" in said
    reader, writer = os.pipe()
    os.close(reader)
    closed = lightmem("backup", "-", "--home", lived, stdout=writer)
    os.close(writer)
    assert closed.returncode == DONE and b"Traceback" not in closed.stderr and b"lightmem: " not in closed.stderr


def test_a_backup_says_what_it_is(lived: Path, tmp_path: Path) -> None:
    file = tmp_path / "memory.zip"
    told = json.loads(ran("backup", file, "--home", lived, "--json").stdout)
    assert told == {"file": str(file), "bytes": file.stat().st_size, "messages": 30, "entries": told["entries"]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with zipfile.ZipFile(file) as archive:
        assert sorted(archive.namelist()) == ["history.db", "manifest.json", "profile.toml"]
        manifest = json.loads(archive.read("manifest.json"))
        for name, packed in manifest["files"].items():
            data = archive.read(name)
            assert packed == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    assert (manifest["format"], manifest["profile"], manifest["messages"]) == (1, "default", 30)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["memory.zip"]


def test_what_is_there_is_not_overwritten(lived: Path, tmp_path: Path) -> None:
    file = tmp_path / "memory.zip"
    file.write_text("mine")
    refused = lightmem("backup", file, "--home", lived)
    assert refused.returncode == INPUT and b"--force" in refused.stderr
    assert file.read_text() == "mine"
    assert ran("backup", file, "--force", "--home", lived).exit_code == DONE
    assert zipfile.is_zipfile(file)
    inside = lived / "profiles" / "default" / "memory.zip"
    for bad in (tmp_path, tmp_path / "nowhere" / "memory.zip", inside, Path(os.devnull)):
        with pytest.raises(InputError):
            ran("backup", bad, "--force", "--home", lived)
    assert not inside.exists()


def test_no_erased_word_is_in_a_backup(tmp_path: Path) -> None:
    with empty_home() as home:
        take(home, [*chat(200), line(session="x", id="x", content=f"The {SECRET} plays on Friday.")])
        take(home, chat(300, word=SECRET)[200:])
        history = home / "profiles" / "default" / "history.db"
        with closing(sqlite3.connect(history, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = OFF")
            connection.execute("PRAGMA foreign_keys = OFF")
            doomed = f"(SELECT id FROM messages WHERE content LIKE '%{SECRET}%')"
            for table, column in (("entries", "id"), ("views", "entry")):
                rests = f"(SELECT entry FROM sources WHERE message IN {doomed})"
                connection.execute(f"DELETE FROM {table} WHERE {column} IN {rests}")
            connection.execute(f"DELETE FROM jobs WHERE item IN {doomed}")
            connection.execute(f"DELETE FROM segments WHERE last IN {doomed} OR first IN {doomed}")
            connection.execute(f"DELETE FROM sources WHERE message IN {doomed}")
            connection.execute(f"DELETE FROM messages WHERE content LIKE '%{SECRET}%'")
        raw = b"".join(path.read_bytes() for path in history.parent.glob("history.db*"))
        assert SECRET.encode() in raw, "SQLite has erased it by itself: this shows nothing"
        file = tmp_path / "memory.zip"
        assert ran("backup", file, "--home", home).exit_code == DONE
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            assert SECRET.encode() not in archive.read(name), name


def test_backups_while_another_process_writes_are_of_one_moment(home: Path, tmp_path: Path) -> None:
    lines = chat(240)
    writer = start("ingest", "-", "--home", home, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert writer.stdin is not None
    counts = []
    for at in range(0, len(lines), 80):
        writer.stdin.write(b"".join(lines[at : at + 80]))
        writer.stdin.flush()
        file = tmp_path / f"memory{at}.zip"
        made = lightmem("backup", file, "--home", home, "--json")
        assert made.returncode == DONE, made.stderr
        counts.append(json.loads(made.stdout)["messages"])
    assert writer.poll() is None, "the writer has ended: this shows nothing"
    writer.stdin.close()
    assert writer.wait(timeout=120) == DONE
    assert counts == sorted(counts)
    for at in (0, 80):
        with empty_home() as other:
            assert ran("restore", tmp_path / f"memory{at}.zip", "--home", other).exit_code == DONE
            with closing(History(other / "profiles" / "default" / "history.db")) as history:
                assert history.connection.execute("SELECT count(*) FROM leases").fetchone() == (
                    0,
                )  # of the writer, which never wrote here
            take(other, lines)
            assert state(other).state == state(home).state
            assert is_well(other)


def test_replacing_asks_first(lived: Path, source: Path, home: Path) -> None:
    take(home, chat(3, word="stork"))
    before = state(home)
    refused = lightmem("restore", source, "--home", home)
    assert refused.returncode == INPUT and b"--yes" in refused.stderr
    assert state(home) == before
    made = lightmem("restore", source, "--yes", "--home", home, "--json")
    assert made.returncode == DONE, made.stderr
    assert json.loads(made.stdout)["replaced"] == 3
    assert state(home) == state(lived)
    assert is_well(home)
    left = [path for path in (home / "profiles" / "default").rglob("*") if path.is_file()]
    assert not [path for path in left if b"stork" in path.read_bytes()]


def test_an_empty_profile_is_filled_without_a_question(lived: Path, source: Path, home: Path) -> None:
    assert ran("init", "work", "--home", home).exit_code == DONE
    settings = home / "profiles" / "work" / "profile.toml"
    settings.write_text(settings.read_text().replace("limit = 20", "limit = 7"))
    assert ran("restore", source, "work", "--home", home).exit_code == DONE
    assert state(home, "work") == state(lived)
    assert "limit = 20" in settings.read_text()


@pytest.mark.parametrize("kind", ["garbage", "newer", "middle"])
def test_a_damaged_memory_can_be_replaced(lived: Path, source: Path, home: Path, kind: str) -> None:
    take(home, chat(60, word="stork"))
    history = home / "profiles" / "default" / "history.db"
    if kind == "garbage":
        history.write_bytes(b"garbage" * 5_000)
    elif kind == "middle":
        data = bytearray(history.read_bytes())
        data[8192:-8192] = b"\x07" * (len(data) - 16384)
        history.write_bytes(data)
    else:
        with closing(sqlite3.connect(history, isolation_level=None)) as connection:
            connection.execute("INSERT INTO migrations VALUES (99, 'm099_later', '')")
    with pytest.raises(InputError):
        ran("restore", source, "--home", home)
    assert ran("restore", source, "--yes", "--home", home).exit_code == DONE
    assert state(home) == state(lived)
    assert is_well(home)


def test_who_has_it_open_goes_on_with_what_was_restored(lived: Path, source: Path, home: Path) -> None:
    take(home, chat(3, word="stork"))
    with opened(home) as memory:
        assert memory.history.counts.messages() == 3
        assert len(memory.indexes.words) > 0
        assert lightmem("restore", source, "--yes", "--home", home).returncode == DONE
        assert memory.history.counts.messages() == 30
        assert len(memory.indexes.words) == sum(sum(its.values()) for its in memory.history.counts.entries().values())
    take(home, chat(31))
    assert state(home).state == _state_of(chat(31))


def _state_of(lines: list[bytes]) -> list[dict[str, object]]:
    with empty_home() as home:
        take(home, lines)
        return state(home).state


def test_a_profile_that_is_written_to_is_busy(source: Path, home: Path) -> None:
    writer = start("ingest", "-", "--home", home, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert writer.stdin is not None
    writer.stdin.write(chat(1)[0])
    writer.stdin.flush()
    history = home / "profiles" / "default" / "history.db"
    while True:
        assert writer.poll() is None
        if history.exists():
            with closing(History(history)) as found:
                if found.work.owners():
                    break
        time.sleep(0.02)
    refused = lightmem("restore", source, "--yes", "--home", home)
    assert refused.returncode == BUSY, refused.stderr
    assert str(writer.pid) in refused.stderr.decode()
    writer.stdin.close()
    assert writer.wait(timeout=60) == DONE
    with opened(home) as memory:
        assert memory.history.counts.messages() == 1


def test_one_restore_of_a_profile_at_a_time(source: Path, home: Path) -> None:
    with opened(home) as memory:
        take_into(memory, chat(1))
    lock = home / "profiles" / "default" / "restore.lock"
    with exclusive(lock, wait=0, busy=""), pytest.raises(ProfileBusy, match="another process restores this profile"):
        ran("restore", source, "--yes", "--home", home)
    with opened(home) as memory:
        assert memory.history.counts.messages() == 1
    assert ran("restore", source, "--yes", "--home", home).exit_code == DONE


# Bad backups -------------------------------------------------------------------------------------------------------


def repacked(source: Path, target: Path, change: Callable[[dict[str, bytes], dict[str, object]], None]) -> Path:
    """A copy of a backup with other members, whose manifest is right about them but for what `change` changes."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(members, manifest)
    for name, packed in manifest.get("files", {}).items():
        if name in members and packed == {"bytes": 0, "sha256": ""}:
            packed |= {"bytes": len(members[name]), "sha256": sha256(members[name]).hexdigest()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        if manifest:
            archive.writestr("manifest.json", json.dumps(manifest))
    return target


def history_with(statement: str) -> Callable[[dict[str, bytes], dict[str, object]], None]:
    def change(members: dict[str, bytes], manifest: dict[str, object]) -> None:
        with empty_home() as folder:
            (folder / "x.db").write_bytes(members["history.db"])
            with closing(sqlite3.connect(folder / "x.db", isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.execute(statement)
                connection.execute("PRAGMA journal_mode = DELETE")
            members["history.db"] = (folder / "x.db").read_bytes()
        manifest["files"]["history.db"] = {"bytes": 0, "sha256": ""}  # type: ignore[index]

    return change


def member(name: str, data: bytes) -> Callable[[dict[str, bytes], dict[str, object]], None]:
    """Another member, and a manifest that speaks of it."""

    def change(members: dict[str, bytes], manifest: dict[str, object]) -> None:
        members[name] = data
        manifest["files"][name] = {"bytes": 0, "sha256": ""}  # type: ignore[index]

    return change


def stealthily(name: str, data: bytes) -> Callable[[dict[str, bytes], dict[str, object]], None]:
    return lambda members, manifest: members.update({name: data})


BAD: dict[str, tuple[int, str, Callable[[dict[str, bytes], dict[str, object]], None]]] = {
    "no history": (INPUT, "no history.db", lambda members, manifest: members.pop("history.db") and None),
    "no manifest": (INPUT, "no manifest.json", lambda members, manifest: manifest.clear()),
    "a manifest of another kind": (INPUT, "manifest", lambda members, manifest: manifest.pop("files") and None),
    "a manifest with odd numbers": (INPUT, "manifest", lambda members, manifest: manifest.update(messages="many")),
    "an older format": (INPUT, "manifest", lambda members, manifest: manifest.update(format=0)),
    "a newer format": (STORE, "newer lightmem", lambda members, manifest: manifest.update(format=2)),
    "other bytes": (INPUT, "not what was packed", stealthily("profile.toml", b"version = 1\n".ljust(2103))),
    "a longer member": (INPUT, "larger than its manifest", stealthily("history.db", b"\0" * 50_000_000)),
    "other counts": (INPUT, "does not hold", lambda members, manifest: manifest.update(messages=31)),
    "too large for any disk": (
        STORE,
        "more than are free",
        lambda members, manifest: manifest["files"]["history.db"].update(bytes=1 << 60),  # type: ignore[index]
    ),
    "large settings": (INPUT, "too large", member("profile.toml", b"#" * 2_000_000)),
    "no TOML": (INPUT, "profile.toml", member("profile.toml", b"[retrieve")),
    "an unknown key": (INPUT, '"limt" in [retrieve]', member("profile.toml", b"[retrieve]\nlimt = 3\n")),
    "no database": (INPUT, "not a database", member("history.db", b"SQLite" * 1_000)),
    "another database": (INPUT, "tables of a history", history_with("DROP TABLE messages")),
    "a missing table": (INPUT, "no table jobs", history_with("DROP TABLE jobs")),
    "a missing column": (INPUT, "its table entries is not", history_with("ALTER TABLE entries DROP COLUMN agent")),
    "a newer history": (STORE, "newer lightmem", history_with("INSERT INTO migrations VALUES (99, 'm', '')")),
    "missing rows": (INPUT, "missing", history_with("DELETE FROM messages WHERE id = 3")),
    "a trigger": (INPUT, "trigger", history_with("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_backup_is_refused_and_changes_nothing(source: Path, home: Path, tmp_path: Path, name: str) -> None:
    code, said, change = BAD[name]
    take(home, chat(2, word="stork"))
    before = state(home)
    bad = repacked(source, tmp_path / "bad.zip", change)
    with pytest.raises(LightmemError) as refused, unpacked(bad, named="bad.zip", home=home, progress=len_of):
        pass
    assert refused.value.exit_code == code
    assert said in refused.value.message
    assert "bad.zip" in refused.value.message or name == "a newer history"
    assert refused.value.hint and str(home) not in refused.value.message
    assert state(home) == before
    assert [path.name for path in (home / "profiles").iterdir()] == ["default"]


def test_what_is_no_zip_file_is_refused(source: Path, home: Path, tmp_path: Path) -> None:
    whole = source.read_bytes()
    for data in (b"", b"mine", whole[:-1], whole[: len(whole) // 2], b"PK\x05\x06" + b"\0" * 18):
        with pytest.raises(InputError), unpacked(io.BytesIO(data), named="stdin", home=home, progress=len_of):
            pass
    (tmp_path / "bad.zip").write_bytes(whole[:-1])
    for name in ("bad.zip", "none.zip"):
        refused = lightmem("restore", tmp_path / name, "--home", home)
        assert refused.returncode == INPUT, refused.stderr
        assert (b"was damaged: File is not a zip file" in refused.stderr) == (name == "bad.zip")
        assert [said.split()[0] for said in lines_of(refused.stderr)] == ["lightmem:", "hint:"]
    assert not list((home / "profiles").iterdir())


def test_flipped_bytes_are_noticed_or_do_no_harm(lived: Path, source: Path, home: Path, tmp_path: Path) -> None:
    whole = source.read_bytes()
    refused, expected = 0, state(lived).state
    for at in range(7, len(whole), len(whole) // 60):
        data = bytearray(whole)
        data[at] ^= 0x15
        (tmp_path / "bad.zip").write_bytes(data)
        try:
            with (
                unpacked(tmp_path / "bad.zip", named="bad.zip", home=home, progress=len_of) as backup,
                closing(History(backup.folder / "history.db")) as history,
            ):
                assert list(history.state.rows()) == expected
        except LightmemError:
            refused += 1
    assert refused > 40


def test_names_in_the_archive_lead_nowhere(source: Path, home: Path, tmp_path: Path) -> None:
    def change(members: dict[str, bytes], manifest: dict[str, object]) -> None:
        members |= {"../evil.txt": b"x", "/tmp/evil.txt": b"x", "words/words.db": b"x"}
        manifest["files"]["../evil.txt"] = {"bytes": 1, "sha256": sha256(b"x").hexdigest()}  # type: ignore[index]

    assert ran("restore", repacked(source, tmp_path / "odd.zip", change), "--home", home).exit_code == DONE
    assert not list(tmp_path.rglob("evil*"))
    assert is_well(home)


def test_a_history_of_the_first_version_is_brought_up(source: Path, home: Path, tmp_path: Path) -> None:
    def change(members: dict[str, bytes], manifest: dict[str, object]) -> None:
        with empty_home() as folder:
            with closing(sqlite3.connect(folder / "x.db", isolation_level=None)) as connection:
                first = migrations.MIGRATIONS[:1]
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(migrations, "MIGRATIONS", first)
                    migrations.migrate(connection)
                connection.execute("INSERT INTO runs VALUES (1, 'ingest', '2024-01-01', '2024-01-01', 'done')")
                connection.execute(
                    "INSERT INTO messages VALUES (1, '', 's', 'm', 0, 'user', NULL, '', NULL, NULL, NULL, NULL,"
                    " 'given', NULL, 1, '2024-01-01')"
                )
            members["history.db"] = (folder / "x.db").read_bytes()
        manifest["files"]["history.db"] = {"bytes": 0, "sha256": ""}  # type: ignore[index]
        manifest |= {"messages": 1, "entries": 0}

    assert ran("restore", repacked(source, tmp_path / "old.zip", change), "--home", home).exit_code == DONE
    assert is_well(home)


def test_a_damaged_memory_makes_no_backup(home: Path, tmp_path: Path) -> None:
    take(home, chat(60))
    history = home / "profiles" / "default" / "history.db"
    data = bytearray(history.read_bytes())
    data[16384:-16384] = b"\x07" * (len(data) - 32768)
    history.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        ran("backup", tmp_path / "memory.zip", "--home", home)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == []


# Kills -------------------------------------------------------------------------------------------------------------


def test_a_killed_restore_leaves_the_old_or_the_new(source: Path, lived: Path, home: Path) -> None:
    take(home, chat(3, word="stork"))
    old, new = state(home).state, state(lived).state
    began = time.monotonic()
    assert lightmem("restore", source, "life", "--home", home).returncode == DONE
    life = time.monotonic() - began
    for share in (0.45, 0.8):
        process = start("restore", source, "default", "--yes", "--home", home, stderr=subprocess.DEVNULL)
        time.sleep(life * share)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert list_profiles(home) == ["default", "life"]
        assert state(home).state in (old, new)
        assert is_well(home, indexed=False)
    assert lightmem("restore", source, "default", "--yes", "--home", home).returncode == DONE
    assert state(home).state == new
    assert sorted(path.name for path in (home / "profiles").iterdir()) == ["default", "life"]


def test_whatever_step_of_a_restore_fails_it_is_the_old_or_the_new(
    source: Path, lived: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that changes a file fails once, as on a full disk; then it is done again."""
    old: list[dict[str, object]] = []
    new = state(lived).state
    names = ["touch", "rename", "replace", "unlink"]
    for number in count(1):
        calls = count(1)

        def failing(real: Callable[..., object], calls: Iterator[int] = calls, number: int = number) -> object:
            def call(*arguments: object, **options: object) -> object:
                if next(calls) == number:
                    raise OSError(28, "No space left on device")
                return real(*arguments, **options)

            return call

        with empty_home() as other:
            take(other, chat(3, word="stork"))
            old = old or state(other).state
            failed = False
            with monkeypatch.context() as patch:
                for name in names:
                    patch.setattr(Path, name, failing(getattr(Path, name)))
                try:
                    with unpacked(source, named="backup.zip", home=other, progress=len_of) as backup:
                        backup.put("default", home=other, notice=len_of)
                except (LightmemError, OSError):
                    failed = True
            assert list_profiles(other) == ["default"]
            assert state(other).state in ((old, new) if failed else (new,))
            assert is_well(other, indexed=False)
        if not failed:
            break
    assert number > 4


def test_leftovers_of_the_dead_are_cleared_and_those_of_the_living_are_not(
    source: Path, home: Path, tmp_path: Path
) -> None:
    from lightmem_cli.engine.backup.staging import staging

    folder = tmp_path / "there"
    folder.mkdir()
    with staging(folder, prefix=".x-") as living:
        (living / "file").write_text("x")
        dead = folder / ".x-dead"
        dead.mkdir()
        (dead / "lock").touch()
        (folder / ".x-young").mkdir()
        (folder / ".new.x-young").mkdir()
        (folder / ".new.x-young" / "lock").touch()  # made, and about to be locked
        (folder / "mine").mkdir()
        with staging(folder, prefix=".x-") as other:
            names = {path.name for path in folder.iterdir()}
            assert names == {living.name, other.name, ".x-young", ".new.x-young", "mine"}
        assert (living / "file").exists()
    assert {path.name for path in folder.iterdir()} == {".x-young", ".new.x-young", "mine"}


def test_a_quiet_backup_says_nothing(lived: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "memory.zip", Path("-")):
        done = lightmem("backup", file, "--quiet", "--home", lived)
        assert (done.returncode, done.stderr) == (DONE, b"")


INTERRUPTED = {
    ("backup", "memory.zip"): ("engine.backup.pack", "nothing was written to memory.zip: run it again"),
    ("doctor", "--deep"): ("engine.deep.deep", "what was mended stays so, and nothing is lost: run it again"),
    ("doctor",): ("engine.doctor.doctor", "what was mended stays so, and nothing is lost: run it again"),
    ("segment",): ("engine.topics.ask_to_close_all", "nothing is lost: run it again"),
    ("extract",): ("engine.pending.work_off", "nothing is lost: run it again"),
    ("reindex",): (
        "engine.care.reindex",
        "the vectors that were are still there, and the same command goes on from there",
    ),
}


@pytest.mark.parametrize("arguments", INTERRUPTED, ids=" ".join)
def test_ctrl_c_says_how_things_are(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    where, said = INTERRUPTED[arguments]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"lightmem_cli.{where}", interrupted)
    done = CliRunner(env={"LIGHTMEM_EMBED__USE": "hashing"}).invoke(app, [*arguments, "--home", str(lived)])
    assert done.exit_code == 130
    assert lines_of(done.stderr_bytes)[0] == f"interrupted; {said}"
    assert list(tmp_path.iterdir()) == [] or arguments[0] != "backup"
