"""`lightmem segment`: cuts a conversation into topics, as a filter or for the sessions that a memory keeps open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lightmem_cli.cli import curve, render
from lightmem_cli.cli.extract import working_off
from lightmem_cli.cli.ingest import tell_held, tell_quarantined
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.picture import Picture
from lightmem_cli.cli.talk import interruptible, notice, progress
from lightmem_cli.cli.transcripts import Counted, Transcripts
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lightmem_cli.engine.filters.segment import InTopic
    from lightmem_cli.engine.topics import Topic
    from lightmem_cli.profiles import Profile

EXAMPLES = examples(
    "lightmem segment chat.jsonl | jq -r '[.segment, .content] | @tsv'",
    "tail -f live.jsonl | lightmem segment -",
    "lightmem segment chat.jsonl --plot -              # to read: turns, scores, cuts",
    "lightmem segment chat.jsonl --plot curve.png > topics.jsonl",
    "lightmem segment                  # ends the topics that --keep-open left open",
    "lightmem segment --json           # the same, and prints every topic that ended",
)


_FilesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="FILE...", help="Filter these (- is stdin); else do pending work.")
]
_UseOption = Annotated[
    Literal["none", "similarity", "attention", "hybrid"] | None,
    typer.Option(help="Else segment.use. none: only sessions end topics."),
]
_ModelOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Whose attention, a Hub name or a folder; else segment.model.")
]
_DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | None, typer.Option(help="Of that model; else compress.device.")
]
_BufferOption = Annotated[
    int | None, typer.Option(min=16, metavar="N", help="Read at once for attention; else segment.buffer_tokens.")
]
_PlotOption = Annotated[
    str | None, typer.Option(metavar="PICTURE", help="Draw scores and cuts: a .png, .svg or .pdf; - is the terminal.")
]
_KeepOpenOption = Annotated[
    bool, typer.Option("--keep-open", help="Without FILE: do not end the last topic of each session.")
]


def segment(
    files: _FilesArgument = None,
    use: _UseOption = None,
    model: _ModelOption = None,
    device: _DeviceOption = None,
    buffer_tokens: _BufferOption = None,
    plot: _PlotOption = None,
    keep_open: _KeepOpenOption = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut a conversation into topics.

    With FILE every message is printed as the JSON line it was, with three more fields, and nothing is remembered:
    segment, the number of its topic, rising from 1 through all of the input; cut_by, what ended that topic; and score,
    how clearly, 0 to 1. Lines come out as soon as their topic has ended. It is ended by

    \b
      similarity  the talk turned to something else
      attention   a turn looks back at the one before it more than its neighbours
      hybrid      both say so
      buffer      no more fits what attention reads at once; its score is 0
      silence     nobody spoke for segment.silence_minutes; its score is 1
      session     the next line, if any, is of another session; its score is 1

    With --plot PICTURE the scores behind all turns are drawn as well, with every cut; with --plot - they are printed
    instead of the lines, one turn below the other.

    Without FILE the memory's pending work is done and the last topic of each session is ended.
    """
    _refuse_plot(plot, drawn=bool(files), as_json=as_json)
    cutting: dict[str, object] = {"use": use, "model": model, "buffer_tokens": buffer_tokens}
    chosen = open_chosen(profile, home=home, overrides={"segment": cutting, "compress": {"device": device}})
    _refuse_unread(chosen.settings.segment.use, {"--model": model, "--buffer-tokens": buffer_tokens})
    if not files:
        with interruptible("nothing is lost: run it again"):
            _end_topics(chosen, keep_open=keep_open, as_json=as_json)
    elif keep_open:
        raise InputError("--keep-open is about the memory's own topics", hint="leave it out, or leave out FILE")
    elif plot == "-":
        _print_curve(chosen, Transcripts(files))
    else:
        _filter(chosen, Transcripts(files), picture=None if plot is None else Picture(Path(plot)))


