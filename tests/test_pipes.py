"""Pipes: a closed one ends a command quietly, stdout is data alone, JSON is a line each, and text is UTF-8 anywhere."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from process import environment, lightmem, lines_of, start

CHAT = "".join(
    json.dumps(
        {
            "id": f"bird{number}",
            "session": f"s{number // 50}",
            "speaker": ("Zoë", "Борис")[number % 2],
            "timestamp": f"2023-05-{number // 50 + 1:02}T10:00:00",
            "content": f"I saw heron number {number} — 日本 🐦 — near the old mill on Saturday and painted it in blue.",
        },
        ensure_ascii=False,
    )
    + "\n"
    for number in range(300)
).encode()
HIT = {"rank", "score", "id", "kind", "text", "time", "speaker", "session", "sources", "evidence"}
COUNTED = {"messages", "segments", "compressed", "entries", "pending", "quarantined", "conflicts", "llm", "disk_bytes"}
COUNTED |= {"pinned", "forgotten"}
QUESTIONS = b"".join(b'{"id": %d, "question": "Who saw heron number %d?"}\n' % (n, n) for n in range(25))

# Every command that lists, and what it gets on stdin.
LISTINGS: dict[str, tuple[list[str], bytes]] = {
    "retrieve": (["retrieve", "heron", "--limit", "250", "--explain"], b""),
    "retrieve --json": (["retrieve", "heron", "--limit", "250", "--json"], b""),
    "retrieve --queries": (["retrieve", "--queries", "-", "--limit", "60"], QUESTIONS),
    "retrieve --queries --json": (["retrieve", "--queries", "-", "--limit", "60", "--json", "--explain"], QUESTIONS),
    "ask": (["ask", "Who saw a heron?"], b""),
    "ask --json": (["ask", "--json"], b"Who saw a heron?"),
    "show": (["show", "bird20", "--around", "100"], b""),
    "show --json": (["show", "bird20", "--around", "100", "--json"], b""),
    "stats": (["stats"], b""),
    "stats --json": (["stats", "--json"], b""),
    "doctor": (["doctor"], b""),
    "doctor --json": (["doctor", "--json"], b""),
    "export --state": (["export", "--state"], b""),
    "export --state --json": (["export", "--state", "--json"], b""),
    "extract -": (["extract", "-"], CHAT),
    "extract - --json": (["extract", "-", "--json"], CHAT),
    "extract --json": (["extract", "--json"], b""),
    "segment -": (["segment", "-"], CHAT),
    "update --dry-run": (["update", "--dry-run"], b""),
    "retrieve --kind summary --json": (["retrieve", "heron", "--kind", "summary", "--json"], b""),
    "log": (["log"], b""),
    "log --json": (["log", "--json"], b""),
    "log ID --json": (["log", "bird20", "--json"], b""),
    "log --run": (["log", "--run", "1"], b""),
    "forget --dry-run --json": (["forget", "bird20", "--dry-run", "--json"], b""),
    "doctor --deep --json": (["doctor", "--deep", "--json"], b""),
    "ingest --json": (["ingest", "-", "--json"], CHAT),
    "reindex --json": (["reindex", "--json"], b""),
    "config get": (["config", "get"], b""),
    "config get --json": (["config", "get", "--json"], b""),
    "config set --json": (["config", "set", "retrieve.limit", "20", "--json"], b""),
    "profile list": (["profile", "list"], b""),
    "profile list --json": (["profile", "list", "--json"], b""),
    "profile show": (["profile", "show"], b""),
    "profile show --json": (["profile", "show", "--json"], b""),
    "profile path": (["profile", "path"], b""),
    "profile path --json": (["profile", "path", "--json"], b""),
    "demo": (["demo"], b""),
    "demo --json": (["demo", "--json"], b""),
    "--help": (["--help"], b""),
    "--version": (["--version"], b""),
    "ingest --help": (["ingest", "--help"], b""),
}
LONG = ["retrieve --queries", "retrieve --queries --json", "export --state", "extract -"]  # beyond a pipe's 64 KiB
AS_JSON = [name for name in LISTINGS if "--json" in name or name.startswith(("export", "extract", "segment -"))]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with CHAT in it."""
    home = tmp_path_factory.mktemp("pipes") / "home"
    run = lightmem("ingest", "-", "--home", home, feed=CHAT)
    assert run.returncode == 0, run.stderr
    assert run.stdout == b""
    return home


