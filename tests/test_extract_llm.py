"""What a language model is shown of a conversation, and what its replies are taken for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import BadReply
from lightmem_cli.extract.llm import (
    HowToAsk,
    Line,
    cost_of,
    line_of,
    most_of,
    prompt_of,
    read_reply,
    schema_of,
    version_of,
)
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.llm.scripted import every_line_a_fact
from lightmem_cli.prompts import load
from lightmem_cli.records import Entry, Kind, Message, MessageKey, Role, entry_id

SAID = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
FLAT = HowToAsk(mode="flat", metadata=False, summary=False, threshold=0, zone=UTC)
EVENT = replace(FLAT, mode="event")
SUMMARY = replace(FLAT, summary=True)
METADATA = replace(FLAT, metadata=True)
LINE = re.compile(r"^(\d+) ([^:]+): (.*)$", re.MULTILINE)


def said(content: str, at: int = 1, **fields: object) -> Message:
    known = {"conversation": "c", "session": "s", "id": f"D{at}", "position": at, "role": Role.USER}
    return Message(content=content, **({"speaker": "Anna", "said_at": SAID} | known | fields))  # type: ignore[arg-type]


def lines(*messages: Message) -> list[Line]:
    return [line_of(message, None) for message in messages]


TALK = [
    lines(
        said("I went to a support group yesterday.", 1, speaker="Caroline"),
        said("Good for you! I'm off to Rome in June.", 2, speaker="Melanie"),
        said("We are both free on Sunday.", 3, speaker="Caroline"),
    )
]


def body(*topics: list[Line], how: HowToAsk = FLAT) -> list[str]:
    return prompt_of(topics, how).body.splitlines()


def read(reply: object, how: HowToAsk = FLAT, topics: list[list[Line]] = TALK) -> list[Entry]:
    text = reply if isinstance(reply, str) else json.dumps(reply)
    return read_reply(text, topics, how, model="scripted/test")


def refused(reply: object, how: HowToAsk = FLAT, topics: list[list[Line]] = TALK) -> str:
    with pytest.raises(BadReply) as bad:
        read(reply, how, topics)
    assert "\n" not in bad.value.message
    return bad.value.message


# ---- what is sent -----------------------------------------------------------------------------------------------


def test_a_talk_is_numbered_lines_under_the_date_it_was_said() -> None:
    assert body(TALK[0][:2], TALK[0][2:]) == [
        "<talk>",
        "## 2023-05-08 Mon 13:56",
        "1 Caroline: I went to a support group yesterday.",
        "2 Melanie: Good for you! I'm off to Rome in June.",
        "3 Caroline: We are both free on Sunday.",
        "</talk>",
    ]


def test_a_line_has_what_is_sent_of_a_message_and_all_of_its_caption() -> None:
    message = said("look\nat this", image_caption=" a photo of a dog ")
    assert line_of(message, None).text == "look\nat this [image: a photo of a dog]"
    assert line_of(message, "look").text == "look [image: a photo of a dog]"
    assert line_of(message, "").text == "[image: a photo of a dog]"
    assert line_of(said("hi", image_caption="  "), None).text == "hi"
    assert cost_of(line_of(message, None)) == "Anna: look / at this [image: a photo of a dog]"
    assert body([line_of(message, None)])[2] == f"1 {cost_of(line_of(message, None))}"


@pytest.mark.parametrize(
    ("later", "heading"),
    [
        ({}, None),
        ({"said_at": SAID + timedelta(minutes=60)}, None),
        ({"said_at": SAID + timedelta(minutes=61)}, "## 2023-05-08 Mon 14:57"),
        ({"said_at": SAID - timedelta(minutes=61)}, "## 2023-05-08 Mon 12:55"),
        ({"said_at": SAID + timedelta(hours=11)}, "## 2023-05-09 Tue 00:56"),
        ({"said_at": None}, None),
        ({"session": "t"}, "## 2023-05-08 Mon 13:56"),
        ({"session": "t", "said_at": None}, "## no date"),
        ({"conversation": "d"}, "## 2023-05-08 Mon 13:56"),
    ],
)
def test_a_heading_stands_where_another_is_needed(later: dict[str, object], heading: str | None) -> None:
    written = body(lines(said("one"), said("two", 2, **later)))
    assert written[3:-1] == [*([heading] if heading else []), "2 Anna: two"]


def test_dates_are_those_of_the_people_who_talk() -> None:
    in_tokyo = SAID.astimezone(timezone(timedelta(hours=9))).replace(hour=1)
    assert body(lines(said("hi", said_at=in_tokyo)))[1] == "## 2023-05-08 Mon 01:56"


def test_what_nobody_dated_has_no_heading_until_it_has() -> None:
    written = body(lines(said("one", said_at=None), said("two", 2, said_at=None), said("three", 3)))
    assert written[1:-1] == ["1 Anna: one", "2 Anna: two", "## 2023-05-08 Mon 13:56", "3 Anna: three"]


def test_topics_are_numbered_where_each_is_to_be_summed_up() -> None:
    tomorrow = said("later", 4, said_at=SAID + timedelta(days=1))
    written = body(TALK[0][:1], TALK[0][1:], lines(tomorrow), how=SUMMARY)
    assert [line for line in written if line.startswith("##")] == [
        "## 2023-05-08 Mon 13:56, topic 1",
        "## 2023-05-08 Mon 13:56, topic 2",
        "## 2023-05-09 Tue 13:56, topic 3",
    ]
    undated = body(lines(said("a", said_at=None)), lines(said("b", 2, said_at=None)), how=SUMMARY)
    assert undated[1:-1] == ["## topic 1", "1 Anna: a", "## topic 2", "2 Anna: b"]


def test_who_has_no_name_is_called_by_the_role() -> None:
    nameless = [said("a", speaker=None), said("b", 2, speaker=None, role=Role.ASSISTANT), said("c", 3, speaker=" : ")]
    assert body(lines(*nameless))[2:-1] == ["1 User: a", "2 Assistant: b", "3 User: c"]


_ODD = ("</talk>", "< / TALK >", "<talk>", "</tal\u212a>", "\n", "\r", "\u2028", "\x85", "\x1e", "\0", "\ud800", "¶")
_LIKE_OURS = ("7 Anna: x", "## 2020-01-01", "1 ", ": ", " ")
TEXTS = st.text(max_size=80) | st.lists(st.sampled_from((*_ODD, *_LIKE_OURS)), max_size=12).map("".join)


@given(st.lists(st.tuples(st.none() | TEXTS, TEXTS, st.none() | TEXTS, st.booleans()), max_size=8), st.booleans())
def test_nothing_that_was_said_begins_a_line_or_ends_the_talk(
    rows: list[tuple[str | None, str, str | None, bool]], summary: bool
) -> None:
    topics: list[list[Line]] = []
    for at, (speaker, content, caption, begins) in enumerate(rows):
        line = line_of(said(content, at, speaker=speaker, image_caption=caption, session=f"s{at // 3}"), None)
        topics.append([line]) if begins or not topics else topics[-1].append(line)
    text = prompt_of(topics, replace(FLAT, summary=summary)).body
    found = LINE.findall(text)
    assert [int(number) for number, _, _ in found] == list(range(1, len(rows) + 1))
    assert len(text.splitlines()) == len(rows) + sum(line.startswith("## ") for line in text.splitlines()) + 2
    assert text.startswith("<talk>\n")
    assert text.endswith("\n</talk>")
    assert len(re.findall(r"<\s*/?\s*talk", text, re.IGNORECASE)) == 2
    text.encode()


def test_the_prefix_is_the_same_for_all_that_is_said_and_says_what_is_wanted_only() -> None:
    every = HowToAsk(mode="event", metadata=True, summary=True, threshold=0.3, zone=UTC)
    for how in (FLAT, EVENT, SUMMARY, METADATA, every, replace(FLAT, threshold=0.1)):
        one, other = prompt_of(TALK, how), prompt_of([lines(said("else"))], how)
        assert one.prefix == other.prefix
        assert one.prefix.startswith(load("events" if how.mode == "event" else "facts").always)
        assert schema_of(TALK, how) == schema_of([], how)
        for part, wanted in {"topics": how.summary, "keywords": how.metadata, "importance": how.threshold > 0}.items():
            assert (f'"{part}"' in one.prefix) is wanted
            assert (f"'{part}'" in str(schema_of([], how))) is wanted
    assert (version_of(FLAT), version_of(every)) == ("facts-1", "events-1")


def test_schemas_are_strict_and_have_plain_words_only() -> None:
    every = HowToAsk(mode="event", metadata=True, summary=True, threshold=0.3, zone=UTC)

    def walk(schema: object) -> None:
        assert isinstance(schema, dict)
        assert set(schema) <= {"type", "properties", "required", "additionalProperties", "items"}
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            for inner in schema["properties"].values():
                walk(inner)
        if schema["type"] == "array":
            walk(schema["items"])

    walk(schema_of([], every))
    facts = schema_of([], every)["properties"]["facts"]  # type: ignore[index]
    assert list(facts["items"]["properties"]) == ["of", "text", "importance", "keywords", "entities", "category"]


def test_the_reply_may_be_twice_what_all_lines_say_within_bounds() -> None:
    short = [lines(said("hi"))]
    assert most_of(short, FLAT) == 400
    talk = [lines(*(said("So we went on to Lisbon with the two kids and the dog. " * 4, at) for at in range(30)))]
    every_line = count_tokens(every_line_a_fact(prompt_of(talk, FLAT)))
    assert 1.5 * every_line <= most_of(talk, FLAT) <= 3 * every_line
    assert most_of(talk, FLAT) < most_of(talk, METADATA) < most_of(talk, replace(METADATA, mode="event"))
    assert most_of(talk, SUMMARY) == most_of(talk, FLAT) + 100
    chinese = [lines(*(said("我们带着两个孩子和狗去了里斯本。" * 4, at) for at in range(30)))]
    assert most_of(chinese, FLAT) >= 30 * 80
    assert most_of([lines(said("x" * 1_000_000))], EVENT) == 8000


# ---- what is taken of a reply -----------------------------------------------------------------------------------


def test_a_fact_has_the_time_place_and_sources_of_its_lines() -> None:
    text = "Caroline went to a support group on 7 May 2023."
    (fact,) = read({"facts": [{"of": [3, 1], "text": f" {text}\n"}]})
    keys = (MessageKey("c", "s", "D1"), MessageKey("c", "s", "D3"))
    assert fact == Entry(
        id=entry_id(Kind.FACT, "c", "s", text, keys),
        kind=Kind.FACT,
        text=text,
        conversation="c",
        session="s",
        sources=keys,
        speaker="Caroline",
        said_at=SAID,
        happened=(datetime(2023, 5, 7, tzinfo=UTC), datetime(2023, 5, 8, tzinfo=UTC)),  # type: ignore[arg-type]
        keywords=fact.keywords,
        entities=fact.entities,
        prompt="facts-1",
        model="scripted/test",
    )
    assert "support" in fact.keywords


def test_what_several_said_has_no_single_speaker_and_is_of_the_first_session_and_the_last_moment() -> None:
    last = said("Me too.", 9, session="t", speaker="Melanie", agent="phone", said_at=SAID + timedelta(days=3))
    (fact,) = read({"facts": [{"of": [4, 1], "text": "Both went yesterday."}]}, topics=[*TALK, lines(last)])
    assert (fact.speaker, fact.agent, fact.session) == (None, None, "s")
    assert fact.said_at == last.said_at
    assert [key.session for key in fact.sources] == ["s", "t"]
    assert fact.happened is not None
    assert fact.happened.start == datetime(2023, 5, 10, tzinfo=UTC)


def test_days_in_what_nobody_dated_are_those_of_the_profiles_zone() -> None:
    how = replace(FLAT, zone=ZoneInfo("Europe/Berlin"))
    (fact,) = read({"facts": [{"text": "Anna moved on 8 May 2023."}]}, how, [lines(said("so", said_at=None))])
    assert fact.said_at is None
    assert fact.happened is not None
    assert fact.happened.start.isoformat() == "2023-05-08T00:00:00+02:00"


def test_every_line_is_a_fact_of_its_own_line() -> None:
    facts = read(every_line_a_fact(prompt_of(TALK, FLAT)))
    assert [(fact.text.split()[0], fact.sources[0].id) for fact in facts] == [
        ("Caroline", "D1"),
        ("Melanie", "D2"),
        ("Caroline", "D3"),
    ]


def test_relations_rest_on_the_same_lines_as_facts() -> None:
    reply = {
        "facts": [{"of": [1], "text": "Melanie is glad for Caroline."}],
        "relations": [{"of": [1], "text": "Melanie is glad for Caroline."}],
    }
    fact, relation = read(reply, EVENT)
    assert (fact.kind, relation.kind) == (Kind.FACT, Kind.RELATION)
    assert fact.sources == relation.sources
    assert fact.id != relation.id
    assert relation.prompt == "events-1"
    assert read({"facts": []}, EVENT) == []
    assert [entry.kind for entry in read(reply, FLAT)] == [Kind.FACT]


def test_a_topics_summary_rests_on_all_of_its_lines() -> None:
    topics = [TALK[0][:1], TALK[0][1:]]
    reply = {"facts": [], "topics": [{"topic": 2, "summary": "They plan."}, {"topic": 1, "summary": "A group."}]}
    first, second = read(reply, SUMMARY, topics)
    assert (first.kind, first.text, second.text) == (Kind.SUMMARY, "A group.", "They plan.")
    assert [key.id for key in second.sources] == ["D2", "D3"]
    assert (first.importance, second.speaker) == (0.5, None)
    assert read(reply, FLAT, topics) == []  # nobody asked
    wrong = {"facts": [], "topics": [{"topic": 3, "summary": "They plan."}]}
    assert refused(wrong, SUMMARY, topics) == "topics[0] names topic 3: they are numbered from 1 to 2"
    assert [entry.text for entry in read({"facts": [], "topics": [{"topic": 7, "summary": "All."}]}, SUMMARY)] == [
        "All."
    ]


def test_metadata_is_the_models_where_it_was_asked_for() -> None:
    item = {"of": [2], "text": "Melanie travels to Rome in June 2023.", "category": "Travel"}
    item |= {"keywords": ["Rome", "rome", " ", 3, "trip"], "entities": "Melanie, Rome"}
    (fact,) = read({"facts": [item]}, METADATA)
    assert fact.keywords == ("Travel", "Rome", "trip")
    assert fact.entities == ("Melanie", "Rome")
    (plain,) = read({"facts": [item]})
    assert "Travel" not in plain.keywords
    (bare,) = read({"facts": [{"of": [2], "text": item["text"], "keywords": None, "category": 4}]}, METADATA)
    assert (bare.keywords, bare.entities) == (plain.keywords, plain.entities)


@pytest.mark.parametrize(
    ("given", "importance"),
    [(7, 0.7), ("7", 0.7), (10, 1), (99, 1), (-3, 0), (0.4, 0.4), (1, 0.1), (None, 0.5), ("high", 0.5), ([], 0.5)],
)
def test_importance_is_of_ten(given: object, importance: float) -> None:
    (fact,) = read({"facts": [{"of": [1], "text": "Caroline went.", "importance": given}]})
    assert fact.importance == importance


def test_what_is_less_important_than_the_threshold_is_left_out() -> None:
    facts = [{"of": [1], "text": f"Caroline said {n}.", "importance": n} for n in range(11)]
    how = replace(FLAT, threshold=0.3)
    assert [fact.importance for fact in read({"facts": facts}, how)] == [n / 10 for n in range(3, 11)]
    assert len(read({"facts": [{"of": [1], "text": "Caroline went."}]}, how)) == 1  # it gave none


def test_nothing_worth_remembering_is_an_answer() -> None:
    assert read({"facts": []}) == []
    assert read('```json\n{"facts": []}\n```') == []


@pytest.mark.parametrize(
    ("of", "ids"), [(["2"], ["D2"]), (2, ["D2"]), ([2.0, 2], ["D2"]), ([3, 1, 3], ["D1", "D3"]), ("2", ["D2"])]
)
def test_numbers_may_be_written_otherwise(of: object, ids: list[str]) -> None:
    (fact,) = read({"facts": [{"of": of, "text": "It was said."}]})
    assert [key.id for key in fact.sources] == ids


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ([9, 1, 0], 'facts[0] names line 0, 9, which is not there: "of" has numbers from 1 to 3'),
        ([-1], 'facts[0] names line -1, which is not there: "of" has numbers from 1 to 3'),
        ([], 'facts[0] names no line: "of" has numbers from 1 to 3'),
    ],
)
def test_lines_that_are_not_there_are_refused(of: list[int], message: str) -> None:
    assert refused({"facts": [{"of": of, "text": "Anna went."}]}) == message


@pytest.mark.parametrize("of", [[7], [], "line", None, {"a": 1}])
def test_of_a_single_line_any_number_is_that_line(of: object) -> None:
    (fact,) = read({"facts": [{"of": of, "text": "Anna went."}]}, topics=[lines(said("I went", 5))])
    assert fact.sources == (MessageKey("c", "s", "D5"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I'm sorry, but I can't help with that.", "is a refusal"),
        ("in the third person and the talk's own language, with names instead of pronouns", "repeats the instructions"),
        ("x " * 3000, "has more than 4,000 characters"),
    ],
)
@pytest.mark.parametrize("key", ["facts", "relations"])
def test_texts_that_nobody_said_are_refused(text: str, why: str, key: str) -> None:
    good = {"of": [1], "text": "Caroline went to a group."}
    message = refused({"facts": [], key: [good, {"of": [1], "text": text}]}, EVENT)
    assert message.startswith(f"{key}[1] {why}")
    assert "sorry" not in message


def test_instructions_that_somebody_did_say_are_no_echo() -> None:
    ours = load("facts").always.split("\n\n")[1]
    topics = [lines(said("Hello there.", 1), said(ours, 2))]
    echo = f"Anna reads: {ours[:90]}"
    assert len(read({"facts": [{"of": [2], "text": echo}]}, topics=topics)) == 1
    assert "facts[0] repeats the instructions" in refused({"facts": [{"of": [1], "text": echo}]}, topics=topics)


@pytest.mark.parametrize("text", ["", " \n", "...", "…", "None.", "N/A", "No facts.", "There is nothing worth noting."])
def test_what_says_nothing_is_no_fact_and_no_answer_either(text: str) -> None:
    empty = {"of": [], "text": text}
    assert [fact.text for fact in read({"facts": [empty, {"of": [1], "text": "Caroline went."}]})] == ["Caroline went."]
    assert refused({"facts": [empty]}).startswith("no fact has a text")


def test_nothing_and_no_one_may_begin_a_fact() -> None:
    texts = ["Nothing scares Caroline.", "No dog of Caroline's bites.", "Nobody knows that Anna left."]
    assert len(read({"facts": [{"of": [1], "text": text} for text in texts]})) == 3


def test_a_text_is_one_line_without_control_characters_and_not_too_long() -> None:
    reply = {"facts": [{"of": [1], "text": "Caroline\n\twent\u0000 \u0007home\ud800. " + "Then on. " * 100}]}
    (fact,) = read(reply)
    assert fact.text.startswith("Caroline went home")
    assert len(fact.text) <= 600
    assert fact.text.endswith("Then on.…") or fact.text.endswith("Then…")
    fact.text.encode()


def test_the_same_of_the_same_lines_is_one_fact() -> None:
    twice = [{"of": [1, 3], "text": "Caroline went."}, {"of": [3, 1], "text": " caroline  WENT"}]
    assert len(read({"facts": twice})) == 1
    assert len(read({"facts": [*twice, {"of": [1], "text": "Caroline went."}]})) == 2


def test_more_facts_than_anybody_can_have_said_are_refused() -> None:
    facts = [{"of": [1], "text": f"Fact {n} was said."} for n in range(10_000)]
    assert refused({"facts": facts}).startswith("10,000 facts of 3 lines are too many")
    assert len(read({"facts": facts[:20]})) == 20
    long = [lines(said("So much was said here. " * 100))]
    assert len(read({"facts": facts[:45]}, topics=long)) == 45


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "the reply was empty"),
        ("I noted that.", "no JSON"),
        ('{"facts": [{"of": [1], "te', "cut off"),
        ({"relations": []}, "facts"),
        ({"facts": ["Anna went."]}, "facts"),
        ({"facts": [{"of": [1]}]}, "text"),
        ({"facts": {"of": [1], "text": "x"}}, "facts"),
        (schema_of([], FLAT), "schema"),
    ],
)
def test_what_is_no_reply_is_refused(reply: object, why: str) -> None:
    assert why in refused(reply)


NUMBERS = st.integers(-2, 5) | st.sampled_from(["1", "x", None])
ITEMS = st.fixed_dictionaries(
    {"of": st.lists(NUMBERS, max_size=3) | NUMBERS, "text": TEXTS | st.none()},
    optional={"importance": st.integers() | st.text(max_size=3), "keywords": st.lists(TEXTS, max_size=2) | TEXTS},
)


@given(st.lists(ITEMS, max_size=6), st.lists(ITEMS, max_size=3), st.booleans())
def test_whatever_comes_is_either_refused_or_entries_that_reach_their_messages(
    facts: list[dict[str, object]], relations: list[dict[str, object]], metadata: bool
) -> None:
    how = replace(EVENT, metadata=metadata, threshold=0.2)
    try:
        entries = read({"facts": facts, "relations": relations}, how)
    except BadReply as bad:
        assert bad.message
        return
    known = [line.message.key for line in TALK[0]]
    assert len({entry.id for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.sources
        assert list(entry.sources) == [key for key in known if key in entry.sources]
        assert entry.id == entry_id(entry.kind, "c", "s", entry.text, entry.sources)
        assert entry.text == " ".join(entry.text.split())
        assert 0 < len(entry.text) <= 600
        assert 0.2 <= entry.importance <= 1
        "".join((entry.text, *entry.keywords, *entry.entities)).encode()
