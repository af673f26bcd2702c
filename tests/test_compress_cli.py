"""`lightmem compress`: every line out once, in order, as it was written; texts; and options that mean what they say."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import line
from process import COMMAND, environment, lightmem, start
from typer.testing import CliRunner, Result

import lightmem_cli.engine.sensory
from lightmem_cli.cli import app
from lightmem_cli.compress import ALL_KEPT, HowToShorten
from lightmem_cli.engine.filters.compress import compress_only
from lightmem_cli.errors import InputError, LightmemError
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.records import Compressed, Message, Row
from lightmem_cli.transcript import BadLine, Item, read_transcript

SAID = ("one", "one two", "one two three four five", "", "🐦", "日本語", "word " * 30)
CHOSEN = Settings.model_validate({"compress": {"use": "entropy"}})


class Halves:
    """Keeps the first half of each message's words, and shortens together what `window` words hold."""

    name = "halves"

    def __init__(self, window: int) -> None:
        self.window = window
        self.calls: list[list[str]] = []

    def filled(self, messages: Sequence[Message]) -> int:
        words = 0
        for place, message in enumerate(messages):
            words += len(message.content.split())
            if words > self.window:
                return max(place, 1)
        return 0

    def compress(self, messages: Sequence[Message]) -> list[Compressed]:
        self.calls.append([message.id for message in messages])
        return [self._shortened(message.content) for message in messages]

    def _shortened(self, text: str) -> Compressed:
        words = text.split()
        kept = words[: -(-len(words) // 2)]
        return Compressed(" ".join(kept), len(kept) / len(words) if words else 1.0)


@contextmanager
def shortening_with(compressor: Halves) -> Iterator[list[tuple[str, HowToShorten]]]:
    opened: list[tuple[str, HowToShorten]] = []

    def open_compressor(use: str, how: HowToShorten) -> Halves:
        opened.append((use, how))
        return compressor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightmem_cli.engine.sensory, "open_compressor", open_compressor)
        yield opened


def rows_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(row) for row in data.decode("utf-8").split("\n")[:-1]]


def called(*arguments: str, feed: bytes = b"", window: int = 10) -> tuple[Result, list[tuple[str, HowToShorten]]]:
    """Run `lightmem ARGUMENTS` in this process with HALVES for a compressor, and what it was opened with."""
    with shortening_with(Halves(window)) as opened:
        return CliRunner().invoke(app, ["compress", *arguments], input=feed), opened


# Nothing lost, doubled or reordered ---------------------------------------------------------------------------------


@st.composite
def transcripts(draw: st.DrawFn) -> list[list[list[Item]]]:
    """Transcripts in batches of any size, of few sessions, perhaps with a line that cannot be read."""
    found: list[list[list[Item]]] = []
    number = 0
    for _ in range(draw(st.integers(0, 2))):
        items: list[Item] = []
        for _ in range(draw(st.integers(0, 20))):
            place = draw(st.sampled_from([("", "a"), ("", "a"), ("", "b"), ("trip", "a")]))
            text = draw(st.sampled_from(SAID))
            items.append(Row(content=text, conversation=place[0], session=place[1], id=f"m{number}"))
            number += 1
        if draw(st.integers(0, 5)) == 0:
            items.insert(draw(st.integers(0, len(items))), BadLine(origin="chat:7", reason="broken", raw=b""))
        cuts = sorted(draw(st.sets(st.integers(0, len(items)))))
        found.append([items[a:b] for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)])
    return found


def expected(transcripts: Sequence[Sequence[Sequence[Item]]], *, window: int) -> tuple[list[list[str]], bool]:
    """What is to be shortened together, in order, up to the first bad line; and whether there is one."""
    calls: list[list[str]] = []
    for batches in transcripts:
        last, words = None, 0
        for item in (item for batch in batches for item in batch):
            if not isinstance(item, Row):
                return calls, True
            place, size = (item.conversation, item.session), len(item.content.split())
            if place != last or words + size > window:
                calls.append([])
                words = 0
            calls[-1].append(str(item.id))
            last, words = place, words + size
    return calls, False


@settings(max_examples=300)
@given(given=transcripts(), window=st.sampled_from([0, 1, 3, 6, 40, 10_000]))
def test_every_row_comes_out_once_in_its_place_with_its_own_text(given: list[list[list[Item]]], window: int) -> None:
    compressor = Halves(window)
    out: list[tuple[str, str]] = []
    wanted, broken = expected(given, window=window)
    stopped = False
    with shortening_with(compressor):
        try:
            for one in compress_only(given, CHOSEN, notice=lambda line: None):
                out.append((str(one.row.id), one.compressed.text))
                assert one.compressed == compressor._shortened(one.row.content)
        except InputError as error:
            assert error.message == "chat:7: broken"
            stopped = True
    assert stopped == broken
    assert compressor.calls == wanted
    assert [id for id, _ in out] == [id for call in wanted for id in call]