@pytest.fixture(autouse=True)
def home_with_memory(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_HOME", str(memory))


@pytest.mark.parametrize("name", [name for name in LISTINGS if "--json" not in name or "retrieve" in name])
def test_a_pipe_closed_before_the_first_line_ends_quietly(name: str) -> None:
    arguments, feed = LISTINGS[name]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run = lightmem(*arguments, feed=feed, stdout=writer)
    finally:
        os.close(writer)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr.decode()
    assert "lightmem: " not in run.stderr.decode()
    assert "Broken" not in run.stderr.decode()


@pytest.mark.parametrize("name", LONG)
def test_head_takes_one_line_of_many(name: str, tmp_path: Path) -> None:
    arguments, feed = LISTINGS[name]
    (tmp_path / "feed").write_bytes(feed)
    with (tmp_path / "feed").open("rb") as stdin:
        process = start(*arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.stderr.close()
    assert process.wait(timeout=60) == 0, errors
    assert "Traceback" not in errors and "lightmem: " not in errors
    assert len(lightmem(*arguments, feed=feed).stdout) > 128 * 1024, "shorter than a pipe: this shows nothing"


@pytest.mark.parametrize("name", AS_JSON)
def test_json_output_is_one_object_a_line(name: str) -> None:
    arguments, feed = LISTINGS[name]
    run = lightmem(*arguments, feed=feed)
    assert run.returncode == 0, run.stderr
    rows = [json.loads(line) for line in run.stdout.decode("utf-8").split("\n")[:-1]]
    assert rows and all(isinstance(row, dict) for row in rows)
    assert run.stdout.endswith(b"}\n")


def test_retrieve_and_stats_print_the_promised_fields() -> None:
    [found] = [json.loads(line) for line in lines_of(lightmem("retrieve", "heron 7", "--json").stdout)]
    assert found.keys() == {"id", "query", "hits"}
    assert (found["id"], found["query"]) == (None, "heron 7")
    for rank, hit in enumerate(found["hits"], start=1):
        assert hit.keys() == HIT
        assert hit["rank"] == rank and all(source.startswith("bird") for source in hit["sources"])
        assert all(one.keys() == {"conversation", "session", "id", "time"} for one in hit["evidence"])
    assert [
        json.loads(row)["id"]
        for row in lines_of(lightmem(*LISTINGS["retrieve --queries --json"][0], feed=QUESTIONS).stdout)
    ] == list(range(25))
    counted = json.loads(lightmem("stats", "--json").stdout)
    assert counted.keys() == COUNTED
    assert (counted["messages"], counted["entries"]["turn"], counted["pending"]) == (300, {"active": 300}, {})


@pytest.mark.parametrize(
    "arguments",
    [["ingest", "-"], ["extract"], ["reindex"], ["init", "other"], ["config", "set", "retrieve.limit", "20"]],
    ids=lambda arguments: arguments[0],
)
def test_what_is_only_said_is_not_on_stdout(arguments: list[str], tmp_path: Path) -> None:
    run = lightmem(*arguments, "--home", tmp_path / "fresh", feed=CHAT[:2000].rpartition(b"\n")[0])
    assert run.returncode == 0, run.stderr
    assert run.stderr
    data = lines_of(run.stdout)
    assert data == ([str(tmp_path / "fresh" / "profiles" / "other")] if arguments[0] == "init" else [])


@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}],
    ids=" ".join,
)
def test_text_is_utf_8_whatever_the_locale_says(env: dict[str, str]) -> None:
    said = "I saw heron number 8 — 日本 🐦 — near the old mill on Saturday and painted it in blue."
    expected = f"2023-05-01T10:00:00 Mon Zoë: {said}"
    assert expected in lines_of(
        lightmem("retrieve", "heron number 8 日本", "--kind", "turn", "-n", "300", env=env).stdout
    )
    run = lightmem("show", "bird8", "--json", env=env)
    assert json.loads(run.stdout)["text"] == said
    assert "🐦".encode() in run.stdout
    asked = lightmem("ask", env=env, feed="Кто видел птицу 🐦 日本?".encode())
    assert asked.returncode == 0, asked.stderr
    missing = lightmem("show", "日本", env=env)
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr.decode("utf-8")


