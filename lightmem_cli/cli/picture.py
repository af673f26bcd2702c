"""Draws how clearly a conversation's topics end, turn by turn, as a picture with every cut in it."""

from __future__ import annotations

import io
import logging
import math
import os
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightmem_cli.cli import render
from lightmem_cli.errors import InputError, MissingPart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightmem_cli.engine.filters.segment import InTopic

FORMATS = (".png", ".svg", ".pdf")

_ROW = 240  # turns in a row of the picture, while the rows are few enough
_MOST_ROWS = 24
_WIDTH = 13.0  # inches
_LEFT, _RIGHT = 0.85, 0.2  # inches beside the rows
_ABOVE, _BELOW = 0.95, 0.5  # inches: title, legend and the first row's names; turn numbers
_ONE, _EACH, _BETWEEN = 2.6, 1.1, 0.55  # inches: a row alone, one of several, and what is between those
_ROOM = _WIDTH - _LEFT - _RIGHT  # inches of a row
_LETTERS = 12  # of a label to an inch

_INK, _FAINT = "#2b2f36", "#8a9099"
_CURVE, _CUT = "#3f6f9f", "#c8452f"
_SHADE = "#edf1f5"  # behind every other topic
_TITLE = 60  # letters of a title, without what is counted
_TOP = 1.04  # a score of 1 is to be seen
# What ends a topic without being measured: its rule's colour and style, and what it means.
_RULES = {
    "session": (_INK, "-", "a session ends"),
    "silence": (_INK, ":", "a long silence"),
    "buffer": (_FAINT, "-.", "no more is read at once"),
}
_METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}


class _Span(NamedTuple):
    """Turns from `first` to `last`, counted from 1, and what they are called."""

    first: int
    last: int
    name: str


class _Cut(NamedTuple):
    """A topic ends behind turn `turn`."""

    turn: int
    by: str
    score: float


