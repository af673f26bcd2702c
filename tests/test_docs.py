"""Documentation: every command is explained with examples, and README speaks only of commands that exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lightmem_cli.cli import app

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
readme_help = pytest.importorskip("readme_help")
readme_tree = pytest.importorskip("readme_tree")

COMMANDS = list(readme_help.commands(app))
GROUPS = {group.name for group in app.registered_groups}
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted((ROOT / "lightmem_cli").rglob("*.py"))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_ends_in_examples(path: tuple[str, ...]) -> None:
    text = readme_help.help_of(app, path)
    options, _, examples = text.partition("Examples:\n")
    assert re.search(r"\n\n  [A-Z`][^.]*[.]", options), "no sentence says what it does"
    lines = examples.splitlines()
    assert lines, "no examples"
    assert all("lightmem" in line for line in lines)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path[-1] not in GROUPS], ids=" ".join)
def test_every_command_takes_home_and_json(path: tuple[str, ...]) -> None:
    text = readme_help.help_of(app, path)
    assert "--json" in text
    assert "--home" in text or path == ("demo",)  # the demo has a home of its own, and touches no other


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_in_readme(path: tuple[str, ...]) -> None:
    assert f"<code>lightmem {' '.join(path)}</code>" in README


def called(text: str) -> set[tuple[str, ...]]:
    """The commands that `text` calls."""
    found = set()
    for words in re.findall(r"(?:^|[$`|(]\s*)lightmem ((?:[a-z]+ ?)+)", text, re.MULTILINE):
        first, *rest = words.split()
        found.add((first, rest[0]) if first in GROUPS and rest else (first,))
    return found


def test_readme_names_only_commands_that_exist() -> None:
    assert called(README) <= set(COMMANDS)
    assert ("ingest",) in called(README)


def test_examples_name_only_commands_that_exist() -> None:
    for path in COMMANDS:
        examples = readme_help.help_of(app, path).partition("Examples:\n")[2]
        lines = "\n".join(line.strip() for line in examples.splitlines())
        assert called(lines) <= set(COMMANDS), path


def test_hints_name_only_commands_that_exist() -> None:
    for module in MODULES:
        hints = re.findall(r'hint\s*=\s*\(?f?"([^"]*)"', module.read_text(encoding="utf-8"))
        assert called("\n".join(hints)) <= set(COMMANDS), module


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_does(module: Path) -> None:
    text = readme_tree.caption(module)
    assert text, "no docstring"
    assert len(text) < 160, "the first sentence is a caption: keep it short"
