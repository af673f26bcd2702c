"""Several processes read one memory: none pays for a message twice, none loses one, and who is killed harms nothing."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from memories import Kept, kept
from model_server import ModelServer
from process import COMMAND, environment, lightmem, start

COUNT = 60


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        server.delay = 0.05
        yield server


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chat") / "chat.jsonl"
    rows = [
        {
            "id": f"m{number}",
            "session": f"day{number // 10}",
            "speaker": ("Anna", "Boris")[number % 2],
            "timestamp": f"2024-05-{number // 10 + 1:02}T10:{number % 10:02}:00Z",
            "content": f"I saw heron {number} in the reeds behind the old mill, and it looked at me.",
        }
        for number in range(COUNT)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def settings(server: ModelServer) -> dict[str, str]:
    return {
        "LIGHTMEM_EXTRACT__USE": "llm",
        "LIGHTMEM_EXTRACT__ROLES": "both",
        "LIGHTMEM_EXTRACT__BUFFER_TOKENS": "64",
        "LIGHTMEM_LLM__USE": "ollama",
        "LIGHTMEM_LLM__MODEL": "tiny",
        "LIGHTMEM_LLM__BASE_URL": server.url,
        "LIGHTMEM_LLM__CONCURRENCY": "2",
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, chat: Path) -> Kept:
    """What one process alone makes of it."""
    home = tmp_path_factory.mktemp("alone") / "home"
    with ModelServer() as server:
        done = lightmem("ingest", chat, "--home", home, env=settings(server))
    assert done.returncode == 0, done.stderr
    found = kept(home)
    assert sum(row.get("kind") == "fact" for row in found.state) == COUNT
    return found


@pytest.fixture
def home(tmp_path: Path, chat: Path, server: ModelServer) -> Path:
    """A memory that has journalled the chat, and not read it."""
    done = lightmem("ingest", chat, "--journal-only", "--home", tmp_path / "home", env=settings(server))
    assert done.returncode == 0, done.stderr
    return tmp_path / "home"


def sent(server: ModelServer) -> Counter[str]:
    """How often each message was sent."""
    return Counter(number for call in list(server.calls) for number in re.findall(r"I saw heron (\d+) ", call.prompt))


def extracting(home: Path, server: ModelServer) -> subprocess.Popen[bytes]:
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return start("extract", "--home", home, env=settings(server), **pipes)


def ended(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def reached(server: ModelServer, calls: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many calls were made, or it is over."""
    while len(server.calls) < calls and process.poll() is None:
        time.sleep(0.005)


def test_two_processes_read_every_message_once(home: Path, alone: Kept, server: ModelServer) -> None:
    both = [extracting(home, server) for _ in range(2)]
    for process in both:
        ended(process)
    assert sent(server) == {str(number): 1 for number in range(COUNT)}
    assert kept(home) == alone


@pytest.mark.parametrize("calls", [1, 5])
def test_one_is_killed_and_the_other_finishes(home: Path, alone: Kept, server: ModelServer, calls: int) -> None:
    victim, survivor = (extracting(home, server) for _ in range(2))
    reached(server, calls, victim)
    victim.kill()
    victim.communicate()
    ended(survivor)
    times = sent(server)
    assert set(times) == {str(number) for number in range(COUNT)}
    assert max(times.values()) <= 2, "only what was on its way is asked again"
    assert kept(home) == alone


@pytest.mark.parametrize("calls", [0, 6])
def test_the_next_run_finishes_what_a_killed_one_left(home: Path, alone: Kept, server: ModelServer, calls: int) -> None:
    victim = extracting(home, server)
    reached(server, calls, victim)
    victim.kill()
    victim.communicate()
    ended(extracting(home, server))
    assert set(sent(server)) == {str(number) for number in range(COUNT)}
    assert max(sent(server).values()) <= 2
    assert kept(home) == alone


# An owner in every state -------------------------------------------------------------------------------------------


@pytest.fixture
def owner(home: Path, server: ModelServer) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has read some of the memory, and waits for the answers to two more calls."""
    process = extracting(home, server)
    reached(server, 4, process)
    server.answers.clear()
    yield from waiting_for_answers(process, server, home)


def waiting_for_answers(
    process: subprocess.Popen[bytes], server: ModelServer, home: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Once it is doing nothing else: what was answered is written down."""
    seen, before = counts(home, server), {}
    while (under_way(server) < 2 or seen != before) and process.poll() is None:
        time.sleep(0.3)
        seen, before = counts(home, server), seen
    assert process.poll() is None
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


def counts(home: Path, server: ModelServer) -> dict[str, Any]:
    [counted] = json_of("stats", home=home, server=server)
    return {"held": [], **{key: counted[key] for key in ("entries", "pending", "held") if key in counted}}


def under_way(server: ModelServer) -> int:
    return sum(call.ended is None for call in list(server.calls))


def json_of(*arguments: str, home: Path, server: ModelServer) -> list[dict[str, Any]]:
    done = lightmem(*arguments, "--json", "--home", home, env=settings(server))
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_read_by_the_next(home: Path, server: ModelServer, alone: Kept, *, lost: Counter[str]) -> None:
    """Two processes at once find what a dead owner held, and neither sends what another one has sent."""
    server.answers.set()
    both = [extracting(home, server) for _ in range(2)]
    for process in both:
        ended(process)
    assert sent(server) == {str(number): 1 + lost[str(number)] for number in range(COUNT)}
    assert kept(home) == alone


