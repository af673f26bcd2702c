"""Answers about a conversation from a script: for tests, for a demo without a model, and to replay what was said once.

`llm.use = "scripted"` with `llm.model = FILE` reads the script from FILE, one JSON object a line:

    {"reply": {"facts": []}, "when": "words that the prompt must contain", "once": true}

`reply` is what comes back: a string as it is, an object as JSON. `when` may be left out: the line then fits any prompt.
`once` is for a line that answers one time only. Of the lines that fit, the first answers. The reply "every line a fact"
makes a fact of each numbered line of the talk that the prompt shows, as "Name said: text". Blank lines are skipped.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias

from lightmem_cli.errors import InputError, ModelError, ProfileError, TooLong
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.protocols import JsonSchema, Prompt, Reply
from lightmem_cli.records import Usage

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Llm

Script: TypeAlias = Callable[[Prompt], "str | BaseException"]

EVERY_LINE_A_FACT: Final = "every line a fact"
_TALK = re.compile(r"^<talk>\n(.*?)^</talk>$", re.DOTALL | re.MULTILINE)
_LINE = re.compile(r"^(\d+) ([^:]+): (.*)$", re.MULTILINE)
_LONGEST = 300  # characters of a fact
_PIECE = 12  # characters that `tell` gets at once
_KEYS: Final = {"reply": (str, dict), "when": (str,), "once": (bool,)}


def every_line_a_fact(prompt: Prompt) -> str:
    """The reply to an extraction prompt that makes a fact of each numbered line of its talk."""
    talk = _TALK.search(prompt.body)
    lines = _LINE.findall(talk[1] if talk else prompt.body)
    facts = [{"of": [int(number)], "text": f"{name} said: {text}"[:_LONGEST]} for number, name, text in lines]
    return json.dumps({"facts": facts}, ensure_ascii=False)


class ScriptedModel:
    """Replies with what `reply` returns; raises it where that is an exception. `prompts` are those asked so far.

    Tokens are characters / 4, rounded up. Each reply takes `delay` seconds.
    """

    def __init__(
        self, reply: Script, *, name: str = "scripted/test", manner: str = "", context: int = 0, delay: float = 0
    ) -> None:
        self._reply = reply
        self.name = name
        self.manner = manner
        self.context = context
        self.thoughts = 0
        self.delay = delay
        self.prompts: list[Prompt] = []  # append is atomic: several threads ask

    @classmethod
    def from_file(cls, llm: Llm) -> ScriptedModel:
        """The model whose replies are in the file that `llm.model` names.

        Raises:
            ProfileError: no file is named, or it is not there.
            InputError: a line of it is not as the head of this module says.
        """
        if not llm.model:
            raise ProfileError("llm.model names no file of replies", hint="lightmem config set llm.model FILE")
        path = Path(llm.model).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            hint = "lightmem config set llm.model FILE"
            raise ProfileError(f"llm.model: cannot read {path}: {error.strerror}", hint=hint) from error
        script = _FileOfReplies(path, _parsed(path, content))
        manner = hashlib.blake2b(content, digest_size=8).hexdigest()  # an edited file replies anew
        return cls(script.reply, name=f"scripted/{path.name}", manner=manner, context=llm.context)

    def tokens(self, text: str) -> int:
        return count_tokens(text)

    def complete(
        self,
        prompt: Prompt,
        *,
        most: int,
        schema: JsonSchema | None = None,  # noqa: ARG002 - a script says what it says
        tell: Callable[[str], None] | None = None,
    ) -> Reply:
        began = time.monotonic()
        self.prompts.append(prompt)
        asked = sum(map(count_tokens, prompt))
        if self.context and asked + most > self.context:
            raise TooLong(f"{asked} tokens and a reply of {most} are more than {self.name} reads: {self.context}")
        if self.delay:
            time.sleep(self.delay)
        said = self._reply(prompt)
        if isinstance(said, BaseException):
            raise said
        text = said[: 4 * most]
        if tell is not None:
            for begin in range(0, len(text), _PIECE):
                tell(text[begin : begin + _PIECE])
        usage = Usage(calls=1, prompt_tokens=asked, completion_tokens=count_tokens(text))
        return Reply(text=text, usage=usage, seconds=time.monotonic() - began, whole=len(text) == len(said))

    def probe(self) -> str:
        return f"{self.name}: replies from a script"

    def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class _Line:
    reply: str
    when: str = ""
    once: bool = False
    spent: bool = False


class _FileOfReplies:
    """The lines of a script, and which of them have answered."""

    def __init__(self, path: Path, lines: Sequence[_Line]) -> None:
        self._path = path
        self._lines = lines
        self._lock = Lock()

    def reply(self, prompt: Prompt) -> str:
        line = self._first_that_fits("\n\n".join(prompt))
        if line is None:
            raise ModelError(
                f"{self._path} has no reply to the prompt {_shown(prompt)}",
                hint='a line {"reply": "…"} without "when" answers whatever nothing else does',
            )
        return every_line_a_fact(prompt) if line.reply == EVERY_LINE_A_FACT else line.reply

    def _first_that_fits(self, asked: str) -> _Line | None:
        with self._lock:
            for line in self._lines:
                if line.when in asked and not line.spent:
                    line.spent = line.once
                    return line
        return None


def _shown(prompt: Prompt) -> str:
    """The beginning of what differs between prompts, on one line."""
    text = " ".join((prompt.body or prompt.prefix).split())
    return json.dumps(text if len(text) <= 80 else f"{text[:80]} …", ensure_ascii=False)


def _parsed(path: Path, content: bytes) -> list[_Line]:
    lines = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if raw.strip():
            try:
                lines.append(_line(raw))
            except ValueError as error:
                hint = 'each line is a JSON object such as {"reply": "yes", "when": "words of the prompt"}'
                raise InputError(f"{path}:{number}: {error}", hint=hint) from error
    if not lines:
        raise InputError(f"{path}:1: there is no reply in this file", hint='a line of it: {"reply": "yes"}')
    return lines


def _line(raw: bytes) -> _Line:
    """
    Raises:
        ValueError: what is wrong with it, in words.
    """
    try:
        fields = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("this is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"this is not JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(fields, dict):
        raise ValueError("this is not a JSON object")
    for key, value in fields.items():
        if key not in _KEYS:
            raise ValueError(f'unknown key "{key}": there are {", ".join(_KEYS)}')
        if not isinstance(value, _KEYS[key]):
            wanted = " or ".join(
                {str: "a string", dict: "an object", bool: "true or false"}[kind] for kind in _KEYS[key]
            )
            raise ValueError(f'"{key}" is {wanted}')
    if "reply" not in fields:
        raise ValueError('"reply" is missing')
    reply = fields["reply"]
    text = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
    return _Line(text, when=fields.get("when", ""), once=fields.get("once", False))
