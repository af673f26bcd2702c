"""`lightmem ingest`: takes a conversation in, from files or a pipe, and makes it findable."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import BudgetOption, HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice, progress
from lightmem_cli.cli.transcripts import Transcripts
from lightmem_cli.errors import InputError, LightmemError, ModelError

if TYPE_CHECKING:
    from lightmem_cli.engine.asking import Estimate
    from lightmem_cli.engine.ingest import HowToIngest, Ingested
    from lightmem_cli.profiles import Profile
    from lightmem_cli.store.history.work import Owner, Quarantined
    from lightmem_cli.transcript import BadLine

EXAMPLES = examples(
    "lightmem ingest chat.jsonl",
    "cat chat.jsonl | lightmem ingest - --conversation family",
    "lightmem ingest logs/*.jsonl --on-error skip --rejects bad.jsonl",
    "tail -f live.jsonl | lightmem ingest -",
    "lightmem ingest turn.jsonl --keep-open      # from a hook: the talk goes on",
)

_LONG = 20  # calls


def ingest(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="Transcripts; - is stdin.")] = None,
    conversation: Annotated[str | None, typer.Option(metavar="NAME", help="For rows that name none.")] = None,
    session: Annotated[str | None, typer.Option(metavar="NAME", help="For rows that name none.")] = None,
    format: Annotated[Literal["auto", "jsonl", "json"], typer.Option(help="How the input is written.")] = "auto",
    append: Annotated[bool, typer.Option("--append", help="Take rows with neither id nor time as new.")] = False,
    on_conflict: Annotated[
        Literal["refuse", "replace"], typer.Option(help="When a known id comes with other words.")
    ] = "refuse",
    on_error: Annotated[Literal["stop", "skip"], typer.Option(help="At a line that cannot be read.")] = "stop",
    rejects: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where skipped lines go, with their reasons.")
    ] = None,
    journal_only: Annotated[
        bool, typer.Option("--journal-only", help="Only keep the messages; `lightmem extract` does the rest.")
    ] = False,
    keep_open: Annotated[
        bool, typer.Option("--keep-open", help="Do not end the last topic: more of the session is to come.")
    ] = False,
    budget_tokens: BudgetOption = None,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a conversation and make it findable.

    Every message is kept word for word, then its facts are made, both are indexed, and topics are cut. Where a language
    model makes the facts (extract.use = "llm") it reads what is new once all is kept; of a pipe also while more may
    come. The same transcript twice adds nothing; a grown one adds only its tail. Input is one JSON object a line with
    content and, where known, role, speaker, timestamp, session, conversation, id and image_caption.
    """
    from lightmem_cli.engine.ingest import HowToIngest

    chosen = open_chosen(profile, home=home)
    transcripts = Transcripts(files)
    how = HowToIngest(
        conversation=conversation,
        session=session,
        append=append,
        on_conflict=on_conflict,
        on_error=on_error,
        journal_only=journal_only,
        keep_open=keep_open,
        live=transcripts.size is None,
    )
    total, quarantined, holders = _take(
        chosen, how, transcripts, rejects=rejects, format=format, budget_tokens=budget_tokens
    )
    _tell(total, quarantined, holders, as_json=as_json)


def _tell(total: Ingested, quarantined: Sequence[Quarantined], holders: Sequence[Owner], *, as_json: bool) -> None:
    """Say what was taken in.

    Raises:
        ModelError: the language model failed on some of it.
    """
    if as_json:
        render.as_json(asdict(total))
    elif any(asdict(total).values()):
        notice(_summary(total))
    else:
        notice("nothing to ingest: the input is empty")
    tell_held(holders)
    tell_quarantined([one for one in quarantined if not (total.aside and one.stage == "extract")])
    if total.aside:
        raise_misread(quarantined)


