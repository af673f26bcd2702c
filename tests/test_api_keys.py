"""An API key is sent to its server, and goes nowhere else: no file, no output and no log of a whole life holds it.

Everything that a command prints, and every file that it leaves behind, is searched, with all the talk switched on that
the clients have: also where the server refuses the key and says it again, fails, breaks off, or is interrupted.
"""

from __future__ import annotations

import base64
import json
import secrets
import signal
import sqlite3
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_life import MODEL, Life, Wire, as_lines, asks, notes, talk
from model_server import Asked, ModelServer
from process import start

QUESTION = ("ask", "Who saw the kestrels?", "--asked-at", "2024-06-01")
LOUD = {"PYTHONWARNINGS": "default", "OPENAI_LOG": "debug", "HTTPX_LOG_LEVEL": "debug"}
_LETTERS = "GHJKMNPQRSTVWXYZghjkmnpqrstvwxyz"  # none that a hash has: what is found was not there by chance


def a_key(beginning: str) -> str:
    return beginning + "".join(secrets.choice(_LETTERS) for _ in range(40))


def traces(key: str) -> list[bytes]:
    """The key as it may be written: whole, in base64, and each eight characters of it in a row."""
    hidden = key.rpartition("-")[2]
    parts = [hidden[at : at + 8] for at in range(len(hidden) - 7)]
    encoded = [base64.b64encode(f"{filler}{hidden}".encode())[4:-4] for filler in ("", "x", "xx")]
    return [part.encode() for part in parts] + encoded


def found_in(data: bytes, keys: list[str]) -> list[bytes]:
    return [trace for key in keys for trace in traces(key) if trace in data]


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file with what it holds; of an archive also its parts, of a database also what SQLite says."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(path), path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path}:{name}", archive.read(name)) for name in archive.namelist())
        if path.suffix == ".db":
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                yield f"{path} as SQL", "\n".join(database.iterdump()).encode()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        running.reply = says
        running.models = [MODEL]
        yield running


def says(asked: Asked) -> str:
    return "Anna saw them [1]." if "Question" in asked.prompt else notes(asked)


