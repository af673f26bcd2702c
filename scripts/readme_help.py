"""Writes the command reference for README from the command line's own help."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import typer
from typer.testing import CliRunner


def commands(app: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that call each command, groups included, in the order of registration."""
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        yield (*path, name)
    for group in app.registered_groups:
        assert group.name and group.typer_instance
        yield (*path, group.name)
        yield from commands(group.typer_instance, (*path, group.name))


def help_of(app: typer.Typer, path: tuple[str, ...]) -> str:
    """The help of one command as an 80-column terminal shows it."""
    os.environ["COLUMNS"] = "80"
    for variable in ("LIGHTMEM_PROFILE", "LIGHTMEM_HOME"):
        os.environ.pop(variable, None)
    result = CliRunner().invoke(app, [*path, "--help"], prog_name="lightmem")
    assert result.exit_code == 0, result.output
    return result.stdout.rstrip()


def reference() -> str:
    """`lightmem --help`, then each command's help to unfold."""
    from lightmem_cli.cli import app

    parts = [f"```\n{help_of(app, ())}\n```"]
    for path in commands(app):
        title = f"<details><summary><code>lightmem {' '.join(path)}</code></summary>"
        parts.append(f"{title}\n\n```\n{help_of(app, path)}\n```\n\n</details>")
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference() + "\n")
