"""Asks a model that Ollama serves about a conversation, with as much context as the prompt needs, and no silent cuts.

Ollama reads as many tokens as the request's num_ctx says, and cuts a longer prompt without a word: it keeps about half
of them, answers with status 200, and only `prompt_eval_count` shows it. So every request says how much it needs, in
steps (another num_ctx makes Ollama load the model anew), and every reply is looked at for the marks of a cut.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Final

from lightmem_cli.errors import HalfRead, ProfileError, TooLong
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm.ollama_server import Answer, DoesNotFit, OllamaServer, Shown, Think, ThinkingRefused
from lightmem_cli.llm.patience import Patience
from lightmem_cli.llm.thoughts import once, only_thought, room_to_think
from lightmem_cli.local_models.surrogates import well_formed
from lightmem_cli.protocols import JsonSchema, Progress, Prompt, Reply
from lightmem_cli.records import Usage

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Llm

FIRST_WINDOW: Final = 4096  # tokens; each further step is twice the one before
MARGIN: Final = 1.1  # by which a tokenizer may differ from our estimate before a window is too small
TEMPLATE_TOKENS: Final = 64  # of the chat template around a prompt
LARGEST_WINDOW: Final = 1 << 20  # where the server does not say how much its model reads
START_IT: Final = "ollama serve; until it runs: lightmem retrieve needs no language model"

# A cut prompt keeps num_keep tokens (4, or 24) and half of the rest, and perhaps the one that begins every text.
_HALF_AND: Final = frozenset({2, 3, 12, 13})
_WIDE: Final = re.compile(r"[\u2e80-\U0010ffff]")  # ideographs, kana, emoji ...: about a token each


class OllamaModel:
    """A model behind Ollama's own API. Several threads ask it at once."""

    def __init__(self, llm: Llm, *, notice: Progress, patience: Patience | None = None) -> None:
        """No server is asked anything yet. Tests bring a `patience` that does not sleep.

        Raises:
            ProfileError: `llm.model` is empty.
        """
        if not llm.model:
            hint = "lightmem config set llm.model llama3.2 (ollama list shows the models that are there)"
            raise ProfileError("llm.model does not say which model Ollama shall run", hint=hint)
        self._llm = llm
        self._notice_once = once(notice)
        self._server = OllamaServer(llm)
        self._patience = patience or Patience(
            self._server.name, retries=llm.retries, hint=START_IT, key_hint="check OLLAMA_API_KEY", notice=notice
        )
        self._think: Think = {"auto": None, "off": False, "on": True}.get(llm.thinking, llm.thinking)
        self._show_lock = Lock()  # one thread asks the server about the model, for all
        self._shown: Shown | None = None
        self._lock = Lock()  # of what was learned on the way: `_think` above, and all below
        self._window = 0  # the largest num_ctx so far: to shrink it would only load the model anew
        self._doubted: dict[Prompt, int] = {}  # what seemed to be cut, and the tokens that were read of it
        self._rate = 1.0  # tokens as the model counts them, to one of our estimate; the most so far

    @property
    def name(self) -> str:
        return f"ollama/{self._llm.model}"

    @property
    def manner(self) -> str:
        """What decides a reply beside the prompt; how much context the server was asked for does not."""
        how = {"temperature": self._llm.temperature, "thinking": self._llm.thinking, "options": self._llm.options}
        return json.dumps({"server": self._server.address, **how}, sort_keys=True)

    @property
    def thoughts(self) -> int:
        return room_to_think(self._llm)

    @property
    def context(self) -> int:
        """The least of what the model has and what the settings allow; 0 where none says.

        Raises:
            Unavailable, MissingPart, ModelError: the server could not be asked.
        """
        limits = (self._llm.context, self._fixed_window or 0, self._about_model().context)
        return min(filter(None, limits), default=0)

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
        """As LanguageModel says. A prompt that the server cut has a wider window when it is asked again."""
        prompt = Prompt(well_formed(prompt.prefix), well_formed(prompt.body))
        window = self._fit(prompt, most)
        while True:
            try:
                answer = self._ask(prompt, most=most, window=window, schema=schema, tell=tell)
                break
            except DoesNotFit as refused:
                window = self._wider(window, at_least=refused.tokens + most)
        usage = self._usage(prompt, answer)
        if not self._was_read(prompt, answer, most=most, window=window):
            paid = usage.prompt_tokens, usage.completion_tokens
            room = self._wider(window, at_least=0, paid=paid)
            self._doubt(prompt, answer)
            what, hint = f"{self.name} read only a part of what it was sent", "ask again: there is more room for it now"
            raise HalfRead(what, hint=hint, paid=paid, room=room)
        self._learn(prompt, answer)
        return Reply(text=answer.text, usage=usage, seconds=answer.seconds, whole=answer.whole)

    def probe(self) -> str:
        about = self._about_model()
        context = f"{about.context:,} tokens of context" if about.context else "a context it does not tell"
        parts = [part for part in (about.size, about.quantization, context) if part]
        return f"{self.name}: {', '.join(parts)}; {self._server.name}"

    def close(self) -> None:
        """Close the connections, and try nothing more."""
        self._patience.close()
        self._server.close()

    def _ask(
        self,
        prompt: Prompt,
        *,
        most: int,
        window: int,
        schema: JsonSchema | None,
        tell: Callable[[str], None] | None,
    ) -> Answer:
        """One reply, after as many tries as it takes."""

        def chat() -> Answer:
            think = self._think
            sizes = {"num_ctx": window, "num_predict": most + self._room_to_think}
            options = {"temperature": self._llm.temperature, **sizes, **self._llm.options}
            return self._server.chat(prompt, options=options, think=think, schema=schema, tell=tell)

        def one_try() -> Answer:
            try:
                return chat()
            except ThinkingRefused:
                with self._lock:
                    self._think = None
                self._notice_once(f"{self.name} cannot think as llm.thinking says: it is asked without")
                return chat()

        answer = self._patience.ask(one_try)
        self._patience.heed(self._server.headers)
        if answer.thought and not answer.whole and not answer.text:
            self._notice_once(only_thought(self.name))
        return answer

    @property
    def _room_to_think(self) -> int:
        return self.thoughts if self._think else 0

    def _fit(self, prompt: Prompt, most: int) -> int:
        """The num_ctx for a prompt and its reply: what a former one had, or as many steps more as they need.

        Raises:
            TooLong: they are more than the model reads at once.
        """
        context = self.context
        most += self._room_to_think
        needed = math.ceil(_estimate(prompt) * self._rate) + TEMPLATE_TOKENS
        if context and needed + most > context:
            what = f"a prompt of about {needed:,} tokens and a reply of {most:,} are more than the {context:,}"
            raise TooLong(f"{what} that {self.name} reads at once", hint="a model with more context, or shorter talk")
        if self._fixed_window:
            return self._fixed_window
        return self._widen(math.ceil(needed * MARGIN) + most, limit=context)

    def _wider(self, window: int, *, at_least: int, paid: tuple[int, int] | None = None) -> int:
        """The next num_ctx after `window`, for what was `paid` in vain.

        Raises:
            TooLong: there is none.
        """
        limit = self.context or LARGEST_WINDOW
        if window >= limit:
            raise TooLong(f"the prompt is more than the {limit:,} tokens that {self.name} reads at once", paid=paid)
        return self._widen(max(window + 1, at_least), limit=limit)

    def _widen(self, needed: int, *, limit: int) -> int:
        step = FIRST_WINDOW
        while step < needed:
            step *= 2
        with self._lock:
            self._window = max(self._window, min(step, limit or step))
            return self._window

    @property
    def _fixed_window(self) -> int | None:
        """The num_ctx that the settings name: theirs to answer for."""
        fixed = self._llm.options.get("num_ctx")
        return fixed if isinstance(fixed, int) and fixed > 0 else None

    def _about_model(self) -> Shown:
        with self._show_lock:
            if self._shown is None:
                self._shown = self._patience.ask(self._server.show)
            return self._shown

    def _usage(self, prompt: Prompt, answer: Answer) -> Usage:
        read, written = answer.read, answer.written
        ours = sum(map(self.tokens, prompt))
        return Usage(
            calls=1,
            prompt_tokens=ours if read is None else read,
            completion_tokens=self.tokens(answer.text) if written is None else written,
            cached_tokens=ours if read is None else 0,  # a server that kept the whole prompt counts none of it
        )

    def _was_read(self, prompt: Prompt, answer: Answer, *, most: int, window: int) -> bool:
        """Whether the server read all of a prompt, as far as can be seen."""
        if answer.read is None:
            return True
        with self._lock:
            counted = self._doubted.pop(prompt, 0)
        if answer.read >= window - 1 or answer.read - window // 2 in _HALF_AND:  # cut before it was read
            # Unless that came about by chance: in a wider window there are as many tokens as before, and enough.
            return answer.read == counted and 2 * counted >= sum(map(self.tokens, prompt))
        # Cut to make room for the reply? A wider window shows that; where there is none, what was read is good.
        fills = answer.read + min(answer.written or 0, most + self.thoughts) >= window
        return not fills or answer.read == counted or window >= (self.context or LARGEST_WINDOW)

    def _doubt(self, prompt: Prompt, answer: Answer) -> None:
        """Remember how much was read of a prompt, until it is asked again."""
        with self._lock:
            self._doubted[prompt] = answer.read or 0

    def _learn(self, prompt: Prompt, answer: Answer) -> None:
        """Expect more tokens of the prompts to come, where the model counts more than we thought."""
        if answer.read is not None:
            rate = (answer.read - TEMPLATE_TOKENS) / max(1.0, _estimate(prompt))
            with self._lock:
                self._rate = max(self._rate, rate)


def _estimate(prompt: Prompt) -> float:
    """Tokens of a prompt, rather too many: `tokens` counts four characters each, of any script."""
    text = f"{prompt.prefix}{prompt.body}"
    plain, wide = len(text.encode("ascii", "ignore")), len(_WIDE.findall(text))
    return plain / 4 + (len(text) - plain - wide) / 2 + wide
