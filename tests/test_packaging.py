"""What a user installs: every module, the example profiles and the sample; the packages it stands on, and how old."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME = PROJECT["project"]["name"]
BASE = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
EXTRAS = {
    extra: [Requirement(line) for line in lines] for extra, lines in PROJECT["project"]["optional-dependencies"].items()
}
BUILD = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
DECLARED = [one for one in (*BUILD, *BASE, *(one for extra in EXTRAS.values() for one in extra)) if one.name != NAME]
LOCKED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
REFUSED = [
    ("filelock", "3.16.1", "CVE-2025-68146: a lock's file is truncated through a link"),
    ("filelock", "3.20.2", "CVE-2026-22701: the same of SoftFileLock"),
    ("jinja2", "3.1.5", "CVE-2025-27516: a chat template leaves its sandbox"),
    ("nltk", "3.9.2", "CVE-2025-14009: an archive of data runs code"),
    ("nltk", "3.10.2", "CVE-2026-62383"),
    ("ollama", "0.6.1", "its client cannot be closed"),
    ("onnx", "1.20.1", "CVE-2026-27489, -28500, -34445, -34446: external data from anywhere"),
    ("pytest", "9.0.2", "CVE-2025-71176: another user takes over its folders"),
    ("sentence-transformers", "5.7.0", "runs code of a model's folder"),
    ("setuptools", "78.1.0", "CVE-2025-47273: a download leaves its folder"),
    ("setuptools", "82.0.0", "CVE-2026-59890: what is excluded is packed"),
    ("torch", "2.5.1", "CVE-2025-32434: torch.load runs code although it reads weights only"),
    ("torch", "2.9.1", "CVE-2026-24747: torch.load corrupts memory"),
    ("torch", "2.12.1", "GHSA-rrmf-rvhw-rf47: memory corruption"),
    ("transformers", "5.2.0", "CVE-2026-4372: a config.json runs code"),
    ("transformers", "5.4.0", "CVE-2026-5241: a config.json says that code is trusted"),
    ("transformers", "5.9.0", "CVE-2026-9856: saving a tokenizer writes outside its folder"),
]


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


@pytest.mark.parametrize(("name", "version", "why"), REFUSED)
def test_a_version_known_to_be_unsafe_or_broken_is_refused(name: str, version: str, why: str) -> None:
    wanted = [one for one in DECLARED if canonicalize_name(one.name) == name]
    assert wanted, f"{name} is not declared"
    assert [str(one) for one in wanted if version in one.specifier] == [], f"{name} {version}: {why}"


def test_each_package_is_declared_with_the_lowest_version_that_is_tried() -> None:
    assert [str(one) for one in DECLARED if not any(each.operator == ">=" for each in one.specifier)] == []


def test_what_is_imported_is_declared() -> None:
    owners = packages_distributions()
    missing = {}
    for extra, names in (("", BASE), ("plot", [*BASE, *EXTRAS["plot"]])):
        declared = {canonicalize_name(one.name) for one in names}
        for package, module in _imported():
            owned = {canonicalize_name(name) for name in owners.get(package, [package])}
            if not owned & declared and (package == "matplotlib") == bool(extra):
                missing[package] = module
    assert missing == {}


def _imported() -> Iterator[tuple[str, str]]:
    """Each package of others that a module imports, wherever in it, with the module."""
    for path in sorted((ROOT / "lightmem_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for package in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"lightmem_cli"}:
                yield package, path.relative_to(ROOT).as_posix()


def test_the_lock_holds_one_version_of_each_package_and_it_is_allowed() -> None:
    assert NAME not in LOCKED
    assert [f"{name}=={version}" for name, version in LOCKED.items() if "+" in version] == []  # one build of a release
    here = [one for one in DECLARED if one.marker is None or one.marker.evaluate()]
    assert [one.name for one in here if canonicalize_name(one.name) not in LOCKED] == []
    assert [str(one) for one in here if LOCKED[canonicalize_name(one.name)] not in one.specifier] == []


def test_the_lock_is_of_everything_that_is_installed() -> None:
    installed = dict(_installed())
    if other := {name for name in installed.keys() & LOCKED.keys() if installed[name] != LOCKED[name]}:
        pytest.skip(f"this is another environment: {', '.join(sorted(other))}")
    assert installed.keys() - LOCKED.keys() == {NAME}


def _installed() -> Iterator[tuple[str, str]]:
    """Every package that this one with its extra dev leads to, here, and the version it has."""
    waiting, seen = [(NAME, "dev")], set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        yield name, found.version.partition("+")[0]
        for one in map(Requirement, found.requires or []):
            if one.marker is None or one.marker.evaluate({"extra": extra}) or one.marker.evaluate({"extra": ""}):
                waiting += [(canonicalize_name(one.name), each) for each in ("", *one.extras)]


def test_torch_is_chosen_in_one_place() -> None:
    [chosen] = re.findall(r"^TORCH := torch==(\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert chosen == LOCKED["torch"]
