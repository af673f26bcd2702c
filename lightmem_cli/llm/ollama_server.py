"""Carries one question about a conversation to an Ollama server and its reply back, and says what went wrong between.

Replies are always streamed: a model that is slow but at work then gives a sign with every token, and only one that
gives none for `llm.timeout_seconds` is given up. Importing ollama costs 0.4 s.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from threading import Lock, local
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from lightmem_cli.errors import (
    BadReply,
    LightmemError,
    MissingPart,
    ModelError,
    ProfileError,
    TooLong,
    Unavailable,
)
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm.patience import TryFailed, harmless, shown, without_key
from lightmem_cli.llm.thoughts import Aloud
from lightmem_cli.protocols import JsonSchema, Prompt

if TYPE_CHECKING:
    import httpx
    import ollama

    from lightmem_cli.profiles.settings import Llm

DEFAULT_ADDRESS: Final = "http://127.0.0.1:11434"

Think: TypeAlias = "bool | str | None"  # None: as the model does by itself

_CONNECT_SECONDS: Final = 10.0  # whoever listens says so sooner
_OVERFLOW: Final = re.compile(r"exceed\w* .*context (?:size|length|window)", re.IGNORECASE)
_NO_THINKING: Final = re.compile(r"does not support thinking|think value", re.IGNORECASE)


class ThinkingRefused(Exception):
    """The model cannot think as it was told to: to be asked again without a word about it."""


class DoesNotFit(TooLong):
    """The server refuses a prompt of so many `tokens` (0: it does not say how many)."""

    def __init__(self, words: str) -> None:
        super().__init__(f"the model does not read so much at once: {words}")
        found = re.search(r"(\d+) tokens", words)
        self.tokens = int(found[1]) if found else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply, with the tokens that were `read` and `written` where the server counts them, thoughts included."""

    text: str
    thought: bool
    read: int | None
    written: int | None
    whole: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server says of a model: its context in tokens (0: it does not say), its size, how it is quantised."""

    context: int
    size: str
    quantization: str


@dataclass(slots=True)
class _Heard:
    """What came of a reply so far, whether any of it was told, and whether the model was told to think."""

    think: Think = None
    pieces: list[str] = field(default_factory=list)
    thought: bool = False
    told: bool = False
    characters: int = 0  # of thoughts, too


class OllamaServer:
    """One model at one server, asked by several threads at once. Each call is one try: nothing is tried again here.

    Every method raises TryFailed where the try failed, and MissingPart where the model is not pulled.
    """

    def __init__(self, llm: Llm) -> None:
        self._given = llm.base_url or os.environ.get("OLLAMA_HOST", "") or DEFAULT_ADDRESS
        self._url = _asked_at(self._given)
        self._user = _user(self._url)
        self._keys = _keys(self._user)
        self._model = llm.model
        self._timeout = llm.timeout_seconds
        # Ollama takes a number in quotes for a duration without its unit, and refuses it.
        is_number = re.fullmatch(r"-?\d+", llm.keep_alive.strip())
        self._keep_alive: float | str = int(llm.keep_alive) if is_number else llm.keep_alive
        self._lock = Lock()
        self._last = local()  # .headers: those of this thread's last response
        self._opened: ollama.Client | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """What a person is told of it."""
        return f"Ollama at {self.address}"

    @property
    def address(self) -> str:
        return shown(self._url)

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of this thread's last response, their names in small letters."""
        headers: Mapping[str, str] = getattr(self._last, "headers", {})
        return headers

    def chat(
        self,
        prompt: Prompt,
        *,
        options: Mapping[str, object],
        think: Think,
        schema: JsonSchema | None,
        tell: Callable[[str], None] | None,
    ) -> Answer:
        """
        Raises:
            ThinkingRefused: the model does not think, or not so.
            DoesNotFit: the server says that the prompt is longer than its num_ctx.
            BadReply: what came back is not UTF-8, or nothing that Ollama sends.
        """
        began = time.monotonic()
        heard, aloud, last = _Heard(think), Aloud(), None

        def hear(piece: str) -> None:
            if piece:
                heard.pieces.append(piece)
                if tell is not None:
                    heard.told = True
                    tell(piece)

        try:
            with closing(self._parts(prompt, heard, options=options, schema=schema)) as parts:
                for part in parts:
                    last = part
                    heard.thought = heard.thought or bool(part.message.thinking)
                    heard.characters += len(part.message.thinking or "") + len(part.message.content or "")
                    hear(aloud.piece(part.message.content or ""))  # older models think within their reply
            if last is None or not last.done:
                raise TryFailed("the reply ended in the middle", reached="broken", told=heard.told)
        except TryFailed as failed:
            if heard.characters:
                failed.paid = sum(map(count_tokens, prompt)), -(-heard.characters // 4)
            raise
        hear(aloud.rest())
        return Answer(
            text="".join(heard.pieces),
            thought=heard.thought,
            read=last.prompt_eval_count or None,
            written=last.eval_count,
            whole=last.done_reason != "length",
            seconds=time.monotonic() - began,
        )

    def show(self) -> Shown:
        with self._failures(_Heard()):
            model = self._client().show(self._model)
            known = model.modelinfo or {}
            context = known.get(f"{known.get('general.architecture')}.context_length")
            details = model.details
            return Shown(
                context=int(context or 0),
                size=(details and details.parameter_size) or "",
                quantization=(details and details.quantization_level) or "",
            )

    def names(self) -> list[str]:
        """The models that are there."""
        with self._failures(_Heard()):
            return sorted(model.model for model in self._client().list().models if model.model)

    def close(self) -> None:
        """Close the connections, and open none any more."""
        with self._lock:
            self._closed = True
            if self._opened is not None:
                self._opened.close()  # type: ignore[no-untyped-call]  # so the package has it
                self._opened = None

    def _parts(
        self,
        prompt: Prompt,
        heard: _Heard,
        *,
        options: Mapping[str, object],
        schema: JsonSchema | None,
    ) -> Generator[ollama.ChatResponse, None, None]:
        with self._failures(heard):
            yield from self._client().chat(
                self._model,
                [{"role": "system", "content": prompt.prefix}, {"role": "user", "content": prompt.body}],
                stream=True,
                format=None if schema is None else dict(schema),
                options=options,
                think=heard.think,
                keep_alive=self._keep_alive,
            )

    def _client(self) -> ollama.Client:
        import httpx
        import ollama

        with self._lock:
            if self._closed:
                raise ModelError(f"{self.name} is not asked any more: it was closed")
            if self._opened is None:
                try:
                    self._opened = ollama.Client(
                        self._given,
                        timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, _CONNECT_SECONDS)),
                        auth=self._user,
                        headers={"accept-encoding": "identity"},  # so that bytes are seen as they are
                        event_hooks={"response": [self._look_at]},
                    )
                except (ValueError, httpx.InvalidURL) as error:
                    raise self._no_address() from error
            return self._opened

    def _look_at(self, response: httpx.Response) -> None:
        """Note what the client keeps to itself: a response's headers, and bytes that are not UTF-8."""
        self._last.headers = {name.lower(): value for name, value in response.headers.items()}
        if response.is_success:
            response.stream = _strict()(response.stream)

    @contextmanager
    def _failures(self, heard: _Heard) -> Iterator[None]:
        """Say in our own terms what the client raises."""
        import httpx
        import ollama

        try:
            yield
        except ollama.ResponseError as error:
            raise self._refused(error, heard) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError) as error:
            # Where nobody listens, the client's own words for it are an advertisement.
            words = "no connection" if isinstance(error, ConnectionError) else str(error)
            raise TryFailed(self._harmless(words), reached="nobody") from error
        except httpx.UnsupportedProtocol as error:
            raise self._no_address() from error
        except httpx.TimeoutException as error:
            words = f"no sign of it for {self._timeout:g} s"
            raise TryFailed(words, reached="silence", told=heard.told) from error
        except httpx.TransportError as error:
            raise TryFailed(self._harmless(str(error)), reached="broken", told=heard.told) from error
        except RuntimeError as error:
            if not self._closed:  # httpx's word for it; a mistake of ours is none
                raise
            raise TryFailed("it was closed", reached="broken", told=heard.told) from error
        except (httpx.HTTPError, ValueError, TypeError, AttributeError) as error:
            # A page in HTML, half of a JSON line, bytes that are not UTF-8: each fails elsewhere in the client.
            what = self._harmless(str(error).partition("\n")[0])
            raise BadReply(
                f"{self.name} sent what cannot be read: {what}", hint="see that llm.base_url is an Ollama server"
            ) from error

    def _refused(self, error: ollama.ResponseError, heard: _Heard) -> Exception:
        words, status = self._harmless(str(error.error)), error.status_code
        if status == 404 and "model" in words:
            return self._not_pulled()
        if status == 404:
            hint = f"lightmem config set llm.base_url {DEFAULT_ADDRESS}, or where else Ollama is"
            return Unavailable(f"{self.address} is no Ollama server (HTTP 404)", hint=hint)
        if heard.think and _NO_THINKING.search(words):
            return ThinkingRefused(words)
        if _OVERFLOW.search(words):
            return DoesNotFit(words)
        if status < 400:  # an error behind the first pieces of a reply comes as a piece, without a status
            return TryFailed(words, reached="broken", told=heard.told)
        return TryFailed(words, status=status, headers=self.headers, money=status == 429 and "upgrade" in words)

    def _no_address(self) -> ProfileError:
        hint = f"lightmem config set llm.base_url {DEFAULT_ADDRESS}"
        return ProfileError(f"{self.address} is no address of a server", hint=hint)

    def _harmless(self, words: str) -> str:
        """What a server said, without what it was shown to let us in."""
        for key in self._keys:
            words = without_key(words, key=key)
        return harmless(words)

    def _not_pulled(self) -> MissingPart:
        there: list[str] = []
        with suppress(TryFailed, LightmemError):
            there = self.names()
        has = f"; it has {', '.join(there[:8])}" if there else ""
        hint = f"ollama pull {shlex.quote(self._model)}"
        return MissingPart(f"{self.name} has no model {self._model}{has}", hint=hint)


