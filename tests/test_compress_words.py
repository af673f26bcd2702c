"""Text is cut into words that hold all of it but white space, each character once, in any script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.compress.tongue import Tongue
from lightmem_cli.compress.words import cut

SCRIPTS = st.sampled_from(
    "abz ÀéßÅ 09 .,!?…-–—'’\"“”()[]{}<>@#&%/\\_=+~*` \t\n\u3000\u00a0 漢字昨天我们這個 ひらがなカタカナー々〇 กขเแไะาำิ่้๎"
    " ໄກຳ ကျွန်တော်္ ខ្ញុំមិន हिन्दी स्त्री தமிழ் বাংলা عربي َُّ עִבְרִית 한국어 Ελλάδα Русский"
    " 😊👩👍🏽🇩🇪❤️ \u200d\u200c\ufe0f\u20e3\u0301\ud800\U000e0067"
)
TEXTS = st.one_of(st.lists(SCRIPTS, max_size=40).map("".join), st.text())


def words(text: str) -> list[str]:
    return [text[begin:end] for begin, end in cut(text)]


@given(text=TEXTS)
def test_every_character_but_white_space_is_in_exactly_one_word(text: str) -> None:
    bound = 0
    for begin, end in cut(text):
        assert bound <= begin < end
        assert text[bound:begin].strip() == ""
        assert not any(character.isspace() for character in text[begin:end])
        bound = end
    assert text[bound:].strip() == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n", []),
        ("😊", ["😊"]),
        ("Don't stop—it’s well-known... ok!!", ["Don't", "stop", "—", "it’s", "well-known", "...", "ok", "!!"]),
        ("1,000.5 red,green done.We a_b", ["1,000.5", "red", ",", "green", "done", ".", "We", "a_b"]),
        ("src/main.py me@x.co https://x.org/a", ["src/main.py", "me@x.co", "https://x.org/a"]),
        ("👩‍💻👍🏽1️⃣ ❤️🇩🇪🇫🇷", ["👩‍💻", "👍🏽", "1️⃣", "❤️", "🇩🇪", "🇫🇷"]),
        ("Ísland e\u0301te\u0301", ["Ísland", "e\u0301te\u0301"]),
        ("我昨天没有去北京大学。", ["我", "昨天", "没有", "去", "北京大学", "。"]),
        ("這個我們沒有", ["這個", "我們", "沒有"]),
        ("昨日ブルーベリーを食べました", ["昨日", "ブルーベリー", "を", "食べ", "まし", "た"]),
        ("ไม่ได้ไป โรงเรียนabc", ["ไม่ได้ไป", "โรงเรียน", "abc"]),
        ("ខ្ញុំទៅ", ["ខ្ញុំទៅ"]),
        ("မ္မာ ကျွန်", ["မ္မာ", "ကျွန်"]),
        ("मैं स्कूल गया।", ["मैं", "स्कूल", "गया", "।"]),
        ("나는 학교에 갔다", ["나는", "학교에", "갔다"]),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "I went to the school with my friends and it was great"),
        ("en", "sunrise"),
        ("de", "Gestern bin ich mit meinem Hund in den Park gegangen"),
        ("fr", "Je suis allé à l'école avec mes amis"),
        ("es", "Ayer fui al parque con mis amigos y no me gustó"),
        ("pl", "Nie wiem, czy się uda, ale bardzo chcę"),
        ("sv", "Jag vet inte om det är så, men vi har tid"),
        ("tr", "Ben çok yorgunum ama bu güzel bir gün"),
    ],
)
def test_the_language_is_told_by_its_small_words(language: str, text: str) -> None:
    assert Tongue(text).latin == language


@pytest.mark.parametrize(
    ("text", "frequent", "rare"),
    [
        ("the sunrise", "the", "sunrise"),
        ("die Katze und der Schmetterling ist nicht da", "und", "schmetterling"),
        ("l'école de la ville et les papillons", "de", "l'école"),
        ("我昨天去了北京大学", "我", "北京大学"),
        ("昨日は東京で雨", "は", "東京"),
        ("я вчера ходил в школу", "я", "школу"),
        ("나는 학교에 갔다", "학교에", "갔뷁다"),
        ("word 7", "word", "7"),
        ("common-sense", "common", "common-sense"),
    ],
)
def test_rare_words_have_more_bits_in_their_own_language(text: str, frequent: str, rare: str) -> None:
    tongue = Tongue(text)
    assert 0 < tongue.bits(frequent) < tongue.bits(rare)