class Searched:
    """A life in folders of its own, with keys in its environment that are never to be seen again."""

    def __init__(self, server: ModelServer, wire: Wire, folder: Path) -> None:
        self.folder = folder
        for name in ("tmp", "cache", "work"):
            (folder / name).mkdir()
        custom = "OLLAMA_API_KEY" if wire == "ollama" else "MY_MODEL_KEY"
        self.key = a_key("")  # by which nobody can tell that it is one
        self.keys = [self.key, a_key("sk-")]
        server.key = self.key
        env = asks(server, wire, llm__retries="0", extract__use="llm", extract__buffer_tokens="64")
        env |= {"TMPDIR": str(folder / "tmp"), "LIGHTMEM_CACHE": str(folder / "cache"), "XDG_CACHE_HOME": str(folder)}
        env |= {"OPENAI_API_KEY": self.keys[1], custom: self.key, "LIGHTMEM_LLM__API_KEY_ENV": custom}
        self.life = Life(folder / "home", env, loud=LOUD)

    def nowhere(self) -> None:
        """Neither key stands in anything that was printed or written."""
        for data in self.life.said:
            assert found_in(data, self.keys) == [], data.decode(errors="replace")
        assert len([path for path in self.folder.rglob("*") if path.is_file()]) > 3
        for name, data in files_below(self.folder):
            assert found_in(data, self.keys) == [], name

    def interrupted(self, server: ModelServer, *arguments: str) -> None:
        """Run a command, and press Ctrl-C while it waits for the server."""
        before = len(server.calls)
        running = start(*arguments, env=self.life.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while len(server.calls) == before and running.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        self.life.said += running.communicate(timeout=60)
        assert running.returncode == 130, self.life.said[-1].decode()


@pytest.fixture(params=["ollama", "openai"])
def searched(request: pytest.FixtureRequest, server: ModelServer, tmp_path: Path) -> Searched:
    folder = tmp_path / "searched"
    folder.mkdir()
    return Searched(server, request.param, folder)


def test_a_search_finds_a_key() -> None:
    key = a_key("sk-proj-")
    assert found_in(f"api_key = {key}".encode(), [key])
    assert found_in(base64.b64encode(f"Bearer {key}".encode()), [key])
    assert found_in(f"sk-proj-****{key[-8:]}".encode(), [key])
    assert found_in(b"sk-proj-", [key]) == []


def test_a_whole_life(searched: Searched, server: ModelServer) -> None:
    life, backup = searched.life, searched.folder / "work" / "memory.zip"
    life.here("init", "default", "--from", "openai")
    life.runs("ingest", "-", "--json", feed=as_lines(talk()))
    life.runs("summarize", "--use", "llm", "--json")
    life.runs(*QUESTION)
    for command in (
        ("update", "--use", "llm", "--json"), ("doctor", "--json"), ("backup", backup),
        ("config", "get"), ("config", "get", "--json"), ("profile", "list", "--json"), ("extract", "--json"),
        (*QUESTION, "--json"), (*QUESTION, "--context"), ("doctor", "--deep"), ("stats",), ("stats", "--json"),
        ("log",), ("log", "--json"), ("export", "--state"), ("retrieve", "kestrels", "--json"),
    ):  # fmt: skip
        life.here(*command)
    assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {searched.key}"}, "it is really used"
    assert {"extract", "summarize", "ask", "probe"} <= life.stats()["llm"].keys()
    searched.nowhere()


def test_a_server_that_refuses_the_key_and_says_it_again(searched: Searched, server: ModelServer) -> None:
    life = searched.life
    server.says_key = True
    life.here("init", "default")
    (searched.folder / "work" / "talk.jsonl").write_bytes(as_lines(talk()[:16]))
    life.here("ingest", searched.folder / "work" / "talk.jsonl", "--journal-only")
    server.always("401")
    life.runs("extract", code=5)
    for fault in ("500", "429", "400", "overflow", "404-model"):
        server.always(fault)  # type: ignore[arg-type]
        life.here("extract", code=4 if fault == "404-model" else 5)
    server.always("401")
    life.runs(*QUESTION, code=5)
    life.here(*QUESTION, "--json", code=5)
    life.here("doctor", code=5)
    for command in (("stats", "--json"), ("log", "--json"), ("doctor", "--deep", "--json")):
        life.here(*command)
    assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {searched.key}"}
    searched.nowhere()


def test_a_server_that_breaks_off_or_is_interrupted(searched: Searched, server: ModelServer) -> None:
    life = searched.life
    server.says_key = True
    life.here("init", "default")
    (searched.folder / "work" / "talk.jsonl").write_bytes(as_lines(talk()[:16]))
    life.here("ingest", searched.folder / "work" / "talk.jsonl", "--journal-only")
    server.always("cut")
    life.runs("extract", code=5)
    for fault in ("not-utf8", "error-mid-stream", "html"):
        server.always(fault)  # type: ignore[arg-type]
        life.here("extract", code=5)
    server.always("hang")
    life.here("extract", code=5, env={"LIGHTMEM_LLM__TIMEOUT_SECONDS": "1"})
    searched.interrupted(server, "extract")
    server.always("stall")
    searched.interrupted(server, *QUESTION)
    server.stop()
    life.here("extract", code=5)
    searched.nowhere()


KEY_IN = {
    "for the name of its variable": ("llm.api_key_env", lambda key: key),
    "as a setting": ("llm.api_key", lambda key: key),
    "as a password": ("llm.base_url", lambda key: f"http://me:{key}@127.0.0.1:1/v1"),
    "as a user": ("llm.base_url", lambda key: f"http://{key}@127.0.0.1:1/v1"),
    "in a query": ("llm.base_url", lambda key: f"http://127.0.0.1:1/v1?api-key={key}"),
    "among the options": ("llm.options", lambda key: json.dumps({"api_key": key})),
    "in a header": ("llm.options", lambda key: json.dumps({"extra_headers": {"Authorization": f"Bearer {key}"}})),
    "deep in the options": ("llm.options", lambda key: json.dumps({"extra_body": {"provider": {"api_key": key}}})),
}


@pytest.mark.parametrize("where", KEY_IN)
def test_a_key_that_is_put_into_a_profile_is_not_kept_there(where: str, home: Path, tmp_path: Path) -> None:
    """By hand, by `config set`, by the environment: it is refused, and not said again."""
    setting, put = KEY_IN[where]
    key = a_key("sk-proj-")
    value = put(key)
    life = Life(home, {"LIGHTMEM_LLM__USE": "openai", "LIGHTMEM_LLM__MODEL": MODEL, "LIGHTMEM_LLM__RETRIES": "0"})
    life.here("init", "default")
    refused = life.runs("config", "set", setting, value, code=2)
    assert b"environment" in refused.stderr
    assert [name for name, data in files_below(tmp_path) if found_in(data, [key])] == []

    table, _, name = setting.partition(".")
    from_environment = {f"LIGHTMEM_{table.upper()}__{name.upper()}": value}
    life.here("stats", "--json", code=2, env=from_environment)
    profile = home / "profiles" / "default" / "profile.toml"
    written = value if value.startswith("{") else json.dumps(value)
    profile.write_text(f"[{table}]\n{name} = {_as_toml(written)}\n", encoding="utf-8")
    for command in (("stats", "--json"), ("config", "get"), ("doctor",)):
        life.here(*command, code=2)
    assert [data for data in life.said if found_in(data, [key])] == []


def _as_toml(value: str) -> str:
    """JSON as an inline table."""
    import tomli_w

    def inline(value: object) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {inline(one)}" for name, one in value.items()) + " }"
        return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()

    return inline(json.loads(value))
