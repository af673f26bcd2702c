"""Reads what a language model is told to do with a conversation: a Markdown file per task and version.

A file begins with what is always said. Each `## name` in it heads a part that is said only where it is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

Task: TypeAlias = Literal["facts", "events", "update", "summary", "answer"]

# A file that was released is never edited: what it made names it. Its next version is another file.
CURRENT: Final[Mapping[Task, int]] = {"facts": 1, "events": 1, "update": 1, "summary": 1, "answer": 1}


class Instructions(NamedTuple):
    """What a task's file says: `always`, and by name what is said only where it is wanted."""

    version: str  # "facts-1", as entries name the prompt that made them
    always: str
    parts: Mapping[str, str]

    def prefix(self, *wanted: str) -> str:
        """The fixed beginning of every call: what is always said, then the `wanted` parts, in the file's order.

        Raises:
            KeyError: the file has no such part.
        """
        missing = set(wanted) - self.parts.keys()
        if missing:
            raise KeyError(f"{self.version} has no part {sorted(missing)[0]!r}")
        return "\n\n".join([self.always, *(text for name, text in self.parts.items() if name in wanted)])


@cache
def load(task: Task) -> Instructions:
    """The current instructions for `task`."""
    version = f"{task}-{CURRENT[task]}"
    text = (Path(__file__).parent / f"{version}.md").read_text(encoding="utf-8")
    always, *parts = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)
    named = zip(parts[::2], parts[1::2], strict=True)
    return Instructions(version, always.strip(), {name: part.strip() for name, part in named})
