"""Rewrites what a speaker says of himself so that the sentence stands alone: "I'm tired" → "Caroline is tired"."""

from __future__ import annotations

import re

from lightmem_cli.language.english import (
    ADVERBS,
    AUXILIARIES,
    BASE_VERBS,
    OPENING_PARTICIPLES,
    OPENING_STATES,
    PARTICIPLES,
    PAST_VERBS,
)

_PRONOUN = re.compile(
    r"(?<![\w'’./@#-])"
    r"(?:(?P<subject>I|[Ww]e|i)(?:['’](?P<short>m|ve|ll|d|re|M|VE|LL|D|RE))?"
    r"|(?P<owner>[Mm]y|[Oo]ur)|(?P<owned>[Mm]ine|[Oo]urs)"
    r"|(?P<object>[Mm]e|[Uu]s|[Mm]yself|[Oo]urselves))"
    r"(?![\w'’@-]|\.\w|/)"
    r"|(?P<quoted>\"[^\"\n]{1,400}\"|“[^”\n]{1,400}”|`[^`\n]{1,400}`)"
)
_NUMERAL_BEFORE = re.compile(
    r"\b(?:war|part|chapter|type|phase|class|level|volume|vol|act|title|article|stage|section|grade|calculus|algebra)\s+$",
    re.IGNORECASE,
)
_NEXT_WORD = re.compile(r"\s+([A-Za-z]+(?:['’][a-z]+)?)")
_WORD_BEFORE = re.compile(r"([A-Za-z]+(?:['’][a-z]+)?)\s+$")
_JOINED_SUBJECT = re.compile(r"(?:(?:My|The|Our|Me)\s\w+|[A-Z]\w+|Me|You)\s+(?:and|&)\s+")
_SHORT = {"m": "is", "re": "is", "ve": "has", "ll": "will"}
_IRREGULAR = {
    "am": "is", "are": "is", "were": "was", "have": "has", "do": "does", "go": "goes", "haven't": "hasn't",
    "don't": "doesn't", "aren't": "isn't", "weren't": "wasn't", "dont": "doesn't", "havent": "hasn't",
    "wanna": "wants to", "gotta": "has to", "gonna": "is going to",
}  # fmt: skip
# "Got it!" and "Did you …?" leave nothing out.
_SUBJECT_ELSEWHERE = re.compile(r"(?:got|did|had)\s+(?:it|you|your|this|they|he|she|that)\b", re.IGNORECASE)
_OPENING = re.compile(r"^(?:(?:Oh|Well|Yeah|Yes|No|Nope|So|Hey|Wow|Haha|Yep|Sure|Okay|Ok)[,!]?\s+)?")


def third_person(sentence: str, name: str) -> str:
    """Write `name` for every I, me, my, mine, myself, we, us, our of an English `sentence`, mending the verb behind it.

    A sentence that leaves its subject out ("Just got back from Rome") is given it. Quotations stay as they are.
    """
    parts: list[str] = []
    done = 0
    for pronoun in _PRONOUN.finditer(sentence):
        if pronoun["quoted"] or _is_numeral(sentence, pronoun):
            continue
        parts.append(sentence[done : pronoun.start()])
        text, done = _named(sentence, pronoun, name)
        parts.append(text)
    return _with_subject("".join(parts) + sentence[done:], name)


def _is_numeral(sentence: str, pronoun: re.Match[str]) -> bool:
    return (
        pronoun.group() == "I"
        and _NUMERAL_BEFORE.search(sentence[max(0, pronoun.start() - 20) : pronoun.start()]) is not None
    )


def _named(sentence: str, pronoun: re.Match[str], name: str) -> tuple[str, int]:
    """What stands for `pronoun`, and how far into `sentence` it reaches."""
    if pronoun["owner"] or pronoun["owned"]:
        return f"{name}'s", pronoun.end()
    if pronoun["object"]:
        return name, pronoun.end()
    if pronoun["short"]:
        return f"{name} {_expanded(sentence, pronoun)}", pronoun.end()
    before = sentence[max(0, pronoun.start() - 30) : pronoun.start()]
    asked = _WORD_BEFORE.search(before)
    if (asked and asked[1].lower() in AUXILIARIES) or _JOINED_SUBJECT.fullmatch(sentence, 0, min(60, pronoun.start())):
        return name, pronoun.end()
    between, verb = _verb_after(sentence, pronoun.end())
    if verb is None:
        return name, pronoun.end()
    return name + between + _agreeing(verb[1]), verb.end()


def _verb_after(sentence: str, position: int) -> tuple[str, re.Match[str] | None]:
    """The adverbs behind `position`, as they stand, and the word behind them."""
    start = position
    for _ in range(3):
        word = _NEXT_WORD.match(sentence, position)
        if word is None:
            return "", None
        if not _is_adverb(word[1]):
            return sentence[start : word.start(1)], word
        position = word.end()
    return "", None


def _is_adverb(word: str) -> bool:
    plain = word.lower()
    return plain in ADVERBS or (plain.endswith("ly") and plain not in BASE_VERBS)


def _agreeing(verb: str) -> str:
    """`verb` as it stands behind a third person: "love" → "loves", "don't" → "doesn't"; a past form stays."""
    plain = verb.lower().replace("’", "'")
    if plain in _IRREGULAR:
        return _IRREGULAR[plain]
    if plain not in BASE_VERBS:
        return verb
    if plain.endswith(("s", "sh", "ch", "x", "z", "o")):
        return f"{verb}es"
    if plain.endswith("y") and plain[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"


def _expanded(sentence: str, pronoun: re.Match[str]) -> str:
    short = pronoun["short"].lower()
    if short != "d":
        return _SHORT[short]
    _, word = _verb_after(sentence, pronoun.end())
    if word is None:
        return "would"
    plain = word[1].lower()
    return (
        "had"
        if plain in PARTICIPLES or plain == "better" or (plain.endswith("ed") and plain not in BASE_VERBS)
        else "would"
    )


def _with_subject(sentence: str, name: str) -> str:
    """Give an elliptic sentence its subject: "Been busy" → "Caroline has been busy"."""
    start = _OPENING.match(sentence).end()  # type: ignore[union-attr]  # it matches the empty string
    _, word = _verb_after(f" {sentence[start : start + 80]}", 0)
    if (
        word is None
        or not sentence[start].isupper()
        or "?" in sentence[-6:]
        or _SUBJECT_ELSEWHERE.match(sentence, start)
    ):
        return sentence
    plain = word[1].lower()
    between = _missing_words(plain)
    if between is None or sentence.startswith(name, start + word.end()):
        return sentence
    return f"{sentence[:start]}{name} {between}{sentence[start].lower()}{sentence[start + 1 :]}"


def _missing_words(verb: str) -> str | None:
    """What stood between subject and `verb` when both were left out; None where `verb` begins no such sentence."""
    if verb in OPENING_STATES or verb in OPENING_PARTICIPLES:
        return "has " if verb == "been" else "is "
    return "" if verb in PAST_VERBS or verb in {"can't", "can’t"} else None
