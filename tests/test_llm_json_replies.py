"""What is found in a model's reply, what is refused in which words, and that nothing cut off is ever taken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import BadReply
from lightmem_cli.llm.json_replies import read_object
from lightmem_cli.llm.refusals import echoes, refuses

FACTS = {
    "type": "object",
    "properties": {
        "facts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "of": {"type": "array", "items": {"type": "integer"}},
                    "text": {"type": "string"},
                    "importance": {"type": "integer"},
                    "keywords": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["of", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["facts"],
    "additionalProperties": False,
}
DECISION = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["keep", "merge", "drop"]},
        "into": {"type": "integer"},
        "sure": {"type": "boolean"},
        "weight": {"type": "number"},
    },
    "required": ["action"],
    "additionalProperties": False,
}
ONE = {"facts": [{"of": [1, 2], "text": "Anna lives in Oslo."}]}
SAID = json.dumps(ONE)


def wrong(text: str, like: object = FACTS) -> str:
    with pytest.raises(BadReply) as refused:
        read_object(text, like=like)  # type: ignore[arg-type]
    assert "\n" not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize(
    "reply",
    [
        SAID,
        f"\ufeff{SAID}",
        f"\n\n  {SAID}\n",
        f"```json\n{SAID}\n```",
        f"```\n{SAID}```",
        f"Here are the facts [1] you asked for:\n\n```json\n{SAID}\n```\nLet me know if you need more!",
        f"Sure! {SAID} I hope that helps {{smiling}}.",
        f'In the form {{"facts": [...]}} that is: {SAID}',
        f'The form is {{"facts": <facts>}}. {SAID}',
        f'<think>First, {{"facts": []}} would be wrong.\n</think>\n{SAID}',
        f"<thinking>hm</thinking>{SAID}",
        f"The opening tag was lost, {{so}} this is a thought.\n</think>\n\n{SAID}",
        f"{SAID}\n{SAID}",
        f"{SAID}{json.dumps(ONE, indent=2)}",
        f"{json.dumps(FACTS)}\n\n{SAID}",
        f"As JSON Schema wants it: {SAID} and so on",
        SAID.replace("[1, 2]", '["1", " 2 "]'),
        SAID.replace("[1, 2]", "[1.0, 2]"),
        SAID.replace('"of"', '"keywords": null, "importance": null, "of"'),
    ],
)
def test_the_object_is_found_in_whatever_it_is_wrapped(reply: str) -> None:
    assert read_object(reply, like=FACTS) == ONE


def test_an_empty_valid_answer_is_an_answer() -> None:
    assert read_object('{"facts": []}', like=FACTS) == {"facts": []}
    assert read_object('```json\n{ "facts" : [ ] }\n```', like=FACTS) == {"facts": []}


@pytest.mark.parametrize("alone", ["3", '"3"', "3.0", '" 3"'])
def test_an_integer_alone_is_a_list_of_one(alone: str) -> None:
    assert read_object(f'{{"facts": [{{"of": {alone}, "text": "x"}}]}}', like=FACTS) == {
        "facts": [{"of": [3], "text": "x"}]
    }


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("", "the reply was empty"),
        (" \n\ufeff", "the reply was empty"),
        ("<think>I wonder</think>", "the reply was empty"),
        ("<think>I wonder", "cut off while thinking"),
        ("There is nothing to note here.", "the reply has no JSON: write one JSON object with the key facts"),
        ("I'm sorry, but I can't help with that.", "the reply is a refusal"),
        ("As an AI language model, I do not extract facts about people.", "the reply is a refusal"),
        ("{'facts': []}", "keys and strings stand in double quotes"),
        ("[]", "the reply is a JSON array"),
        (json.dumps(ONE["facts"]), "the reply is a JSON array: write one JSON object with the key facts"),
        (json.dumps([ONE]), "the reply is a JSON array"),
        ('"facts"', "the reply has no JSON"),
        (json.dumps(FACTS), "repeats the schema instead of filling it in: write an object with the key facts"),
        ('{"$schema": "https://json-schema.org/draft/2020-12/schema"}', "repeats the schema"),
        ('{"type": "object", "facts": []}', "repeats the schema"),
        ("{}", 'the key "facts" is missing'),
        ('{"Facts": []}', 'the key "facts" is missing; the key "Facts" is none of those asked for'),
        ('{"facts": null}', 'the key "facts" is missing'),
        ('{"facts": {}}', "facts must be an array of objects, and is an object"),
        ('{"facts": "none"}', "facts must be an array of objects, and is a string"),
        ('{"facts": ["Anna lives in Oslo"]}', "facts[0] must be an object, and is a string"),
        (
            '{"facts": [{"of": [1], "text": "x"}, {"of": [1]}]}',
            'the key "text" is missing in facts[1]',
        ),
        (
            '{"facts": [{"of": "one", "text": "x"}]}',
            "facts[0].of must be an array of integers, and is a string",
        ),
        ('{"facts": [{"of": [1, "b"], "text": "x"}]}', "facts[0].of[1] must be an integer, and is a string"),
        ('{"facts": [{"of": [true], "text": "x"}]}', "facts[0].of[0] must be an integer, and is true or false"),
        ('{"facts": [{"of": [1.5], "text": "x"}]}', "facts[0].of[0] must be an integer, and is a number"),
        ('{"facts": [{"of": [1e999], "text": "x"}]}', "facts[0].of[0] must be an integer"),
        (f'{{"facts": [{{"of": [{"9" * 5000}], "text": "x"}}]}}', "facts[0].of[0] must be an integer"),
        ('{"facts": [{"of": [1], "text": ["x"]}]}', "facts[0].text must be a string, and is an array"),
        ('{"facts": [{"of": [1], "text": "x", "why": 1}]}', 'the key "why" in facts[0] is none of those asked for'),
        ('{"facts": [{"of": [1] "text": "x"}]}', "the JSON is not valid in line 1, column 23: expecting ',' delimiter"),
        ('{"facts": [{"of": [1], "text": "x",}]}', "the JSON is not valid in line 1"),
        ('{"facts": [], "facts": [{"of": [1], "text": "x"}]}', 'the key "facts" is given twice'),
        ('{"facts": []}\n{"facts": [{"of": [1], "text": "x"}]}', "several JSON objects that differ"),
        ('{"facts": [{"of": [1], "text": "x"', "cut off in the middle of its JSON"),
        ('```json\n{"facts": [{"of": [1], "te\n```', "cut off in the middle of its JSON"),
        (f'{SAID}\n{{"facts": [', "cut off in the middle of its JSON"),
        ('{"facts": [{"of" [1]}]}\n{"facts": []}', "the JSON is not valid"),
    ],
)
def test_what_is_refused_and_in_which_words(reply: str, words: str) -> None:
    assert words in wrong(reply)


def test_three_mistakes_are_named_and_the_others_counted() -> None:
    facts = json.dumps({"facts": [{"of": ["a"], "text": "x"}] * 7})
    assert wrong(facts).endswith("facts[2].of[0] must be an integer, and is a string, and 4 more such mistakes")


def test_what_was_said_is_not_quoted() -> None:
    secret = "Anna told Ben about the operation"
    for reply in (
        json.dumps({"facts": [secret]}),
        json.dumps({"facts": secret}),
        f'{{"facts": [{{"of": [1] "text": "{secret}"}}]}}',
        secret,
        f'{{"facts": ["{secret}',
    ):
        assert "Anna" not in wrong(reply)


def test_choices_nulls_and_other_types() -> None:
    assert read_object('{"action": " Merge", "into": "4", "sure": "true", "weight": "0.5"}', like=DECISION) == {
        "action": "merge",
        "into": 4,
        "sure": True,
        "weight": 0.5,
    }
    assert read_object('{"action": "keep", "into": null, "weight": NaN}', like=DECISION) == {"action": "keep"}
    assert wrong('{"action": "eat", "into": 1}', DECISION) == 'action must be one of "keep", "merge", "drop"'
    assert wrong('{"action": null}', DECISION) == 'the key "action" is missing'
    assert "into must be an integer, and is a string" in wrong('{"action": "keep", "into": "x"}', DECISION)
    assert "sure must be true or false, and is a number" in wrong('{"action": "keep", "into": 1, "sure": 1}', DECISION)


def test_what_a_schema_does_not_forbid_may_be_there() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": True}
    assert read_object('{"text": "four", "more": 1}', like=schema) == {"text": "four", "more": 1}


def test_half_a_pair_of_surrogates_can_be_stored() -> None:
    reply = r'{"facts": [{"of": [1], "text": "\ud83d\ude00 \ud83d and\u0000 \ude00"}]}'
    text = read_object(reply, like=FACTS)["facts"][0]["text"]  # type: ignore[index]
    assert text == "😀 \ufffd and \ufffd"
    assert text.encode()


facts = st.fixed_dictionaries(
    {
        "of": st.lists(st.integers(0, 10**9), max_size=4),
        "text": st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    },
    optional={"importance": st.integers(0, 10), "keywords": st.lists(st.text('aé日{}[]"\\`</think>\n', max_size=9))},
)
replies = st.builds(lambda listed: {"facts": listed}, st.lists(facts, max_size=4))
wrappings = st.sampled_from(
    ["{}", "```json\n{}\n```", "<think>so {{ be it</think>{}", "The facts [1]:\n{}\nThat is all.", "\ufeff{}", "{}{}"]
)


@given(replies, wrappings, st.booleans(), st.sampled_from([None, 1]))
def test_any_reply_is_read_as_it_was_meant(reply: object, wrapping: str, ascii: bool, indent: int | None) -> None:
    said = json.dumps(reply, ensure_ascii=ascii, indent=indent)
    assert read_object(wrapping.format(said, said), like=FACTS) == reply


@given(replies, st.data(), st.booleans())
def test_nothing_that_is_cut_off_is_taken(reply: object, data: st.DataObject, ascii: bool) -> None:
    said = json.dumps(reply, ensure_ascii=ascii)
    until = data.draw(st.integers(1, len(said) - 1))
    assert "cut off" in wrong(said[:until])
    assert "cut off" in wrong(f"```json\n{said[:until]}\n```")
    assert wrong(f"{said}\n{said[:until]}")


@given(st.text('{}[]",:`<>\\/tnu1- aé\n', max_size=80) | st.text())
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(read_object(text, like=FACTS)["facts"], list)
    except BadReply as bad:
        assert bad.message


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "{",
        '{"a":',
        '[{"a":',
        "[1 ",
        '{"',
        '{"a" ',
        "{}",
        '{"a":1}',
        "[{}]",
        '"',
        "\\",
        "```",
        "<think>",
        "{ ",
        "{'",
    ],
)
def test_megabytes_and_depths_come_to_an_end(piece: str) -> None:
    assert wrong(piece * (2_000_000 // len(piece)))
    assert wrong(f'{{"facts": {piece * 500_000}')


def test_many_facts_are_read() -> None:
    many = {"facts": [{"of": [at], "text": f"Fact {at}."} for at in range(10_000)]}
    assert read_object(json.dumps(many), like=FACTS) == many


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't help with that",
        "I’m sorry, but I can’t assist with that request.",
        "I am sorry, but I am unable to extract facts from this conversation.",
        "As an AI language model, I do not have feelings.",
        "As an AI, I cannot store personal information.",
        "I'm just an AI assistant, so I can't do that.",
        "I cannot fulfill this request.",
        "I can't provide personal information about Anna.",
        "Unfortunately, I cannot process that.",
        "I apologize, but I'm not able to summarize this.",
        "**I must respectfully decline** to answer.",
        "Sorry, I can't help with that.",
        "抱歉，我无法提供帮助。",
        "作为一个AI语言模型，我不能回答。",
        "Als KI-Sprachmodell kann ich das nicht.",
    ],
)
def test_refusals(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear Anna was ill",
        "I'm sorry, I can't come on Saturday.",
        "Unfortunately Ben broke his leg.",
        "Anna works as an AI researcher in Oslo.",
        "As an AI engineer, Ben earns well.",
        "Caroline said: I'm sorry, I can't help with that move.",
        "Sorry I missed the party!",
        "I can't help laughing at Ben's jokes.",
        "The assistant told Anna about the clinic.",
        "I am an AI student at ETH.",
        "",
    ],
)
def test_what_only_looks_like_a_refusal(text: str) -> None:
    assert not refuses(text)


def test_what_repeats_the_instructions_is_told() -> None:
    prefix = "You read a talk. Write down each lasting fact in one sentence that can stand alone, with full names."
    assert echoes("Write down each lasting fact in one sentence that can stand alone.", prefix=prefix)
    assert echoes("- write down each LASTING fact", prefix=prefix)
    assert echoes("So: each lasting fact in one sentence that can, I think, stand.", prefix=prefix)
    assert not echoes("You read", prefix=prefix)
    assert not echoes("Anna can stand alone in one sentence.", prefix=prefix)
    assert not echoes("Write down each lasting fact, said Ben to Anna yesterday.", prefix=prefix)
    assert not echoes("", prefix="")