@settings(max_examples=100)
@given(given=transcripts(), window=st.sampled_from([1, 6, 40]))
def test_a_row_comes_out_as_soon_as_what_is_shortened_with_it_is_full(
    given: list[list[list[Item]]], window: int
) -> None:
    """What is out before the next batch is read is all but the last that is still open."""
    items: list[list[Item]] = [[item] for batches in given[:1] for batch in batches for item in batch]
    rows = [item for batch in items for item in batch if isinstance(item, Row)]
    out: list[str] = []
    seen: list[int] = []

    def watched() -> Iterator[list[Item]]:
        for batch in items:
            if not isinstance(batch[0], Row):
                return
            yield batch
            seen.append(len(out))

    with shortening_with(Halves(window)):
        for one in compress_only([watched()], CHOSEN, notice=lambda line: None):
            out.append(str(one.row.id))
    for count, done in enumerate(seen, start=1):
        calls, _ = expected([[rows[:count]]], window=window)
        alone = len(calls[-1]) == 1 and len(rows[count - 1].content.split()) > window  # a window of its own is full
        assert done == (count if alone else count - len(calls[-1]))


# Lines --------------------------------------------------------------------------------------------------------------

ODD = (
    '{"content": "one two three four", "mood": "fine", "session_id": "a", "ts": 1683108000}',
    '  {"text":"one two","price":1.10,"big":12345678901234567890123,"wide":1E400, "session_id":"a" }  ',
    '{"message": {"role": "assistant", "content": "日本 🐦 \\u00e9 x"}, "thread_id": "a", "nested": {"a": [1, null]}}',
    '{"content": "", "session": "a"}',
    '{"content": "five six", "session": "b", "compressed": "of another time", "kept": 7}',
)


def test_every_line_comes_out_as_it_was_written_with_two_more_fields(home: Path) -> None:
    result, _ = called(feed="\n".join(ODD).encode())
    assert result.exit_code == 0, result.stderr
    shortened = ["one two", "one", "日本 🐦", "", "five"]
    printed = result.stdout_bytes.decode("utf-8").split("\n")[:-1]
    for given_, out, text, kept in zip(ODD[:4], printed, shortened, (0.5, 0.5, 0.5, 1.0), strict=False):
        added = {"compressed": text, "kept": kept}
        assert out == f"{given_.strip().removesuffix('}').rstrip()}, {json.dumps(added, ensure_ascii=False)[1:]}"
    assert len(printed) == len(ODD)
    assert json.loads(printed[4]) == json.loads(ODD[4]) | {"compressed": "five", "kept": 0.5}
    assert not list(home.rglob("history.db")), "a filter touches no memory"


def test_what_is_kept_has_four_digits_and_messages_inside_a_session_are_a_line_each() -> None:
    document = {"session": "s", "messages": [{"content": "a b c"}, {"content": "a b c d e f g", "mood": "fine"}]}
    for text in (json.dumps(document), json.dumps(document, indent=2)):
        result, _ = called(feed=text.encode())
        assert rows_of(result.stdout_bytes) == [
            {"session": "s", "content": "a b c", "compressed": "a b", "kept": 0.6667},
            {"session": "s", "content": "a b c d e f g", "mood": "fine", "compressed": "a b c d", "kept": 0.5714},
        ]
    assert called("--format", "json", feed=b'[{"content": "a"}]')[0].exit_code == 0
    assert called("--format", "jsonl", feed=b'{\n"content": "a"}')[0].exit_code != 0


def test_the_filter_takes_its_own_output() -> None:
    once, _ = called(feed=ODD[0].encode())
    again, _ = called(feed=once.stdout_bytes)
    assert again.stdout_bytes == once.stdout_bytes