class Picture:
    """The curve of a conversation, drawn when it is complete."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: `path` is not a picture's, or not a place to write to.
            MissingPart: matplotlib is not installed.
        """
        if path.suffix.lower() not in FORMATS:
            hint = f"end its name in {', '.join(FORMATS)}; --plot - draws on the terminal"
            suffix = path.suffix or "a name without a suffix"
            raise InputError(f"cannot draw {path}: {suffix}: only .png, .svg and .pdf can be drawn", hint=hint)
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder", hint="--plot curve.png")
        if not path.absolute().parent.is_dir():
            hint = "make it, or name a picture elsewhere: --plot curve.png"
            raise InputError(f"cannot write {path}: no folder {path.absolute().parent}", hint=hint)
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # what it says of fonts and caches mends nothing
        try:
            import matplotlib.figure  # noqa: F401  # before any work: 0.3 s
        except ImportError as error:
            hint = "pip install 'lightmem-cli[plot]'    (--plot - draws on the terminal without it)"
            raise MissingPart("a picture is drawn by matplotlib, which is not installed", hint=hint) from error
        self.path = path
        self._gaps: list[float] = []
        self._cuts: list[_Cut] = []
        self._sessions: list[_Span] = []
        self._place: tuple[str, str] | None = None
        self._conversation: str | None = None

    @property
    def turns(self) -> int:
        return len(self._gaps)

    def take(self, one: InTopic) -> None:
        """Take in the next turn."""
        turn = len(self._gaps) + 1
        place = (one.message.conversation, one.message.session)
        if place == self._place:
            self._sessions[-1] = self._sessions[-1]._replace(last=turn)
        else:
            named = place if self._conversation != place[0] else place[1:]  # a conversation at its first session
            self._sessions.append(_Span(turn, turn, render.one_line(" · ".join(part for part in named if part))))
            self._place, self._conversation = place, place[0]
        if one.last:
            self._cuts.append(_Cut(turn, one.cut_by, one.score))
            self._place = None if one.cut_by == "session" else place
        self._gaps.append(math.nan if one.last and one.cut_by in _RULES else one.gap)

    def write(self, *, title: str, measured: str, threshold: float | None) -> None:
        """Draw what was taken in, and put it in its place at once.

        `measured` is what the scores are of; cuts are only where one reaches `threshold`, where there is one.

        Raises:
            InputError: the system refuses to write it.
        """
        data = io.BytesIO()
        kind = self.path.suffix.lower()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as of a name in a script that the font lacks
            figure = self.figure(title=title, measured=measured, threshold=threshold)
            figure.savefig(data, format=kind[1:], dpi=150, metadata=_METADATA[kind])
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            fresh.write_bytes(data.getvalue())
            fresh.replace(self.path)
        except OSError as error:
            what = f"cannot write {self.path}: {error.strerror or error}"
            raise InputError(what, hint="name another file with --plot") from error
        finally:
            fresh.unlink(missing_ok=True)

    def figure(self, *, title: str, measured: str, threshold: float | None) -> Figure:
        """What was taken in as matplotlib's figure, not yet written; see `write`."""
        from matplotlib.figure import Figure

        rows = min(max(1, math.ceil(len(self._gaps) / _ROW)), _MOST_ROWS)
        length = max(math.ceil(len(self._gaps) / rows), 2)
        row_height = _ONE if rows == 1 else _EACH
        height = _ABOVE + rows * row_height + (rows - 1) * _BETWEEN + _BELOW
        figure = Figure(figsize=(_WIDTH, height), facecolor="white")
        # Inches, not a layout that measures what is drawn: that one gives up where a row has no cut, or many.
        places = {"left": _LEFT / _WIDTH, "right": 1 - _RIGHT / _WIDTH, "hspace": _BETWEEN / row_height}
        places |= {"bottom": _BELOW / height, "top": 1 - _ABOVE / height}
        panels = figure.subplots(rows, 1, squeeze=False, gridspec_kw=places)[:, 0]
        for number, axes in enumerate(panels):
            row = _Span(number * length + 1, (number + 1) * length, "")
            self._draw_topics(axes, row)
            self._draw_curve(axes, row, threshold=threshold)
            self._draw_ends(axes, row)
            _dress(axes, row)
        panels[-1].set_xlabel("turn", color=_INK)
        score = "score" if measured == "none" else f"{measured} score"
        middle = (_BELOW + height - _ABOVE) / 2 / height
        figure.supylabel(score, x=0.2 / _WIDTH, y=middle, color=_INK, fontsize=10, va="center")
        counts = [render.counted(len(self._gaps), "turn"), render.counted(len(self._cuts), "topic")]
        counts.append(render.counted(len(self._sessions), "session"))
        figure.suptitle(
            f"{_cut(title, _TITLE)}  ·  {', '.join(counts)}", x=0.2 / _WIDTH, y=1 - 0.1 / height, ha="left", va="top",
            color=_INK, fontsize=12, fontweight="bold", parse_math=False,
        )  # fmt: skip
        self._explain(figure, threshold=threshold)
        return figure

    def _draw_topics(self, axes: Axes, row: _Span) -> None:
        """Topics, every other one on a ground of its own, numbered where there is room."""
        begins = [1, *(cut.turn + 1 for cut in self._cuts)]
        shaded = []
        for number, (begin, following) in enumerate(pairwise(begins), start=1):
            span = _within(_Span(begin, following - 1, f"{number}"), row)
            if span is None:
                continue
            if number % 2:
                shaded.append((span.first - 0.5, span.last - span.first + 1))
            if _fits(span, row) == span.name:
                middle = (span.first + span.last) / 2
                axes.text(middle, 0.985, span.name, ha="center", va="top", color=_FAINT, fontsize=8, zorder=1)
        axes.broken_barh(shaded, (0, _TOP), color=_SHADE, lw=0, zorder=0)

    def _draw_curve(self, axes: Axes, row: _Span, *, threshold: float | None) -> None:
        """The score behind each turn, half a turn to its right; nothing where none was measured."""
        gaps = self._gaps[row.first - 1 : row.last]
        places = [row.first + n + 0.5 for n in range(len(gaps))]
        few = row.last - row.first < 90
        axes.fill_between(places, gaps, color=_CURVE, alpha=0.16, lw=0, zorder=2)
        axes.plot(places, gaps, color=_CURVE, lw=1.1, marker="o" if few else None, ms=3, zorder=3)
        if threshold is not None:
            axes.axhline(threshold, color=_FAINT, lw=0.8, ls=(0, (4, 3)), zorder=2)

    def _draw_ends(self, axes: Axes, row: _Span) -> None:
        """Every cut; and where sessions end, with their names above."""
        inside = [cut for cut in self._cuts if row.first <= cut.turn <= row.last]
        for by, (colour, style, _) in _RULES.items():
            places = [cut.turn + 0.5 for cut in inside if cut.by == by]
            axes.vlines(places, 0, _TOP, color=colour, lw=1.1, ls=style, zorder=4, clip_on=False)
        found = [cut for cut in inside if cut.by not in _RULES]
        places, scores = [cut.turn + 0.5 for cut in found], [cut.score for cut in found]
        axes.vlines(places, 0, scores, color=_CUT, lw=1.4, zorder=4, clip_on=False)
        axes.plot(places, scores, "o", color=_CUT, ms=4.5, zorder=5, clip_on=False)
        for session in self._sessions:
            span = _within(session, row)
            if span is not None and (name := _fits(span, row)):
                place = (span.first - 0.5, _TOP)
                axes.annotate(
                    name, place, xytext=(2, 3), textcoords="offset points", color=_INK, fontsize=9, parse_math=False
                )

    def _explain(self, figure: Any, *, threshold: float | None) -> None:
        """What the marks mean, of those that are there."""
        from matplotlib.lines import Line2D

        seen = {cut.by for cut in self._cuts}
        marks = []
        if seen - set(_RULES):
            marks.append(Line2D([], [], color=_CUT, marker="o", ms=4.5, lw=1.4, label="a topic is cut"))
        for by, (colour, style, label) in _RULES.items():
            if by in seen:
                marks.append(Line2D([], [], color=colour, lw=1.1, ls=style, label=label))
        if threshold is not None:
            label = f"no cut below {threshold:.2f}"
            marks.append(Line2D([], [], color=_FAINT, lw=0.8, ls=(0, (4, 3)), label=label))
        figure.legend(
            handles=marks, loc="upper left", bbox_to_anchor=(0.2 / _WIDTH, 1 - 0.4 / figure.get_figheight()),
            ncols=len(marks) or 1, frameon=False, fontsize=9, labelcolor=_INK, borderaxespad=0, borderpad=0,
        )  # fmt: skip


def _dress(axes: Axes, row: _Span) -> None:
    """The frame of a row: turn numbers below, scores from 0 to 1 beside."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(row.first - 0.5, row.last + 0.5)
    axes.set_ylim(0, _TOP)
    axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=8, color=_FAINT, length=3)


def _within(span: _Span, row: _Span) -> _Span | None:
    """The part of a span that stands in a row."""
    first, last = max(span.first, row.first), min(span.last, row.last)
    return span._replace(first=first, last=last) if first <= last else None


def _fits(span: _Span, row: _Span) -> str:
    """A span's name as far as there is room for it: whole, cut, or not at all."""
    room = int((span.last - span.first + 1) / (row.last - row.first + 1) * _ROOM * _LETTERS)
    return _cut(span.name, room) if room > 4 or len(span.name) <= room else ""


def _cut(text: str, letters: int) -> str:
    """The beginning of `text` that fits so many letters."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
