"""What the analyzer makes of text in many languages."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import ProfileError
from lightmem_cli.language.words import LONGEST_TERM, analyze


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Gina's dogs were running", ["gina", "dog", "run"]),
        ("Gina’s dog", ["gina", "dog"]),  # the typographic apostrophe
        ("I don't think we can't win", ["think", "win"]),
        ("It cost 1,000,000 dollars in 2023", ["cost", "1000000", "dollar", "2023"]),
        ("on 12,34 and 5.5", ["12", "34", "5", "5"]),
        ("https://www.example.com/my-page?x=12", ["exampl", "com", "page", "x", "12"]),
        ("mail ann.lee@mail.org", ["mail", "ann", "lee", "mail", "org"]),
        ("snake_case", ["snake", "case"]),
        ("Straße CAFÉ ﬁne", ["strass", "café", "fine"]),
        ("ｆｕｌｌ ｗｉｄｔｈ", ["full", "width"]),
        ("cafe\u0301", ["café"]),  # composed and decomposed are one
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # vowel signs stay in their word
        ("黒猫が好き", ["黒猫", "猫が", "が好", "好き"]),
        ("猫", ["猫"]),
        ("手機iPhone", ["手機", "iphon"]),
        ("친구를 만났다", ["친구", "구를", "만났", "났다"]),
        ("🙂 ... !", []),
        ("", []),
        ("a lone \ud800 surrogate", ["lone", "surrog"]),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


def test_a_query_of_stop_words_alone_keeps_them_as_its_document_does() -> None:
    assert analyze("To be, or not to be?") == ["to", "be", "or", "not", "to", "be"]
    assert analyze("What don't I") == ["what", "dont", "i"]


def test_chinese_japanese_korean_and_thai_questions_meet_their_answers() -> None:
    for answer, question in [
        ("我昨天去了北京大学", "北京"),
        ("昨日、東京タワーに行きました", "東京タワー"),
        ("어제 서울에서 친구를 만났어요", "친구"),
        ("เมื่อวานฉันไปกรุงเทพ", "กรุงเทพ"),
    ]:
        assert set(analyze(question)) <= set(analyze(answer))


def test_other_languages_stem_and_elide() -> None:
    assert analyze("L'amour des chats, c'est l'été", language="french") == ["amour", "chat"]
    assert analyze("Die Katzen schlafen über der Straße", language="german") == ["katz", "schlaf", "strass"]
    assert analyze("кошки спали", language="russian") == ["кошк", "спал"]
    assert analyze("The dogs' running", language="none") == ["the", "dogs", "running"]


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProfileError) as caught:
        analyze("text", language="klingon")
    assert "klingon" in caught.value.message
    assert caught.value.hint is not None and "german" in caught.value.hint and "none" in caught.value.hint


@given(st.text(), st.sampled_from(["english", "french", "none"]))
def test_every_term_is_what_the_index_counts_on(text: str, language: str) -> None:
    for term in analyze(text, language=language):
        assert 0 < len(term) <= LONGEST_TERM
        assert re.fullmatch(r"(?:[0-9a-z]|[^\x00-\x7f])+", term), term
        assert term.split() == [term]
        term.encode()


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_plain_and_unicode_text_are_cut_alike(text: str) -> None:
    assert analyze(text + " é", language="none") == [*analyze(text, language="none"), "é"]


def test_a_long_token_is_one_short_term() -> None:
    assert [len(term) for term in analyze("x" * 1_000_000)] == [LONGEST_TERM]
    assert [len(term) for term in analyze("é" * 1_000)] == [LONGEST_TERM]
    assert max(len(term) for term in analyze("can't " + "z" * 100 + " " + "1" * 90)) == LONGEST_TERM


def test_the_analyzer_loads_no_dictionary() -> None:
    code = (
        "import sys; from lightmem_cli.language.words import analyze; analyze('a dog, ünder'); "
        "print([m for m in ('wordfreq', 'regex', 'nltk', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