def _asked_at(given: str) -> str:
    """The address that ollama's client makes of OLLAMA_HOST: without a scheme, Ollama's own port is meant."""
    if "://" in given:
        return given
    with suppress(ValueError):  # brackets without an end, a port that is none
        parts = urlsplit(f"http://{given}")
        user, at, _ = parts.netloc.rpartition("@")
        host = parts.hostname or "127.0.0.1"
        host = f"[{host}]" if ":" in host else host
        return f"http://{user}{at}{host}:{parts.port or 11434}{parts.path}"
    return f"http://{given}"


def _user(url: str) -> tuple[str, str] | None:
    """The name and password in an address."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.username:
            return unquote(parts.username), unquote(parts.password or "")
    return None


def _keys(user: tuple[str, str] | None) -> list[str]:
    """What the server is shown to let us in, in each form that it may show again."""
    keys = [os.environ.get("OLLAMA_API_KEY", "").strip()]
    if user is not None:
        keys += [b64encode(":".join(user).encode()).decode(), user[1]]
    return [key for key in keys if key]


@cache
def _strict() -> Callable[[Any], httpx.SyncByteStream]:
    """Bytes as they come, or UnicodeDecodeError where they are not UTF-8: the client would put "?" there."""
    import httpx

    class Strict(httpx.SyncByteStream):
        def __init__(self, stream: httpx.SyncByteStream) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            decoder = codecs.getincrementaldecoder("utf-8")()
            for data in self._stream:
                decoder.decode(data)
                yield data

        def close(self) -> None:
            self._stream.close()

    return Strict