def test_no_hit_is_no_error(tmp_path: Path) -> None:
    for arguments in (["retrieve", "zeppelin"], ["retrieve", "zeppelin", "--json"], ["ask", "zeppelin?"]):
        run = lightmem(*arguments, "--home", tmp_path / "fresh")
        assert run.returncode == 0, run.stderr
    assert lightmem("retrieve", "zeppelin", "--home", tmp_path / "fresh").stdout == b""
    assert lightmem("retrieve", "heron", "--since", "2030-01-01").stdout == b""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_a_signal_ends_with_130_and_what_was_journalled_stays(sent: signal.Signals, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # A suite that runs in the background has its children ignore SIGINT.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = start("ingest", "-", "--home", home, preexec_fn=heeding, **streams)
    assert process.stdin is not None
    process.stdin.write(CHAT)
    process.stdin.flush()
    _wait_for_messages(home, 1, process)
    process.send_signal(sent)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert output == b""
    assert "Traceback" not in errors.decode()
    again = lightmem("ingest", "-", "--home", home, feed=CHAT)
    assert again.returncode == 0, again.stderr
    same = [lightmem("export", "--state", *where).stdout for where in ([], ["--home", home])]
    assert same[0] == same[1]


def _wait_for_messages(home: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    history = home / "profiles" / "default" / "history.db"
    for _ in range(600):
        if history.exists():
            try:
                with closing(sqlite3.connect(f"{history.as_uri()}?mode=ro", uri=True)) as connection:
                    if connection.execute("SELECT count(*) FROM messages").fetchone()[0] >= count:
                        return
            except sqlite3.OperationalError:
                pass
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("no message was journalled within 30 s")


def test_a_pipe_is_searchable_while_it_is_still_open(tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    process = start(
        "ingest", "-", "--home", home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    first, second, *_ = CHAT.splitlines(keepends=True)
    process.stdin.write(first)
    process.stdin.flush()
    _wait_for_messages(home, 1, process)
    assert "heron number 0" in lightmem("retrieve", "heron", "--home", home).stdout.decode()
    process.stdin.write(second)
    process.stdin.close()
    process.stdin = None
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "2 new messages" in errors.decode()


def test_no_colour_and_no_bars_outside_a_terminal() -> None:
    for arguments in (["stats"], ["retrieve", "heron"], ["doctor"], ["reindex"]):
        run = lightmem(*arguments, env={"FORCE_COLOR": "1"} if arguments[0] == "stats" else None)
        assert b"\x1b" not in run.stdout + run.stderr


def test_stdin_closed_from_the_start_is_an_empty_input(tmp_path: Path) -> None:
    run = subprocess.run(
        ["sh", "-c", f'exec "$0" -m lightmem_cli ingest - --home {tmp_path / "fresh"} <&-', sys.executable],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert "Traceback" not in run.stderr.decode()
    assert run.returncode == 0


def test_on_a_terminal_one_question_follows_the_other() -> None:
    pty = pytest.importorskip("pty")
    assert lightmem("ingest", "-", feed=b'{"id": "1", "content": "I adopted a greyhound in May."}\n').returncode == 0
    ours, theirs = pty.openpty()
    asked = start("ask", stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.write(ours, b"Who adopted a greyhound?\n\nWhat happened in May?\n\x04")
    out, errors = asked.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert asked.returncode == 0, errors
    assert out.decode().count("[1] ") == 2
    assert errors.decode().count("? ") == 4  # the blank line asks nothing
