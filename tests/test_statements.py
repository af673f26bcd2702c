"""A sentence becomes one that stands alone, with its speaker's name, and what is not English stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.language.sentences import sentences
from lightmem_cli.language.statements import statements
from lightmem_cli.records import Message, Role


def said(
    content: str, *, speaker: str | None = "Caroline", role: Role = Role.USER, image: str | None = None
) -> Message:
    return Message(
        conversation="",
        session="s",
        id="1",
        position=0,
        role=role,
        content=content,
        speaker=speaker,
        image_caption=image,
    )


@pytest.mark.parametrize(
    ("sentence", "statement"),
    [
        ("I'm tired and I've been ill.", "Caroline is tired and Caroline has been ill."),
        ("I am here, I was there, and I have a dog.", "Caroline is here, Caroline was there, and Caroline has a dog."),
        ("I don't think so, but I haven't asked.", "Caroline doesn't think so, but Caroline hasn't asked."),
        ("I really love my kids.", "Caroline really loves Caroline's kids."),
        (
            "I try, I go, I wish, and I carry on.",
            "Caroline tries, Caroline goes, Caroline wishes, and Caroline carries on.",
        ),
        ("I went to Rome by myself.", "Caroline went to Rome by Caroline."),
        ("I'd love to, and I'd already been there.", "Caroline would love to, and Caroline had already been there."),
        ("I'll see what I can do.", "Caroline will see what Caroline can do."),
        ("I gotta go, I wanna sleep.", "Caroline has to go, Caroline wants to sleep."),
        ("We went camping with our dog.", "Caroline went camping with Caroline's dog."),
        ("They gave me a book, and it is mine.", "They gave Caroline a book, and it is Caroline's."),
        ("My mom and I love it.", "Caroline's mom and Caroline love it."),
        ("What should I do?", "What should Caroline do?"),
        ("Just got back from a trip.", "Caroline just got back from a trip."),
        ("Been busy with the move.", "Caroline has been busy with the move."),
        ("Glad that you liked it.", "Caroline is glad that you liked it."),
        ("Did they sign it for you?", "Did they sign it for you?"),
        ('The sign said "I love my town" and it was big.', 'Caroline: The sign said "I love my town" and it was big.'),
        ("The book on World War I was long.", "Caroline: The book on World War I was long."),
        ("I’m sure it’s **great**.", "Caroline is sure it’s great."),
        ("- I love the sea", "Caroline loves the sea"),
        ("Kickboxing is a way to stay in shape.", "Caroline: Kickboxing is a way to stay in shape."),
        ("I moved to Los Angeles.", "Caroline moved to Los Angeles."),
        ("No way!", "Caroline: No way!"),
        ("My dog died.", "Caroline's dog died."),
        ("Made me smile.", "Made Caroline smile."),
        ("What have you been up to?", "What have you been up to?"),
    ],
)
def test_first_person_becomes_the_speaker(sentence: str, statement: str) -> None:
    (found,) = statements(said(sentence))
    assert (found.sentence, found.text) == (sentence, statement)


@pytest.mark.parametrize(
    "text",
    [
        "Ich habe my Handy nicht gefunden.",
        "I ragazzi sono andati al mare con me e mio padre.",
        "I dag var vi i skolen og det var sjovt.",
        "My idziemy do domu.",
        "Elle me dit que je suis en retard.",
        "We gaan morgen naar de zee met het hele gezin.",
        "Me gusta el mar y yo no soy de Madrid.",
        "我喜欢 I love 这个地方，我的朋友也喜欢。",
        "Мы едем домой.",
        "สวัสดีครับ ผมชื่อจอห์น",
    ],
)
def test_other_languages_stay_as_they_are(text: str) -> None:
    assert [statement.text for statement in statements(said(text))] == sentences(text)
    assert all(statement.information > 0.25 for statement in statements(said(text)))


def test_roles_stand_in_for_missing_names() -> None:
    assert statements(said("I have a dog.", speaker=None))[0].text == "User has a dog."
    assert (
        statements(said("I found my notes.", speaker=None, role=Role.ASSISTANT))[0].text
        == "Assistant found Assistant's notes."
    )
    assert statements(said("The sea is blue and deep.", speaker=None))[0].text == "The sea is blue and deep."
    assert statements(said("I have found my error.", speaker=None, role=Role.TOOL))[0].text == "I have found my error."


def test_names_in_s_and_of_several_words() -> None:
    assert statements(said("I love my cat.", speaker="James Lee"))[0].text == "James Lee loves James Lee's cat."


@pytest.mark.parametrize(
    "caption", ["a photo of a dog on a beach", "a photography of a dog on a beach", "a dog on a beach"]
)
def test_an_image_is_shared(caption: str) -> None:
    told, shown = statements(said("Look at this!", image=caption))
    assert told.text == "Caroline: Look at this!"
    assert shown.text == "Caroline shares a photo of a dog on a beach"
    assert not shown.is_question


def test_code_is_kept() -> None:
    code = "```py\nI = my + 1\n```"
    assert [statement.text for statement in statements(said(f"I wrote this:\n{code}"))] == [
        "Caroline wrote this:",
        code,
    ]


@pytest.mark.parametrize("question", ["What's up?", "Really?!", '"Why?"', "本当ですか？", "You there? 😊"])
def test_questions_are_known(question: str) -> None:
    assert statements(said(question))[-1].is_question


def test_information_tells_facts_from_small_talk() -> None:
    talk = [
        "Wow!",
        "Hey John!",
        "That's awesome, John!",
        "Thanks, Maria.",
        "Good to see you.",
        "It's great to hear that.",
    ]
    facts = [
        "I joined a service-focused online group.",
        "My car broke down.",
        "I'm allergic to peanuts.",
        "My sister lives in Oslo.",
        "The meeting is on 14 June at 10:30.",
    ]
    most = max(statements(said(text))[0].information for text in talk)
    least = min(statements(said(text))[0].information for text in facts)
    assert most < 0.25 < least


@given(
    st.one_of(st.text(), st.text(alphabet="I'm meywu’ .,?\"`\n*#-1İß")),
    st.none() | st.text(min_size=1),
    st.none() | st.text(),
)
def test_any_text_gives_one_statement_a_sentence(content: str, speaker: str | None, caption: str | None) -> None:
    found = statements(said(content, speaker=speaker, image=caption))
    expected = sentences(content)
    assert [statement.sentence for statement in found[: len(expected)]] == expected
    assert len(found) - len(expected) == bool(caption and caption.strip())
    assert all(statement.text.strip() for statement in found[: len(expected)])
    assert all(0 <= statement.information <= 1 for statement in found)


@pytest.mark.parametrize("piece", ['"a" I love ', "My dog and I ", "I ", ", ", "I'd so really "])
def test_long_sentences_cost_in_proportion(piece: str) -> None:
    assert len(statements(said("The " + piece * 20_000))) == 1