def _refuse_plot(plot: str | None, *, drawn: bool, as_json: bool) -> None:
    if plot is not None and not drawn:
        hint = "lightmem segment chat.jsonl --plot curve.png    (- is stdin)"
        raise InputError("--plot draws the topics of a FILE, and there is none", hint=hint)
    if plot == "-" and as_json:
        raise InputError("--plot - is to be read, not JSON", hint="leave out --json, or name a picture: curve.png")


def _refuse_unread(use: str, typed: Mapping[str, object]) -> None:
    """Refuse options about attention where what cuts reads none."""
    names = [name for name, value in typed.items() if value is not None]
    if names and use not in {"attention", "hybrid"}:
        hint = f"add --use attention, or leave out {' and '.join(names)}"
        raise InputError(f"{names[0]} is about attention, and with {use} nobody reads it", hint=hint)


def _filter(chosen: Profile, transcripts: Transcripts, *, picture: Picture | None) -> None:
    """Print the rows of transcripts with their topics, and draw them where a picture is wanted."""
    from lightmem_cli.engine.filters.segment import threshold_of

    settings = chosen.settings
    out = render.Renderer(settings.transcript.zone)
    for one in _in_topics(chosen, transcripts):
        typer.echo(out.row_json(one.row, segment=one.segment, cut_by=one.cut_by, score=round(one.score, 4)))
        if picture is not None:
            picture.take(one)
    if picture is not None and picture.turns:
        picture.write(title=transcripts.title, measured=settings.segment.use, threshold=threshold_of(settings))
        notice(f"{render.counted(picture.turns, 'turn')} drawn in {picture.path}")


def _print_curve(chosen: Profile, transcripts: Transcripts) -> None:
    """Print the turns of transcripts for a person, with their scores and what was cut."""
    shown = curve.for_output()
    for one in _in_topics(chosen, transcripts):
        for line in shown.lines(one):
            typer.echo(line)


def _in_topics(chosen: Profile, transcripts: Transcripts) -> Iterator[InTopic]:
    """The rows of transcripts with their topics, with a bar; what they left out is said at the end."""
    from lightmem_cli.engine.filters.segment import segment_only

    read = Counted(transcripts.read(chosen.settings, keep_raw=True))
    with progress("segmenting", unit="messages", total=transcripts.size, beside_output=True) as show:
        for turns, one in enumerate(segment_only(read, chosen.settings, notice=notice), start=1):
            yield one
            show(turns, at=transcripts.at)
    if read.skipped:
        notice(f"{render.counted(read.skipped, 'message')} without content left out")
    elif not read.items:
        notice("nothing to segment: the input is empty")


def _end_topics(chosen: Profile, *, keep_open: bool, as_json: bool) -> None:
    """Do what the memory's messages still wait for, and end what is open."""
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.shorten import shorten_rest
    from lightmem_cli.engine.topics import ask_to_close_all

    ended = shortened = 0
    with Memory(chosen, notice=notice) as memory:
        with memory.run("segment") as run:
            if not keep_open:
                ask_to_close_all(memory.history)
            for done in working_off(memory, run=run):
                ended += len(done.topics)
                for topic in done.topics if as_json else ():
                    render.as_json(_topic_json(topic))
            with progress("shortening", unit="messages") as show:
                for count in shorten_rest(memory):
                    shortened += count
                    show(shortened)
        quarantined, holders = memory.history.work.quarantined(), memory.history.work.holders()
    if not as_json:
        notice(f"{render.counted(ended, 'topic')} ended" if ended else "no topic has ended")
        if shortened:
            notice(f"{render.counted(shortened, 'message')} of earlier topics shortened")
    tell_held(holders)
    tell_quarantined(quarantined)


def _topic_json(topic: Topic) -> dict[str, object]:
    segment = topic.segment
    return {
        "id": segment.id,
        "conversation": segment.conversation,
        "session": segment.session,
        "first": segment.first.id,
        "last": segment.last.id,
        "messages": topic.messages,
        "cut_by": segment.cut_by,
        "score": None if segment.score is None else round(segment.score, 4),
    }
