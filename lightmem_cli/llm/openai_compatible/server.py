"""Carries one question about a conversation to a server that speaks OpenAI's wire, and its answer back.

The client's own errors hold the request, and with it the key: none leaves this module, and nothing is raised from one.
Importing openai costs 0.5 s.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from lightmem_cli.errors import BadReply, MissingPart, ModelError, ProfileError
from lightmem_cli.llm.openai_compatible.refused import Refused, read_error, read_refusal
from lightmem_cli.llm.openai_compatible.stream import Heard
from lightmem_cli.llm.openai_compatible.ways import Body, is_of
from lightmem_cli.llm.patience import shown
from lightmem_cli.local_models.surrogates import well_formed

if TYPE_CHECKING:
    from openai import OpenAI

    from lightmem_cli.profiles.settings import Llm

OPENAI: Final = "https://api.openai.com/v1"
_OPENAIS_KEY: Final = "OPENAI_API_KEY"  # the variable; what it holds is for OpenAI, and for whoever is near
_NEAR: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_NO_KEY: Final = "none"  # what is sent to a server that asks for no key
_CONTEXT_NAMES: Final = ("max_model_len", "context_length", "context_window", "max_context_length")  # vLLM first


class ServerRefused(Exception):
    """The server did not answer: `refused` says why; with `told`, pieces of the reply were told already.

    `accepted`: it had begun to answer, so it was asked as it wants to be. `heard` is what came of the reply, None where
    nothing did, nor was thought: who serves it is paid for that.
    """

    def __init__(
        self, refused: Refused, *, told: bool = False, accepted: bool = False, heard: str | None = None
    ) -> None:
        super().__init__(refused.words)
        self.refused = refused
        self.told = told
        self.accepted = accepted
        self.heard = heard


@dataclass(frozen=True, slots=True)
class Listed:
    """A model as /v1/models has it. `context` and `parameters` are 0 where the server does not say."""

    id: str
    context: int
    parameters: int
    any_name: bool  # llama.cpp has one model, and serves it under any name


@dataclass(frozen=True, slots=True)
class Answer:
    """What was heard, after how many seconds, and the headers that came with it, names in small letters."""

    heard: Heard
    headers: Mapping[str, str]
    seconds: float


class OpenAiServer:
    """One server, asked by several threads at once. Each call is one try: nothing is tried again here."""

    def __init__(self, llm: Llm) -> None:
        """
        Raises:
            MissingPart: OpenAI's own server is asked, and the environment has no key.
            ProfileError: the address is none; the key is none, or OpenAI's where somebody else is asked.
        """
        self._url = llm.base_url or OPENAI
        self.host = _host(self._url)
        is_openai = is_of(self.host, "openai.com")
        if llm.api_key_env == _OPENAIS_KEY and not is_openai and not _is_near(self.host):
            hint = "name the variable of its own key, and any other where it wants none: lightmem config set llm."
            raise ProfileError(
                f"{_OPENAIS_KEY} is OpenAI's key, and is not sent to {self.address}", hint=f"{hint}api_key_env NAME"
            )
        self._key = _key(llm.api_key_env, needed=is_openai)
        self._timeout = llm.timeout_seconds
        self._lock = Lock()
        self._opened: OpenAI | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """What a person is told of it."""
        who = {"openai.com": "OpenAI", "deepseek.com": "DeepSeek"}
        return f"{next((name for of, name in who.items() if is_of(self.host, of)), 'the server')} at {self.address}"

    @property
    def address(self) -> str:
        return shown(self._url)

    @property
    def has_key(self) -> bool:
        return bool(self._key)

    def chat(self, body: Body, *, tell: Callable[[str], None] | None, accepted: Callable[[], None]) -> Answer:
        """One try. `accepted` is called once the server took the request, before the reply comes.

        Raises:
            ServerRefused: it did not answer, or not to the end.
            BadReply: what came is no answer of a chat.
        """
        import openai

        heard, began = Heard(tell), time.monotonic()
        refused: Refused | None = None
        unreadable = ""
        begun = False

        def began_to_answer() -> None:
            nonlocal begun
            begun = True
            accepted()

        try:
            headers = self._chat(body, heard, accepted=began_to_answer)
        except openai.APIError as error:
            refused = read_refusal(error, key=self._key)
        except ValueError as error:  # bytes that are not UTF-8, lines that are not JSON
            unreadable = "not UTF-8" if isinstance(error, UnicodeError) else "not JSON"
        except _broken_off() as error:  # while all is read that came at once where pieces were asked for
            refused = Refused(type(error).__name__, "silence" if "Timeout" in type(error).__name__ else "broken")
        came = heard.text if heard.text or heard.thought else None
        if refused is not None:
            raise ServerRefused(refused, told=heard.told, accepted=begun, heard=came)
        if unreadable or not heard.answers:
            words = unreadable or "no answer of a chat"
            raise BadReply(f"what {self.name} sent is {words}", hint="see that llm.base_url is an OpenAI server's /v1")
        if not heard.finish or heard.finish == "insufficient_system_resource":  # DeepSeek's word for too much to do
            cut = Refused("the reply ended in the middle", "broken")
            raise ServerRefused(cut, told=heard.told, accepted=True, heard=came)
        return Answer(heard, headers, time.monotonic() - began)

    def models(self) -> list[Listed]:
        """What the server serves.

        Raises:
            ServerRefused: it does not say.
        """
        import openai

        refused: Refused | None = None
        listed: object = None
        try:
            listed = json.loads(self._client().models.with_raw_response.list().http_response.text)
        except openai.APIError as error:
            refused = read_refusal(error, key=self._key)
        except ValueError:
            refused = Refused("it has no list of its models")
        if refused is not None:
            raise ServerRefused(refused)
        rows = listed.get("data") if isinstance(listed, Mapping) else None
        return [_listed(row) for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []

    def close(self) -> None:
        """Close the connections, and open none any more."""
        with self._lock:
            self._closed = True
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _chat(self, body: Body, heard: Heard, *, accepted: Callable[[], None]) -> Mapping[str, str]:
        from openai import Stream

        # By extra_body go all parameters alike: those that the package knows, and those that one server has.
        sent: dict[str, Any] = _well_formed(body)
        chat = {name: sent.pop(name) for name in ("model", "messages", "stream")}
        raw = self._client().chat.completions.with_raw_response.create(**chat, extra_body=sent)
        headers = {name.lower(): value for name, value in raw.headers.items()}
        kind = headers.get("content-type", "")
        if not chat["stream"] or ("json" in kind and "stream" not in kind and "ndjson" not in kind):
            whole = json.loads(raw.http_response.read().decode("utf-8"))
            if (refused := read_error(whole, key=self._key)) is not None:
                raise ServerRefused(refused)
            accepted()
            heard.listen([whole])
            return headers
        with raw.parse(to=Stream[object]) as events:
            if "html" not in kind:
                accepted()
                heard.listen(events)
        return headers

    def _client(self) -> OpenAI:
        import openai

        with self._lock:
            if self._closed:
                raise ModelError(f"{self.name} is not asked any more: it was closed")
            if self._opened is None:
                self._opened = openai.OpenAI(
                    api_key=self._key or _NO_KEY, base_url=self._url, timeout=self._timeout, max_retries=0
                )
            return self._opened


def _host(url: str) -> str:
    """
    Raises:
        ProfileError: `url` is no address.
    """
    hint = f"lightmem config set llm.base_url {OPENAI}, or where else the server is"
    host = ""
    with suppress(ValueError):  # brackets without an end, a port that is none
        parts = urlsplit(url)
        host = (parts.hostname or "") if parts.scheme in ("http", "https") and parts.port != 0 else ""
    if not host:
        raise ProfileError("llm.base_url is no address of a server", hint=hint)
    return host


def _is_near(host: str) -> bool:
    """Whether a server is on this machine, or in a network that is not everybody's."""
    with suppress(ValueError):
        return not ip_address(host).is_global
    return "." not in host or host.endswith(_NEAR)


