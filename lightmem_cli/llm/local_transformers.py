"""Asks a chat model about a conversation that runs in this process, through torch and transformers.

Nothing is loaded before it is needed: the tokenizer (3 s, for the import) when tokens are counted, the weights when
something is asked. Replies of a schema are held to it token by token.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final

from lightmem_cli.errors import ModelError, ProfileError, TooLong
from lightmem_cli.llm.thoughts import Aloud, room_to_think
from lightmem_cli.local_models.choice import Sampling
from lightmem_cli.local_models.device import choose_device
from lightmem_cli.local_models.folders import fetched_anew, model_folder
from lightmem_cli.protocols import JsonSchema, Progress, Prompt, Reply
from lightmem_cli.records import Usage

if TYPE_CHECKING:
    from lightmem_cli.local_models.chat import ChatModel
    from lightmem_cli.local_models.chat_tokens import Asked, ChatTokens
    from lightmem_cli.profiles.settings import Llm

WITHOUT: Final = "without a language model: lightmem config set llm.use none"
_NO_OPTIONS: Final = "lightmem config set llm.options '{}'"
_PATIENCE: Final = 10  # seconds that closing waits for a reply to end: it does at its next token

# What llm.options may hold: whether a value is right, and what it is in words.
_OPTIONS: Final[dict[str, tuple[Callable[[float], bool], str]]] = {
    "seed": (lambda value: isinstance(value, int), "a whole number"),
    "top_k": (lambda value: isinstance(value, int) and value >= 0, "a whole number from 0 on"),
    "top_p": (lambda value: 0 < value <= 1, "a number above 0, up to 1"),
    "min_p": (lambda value: 0 <= value < 1, "a number from 0 on, below 1"),
    "repetition_penalty": (lambda value: value > 0, "a number above 0"),
}


class TransformersModel:
    """A causal chat model from a folder or the Hub's cache. Several threads may ask; it answers them one by one."""

    def __init__(self, llm: Llm, *, notice: Progress) -> None:
        """
        Raises:
            MissingPart: the model is not on this machine; the hint has the command that gets it.
            ProfileError: no model is named, or an option is unknown or wrong.
        """
        if not llm.model:
            hint = "lightmem config set llm.model NAME    (a model of the Hub, or a folder)"
            raise ProfileError("llm.model names no model", hint=hint)
        self._llm = llm
        self._notice = notice
        self._sampling = _sampling(llm)
        self._folder = model_folder(llm.model, without=WITHOUT)
        self._loading = Lock()
        self._asking = Lock()
        self._closed = Event()
        self._tokens: ChatTokens | None = None
        self._model: ChatModel | None = None

    @property
    def name(self) -> str:
        path = Path(self._llm.model).expanduser()
        return f"transformers/{path.resolve().name if path.is_dir() else self._llm.model}"

    @property
    def manner(self) -> str:
        revised = self._folder.name if self._folder.parent.name == "snapshots" else str(self._folder.resolve())
        how = {"temperature": self._llm.temperature, "thinking": self._llm.thinking, "options": self._llm.options}
        return json.dumps({"model": revised, "device": self._llm.device, **how}, sort_keys=True)

    @property
    def context(self) -> int:
        known = [limit for limit in (self._llm.context, self._chat_tokens().limit) if limit]
        return min(known, default=0)

    @property
    def thoughts(self) -> int:
        return room_to_think(self._llm)

    def tokens(self, text: str) -> int:
        return self._chat_tokens().count(text)

    def complete(
        self,
        prompt: Prompt,
        *,
        most: int,
        schema: JsonSchema | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Reply:
        asked = self._chat_tokens().ask(prompt, structured=schema is not None)
        most += self.thoughts if schema is None else 0  # what begins with its JSON was never thought about
        if self.context and len(asked.ids) + most > self.context:
            raise TooLong(
                f"a prompt of {len(asked.ids):,} tokens and a reply of {most:,} are more than the {self.context:,}"
                f" that {self.name} reads at once",
                hint=self._longer(),
            )
        with self._asking:
            return self._reply(asked, most=most, schema=schema, tell=tell)

    def probe(self) -> str:
        with self._asking:
            about = self._chat_model().about
        return f"{self.name}: {about}, {f'{self.context:,}' if self.context else 'any number of'} tokens at once"

    def close(self) -> None:
        """Free the model's memory. A reply on its way fails."""
        self._closed.set()
        if self._asking.acquire(timeout=_PATIENCE):
            self._model = None
            self._asking.release()
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _reply(
        self, asked: Asked, *, most: int, schema: JsonSchema | None, tell: Callable[[str], None] | None
    ) -> Reply:
        from lightmem_cli.local_models.chat_tokens import Heard

        if self._closed.is_set():
            raise ModelError(f"{self.name} was closed before it answered")
        model = self._chat_model()
        began = time.monotonic()
        heard, aloud = Heard(self._chat_tokens()), Aloud(thinks=asked.thinks)
        said: list[str] = []

        def say(text: str) -> None:
            if text:
                said.append(text)
                if tell is not None:
                    tell(text)

        def told(ids: list[int]) -> None:
            if self._closed.is_set():
                raise ModelError(f"{self.name} was closed while it answered")
            text = heard.piece(ids)
            say(text if schema else aloud.piece(text))

        constraint = None if schema is None else model.constraint(schema)
        written = model.write(asked, most=most, sampling=self._sampling, constraint=constraint, told=told)
        text = heard.rest()
        say(text if schema else aloud.piece(text) + aloud.rest())
        usage = Usage(
            calls=1,
            prompt_tokens=len(asked.ids),
            completion_tokens=len(written.ids),
            cached_tokens=written.reused,
        )
        return Reply(text="".join(said), usage=usage, seconds=time.monotonic() - began, whole=written.whole)

    def _chat_tokens(self) -> ChatTokens:
        with self._loading:
            if self._tokens is None:
                from lightmem_cli.local_models.chat_tokens import ChatTokens

                self._tokens = ChatTokens(self._folder, thinking=self._llm.thinking, hint=self._anew())
            return self._tokens

    def _chat_model(self) -> ChatModel:
        """The weights; only for who holds `_asking`."""
        tokens = self._chat_tokens()
        if self._model is None:
            from lightmem_cli.local_models.chat import ChatModel

            device = choose_device(self._llm.device)
            self._notice(f"loading {self.name} on {device} …")
            keep = self._llm.kv_cache
            self._model = ChatModel(self._folder, tokens, device=device, keep=keep, hint=self._anew())
        return self._model

    def _anew(self) -> str:
        return fetched_anew(self._llm.model, without=WITHOUT)

    def _longer(self) -> str:
        """What to do about a prompt that is too long."""
        limit = self._chat_tokens().limit
        if self._llm.context and (not limit or self._llm.context < limit):
            return f"lightmem config set llm.context {limit}"
        return "lightmem config set extract.buffer_tokens 256    (or take a model that reads more)"


def _sampling(llm: Llm) -> Sampling:
    """
    Raises:
        ProfileError: an option is unknown or wrong.
    """
    for name, value in llm.options.items():
        if name not in _OPTIONS:
            raise ProfileError(f"llm.options: no option {name!r}; there are {', '.join(_OPTIONS)}", hint=_NO_OPTIONS)
        right, words = _OPTIONS[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not right(value):
            raise ProfileError(f"llm.options: {name} is {words}", hint=_NO_OPTIONS)
    options: dict[str, Any] = llm.options
    return Sampling(temperature=llm.temperature, **options)
