"""What a person sees: one line an entry, nothing that steers a terminal, and no rewording shown as if it were said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from process import lightmem

from lightmem_cli.cli.render import Renderer, bars, counted, one_line
from lightmem_cli.records import Entry, Kind, MessageKey, TimeRange

DAY = TimeRange(datetime(2024, 1, 14, tzinfo=UTC), datetime(2024, 1, 15, tzinfo=UTC))


def entry(text: str, **fields: object) -> Entry:
    values: dict[str, object] = {"id": "0", "kind": Kind.TURN, "conversation": "", "session": "s", "speaker": "Anna"}
    values |= {"sources": (MessageKey("", "s", "1"),), "said_at": datetime(2024, 1, 15, 10, 30, tzinfo=UTC)}
    return Entry(text=text, **values | fields)  # type: ignore[arg-type]


def test_a_turn_is_printed_in_the_references_form() -> None:
    assert Renderer(UTC).entry_line(entry("Hello\n you")) == "2024-01-15T10:30:00 Mon Anna: Hello you"
    assert Renderer(UTC).entry_line(entry("Hi", said_at=None)) == "undated Anna: Hi"


def test_a_fact_is_marked_and_carries_its_day() -> None:
    fact = entry("Anna: She barked.", kind=Kind.FACT, happened=DAY)
    assert Renderer(UTC).entry_line(fact) == "2024-01-15T10:30:00 Mon Anna [fact]: She barked. (2024-01-14)"


def test_nothing_in_a_message_steers_a_terminal() -> None:
    line = Renderer(UTC).entry_line(entry("a\x1b[2Jb\x07\x9b", speaker="E\x1bvil"))
    assert line.isprintable()
    assert line.endswith("Evil: a[2Jb")
    assert one_line("tab\tline\u2028é 🎸") == "tab line é 🎸"


def test_long_texts_are_cut_only_where_it_is_asked() -> None:
    assert Renderer(UTC, longest=5).entry_line(entry("123456789")).endswith(": 12345 …")
    assert Renderer(UTC).entry_line(entry("1" * 9000)).endswith("1" * 9000)


@pytest.mark.parametrize(("values", "drawn"), [([], ""), ([0, 0], ""), ([8, 4, 1, 0], "█▄▁ "), ([1000, 1], "█▁")])
def test_bars_rise_with_their_values_and_hide_none(values: list[int], drawn: str) -> None:
    assert bars(values) == drawn


def test_nouns_are_counted() -> None:
    assert [counted(number, "message") for number in (0, 1, 1200)] == ["0 messages", "1 message", "1,200 messages"]


def test_rejects_never_replace_what_is_ingested(tmp_path: Path) -> None:
    good, bad = b'{"content": "I adopted a greyhound."}\n', b"{oops\n"
    file = tmp_path / "chat.jsonl"
    file.write_bytes(good + bad)
    refused = lightmem("ingest", file, "--on-error", "skip", "--rejects", file)
    assert refused.returncode == 2
    assert file.read_bytes() == good + bad
    kept = tmp_path / "kept.jsonl"
    kept.write_text("from before")
    clean = tmp_path / "clean.jsonl"
    clean.write_bytes(good)
    assert lightmem("ingest", clean, "--on-error", "skip", "--rejects", kept).returncode == 0
    assert kept.read_text() == "from before"  # begun anew with the first reject, and there was none


def test_a_query_that_finds_nothing_says_why() -> None:
    assert b"this memory is empty" in lightmem("retrieve", "x").stderr
    row = '{"speaker": "Élodie", "content": "I adopted a greyhound."}\n'.encode()
    assert lightmem("ingest", "-", feed=row).returncode == 0
    assert b"nobody is called 'Bob'; there is \xc3\x89lodie" in lightmem("retrieve", "x", "--speaker", "Bob").stderr
    assert "greyhound" in lightmem("retrieve", "greyhound", "--speaker", "élodie").stdout.decode()
