"""Finds what a language model says of a conversation in its reply: one JSON object, whatever it is wrapped in.

What is refused is refused in words for the model, which is shown them when it is asked once more.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lightmem_cli.errors import BadReply
from lightmem_cli.llm.json_shapes import Differs, shaped
from lightmem_cli.llm.refusals import refuses
from lightmem_cli.protocols import JsonSchema

_BLANK: Final = "\ufeff\u200b\0 \t\r\n"
_THINKING: Final = re.compile(r"<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THOUGHT: Final = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_ANSWER: Final = re.compile(r"</(?:think|thinking|thought|reasoning)>(?=\s*(?:[{\[`]|\Z))", re.IGNORECASE)
# Where an object, or an array of objects, may begin. "[1]" in prose is a citation.
_START: Final = re.compile(r'\{\s*(?=["}]|\Z)|\[\s*(?=\{|\Z)')
_HALF_WORD: Final = re.compile(r"(?:-|t|tr|tru|f|fa|fal|fals|n|nu|nul|\\?u?[0-9a-fA-F]{0,4})\Z")
_MOST = 1000  # starts that are tried: after each mistake Python reads the whole text anew to say in which line it is
_SCHEMA_WORDS: Final = frozenset({"properties", "$schema", "additionalProperties", "$defs", "definitions"})


class _Value(NamedTuple):
    """A value that stands complete in the text."""

    value: object
    doubled: str | None  # a key that one of its objects has twice


class _Broken(NamedTuple):
    """What begins as an object or an array, and is no JSON."""

    why: str
    cut: bool  # the text ends before it does
    sketched: bool  # it only shows the form, with dots or angle brackets for what belongs there


@dataclass(slots=True)
class _Found:
    """What a text holds: the objects that fit, what is wrong with the first that does not, and what was broken."""

    fitting: list[dict[str, object]] = field(default_factory=list)
    misfit: str | None = None
    broken: str | None = None
    array: bool = False


def read_object(text: str, *, like: JsonSchema) -> dict[str, object]:
    """The one JSON object in `text`, as the schema `like` wants it: absent keys are those that are optional.

    It may stand in prose, in a fence, behind what a model thought, or twice. What is not whole is never taken, and of
    two that say different things neither is.

    Raises:
        BadReply: there is none. Its message tells the model what was wrong, and quotes nothing but keys.
    """
    said = _said(text)
    if not said:
        raise BadReply("the reply was empty")
    found = _found(said, like=like)
    if found.broken is not None:
        raise BadReply(found.broken)
    if len(found.fitting) == 1:
        return found.fitting[0]
    if found.fitting:
        raise BadReply("the reply has several JSON objects that differ: put everything into one")
    if found.misfit is not None:
        raise BadReply(found.misfit)
    raise BadReply(_nothing(said, like=like, array=found.array))


def _said(text: str) -> str:
    """`text` without what the model thought before it answered, and without the last fence."""
    text = text.strip(_BLANK)
    if not text.startswith("{"):
        thinking = _THINKING.match(text) is not None
        thought = (_THOUGHT if thinking else _ANSWER).search(text)
        if thinking and thought is None:
            raise BadReply("the reply was cut off while thinking: answer with the JSON object at once")
        if thought is not None:
            text = text[thought.end() :]
    return text.removesuffix("```").strip(_BLANK)


def _found(text: str, *, like: JsonSchema) -> _Found:
    found = _Found()
    for one in _values(text):
        if isinstance(one, _Broken):
            if one.cut or not one.sketched:
                found.broken = found.broken or one.why
        elif not isinstance(one.value, dict):
            found.array = True
        else:
            _take(found, one.value, doubled=one.doubled, like=like)
    return found


def _take(found: _Found, value: dict[str, object], *, doubled: str | None, like: JsonSchema) -> None:
    wrong = _schema_again(value, like=like)
    if wrong is None and doubled is not None:
        wrong = f'the key "{doubled[:40]}" is given twice in one object'
    if wrong is None:
        try:
            read = shaped(value, like=like)
        except Differs as differs:
            wrong = str(differs)
        else:
            assert isinstance(read, dict), "the schema of a reply is one of an object"
            if read not in found.fitting and len(found.fitting) < 2:
                found.fitting.append(read)
            return
    found.misfit = found.misfit or wrong


def _values(text: str) -> Iterator[_Value | _Broken]:
    """The objects and arrays of objects in `text`, one behind the other, each character read once.

    Raises:
        BadReply: they are nested too deeply to be read.
    """
    doubled: list[str] = []

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        read = dict(items)
        if len(read) < len(items):
            doubled.append(Counter(key for key, _ in items).most_common(1)[0][0])
        return read

    decoder = json.JSONDecoder(strict=False, object_pairs_hook=pairs, parse_int=_whole, parse_constant=lambda _: None)
    at = 0
    for _ in range(_MOST):
        if (start := _START.search(text, at)) is None:
            return
        doubled.clear()
        try:
            value, at = decoder.raw_decode(text, start.start())
            yield _Value(value, doubled[0] if doubled else None)
        except json.JSONDecodeError as error:
            cut = _cut(text, error)
            yield _Broken(_why(error, cut=cut), cut, text[error.pos : error.pos + 1] in tuple(".…<"))
            if cut:
                return
            at = max(error.pos, start.end())
        except RecursionError:
            raise BadReply("the JSON is nested too deeply") from None


def _whole(digits: str) -> int | float:
    """An integer of JSON. Python refuses thousands of digits, and nobody here counts so far."""
    return int(digits) if len(digits) < 20 else float("inf")


def _cut(text: str, error: json.JSONDecodeError) -> bool:
    """Whether `text` ended before its JSON did."""
    return (
        error.msg.startswith("Unterminated string")
        or error.pos >= len(text.rstrip())
        or _HALF_WORD.match(text, error.pos) is not None
    )


def _why(error: json.JSONDecodeError, *, cut: bool) -> str:
    if cut:
        return "the reply was cut off in the middle of its JSON: make it shorter"
    what = f"{error.msg[:1].lower()}{error.msg[1:]}"
    return f"the JSON is not valid in line {error.lineno}, column {error.colno}: {what}"


def _schema_again(value: dict[str, object], *, like: JsonSchema) -> str | None:
    """What to tell a model that replied with the schema itself."""
    keys = _keys(like)
    foreign = value.keys() - set(keys)
    if foreign & _SCHEMA_WORDS or ("type" in foreign and value["type"] == "object"):
        return f"the reply repeats the schema instead of filling it in: write an object with {_listed(keys)}"
    return None


def _nothing(text: str, *, like: JsonSchema, array: bool) -> str:
    """What to tell a model whose reply has no object."""
    wanted = f"one JSON object with {_listed(_keys(like))}"
    if array or text.startswith("["):
        return f"the reply is a JSON array: write {wanted}"
    if refuses(text):
        return f"the reply is a refusal: only what was said is to be noted; write {wanted}"
    if "{" in text:
        return f"the reply has no valid JSON: keys and strings stand in double quotes; write {wanted}"
    return f"the reply has no JSON: write {wanted}, and nothing else"


def _keys(like: JsonSchema) -> list[str]:
    properties = like.get("properties")
    return list(properties) if isinstance(properties, Mapping) else []


def _listed(keys: list[str]) -> str:
    return f"the key{'s' if len(keys) > 1 else ''} {', '.join(keys)}" if keys else "no keys"
