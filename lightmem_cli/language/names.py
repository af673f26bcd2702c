"""Finds whom and what a text names: capitalised names, and which of the known speakers a question means."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightmem_cli.language.english import ADVERBS, AUXILIARIES, BASE_VERBS, COMMON_OPENINGS, looks_foreign

_TOKEN = re.compile(r"[^\W_]+(?:['’&.-][^\W_]+)*")
_OPENS = re.compile(r"(?:^|[.!?:;…\n。！？]|[\"“«‘(\[*>•-])\s*$")
_JOINS = re.compile(r" (?:(?:of|the|de|da|del|della|van|von|der|la|le|el|al|bin|ibn|and|&|y|du|di) ){0,2}")
_OWNED = re.compile(r"['’]s?$")
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CALENDAR = """
monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september
october november december mr mrs ms dr i i'm i've i'll i'd ok
"""
_NOT_NAMES = COMMON_OPENINGS | frozenset(_CALENDAR.split())
# Words that are also given names: in a question they need a capital that no sentence start explains.
_GIVEN = (
    "art bill bob dawn drew faith frank grace grant hope jack joy june april may mark pat rich rob rose sue summer will"
)
_ALSO_WORDS = frozenset(_GIVEN.split())


def entities(text: str) -> tuple[str, ...]:
    """The names in `text`, in order, each once: "Golden Gate Bridge", "NASA", "Sweden".

    A single word that opens a sentence, shouted text, headings in capitals and, in languages that capitalise their
    nouns, single words are not names.
    """
    return tuple(dict.fromkeys(text[begin:end] for begin, end in name_spans(text)))


def name_spans(text: str) -> list[tuple[int, int]]:
    """Where the `entities` of `text` stand, each time: their characters [begin, end), in order and apart."""
    tokens = list(_TOKEN.finditer(text))
    capitals = [token for token in tokens if token.group()[0].isupper()]
    if not capitals or _is_shouted(tokens, capitals):
        return []
    single_words = not looks_foreign(text)
    found = (_name_span(text, run, single_words=single_words) for run in _runs(text, capitals))
    return [span for span in found if span]


def _is_shouted(tokens: Sequence[re.Match[str]], capitals: Sequence[re.Match[str]]) -> bool:
    """Tell whether capitals mean nothing here: most words are upper-case, or a longer text capitalises nearly all."""
    upper = sum(len(token.group()) > 1 and token.group().isupper() for token in tokens)
    return (len(tokens) > 3 and upper * 2 > len(tokens)) or (len(tokens) > 5 and len(capitals) * 10 > len(tokens) * 8)


def _runs(text: str, capitals: Sequence[re.Match[str]]) -> list[list[re.Match[str]]]:
    """Neighbouring capitalised words, joined by single spaces or by "of", "the", "van" …."""
    runs: list[list[re.Match[str]]] = []
    for token in capitals:
        last = runs[-1][-1] if runs else None
        gap = text[last.end() : token.start()] if last else ""
        joined = last is not None and not _OWNED.search(last.group()) and len(gap) < 12 and _JOINS.fullmatch(gap)
        if joined and (gap == " " or " and " not in gap):
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def _name_span(text: str, run: list[re.Match[str]], *, single_words: bool) -> tuple[int, int] | None:
    names = [at for at, token in enumerate(run) if not _is_no_name(token.group())]
    if not names:
        return None
    run = run[names[0] : names[-1] + 1]
    if len(run) == 1:
        word = run[0].group()
        acronym = word.isupper() and 1 < len(word) <= 8
        opens = _OPENS.search(text[max(0, run[0].start() - 3) : run[0].start()]) is not None
        if len(word) < 2 or not (acronym or (single_words and not opens)):
            return None
    begin, end = run[0].start(), run[-1].end()
    return begin, begin + len(_OWNED.sub("", text[begin:end]))


def _is_no_name(word: str) -> bool:
    plain = word.lower().replace("’", "'")
    return plain in _NOT_NAMES or plain.partition("'")[0] in _NOT_NAMES


def named_speakers(question: str, speakers: Sequence[str]) -> tuple[str, ...]:
    """Those of `speakers` whom `question` names, in their own order.

    By the full name, the first name ("Gina's"), or a nickname that begins one speaker's name only ("Mel" for Melanie).
    """
    return tuple(speaker for speaker in speakers if _is_named(question, speaker, speakers))


def _is_named(question: str, speaker: str, speakers: Sequence[str]) -> bool:
    if _stands_in(question, speaker):
        return True
    parts = speaker.split()
    first = parts[0] if parts else ""
    firsts = [other.split()[0].casefold() for other in speakers if other.split()]
    if len(parts) > 1 and firsts.count(first.casefold()) == 1 and _stands_in(question, first):
        return True
    return any(
        first.casefold().startswith(nickname) and sum(name.startswith(nickname) for name in firsts) == 1
        for nickname in _nicknames(question)
    )


def _nicknames(question: str) -> list[str]:
    """Capitalised words of at least three letters that are no plain English words, folded."""
    found = [_OWNED.sub("", token.group()) for token in _TOKEN.finditer(question)]
    plain = ADVERBS | AUXILIARIES | BASE_VERBS | _NOT_NAMES
    return [word.casefold() for word in found if len(word) >= 3 and word[0].isupper() and word.lower() not in plain]


def _stands_in(question: str, name: str) -> bool:
    """Tell whether `name` stands in `question` as whole words, whatever the case."""
    if not name.strip():
        return False
    if _SPACELESS.search(name):
        return name in question
    for found in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", question, re.IGNORECASE):
        if name.lower() not in _ALSO_WORDS or _is_capitalised_inside(question, found):
            return True
    return False


def _is_capitalised_inside(question: str, found: re.Match[str]) -> bool:
    owned = _OWNED.match(question[found.end() : found.end() + 2]) is not None
    return found.group()[0].isupper() and (owned or not _OPENS.search(question[: found.start()]))