def lost_with(owner: subprocess.Popen[bytes], server: ModelServer) -> Counter[str]:
    """Kill `owner`; what it had sent, and had no answer to."""
    on_its_way = [call for call in list(server.calls) if call.ended is None]
    owner.kill()
    owner.communicate()
    return Counter(number for call in on_its_way for number in re.findall(r"I saw heron (\d+) ", call.prompt))


def test_what_a_killed_owner_held_is_read_once(
    home: Path, server: ModelServer, alone: Kept, owner: subprocess.Popen[bytes]
) -> None:
    is_read_by_the_next(home, server, alone, lost=lost_with(owner, server))


def test_what_a_stopped_owner_holds_waits_for_it(
    home: Path, server: ModelServer, alone: Kept, owner: subprocess.Popen[bytes]
) -> None:
    owner.send_signal(signal.SIGSTOP)
    server.answers.set()
    named = f"process {owner.pid} on {socket.gethostname()}, at work since "
    said = lightmem("extract", "--home", home, env=settings(server))
    assert said.returncode == 0
    counted = counts(home, server)
    waiting = counted["pending"]["extract"]
    assert [(held["pid"], held["items"]) for held in counted["held"]] == [(owner.pid, waiting)]
    assert f"{waiting} items wait for {named}" in said.stderr.decode()
    assert f"of these by {named}" in lightmem("stats", "--home", home).stdout.decode()
    [processes] = [row for row in json_of("doctor", home=home, server=server) if row["check"] == "processes"]
    assert named in processes["seen"] and processes["seen"].endswith(f"holds {waiting} items")
    owner.send_signal(signal.SIGCONT)
    ended(owner)
    assert sent(server) == {str(number): 1 for number in range(COUNT)}
    assert kept(home) == alone


def test_what_a_stopped_owner_held_is_free_when_it_dies(
    home: Path, server: ModelServer, alone: Kept, owner: subprocess.Popen[bytes]
) -> None:
    owner.send_signal(signal.SIGSTOP)
    is_read_by_the_next(home, server, alone, lost=lost_with(owner, server))


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_no_clock_decides_who_is_there(
    home: Path, server: ModelServer, alone: Kept, owner: subprocess.Popen[bytes], shift: int
) -> None:
    with closing(sqlite3.connect(home / "profiles" / "default" / "history.db")) as history:
        history.execute("UPDATE leases SET started = started + ?", (shift,))
        history.commit()
    assert [held["pid"] for held in counts(home, server)["held"]] == [owner.pid]
    is_read_by_the_next(home, server, alone, lost=lost_with(owner, server))


@pytest.fixture
def isolated(home: Path, server: ModelServer) -> Iterator[subprocess.Popen[bytes]]:
    """The same in a container's namespaces: another host name, and process numbers that mean nothing outside."""
    apart = ["unshare", "--pid", "--uts", "--fork", "--kill-child"]
    try:
        allowed = subprocess.run([*apart, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("unshare cannot make PID and UTS namespaces here")
    script = 'hostname gone && exec "$@"'
    command = [*apart, "sh", "-c", script, "sh", *COMMAND, "extract", "--home", str(home)]
    process = subprocess.Popen(command, env=environment(settings(server)), stderr=subprocess.PIPE)
    reached(server, 4, process)
    server.answers.clear()
    yield from waiting_for_answers(process, server, home)


def test_an_owner_in_a_container_holds_its_work_until_it_is_gone(
    home: Path, server: ModelServer, alone: Kept, isolated: subprocess.Popen[bytes]
) -> None:
    assert [(held["host"], held["pid"] < 10) for held in counts(home, server)["held"]] == [("gone", True)]
    lost = lost_with(isolated, server)
    while counts(home, server)["held"]:  # unshare's child dies a moment after it
        time.sleep(0.05)
    is_read_by_the_next(home, server, alone, lost=lost)
    assert lightmem("backup", home / "b.zip", "-q", "--home", home).returncode == 0
    assert lightmem("restore", home / "b.zip", "default", "--yes", "--home", home).returncode == 0


def test_a_server_that_comes_back_is_all_it_takes(tmp_path: Path, chat: Path, alone: Kept, server: ModelServer) -> None:
    env = settings(server) | {"LIGHTMEM_LLM__RETRIES": "0"}
    home = tmp_path / "down"
    with server.stopped():
        done = lightmem("ingest", chat, "--home", home, env=env)
        assert done.returncode == 5
        said = done.stderr.decode()
        assert "kept: 60 new messages" in said and "nothing is lost: lightmem extract goes on from here" in said
        waiting = json.loads(lightmem("stats", "--json", "--home", home, env=env).stdout)
        assert (waiting["pending"], waiting["quarantined"]) == ({"extract": COUNT}, 0)
        found = lightmem("retrieve", "heron 7", "--home", home, env=env)
        assert b"heron 7 " in found.stdout
    done = lightmem("extract", "--json", "--home", home, env=env)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["messages"], counts["facts"], counts["quarantined"]) == (COUNT, COUNT, 0)
    assert counts["calls"] == len(server.calls) and counts["prompt_tokens"] > 0
    assert kept(home) == alone
