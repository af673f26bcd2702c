"""What must be right stays: each kind is found where it stands, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.compress import ALL_KEPT, HowToShorten, Keep
from lightmem_cli.compress.entropy import EntropyCompressor
from lightmem_cli.compress.keep import kept_spans
from lightmem_cli.records import Message, Role

FOUND: list[tuple[Keep, str, list[str] | str]] = [
    ("digits", "I paid $1,000.50 for 3 of 12 at 10:30, 50% off", ["$1,000.50", "3", "12", "10:30", "50%"]),
    ("digits", "我有3只猫", ["3"]),
    ("digits", "three of them", []),
    ("names", "Hey Mel! We met Anna Smith in San Francisco.", ["Mel", "Anna Smith", "San Francisco"]),
    ("names", "Caroline went home. Bob's dog did not.", ["Caroline", "Bob"]),
    ("names", "Then Oscar ran. Oscar is a pig.", ["Oscar", "Oscar"]),
    ("names", "Mr. O'Brien came in. Jean-Luc ran. We saw d’Artagnan and Mary-Kate O’Neil's dog with Dr. Grant",
     "Mr. O'Brien|Jean-Luc|d’Artagnan|Mary-Kate O’Neil|Dr. Grant"),
    ("names", "Painting helps. I'm glad. Hey there! Wow, what? I think so. Thanks!", []),
    ("names", "WHY DO YOU SHOUT AT ME LIKE THAT", []),
    ("names", "Gestern ging der Hund mit der Katze und dem Kind in den Park", []),
    ("names", "我昨天没有去北京", []),
    ("negations", "I do not, don't, can’t, cannot, never: no one, without",
     "not|don't|can’t|cannot|never|no|without"),
    ("negations", "Note the knot, nonetheless a noble annotation in November", []),
    ("negations", "It is a sin to play the pas de deux", []),
    ("negations", "Je ne suis pas allé avec mon ami", ["pas"]),
    ("negations", "Ich habe das nicht und auch keinen Hund", ["nicht", "keinen"]),
    ("negations", "我没有去，不想去。未来很好", ["没有去", "不想去"]),
    ("negations", "我不喜欢她，不得不走，别走！特别好，别人也是", ["不喜欢", "不得不走", "别走"]),
    ("negations", "It hardly rains; I am unable to swim and no longer try, instead of diving",
     "hardly|unable|no longer|instead of"),
    ("negations", "She rarely, seldom, barely, scarcely ran: impossible, unlikely, rather than fun; less or fewer",
     "rarely|seldom|barely|scarcely|impossible|unlikely|rather than"),
    ("negations", "أنا لا أحب القهوة ولم أشربها وليس عندي ولكن الولد هنا", ["لا", "ولم", "وليس"]),
    ("negations", "मुझे नहीं पता, मेरा नाम सहमत है, मत जाओ", ["नहीं", "मत"]),
    ("negations", "אני לא אוהב קפה ואין לי, אולי שלא", ["לא", "ואין", "שלא"]),
    ("negations", "او نه گفت و نمی‌خواهم", ["نه", "نمی"]),
    ("negations", "Bunu istemiyorum, hiç param yok, iyi değil", ["hiç", "yok", "değil"]),
    ("negations", "Nie lubię go. To ne, není to bez chyby, řekl", ["Nie", "ne", "není", "bez"]),
    ("negations", "Omaha, NE is flat and ne plus ultra", []),
    ("negations", "昨日は行かなかったし、行けません", ["なかった", "ません"]),
    ("negations", "안녕 나는 가지 않았다", ["않"]),
    ("negations", "ฉันไม่ไป", ["ไม่"]),
    ("dates", "We left yesterday, or last Friday, at noon", ["yesterday", "last Friday", "noon"]),
    ("dates", "In May it was two weeks ago; next month it is 7 May 2023",
     "In May|two weeks ago|next month|7 May 2023"),
    ("dates", "On Tuesday at 10 am, since 2016", ["On Tuesday", "10 am", "since 2016"]),
    ("dates", "You may march on, I can not wait a second", []),
    ("dates", "我昨天去了，2023年5月8日", ["昨天", "2023年5月8日"]),
    ("quotes", 'I read "Becoming Nicole" and “Dune”, and he said 「いいね」',
     ['"Becoming Nicole"', "“Dune”", "「いいね」"]),
    ("quotes", "«Bonjour», ‘Emma’, „Faust“, 'so called'", ["«Bonjour»", "‘Emma’", "„Faust“", "'so called'"]),
    ("quotes", "it's the kids' party, don't 5\" wide 6\" tall", []),
    ("quotes", f'"{"a long speech " * 30}"', []),
    ("code", "Run `pip install x` and foo_bar() in src/main.py", ["`pip install x`", "foo_bar()", "src/main.py"]),
    ("code", "use --verbose, -q or ~/.config/x.toml; set debug=True", "--verbose|-q|~/.config/x.toml|debug=True"),
    ("code", "see ```py\nx = 1\n``` there", ["```py\nx = 1\n```"]),
    ("code", "see ```py\nx = 1", ["```py\nx = 1"]),
    ("code", "well-known and/or either - or -- maybe e.g. this", []),
    ("urls", "See https://x.org/a?b=c. Or (www.example.com), me@mail.co.uk!",
     "https://x.org/a?b=c|www.example.com|me@mail.co.uk"),
    ("urls", "(https://en.wikipedia.org/wiki/Mercury_(planet))", ["https://en.wikipedia.org/wiki/Mercury_(planet)"]),
    ("urls", "请看https://example.com/a，谢谢", ["https://example.com/a"]),
    ("urls", "This is it.Done at home; a@b", []),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "expected"), FOUND)
def test_each_kind_is_found_where_it_stands(kind: Keep, text: str, expected: list[str] | str) -> None:
    wanted = expected.split("|") if isinstance(expected, str) else expected
    assert [text[begin:end] for begin, end in kept_spans(text, keep=[kind])] == wanted


def test_nothing_is_kept_where_nothing_is_to_be() -> None:
    assert kept_spans("On 7 May 2023 Anna did not read `x` at https://x.org", keep=()) == []


@pytest.mark.parametrize(
    ("kind", "stays"),
    [
        ("digits", "3"),
        ("names", "Home"),
        ("negations", "not"),
        ("dates", "yesterday"),
        ("quotes", '"it is so"'),
        ("code", "is_in"),
        ("urls", "the.me"),
    ],
)
def test_what_is_kept_survives_the_hardest_rate_only_where_its_kind_is_on(kind: Keep, stays: str) -> None:
    """Words that frequencies drop first stay when they are of a kind that is kept."""
    rare = "qx zj xq vk jq wz xw zq kx jz"  # so short that no longer word finds a place behind them
    text = f"{rare} {stays} {rare} {rare}"

    def left(*keep: Keep) -> list[str]:
        how = HowToShorten(
            reader=lambda: pytest.fail("no model"),
            model="",
            rate=0.1,
            minimum=0,
            keep=keep,
            roles="both",
            surprise="average",
            device="cpu",
            progress=lambda line: None,
        )
        message = Message(conversation="", session="", id="1", position=0, role=Role.USER, content=text)
        return EntropyCompressor(how).compress([message])[0].text.split()

    wanted = set(stays.split())
    assert wanted <= set(left(kind))
    if kind not in {"digits", "code", "urls"}:  # these are rare anyway
        others = tuple(other for other in ALL_KEPT if other != kind)
        assert not wanted <= set(left(*others))


PIECES = st.sampled_from([
    "Anna", "I", "not", "don't", "3", "$5", "yesterday", "last week", '"a b"', "“", "`x`", "```", "--a", "x_y", ".",
    "! ", " ", "\n", "a@b.co", "http://x.org/", "没", "昨天", "「い」", "ไม่", "é", "😊", "word", "Der Hund", "in May",
    "'",
])  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES).map(" ".join), st.lists(PIECES).map("".join), st.text())


@given(text=TEXTS, keep=st.lists(st.sampled_from(ALL_KEPT), unique=True))
def test_spans_rise_apart_within_the_text_and_hold_what_each_kind_alone_does(text: str, keep: list[Keep]) -> None:
    spans = kept_spans(text, keep=keep)
    bound = -1
    for begin, end in spans:
        assert bound < begin < end <= len(text)
        bound = end
    for kind in keep:
        for begin, end in kept_spans(text, keep=[kind]):
            assert any(first <= begin and end <= last for first, last in spans)


@pytest.mark.parametrize(
    "unit",
    ["a", "x.", "-a", "a/", '"a', "_a", "`a", "A", "1,", "@a.", "last in ", "a.b_", "‘a ", "Ab ", "``` ", "“", "漢"],
)
def test_a_long_run_of_anything_costs_what_it_is_long(unit: str) -> None:
    """A pattern that looked back or ahead over all of it would take hours."""
    kept_spans(unit * (100_000 // len(unit)), keep=ALL_KEPT)
