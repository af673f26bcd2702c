"""Looks up how surprising each word of a conversation is in its own language, from wordfreq's word frequencies."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache

from lightmem_cli.language.stop_words import stop_words

UNLISTED = (9 - 2.5) * math.log2(10)  # bits: what stands in no list is used less than once in a million words
_READ = 20_000  # characters by which a text's language is told

_STOP_WORDS = {
    "en": "english", "de": "german", "fr": "french", "es": "spanish", "it": "italian", "pt": "portuguese",
    "nl": "dutch",
}  # fmt: skip
# Of other languages in Latin letters a few words that are frequent there and hardly anywhere else.
_TELLING = {
    "pl": "się że nie jest jak ale czy mnie tak był była są dla po już bardzo",
    "cs": "že se je na jsem ale jak jsou bylo byl když jako pro tak už také",
    "sv": "och att det är som jag inte på för av den ett har var med till vi",
    "da": "og at det er ikke jeg på med af den en til har hvad der mig også",
    "nb": "og at det er ikke jeg på med av den en til har hva som meg også",
    "fi": "ja on ei että se oli mutta niin kun olen hän minä mitä kuin ovat",
    "hu": "és hogy nem egy az ez van is meg csak már de volt azt mint",
    "ro": "și nu este pe la cu mai că din sunt care pentru am o ce",
    "tr": "ve bir bu da için ben çok ama değil ne var mi benim daha o",
    "id": "yang dan di itu dengan untuk tidak ini dari saya akan ada ke pada",
    "vi": "và là của không có tôi được cho một những người đã trong với này",
    "ca": "i els amb per que és una no les però també aquest molt jo",
}
# The first characters of scripts, and the language whose list their words are looked up in; "" where there is no list.
_SCRIPTS = (
    (0x0000, "latin"), (0x0370, "el"), (0x0400, "ru"), (0x0530, ""), (0x0590, "he"), (0x0600, "ar"), (0x0700, ""),
    (0x0900, "hi"), (0x0980, "bn"), (0x0A00, ""), (0x0B80, "ta"), (0x0C00, ""), (0x1100, "ko"), (0x1200, ""),
    (0x1E00, "latin"), (0x1F00, "el"), (0x2000, ""), (0x3041, "han"), (0x3100, ""), (0x3130, "ko"), (0x3190, ""),
    (0x3400, "han"), (0xA000, ""), (0xAC00, "ko"), (0xD7B0, ""), (0xF900, "han"), (0xFB00, "latin"), (0xFB10, ""),
)  # fmt: skip
# Traditional characters that are function words or in many of them; the Chinese list is in simplified ones.
_TRADITIONAL = (
    "這個們來說對過還沒嗎會時為爲後讓給從與於當樣間裡裏麼點兒幾種學國長開問見現發經動話請謝應該覺聽買賣車門東書無"
)
_SIMPLIFIED = (
    "这个们来说对过还没吗会时为为后让给从与于当样间里里么点儿几种学国长开问见现发经动话请谢应该觉听买卖车门东书无"
)
_TO_SIMPLIFIED = str.maketrans(_TRADITIONAL, _SIMPLIFIED)
_KANA = re.compile(r"[\u3041-\u30ff]")
_UKRAINIAN, _PERSIAN, _URDU = re.compile("[іїєґ]"), re.compile("[پچژگ]"), re.compile("[ٹڈڑےں]")
_LETTERS = re.compile(r"[^\W\d_]+")


class Tongue:
    """The languages of one text, one of each script, and its words' bits in them.

    A word's bits are -log2 of how often it is among the words of its language: "the" has 4, "sunrise" 18.
    """

    def __init__(self, text: str) -> None:
        read = text[:_READ].lower()
        self.latin = "en" if read.isascii() and _is_plainly_english(read) else _latin(read)
        ascii_letters = sum(character.isascii() for character in read if character.isalpha())
        self.is_english = self.latin == "en" and 2 * ascii_letters > sum(map(str.isalpha, read))
        self._of_script = {
            "latin": self.latin,
            "han": "ja" if _KANA.search(read) else "zh",
            "ru": "uk" if _UKRAINIAN.search(read) else "ru",
            "ar": "ur" if _URDU.search(read) else "fa" if _PERSIAN.search(read) else "ar",
        }

    def language(self, word: str) -> str:
        """The language in which `word` is looked up, as ISO 639; "" where no list is kept for its script."""
        script = _script(word[:1])
        return self._of_script.get(script, script)

    def bits(self, word: str) -> float:
        """How surprising the lower-case `word` is; of a joined one (well-known, l'amour) the most surprising part.

        Numbers are as surprising as words that no list has.
        """
        language = self.language(word)
        word = simplified(word) if language == "zh" else word
        listed = frequencies(language) if language else {}
        if any(character.isdigit() for character in word):
            return UNLISTED
        if word in listed:
            return listed[word]
        if language == "ko":  # particles are glued to nouns
            beginnings = (word[:end] for end in range(min(len(word), 8), 1, -1))
            return next((listed[beginning] for beginning in beginnings if beginning in listed), UNLISTED)
        parts = _LETTERS.findall(word) if any(not character.isalnum() for character in word) else []
        return max((listed.get(part, UNLISTED) for part in parts if len(part) > 1), default=UNLISTED)


def simplified(text: str) -> str:
    """`text` with the commonest traditional Chinese characters as simplified ones, one for one."""
    return text.translate(_TO_SIMPLIFIED)


@cache
def frequencies(language: str) -> dict[str, float]:
    """The bits of each word in wordfreq's small list of `language`, about 30,000 words: 0.2 s at first, then 0.03 s."""
    from wordfreq import get_frequency_dict

    return {word: -math.log2(share) for word, share in get_frequency_dict(language, wordlist="small").items()}


def function_words(language: str) -> frozenset[str]:
    """The function words of `language`, without apostrophes; none where no list is kept."""
    return stop_words(_STOP_WORDS.get(language, ""))


@cache
def _script(character: str) -> str:
    place = ord(character) if character else 0
    return next((name for first, name in reversed(_SCRIPTS) if first <= place), "") if place < 0x20000 else "han"


def _is_plainly_english(read: str) -> bool:
    return read.startswith(("the ", "i ", "i'")) or " the " in read or " i'm " in read


def _latin(read: str) -> str:
    """The language in Latin letters whose small words `read` uses most; English where none is ahead."""
    words = Counter(_LETTERS.findall(read))
    best, most = "en", sum(words[word] for word in function_words("en") & words.keys())
    for language in (*_STOP_WORDS, *_TELLING):
        its = function_words(language) or frozenset(_TELLING.get(language, "").split())
        hits = sum(words[word] for word in its & words.keys())
        if hits > most:
            best, most = language, hits
    return best
