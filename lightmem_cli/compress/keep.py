"""Finds what must be right in a conversation's message however much it is shortened: figures, names, negations …

Each pattern begins only where nothing of its own kind stands before it, and has bounded parts, so that a megabyte
without a space (a pasted blob) is read once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from lightmem_cli.compress.characters import Span
from lightmem_cli.language.english import COMMON_OPENINGS, PAST_VERBS, PRAISE, looks_foreign
from lightmem_cli.language.names import name_spans
from lightmem_cli.language.time_forms import CUE, MENTION

if TYPE_CHECKING:
    from lightmem_cli.compress import Keep

# Currency and percent signs belong to their figure; 1,000 and 3.5 and 10:30 and 2023-05-08 are one each.
_DIGITS = re.compile(r"[$€£¥₹#]?\d{1,64}(?:[.,:/×–-]\d{1,64}){0,16}%?")

# What it turns round goes with it: 不喜欢 without 喜欢 says nothing. 未来 is the future, 特别 especially, 别人 others.
_HAN_NEGATION = (
    "(?:[不没沒无無]|未(?![来來])"
    "|(?<![特区區分个個级級性差告离離识識判辨派])[别別](?=[\u3400-\u9fff])(?![人的处處墅致名称稱扭离離]))"
)
_NEGATIONS = re.compile(
    r"(?<!\w)(?:not|no\slonger|no|nor|none|nobody|nothing|nowhere|neither|never|without|cannot|instead\sof|rather\sthan|"
    r"hardly|rarely|seldom|barely|scarcely|unlikely|impossible|unable|"
    r"(?:ca|wo|do|does|did|is|are|was|were|has|have|had|could|should|would|must|need|might|sha|ai|dare|ought)n['’]?t|"
    r"nicht|nichts|kein(?:e[mnrs]?)?|niemals|ohne|jamais|aucune?|nunca|jamás|ningun[oa]|ningún|não|"
    r"niet|geen|nooit|zonder|нет|не|никогда|без|değil|yok|hiç|nie|nigdy|není|nikdy|"
    r"[وف]?(?:لا|لم|لن|ليس|ليست|ما|غير|بدون)|نه|نیست|نمی|[ושה]?(?:לא|אין|בלי))(?!\w)"
    # Vowel signs are no \w: नाम begins with न, but is another word.
    r"|(?<![\w\u0900-\u0963])(?:नहीं|न|मत|बिना)(?![\w\u0900-\u0963])"
    rf"|{_HAN_NEGATION}(?:[\u3400-\u9fff]?{_HAN_NEGATION}){{0,2}}[\u3400-\u9fff]{{0,2}}"
    r"|(?<=[\u3040-\u30ff\u4e00-\u9fff])(?:ない|なかった|なく|ません)"
    r"|않|없|못(?=\s|하|해)|(?<!\w)안(?=\s)|ไม่",
    re.IGNORECASE,
)
# Negations that are other words in English: "sin", "a faux pas", "sans serif".
_FOREIGN_NEGATIONS = re.compile(
    r"(?<!\w)(?:pas|rien|sans|sin|tampoco|nada|nadie|non|mai|senza|niente|nessun[oa]?|sem|inte|ikke|nej)(?!\w)",
    re.IGNORECASE,
)
_CZECH_OR_POLISH, _ITS_NEGATIONS = re.compile("[ěščřžůąęłńśćźż]"), re.compile(r"(?<!\w)(?:[Nn]e|[Bb]ez)(?!\w)")

_MORE_DATES = re.compile(
    r"(?<!\w)(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?"
    r"|January|February|April|June|July|September|October|November|December"
    r"|\d{1,2}(?::\d\d)?\s?(?:[ap]\.?m\b\.?|o['’]clock)|noon|midnight|(?:the )?other day"
    r"|gestern|heute|ayer|hier|ieri|ontem|gisteren|вчера|сегодня|завтра)(?!\w)"
    r"|(?:今|昨|明|前|去|来|翌|先)(?:天|日|年|夜|晚)|(?:上|下|这|這|本|今|先|来)(?:个|個)?(?:周|週|星期|月)|きのう|あした"
)

_QUOTES = re.compile(
    r"“[^“”\n]{1,200}”|«[^«»\n]{1,200}»|„[^„“”\n]{1,200}[“”]|「[^「」\n]{1,200}」|『[^『』\n]{1,200}』"
    r'|(?<![\w"])"(?=[^\s"])[^"\n]{1,200}(?<=[^\s"])"(?!\w)'
    r"|(?<!\w)‘(?=\S)[^‘\n]{1,80}?\S’(?!\w)|(?<![\w'])'(?=[^\s'])[^'\n]{1,80}(?<=[^\s'])'(?!\w)"
)

_CODE = re.compile(
    r"```[\s\S]*?(?:```|\Z)"  # a block that nobody closed is code to its end
    r"|`[^`\n]{1,200}`"
    r"|(?<![\w-])--?[A-Za-z][\w-]{0,60}(?:=[^\s,;]{1,100})?(?=[\s,.;:)\]]|\Z)"
    r"|(?<![\w/~.:-])(?:~|\.{1,2})?/[\w.-]{1,80}(?:/[\w.-]{0,80}){0,20}"
    r"|(?<!\w)[A-Za-z]:\\[\w\\.-]{1,200}"
    r"|(?<![\w/.-])[\w.-]{1,80}(?:/[\w.-]{1,80}){0,20}/[\w-]{1,80}\.\w{1,8}(?!\w)"
    r"|(?<![\w.-])[\w-]{1,80}\.(?:py|js|ts|tsx|c|cc|cpp|h|rs|go|java|rb|sh|md|txt|json|jsonl|toml|ya?ml|csv|sql|db|html|"
    r"css|xml|ini|cfg|log|lock|ipynb|pdf|png|jpg|zip|gz)(?!\w)"
    r"|(?<![\w.])_{0,2}[A-Za-z]\w{0,80}(?:\.\w{1,80}){0,10}\(\)"
    r"|(?<![\w.])(?:[A-Za-z]\w{0,80}\.){0,10}\w{0,80}(?<=\w)_(?=\w)\w{1,80}"
    r"|(?<!\w)[a-z]{1,40}[A-Z][A-Za-z]{1,40}(?!\w)"
    r"|(?<!\w)[A-Za-z_]\w{0,60}=[^\s,;=]{1,100}"
)

_URLS = re.compile(
    r"(?<![A-Za-z0-9])(?:https?|ftp|file|ssh|git|s3)://[^\s<>\"“”«»\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]{1,2000}"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
    r"|(?<![\w.@-])(?:[a-zA-Z0-9-]{1,63}\.){1,8}(?:com|org|net|io|dev|ai|edu|gov|app|info|me|co|uk|de|fr|es|it|eu|nl|ch)"
    r"(?![\w-])(?:/[\w./?#&=%~+:@!-]{0,500})?"
)
_CLOSING = ".,;:!?)]}'\"’”*_"  # behind an address these close the sentence around it

# "Caroline went", "Anna's": what opens a sentence is a name where only a name can stand.
_OPENING = re.compile(
    r"(?:\A|[.!?…\n][\"”’)]{0,2}\s{1,3})(?P<name>[A-Z]\w{1,40})(?=(?P<owns>['’]s)?\s(?P<next>\w{1,20}))"
)
# "Mr. O'Brien", "Jean-Luc", "d'Artagnan" are names wherever they stand, each of them whole.
_CAPITAL_PARTS = r"(?:['’-][A-Z][a-z]\w{0,40})"
_WHOLE_NAMES = re.compile(
    rf"(?<!\w)(?:Mrs?|Ms|Mx|Dr|Prof)\.?\s[A-Z]\w{{0,40}}{_CAPITAL_PARTS}{{0,3}}(?!\w)"
    rf"|(?<![\w'’-])(?:[A-Z]\w{{0,40}}|d){_CAPITAL_PARTS}{{1,3}}(?!\w)"
)
_SUBJECTS = """
everyone everything everybody someone something somebody anyone anything nobody nothing people today tomorrow yesterday
tonight mom dad both never finally apparently recently once again another things life work time
"""
_NO_OPENING_NAMES = COMMON_OPENINGS | PRAISE | frozenset(_SUBJECTS.split())


def kept_spans(text: str, *, keep: Sequence[Keep]) -> list[Span]:
    """The characters [begin, end) of `text` that must stay for `keep`: in order, apart from each other, none empty."""
    spans = sorted(span for kind in _KINDS if kind in keep for span in _KINDS[kind](text))
    return list(_merged(spans))


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    """`spans`, sorted, with those that overlap or touch as one."""
    begin = end = 0
    for first, last in spans:
        if first > end:
            if end > begin:
                yield begin, end
            begin, end = first, last
        else:
            end = max(end, last)
    if end > begin:
        yield begin, end


def _found(pattern: re.Pattern[str]) -> Callable[[str], Iterator[Span]]:
    return lambda text: (match.span() for match in pattern.finditer(text))


def _names(text: str) -> Iterator[Span]:
    """Names inside sentences; and those that open one where they are seen inside another, own or did something."""
    inside = name_spans(text)
    yield from inside
    yield from _found(_WHOLE_NAMES)(text)
    if looks_foreign(text):
        return
    known = {text[begin:end] for begin, end in inside}
    for match in _OPENING.finditer(text):
        name = match["name"]
        if name.lower() in _NO_OPENING_NAMES:
            continue
        if name in known or match["owns"] or match["next"] in PAST_VERBS:
            yield match.span("name")


def _negations(text: str) -> Iterator[Span]:
    yield from _found(_NEGATIONS)(text)
    if _FOREIGN_NEGATIONS.search(text) and looks_foreign(text):
        yield from _found(_FOREIGN_NEGATIONS)(text)
    if _CZECH_OR_POLISH.search(text):
        yield from _found(_ITS_NEGATIONS)(text)


def _dates(text: str) -> Iterator[Span]:
    yield from _found(_MORE_DATES)(text)
    begin = 0
    for line in text.splitlines(keepends=True):  # looking for a cue first spares nine lines in ten the long expression
        if CUE.search(line):
            yield from ((begin + match.start(), begin + match.end()) for match in MENTION.finditer(line))
        begin += len(line)


def _urls(text: str) -> Iterator[Span]:
    for match in _URLS.finditer(text):
        address = match.group()
        bare = address.rstrip(_CLOSING)
        if bare.count("(") > bare.count(")") and address.startswith(")", len(bare)):  # …/wiki/Mercury_(planet)
            bare += ")"
        yield match.start(), match.start() + len(bare)


_KINDS: dict[Keep, Callable[[str], Iterator[Span]]] = {
    "digits": _found(_DIGITS),
    "names": _names,
    "negations": _negations,
    "dates": _dates,
    "quotes": _found(_QUOTES),
    "code": _found(_CODE),
    "urls": _urls,
}
