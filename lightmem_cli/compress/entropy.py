"""Shortens a conversation's messages to their most surprising words, by word frequencies or by a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import compress, pairwise
from typing import TYPE_CHECKING, Final, Protocol
from unicodedata import category

from lightmem_cli.compress.characters import is_mark, is_unlisted
from lightmem_cli.compress.choose import Word, choose, joined, share, unless_only_marks_go
from lightmem_cli.compress.keep import kept_spans
from lightmem_cli.compress.rarity import SENTENCE_ENDS, surprises
from lightmem_cli.compress.tongue import Tongue
from lightmem_cli.compress.whose import is_shortened
from lightmem_cli.compress.words import cut
from lightmem_cli.records import Compressed

if TYPE_CHECKING:
    from lightmem_cli.compress import HowToShorten
    from lightmem_cli.compress.characters import Span
    from lightmem_cli.local_models.causal import CausalModel
    from lightmem_cli.records import Message

REVISION: Final = 3  # raise it when the same settings come to shorten a text otherwise
_ROUNDS = 3  # of taking away loose marks: what takes their place can loosen others
_PAUSES = frozenset(",;:–—،，、；：")


class EntropyCompressor:
    """Holds each message to the rate on its own, whatever its neighbours are.

    Messages of other roles, and those that say nothing, stay as they are. With no model a text's tokens are its
    characters / 4, each word's with the space before it; with a model they are the model's own.
    """

    def __init__(self, how: HowToShorten) -> None:
        self._how = how
        self._source: _Source = _ByModel(how) if how.model else _ByFrequency()

    @property
    def name(self) -> str:
        how = self._how
        by = f"{how.model} {how.surprise}" if how.model else "wordfreq"
        keep = " ".join(sorted(how.keep)) or "nothing"
        return f"entropy-{REVISION} {by} rate {how.rate!r} roles {how.roles} minimum {how.minimum} keep {keep}"

    def filled(self, messages: Sequence[Message]) -> int:
        return len(messages)

    def compress(self, messages: Sequence[Message]) -> list[Compressed]:
        return [
            self._short(message.content)
            if self._how.rate < 1 and is_shortened(message, roles=self._how.roles)
            else Compressed(message.content, 1.0)
            for message in messages
        ]

    def _short(self, text: str) -> Compressed:
        words = list(_forced(self._source.words(text), kept_spans(text, keep=self._how.keep)))
        if _is_one_run(text, words):
            return Compressed(text, 1.0)
        stays = self._chosen(text, words)
        stays = unless_only_marks_go(text, words, stays, rate=self._how.rate, minimum=self._how.minimum)
        return Compressed(joined(text, words, stays), share(words, stays))

    def _chosen(self, text: str, words: Sequence[Word]) -> list[bool]:
        """What stays, without marks that would hang on nothing, unless only those can fill the budget."""
        stays = choose(words, rate=self._how.rate, minimum=self._how.minimum)
        loose: set[int] = set()
        for _ in range(_ROUNDS):
            more = _loose_marks(text, words, stays)
            if more <= loose or len(loose | more) == len(words):
                break
            loose |= more
            stays = self._without(loose, words)
        return stays

    def _without(self, loose: set[int], words: Sequence[Word]) -> list[bool]:
        how = self._how
        others = [word for place, word in enumerate(words) if place not in loose]
        total, its = sum(word.tokens for word in words), sum(word.tokens for word in others)
        budget = max(how.rate * total, how.minimum)
        if its >= budget:
            chosen = iter(choose(others, rate=budget / its, minimum=how.minimum))
            return [place not in loose and next(chosen) for place in range(len(words))]
        # All that they could hang on stays now.
        marks = [word for place, word in enumerate(words) if place in loose]
        chosen = iter(choose(marks, rate=(budget - its) / (total - its), minimum=0))
        return [place not in loose or next(chosen) for place in range(len(words))]


class _Source(Protocol):
    def words(self, text: str) -> list[Word]:
        """The words of `text` with what they cost and how much they tell, none forced."""
        ...


class _ByFrequency:
    """Each message by itself: a word's surprise is how rare it is in its language."""

    def words(self, text: str) -> list[Word]:
        tongue = Tongue(text)
        spans = cut(text, tongue)
        scores = surprises(text, spans, tongue)
        words = []
        before = 0
        for (begin, end), score in zip(spans, scores, strict=True):
            words.append(Word(begin, end, (end - begin + (0 < before < begin)) / 4, score))
            before = end
        return words


