"""Keeps on record what was asked about a conversation and what it cost, and answers from there what is asked again."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Generic, NamedTuple

from lightmem_cli.engine import Memory
from lightmem_cli.engine.asking.request import Answered, Request, Value
from lightmem_cli.errors import BadReply, ProfileBusy, StoreError
from lightmem_cli.protocols import Prompt, Reply
from lightmem_cli.records import Usage
from lightmem_cli.store.history.calls import Call

_PATIENCE = 2.0  # seconds that an answer waits for a writer, to be put on record


class Taken(NamedTuple, Generic[Value]):
    """What a reply says, or why it is refused."""

    value: Value | None
    refused: BadReply | None


class Ledger:
    """The calls of one run. Without one they get a run of their own, if the profile is free to be written to."""

    def __init__(self, memory: Memory, *, run: int | None) -> None:
        self._history = memory.history
        self._model = memory.model
        self._notice = memory.notice
        self._run = run
        self._own: int | None = None  # the run of those that have none
        self.usage = Usage()

    def key(self, request: Request[Any]) -> bytes:
        """A hash of all that decides what the model replies."""
        parts = (self._model.manner, *request.prompt, json.dumps(request.schema, sort_keys=True))
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()

    def known(self, request: Request[Value], *, key: bytes) -> Answered[Value] | None:
        """The answer that was accepted when the same was asked before; it costs nothing.

        What was forgotten since is in no prompt any more: what was replied to it is not found again.
        """
        reply = self._history.calls.reply(self._model.name, request.version, key)
        if reply is None:
            return None
        try:
            return Answered(request, request.read(reply), None, Usage())
        except BadReply:  # what was accepted once is not any more
            return None

    def take(self, request: Request[Value], *, key: bytes, reply: Reply) -> Taken[Value]:
        """Read a reply and put it on record, also one that is refused: it was paid."""
        cut_off = (
            None if reply.whole else BadReply(f"the reply was cut off after {reply.usage.completion_tokens:,} tokens")
        )
        value: Value | None = None
        refused: BadReply | None = cut_off or BadReply("reading it failed")  # by a mistake of ours: it is paid, too
        try:
            if cut_off is None or not request.whole:
                value, refused = request.read(reply.text), None
        except BadReply as bad:
            refused = bad
        finally:
            not_kept = refused or cut_off  # a part of an answer is good for once
            self._keep(request, key=key, reply=reply, refused=not_kept.message if not_kept else None)
        return Taken(value, refused)

    def lost(
        self,
        request: Request[Any],
        *,
        key: bytes,
        prompt: Prompt,
        why: str,
        paid: tuple[int, int] | None = None,
        told: str = "",
        seconds: float = 0,
    ) -> Usage:
        """Put on record a call whose reply did not arrive, but for what was `told` of it.

        What it cost is what was `paid`, where that is known, and else as we count.
        """
        read, written = paid or (sum(map(self._model.tokens, prompt)), self._model.tokens(told))
        usage = Usage(calls=1, prompt_tokens=read, completion_tokens=written)
        self._keep(request, key=key, reply=Reply(text=told, usage=usage, seconds=seconds), refused=why)
        return usage

    def _keep(self, request: Request[Any], *, key: bytes, reply: Reply, refused: str | None) -> None:
        self.usage += reply.usage
        call = Call(
            purpose=request.purpose,
            model=self._model.name,
            prompt=request.version,
            input_hash=key,
            messages=request.messages,
            usage=reply.usage,
            seconds=reply.seconds,
            reply=reply.text if refused is None else None,
            refused=refused,
        )
        if self._run is not None:
            with self._history.transaction():
                self._history.calls.add(call, run=self._run)
            return
        try:
            with self._history.impatient(seconds=_PATIENCE), self._history.transaction():
                run = self._own or self._history.runs.begin("ask")
                self._history.calls.add(call, run=run)
                if self._own is None:
                    self._history.runs.end(run, "done")  # nothing is held while nobody is asked
        except (ProfileBusy, StoreError) as reason:  # the answer stands all the same
            self._notice(f"what this cost is not on record: {reason.message}")
        else:
            self._own = run
