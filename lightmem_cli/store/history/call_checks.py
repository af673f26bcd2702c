"""Finds calls of a language model that no purge of a conversation would reach, and those that cannot be read."""

from __future__ import annotations

import sqlite3

from lightmem_cli.store.history.faults import Fault, faults

_NUMBERS = {"prompt_tokens": "integer", "completion_tokens": "integer", "cached_tokens": "integer", "seconds": "real"}


class CallChecks:
    """Reads; writes nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of_the_purged(self) -> list[Fault]:
        """Calls that sent words of a message that was purged, and hold more than what they cost."""
        return self._calls(
            "(reply IS NOT NULL OR refused IS NOT NULL OR input_hash <> x'') AND EXISTS (SELECT 1 FROM model_inputs i"
            " JOIN messages m ON m.id = i.message WHERE i.call = c.id AND m.purged IS NOT NULL)"
        )

    def of_nobody(self) -> list[Fault]:
        """Calls about what was said that hold a reply, and nothing says whose words they sent."""
        return self._calls(
            "reply IS NOT NULL AND purpose IN ('extract', 'update', 'summarize')"
            " AND NOT EXISTS (SELECT 1 FROM model_inputs WHERE call = c.id)"
        )

    def unreadable(self) -> list[Fault]:
        """Calls whose reply is no text, or whose cost no number that there can be."""
        wrong = " OR ".join(f"typeof({name}) <> '{kind}' OR {name} < 0" for name, kind in _NUMBERS.items())
        return self._calls(f"typeof(reply) NOT IN ('text', 'null') OR {wrong}")

    def _calls(self, where: str) -> list[Fault]:
        return faults(self._connection, f"SELECT id, 'call ' || id FROM model_calls c WHERE {where} ORDER BY id")
