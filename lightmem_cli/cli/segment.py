"""`lightmem segment`: cuts a conversation into topics, as a filter or for the sessions that a memory keeps open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.extract import working_off
from lightmem_cli.cli.ingest import tell_quarantined
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice, progress
from lightmem_cli.cli.transcripts import Transcripts
from lightmem_cli.errors import InputError

if TYPE_CHECKING:
    from lightmem_cli.engine.topics import Topic
    from lightmem_cli.profiles import Profile
    from lightmem_cli.transcript import Item

EXAMPLES = examples(
    "lightmem segment chat.jsonl | jq -r '[.segment, .content] | @tsv'",
    "tail -f live.jsonl | lightmem segment -",
    "lightmem segment                  # ends the topics that --keep-open left open",
    "lightmem segment --json           # the same, and prints every topic that ended",
)


def segment(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="Filter these (- is stdin); else do pending work.")
    ] = None,
    use: Annotated[
        Literal["none", "similarity"] | None, typer.Option(help="Else segment.use. none: only sessions end topics.")
    ] = None,
    keep_open: Annotated[
        bool, typer.Option("--keep-open", help="Without FILE: do not end the last topic of each session.")
    ] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut a conversation into topics.

    With FILE every message is printed as the JSON line it was, with two more fields, and nothing is remembered:
    segment, the number of its topic, rising from 1 through all of the input; and cut_by, what ended that topic:
    similarity (the talk turned to something else), silence (nobody spoke for segment.silence_minutes) or session (the
    next line is of another session or conversation, or there is none). Lines come out as soon as their topic has ended.

    Without FILE the memory's pending work is done and the last topic of each session is ended.
    """
    chosen = open_chosen(profile, home=home, overrides={"segment": {"use": use}})
    if not files:
        _end_topics(chosen, keep_open=keep_open, as_json=as_json)
    elif keep_open:
        raise InputError("--keep-open is about the memory's own topics", hint="leave it out, or leave out FILE")
    else:
        _filter(chosen, Transcripts(files))


def _filter(chosen: Profile, transcripts: Transcripts) -> None:
    """Print the rows of transcripts with their topics."""
    from lightmem_cli.engine.filters import segment_only

    out = render.Renderer(chosen.settings.transcript.zone)
    read = _Counted(transcripts.read(chosen.settings, keep_raw=True))
    with progress("segmenting", unit="messages", total=transcripts.size, beside_output=True) as show:
        for printed, one in enumerate(segment_only(read, chosen.settings, notice=notice), start=1):
            typer.echo(out.row_json(one.row, segment=one.segment, cut_by=one.cut_by))
            show(printed, at=transcripts.at)
    if read.skipped:
        notice(f"{render.counted(read.skipped, 'message')} without content left out")
    elif not read.items:
        notice("nothing to segment: the input is empty")


class _Counted:
    """Transcripts that count, while they are read, their items and how many of them say nothing by design."""

    def __init__(self, transcripts: Iterable[Iterable[Sequence[Item]]]) -> None:
        self._transcripts = transcripts
        self.items = self.skipped = 0

    def __iter__(self) -> Iterator[Iterator[Sequence[Item]]]:
        return (self._read(batches) for batches in self._transcripts)

    def _read(self, batches: Iterable[Sequence[Item]]) -> Iterator[Sequence[Item]]:
        from lightmem_cli.transcript import Skipped

        for batch in batches:
            self.items += len(batch)
            self.skipped += sum(isinstance(item, Skipped) for item in batch)
            yield batch


def _end_topics(chosen: Profile, *, keep_open: bool, as_json: bool) -> None:
    """Do what the memory's messages still wait for, and end what is open."""
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.topics import ask_to_close_all

    ended = 0
    with Memory(chosen, notice=notice) as memory:
        with memory.run("segment") as run:
            if not keep_open:
                ask_to_close_all(memory.history)
            for done in working_off(memory, run=run):
                ended += len(done.topics)
                for topic in done.topics if as_json else ():
                    render.as_json(_topic_json(topic))
        quarantined = memory.history.work.quarantined()
    if not as_json:
        notice(f"{render.counted(ended, 'topic')} ended" if ended else "no topic has ended")
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
    }
