"""Rules make facts of what users and named speakers say, each resting on its message alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.extract import Roles, open_extractor
from lightmem_cli.records import Kind, Message, MessageKey, Role, entry_id

SAID = datetime(2023, 5, 24, 13, tzinfo=UTC)


def said(content: str, **fields: object) -> Message:
    known = {"conversation": "c", "session": "s", "id": "1", "position": 0, "role": Role.USER, "said_at": SAID}
    return Message(content=content, **(known | fields))  # type: ignore[arg-type]


def test_a_fact_keeps_its_source_time_and_words() -> None:
    message = said("Hey Maria! I moved to San Diego last week with my parrot.", speaker="John", agent="phone")
    (fact,) = open_extractor("rules").extract([message])
    assert fact.text == "John moved to San Diego last week with John's parrot."
    assert fact.kind is Kind.FACT
    assert fact.id == entry_id(Kind.FACT, "c", "s", fact.text, [message.key])
    assert fact.sources == (MessageKey("c", "s", "1"),)
    assert (fact.speaker, fact.agent, fact.said_at) == ("John", "phone", SAID)
    assert fact.happened == (datetime(2023, 5, 15, tzinfo=UTC), datetime(2023, 5, 22, tzinfo=UTC))
    assert fact.entities == ("San Diego",)
    assert fact.keywords[0] == "parrot"
    assert len(fact.keywords) <= 6
    assert 0 < fact.importance <= 1
    assert fact.recorded_at is None


def test_questions_small_talk_and_repetitions_are_left_out() -> None:
    message = said(
        "Wow! I adopted a parrot. Where do you live? i adopted a parrot. I adopted a  PARROT.", speaker="John"
    )
    assert [fact.text for fact in open_extractor("rules").extract([message])] == ["John adopted a parrot."]


def test_an_image_is_a_fact() -> None:
    message = said("", speaker="John", image_caption="a photo of a parrot on a bicycle")
    (fact,) = open_extractor("rules").extract([message])
    assert fact.text == "John shares a photo of a parrot on a bicycle"
    assert "photo" not in fact.keywords


@pytest.mark.parametrize(
    ("roles", "takers"),
    [("user", {"user", "named"}), ("assistant", {"assistant", "named"}), ("both", {"user", "assistant", "named"})],
)
def test_roles(roles: Roles, takers: set[str]) -> None:
    text = "I have a green parrot and an orange bicycle."
    messages = [
        said(text, id="user"),
        said(text, id="assistant", role=Role.ASSISTANT),
        said(text, id="named", role=Role.ASSISTANT, speaker="John"),
        said(text, id="system", role=Role.SYSTEM, speaker="John"),
        said(text, id="tool", role=Role.TOOL),
    ]
    found = open_extractor("rules", roles=roles).extract(messages)
    assert {fact.sources[0].id for fact in found} == takers


def test_a_lower_threshold_takes_more() -> None:
    message = said("Sounds good to me. I bought an orange bicycle.", speaker="John")
    counts = [len(open_extractor("rules", threshold=threshold).extract([message])) for threshold in (0.0, 0.25, 1.0)]
    assert counts == [2, 1, 0]


def test_other_languages_become_facts_unharmed() -> None:
    message = said("Ich wohne seit zwei Jahren mit meinem Papagei in Hamburg.", speaker="Anna")
    (fact,) = open_extractor("rules").extract([message])
    assert fact.text == message.content


@given(
    st.lists(st.tuples(st.text(), st.none() | st.sampled_from(["Ann", "Ørjan Å"]), st.none() | st.text()), max_size=5)
)
def test_a_messages_facts_depend_on_it_alone(rows: Sequence[tuple[str, str | None, str | None]]) -> None:
    extractor = open_extractor("rules", threshold=0.0)
    messages = [
        said(text, id=str(n), position=n, speaker=speaker, image_caption=caption)
        for n, (text, speaker, caption) in enumerate(rows)
    ]
    alone = [fact for message in messages for fact in extractor.extract([message])]
    assert extractor.extract(messages) == alone
    assert len({fact.id for fact in alone}) == len(alone)


def test_a_real_conversation_gives_a_few_facts_a_turn() -> None:
    path: Path = DATA / "locomo" / "conv-30.messages.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there: LIGHTMEM_DATA names the evaluation data")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    messages = [
        said(
            row["content"],
            id=row["id"],
            session=row["session"],
            speaker=row["speaker"],
            image_caption=row.get("image_caption"),
        )
        for row in rows
    ]
    facts = open_extractor("rules").extract(messages)
    assert 1 < len(facts) / len(messages) < 2.5
    assert not any(fact.text.endswith("?") for fact in facts)
