"""`lightmem compress`: shortens messages or a prompt, as a filter."""

from __future__ import annotations

from typing import Annotated

import typer

from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples

EXAMPLES = examples("cat chat.jsonl | lightmem compress --rate 0.6 | jq -r .compressed")


def compress(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="- and no FILE: stdin.")] = None,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shorten messages for a language model."""
    raise NotImplementedError
