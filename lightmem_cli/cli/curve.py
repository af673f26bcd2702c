"""Prints a conversation turn by turn with how clearly a topic ends behind each, and a rule wherever one does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from lightmem_cli.cli import render

if TYPE_CHECKING:
    from lightmem_cli.engine.filters.segment import InTopic

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR = 8  # cells of a bar of 1
_SPEAKER = 12  # cells
_UNMEASURED = ("session", "silence", "buffer")  # these end a topic whatever it says: their rule has no score
_NARROWEST = 40  # cells of a line, however narrow the terminal


@dataclass(slots=True)
class Curve:
    """Turns as lines of `width` cells: number, bar, speaker, first words."""

    width: int
    coloured: bool
    turns: int = 0

    def lines(self, one: InTopic) -> Iterator[str]:
        """The line of the next turn and, where a topic ends with it, the rule that says what cut it."""
        measured = not (one.last and one.cut_by in _UNMEASURED)
        self.turns += 1
        bar = self._styled(f"{_bar(one.gap) if measured else '':<{_BAR}}", fg="yellow" if one.last else "cyan")
        who = _cut(render.one_line(one.message.speaker or one.message.role), _SPEAKER)
        begin = f"{self.turns:>4} {bar} {who}{' ' * (_SPEAKER - _cells(who))} "
        room = self.width - max(len(f"{self.turns}"), 4) - _BAR - _SPEAKER - 3
        yield f"{begin}{_cut(render.one_line(one.message.content), room)}".rstrip()
        if one.last:
            yield self._rule(one)

    def _rule(self, one: InTopic) -> str:
        line = "━" if one.cut_by in ("session", "silence") else "─"
        score = "" if one.cut_by in _UNMEASURED else f" {one.score:.2f}".replace(" 0.", " .")
        begin = f"{line * 3} topic {one.segment} · {one.cut_by}{score} "
        end = f" {_cut(render.one_line(one.message.session), 24)} {line * 2}" if one.cut_by == "session" else ""
        return self._styled(f"{begin}{line * (self.width - _cells(begin) - _cells(end))}{end}", bold=True)

    def _styled(self, text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
        return typer.style(text, fg=fg, bold=bold) if self.coloured else text


def for_output() -> Curve:
    """As wide as the terminal, 100 cells in a pipe, and coloured on a terminal where NO_COLOR is not set."""
    width = shutil.get_terminal_size(fallback=(100, 24)).columns
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return Curve(width=max(width, _NARROWEST), coloured=coloured)


def _bar(score: float) -> str:
    """A bar of eighths of cells; what is above 0 shows."""
    eighths = max(round(score * _BAR * 8), 1 if score > 0 else 0)
    return (_EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _cells(text: str) -> int:
    """How many cells of a terminal `text` takes: a Chinese character takes two."""
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, cells: int) -> str:
    """The beginning of `text` that fits so many cells."""
    from rich.cells import set_cell_size

    return text if _cells(text) <= cells else f"{set_cell_size(text, cells - 1).rstrip()}…"
