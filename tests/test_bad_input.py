"""Bad input and broken ground: each ends in one line that says what is wrong and how to mend it, and loses nothing."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memories import Answers, Kept, answers, answers_of, empty_home, kept, line, opened, same_answers, take
from process import lightmem, lines_of

from lightmem_cli.engine.ingest import HowToIngest

DONE, INPUT, STORE = 0, 2, 3
FIRST = b'{"id": "1", "session": "s", "speaker": "Anna", "content": "I adopted a greyhound called Biscuit in May."}\n'
SECOND = b'{"id": "2", "session": "s", "speaker": "Boris", "content": "I painted the kitchen yellow last week."}\n'
LAST = b'{"id": "9", "session": "s", "speaker": "Anna", "content": "My brother Carl works as a nurse in Oslo."}\n'
QUESTION = "Who adopted a greyhound?"


def refused(run: subprocess.CompletedProcess[bytes], code: int, *said: str) -> None:
    """One `lightmem: …` line that says all of `said`, one hint, nothing on stdout, and no traceback."""
    errors = run.stderr.decode("utf-8")
    assert run.returncode == code, errors
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if not line.startswith("made profile")]
    assert len(lines) == 2, errors
    assert lines[0].startswith("lightmem: ")
    assert lines[1].startswith("  hint: ") and len(lines[1]) > len("  hint: ")
    for words in said:
        assert words in lines[0], errors
    assert run.stdout == b""


def contents(home: Path) -> list[str]:
    """What the default profile's messages say, in order."""
    return [str(row["content"]) for row in kept(home).state if row["record"] == "message"]


def spoken(*lines: bytes) -> list[str]:
    return [json.loads(row)["content"] for row in lines]


# What cannot be read at all ----------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    refused(lightmem("ingest", tmp_path / "none.jsonl"), INPUT, "none.jsonl", "No such file")
    refused(lightmem("extract", tmp_path / "none.jsonl"), INPUT, "none.jsonl", "No such file")
    refused(lightmem("retrieve", "--queries", tmp_path / "none.jsonl"), INPUT, "none.jsonl", "No such file")


def test_a_directory(tmp_path: Path) -> None:
    refused(lightmem("ingest", tmp_path), INPUT, str(tmp_path), "directory")
    refused(lightmem("retrieve", "--queries", tmp_path), INPUT, str(tmp_path), "directory")


def test_a_rejects_file_that_cannot_be_written(tmp_path: Path) -> None:
    refused(lightmem("ingest", "-", "--on-error", "skip", "--rejects", tmp_path, feed=FIRST), INPUT, str(tmp_path))


@pytest.mark.parametrize("nothing", [b"", b"\n\n  \n", b"\xef\xbb\xbf"], ids=["empty", "blank", "a BOM"])
def test_empty_input_is_no_error(nothing: bytes) -> None:
    run = lightmem("ingest", "-", feed=nothing)
    assert (run.returncode, run.stdout) == (DONE, b"")
    assert len([said for said in lines_of(run.stderr) if not said.startswith("made profile")]) == 1


# One bad line among good ones --------------------------------------------------------------------------------------

