"""Names the rows of a conversation's history that are not as they should be."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class Fault(NamedTuple):
    """A row that is not as it should be: history's integer for it, and what a person calls it."""

    id: int
    name: str


def faults(connection: sqlite3.Connection, query: str, *values: object) -> list[Fault]:
    """The rows (integer, name) of `query`."""
    return [Fault(id, str(name)) for id, name in connection.execute(query, values)]
