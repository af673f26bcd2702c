"""Turns what a chat model is asked about a conversation into its tokens, and the tokens of its reply into text.

Importing transformers costs about 3 s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.causal_files import load_tokenizer
from lightmem_cli.local_models.surrogates import well_formed
from lightmem_cli.protocols import Prompt

Thinking: TypeAlias = Literal["auto", "off", "on", "low", "medium", "high"]

THOUGHT: Final = ("<think>", "</think>")  # between these a model thinks, in all that are widely used
_UNFINISHED = "\ufffd"  # what a tokenizer makes of the first bytes of a character
_SYSTEM, _USER, _REPLY = "alpha9", "beta9", "gamma9"  # stand for what is told, asked and replied, in a first rendering
# What begins a turn where a template writes it as text: <|assistant|>, [/INST], <<SYS>>, "### Response:", "USER:".
_WRITTEN: Final = re.compile(r"<+[^\s<>]+>+|\[[^\s\[\]]+\]|#{2,}|\b[A-Z]{2,}:")


class Asked(NamedTuple):
    """A prompt as tokens: the first `fixed` are alike for every body. `thinks`: the reply begins within a thought."""

    ids: list[int]
    fixed: int
    thinks: bool


class ChatTokens:
    """A chat model's tokenizer with its chat template, which puts a prompt into the words of its training.

    A template that has no place for instructions gets them at the head of the question. Without a template, the prompt
    is the instructions, the question, and an empty line. Several threads may use it at once.
    """

    def __init__(self, folder: Path, *, thinking: Thinking, hint: str) -> None:
        """
        Raises:
            MissingPart: the tokenizer cannot be read, or its template takes no question.
        """
        self.tokenizer = load_tokenizer(folder, hint=hint)
        self._texts = _own_copy(self.tokenizer)
        self._thinking = thinking
        self._form = self._find_form(folder, hint)
        self._marks = _any_of(_special_texts(self.tokenizer) | self._find_written())
        self.ends = self._find_ends()
        self.limit = _limit(folder)  # tokens that the model reads at once; 0 where nothing says so

    @property
    def size(self) -> int:
        """How many tokens stand for text."""
        return int(self._texts.get_vocab_size(with_added_tokens=False))

    def count(self, text: str) -> int:
        return len(self._texts.encode(self._plain(text), add_special_tokens=False).ids)

    def ask(self, prompt: Prompt, *, structured: bool) -> Asked:
        """`structured`: the reply is to be JSON, and begins with it: such a reply is never thought about first."""
        ids, thinks = self._encoded(prompt, structured)
        others = (self._encoded(Prompt(prompt.prefix, body), structured)[0] for body in ("x", "7"))
        fixed = _common(ids, *others)
        return Asked(ids, min(fixed, len(ids) - 1), thinks)

    def text(self, ids: Sequence[int]) -> str:
        """The text of a reply, without tokens that only mark something."""
        return str(self._texts.decode(list(ids), skip_special_tokens=True))

    def _encoded(self, prompt: Prompt, structured: bool) -> tuple[list[int], bool]:
        prefix, body = map(self._plain, prompt)
        if self._form == "plain":
            shown = "\n\n".join(part for part in (prefix, body) if part) + "\n\n"
            ids = self._texts.encode(shown, add_special_tokens=True).ids
            while ids and ids[-1] in self.ends:
                ids.pop()
            return ids, False
        shown = self._rendered(_turns(self._form, prefix, body), about=self._thought(structured))
        begins, ends = THOUGHT
        thinks = shown.rstrip().endswith(begins)
        if thinks and (structured or self._thinking == "off"):
            shown, thinks = f"{shown.rstrip()}\n\n{ends}\n\n", False
        return self._texts.encode(shown, add_special_tokens=False).ids, thinks

    def _thought(self, structured: bool) -> dict[str, object]:
        """What templates are told about thinking; they pass over what they do not know."""
        if structured or self._thinking == "off":
            return {"enable_thinking": False, "thinking": False}
        if self._thinking == "auto":
            return {}
        effort = {} if self._thinking == "on" else {"reasoning_effort": self._thinking}
        return {"enable_thinking": True, "thinking": True, **effort}

    def _rendered(
        self, turns: list[dict[str, str]], *, about: Mapping[str, object] | None = None, asks: bool = True
    ) -> str:
        how = {"tokenize": False, "add_generation_prompt": asks, **(about or {})}
        return str(self.tokenizer.apply_chat_template(turns, **how))

    def _plain(self, text: str) -> str:
        """`text` in which no mark of the model stands: what somebody said can end no turn and begin none."""
        return self._marks.sub(lambda found: f"{found[0][0]} {found[0][1:]}", well_formed(text))

    def _find_form(self, folder: Path, hint: str) -> Literal["system", "merged", "plain"]:
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            return "plain"
        problem = "it leaves out what is asked"
        forms: tuple[Literal["system", "merged"], ...] = ("system", "merged")
        for form in forms:
            try:
                shown = self._rendered(_turns(form, _SYSTEM, _USER))
            except (TemplateError, ValueError, TypeError) as error:
                problem = str(error).strip().partition("\n")[0]
                continue
            if _SYSTEM in shown and _USER in shown:
                return form
        raise MissingPart(f"the chat template in {folder} cannot be used: {problem}", hint=hint)

    def _find_ends(self) -> frozenset[int]:
        """The tokens that end a text, and the one that the template puts behind a reply."""
        ends = {self.tokenizer.eos_token_id} - {None}
        behind = self._conversation().rpartition(_REPLY)[2]
        first = self._texts.encode(behind, add_special_tokens=False).ids[:1]
        return frozenset(ends | (set(first) & _special_ids(self.tokenizer)))

    def _find_written(self) -> set[str]:
        """The marks that the template writes around what is told, asked and replied."""
        asked = "" if self._form == "plain" else self._rendered(_turns(self._form, _SYSTEM, _USER))
        again = self._conversation({"role": "user", "content": _USER})  # a second question may begin otherwise
        around = re.split("|".join((_SYSTEM, _USER, _REPLY)), f"{asked}\n{self._conversation()}\n{again}")
        return {mark for text in around for mark in _WRITTEN.findall(text)}

    def _conversation(self, *more: dict[str, str]) -> str:
        """What the template makes of a question with its reply; "" where it takes none."""
        from jinja2 import TemplateError

        if self._form == "plain":
            return ""
        turns = [*_turns(self._form, _SYSTEM, _USER), {"role": "assistant", "content": _REPLY}, *more]
        try:
            return self._rendered(turns, asks=False)
        except (TemplateError, ValueError, TypeError):
            return ""


class Heard:
    """The text of a reply as its tokens come, in pieces of whole characters."""

    def __init__(self, tokens: ChatTokens) -> None:
        self._tokens = tokens
        self._ids: list[int] = []
        self._told = 0  # tokens whose text was handed out
        self._context = 0  # where the tokens begin that those after `_told` are read together with

    def piece(self, ids: Sequence[int]) -> str:
        """What `ids` add to the text; "" while a character waits for its other bytes."""
        self._ids += ids
        return self._new(unfinished=False)

    def rest(self) -> str:
        """What is left at the end, were it half a character."""
        return self._new(unfinished=True)

    def _new(self, *, unfinished: bool) -> str:
        # The first token of a text is read otherwise than the same token within it: some tokenizers drop its blank.
        before = self._tokens.text(self._ids[self._context : self._told])
        now = self._tokens.text(self._ids[self._context :])
        if len(now) <= len(before) or (now.endswith(_UNFINISHED) and not unfinished):
            return ""
        self._context, self._told = self._told, len(self._ids)
        return now[len(before) :]


def _limit(folder: Path) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return int(getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or 0)


def _turns(form: Literal["system", "merged"], prefix: str, body: str) -> list[dict[str, str]]:
    if form == "merged" or not prefix:
        return [{"role": "user", "content": "\n\n".join(part for part in (prefix, body) if part)}]
    return [{"role": "system", "content": prefix}, {"role": "user", "content": body}]


def _own_copy(tokenizer: Any) -> Any:
    """The tokenizer itself, which no thread changes: transformers sets it anew at each call."""
    from tokenizers import Tokenizer

    copied = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copied.no_padding()
    copied.no_truncation()
    return copied


def _special_texts(tokenizer: Any) -> set[str]:
    """Whatever a tokenizer reads as a mark."""
    marks = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return marks | set(tokenizer.all_special_tokens)


def _any_of(marks: set[str]) -> re.Pattern[str]:
    """Finds `marks`; single characters are left to be text, as they are."""
    longest_first = sorted((mark for mark in marks if len(mark) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _special_ids(tokenizer: Any) -> set[int]:
    added = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _common(first: Sequence[int], *others: Sequence[int]) -> int:
    """How many elements all of them begin with."""
    alike = (n for n, row in enumerate(zip(first, *others, strict=False)) if len(set(row)) > 1)
    return next(alike, min(map(len, (first, *others))))