BAD_LINES = {
    "invalid JSON": (b'{"content": "half', "invalid JSON"),
    "a list": (b'["content", "I am a list"]', "a list"),
    "a number": (b"42", "a number"),
    "no content": (b'{"role": "user", "id": "3"}', "content is missing"),
    "null content": (b'{"content": null}', "content is null"),
    "content of a wrong type": (b'{"content": {"a": 1}}', "content"),
    "an unknown role": (b'{"content": "hello", "role": "wizard"}', "wizard"),
    "a bad timestamp": (b'{"content": "hello", "timestamp": "the 45th of Maytember"}', "timestamp"),
    "two names that differ": (b'{"content": "hello", "text": "goodbye"}', "different values"),
    "invalid UTF-8": (b'{"content": "caf\xe9"}', "UTF-8"),
    "a NUL byte": (b'{"content": "a\x00b"}', "NUL"),
    "an escaped NUL": (b'{"content": "a\\u0000b"}', "NUL"),
    "half a surrogate pair": (b'{"content": "\\ud83d"}', "surrogate"),
    "deep nesting": (b'{"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "40 MB": (b'{"content": "' + b"x" * 40_000_000 + b'"}', "32 MiB"),
    "the same id with other words": (FIRST.replace(b"greyhound", b"tortoise").strip(), "other words"),
}


@pytest.mark.parametrize("bad, said", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_stops_with_its_place_and_all_before_it_is_kept(
    home: Path, tmp_path: Path, bad: bytes, said: str
) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_bytes(FIRST + SECOND + bad + b"\n" + LAST)
    refused(lightmem("ingest", chat), INPUT, f"{chat}:3: ", said)
    assert contents(home) == spoken(FIRST, SECOND)
    assert kept(home).pending == {}, "what was kept is not findable"


def test_bad_lines_skipped_go_to_the_rejects_and_the_rest_is_kept(home: Path, tmp_path: Path) -> None:
    bad = {name: line for name, line in BAD_LINES.items() if len(line[0]) < 1000}
    chat, rejects = tmp_path / "chat.jsonl", tmp_path / "bad.jsonl"
    chat.write_bytes(FIRST + b"".join(line + b"\n" for line, _ in bad.values()) + SECOND + LAST)
    run = lightmem("ingest", chat, "--on-error", "skip", "--rejects", rejects, "--json")
    assert run.returncode == DONE, run.stderr
    assert json.loads(run.stdout)["rejected"] == len(bad)
    assert "Traceback" not in run.stderr.decode()
    assert contents(home) == spoken(FIRST, SECOND, LAST)
    rows = {row["origin"]: row["reason"] for row in map(json.loads, lines_of(rejects.read_bytes()))}
    assert len(rows) == len(bad)
    for number, (_, said) in enumerate(bad.values(), start=2):
        assert said in rows[f"{chat}:{number}"]


def test_a_rejected_conflict_can_be_ingested_as_it_stands(home: Path, tmp_path: Path) -> None:
    known = line(id="1", session="s", speaker="Anna", timestamp="2023-05-03T10:00:00+02:00", content="One.")
    other = line(id="1", session="s", speaker="Anna", timestamp="2023-05-04T10:00:00+02:00", content="Two.")
    take(home, [known])
    rejects = tmp_path / "bad.jsonl"
    assert lightmem("ingest", "-", "--on-error", "skip", "--rejects", rejects, feed=other).returncode == DONE
    [rejected] = [json.loads(row)["line"] for row in lines_of(rejects.read_bytes())]
    take(home, [rejected.encode() + b"\n"], HowToIngest(on_conflict="replace"))
    [message] = [row for row in kept(home).state if row["record"] == "message"]
    assert (message["content"], message["timestamp"]) == ("Two.", "2023-05-04T10:00:00+02:00")


def test_the_count_of_skipped_lines_is_said() -> None:
    run = lightmem("ingest", "-", "--on-error", "skip", feed=FIRST + b"{\n[]\n" + SECOND)
    assert run.returncode == DONE
    assert "2 rejected" in run.stderr.decode()
    assert run.stdout == b""


def test_what_was_refused_as_a_conflict_can_be_taken_as_a_revision(home: Path) -> None:
    other = FIRST.replace(b"greyhound", b"tortoise")
    take(home, [FIRST, SECOND])
    run = lightmem("ingest", "-", "--on-conflict", "replace", feed=other + SECOND)
    assert (run.returncode, run.stdout) == (DONE, b"")
    assert contents(home) == spoken(other, SECOND)


# Questions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "one QUERY"),
        (["one", "--queries", "-"], "one QUERY"),
        (["   "], "empty question"),
        (["x", "--since", "never"], "--since"),
        (["x", "--as-of", "2024-13-41"], "--as-of"),
    ],
    ids=lambda value: None if isinstance(value, list) else value,
)
def test_a_question_that_cannot_be_asked(arguments: list[str], said: str) -> None:
    refused(lightmem("retrieve", *arguments), INPUT, said)


@pytest.mark.parametrize(
    "row",
    [
        b"{",
        b"[1]",
        b'{"id": 1}',
        b'{"question": 7}',
        b'{"question": " "}',
        b'{"question": "\xff"}',
        b'{"question": "x", "asked_at": "never"}',
    ],
    ids=["JSON", "list", "none", "number", "blank", "UTF-8", "asked_at"],
)
def test_a_bad_row_of_queries(row: bytes) -> None:
    refused(lightmem("retrieve", "--queries", "-", feed=b'{"question": "Who?"}\n' + row + b"\n"), INPUT)


