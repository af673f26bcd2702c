"""Tells what a language model says instead of something about a conversation: a refusal, or its own instructions."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_RUN = 8  # so many words in a row are never the same by chance
_WHOLE = 4  # a text of so many words or more that stands in the instructions was copied from there

_ABLE = (
    r"(?:i )?(?:can ?not|can't|won't|will not|could not|couldn't|am not able to|am unable to|i'm not able to|"
    r"i'm unable to|must decline|have to decline|do not feel comfortable|don't feel comfortable)"
)
# What a model says it cannot do; "I'm sorry, I can't come on Saturday" is said by people.
_DO = (
    r"(?: to)? (?:\w+ly )?(?:help(?! (?:but|it|\w+ing)\b)|assist|comply|fulfil|provide|answer|extract|process|"
    r"engage|discuss|generate|create|summari[sz]e|respond|analy[sz]e|continue|"
    r"do (?:that|this)|with (?:that|this)|be used|your request|this request|that request)"
)
_SORRY = r"(?:(?:i'm|i am|we're|we are) (?:\w+ )?(?:sorry|afraid)|sorry|my apologies|i apologi[sz]e|unfortunately)"
_MODEL = r"(?:ai|llm|a\.i\.|artificial intelligence)(?: (?:language )?(?:model|assistant|system|chatbot))?"
_PAUSE = r"[\s,.:;!–—-]*"

_REFUSAL: Final = re.compile(
    rf"(?:{_SORRY}\b{_PAUSE}(?:(?:but|that|for the inconvenience|about that)\b{_PAUSE})*)?{_ABLE}{_DO}"
    rf"|{_SORRY}\b{_PAUSE}(?:but )?(?:as an?|i'm an?|i am an?) (?:{_MODEL}|(?:large )?language model)\b"
    rf"|as an? (?:(?:(?:large|ai) )*language model|{_MODEL} ?,? (?:i\b|my\b|we\b))"
    rf"|i(?:'m| am) (?:just |only )?an? (?:(?:(?:large|ai) )*language model|{_MODEL}(?:[,.] | and | so | without ))"
    r"|i must (?:respectfully |politely )?(?:decline|refuse)"
    r"|(?:很|非常)?(?:抱歉|对不起)[，,。\s]*(?:但|不过)?我?(?:无法|不能)(?:帮|协助|提供|回答|完成|处理|满足)"
    r"|作为(?:一个|一名)? ?(?:ai|人工智能|语言模型|大语言模型)"
    r"|als (?:ki|sprachmodell|ki-sprachmodell|ki-assistent)\b,? (?:kann|bin|habe|darf) ich"
    r"|en tant que (?:modèle de langage|ia\b|intelligence artificielle)"
    r"|como (?:modelo de lenguaje|una? (?:ia|inteligencia artificial)\b)",
    re.IGNORECASE,
)


def refuses(text: str) -> bool:
    """Whether `text` begins by saying that a model will not do what it was asked.

    >>> refuses("I'm sorry, but I can't help with that."), refuses("I'm sorry to hear Anna was ill.")
    (True, False)
    """
    start = " ".join(text[:400].replace("’", "'").replace("ʼ", "'").split())
    return _REFUSAL.match(start.lstrip(" \ufeff\"'“”*_#>`-")) is not None


def echoes(text: str, *, prefix: str) -> bool:
    """Whether `text` repeats the instructions in `prefix`: eight words in a row, or all it says where that is less."""
    words = _words(text)
    if len(words) < _WHOLE:
        return False
    run = min(_RUN, len(words))
    said = _runs(prefix, run)
    return any(words[at : at + run] in said for at in range(len(words) - run + 1))


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


@lru_cache(maxsize=32)
def _runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    words = _words(text)
    return frozenset(words[at : at + length] for at in range(len(words) - length + 1))