def _broken_off() -> tuple[type[Exception], ...]:
    """What the client beneath openai raises where a connection breaks: httpx2's errors, or httpx's before openai 3."""
    return tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)


def _key(variable: str, *, needed: bool) -> str:
    """The key in the environment's `variable`; "" where there is none, and none is `needed`."""
    key = os.environ.get(variable, "").strip()
    if needed and not key:
        raise MissingPart(
            f"OpenAI wants a key, and the environment variable {variable} is not set",
            hint=f"export {variable}=..., or lightmem config set llm.api_key_env NAME",
        )
    if not key.isascii() or not key.isprintable() or " " in key:  # the client's complaint would show it
        what = f"what {variable} holds is no key: it has characters that no key has"
        raise ProfileError(what, hint=f"export {variable}=...")
    return key


def _well_formed(value: Any) -> Any:
    """A request with "?" for each half of a surrogate pair, which is no UTF-8."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {key: _well_formed(one) for key, one in value.items()}
    return [_well_formed(one) for one in value] if isinstance(value, list) else value


def _listed(row: Mapping[str, object]) -> Listed:
    meta = row.get("meta")
    more = meta if isinstance(meta, Mapping) else {}
    sizes = [*(row.get(name) for name in _CONTEXT_NAMES), more.get("n_ctx"), more.get("n_ctx_train")]
    return Listed(
        id=str(row.get("id") or ""),
        context=next((size for size in sizes if isinstance(size, int) and size > 0), 0),
        parameters=size if isinstance(size := more.get("n_params"), int) else 0,
        any_name=row.get("owned_by") == "llamacpp",
    )