ODD = ['"', "*", "a AND (", "🎸" * 50, "x" * 100_000, "'; DROP TABLE entries", "\0 greyhound", "\ud83d greyhound"]


def test_an_odd_question_is_still_a_question(home: Path) -> None:
    take(home, [FIRST, SECOND])
    rows = b"".join(json.dumps({"question": odd}).encode() + b"\n" for odd in ODD)
    run = lightmem("retrieve", "--queries", "-", "--json", feed=rows)
    assert run.returncode == DONE, run.stderr
    found = [json.loads(row)["hits"] for row in lines_of(run.stdout)]
    assert len(found) == len(ODD)
    assert all("greyhound" in hits[0]["text"] for hits in found[-2:])


def test_an_argument_that_is_not_text(home: Path) -> None:
    take(home, [FIRST])
    refused(lightmem("show", "\udcff"), INPUT, "UTF-8")
    refused(lightmem("retrieve", "x", "--conversation", "\udcff"), INPUT, "UTF-8")
    refused(lightmem("ingest", "-", "--session", "\udcff", feed=b'{"content": "x"}'), INPUT, "UTF-8")
    assert contents(home) == spoken(FIRST)


def test_an_entry_that_is_not_there(home: Path) -> None:
    take(home, [FIRST])
    refused(lightmem("show", "nothing"), INPUT, "nothing")


# Profiles ----------------------------------------------------------------------------------------------------------


def test_an_unknown_profile() -> None:
    assert lightmem("init", "work").returncode == DONE
    for arguments in (["ingest", "-"], ["retrieve", "x"], ["stats"]):
        refused(lightmem(*arguments, "-p", "wrok"), INPUT, "wrok", "did you mean 'work'")


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", "..", "a\\b"])  # test_profiles.py has more
def test_a_profile_name_that_leaves_the_home(home: Path, name: str) -> None:
    refused(lightmem("ingest", "-", "-p", name, feed=FIRST), INPUT, "cannot name a profile")
    assert not home.exists() and not (home.parent / "out").exists()


def test_a_profile_from_a_newer_version(home: Path) -> None:
    take(home, [FIRST])
    settings = home / "profiles" / "default" / "profile.toml"
    known = settings.read_text()
    settings.write_text(re.sub(r"^version = 1$", "version = 99", known, flags=re.MULTILINE))
    refused(lightmem("retrieve", QUESTION), INPUT, "newer")
    settings.write_text(known)
    history = sqlite3.connect(home / "profiles" / "default" / "history.db", isolation_level=None)
    history.execute("INSERT INTO migrations VALUES (999, 'm999_future', '2030-01-01')")
    for arguments in (["retrieve", QUESTION], ["ingest", "-"], ["doctor"]):
        refused(lightmem(*arguments, feed=SECOND), STORE, "newer lightmem")
    history.execute("DELETE FROM migrations WHERE number = 999")
    history.close()
    assert contents(home) == spoken(FIRST)


def test_an_unknown_key_of_the_environment() -> None:
    refused(lightmem("stats", env={"LIGHTMEM_RETRIEVE__LIMMIT": "3"}), INPUT, "limit")


# Where nothing can be written --------------------------------------------------------------------------------------


def test_a_home_under_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    home = tmp_path / "file" / "home"
    for arguments in (["ingest", "-"], ["retrieve", "x"], ["init", "work"]):
        refused(lightmem(*arguments, "--home", home, feed=FIRST), STORE, str(tmp_path / "file"))


def test_a_home_where_no_folder_can_be_made() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc here")
    refused(lightmem("ingest", "-", "--home", "/proc/lightmem", feed=FIRST), STORE, "/proc/lightmem")


