"""`lightmem update` as cron, a person and a pipe meet it: what it prints, how it ends, and two of it at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from memories import empty_home, kept, line, take
from process import lightmem, lines_of, start

from lightmem_cli.engine.ingest import HowToIngest

GREYHOUND, CLARA = "I adopted a greyhound called Biscuit.", "My sister Clara is a nurse in Oslo."


def row(id: str, content: str, *, day: int = 1) -> bytes:
    return line(id=id, content=content, session=f"day{day}", speaker="Anna", timestamp=f"2024-05-{day:02}T10:00:00Z")


CHAT = [row(f"m{n}", (GREYHOUND, CLARA, "I play the cello.")[n % 3], day=n + 1) for n in range(7)]


@pytest.fixture(autouse=True)
def told(home: Path) -> None:
    """A memory of CHAT."""
    take(home, CHAT)


def test_cron_says_nothing_and_the_second_time_does_nothing(home: Path) -> None:
    states = [kept(home)]
    databases = []
    for _ in range(2):
        ran = lightmem("update", "--quiet")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
        databases.append((home / "profiles" / "default" / "history.db").read_bytes())
        states.append(kept(home))
    assert states[0] != states[1] == states[2]
    assert databases[0] == databases[1]


def test_a_person_sees_what_was_merged_and_how_to_take_it_back() -> None:
    ran = lightmem("update")
    assert ran.returncode == 0
    out, talk = lines_of(ran.stdout), lines_of(ran.stderr)
    kept = [one for one in out if one.startswith("kept ")]
    dropped = [one for one in out if one.startswith("  merged ")]
    assert len(kept) == 3 and len(dropped) == 4 and len(out) == 7
    assert all(one.endswith("(same words)") for one in dropped)
    assert talk == ["4 facts merged into 3 that say the same (lightmem undo 2 takes it back)"]
    shown = json.loads(lightmem("show", dropped[0].split()[1], "--json").stdout)
    assert "merged_into" in json.dumps(shown["links"]) and kept[0].split()[1] in json.dumps(shown["links"])
    again = lightmem("update")
    assert (again.returncode, again.stdout, lines_of(again.stderr)) == (0, b"", ["nothing to merge"])


def test_the_plan_printed_is_what_is_done_byte_for_byte(home: Path) -> None:
    before = kept(home)
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    planned = lightmem("update", "--dry-run")
    assert planned.returncode == 0 and planned.stderr == b""
    assert lightmem("update", "--dry-run", "--json", "--quiet").stdout == planned.stdout
    assert kept(home) == before
    changed = [path for path in files if not path.name.endswith("-shm") and path.read_bytes() != files[path]]
    assert changed == []
    done = lightmem("update", "--json")
    assert done.returncode == 0
    assert done.stdout == planned.stdout
    assert [len(json.loads(one)["drop"]) for one in lines_of(done.stdout)] != []
    assert b"lightmem undo" in done.stderr
    assert kept(home) != before
    assert lightmem("update", "--dry-run").stdout == b""


def test_a_plan_says_what_is_not_in_it(home: Path) -> None:
    take(home, [row("late", GREYHOUND, day=20)], HowToIngest(journal_only=True))
    before = kept(home)
    planned = lightmem("update", "--dry-run")
    assert kept(home) == before
    assert lines_of(planned.stderr) == ["1 message and 1 entry still waiting, and not in this plan (lightmem extract)"]
    done = lightmem("update", "--json")
    assert len(lines_of(done.stdout)) == len(lines_of(planned.stdout))
    assert done.stdout != planned.stdout, "what waited was not merged"


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_an_edited_plan_is_applied(way: str, tmp_path: Path) -> None:
    rows = [json.loads(one) for one in lines_of(lightmem("update", "--dry-run").stdout)]
    [edited] = [one for one in rows if "greyhound" in one["text"]]
    edited["text"] = "Anna adopted a greyhound called Biscuit, and a second one later."
    data = b"\xef\xbb\xbf" + json.dumps(edited).encode() + b"\n\n"
    plan = tmp_path / "plan.jsonl"
    plan.write_bytes(data)
    ran = lightmem("update", "--apply", plan if way == "file" else "-", feed=data if way == "stdin" else b"")
    assert ran.returncode == 0, ran.stderr
    assert lines_of(ran.stderr) == ["2 facts merged into 1 that says the same (lightmem undo 2 takes it back)"]
    assert "a second one later" in lightmem("retrieve", "greyhound", "--kind", "fact").stdout.decode()
    again = lightmem("update", "--apply", plan)
    assert (again.returncode, lines_of(again.stderr)) == (0, ["nothing to merge"])


def test_a_plan_that_does_not_fit_is_refused_with_2(home: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.jsonl"
    planned = lightmem("update", "--dry-run").stdout
    stale = json.loads(planned.splitlines()[0])
    stale["keep"]["version"] = 7
    before = kept(home)
    for data, why in [
        (json.dumps(stale).encode(), f"changed since the plan was made: {stale['keep']['id']}"),
        (b"{", f"{plan}:1: invalid JSON"),
        (b"\n[1]", f"{plan}:2: not an object"),
        (planned + planned, "twice"),
    ]:
        plan.write_bytes(data)
        ran = lightmem("update", "--apply", plan)
        assert ran.returncode == 2
        assert why in ran.stderr.decode()
        assert "hint: " in ran.stderr.decode()
        assert ran.stdout == b""
    assert kept(home) == before
    for arguments in (["--apply", tmp_path / "missing"], ["--apply", plan, "--dry-run"]):
        assert lightmem("update", *arguments).returncode == 2


def test_two_updates_at_once_leave_the_state_of_one(tmp_path: Path) -> None:
    chat = [row(f"x{n}", f"I saw heron number {n % 40} at the old mill.", day=n % 28 + 1) for n in range(160)]
    for home in ("one", "two"):
        take(tmp_path / home, chat)
    assert lightmem("update", "--home", tmp_path / "one").returncode == 0
    both = [
        start("update", "--json", "--home", tmp_path / "two", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    printed: list[str] = []
    for process in both:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        printed += lines_of(out)
    assert kept(tmp_path / "one") == kept(tmp_path / "two")
    assert len(printed) == len(set(printed)) == 40, "each merge is done, and told, by one of them"
    assert lines_of(lightmem("update", "--home", tmp_path / "two").stderr) == ["nothing to merge"]


def test_a_closed_pipe_loses_no_merge() -> None:
    process = start("update", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert lines_of(lightmem("update").stderr) == ["nothing to merge"]


def test_online_an_ingest_merges_at_its_end(home: Path) -> None:
    online = {"LIGHTMEM_UPDATE__WHEN": "online"}
    more = [row("late", GREYHOUND, day=20)]
    ran = lightmem("ingest", "-", feed=more[0], env=online)
    assert ran.returncode == 0
    assert "5 facts merged into 3 that say the same (lightmem undo 3 takes it back)" in lines_of(ran.stderr)
    with empty_home() as offline:
        take(offline, CHAT + more)
        assert kept(offline) != kept(home)
        assert lightmem("update", "--home", offline).returncode == 0
        assert kept(offline) == kept(home)