class _ByModel:
    """Each message by itself: a word's surprise is what a causal language model does not expect of its tokens."""

    def __init__(self, how: HowToShorten) -> None:
        self._how = how

    def words(self, text: str) -> list[Word]:
        tokens = self._model.information(text)
        grouped = _grouped(cut(text), [(token.begin, token.end) for token in tokens])
        words = []
        for (begin, end), places in grouped:
            bits = [tokens[place].bits for place in places] or [0.0]
            score = bits[0] if self._how.surprise == "first" else sum(bits) / len(bits)
            words.append(Word(begin, end, len(places), score))
        return words

    @cached_property
    def _model(self) -> CausalModel:
        from lightmem_cli.local_models.causal import open_causal_model

        return open_causal_model(self._how.model, device=self._how.device, progress=self._how.progress)


def _grouped(spans: Sequence[Span], tokens: Sequence[Span]) -> list[tuple[Span, list[int]]]:
    """The words at `spans`, and the places of each one's `tokens`: each token belongs to one word, each word has some.

    A token, as white space before a word does, belongs to the first word that ends behind where it begins, or to the
    last one. Words for which no token is left, because one covers several, go with their neighbour.
    """
    grouped: list[tuple[Span, list[int]]] = []
    at = 0
    for begin, end in spans:
        first = at
        while at < len(tokens) and tokens[at][0] < end:
            at += 1
        places = list(range(first, at))
        if grouped and not (places and grouped[-1][1]):
            (before, _), its = grouped.pop()
            grouped.append(((before, end), its + places))
        else:
            grouped.append(((begin, end), places))
    if grouped:
        grouped[-1][1].extend(range(at, len(tokens)))
    return grouped


def _is_one_run(text: str, words: Sequence[Word]) -> bool:
    """Whether more than half of `text` is one run of a script without spaces that nothing cuts into words."""
    longest = max(words, key=lambda word: word.tokens)
    return is_unlisted(text[longest.begin]) and 2 * longest.tokens > sum(word.tokens for word in words)


def _forced(words: Sequence[Word], spans: Sequence[Span]) -> Iterator[Word]:
    """`words`, those that overlap one of `spans` forced to stay."""
    ahead = 0
    for word in words:
        while ahead < len(spans) and spans[ahead][1] <= word.begin:
            ahead += 1
        forced = ahead < len(spans) and spans[ahead][0] < word.end
        yield word._replace(forced=True) if forced else word


def _loose_marks(text: str, words: Sequence[Word], stays: Sequence[bool]) -> set[int]:
    """The marks that stay though what they belong to goes: the word they hang on, of a sentence's end the sentence."""
    loose = set()
    said = False  # whether something of this sentence stays
    for place, word in enumerate(words):
        mark = text[word.begin : word.end]
        if not is_mark(mark):
            said = said or stays[place]
            continue
        if stays[place] and not word.forced:
            ends = mark[0] in SENTENCE_ENDS
            beside = place + 1 if _is_before_its_word(text, word) else place - 1
            if not (said if ends else 0 <= beside < len(words) and stays[beside] and beside not in loose):
                loose.add(place)
        if mark[0] in SENTENCE_ENDS:
            said = False
    left = [stay and place not in loose for place, stay in enumerate(stays)]
    return loose.union(_pauses_before_ends(text, words, left))


def _pauses_before_ends(text: str, words: Sequence[Word], stays: Sequence[bool]) -> Iterator[int]:
    """The commas and dashes that stay though all goes between them and a mark that closes: "so, thanks!" to "so,!"."""
    for place, following in pairwise(compress(range(len(words)), stays)):
        word, behind = words[place], words[following]
        if word.forced or following - place == 1 or text[word.begin] not in _PAUSES:
            continue
        if is_mark(text[behind.begin : behind.end]) and not _is_before_its_word(text, behind):
            yield place


def _is_before_its_word(text: str, word: Word) -> bool:
    """Whether a mark belongs to what is behind it: a bracket that opens, or a quotation mark with a space before it."""
    kind = category(text[word.begin])
    if kind in {"Ps", "Pi"}:
        return True
    spaced = word.begin == 0 or text[word.begin - 1].isspace()
    return kind not in {"Pe", "Pf"} and spaced and word.end < len(text) and not text[word.end].isspace()