@pytest.fixture
def read_only(tmp_path: Path, home: Path) -> Iterator[Path]:
    """A home with FIRST in it that this user, be it root, cannot write to."""
    take(home, [FIRST])
    place = tmp_path / "read-only"
    place.mkdir()
    mount = ["mount", "--bind", "-o", "ro", str(home), str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        if os.geteuid() == 0:
            pytest.skip("root can write anywhere, and nothing can be mounted here")
        for path in (home, *home.rglob("*")):
            path.chmod(0o500 if path.is_dir() else 0o400)
        yield home
        for path in (home, *home.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        return
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], capture_output=True, check=False)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_home_that_cannot_be_written_to(home: Path, read_only: Path) -> None:
    refused(lightmem("ingest", "-", "--home", read_only, feed=SECOND), STORE, str(read_only))
    refused(lightmem("init", "work", "--home", read_only), STORE, str(read_only))
    assert contents(home) == spoken(FIRST)


def long_chat(count: int) -> list[bytes]:
    words = Path(__file__).read_text(encoding="utf-8").split()
    chance = random.Random(7)
    said = [f"I saw {' '.join(chance.choices(words, k=30))} in May." for _ in range(count)]
    return [line(id=f"c{number}", session="s", speaker="Anna", content=text) for number, text in enumerate(said)]


@pytest.fixture(scope="module")
def with_room() -> Iterator[tuple[Kept, Answers]]:
    with empty_home() as room:
        take(room, long_chat(300))
        yield kept(room), answers(room)


@pytest.mark.parametrize("kilobytes", [0, 8, 64, 150, 400, 900])
def test_a_full_disk_and_then_room_again(home: Path, kilobytes: int, with_room: tuple[Kept, Answers]) -> None:
    """No file may grow beyond the limit, as where the disk is full; with room again, the same command mends all."""
    chat = long_chat(300)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, resource.RLIM_INFINITY))

    refused(lightmem("ingest", "-", feed=b"".join(chat), preexec_fn=limit), STORE)
    take(home, chat)
    assert kept(home) == with_room[0]
    same_answers(answers(home), with_room[1])


