"""Names are found where capitals mean something, and a question's speakers by name, first name or nickname."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.language.names import entities, named_speakers


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("I saw the Golden Gate Bridge with Melanie's dog.", ("Golden Gate Bridge", "Melanie")),
        ("She left NASA for the University of California.", ("NASA", "University of California")),
        ("Yesterday was fun. Running helps. The end.", ()),
        ("On Monday in May we met.", ()),
        ("I love it, and It's great.", ()),
        ("I LOVE THIS SO MUCH", ()),
        ("How To Train Your Dragon At Home", ()),
        ("Bob Dylan and Joan Baez sang in Oslo. Oslo!", ("Bob Dylan", "Joan Baez", "Oslo")),
        ("Ich habe den Hund im Garten gesehen und die Katze auch.", ()),
        ("我喜欢猫", ()),
        ("", ()),
    ],
)
def test_entities(text: str, names: tuple[str, ...]) -> None:
    assert entities(text) == names


SPEAKERS = ["Melanie", "Gina", "John Smith", "Will", "小明"]


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("What did Mel do?", ("Melanie",)),
        ("where is gina's dog", ("Gina",)),
        ("Did John Smith call Melanie?", ("Melanie", "John Smith")),
        ("What does John like?", ("John Smith",)),
        ("Will it rain?", ()),
        ("Where did Will go?", ("Will",)),
        ("Is Will's dog old?", ("Will",)),
        ("Is Ginas here?", ()),
        ("Me or Me?", ()),
        ("小明喜欢什么？", ("小明",)),
        ("", ()),
    ],
)
def test_named_speakers(question: str, named: tuple[str, ...]) -> None:
    assert named_speakers(question, SPEAKERS) == named


def test_what_could_mean_two_names_neither() -> None:
    assert named_speakers("What did Mel do?", ["Melanie", "Melissa"]) == ()
    assert named_speakers("What did John do?", ["John Smith", "John Brown"]) == ()
    assert named_speakers("What did Joh do?", ["John", "Johanna"]) == ()
    assert named_speakers("What did John do?", ["John", "Johnny"]) == ("John",)


@given(st.text(), st.lists(st.text()))
def test_any_text_is_read(text: str, speakers: list[str]) -> None:
    assert set(named_speakers(text, speakers)) <= set(speakers)
    assert len(set(entities(text))) == len(entities(text))


@pytest.mark.parametrize("piece", ["A ", "A of ", "Ann of ", "John. ", "john "])
def test_long_runs_cost_in_proportion(piece: str) -> None:
    assert len(entities(piece * 60_000)) <= 1
