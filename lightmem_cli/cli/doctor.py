"""`lightmem doctor`: checks a memory's parts against each other, and mends what can be made again."""

from __future__ import annotations

from dataclasses import asdict

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice

EXAMPLES = examples("lightmem doctor", "lightmem doctor --json | jq 'select(.well | not)'")


def doctor(profile: ProfileOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check a memory's parts, and mend them.

    History, pending work, the embedder and the indexes are checked against each other. What can be made again is made
    again; for the rest, the command that mends it is named. Exits with 0 when all is well.
    """
    from lightmem_cli.engine import Memory
    from lightmem_cli.engine.care import doctor as examine

    with Memory(open_chosen(profile, home=home), notice=notice) as memory:
        findings = examine(memory)
    for finding in findings:
        if as_json:
            render.as_json(asdict(finding))
        else:
            mend = f"  (mend: {finding.mend})" if finding.mend else ""
            typer.echo(f"{'ok ' if finding.well else 'BAD'}  {finding.check}: {finding.seen}{mend}")
    bad = [finding.exit_code for finding in findings if not finding.well]
    if bad:
        raise typer.Exit(min(bad))
