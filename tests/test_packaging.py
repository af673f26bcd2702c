"""The wheel: what a user installs holds every module, the example profiles and the sample conversation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_a_build_holds_everything(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="the wheel is built by setuptools")
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    built = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lightmem_cli").rglob("*.py")}
    prompts = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lightmem_cli").rglob("*.md")}
    examples = {f"lightmem_cli/example_profiles/{path.name}" for path in (ROOT / "profiles").glob("*.toml")}
    assert modules | prompts | examples | {"lightmem_cli/samples/conversation.jsonl"} == built
    names = "import lightmem_cli.profiles as p; print(p.__file__, *p.template_names())"
    done = subprocess.run(
        [sys.executable, "-c", names], cwd=tmp_path, check=True, capture_output=True, encoding="utf-8"
    )
    file, *templates = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert "embedded" in templates


def test_the_sample_is_a_conversation_of_three_days() -> None:
    lines = (ROOT / "lightmem_cli" / "samples" / "conversation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({row["id"] for row in rows}) == len(rows) == 40
    assert len({row["timestamp"][:10] for row in rows}) == len({row["session"] for row in rows}) == 3
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
    assert sum("image_caption" in row for row in rows) == 3
