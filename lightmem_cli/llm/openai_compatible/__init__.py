"""Asks a model about a conversation on any server that speaks OpenAI's wire: OpenAI, DeepSeek, vLLM, llama.cpp.

What the server takes is found out once: a JSON schema or only words for what a reply shall look like, which parameters.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from lightmem_cli.errors import BadReply, MissingPart, ModelError, ProfileError, TooLong, Unavailable
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm.openai_compatible.refused import Refused
from lightmem_cli.llm.openai_compatible.server import Answer, Listed, OpenAiServer, ServerRefused
from lightmem_cli.llm.openai_compatible.stream import usage_of
from lightmem_cli.llm.openai_compatible.ways import ASKED_WRONGLY, Body, Ways, is_of, read_ways, sent_tokens, wishes
from lightmem_cli.llm.patience import Patience, TryFailed, harmless
from lightmem_cli.llm.thoughts import once, only_thought, room_to_think
from lightmem_cli.protocols import JsonSchema, Progress, Prompt, Remembered, Reply

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Llm

_MOST_WAYS: Final = 12  # tried for one question: more dialects than there are
_FIRST_SECONDS: Final = 0.25  # that other calls wait while the first one finds out what the server takes
_DAYS: Final = 30  # after which that is found out anew: servers learn
# Said for a reply that the server's filter held back, so that the check takes it for what it is.
_FILTERED: Final = "I cannot provide this: the server's content filter held it back."


class OpenAiModel:
    """A model behind OpenAI's chat completions. Several threads ask it at once."""

    def __init__(
        self, llm: Llm, *, notice: Progress, remembered: Remembered | None = None, patience: Patience | None = None
    ) -> None:
        """No server is asked anything yet. Tests bring a `patience` that does not sleep.

        Raises:
            ProfileError: the settings name no model, or no server's address, or OpenAI's key for another server.
            MissingPart: OpenAI's own server is asked, and the environment has no key.
        """
        if not llm.model:
            raise ProfileError("llm.model does not say which model to ask", hint="lightmem config set llm.model NAME")
        self._llm = llm
        self._notice_once = once(notice)
        self._remembered = remembered
        self._server = OpenAiServer(llm)
        self._wishes = wishes(llm, host=self._server.host)
        self._patience = patience or Patience(
            self._server.name,
            retries=llm.retries,
            hint="is it running, and at llm.base_url? until then: lightmem retrieve needs no language model",
            key_hint=self._key_hint,
            notice=notice,
        )
        self._lock = Lock()  # of the two below, for moments
        self._ways = self._recalled() or self._usual()
        self._works: Ways | None = None  # what the server took last
        self._listed: Listed | None = None
        self._list_lock = Lock()  # while the server is asked about the model, by one thread for all
        self._settled = Event()
        self._first = Lock()  # of the call that finds out what the server takes

    @property
    def name(self) -> str:
        return f"openai/{self._llm.model}"

    @property
    def manner(self) -> str:
        """What decides a reply beside the prompt; how the server had to be asked for it does not."""
        how = {"temperature": self._llm.temperature, "thinking": self._llm.thinking, "options": self._llm.options}
        return json.dumps({"server": self._server.address, **how}, sort_keys=True)

    @property
    def thoughts(self) -> int:
        return room_to_think(self._llm)

    @property
    def context(self) -> int:
        """What the settings say, or else the server, or else 0.

        Raises:
            Unavailable: nobody answers, or the key is refused.
        """
        return self._llm.context or self._about_model().context

    def tokens(self, text: str) -> int:
        return count_tokens(text)

    def complete(
        self,
        prompt: Prompt,
        *,
        most: int,
        schema: JsonSchema | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Reply:
        with self._in_turn():
            return self._patience.ask(lambda: self._once(prompt, most=most, schema=schema, tell=tell))

    def probe(self) -> str:
        models = self._patience.ask(self._models)
        about = self._found(models)
        if models and about is None:
            raise self._no_model([model.id for model in models])
        parts = []
        if about is not None and about.parameters:
            parts.append(f"{about.parameters / 1e9:.1f}B parameters")
        context = self._llm.context or (about.context if about is not None else 0)
        parts.append(f"{context:,} tokens of context" if context else "a context it does not tell")
        return f"{self.name}: {', '.join(parts)}; {self._server.name}"

    def close(self) -> None:
        """Close the connections, and try nothing more; what was found out about the server is remembered."""
        self._patience.close()
        self._server.close()
        if self._remembered is not None and self._works is not None and self._works != self._recalled():
            self._remembered.remember(self._memory_key, f"{_today()} {self._works.written()}")

    def _once(
        self,
        prompt: Prompt,
        *,
        most: int,
        schema: JsonSchema | None,
        tell: Callable[[str], None] | None,
    ) -> Reply:
        """One try: asked in one way after the other, until the server takes one."""
        before = learned = ways = self._ways
        asked = set[Ways]()
        while True:
            asked.add(ways)
            body = ways.body(prompt, most=most + self.thoughts, schema=schema, llm=self._llm, wishes=self._wishes)
            known = ways if ways == learned else None
            try:
                answer = self._server.chat(body, tell=tell, accepted=partial(self._took, known))
            except ServerRefused as error:
                refused = error
            else:
                return self._reply(answer, body, tell=tell)
            about_form = not refused.accepted and not refused.refused.is_too_long
            named = ways.without(refused.refused, sent=body) if about_form else None
            other = named or (ways.guessed(refused.refused, sent=body) if about_form else None)
            if other in asked and other is not None:  # what a limit is called: neither this nor that
                other = replace(other, limit="")
            if other is None or other in asked or len(asked) > _MOST_WAYS:
                if refused.refused.status in ASKED_WRONGLY:
                    self._turn(learned, before)  # nothing helped: it was not about the way it was asked
                failed = self._failed(refused)
                if isinstance(failed, TryFailed) and refused.heard is not None:
                    failed.paid = sent_tokens(body), self.tokens(refused.heard)
                raise failed
            if named is not None:
                self._turn(learned, other)
                learned = other
            ways = other

    def _turn(self, ways: Ways, other: Ways) -> None:
        """From now on ask in the `other` way, unless another thread has turned away from `ways` already."""
        with self._lock:
            if self._ways == ways:
                self._ways = other
        if other.thinking > ways.thinking and not self._wishes[other.thinking]:
            self._notice_once(f"{self._server.name} does not take llm.thinking = {self._llm.thinking}: asked without")

    def _took(self, ways: Ways | None) -> None:
        """The server takes what is asked in these `ways`; None where they are only a guess."""
        with self._lock:
            self._works = ways or self._works
        self._settled.set()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let one call be the first, and the others wait for a moment: one refusal then teaches all."""
        if self._settled.is_set():
            yield
            return
        is_first = self._first.acquire(blocking=False)
        if not is_first:
            self._settled.wait(_FIRST_SECONDS)
        try:
            yield
        finally:
            if is_first:
                self._first.release()

    def _reply(self, answer: Answer, body: Body, *, tell: Callable[[str], None] | None) -> Reply:
        self._patience.heed(answer.headers)
        heard = answer.heard
        text = heard.refusal or (_FILTERED if heard.finish == "content_filter" else heard.text)
        if tell is not None and text and not heard.told:
            tell(text)
        whole = heard.finish != "length"
        if not whole and not text and heard.thought:
            self._notice_once(only_thought(self.name))
        usage = usage_of(heard.usage, prompt=sent_tokens(body), reply=self.tokens(text))
        return Reply(text=text, usage=usage, seconds=answer.seconds, whole=whole)

    def _failed(self, error: ServerRefused) -> Exception:
        """What a refusal means for whoever asked; TryFailed where that may be another one at another time."""
        return self._meant(error.refused) or error.refused.as_try(told=error.told)

    def _meant(self, refused: Refused) -> Exception | None:
        if refused.is_too_long:
            return TooLong(f"a prompt and its reply are more than {self.name} reads: {harmless(refused.words)}")
        if refused.is_no_model:
            there: list[Listed] = []
            with suppress(ServerRefused):
                there = self._server.models()
            return self._no_model([model.id for model in there])
        if refused.status in (401, 403):
            return self._refused_key(refused.status, refused.words)
        if refused.is_no_such_page:
            hint = "llm.base_url mostly ends in /v1: lightmem config set llm.base_url http://HOST:PORT/v1"
            return Unavailable(f"{self._server.name} has no chat completions (HTTP {refused.status})", hint=hint)
        if refused.is_bad_json:
            return BadReply("the reply was no valid JSON")
        return None

    @property
    def _key_hint(self) -> str:
        variable = self._llm.api_key_env
        return f"check the key in {variable}, or name another variable: lightmem config set llm.api_key_env NAME"

    def _refused_key(self, status: int, words: str) -> Unavailable:
        variable, server = self._llm.api_key_env, self._server.name
        if not self._server.has_key:
            what = f"{server} wants a key, and the environment variable {variable} is not set"
            return Unavailable(what, hint=f"export {variable}=..., or lightmem config set llm.api_key_env NAME")
        said = f": {harmless(words)}" if status == 403 else ""  # a 401 shows the key again, or a part of it
        return Unavailable(f"{server} refuses the key in {variable} (HTTP {status}){said}", hint=self._key_hint)

    def _no_model(self, there: list[str]) -> MissingPart:
        wanted = self._llm.model
        near = get_close_matches(wanted, there, n=8, cutoff=0)
        has = f"; it has {', '.join(near)}{' ...' if len(there) > len(near) else ''}" if near else ""
        hint = f"lightmem config set llm.model {shlex.quote(near[0]) if near else 'NAME'}"
        return MissingPart(f"{self._server.name} has no model {wanted}{has}", hint=hint)

    def _about_model(self) -> Listed:
        """What the server says of the model; nothing where it has no list, or fails at it."""
        with self._list_lock:
            if self._listed is None:
                models: list[Listed] = []
                try:
                    models = self._patience.ask(self._models)
                except Unavailable:
                    raise
                except ModelError:  # it may answer a chat nevertheless
                    pass
                self._listed = self._found(models) or Listed(self._llm.model, 0, 0, any_name=False)
            return self._listed

    def _models(self) -> list[Listed]:
        """The server's models; [] where it has no list of them."""
        refused: ServerRefused | None = None
        try:
            return self._server.models()
        except ServerRefused as error:
            refused = error
        if refused.refused.reached == "answer" and refused.refused.status in (None, 400, 404, 405, 501):
            return []
        raise self._failed(refused)

    def _found(self, models: list[Listed]) -> Listed | None:
        for model in models:
            if model.id == self._llm.model or model.any_name:
                return model
        return None

    def _usual(self) -> Ways:
        """How a server is asked first. OpenAI's newer models refuse max_tokens, other servers know nothing else."""
        return Ways(limit="max_completion_tokens" if is_of(self._server.host, "openai.com") else "max_tokens")

    def _recalled(self) -> Ways | None:
        """What was found out about the server by an earlier run, not long ago."""
        noted = self._remembered.remembered(self._memory_key) if self._remembered is not None else None
        day, _, written = (noted or "").partition(" ")
        return read_ways(written) if day.isdecimal() and 0 <= _today() - int(day) < _DAYS else None

    @property
    def _memory_key(self) -> str:
        return f"{self._server.address} {self._llm.model} thinking {self._llm.thinking}"


def _today() -> int:
    return int(time.time() // 86_400)
