"""Takes out of a row what must never be remembered; it has no rules yet and passes every row through.

The step stands between reading and journalling, before a row's identity is derived: what it takes out reaches neither
history nor an index, and a row that is redacted alike twice is the same message twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lightmem_cli.records import Row

RULES: tuple[Callable[[Row], Row], ...] = ()


def redact(row: Row) -> Row:
    """The row as it may be kept or printed. One that a rule changed loses its `raw`, which still says it all."""
    kept = row
    for rule in RULES:
        kept = rule(kept)
    return row if kept == row else replace(kept, raw=b"")
