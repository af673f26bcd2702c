"""Keeps what a language model was asked about a conversation: what each call cost, and what was accepted of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from lightmem_cli.records import Usage
from lightmem_cli.store.history.columns import now


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: what for, which model, with which version of which prompt, and a hash of all that decides the reply.

    `messages` are history's integers of those whose words it sent. A reply that was `refused`, for the reason that is
    given there, is not kept.
    """

    purpose: str
    model: str
    prompt: str
    input_hash: bytes
    messages: tuple[int, ...]
    usage: Usage
    seconds: float
    reply: str | None
    refused: str | None = None


class Calls:
    """The tables model_calls and model_inputs, and what is remembered of servers."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, call: Call, *, run: int) -> None:
        """Keep a call. Where a message whose words it sent was purged meanwhile, only what it cost is kept."""
        usage = call.usage
        listed = json.dumps(list(dict.fromkeys(call.messages)))
        purged = self._connection.execute(
            "SELECT 1 FROM messages WHERE id IN (SELECT value FROM json_each(?)) AND purged IS NOT NULL", (listed,)
        ).fetchone()
        row = self._connection.execute(
            "INSERT INTO model_calls (run, purpose, model, prompt, input_hash, reply, refused, prompt_tokens,"
            " completion_tokens, cached_tokens, seconds, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run,
                call.purpose,
                call.model,
                call.prompt,
                b"" if purged else call.input_hash,
                None if purged else call.reply,
                None if purged else call.refused,  # it may quote the reply
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.cached_tokens,
                call.seconds,
                now(),
            ),
        )
        self._connection.execute(
            "INSERT INTO model_inputs (call, message) SELECT ?, value FROM json_each(?)", (row.lastrowid, listed)
        )

    def reply(self, model: str, prompt: str, input_hash: bytes) -> str | None:
        """What `model` said when it was asked the same before, and what was accepted of it last."""
        row = self._connection.execute(
            "SELECT reply FROM model_calls WHERE model = ? AND prompt = ? AND input_hash = ? AND reply IS NOT NULL"
            " ORDER BY id DESC LIMIT 1",
            (model, prompt, input_hash),
        ).fetchone()
        return None if row is None else str(row[0])

    def erase(self, messages: Iterable[int]) -> None:
        """Leave of the calls that sent words of `messages` what they cost alone."""
        self._erase("SELECT call FROM model_inputs WHERE message IN (SELECT value FROM json_each(?))", messages)

    def erase_calls(self, calls: Iterable[int]) -> None:
        """Leave of `calls` what they cost alone."""
        self._erase("SELECT value FROM json_each(?)", calls)

    def make_readable(self, calls: Iterable[int]) -> None:
        """Let what is no number in `calls` count for nothing, and drop replies that are no text."""
        number = "{0} = CASE WHEN typeof({0}) IN ('integer', 'real') THEN max(0, {0}) ELSE 0 END"
        columns = ("prompt_tokens", "completion_tokens", "cached_tokens", "seconds")
        self._connection.execute(
            f"UPDATE model_calls SET {', '.join(map(number.format, columns))},"
            " reply = CASE WHEN typeof(reply) = 'text' THEN reply END"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(calls)),),
        )

    def remembered(self, key: str) -> str | None:
        """What was noted of a server under `key`."""
        row = self._connection.execute("SELECT value FROM profile WHERE key = ?", (f"llm {key}",)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO profile VALUES (?, ?)", (f"llm {key}", value))

    def _erase(self, which: str, items: Iterable[int]) -> None:
        self._connection.execute(
            f"UPDATE model_calls SET reply = NULL, refused = NULL, input_hash = x'' WHERE id IN ({which})",
            (json.dumps(list(items)),),
        )
