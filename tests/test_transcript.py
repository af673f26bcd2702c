"""Transcripts are read in every promised form; what cannot be read is said in order, and never stops the rest."""

from __future__ import annotations

import io
import json
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.records import Role, Row
from lightmem_cli.transcript import BadLine, Format, Item, Skipped, read_transcript, redact
from lightmem_cli.transcript.jsonl import LINE_LIMIT

DATA = Path(os.environ.get("LIGHTMEM_DATA", "../shared/data"))


class Trickle(io.RawIOBase):
    """A stream that hands out its bytes in pieces of given sizes, as a pipe may."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self.data, self.sizes, self.at, self.turn = data, sizes, 0, 0

    def read1(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + min(size, self.sizes[self.turn % len(self.sizes)])]
        self.at, self.turn = self.at + len(piece), self.turn + 1
        return piece


def read(data: bytes | str, *, format: Format = "auto", stream: Any = None) -> list[Item]:
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    batches = read_transcript(stream or io.BytesIO(raw), name="chat.jsonl", zone=UTC, format=format)
    return [item for batch in batches for item in batch]


def read_one(line: object) -> Row:
    (row,) = read(json.dumps(line) + "\n")
    assert isinstance(row, Row), row
    return row


def refusal(line: object) -> str:
    (bad,) = read(line if isinstance(line, bytes | str) else json.dumps(line))
    assert isinstance(bad, BadLine), bad
    assert str(bad).isprintable()
    assert len(str(bad)) < 500
    return str(bad)


# Fields


@pytest.mark.parametrize(
    ("field", "name", "value", "kept"),
    [
        *[("content", name, "hello", "hello") for name in ("content", "text", "message")],
        *[("speaker", name, "Ann", "Ann") for name in ("speaker", "name", "speaker_name")],
        *[("session", name, "s1", "s1") for name in ("session", "session_id", "thread_id")],
        *[("conversation", name, 7, "7") for name in ("conversation", "conversation_id")],
        ("id", "id", 12, "12"),
        ("id", "id", "", None),
        ("image_caption", "image_caption", "a dog", "a dog"),
        ("agent", "agent", "planner", "planner"),
        ("speaker", "speaker", None, None),
        *[("role", "role", name, Role.USER) for name in ("user", "User", "human", None)],
        *[("role", "role", name, Role.ASSISTANT) for name in ("assistant", "ai", "model")],
        *[("role", "role", name, Role.SYSTEM) for name in ("system", "developer")],
        *[("role", "role", name, Role.TOOL) for name in ("tool", "function")],
        *[
            ("said_at", name, "2023/05/20 (Sat) 00:44", datetime(2023, 5, 20, 0, 44, tzinfo=UTC))
            for name in ("timestamp", "time_stamp", "created_at", "ts", "date", "datetime")
        ],
    ],
)
def test_every_name_of_a_field_is_read(field: str, name: str, value: object, kept: object) -> None:
    line = {name: value} if field == "content" else {"content": "hello", name: value}
    row = read_one(line)
    assert getattr(row, field) == kept
    assert row.content == "hello"
    assert row.origin == "chat.jsonl:1"


def test_what_is_not_said_is_not_made_up() -> None:
    assert read_one({"content": ""}) == Row(content="", origin="chat.jsonl:1")


def test_two_names_of_one_field_must_agree() -> None:
    assert read_one({"content": "a", "text": "a", "session": "x", "thread_id": "x"}).session == "x"
    assert read_one({"content": None, "text": "a"}).content == "a"
    assert refusal({"content": "a", "session": "x", "thread_id": "y"}) == (
        'chat.jsonl:1: "session" and "thread_id" both give the session, with different values'
    )
    assert "both give the content" in refusal({"content": "a", "text": "b"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ([1, 2], "a message must be a JSON object, not a number"),  # a file that is a list is a document
        ("[1]\n{}", "a message must be a JSON object, not a list"),
        ("3", "a message must be a JSON object, not a number"),
        ("null", "a message must be a JSON object, not null"),
        ({"role": "user"}, "content is missing"),
        ({"content": None}, "content is null, and there are no tool calls"),
        ({"content": 5}, "content must be text or a list of parts, not a number"),
        ({"content": {"a": 1}}, "content must be text or a list of parts, not an object"),
        ({"message": {"a": 1}}, "content must be text or a list of parts, not an object"),
        ({"content": "x", "role": "narrator"}, "role 'narrator' is not known (known: user, assistant, system, tool)"),
        ({"content": "x", "role": 1}, "role must be text, not a number"),
        ({"content": "x", "timestamp": "yesterday"}, "timestamp is not a time: 'yesterday'"),
        ({"content": "x", "timestamp": ""}, "timestamp is not a time: ''"),
        ({"content": "x", "timestamp": True}, "timestamp must be text or a number, not true or false"),
        ({"content": "x", "ts": 10**30}, "timestamp is not a time: 1000000000000000000000000000000"),
        ('{"content": "x", "ts": 1e999}', "timestamp is not a time: inf"),
        ({"content": "x", "id": 1.5}, "id must be text or an integer, not a decimal number"),
        ({"content": "x", "id": False}, "id must be text or an integer, not true or false"),
        ({"content": "x", "speaker": ["Ann"]}, "speaker must be text, not a list"),
        ({"content": "a\0b"}, "content has a NUL character"),
        ({"content": "x", "session": "\0"}, "session has a NUL character"),
        ('{"content": "a\\ud800b"}', "content has half a surrogate pair (\\ud800)"),
        ('{"content": "x", "role": "\\ud800\\u001b[31m"}', "role '\\ud800\\x1b[31m' is not known"),
        (b'{"content": "a\0b"}', "the line has a NUL byte (byte 15)"),
        (b'{"content": "a\xffb"}', "invalid UTF-8 at byte 15 (0xff)"),
        (b'{"content": "\xed\xa0\x80"}', "invalid UTF-8 at byte 14 (0xed)"),
        ('{"content": "x"', "invalid JSON at column 16: expecting ',' delimiter"),
        ('{"content": "x"} {"content": "y"}', "invalid JSON at column 18: more text after the first value"),
        ('{"content": "x", "n": NaN}', "invalid JSON: NaN is not a JSON number"),
        ('{"content": "x", "n": ' + "9" * 5000 + "}", "invalid JSON: a number has too many digits"),
        ('{"content": ' + "[" * 100_000, "invalid JSON: nested too deeply"),
        ({"messages": {}}, "messages must be a list, not an object"),
        ({"messages": [], "content": "x"}, "a line holds one message or the messages of a session, not both"),
        ({"messages": [{"content": "x"}], "ts": "noon"}, "timestamp is not a time: 'noon'"),
        ({"messages": [{"content": 1}]}, "message 1: content must be text"),
        ({"messages": ["x"]}, "message 1: a message must be a JSON object, not text"),
        ({"messages": [{"messages": []}]}, "message 1: a session cannot hold another session"),
        ({"content": ["x", 3]}, "content part 2 must be text or an object, not a number"),
        ({"content": [{"type": "text"}]}, "content part 1 must have its text as text, not null"),
        ({"content": [{"type": "hologram"}]}, "content part 1 has a type that is not known: 'hologram'"),
        ({"content": [{"type": []}]}, "content part 1 must have its type as text, not a list"),
    ],
)
def test_a_bad_line_says_where_and_what(line: object, reason: str) -> None:
    items = read(line if isinstance(line, bytes | str) else json.dumps(line))
    bad = items[0]
    assert isinstance(bad, BadLine)
    assert str(bad).startswith(f"chat.jsonl:1: {reason}")
    assert str(bad).isprintable()


def test_a_bad_line_stands_among_the_good_ones_with_its_bytes() -> None:
    items = read(b'{"content":"a"}\r\n\r\n{"content":1}\r\n{"content":"b"}')
    assert items == [
        Row(content="a", origin="chat.jsonl:1"),
        BadLine(
            origin="chat.jsonl:3",
            reason="content must be text or a list of parts, not a number",
            raw=b'{"content":1}',
        ),
        Row(content="b", origin="chat.jsonl:4"),
    ]


# Content parts


def test_text_parts_are_joined_and_images_keep_their_caption_or_url() -> None:
    row = read_one(
        {
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
                {"type": "input_image", "image_url": "https://example.org/dog.png", "caption": "a dog"},
                {"type": "input_text", "text": "at these"},
                "two",
            ]
        }
    )
    assert row.content == "look\nat these\ntwo"
    assert row.image_caption == "https://example.org/cat.png; a dog"


def test_the_bytes_of_an_image_are_not_kept() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}
    inline = {"type": "image", "source": {"type": "base64", "data": "A" * 9000}}
    assert read_one({"content": [picture, inline]}) == Row(content="", image_caption="image", origin="chat.jsonl:1")
    assert read_one({"content": [picture], "image_caption": "a dog"}).image_caption == "a dog"


@pytest.mark.parametrize(
    "line",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "assistant", "tool_calls": [{"id": "c"}]},
        {"role": "assistant", "content": None, "function_call": {"name": "f"}},
        {"role": "assistant", "content": [{"type": "tool_use", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "42"}]},
    ],
)
def test_a_message_that_only_calls_tools_is_skipped_and_seen(line: object) -> None:
    assert read(json.dumps(line)) == [Skipped(origin="chat.jsonl:1", reason="only tool calls")]


def test_a_tool_call_beside_text_takes_nothing_from_the_text() -> None:
    assert read_one({"content": "let me look", "tool_calls": [{}]}).content == "let me look"
    assert read_one({"content": [{"text": "let me look"}, {"type": "tool_use"}]}).content == "let me look"


def test_a_wrapped_message_is_laid_open() -> None:
    line = {"type": "user", "timestamp": 0, "message": {"role": "assistant", "id": "x", "content": [{"text": "hi"}]}}
    row = read_one(line)
    assert (row.role, row.content, row.said_at) == (Role.ASSISTANT, "hi", datetime(1970, 1, 1, tzinfo=UTC))
    assert "different values" in refusal({"role": "user", "message": {"role": "assistant", "content": "hi"}})


# Sessions


def test_messages_inherit_what_their_session_says_unless_they_say_it_themselves() -> None:
    session = {
        "session_id": 4,
        "date": "2023-05-20",
        "conversation": "c",
        "messages": [
            {"content": "a"},
            {"content": "b", "thread_id": "own", "ts": "2023-05-20T10:00:00+02:00"},
            {"content": "c", "role": "ai", "session": None},
        ],
    }
    first, second, third = read(json.dumps(session))
    day = datetime(2023, 5, 20, tzinfo=UTC)
    assert first == Row(content="a", session="4", said_at=day, conversation="c", origin="chat.jsonl:1")
    assert isinstance(second, Row)
    assert (second.session, second.said_at) == ("own", datetime(2023, 5, 20, 10, tzinfo=timezone(timedelta(hours=2))))
    assert isinstance(third, Row)
    assert (third.role, third.session) == (Role.ASSISTANT, "4")


def test_a_bad_message_of_a_session_can_be_mended_by_itself() -> None:
    session = {"session": "s", "timestamp": 0, "messages": [{"content": "a"}, {"content": 2}, {"content": "c"}]}
    first, bad, third = read(json.dumps(session))
    assert isinstance(bad, BadLine)
    assert bad.reason == "message 2: content must be text or a list of parts, not a number"
    mended = read_one({**json.loads(bad.raw), "content": "b"})
    assert isinstance(first, Row)
    assert isinstance(third, Row)
    assert (mended.session, mended.said_at) == (first.session, first.said_at) == (third.session, third.said_at)


# Formats

MESSAGES = [{"content": "a", "id": 1}, {"content": "é", "role": "assistant"}]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize(
    "top", [MESSAGES, {"messages": MESSAGES}, [{"messages": MESSAGES}], {"x": {}, "messages": MESSAGES}]
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n\n"])
def test_a_whole_document_is_recognised(top: object, indent: int | None, mark: bytes) -> None:
    items = read(mark + json.dumps(top, indent=indent).encode())
    assert [(item.id, item.content) for item in items if isinstance(item, Row)] == [("1", "a"), (None, "é")]
    assert len(items) == 2


def test_a_document_says_the_line_of_a_bad_element_and_keeps_the_others() -> None:
    document = '[\n  {"content": "a"},\n  {"content":\n    7},\n  {"content": "c"},\n  oops\n]'
    first, bad, third, broken = read(document)
    assert first == Row(content="a", origin="chat.jsonl:2")
    assert isinstance(bad, BadLine)
    assert bad.origin == "chat.jsonl:3"
    assert bad.raw == b'{"content":\n    7}'
    assert third == Row(content="c", origin="chat.jsonl:5")
    assert str(broken) == "chat.jsonl:6: invalid JSON at column 3: expecting value"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('[{"content": "a"}', "chat.jsonl:1: invalid JSON: expecting a comma"),
        ('[{"content": "a"}\n,\n]', "chat.jsonl:3: invalid JSON at column 1: expecting value"),
        ('[\n{"content": "a"}]\n\n]', "chat.jsonl:4: invalid JSON: more text after the end"),
        (b'[\n{"content": "a"},\n"\xff"]', "chat.jsonl:3: invalid UTF-8 at byte 2 (0xff)"),
        (b'[\n{"content": "a"},\n\xff]', "chat.jsonl:3: invalid JSON at column 1: expecting value"),
        ("[" * 100_000, "chat.jsonl:1: invalid JSON: nested too deeply"),
        ('{\n"content": "a"', "chat.jsonl:2: invalid JSON at column 15"),
    ],
)
def test_a_broken_document_says_where(document: str | bytes, reason: str) -> None:
    bad = read(document)[-1]
    assert isinstance(bad, BadLine)
    assert str(bad).startswith(reason)


def test_lists_among_lines_are_lines() -> None:
    bad, row = read('[{"content": "a"}]\n{"content": "b"}')
    assert isinstance(bad, BadLine)
    assert row == Row(content="b", origin="chat.jsonl:2")
    assert len(read('{"content": "a"\n{"content": "b"}\n')) == 2  # a line cut short is no document


def test_a_named_format_is_not_questioned() -> None:
    line = json.dumps(MESSAGES)
    assert [type(item) for item in read(line, format="jsonl")] == [BadLine]
    assert [type(item) for item in read(line, format="json")] == [Row, Row]


@pytest.mark.parametrize("format", ["auto", "jsonl", "json"])
def test_utf_16_is_named(format: Format) -> None:
    (bad,) = read('{"content": "a"}\n{"content": "b"}'.encode("utf-16"), format=format)
    assert "UTF-16" in str(bad)
    assert "iconv" in str(bad)


@pytest.mark.parametrize("format", ["auto", "jsonl", "json"])
@pytest.mark.parametrize("data", [b"", b"\n\r\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_nothing_is_nothing(data: bytes, format: Format) -> None:
    assert read(data, format=format) == []


def test_byte_order_marks_of_joined_files_are_passed_over() -> None:
    assert [type(item) for item in read(b'\xef\xbb\xbf{"content":"a"}\n\xef\xbb\xbf{"content":"b"}\n')] == [Row, Row]


# Bounds


class Endless(io.RawIOBase):
    """One line of `size` bytes, then a good one, made while it is read."""

    def __init__(self, size: int) -> None:
        self.left, self.tail = size, b'"}\n{"content": "after"}\n'

    def read1(self, size: int) -> bytes:
        piece, self.left = b"a" * min(size, self.left), self.left - min(size, self.left)
        if piece:
            return piece
        tail, self.tail = self.tail, b""
        return tail


def test_a_line_that_is_too_long_is_refused_without_being_held() -> None:
    tracemalloc.start()
    bad, after = read(b"", stream=Endless(4 * LINE_LIMIT))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(bad) == "chat.jsonl:1: a line is at most 32 MiB"
    assert isinstance(bad, BadLine)
    assert bad.raw == b"a" * 4096
    assert after == Row(content="after", origin="chat.jsonl:2")
    assert peak < 3.5 * LINE_LIMIT


def test_a_line_within_the_limit_is_read_whole() -> None:
    text = "a" * (LINE_LIMIT - len('{"content":""}'))
    (row,) = read(f'{{"content":"{text}"}}\n')
    assert isinstance(row, Row)
    assert len(row.content) == len(text)
    (bad,) = read(f'{{"content":"{text}a"}}\n')
    assert isinstance(bad, BadLine)


def test_a_pipe_yields_each_line_when_it_arrives() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:
        batches = read_transcript(stream, name="-", zone=UTC)
        for number in range(3):
            pipe.write(json.dumps({"content": str(number)}).encode() + b"\n")
            # A reader that waited for more would hang here: a timer closes the pipe and fails the test instead.
            timer = threading.Timer(5, pipe.close)
            timer.start()
            assert next(batches) == [Row(content=str(number), origin=f"-:{number + 1}")]
            timer.cancel()
            assert not pipe.closed


def test_a_file_comes_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text('{"content": "hello"}\n' * 20_000)
    with path.open("rb") as stream:
        sizes = [len(batch) for batch in read_transcript(stream, name="chat.jsonl", zone=UTC)]
    assert sum(sizes) == 20_000
    assert 5 <= len(sizes) <= 10


# Laws

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAME = st.none() | TEXT.filter(bool)
WORDS = st.none() | TEXT.filter(str.strip)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS)
ROWS = st.builds(
    Row,
    content=TEXT,
    role=st.sampled_from(Role),
    speaker=WORDS,
    said_at=st.none() | MOMENTS,
    conversation=NAME,
    session=NAME,
    id=NAME,
    image_caption=WORDS,
    agent=WORDS,
)


def render(row: Row, pick: Callable[[Sequence[str]], str]) -> dict[str, object]:
    """A row as a transcript may write it, under any of the names of its fields."""
    written = {
        pick(["content", "text", "message"]): row.content,
        "role": row.role.value,
        pick(["speaker", "name", "speaker_name"]): row.speaker,
        pick(["timestamp", "created_at", "ts", "date"]): row.said_at.isoformat() if row.said_at else None,
        pick(["conversation", "conversation_id"]): row.conversation,
        pick(["session", "session_id", "thread_id"]): row.session,
        "id": row.id,
        "image_caption": row.image_caption,
        "agent": row.agent,
    }
    return {name: value for name, value in written.items() if value is not None}


def unplaced(items: Sequence[Item]) -> list[Item]:
    return [replace(item, origin="") for item in items]


@given(st.lists(ROWS, max_size=5), st.booleans(), st.sampled_from(["\n", "\r\n", "\n \n"]), st.data())
def test_rows_come_back_as_they_were_written(rows: list[Row], ascii: bool, end: str, data: st.DataObject) -> None:
    def pick(names: Sequence[str]) -> str:
        return data.draw(st.sampled_from(names))

    text = end.join(json.dumps(render(row, pick), ensure_ascii=ascii) for row in rows)
    assert unplaced(read(text)) == rows
    document = json.dumps([render(row, pick) for row in rows], ensure_ascii=ascii, indent=1)
    assert unplaced(read(document)) == rows


KEYS = ["content", "text", "message", "role", "ts", "timestamp", "messages", "id", "session", "type", "image_url"]
KEYS += ["tool_calls", "name", "other"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"\n", b"\r\n", b"[", b"]", b",", b"{", b"}", b"\xef\xbb\xbf", b"\xff\xfe", b'{"content":"a"}']),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value, indent=1).encode()),
)
BYTES = st.lists(PIECES, max_size=8).map(b"".join)
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(BYTES, st.sampled_from(["auto", "jsonl", "json"]))
def test_no_bytes_raise(data: bytes, format: Format) -> None:
    for item in read(data, format=format):
        if isinstance(item, BadLine):
            assert item.reason
            assert item.reason.isprintable()
        elif isinstance(item, Row):
            item.content.encode()


@given(BYTES, SIZES, st.sampled_from(["auto", "jsonl", "json"]))
def test_where_chunks_end_changes_nothing(data: bytes, sizes: list[int], format: Format) -> None:
    assert read(b"", stream=Trickle(data, sizes), format=format) == read(data, format=format)


@given(ROWS)
def test_redaction_without_rules_changes_nothing(row: Row) -> None:
    assert redact(row) == row


# Real data


def real_transcripts() -> Iterator[Path]:
    yield from sorted(DATA.glob("locomo/*.messages.jsonl"))
    yield from sorted(DATA.glob("beam/*.messages.jsonl"))


@pytest.mark.skipif(not DATA.is_dir(), reason="no evaluation data (LIGHTMEM_DATA)")
def test_real_transcripts_lose_nothing() -> None:
    for path in real_transcripts():
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        with path.open("rb") as stream:
            rows = [item for batch in read_transcript(stream, name=path.name, zone=UTC) for item in batch]
        assert [(row.id, row.content) for row in rows if isinstance(row, Row)] == [
            (line["id"], line["content"]) for line in lines
        ]