def _take(
    chosen: Profile,
    how: HowToIngest,
    transcripts: Transcripts,
    *,
    rejects: Path | None,
    format: Literal["auto", "jsonl", "json"],
    budget_tokens: int | None,
) -> tuple[Ingested, list[Quarantined], list[Owner]]:
    """Ingest `transcripts` with a bar; what was kept is said also where it ends early."""
    from lightmem_cli.engine import Budget, Memory
    from lightmem_cli.engine.ingest import Ingested, ingest

    so_far = Ingested()

    def report(total: Ingested) -> None:
        nonlocal so_far
        so_far = total
        tokens = total.prompt_tokens + total.completion_tokens
        show(total.messages + total.known, at=transcripts.at, also=f", {tokens:,} tokens" if tokens else "")

    with (
        _Rejects(rejects, inputs=transcripts.paths) as reject,
        Memory(chosen, notice=notice) as memory,
        progress("ingesting", unit="messages", total=transcripts.size) as show,
    ):
        memory.budget = None if budget_tokens is None else Budget(budget_tokens)
        try:
            read = transcripts.read(chosen.settings, format=format)
            total = ingest(memory, read, how, reject=reject, progress=report, tell=tell_long)
            return total, memory.history.work.quarantined(), memory.history.work.holders()
        except LightmemError as error:
            error.hint = f"kept: {_summary(so_far)}; {error.hint or 'run the same command again'}"
            raise
        except KeyboardInterrupt:
            notice(f"interrupted; kept: {_summary(so_far)}; the same command goes on from there")
            raise


def tell_quarantined(jobs: Sequence[Quarantined]) -> None:
    """Say what was set aside, if anything was."""
    if jobs:
        first = jobs[0].reason
        notice(f"{render.counted(len(jobs), 'item')} set aside until the next run, the first because of {first}")


def tell_held(owners: Sequence[Owner]) -> None:
    """Say what waits for other processes, if anything does."""
    for owner in owners:
        notice(owner.waiting)


def raise_misread(jobs: Sequence[Quarantined]) -> None:
    """
    Raises:
        ModelError: a language model failed on some messages, which were set aside.
    """
    reasons = [one.reason for one in jobs if one.stage == "extract"]
    if reasons:
        count = render.counted(len(reasons), "message")
        raise ModelError(
            f"the language model failed on {count}, the first time with: {reasons[0]}",
            hint="nothing is lost: what was said is found as it was said, and lightmem extract tries again",
        )


def tell_long(about: Estimate) -> None:
    """Say on a terminal what a long run is going to take."""
    if about.calls > _LONG and sys.stderr.isatty():
        notice(f"{about.said}; Ctrl-C loses nothing, and --budget-tokens N stops earlier")


def told_facts(facts: int, *, unsupported: int) -> str:
    """How many facts there are, and of how many of them what was said is no evidence."""
    aside = f" ({unsupported:,} of them unsupported by what was said)" if unsupported else ""
    return render.counted(facts, "fact") + aside


def told_cost(calls: int, tokens: int) -> str:
    """What a language model took."""
    return f"{render.counted(calls, 'call')} of {tokens:,} tokens"


class _Rejects:
    """Says of each skipped line why, and keeps it with its reason in the file of rejects, begun with the first one."""

    def __init__(self, path: Path | None, *, inputs: Sequence[Path]) -> None:
        """
        Raises:
            InputError: `path` is one of the inputs, or not a place to write to.
        """
        self._path = path
        self._file: TextIO | None = None
        if path is None:
            return
        hint = "name another file with --rejects"
        if path.exists() and any(path.samefile(one) for one in inputs):
            raise InputError(f"{path} is being ingested: its rejects cannot replace it", hint=hint)
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise InputError(f"cannot write {path}: it is not a file in a directory that is there", hint=hint)

    def __enter__(self) -> _Rejects:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(self, line: BadLine) -> None:
        notice(f"skipped {line}")
        if self._path is None:
            return
        row = {"origin": line.origin, "reason": line.reason, "line": line.raw.decode("utf-8", "replace")}
        try:
            self._file = self._file or self._path.open("w", encoding="utf-8")
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            hint = "name another file with --rejects"
            raise InputError(f"cannot write {self._path}: {error.strerror}", hint=hint) from error


def _summary(total: Ingested) -> str:
    """What was taken in, in one line for a person."""
    facts = told_facts(total.facts, unsupported=total.unsupported)
    parts = [render.counted(total.messages, "new message"), facts]
    if total.topics:
        parts.append(render.counted(total.topics, "topic"))
    if total.calls:
        parts.append(told_cost(total.calls, total.prompt_tokens + total.completion_tokens))
    extras = {"known already": total.known, "replaced": total.replaced, "rejected": total.rejected}
    extras["without content"] = total.skipped
    return ", ".join([*parts, *(f"{count:,} {what}" for what, count in extras.items() if count)])