def test_what_stands_before_a_bad_line_is_printed_and_what_says_nothing_is_counted(tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_bytes(line(id="1", content="a b") + line(id="2", content="c") + b"{broken\n" + line(id="3", content="d"))
    result, _ = called(str(chat))
    assert [row["id"] for row in rows_of(result.stdout_bytes)] == ["1", "2"]
    assert isinstance(result.exception, InputError)
    assert result.exception.message.startswith(f"{chat}:3: invalid JSON")
    silent = b'{"role": "assistant", "content": null, "tool_calls": [{"id": "x"}]}\n'
    result, _ = called(feed=silent + line(content="a b"))
    assert (result.exit_code, len(rows_of(result.stdout_bytes))) == (0, 1)
    assert "1 message without content left out" in result.stderr
    result, _ = called(feed=b"\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "the input is empty" in result.stderr


# Options ------------------------------------------------------------------------------------------------------------


def how(*arguments: str) -> tuple[str, HowToShorten]:
    result, opened = called(*arguments, feed=line(content="a b"))
    assert result.exit_code == 0, result.exception
    return opened[0]


def test_options_reach_the_compressor_and_what_is_not_typed_is_the_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    use, chosen = how()
    assert (use, chosen.model, chosen.rate, chosen.minimum, chosen.keep) == ("entropy", "", 0.6, 8, ALL_KEPT)
    assert (chosen.roles, chosen.device, chosen.exact) == ("both", "auto", False)
    typed = ["--use", "llmlingua2", "--model", "a/b", "--rate", "0.25", "--minimum", "0", "--roles", "user"]
    use, chosen = how(*typed, "--device", "cpu", "--exact", "--keep", "urls", "--keep", "digits")
    assert (use, chosen.model, chosen.rate, chosen.minimum, chosen.keep) == (
        "llmlingua2", "a/b", 0.25, 0, ("digits", "urls"),
    )  # fmt: skip
    assert (chosen.roles, chosen.device, chosen.exact) == ("user", "cpu", True)
    assert how("--keep", "none")[1].keep == ()
    assert how("--rate", "1")[1].rate == 1
    monkeypatch.setenv("LIGHTMEM_COMPRESS__RATE", "0.3")
    assert how()[1].rate == 0.3
    assert how("--rate", "0.4")[1].rate == 0.4


def test_a_profiles_model_is_of_the_profiles_compressor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_COMPRESS__MODEL", "some/model")
    assert how("--use", "entropy")[1].model == "some/model"
    monkeypatch.setenv("LIGHTMEM_COMPRESS__USE", "llmlingua2")
    assert (how()[0], how()[1].model) == ("llmlingua2", "some/model")
    assert (how("--use", "entropy")[0], how("--use", "entropy")[1].model) == ("entropy", "")
    assert how("--use", "entropy", "--model", "gpt2")[1].model == "gpt2"


def test_that_entropy_stands_in_for_none_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = line(content="a b", session="a") + line(content="a b", session="b")
    assert called(feed=feed)[0].stderr.count("compress.use is none") == 1
    assert "compress.use is none" not in called("--use", "entropy", feed=feed)[0].stderr
    monkeypatch.setenv("LIGHTMEM_COMPRESS__USE", "entropy")
    assert "compress.use is none" not in called(feed=feed)[0].stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "--rate is 0: it must be a number above 0, and at most 1"),
        (["--rate", "2"], "--rate is 2: it must be a number above 0, and at most 1"),
        (["--rate", "-0.5"], "--rate is -0.5: it must be a number above 0, and at most 1"),
        (["--rate", "abc"], "--rate is abc: it must be a number above 0, and at most 1"),
        (["--rate", "nan"], "--rate is nan: it must be a number above 0, and at most 1"),
        (["--rate", "inf"], "--rate is inf: it must be a number above 0, and at most 1"),
        (["--exact"], "--exact is how llmlingua2 decides"),
        (["--exact", "--use", "entropy"], "--exact is how llmlingua2 decides"),
        (["--keep", "everything"], "--keep: there is no kind 'everything'"),
        (["--keep", "none", "--keep", "urls"], "--keep: none goes with no other kind"),
        (["--text", "--roles", "user"], "--roles and --format are about messages, and --text is not"),
        (["--text", "--format", "json"], "--roles and --format are about messages, and --text is not"),
        (["no-such-file"], "cannot read no-such-file: No such file or directory"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line_and_a_hint(arguments: list[str], message: str) -> None:
    result, opened = called(*arguments, feed=line(content="a b"))
    assert isinstance(result.exception, LightmemError)
    assert (result.exception.message, result.exception.exit_code) == (message, 2)
    assert result.exception.hint
    assert (result.stdout, opened) == ("", [])


def test_rates_that_mean_nothing_end_a_process_with_2_and_two_lines() -> None:
    for run in (lightmem("compress", "--rate", "nan"), lightmem("compress", env={"LIGHTMEM_COMPRESS__RATE": "2"})):
        assert (run.returncode, run.stdout) == (2, b"")
        assert len(run.stderr.decode().splitlines()) == 2 + (b"made profile" in run.stderr), run.stderr


# Plain texts --------------------------------------------------------------------------------------------------------


def test_a_text_is_shortened_as_one_and_printed_bare(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.md"
    prompt.write_bytes(b"\xef\xbb\xbfone two\r\n\r\nthree {four}\r\n")
    result, _ = called("--text", str(prompt), window=1)
    assert result.stdout_bytes == b"one two\n"
    result, _ = called("--text", "--json", str(prompt), "-", feed="四 字".encode())
    assert rows_of(result.stdout_bytes) == [
        {"compressed": "one two", "kept": 0.5, "tokens": 6, "compressed_tokens": 2},
        {"compressed": "四", "kept": 0.5, "tokens": 1, "compressed_tokens": 1},
    ]


def test_a_text_is_anyones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_COMPRESS__ROLES", "assistant")
    assert how()[1].roles == "assistant"
    assert how("--text")[1].roles == "both"


def test_an_empty_text_is_said_to_be_and_one_that_is_no_text_is_refused(tmp_path: Path) -> None:
    result, _ = called("--text", feed=b"")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "the input is empty" in result.stderr
    picture = tmp_path / "picture"
    picture.write_bytes(b"ok \xff")
    result, _ = called("--text", str(picture))
    assert isinstance(result.exception, InputError)
    assert result.exception.message == f"{picture}: invalid UTF-8 at byte 4"


# Real processes -----------------------------------------------------------------------------------------------------

CHAT = [
    line(id=f"{session}{n}", session=session, speaker="Ines", content=f"I really saw heron {n} by the old mill today.")
    for session in "abc"
    for n in range(4)
]


def test_in_a_pipe_a_chat_is_shortened_by_word_frequencies(home: Path) -> None:
    run = lightmem("compress", "--rate", "0.5", "--minimum", "1", feed=b"".join(CHAT))
    assert run.returncode == 0, run.stderr
    printed = rows_of(run.stdout)
    assert [row["id"] for row in printed] == [json.loads(row)["id"] for row in CHAT]
    for row in printed:
        assert "heron" in row["compressed"] and len(row["compressed"]) < len(row["content"])
        assert 0 < row["kept"] < 1
        rest = iter(row["content"].split())
        assert all(word in rest for word in row["compressed"].split()), "words are left out, none is moved"
    assert run.stderr.decode().splitlines()[1:] == [
        "compress.use is none: entropy shortens    (--use chooses, lightmem config set compress.use keeps it)"
    ], "in a pipe nothing else is said"
    assert not list(home.rglob("history.db"))


def test_by_word_frequencies_a_line_comes_out_as_soon_as_it_has_come_in() -> None:
    process = start("compress", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    for row in CHAT[:5]:
        process.stdin.write(row)
        process.stdin.flush()
    assert [json.loads(process.stdout.readline())["id"] for _ in range(5)] == ["a0", "a1", "a2", "a3", "b0"]
    rest, errors = process.communicate(b"".join(CHAT[5:]), timeout=60)
    assert process.returncode == 0, errors
    assert [row["id"] for row in rows_of(rest)] == ["b1", "b2", "b3", "c0", "c1", "c2", "c3"]


def test_a_closed_pipe_ends_the_filter_quietly(tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_bytes(b"".join(CHAT) * 300)  # beyond what a pipe holds
    process = start("compress", chat, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == 0, errors
    assert "Traceback" not in errors and "lightmem: " not in errors


def test_a_terminal_is_no_input_and_is_told_how_much_was_kept(tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_bytes(b"".join(CHAT))
    leader, terminal = pty.openpty()
    try:
        run = lightmem("compress", stdin=terminal, feed=None)  # type: ignore[arg-type]
        assert (run.returncode, run.stdout) == (2, b"")
        assert "cat chat.jsonl | lightmem compress" in run.stderr.decode()
        done = subprocess.run(
            [*COMMAND, "compress", chat], stdout=subprocess.PIPE, stderr=terminal, env=environment(), check=True
        )
        assert len(rows_of(done.stdout)) == len(CHAT)
        said = os.read(leader, 100_000).decode()
    finally:
        os.close(leader)
        os.close(terminal)
    assert "12 messages, " in said and " % of 132 tokens kept" in said, said


def test_a_row_that_came_whole_is_read_with_what_it_was_written_as() -> None:
    batches = read_transcript(io.BytesIO(CHAT[0]), name="chat", zone=UTC, keep_raw=True)
    with shortening_with(Halves(3)):
        (one,) = compress_only([batches], CHOSEN, notice=lambda line: None)
    assert one.row.raw == CHAT[0].rstrip(b"\n")
