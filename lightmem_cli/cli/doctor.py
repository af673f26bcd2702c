"""`lightmem doctor`: checks a memory's parts against each other, and mends what can be made again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import interruptible, notice, progress

if TYPE_CHECKING:
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.doctor import Finding

EXAMPLES = examples(
    "lightmem doctor",
    "lightmem doctor --deep --profile work",
    "lightmem doctor --deep --json | jq 'select(.mended or (.well | not))'",
)


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Compare every row with what it follows from.")] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a memory's parts, and mend them.

    History, pending work, the embedder and the indexes are checked against each other. What can be made again is made
    again; for the rest, the command that mends it is named. A language model that the profile names is asked one small
    question: whether it is there, replies as it is asked to, reads enough at once, and how fast. Exits with 0 when all
    is well.

    With --deep, every entry is checked against its sources, its birth and its revisions, every message against its
    turn, every topic against its neighbours, every vector against the text that is seen through it, and every row of
    the indexes against history. Others may go on reading and writing.
    """
    from lightmem_cli.engine import Memory

    chosen = open_chosen(profile, home=home)
    state = "what was mended stays so, and nothing is lost: run it again"
    with interruptible(state), Memory(chosen, notice=notice) as memory:
        findings = _deep(memory) if deep else _quick(memory)
    for finding in findings:
        if as_json:
            render.as_json(asdict(finding))
        else:
            mend = f"  (mend: {finding.mend})" if finding.mend else ""
            typer.echo(f"{'ok ' if finding.well else 'BAD'}  {finding.check}: {finding.seen}{mend}")
    bad = [finding.exit_code for finding in findings if not finding.well]
    if bad:
        raise typer.Exit(min(bad))


def _quick(memory: Memory) -> list[Finding]:
    from lightmem_cli.engine.doctor import doctor as examine
    from lightmem_cli.engine.model_check import check_language_model

    return [*examine(memory), *check_language_model(memory)]


def _deep(memory: Memory) -> list[Finding]:
    from lightmem_cli.engine.deep import deep as examine
    from lightmem_cli.engine.deep import rows_of

    with progress("checking", unit="rows", total=rows_of(memory)) as report:
        return examine(memory, progress=report)
