"""Decides when two facts of a conversation say the same, and which of them is the one to keep.

Nearness of vectors alone cannot tell: "is sitting in a tree" and "is not sitting in a tree" are at cosine .94. So near
facts must also agree word by word in what a vector hardly sees: negations, numbers, names, who does what to whom.
"""

from __future__ import annotations

from datetime import UTC, datetime

from lightmem_cli.language.english import looks_english, looks_foreign
from lightmem_cli.records import Entry, Kind, TimeRange
from lightmem_cli.update.word_lists import ALTERNATIVES, OPPOSITES
from lightmem_cli.update.wording import Wording, is_picture, read_wording, same_words, stem

__all__ = ["THRESHOLD", "same", "same_words", "standing"]

# At .87 no SICK contradiction is merged, .06 % of the STS-B pairs below 3 and 53 % of those from 4.8 up. Cosine alone
# merges 14 %, 2.7 % and 78 % there, and must go up to .95 (33 % of those from 4.8) for 1 % of contradictions.
THRESHOLD = 0.87
# A word replaced by another, and a word in another place, show in a vector less than a word more or less.
_REPLACED = 0.02
_MOVED = 0.04
_SHARED = 2  # so many words in common for each that is replaced
_PREFIXES = {"un", "dis", "non", "in", "im", "ir", "il", "mis", "re", "de"}
_LATER = datetime.max.replace(tzinfo=UTC)

_Standing = tuple[bool, float, int, bool, datetime, str]


def same(a: Entry, b: Entry, *, cosine: float, threshold: float = THRESHOLD) -> str | None:
    """Why two facts say the same: "same words" or "cosine 0.97"; None where they may not be merged. Symmetric.

    `cosine` is that of their texts' vectors. What is not in English merges in the same words only.
    """
    if not _comparable(a, b):
        return None
    if same_words(a.text) == same_words(b.text):
        return "same words"
    if cosine < threshold or not _in_english(a.text, b.text):
        return None
    one, other = read_wording(a.text, a.speaker), read_wording(b.text, b.speaker)
    if _differs(one, other) or not _near_enough(one, other, cosine=cosine, threshold=threshold):
        return None
    return f"cosine {cosine:.2f}"


def standing(entry: Entry) -> _Standing:
    """A key that sorts facts that say the same: the one to keep comes first. Total: no two entries are equal.

    Pinned ones, then those that tell most (importance, then length), then the earliest said.
    """
    said_at = entry.said_at or _LATER
    return (not entry.pinned, -entry.importance, -len(entry.text), entry.said_at is None, said_at, entry.id)


def _comparable(a: Entry, b: Entry) -> bool:
    """Tell whether both are facts of one voice in one conversation, about the same time.

    "Went to the gym yesterday", said on two days, is two events, and so is a photo of a dog, shared in two sessions.
    """
    return (
        a.kind is Kind.FACT is b.kind
        and a.conversation == b.conversation
        and (a.speaker or "").casefold() == (b.speaker or "").casefold()
        and _days(a.happened) == _days(b.happened)
        and a.valid_until == b.valid_until
        and (a.session == b.session or not (is_picture(a.text) and is_picture(b.text)))
    )


def _days(happened: TimeRange | None) -> tuple[datetime, ...]:
    """When it happened by the clocks of those who said it: August is August, in summer time and in winter time."""
    return tuple(moment.replace(tzinfo=None) for moment in happened) if happened else ()


def _in_english(a: str, b: str) -> bool:
    return (looks_english(a) and not looks_foreign(b)) or (looks_english(b) and not looks_foreign(a))


def _differs(a: Wording, b: Wording) -> bool:
    """Tell whether one says something that the other does not just leave out, or may speak of something else."""
    only_a, only_b = _left_over(a, b), _left_over(b, a)
    return (
        _told_differently(a, b)
        or _of_others(a, b, only_a, only_b)
        or _excluded(a, b, only_a, only_b)
        or _turned_round(a, b)
        or a.leans
        or b.leans
        or (a.is_picture and b.is_picture and bool(only_a) and bool(only_b))  # two captions, two pictures
    )


def _told_differently(a: Wording, b: Wording) -> bool:
    """Other negations, numbers, times, "may" or "wants", "?" or relatives; a verb in the past in one only."""
    return a.marks != b.marks or not a.past.isdisjoint(b.not_past) or not b.past.isdisjoint(a.not_past)


