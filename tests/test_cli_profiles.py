"""`lightmem init`, `profile` and `config`: what they print, and that deleting asks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lightmem_cli.cli import app
from lightmem_cli.errors import InputError, ProfileBusy, ProfileError
from lightmem_cli.store.history import History


def lightmem(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="lightmem")


def test_init_prints_the_folder_it_made(home: Path) -> None:
    made = lightmem("init", "work")
    assert made.stdout == f"{home / 'profiles' / 'work'}\n"
    assert "made profile work" in made.stderr
    assert json.loads(lightmem("init", "play", "--json").stdout)["folder"] == str(home / "profiles" / "play")
    assert isinstance(lightmem("init", "work").exception, ProfileError)
    assert isinstance(lightmem("init", "../out").exception, ProfileError)


def test_init_makes_the_profile_that_the_option_names(home: Path) -> None:
    assert lightmem("init", "-p", "work").exit_code == 0
    assert lightmem("init").exit_code == 0
    assert sorted(path.name for path in (home / "profiles").iterdir()) == ["default", "work"]


def test_list_prints_names_or_json() -> None:
    assert lightmem("profile", "list").stdout == ""
    for name in ("b", "a"):
        lightmem("init", name)
    assert lightmem("profile", "list").stdout == "a\nb\n"
    rows = [json.loads(line) for line in lightmem("profile", "list", "--json").stdout.splitlines()]
    assert [row["profile"] for row in rows] == ["a", "b"]


def test_show_prints_settings_that_toml_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_RETRIEVE__LIMIT", "7")
    shown = lightmem("profile", "show")
    assert "made profile default" in shown.stderr
    assert tomllib.loads(shown.stdout)["retrieve"]["limit"] == 7
    assert json.loads(lightmem("profile", "show", "--json").stdout)["settings"] == tomllib.loads(shown.stdout)


def test_path_prints_the_folder(home: Path) -> None:
    assert lightmem("profile", "path").stdout == f"{home / 'profiles' / 'default'}\n"
    assert isinstance(lightmem("profile", "path", "nobody").exception, ProfileError)


def test_path_of_a_broken_profile_is_printed(home: Path) -> None:
    lightmem("init", "work")
    (home / "profiles" / "work" / "profile.toml").write_text("=")
    assert lightmem("profile", "path", "work").exit_code == 0


def test_delete_without_a_terminal_needs_yes(home: Path) -> None:
    lightmem("init", "work")
    refused = lightmem("profile", "delete", "work")
    assert isinstance(refused.exception, InputError)
    assert refused.exception.hint
    assert "--yes" in refused.exception.hint
    assert (home / "profiles" / "work").exists()
    assert lightmem("profile", "delete", "work", "--yes").exit_code == 0
    assert not (home / "profiles" / "work").exists()


@pytest.mark.parametrize(("answer", "kept"), [("n\n", True), ("\n", True), ("y\n", False)])
def test_delete_on_a_terminal_asks(answer: str, kept: bool, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightmem_cli.cli import options

    class Terminal:
        stdin = stderr = type("Stream", (), {"isatty": lambda self: True})()

    lightmem("init", "work")
    monkeypatch.setattr(options, "sys", Terminal)
    done = CliRunner().invoke(app, ["profile", "delete", "work"], input=answer)
    assert done.exit_code == 0
    assert "Delete profile work" in done.stderr
    assert (home / "profiles" / "work").exists() is kept


def test_config_get_and_set() -> None:
    assert lightmem("config", "get", "retrieve.limit").stdout == "20\n"
    done = lightmem("config", "set", "retrieve.limit", "60")
    assert (done.stdout, done.stderr) == ("", "retrieve.limit is 60 in profile default\n")
    assert lightmem("config", "get", "retrieve").stdout == 'retrieve.strategy = "hybrid"\nretrieve.limit = 60\n'
    rows = [json.loads(line) for line in lightmem("config", "get", "--json").stdout.splitlines()]
    assert {"key": "retrieve.limit", "value": 60} in rows
    assert json.loads(lightmem("config", "set", "retrieve.limit", "5", "--json").stdout)["value"] == 5
    for key, value, wanted in (
        ("retrieve.limit", "many", "a whole number"),
        ("retrieve.limit", "1.5", "a whole number"),
        ("retrieve.limit", "9" * 5000, "a whole number"),
        ("retrieve.limit", "0", "at least 1"),
        ("compress.rate", "0", "more than 0"),
        ("compress.rate", "2", "at most 1"),
        ("compress.rate", "half", "a number"),
        ("extract.roles", "all", '"user", "assistant" or "both"'),
    ):
        mistake = lightmem("config", "set", key, value).exception
        assert isinstance(mistake, ProfileError)
        assert mistake.message == f'not set: {key} is "{value}": it must be {wanted}'
    assert isinstance(lightmem("config", "get", "retrieve.limt").exception, ProfileError)
    assert isinstance(lightmem("config", "set", "extract.roles", "all").exception, ProfileError)


def test_config_set_is_kept_from_other_profiles() -> None:
    lightmem("init", "work")
    lightmem("config", "set", "retrieve.limit", "5", "--profile", "work")
    assert lightmem("config", "get", "retrieve.limit").stdout == "20\n"
    assert lightmem("config", "get", "retrieve.limit", "-p", "work").stdout == "5\n"


def test_the_program_says_one_line_and_a_hint(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lightmem_cli", "config", "get", "-p", "nobody"],
        capture_output=True, encoding="utf-8", check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert "lightmem init nobody" in done.stderr


def test_a_profile_that_is_being_written_to_is_not_deleted(home: Path) -> None:
    lightmem("init", "work")
    folder = home / "profiles" / "work"
    history = History(folder / "history.db")
    history.work.reopen()
    refused = lightmem("profile", "delete", "work", "--yes").exception
    assert isinstance(refused, ProfileBusy)
    assert f"process {os.getpid()} on {socket.gethostname()}, at work since " in refused.message
    assert folder.exists()
    history.work.close()  # as the system does with the lock of who dies
    assert lightmem("profile", "delete", "work", "--yes").exit_code == 0
    assert not folder.exists()
    history.close()
