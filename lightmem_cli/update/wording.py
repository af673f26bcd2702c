"""Reads from a conversation's statement what must not differ before it is taken for a repetition of another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from lightmem_cli.language.english import PAST_VERBS
from lightmem_cli.language.words import analyze
from lightmem_cli.update import word_lists as lists

_WORD = re.compile(r"\d+(?:[.,:/]\d+)*\w*|[^\W\d_]\w*(?:'\w+)?")
_INITIALS = re.compile(r"\b([A-Za-z])\.(?=[A-Za-z]\b)")
_OPENS = re.compile(r"(?:^|[.!?:;…\"“])\s*$")
_PASSIVE = re.compile(
    r"\b(?:is|are|was|were|be|been|being|gets?|got)\b (?:\w+ )?\w+(?:ed|en|n|t|ng|de|nk)\b.*\bby\b", re.IGNORECASE
)
_ENDS_NOT = {"can't": "can", "won't": "will", "shan't": "shall", "cannot": "can", "cant": "can", "wont": "will"}
_RUN_TOGETHER = {"isnt", "arent", "dont", "doesnt", "didnt", "wasnt", "werent", "hasnt", "havent"}
_SHORT = {"ll": "will", "ve": "have", "re": "are", "m": "am"}
_IS = {"is", "are", "am", "do", "does"}
_WAS = {"was", "were", "had", "did"}
_PRESENT = _IS | {"has", "have"}
# Between "not" and what it denies; "the problem isn't who has money" denies no money.
_CLAUSES = {"who", "whom", "whose", "which", "what", "that", "how", "when", "where", "while", "with"}
_PASSED_OVER = (lists.LIGHT | lists.NEGATIONS) - _CLAUSES
_AROUND = " .,;:!\"'“”‘’«»()[]{}…*_`~—–-、。，！；：「」『』¡¿·"
_PICTURE = re.compile(r"(?:^A|\bshares a) photo of ")
_LEANS = re.compile(r"(?:it|that|this|they|those|these|he|she)\b", re.IGNORECASE)
_DASHES = re.compile(r"[\u2010-\u2015\u2212]")
_MINUS = re.compile(r"-[.,]?\d")


class _Word(NamedTuple):
    text: str  # in small letters
    term: str  # its stem, or the stem of the word that stands for its synonyms; "#3" a number, "@june" a time
    is_name: bool  # capitalised where nothing but a name explains it
    owner: bool  # "Gina" in "Gina's"


class Marks(NamedTuple):
    """What vectors hardly see: numbers and times named, what negations stand before, "may", "wants", relatives, "?"."""

    numbers: tuple[str, ...]
    times: tuple[str, ...]
    denied: tuple[str, ...]
    modals: frozenset[str]
    kin: frozenset[str]
    asks: bool


@dataclass(frozen=True, slots=True)
class Wording:
    """What a statement says, word by word.

    `terms` are its content words in order, `opening` the first; `marks` are equal in statements that say the same.
    `beside` has the names next to each name, `owned` what is somebody's, `past` and `not_past` its verbs and the rest.
    """

    terms: tuple[str, ...]
    all_terms: frozenset[str]
    opening: str
    marks: Marks
    names: frozenset[str]
    beside: dict[str, frozenset[str]]
    owned: frozenset[str]
    past: frozenset[str]
    not_past: frozenset[str]
    is_passive: bool
    is_picture: bool
    leans: bool  # on the sentence before: "It was so rewarding"


def same_words(text: str) -> str:
    """A key that is equal for texts of the same words: case, space and the punctuation around words aside.

    A question is no statement, "-5" is not 5, and what is nothing but punctuation stays as it is.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = _DASHES.sub("-", folded).replace("’", "'").split()
    plain = [("-" if _MINUS.match(word) else "") + word.strip(_AROUND) for word in words]
    return " ".join(word for word in plain if word) or " ".join(words)


@lru_cache(maxsize=1 << 14)
def read_wording(text: str, speaker: str | None) -> Wording:
    """Read an English statement; a "Name: " of its `speaker` in front counts for nothing."""
    plain = text
    if speaker and text.casefold().startswith(f"{speaker.casefold()}: "):
        plain = text[len(speaker) + 2 :]
    words = _words(plain.replace("’", "'"), frozenset(speaker.lower().split() if speaker else ()))
    past, not_past = _tenses(words)
    return Wording(
        terms=tuple(word.term for word in words if _is_content(word)),
        all_terms=frozenset(word.term for word in words),
        opening=next((word.term for word in words if _is_content(word)), ""),
        marks=_marks(words, asks="?" in plain),
        names=frozenset(word.term for word in words if word.is_name),
        beside=_beside(words),
        owned=frozenset(_owned(words)),
        past=past,
        not_past=not_past,
        is_passive=_PASSIVE.search(plain) is not None,
        is_picture=is_picture(plain),
        leans=_LEANS.match(plain) is not None,
    )


def is_picture(text: str) -> bool:
    """Tell whether this is what is made of an image's caption."""
    return _PICTURE.search(text) is not None


def stem(word: str) -> str:
    """The term of a lower-case word: equal for its forms and for its listed synonyms."""
    base = lists.FORMS.get(word) or lists.IRREGULAR.get(word, word)
    root = analyze(base)[0] if base else ""
    return _SYNONYMS.get(root, root)


