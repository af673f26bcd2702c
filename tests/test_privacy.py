"""What leaves the machine, and what stays on it: nothing is asked but the hosts that a profile names, nothing strays.

Commands run in processes of their own, with a HOME, a TMPDIR and a folder to stand in that are empty. Where they turn
to is noted and refused by network_watch/, in Python and, where gcc can build it, in native code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from model_life import MODEL, WIRES, Wire, asks, notes
from model_server import Asked, ModelServer
from process import HASHING
from tiny_bert import make_tiny_bert
from tiny_causal_model import make_tiny_gpt2
from tiny_chat_model import make_tiny_chat
from tiny_token_models import make_tiny_llmlingua

from lightmem_cli.privacy import HUB, TELEMETRY, keep_caches_in, stay_off_the_hub, turn_off_telemetry

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "lightmem_cli" / "samples" / "conversation.jsonl"
WATCH = ROOT / "tests" / "network_watch"
QUESTION = "When did Ines adopt Biscuit?"
NATIVE = sys.platform == "linux" and shutil.which("gcc") is not None
REPORTS = tuple(int(part) for part in version("onnxruntime").split(".")[:2]) >= (1, 29)

onnxruntime_reports = pytest.mark.skipif(
    not (REPORTS and sys.platform == "linux"), reason="this onnxruntime has nothing to report: it does from 1.29 on"
)

ONNXRUNTIME = """
import onnxruntime
from onnx import TensorProto, helper

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "copy", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


class World:
    """A user's empty folders, and the processes that run there with nothing in their environment but those."""

    def __init__(self, folder: Path, *, library: Path | None) -> None:
        self.home, self.temporary, self.here = (folder / name for name in ("user", "tmp", "here"))
        for made in (self.home, self.temporary, self.here):
            made.mkdir(parents=True)
        self._log = folder / "network"
        path = os.pathsep.join((str(WATCH), str(ROOT)))
        # As few as that: in a CI's environment onnxruntime reports nothing, and there would be nothing to see.
        self.environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        self.environment |= {"HOME": str(self.home), "TMPDIR": str(self.temporary), "PYTHONPATH": path}
        self.environment |= {"NETWORK_LOG": str(self._log)} | ({"LD_PRELOAD": str(library)} if library else {})

    def python(self, *arguments: str | Path, code: int | None = 0, **environment: str) -> str:
        """Run Python with `arguments`, to end with `code` (None: with any); what it said on stderr."""
        run = subprocess.run(
            [sys.executable, *arguments], env=self.environment | environment, cwd=self.here, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        told = run.stderr.decode()
        assert code is None or run.returncode == code, f"{arguments}: {run.returncode}\n{told}"
        return told

    def lightmem(self, *arguments: str | Path, code: int | None = 0, **environment: str) -> str:
        return self.python("-m", "lightmem_cli", *arguments, code=code, **environment)

    def turned_to(self) -> set[str]:
        """The places that any process turned to, "HOST:PORT"."""
        return set(self._log.read_text("utf-8").splitlines()) if self._log.exists() else set()

    def strays(self) -> list[str]:
        """Files and folders outside the user's data, configuration and cache of `lightmem`."""
        ours = [path for path in self.home.rglob("lightmem") if path.is_dir()]
        found = [path for top in (self.home, self.temporary, self.here) for path in top.rglob("*")]
        return sorted(
            str(path)
            for path in found
            if not any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in ours)
        )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The watch of native code; None where it cannot be built."""
    if not NATIVE:
        return None
    built = tmp_path_factory.mktemp("watch") / "network_watch.so"
    build = ["gcc", "-shared", "-fPIC", "-o", built, WATCH / "network_watch.c", "-ldl"]
    return built if subprocess.run(build, check=False).returncode == 0 else None


@pytest.fixture
def world(tmp_path: Path, library: Path | None) -> World:
    return World(tmp_path / "world", library=library)


def test_every_stage_with_the_default_models(world: World) -> None:
    """From the first use: the embedder is prepared, and nothing else is written but a memory."""
    world.lightmem("demo")
    assert world.strays() == []
    world.lightmem("ingest", SAMPLE)
    world.lightmem("update")
    world.lightmem("summarize")
    world.lightmem("retrieve", QUESTION)
    world.lightmem("ask", QUESTION)
    world.lightmem("doctor")
    world.lightmem("backup", "-")
    assert world.turned_to() == set()
    assert world.strays() == []


def test_a_picture(world: World, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed: pip install -e '.[plot]'")
    world.lightmem("segment", SAMPLE, "--plot", tmp_path / "curve.png", **HASHING)
    assert (tmp_path / "curve.png").exists()
    assert world.turned_to() == set()
    assert world.strays() == []


@pytest.mark.parametrize("wire", WIRES)
def test_a_language_models_server_is_all_that_is_asked(wire: Wire, world: World) -> None:
    stages = {f"LIGHTMEM_{stage}__USE": "llm" for stage in ("EXTRACT", "UPDATE", "SUMMARIZE")}
    with ModelServer() as server:
        server.reply, server.models = says, [MODEL]
        named = re.findall(r"127\.0\.0\.1:\d+", server.url)
        env = {**asks(server, wire), **stages, **HASHING, "NETWORK_ALLOWED": named[0]}
        world.lightmem("ingest", SAMPLE, **env)
        world.lightmem("update", **env)
        world.lightmem("summarize", **env)
        world.lightmem("ask", QUESTION, **env)
        world.lightmem("doctor", **env)
        assert len(server.calls) > 4
    assert world.turned_to() == set(named)
    assert world.strays() == []


def says(asked: Asked) -> str:
    return notes(asked) if asked.schema else "On 22 March 2024 [1]."


def test_models_in_this_process(world: World, tmp_path: Path) -> None:
    """sentence-transformers, transformers and both runtimes of a compressor, from folders."""
    tokens, chat = make_tiny_llmlingua(tmp_path), make_tiny_chat(tmp_path / "chat", context=1 << 14)
    env = {
        "LIGHTMEM_EMBED__USE": "sentence-transformers", "LIGHTMEM_EMBED__MODEL": str(make_tiny_bert(tmp_path)),
        "LIGHTMEM_COMPRESS__USE": "llmlingua2", "LIGHTMEM_COMPRESS__MODEL": str(tokens),
        "LIGHTMEM_SEGMENT__USE": "hybrid",
        "LIGHTMEM_LLM__USE": "transformers", "LIGHTMEM_LLM__MODEL": str(chat),
    }  # fmt: skip
    world.lightmem("ingest", SAMPLE, **env)
    told = world.lightmem("ask", QUESTION, code=None, **env)  # what it answers is test_llm_transformers.py's to say
    assert "loading transformers/chat" in told
    by_torch = {"LIGHTMEM_COMPRESS__PRECISION": "fp32"}
    world.lightmem("compress", SAMPLE, **env, **by_torch)
    causal = str(make_tiny_gpt2(tmp_path / "gpt2"))
    world.lightmem("compress", SAMPLE, LIGHTMEM_COMPRESS__USE="entropy", LIGHTMEM_COMPRESS__MODEL=causal)
    assert world.turned_to() == set()
    assert world.strays() == []


@pytest.mark.parametrize(
    ("table", "use", "command"),
    [
        ("EMBED", "sentence-transformers", ("reindex",)),
        ("COMPRESS", "llmlingua2", ("compress", SAMPLE)),
        ("COMPRESS", "entropy", ("compress", SAMPLE)),
        ("LLM", "transformers", ("ask", QUESTION)),
    ],
)
def test_a_model_of_the_hub_is_not_looked_for_there(
    table: str, use: str, command: tuple[str | Path, ...], world: World
) -> None:
    of_the_hub = {f"LIGHTMEM_{table}__USE": use, f"LIGHTMEM_{table}__MODEL": "nobody/none"}
    world.lightmem("ingest", SAMPLE, **HASHING)
    told = world.lightmem(*command, code=4, **HASHING | of_the_hub)
    assert "hf download nobody/none" in told
    assert world.turned_to() == set()
    assert world.strays() == []


def test_a_program_that_imports_us(world: World) -> None:
    """The switches stand before a library is imported, whoever does it."""
    world.python("-c", f"import lightmem_cli.records\n{ONNXRUNTIME}")
    assert world.turned_to() == set()
    assert world.strays() == []


def test_the_hub_stays_open_to_a_program_that_imports_us(world: World) -> None:
    world.python("-c", "import lightmem_cli, huggingface_hub.constants as at; assert not at.HF_HUB_OFFLINE")
    world.python("-c", "import lightmem_cli, huggingface_hub.constants as at; assert at.HF_HUB_DISABLE_TELEMETRY")


@onnxruntime_reports
def test_onnxruntime_by_itself_leaves_files(world: World) -> None:
    """So the tests above can fail."""
    world.python("-c", ONNXRUNTIME)
    assert [path for path in world.strays() if path.endswith("deviceid")] != []


@onnxruntime_reports
def test_who_asks_for_reports_has_them(world: World) -> None:
    world.python("-c", f"import lightmem_cli\n{ONNXRUNTIME}", ORT_DISABLE_TELEMETRY="0")
    assert world.strays() != []


def test_the_watch_sees_python(world: World) -> None:
    program = (
        "import socket\ntry: socket.create_connection(('example.invalid', 80))\nexcept ConnectionRefusedError: pass"
    )
    world.python("-c", program)
    assert world.turned_to() == {"example.invalid:80"}


def test_the_watch_sees_native_code(world: World, library: Path | None) -> None:
    if library is None:
        pytest.skip("native code is watched on Linux, where gcc and the C library's headers are installed")
    program = """
