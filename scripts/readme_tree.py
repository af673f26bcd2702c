"""Draws the tree of files for README, each with the first sentence of its own docstring as caption."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("lightmem_cli", "profiles", "scripts")
SUFFIXES = (".py", ".toml", ".jsonl")


def tree(folders: tuple[str, ...] = SHOWN, *, width: int = 32) -> str:
    """One line per file under `folders`, indented by depth, captions aligned at column `width`."""
    lines = [line for folder in folders for line in _branch(ROOT / folder, depth=0)]
    return "\n".join(f"{name:<{width}}{caption}".rstrip() for name, caption in lines)


def _branch(folder: Path, *, depth: int) -> list[tuple[str, str]]:
    children = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    lines = [("  " * depth + f"{folder.name}/", caption(folder / "__init__.py"))]
    for child in children:
        if child.is_dir() and any(child.rglob("*.*")) and child.name != "__pycache__":
            lines += _branch(child, depth=depth + 1)
        elif child.suffix in SUFFIXES and child.name != "__init__.py":
            lines.append(("  " * (depth + 1) + child.name, caption(child)))
    return lines


def caption(path: Path) -> str:
    """The first sentence of a module's docstring, or of a settings file's first comment; "" where there is none."""
    if not path.is_file() or path.suffix == ".jsonl":
        return ""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        text = text.splitlines()[0].removeprefix("# ") if text.startswith("# ") else ""
    else:
        text = ast.get_docstring(ast.parse(text)) or ""
    return text.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


if __name__ == "__main__":
    sys.stdout.write(tree() + "\n")
