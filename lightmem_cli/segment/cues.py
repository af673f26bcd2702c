"""Reads in a conversation's words where talk may turn to something else: requests, thanks, questions, looks back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lightmem_cli.language.words import analyze


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_ENDS_ASKING = re.compile(r"[?？؟;՞]\W*$")
_YOU = _words(r"\b(?:you|your|yours|u|ur)\b")
_THANKS = _words(r"\b(?:thanks?|thank you|thx|bye|goodbye|cheers)\b")
_ANYTHING_ELSE = _words(r"\b(?:any|some|what|no)(?:thing| ?one|where)? else\b")
_POINTS_BACK = _words(
    r"\b(?:that|it|its|it's|that's|they|them|their|those|these|this|there|he|she|him|her|his|one|also|else|too)\b"
)
_GOES_ON = _words(r"^\W*(?:and|but|so|or|because|then|also|yes|no|yeah|yep|nope|sure|ok|okay)\b")
_GREETS = _words(r"^\W*(?:hi|hello|hey|good (?:morning|afternoon|evening))\b")
_SMALL_TALK = _words(
    r"\b(?:favou?rites?|hobb(?:y|ies)|for (?:a living|work|fun)|any (?:pets|kids|children|siblings|hobbies|plans))\b"
)
_MOVES_ON = _words(
    r"\bquestions? (?:now )?(?:from|on|around|about)\b"
    r"|\b(?:next|last|final|some|further|more|(?:set|series|couple) of) questions?\b|\bmov(?:e|ing) on\b"
    r"|\b(?:by the way|btw|speaking of|on (?:another|a different) (?:note|topic|subject)"
    r"|another (?:thing|question|topic|subject)|change (?:of|the) (?:subject|topic))\b"
)
_REQUESTS = _words(
    r"\b(?:i need|i want|i'd like|i would like|i'm looking|i am looking|looking for|can you|could you|would you"
    r"|will you|please (?:find|give|get|tell|show|set|help|book|check)|find me|give me|get me|tell me"
    r"|show me|help me|schedule|remind me|book)\b"
)
_WORD = re.compile(r"[^\W_]+")
# A word of three letters or more whose capital no sentence explains: one goes on before it, or it follows a title.
_INSIDE = re.compile(
    r"(?:(?<=[^.!?…:—\s]\s)|(?<=\b[MD][rs]\.)|(?<=\b[MD][rs]\.\s)|(?<=\bMrs\.)|(?<=\bMrs\.\s))(?!Mrs\b)[^\W\d_]{3,}"
)


@dataclass(frozen=True, slots=True)
class Wording:
    """What a turn's words alone say about a change of topic before or behind it.

    `terms` are analysed, `words` are all of them and `names` those that have a capital inside a sentence, both in small
    letters.
    """

    terms: frozenset[str]
    words: frozenset[str]
    names: frozenset[str]
    characters: int
    ends_asking: bool
    asks_you: bool
    thanks: bool
    anything_else: bool
    points_back: bool
    goes_on: bool
    greets: bool
    requests: bool
    small_talk: bool
    moves_on: bool


@lru_cache(maxsize=4096)  # each turn is read for the gaps around it, again and again while its topic is open
def read_wording(text: str) -> Wording:
    """The wording of `text`. Apart from the question mark, the cues are English: in other languages none is found."""
    return Wording(
        terms=frozenset(analyze(text)),
        words=frozenset(_WORD.findall(text.lower())),
        names=frozenset(found.lower() for found in _INSIDE.findall(text) if found[0].isupper()),
        characters=len(text),
        ends_asking=_ENDS_ASKING.search(text[-40:]) is not None,
        asks_you="?" in text and _YOU.search(text) is not None,
        thanks=_THANKS.search(text) is not None,
        anything_else=_ANYTHING_ELSE.search(text) is not None,
        points_back=_POINTS_BACK.search(text) is not None,
        goes_on=_GOES_ON.search(text) is not None,
        greets=_GREETS.search(text) is not None,
        requests=_REQUESTS.search(text) is not None,
        small_talk=_SMALL_TALK.search(text) is not None,
        moves_on=_MOVES_ON.search(text) is not None,
    )