import ctypes
library, nothing = ctypes.CDLL(None), ctypes.c_void_p()
assert library.getaddrinfo(b"example.invalid", b"443", None, ctypes.byref(nothing)) != 0
stream = library.socket(2, 1, 0)
assert library.connect(stream, b"\\x02\\x00\\x00\\x50\\xcb\\x00\\x71\\x01" + bytes(8), 16) == -1
"""
    world.python("-c", program)
    assert world.turned_to() == {"example.invalid:443", "203.0.113.1:80"}


@pytest.mark.parametrize(
    ("given", "stands"),
    [
        (None, "1"),
        ("", "1"),
        ("1", "1"),
        ("true", "1"),
        ("disabled", "1"),
        ("0", "0"),
        ("false", "false"),
        (" No ", " No "),
    ],
)
def test_only_a_plain_no_is_left_as_it_is(given: str | None, stands: str, monkeypatch: pytest.MonkeyPatch) -> None:
    switches = (*TELEMETRY, *HUB)
    for switch in switches:
        monkeypatch.delenv(switch, raising=False)
        if given is not None:
            monkeypatch.setenv(switch, given)
    turn_off_telemetry()
    stay_off_the_hub()
    assert {os.environ[switch] for switch in switches} == {stands}


def test_caches_are_kept_in_ours_unless_the_user_chose_or_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "chosen")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    file = tmp_path / "file"
    file.touch()
    keep_caches_in(file / "cache")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == ""
    keep_caches_in(tmp_path / "to" / "be" / "made")
    assert os.environ["MPLCONFIGDIR"] == "chosen"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "to" / "be" / "made" / "torchinductor")
    assert list(tmp_path.iterdir()) == [file], "only whoever needs it makes it"