def test_a_full_file_system(tmp_path: Path) -> None:
    """The real thing, where a small file system can be mounted: what was journalled before is still found."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        take(disk / "home", [FIRST])
        refused(lightmem("ingest", "-", "--home", disk / "home", feed=b"".join(long_chat(2000))), STORE)
        assert contents(disk / "home")[0] == spoken(FIRST)[0]
        assert "Biscuit" in lightmem("retrieve", QUESTION, "--home", disk / "home").stdout.decode()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["export", "--state"], ["retrieve", "greyhound"], ["--help"]], ids=" ".join)
def test_output_that_cannot_be_written(home: Path, arguments: list[str]) -> None:
    take(home, [FIRST])
    with Path("/dev/full").open("wb") as full:
        run = lightmem(*arguments, stdout=full)
    errors = lines_of(run.stderr)
    assert run.returncode == STORE
    assert errors[0].startswith("lightmem: ") and errors[1].startswith("  hint: ") and len(errors) == 2


# Damaged files -----------------------------------------------------------------------------------------------------


def garbage(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def middle_page(data: bytes) -> bytes:
    at = len(data) // 2 // 4096 * 4096
    return data[:at] + garbage(4096) + data[at + 4096 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda data: garbage(len(data)),
    "a garbage head": lambda data: garbage(100) + data[100:],
    "truncated": lambda data: data[: len(data) // 2],
    "a garbage page in the middle": middle_page,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_history_is_said_to_be_and_left_as_it_is(home: Path, damage: Callable[[bytes], bytes]) -> None:
    take(home, long_chat(60))
    before = kept(home)
    history = home / "profiles" / "default" / "history.db"
    sound = history.read_bytes()
    history.write_bytes(damage(sound))
    ended = []
    for arguments in (["ingest", "-"], ["retrieve", QUESTION], ["export", "--state"], ["show", "c1"]):
        run = lightmem(*arguments, feed=FIRST)
        ended.append(run.returncode)
        assert "Traceback" not in run.stderr.decode(), run.stderr
        assert run.returncode in (DONE, STORE), run.stderr  # a page nobody asks for goes unnoticed but by doctor
        if run.returncode == STORE:
            assert [said.split()[0] for said in lines_of(run.stderr)] == ["lightmem:", "hint:"], run.stderr
    if damage is not middle_page:
        assert ended == [STORE] * len(ended)
        assert history.read_bytes() == damage(sound), "what is left of the history was changed"
    examined = lightmem("doctor")
    assert examined.returncode == STORE, examined.stderr
    assert "Traceback" not in examined.stderr.decode()
    for name in ("history.db-wal", "history.db-shm"):
        (history.parent / name).unlink(missing_ok=True)
    history.write_bytes(sound)
    assert kept(home) == before


DAMAGE: dict[str, Callable[[bytes], bytes]] = DAMAGE | {"empty": lambda data: b""}


def test_a_history_that_is_gone_is_no_empty_memory(home: Path, tmp_path: Path) -> None:
    take(home, long_chat(60))
    before = kept(home)
    folder, backup = home / "profiles" / "default", tmp_path / "memory.zip"
    assert lightmem("backup", backup).returncode == DONE
    (folder / "history.db").unlink()
    for arguments in (["ingest", "-"], ["retrieve", QUESTION], ["stats"], ["doctor"], ["backup", backup, "--force"]):
        run = lightmem(*arguments, feed=FIRST)
        assert run.returncode == STORE, run.stderr
        error, hint = lines_of(run.stderr)
        assert error == f"lightmem: {folder}/history.db is missing, and the indexes made of it are there"
        assert "lightmem restore FILE" in hint and f"rm -r {folder}/vectors {folder}/words" in hint
    assert not (folder / "history.db").exists()
    assert lightmem("restore", backup).returncode == DONE
    assert kept(home) == before
    (folder / "history.db").unlink()
    for name in ("vectors", "words"):
        shutil.rmtree(folder / name)
    assert "this memory is empty" in lightmem("retrieve", QUESTION).stderr.decode()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_made_again_and_answers_as_before(home: Path, damage: Callable[[bytes], bytes]) -> None:
    take(home, [*long_chat(60), FIRST])
    before, said = listened(home)
    assert said == []
    places = len(index_files(home))
    assert places >= 4
    for place in range(places):
        for kind in ("vectors", "words"):
            shutil.rmtree(home / "profiles" / "default" / kind)
        assert listened(home) == (before, [])
        path = index_files(home)[place]
        sound = path.read_bytes()
        if (broken := damage(sound)) == sound:
            continue
        path.write_bytes(broken)
        after, said = listened(home)
        assert after == before, path
        if damage is not middle_page or said:  # a page that no question asks for may go unnoticed
            assert len(said) == 1 and "again" in said[0], path
            assert listened(home) == (before, []), path


def test_any_damaged_page_of_the_words_changes_no_answer(home: Path) -> None:
    """Some damage only a search comes upon; then, too, the index is made again, and the question asked again."""
    take(home, [*long_chat(60), FIRST])
    before, _ = listened(home)
    words = home / "profiles" / "default" / "words" / "words.db"
    sound = words.read_bytes()
    mended = 0
    for at in range(0, len(sound), 4096):
        words.write_bytes(sound[:at] + garbage(4096) + sound[at + 4096 :])
        after, said = listened(home)
        assert after == before, f"page {at // 4096}"
        assert len(said) <= 1
        mended += len(said)
    assert mended > 2


def test_a_damaged_index_is_one_line_on_stderr(home: Path) -> None:
    take(home, [FIRST])
    for path in index_files(home)[:1] + index_files(home)[-1:]:
        path.write_bytes(b"not an index")
        run = lightmem("retrieve", QUESTION)
        assert (run.returncode, b"Biscuit" in run.stdout) == (DONE, True), run.stderr
        assert ["again" in said for said in lines_of(run.stderr)] == [True]


def listened(home: Path) -> tuple[Answers, list[str]]:
    """The answers of a reader, and what it said beside."""
    said: list[str] = []
    with opened(home, reader=True, said=said) as memory:
        return answers_of(memory), said


def index_files(home: Path) -> list[Path]:
    profile = home / "profiles" / "default"
    found = [path for kind in ("vectors", "words") for path in sorted((profile / kind).rglob("*"))]
    return [path for path in found if path.is_file() and path.stat().st_size]


def test_an_index_folder_that_is_a_file(home: Path) -> None:
    take(home, [FIRST])
    words = home / "profiles" / "default" / "words"
    shutil.rmtree(words)
    words.write_text("not a folder")
    refused(lightmem("retrieve", QUESTION), STORE, str(words))