def _of_others(a: Wording, b: Wording, only_a: frozenset[str], only_b: frozenset[str]) -> bool:
    """Another name, another subject, or something of somebody's in one only ("John's boss is angry")."""
    return (
        bool(_strangers(a, only_a, b) or _strangers(b, only_b, a))
        or bool(only_a & a.names and only_b & b.names)
        or not (only_a.isdisjoint(a.owned) and only_b.isdisjoint(b.owned))
        or (a.opening in only_a and b.opening in only_b)
    )


def _strangers(a: Wording, only_a: frozenset[str], b: Wording) -> set[str]:
    """The names in `a` alone, but for those beside a name that is in both: Nelson, where one says just Mandela."""
    shared = set(b.terms)
    return {name for name in only_a & a.names if a.beside.get(name, frozenset()).isdisjoint(shared)}


def _excluded(a: Wording, b: Wording, only_a: frozenset[str], only_b: frozenset[str]) -> bool:
    """One has the opposite of the other's word, or another of its kind: "on" and "off", "guitar" and "piano"."""
    others = b.all_terms - a.all_terms
    if any(not _OPPOSITE.get(term, frozenset()).isdisjoint(others) for term in a.all_terms - b.all_terms):
        return True
    if any(not only_a.isdisjoint(kind) and not only_b.isdisjoint(kind) for kind in _KINDS):
        return True
    return any(_is_prefixed(one, other) or _is_prefixed(other, one) for one in only_a for other in only_b)


def _is_prefixed(one: str, other: str) -> bool:
    return one.endswith(other) and one[: -len(other)] in _PREFIXES


def _turned_round(a: Wording, b: Wording) -> bool:
    """Who does it and whom it is done to change places: "A kisses B" and "B kisses A", but not "B is kissed by A"."""
    places = _places(a, b)
    if _longest_fall(places) >= 3 and not _is_rotated(places):
        return a.is_passive == b.is_passive
    return a.is_passive != b.is_passive and len(places) > 1 and places == sorted(places)


def _near_enough(a: Wording, b: Wording, *, cosine: float, threshold: float) -> bool:
    """Tell whether the vectors are near enough for how much the words differ."""
    only_a, only_b, places = _left_over(a, b), _left_over(b, a), _places(a, b)
    most = max(len(only_a), len(only_b))
    shared = len(set(a.terms) & set(b.terms) - a.names - b.names)
    if places != sorted(places) and not _is_rotated(places) and cosine < threshold + _MOVED:
        return False
    if only_a and only_b:
        return cosine >= threshold + _REPLACED and shared >= _SHARED * most
    return shared >= most


def _left_over(a: Wording, b: Wording) -> frozenset[str]:
    """The content words of `a` that `b` has in no form."""
    others = set(b.terms)
    return frozenset(
        term for term in a.terms if term not in others and not any(_is_another_form(term, other) for other in others)
    )


def _is_another_form(one: str, other: str) -> bool:
    """China and Chinese, gold and golden: a common beginning of four letters and three quarters of the shorter word."""
    if one.endswith("less") or other.endswith("less") or one[0] in "#@":
        return False
    begins = next((at for at, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
    return begins >= 4 and begins * 4 >= min(len(one), len(other)) * 3


def _places(a: Wording, b: Wording) -> list[int]:
    """Where the words that stand once in both are in `b`, in the order of `a`."""
    once = {term for term in a.terms if a.terms.count(term) == 1 == b.terms.count(term)}
    place = {term: at for at, term in enumerate(term for term in b.terms if term in once)}
    return [place[term] for term in a.terms if term in once]


def _longest_fall(places: list[int]) -> int:
    longest = [1] * len(places)
    for at, place in enumerate(places):
        longest[at] = 1 + max((longest[i] for i in range(at) if places[i] > place), default=0)
    return max(longest, default=0)


def _is_rotated(places: list[int]) -> bool:
    """Tell whether only a part was moved to the other end: "In May, …" or "…, said Jon"."""
    return sum(places[at - 1] > place for at, place in enumerate(places)) <= 1


def _opposites() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for pair in OPPOSITES:
        first, second = map(stem, pair)
        found[first] = found.get(first, frozenset()) | {second}
        found[second] = found.get(second, frozenset()) | {first}
    return found


_OPPOSITE = _opposites()
_KINDS = tuple(frozenset(map(stem, kind)) for kind in ALTERNATIVES)
