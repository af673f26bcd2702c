"""Splits a message into its sentences, losing no character but white space."""

from __future__ import annotations

import re

# A possible end: closing marks, then brackets or quotes that close with them. Western marks need white space behind
# them (so URLs, decimals and "e.g." within a word are safe), wide ones do not. Possessive: no text costs a square.
_MARKS = ".!?…\u061f\u06d4\u0589\u0964\u0965\u1362\u104b"
_END = re.compile(
    rf"""(?:(?<![{_MARKS}])(?P<mark>[{_MARKS}]++)["'”’»)\]}}*_~]*+\s++"""
    r"""|(?P<wide>[。！？｡．]++[」』”’）)】》〉]*+)\s*+)"""
    r"""(?:[^\w\s!-~“‘«¿¡「『（【《〈]++\s++)*+"""  # emoji behind the end belong to it
)
_FENCE = re.compile(r"^[ \t]*(```+|~~~+).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_SAYS_SOMETHING = re.compile(r"[^\W_]")
_BULLET = re.compile(r"(?:[-*+•‣◦·>#|]|\(?(?:\d{1,3}|[A-Za-z])[.)])")
_OPENERS = "([{\"'“‘«*_"
_INITIALS = re.compile(r"(?:\w\.)*\w")

# Abbreviations after which a sentence goes on, whatever follows.
_GOES_ON = """
mr mrs ms mx dr prof rev fr sr jr st mt ft gen col lt sgt capt cmdr adm maj gov sen rep hon pres supt
vs e.g i.e eg ie cf viz approx ca messrs mmes mme mlle hr fig eq al bzw z.b d.h u.a nr p.ej
"""
# … after which it goes on only before a number or a small letter.
_MAY_GO_ON = """
no nos vol ch sec pp pg ed eds dept univ assn bros inc ltd co corp llc etc est ext min max avg a.m p.m am pm
jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun ave blvd rd hrs
u.s u.k u.n e.u d.c ph.d m.d b.a m.a usw etw
"""
_GOES_ON_WORDS = frozenset(_GOES_ON.split())
_MAY_GO_ON_WORDS = frozenset(_MAY_GO_ON.split())


def sentences(text: str) -> list[str]:
    """Split `text` into sentences, in order, each stripped. A code block stays whole; what holds no letter or digit
    (a lone bullet, "😊", "---") goes with its neighbour."""
    found: list[str] = []
    start = 0
    for fence in _FENCE.finditer(text) if "```" in text or "~~~" in text else ():
        found += _prose(text[start : fence.start()])
        found.append(fence.group().strip())
        start = fence.end()
    return _with_neighbours(found + _prose(text[start:]))


def _prose(text: str) -> list[str]:
    return [sentence for line in _LINE.findall(text) for sentence in _line(line)]


def _line(line: str) -> list[str]:
    found: list[str] = []
    start = 0
    for end in _END.finditer(line):
        if end.end() == len(line):
            break
        if end["wide"] or _ends(line[max(start, end.start() - 40) : end.start()], end["mark"], line[end.end()]):
            found.append(line[start : end.end()].strip())
            start = end.end()
    rest = line[start:].strip()
    return [*found, rest] if rest else found


def _ends(before: str, mark: str, following: str) -> bool:
    """Tell whether a sentence whose tail is `before` ends at `mark`, when the next one would begin with `following`."""
    if mark != ".":
        return not (following.islower() and mark[-1] in ".…")
    last = before.rsplit(None, 1)[-1].lstrip(_OPENERS).casefold() if before.strip() else ""
    if last in _GOES_ON_WORDS or _BULLET.fullmatch(before.strip() + mark):
        return False
    if last in _MAY_GO_ON_WORDS:
        return not (following.islower() or following.isdigit())
    if len(last) == 1 and last.isalpha() and last != "i":  # "J. Smith"
        return False
    return not (following.islower() and "." in last and _INITIALS.fullmatch(last))


def _with_neighbours(pieces: list[str]) -> list[str]:
    """Join each piece that says nothing by itself to the sentence before it, a bare bullet to the one behind it."""
    found: list[list[str]] = []
    waiting: list[str] = []
    for piece in pieces:
        if len(piece) < 6 and _BULLET.fullmatch(piece):
            waiting.append(piece)
        elif _SAYS_SOMETHING.search(piece) or not found:
            found.append([*waiting, piece])
            waiting = []
        else:
            found[-1] += [*waiting, piece]
            waiting = []
    if waiting:
        found = [*found[:-1], [*(found[-1] if found else []), *waiting]]
    return [" ".join(parts) for parts in found]
