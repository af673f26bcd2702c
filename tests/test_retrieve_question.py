from __future__ import annotations

from datetime import UTC, datetime

from lightmem_cli.retrieve.question import MOST_TERMS, quotes, read_question


def test_terms_are_distinct_and_leave_out_the_speakers() -> None:
    asked = read_question(
        "Did Mel swim while Caroline was swimming in Caroline's pool?", speakers=["Caroline", "Melanie"], asked_at=None
    )
    assert asked.terms == ("swim", "pool")
    assert asked.speaker is None  # it names two


def test_a_speaker_alone_is_still_searched_for() -> None:
    asked = read_question("Who is Caroline?", speakers=["Caroline", "Melanie"], asked_at=None)
    assert asked.terms
    assert asked.speaker == "Caroline"


def test_quoted_phrases_match_whatever_their_case_marks_and_spaces() -> None:
    asked = read_question("Who read “Nothing is  Impossible,” last?", speakers=[], asked_at=None)
    assert asked.quoted == ("nothing is impossible",)
    assert quotes("I love Nothing Is\nImpossible!", asked.quoted)
    assert not quotes("Nothing was impossible.", asked.quoted)


def test_relative_times_are_resolved_against_the_asking_only() -> None:
    asked_at = datetime(2023, 10, 22, tzinfo=UTC)
    assert read_question("What did I do yesterday?", speakers=[], asked_at=None).times == ()
    (days,) = read_question("What did I do yesterday?", speakers=[], asked_at=asked_at).times
    assert (days.start.day, days.end.day) == (21, 22)
    (month,) = read_question("What happened in July 2022?", speakers=[], asked_at=None).times
    assert (month.start.year, month.start.month) == (2022, 7)


def test_a_pasted_page_is_cut() -> None:
    page = " ".join(f"word{n}" for n in range(500))
    assert len(read_question(page, speakers=[], asked_at=None).terms) == MOST_TERMS


def test_text_that_is_not_english_keeps_its_terms() -> None:
    assert read_question("什么时候去北京", speakers=["小明"], asked_at=None).terms
