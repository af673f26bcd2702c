"""Imports: `lightmem --help` stays light, and the layers hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "torch", "transformers", "sentence_transformers", "llmlingua", "faiss", "onnxruntime", "numpy", "pydantic",
    "ollama", "openai", "httpx", "tenacity", "llguidance", "rich", "dateparser",
}  # fmt: skip

LIST_MODULES = """
import json, sys
sys.argv = ["lightmem", *sys.argv[1:]]
from lightmem_cli.cli import run
try:
    run()
except SystemExit as ended:
    code = ended.code or 0
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["--version"], {"pydantic"}),  # Typer itself reads typed options with pydantic
        (["ingest", "--help"], {"pydantic"}),
        (["config", "get", "--help"], {"pydantic"}),
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str], allowed: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments], capture_output=True, encoding="utf-8", check=True, cwd=ROOT
    )
    code, loaded = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    assert "typer" in loaded  # the list is a real one
    assert (HEAVY - allowed) & set(loaded) == set()


def test_imports_keep_to_their_layers() -> None:
    pytest.importorskip("importlinter", reason="the dev extra is not installed: pip install -e '.[dev]'")
    check = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, encoding="utf-8", check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