def _is_content(word: _Word) -> bool:
    return word.text not in lists.LIGHT and word.text not in lists.NEGATIONS and word.text not in lists.MODALS


def _words(text: str, speaker: frozenset[str]) -> list[_Word]:
    text = _INITIALS.sub(r"\1", text).replace("-", " ")
    found = list(_WORD.finditer(text))
    is_title = _is_title([match.group() for match in found])
    words: list[_Word] = []
    for match in found:
        given = match.group()
        opens = _OPENS.search(text[max(0, match.start() - 4) : match.start()]) is not None
        listed = given[0].isupper() and not opens and not is_title and len(given) > 1
        spelled, owner = _spelled(given.lower())
        for part in spelled:
            is_name = part in speaker or (listed and part == spelled[0] and part not in lists.NEGATIONS)
            if words and words[-1].text in lists.TENS and 0 < lists.NUMBERS.get(part, 0) < 10:  # fifty-seven
                words[-1] = words[-1]._replace(term=f"#{lists.NUMBERS[words[-1].text] + lists.NUMBERS[part]}")
            elif part:
                words.append(_Word(part, _term(part), is_name and not part[0].isdigit(), owner))
    return words


def _is_title(words: list[str]) -> bool:
    """Tell whether it is a headline, whose capitals name nobody: no word that says something is without one."""
    content = [word for word in words if len(word) > 2 and word[0].isalpha() and word.lower() not in lists.LIGHT]
    return len(content) > 3 and all(word[0].isupper() for word in content)


def _spelled(word: str) -> tuple[list[str], bool]:
    """The words a contraction stands for, and whether it is "somebody's"."""
    if word in _ENDS_NOT:
        return [_ENDS_NOT[word], "not"], False
    if word.endswith("n't"):
        return [word[:-3], "not"], False
    if word in _RUN_TOGETHER:
        return [word[:-2], "not"], False
    start, _, end = word.partition("'")
    return [start, *([_SHORT[end]] if end in _SHORT else [])], end == "s"


@lru_cache(maxsize=1 << 15)
def _term(word: str) -> str:
    if word[0].isdigit():
        return "#" + word.replace(",", "")
    if word in lists.NUMBERS and word != "one":  # "one man" may be "a man"
        return f"#{lists.NUMBERS[word]}"
    if word in lists.ORDINALS:
        return f"#{lists.ORDINALS[word]}"
    if word in lists.CALENDAR:
        return f"@{lists.CALENDAR[word]}"
    return stem(word)


def _marks(words: list[_Word], *, asks: bool) -> Marks:
    return Marks(
        numbers=tuple(sorted(word.term for word in words if word.term[0] == "#")),
        times=tuple(sorted(word.term for word in words if word.term[0] == "@")),
        denied=_denied(words),
        modals=frozenset(lists.MODALS[word.text] for word in words if word.text in lists.MODALS),
        kin=frozenset(word.term for word in words) & _KIN,
        asks=asks,
    )


def _denied(words: list[_Word]) -> tuple[str, ...]:
    """What each negation stands before."""
    found = []
    for at, word in enumerate(words):
        if word.text in lists.NEGATIONS:
            after = (other for other in words[at + 1 :] if other.text not in _PASSED_OVER)
            found.append(next((other.term for other in after), ""))
    return tuple(sorted(term for term in found if term != "matter"))  # "no matter what" denies nothing


def _beside(words: list[_Word]) -> dict[str, frozenset[str]]:
    """The names on either side of each name: "Bill" and "Blasio" of "Bill Blasio"."""
    found: dict[str, frozenset[str]] = {}
    for first, second in pairwise(words):
        if second.is_name and not first.owner and (first.is_name or first is words[0]):
            found[first.term] = found.get(first.term, frozenset()) | {second.term}
            found[second.term] = found.get(second.term, frozenset()) | {first.term}
    return found


def _owned(words: list[_Word]) -> Iterator[str]:
    """What is somebody's: the first content word behind "Gina's"."""
    for at, word in enumerate(words):
        if word.owner:
            yield from [other.term for other in words[at + 1 : at + 4] if _is_content(other)][:1]


def _tenses(words: list[_Word]) -> tuple[frozenset[str], frozenset[str]]:
    """The verbs told as past, and the words that are not; "be" stands for is and was.

    Behind the first "is" or "has", a past form is a participle ("is cooked", "is eating sliced bread"): it counts for
    neither, and nor does all that is said behind "has".
    """
    first = next((at for at, word in enumerate(words) if word.text in _PRESENT), len(words))
    past = {word.term for word in words[:first] if _is_past(word.text)}
    spoken = {word.text for word in words}
    was, now = not spoken.isdisjoint(_WAS), not spoken.isdisjoint(_IS)
    past |= {"be"} if was and not now else set()
    perfect = first < len(words) and words[first].text in {"has", "have"}
    told = words[:first] if perfect else words
    not_past = {word.term for word in told} - past | ({"be"} if now and not was else set())
    return frozenset(past), frozenset(not_past)


def _is_past(word: str) -> bool:
    irregular = lists.IRREGULAR.get(word, word) != word and not word.endswith("n")
    return irregular or word in PAST_VERBS or (word.endswith("ed") and len(word) > 4)


_SYNONYMS = {analyze(word)[0]: analyze(standing)[0] for word, standing in lists.SAME.items()}
_KIN = frozenset(map(stem, lists.KIN))
