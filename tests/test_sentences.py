"""Sentences end where a reader would end them, and no character is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.language.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I moved. Then I slept! Why?", ["I moved.", "Then I slept!", "Why?"]),
        ("i went home. then i slept.", ["i went home.", "then i slept."]),
        ("Dr. Smith met Mrs. Jones vs. them.", ["Dr. Smith met Mrs. Jones vs. them."]),
        ("Use fruit, e.g. apples. Done.", ["Use fruit, e.g. apples.", "Done."]),
        ("We meet on Jan. 5 at 3 p.m. sharp. Bye.", ["We meet on Jan. 5 at 3 p.m. sharp.", "Bye."]),
        ("J. Smith wrote v2.5 for $3.50. Read it.", ["J. Smith wrote v2.5 for $3.50.", "Read it."]),
        ("So do I. And you.", ["So do I.", "And you."]),
        ("Well... maybe not. Hm… yes", ["Well... maybe not.", "Hm… yes"]),
        ("Well... Maybe not.", ["Well...", "Maybe not."]),
        ('She said "Stop!" Then left. (Really.) Yes', ['She said "Stop!"', "Then left.", "(Really.)", "Yes"]),
        ("See https://a.b/c?d=E.f and x@y.org. Ok", ["See https://a.b/c?d=E.f and x@y.org.", "Ok"]),
        ("Great! 😊 See you", ["Great! 😊", "See you"]),
        ("one\n\ntwo\r\nthree", ["one", "two", "three"]),
        ("1. First. Again.\n2. Second\n- third", ["1. First.", "Again.", "2. Second", "- third"]),
        ("- \nalone", ["- alone"]),
        ("before\n---\nafter", ["before ---", "after"]),
        (
            "Run:\n```py\nx = 1.  # Why? Because.\n\ny = 2\n```\nDone. Bye",
            ["Run:", "```py\nx = 1.  # Why? Because.\n\ny = 2\n```", "Done.", "Bye"],
        ),
        ("```\nnever closed. x", ["```\nnever closed. x"]),
        ("我喜欢猫。你呢？好！", ["我喜欢猫。", "你呢？", "好！"]),
        ("「行く。」と言った。", ["「行く。」", "と言った。"]),
        ("मैं घर गया। फिर सोया।", ["मैं घर गया।", "फिर सोया।"]),
        ("สวัสดีครับ ผมชื่อจอห์น", ["สวัสดีครับ ผมชื่อจอห์น"]),
        ("", []),
        (" \n\t", []),
        ("😊", ["😊"]),
    ],
)
def test_a_message_is_split_where_a_reader_would(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="aI. !?…\n-*`~1)(\"'。！ 😊\u2028\x85\x1d"),
    st.lists(
        st.sampled_from(["Dr.", "I", "went", "3.50", "e.g.", "```", "\n", " ", "!", "- ", "1.", "。", "“", "”"])
    ).map("".join),
)


@given(TEXTS)
def test_no_character_is_lost_and_no_sentence_is_blank(text: str) -> None:
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(sentence.strip() for sentence in found)
    assert all(sentence == sentence.strip() for sentence in found)


@pytest.mark.parametrize("piece", [".", "J. ", "!? ", "a", "- ", "```\n", "。", "* \n", '"', "😊 "])
def test_long_runs_cost_in_proportion(piece: str) -> None:
    """A square of 60,000 would take minutes; the suite would not end."""
    text = piece * 60_000
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
