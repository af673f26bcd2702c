"""`lightmem segment` and `ingest --keep-open`: every line out as it came in, and no topic ended before its time."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from matplotlib.collections import LineCollection
from memories import line, opened, take
from process import lightmem, start
from typer.testing import CliRunner

import lightmem_cli.engine.sensory
from lightmem_cli.cli import app
from lightmem_cli.cli.curve import Curve
from lightmem_cli.cli.picture import Picture
from lightmem_cli.cli.render import Renderer
from lightmem_cli.embed.hashing import HashingEmbedder
from lightmem_cli.engine.filters.segment import InTopic, segment_only
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.errors import InputError, MissingPart
from lightmem_cli.local_models import token_pass
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Gap, Spoken
from lightmem_cli.records import Row
from lightmem_cli.segment import HowToCut
from lightmem_cli.transcript import read_transcript, redact

# Lines as they are written in the wild, with what each must come out as: no field lost, renamed or rounded.
ODD = (
    '{"content": "Hello there.", "mood": "fine", "session_id": "a", "ts": 1683108000}',
    '  {"text":"Spaces and a float.","price":1.10,"big":12345678901234567890123,"wide":1E400, "session_id":"a" }  ',
    '{"message": {"role": "assistant", "content": "日本 🐦 \\u00e9"}, "thread_id": "a", "nested": {"a": [1, null]}}',
    '{"content": "", "session": "a"}',
    '{"content": [{"type": "text", "text": "In parts."}], "session": "b", "note": "half \\ud800 a pair"}',
    '{"content": "One more.", "session": "b", "empty": {}}',
)
CHAT = [
    line(id=f"{session}{n}", session=session, timestamp=f"2023-05-0{day}T10:0{n}:00", content=f"I saw heron {n}.")
    for day, session in enumerate("ab", start=1)
    for n in range(5)
]


def rows_of(data: bytes) -> list[dict[str, object]]:
    return [json.loads(row) for row in data.decode("utf-8").split("\n")[:-1]]


def segments(home: Path) -> list[tuple[str, str, str]]:
    with opened(home) as memory:
        return [(one.first.id, one.last.id, one.cut_by) for one in memory.history.segments.all()]


# As a filter --------------------------------------------------------------------------------------------------------


def test_every_line_comes_out_in_order_as_it_was_written_with_three_more_fields(home: Path) -> None:
    run = lightmem("segment", "-", "--json", "--use", "none", feed="\n".join(ODD).encode())
    assert run.returncode == 0, run.stderr
    printed = run.stdout.decode("utf-8").split("\n")[:-1]
    for given, out, number in zip(ODD, printed, (1, 1, 1, 1, 2, 2), strict=True):
        added = f', "segment": {number}, "cut_by": "session", "score": 1.0}}'
        assert out == given.strip().removesuffix("}").rstrip() + added
        assert json.loads(out) == json.loads(given) | {"segment": number, "cut_by": "session", "score": 1.0}
    assert not list(home.rglob("history.db")), "a filter touches no memory"


def test_messages_inside_a_session_or_a_document_are_a_line_each(tmp_path: Path) -> None:
    messages = [{"content": "Hello.", "mood": "fine"}, {"content": "日本.", "half": "\ud800"}]
    session = {"session": "s", "timestamp": "2023-05-03T10:00:00", "messages": messages}
    inherited = {"session": "s", "timestamp": "2023-05-03T10:00:00"}
    inherited |= {"segment": 1, "cut_by": "session", "score": 1.0}
    expected = [message | inherited for message in messages]
    documents = {
        "lines": json.dumps(session),
        "document": json.dumps(session, indent=2),
        "list": json.dumps([message | inherited for message in messages], indent=2),
    }
    for name, text in documents.items():
        (tmp_path / name).write_text(text)
        run = lightmem("segment", tmp_path / name, "--use", "none")
        assert run.returncode == 0, run.stderr
        assert rows_of(run.stdout) == expected, name


def test_the_filter_takes_its_own_output() -> None:
    once = lightmem("segment", "-", feed=b"".join(CHAT))
    assert [row["segment"] for row in rows_of(once.stdout)] == [1] * 5 + [2] * 5
    assert lightmem("segment", "-", feed=once.stdout).stdout == once.stdout


def test_topics_are_numbered_through_all_files_and_end_with_each(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"".join(CHAT[:2]))
    run = lightmem("segment", tmp_path / "one", tmp_path / "two")
    assert [(row["id"], row["segment"]) for row in rows_of(run.stdout)] == [("a0", 1), ("a1", 1), ("a0", 2), ("a1", 2)]


def test_a_silence_ends_a_topic_and_a_session_that_comes_again_begins_another() -> None:
    times = ("10:00", "11:00", "12:01", None, "12:05")
    rows = [line(content="x", session="a", timestamp=time and f"2023-05-03T{time}:00") for time in times]
    rows += [line(content="x", session="b"), line(content="x", session="a"), line(content="x", session="a")]
    rows += [line(content="x", session="a", conversation="trip")]
    wanted = [(1, "silence")] * 2 + [(2, "session")] * 3 + [(3, "session")] + [(4, "session")] * 2 + [(5, "session")]
    run = lightmem("segment", "-", feed=b"".join(rows))
    assert [(row["segment"], row["cut_by"]) for row in rows_of(run.stdout)] == wanted
    run = lightmem("segment", "-", feed=b"".join(rows), env={"LIGHTMEM_SEGMENT__SILENCE_MINUTES": "1e300"})
    assert [row["segment"] for row in rows_of(run.stdout)] == [1] * 5 + [2, 3, 3, 4]
    run = lightmem("segment", "-", "--use", "none", feed=b"".join(rows), env={"LIGHTMEM_EMBED__USE": "no-such:thing"})
    assert [row["segment"] for row in rows_of(run.stdout)] == [1] * 5 + [2, 3, 3, 4]


def test_lines_come_out_as_soon_as_their_topic_has_ended() -> None:
    process = start("segment", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    for row in CHAT[:6]:
        process.stdin.write(row)
        process.stdin.flush()
    assert [json.loads(process.stdout.readline())["id"] for _ in range(5)] == ["a0", "a1", "a2", "a3", "a4"]
    rest, errors = process.communicate(b"".join(CHAT[6:]), timeout=60)
    assert process.returncode == 0, errors
    assert [row["id"] for row in rows_of(rest)] == ["b0", "b1", "b2", "b3", "b4"]


def test_what_stands_before_a_bad_line_is_printed_and_what_says_nothing_is_counted() -> None:
    silent = b'{"role": "assistant", "content": null, "tool_calls": [{"id": "x"}]}\n'
    run = lightmem("segment", "-", feed=b"".join([CHAT[0], silent, CHAT[5], b"{broken\n", CHAT[6]]))
    assert run.returncode == 2
    assert [row["id"] for row in rows_of(run.stdout)] == ["a0", "b0"]
    assert "lightmem: stdin:4: invalid JSON" in run.stderr.decode()
    run = lightmem("segment", "-", feed=b"".join([CHAT[0], silent, silent]))
    assert (run.returncode, len(rows_of(run.stdout))) == (0, 1)
    assert "2 messages without content left out" in run.stderr.decode()
    empty = lightmem("segment", "-", feed=b"\n")
    assert (empty.returncode, empty.stdout) == (0, b"")
    assert "the input is empty" in empty.stderr.decode()


def test_a_closed_pipe_ends_the_filter_quietly(tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_bytes(b"".join(CHAT) * 500)  # beyond what a pipe holds
    process = start("segment", chat, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == 0, errors
    assert "Traceback" not in errors and "lightmem: " not in errors


@pytest.mark.parametrize("files", [["-"], []], ids=["filter", "pending"])
def test_a_missing_embedder_is_said_to_be(files: list[str], home: Path) -> None:
    take(home, CHAT, HowToIngest(journal_only=True))
    run = lightmem("segment", *files, feed=b"".join(CHAT), env={"LIGHTMEM_EMBED__USE": "no-such:thing"})
    assert run.returncode == 4, run.stderr
    assert "Traceback" not in run.stderr.decode()
    assert "hint: " in run.stderr.decode()


def test_sentences_are_embedded_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    embed = HashingEmbedder.embed

    def counted(self: HashingEmbedder, texts: list[str]) -> object:
        calls.append(len(texts))
        return embed(self, texts)

    monkeypatch.setattr(HashingEmbedder, "embed", counted)
    rows = [line(session=f"s{n // 9}", content=f"I saw heron {n}. It was {n} feet tall.") for n in range(2000)]
    batches = read_transcript(io.BytesIO(b"".join(rows)), name="chat", zone=UTC)
    chosen = Settings.model_validate({"embed": {"use": "hashing"}})
    assert len(list(segment_only([batches], chosen, notice=lambda line: None))) == 2000
    assert sum(calls) == 4000
    assert len(calls) < 10


def test_what_is_redacted_does_not_leak_through_the_line_it_came_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(row: Row) -> Row:
        return replace(row, content=row.content.replace("hunter2", "[redacted]"))

    rows = [line(content=f"My password is {word}.", session="a", note="hunter2") for word in ("hunter2", "secret")]
    monkeypatch.setattr(import_module("lightmem_cli.transcript.redact"), "RULES", (rule,))
    batches = read_transcript(io.BytesIO(b"".join(rows)), name="chat", zone=UTC)
    chosen = Settings.model_validate({"embed": {"use": "hashing"}})
    first, second = [one.row for one in segment_only([batches], chosen, notice=lambda line: None)]
    printed = json.loads(Renderer(UTC).row_json(first, segment=1, cut_by="session"))
    fields = {"session": "a", "role": "user", "content": "My password is [redacted]."}
    assert printed == fields | {"segment": 1, "cut_by": "session"}
    assert second.raw == rows[1].rstrip(b"\n") and redact(second) is second


# Scores and curves --------------------------------------------------------------------------------------------------

TURNS = (0.0, 0.25, 0.8123456, 0.4, 0.1, 0.9)  # how clearly a topic ends behind each turn of a session of `Turning`


class Turning:
    """Cuts where a topic ends more clearly than .5, by the place of a turn alone."""

    lookback = 0

    def gaps(self, turns: Sequence[Spoken], *, start: int, ended: bool) -> list[Gap]:
        scores = [TURNS[at % len(TURNS)] for at in range(len(turns) - 1)]
        return [Gap(at, score, "attention" if score > 0.5 else None) for at, score in enumerate(scores)][start:]


@pytest.fixture
def turning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightmem_cli.engine.sensory, "open_segmenter", lambda use, how: Turning())


def rows(*sessions: int) -> list[bytes]:
    """A line for each turn of sessions of so many turns."""
    return [
        line(id=f"{place}{n}", session=place, speaker="Ines", content=f"I saw heron {n}.", timestamp=None)
        for place, size in zip("abcdefgh", sessions, strict=False)
        for n in range(size)
    ]


def segmented(given: Sequence[bytes], **segment: object) -> list[InTopic]:
    chosen = Settings.model_validate({"embed": {"use": "hashing"}, "segment": segment})
    batches = read_transcript(io.BytesIO(b"".join(given)), name="chat", zone=UTC, keep_raw=True)
    return list(segment_only([batches], chosen, notice=lambda line: None))


def test_each_row_has_its_own_gap_and_the_score_of_its_topics_end(turning: None) -> None:
    found = segmented(rows(8, 2))
    assert [one.gap for one in found] == [*TURNS, 0.0, 1.0, 0.0, 1.0]
    assert [one.score for one in found] == [0.8123456] * 3 + [0.9] * 3 + [1.0] * 4
    assert [one.last for one in found] == [False, False, True, False, False, True, False, True, False, True]
    assert [one.cut_by for one in found] == ["attention"] * 6 + ["session"] * 4
    assert [one.message.id for one in found] == [str(one.row.id) for one in found]


def test_without_a_segmenter_nothing_but_the_sessions_end_is_clear() -> None:
    assert [(one.gap, one.score) for one in segmented(rows(3), use="none")] == [(0, 1), (0, 1), (1, 1)]


def test_a_score_is_printed_with_four_digits(turning: None, tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_bytes(b"".join(rows(5)))
    result = CliRunner().invoke(app, ["segment", str(chat), "--use", "attention"])
    assert [row["score"] for row in rows_of(result.stdout_bytes)] == [0.8123] * 3 + [1.0] * 2


def test_attention_alone_embeds_nothing(turning: None) -> None:
    chosen = {"embed": {"use": "no-such:thing"}, "segment": {"use": "attention"}}
    batches = read_transcript(io.BytesIO(b"".join(rows(5))), name="chat", zone=UTC)
    settings = Settings.model_validate(chosen)
    assert len(list(segment_only([batches], settings, notice=lambda line: None))) == 5
    with pytest.raises(MissingPart):
        batches = read_transcript(io.BytesIO(b"".join(rows(5))), name="chat", zone=UTC)
        hybrid = settings.model_copy(update={"segment": settings.segment.model_copy(update={"use": "hybrid"})})
        list(segment_only([batches], hybrid, notice=lambda line: None))


def test_options_reach_the_segmenter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_bytes(b"".join(rows(3)))
    opened: list[tuple[str, int]] = []
    read: list[tuple[str, str]] = []

    def open_segmenter(use: str, how: HowToCut) -> Turning:
        opened.append((use, how.buffer_tokens))
        how.reader()
        return Turning()

    def open_token_pass(model: str, *, device: str, **others: object) -> None:
        read.append((model, device))

    monkeypatch.setattr(lightmem_cli.engine.sensory, "open_segmenter", open_segmenter)
    monkeypatch.setattr(token_pass, "open_token_pass", open_token_pass)
    typed = ["--use", "attention", "--model", "a/b", "--device", "cpu", "--buffer-tokens", "64"]
    result = CliRunner().invoke(app, ["segment", str(chat), *typed])
    assert result.exit_code == 0, result.exception
    assert (opened, read) == ([("attention", 64)], [("a/b", "cpu")])


@pytest.mark.parametrize("use", ["similarity", "none"])
@pytest.mark.parametrize("files", [[], ["-"]], ids=["memory", "filter"])
def test_what_is_about_attention_is_refused_where_nobody_reads_it(files: list[str], use: str) -> None:
    """Typed, that is: in a profile it waits for the segmenter that reads it."""
    for typed in (["--model", "a/b"], ["--buffer-tokens", "64"], ["--buffer-tokens", "64", "--model", "a/b"]):
        options = typed if use == "similarity" else ["--use", use, *typed]
        error = CliRunner().invoke(app, ["segment", *files, *options], input=b"".join(CHAT)).exception
        assert isinstance(error, InputError)
        first = "--model" if "--model" in typed else "--buffer-tokens"
        assert error.message == f"{first} is about attention, and with {use} nobody reads it"
        assert (error.hint or "").startswith("add --use attention, or leave out --")


def test_a_curve_has_a_line_a_turn_and_a_rule_a_cut(turning: None, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [*rows(4)[:3], line(session="a", role="tool", content="日本語" * 40 + "\x1b[31mred\nline")]
    monkeypatch.setenv("COLUMNS", "100")
    result = CliRunner().invoke(app, ["segment", "-", "--use", "attention", "--plot", "-"], input=b"".join(given))
    assert result.exit_code == 0, result.exception
    printed = result.stdout.splitlines()
    assert printed == [
        "   1          Ines         I saw heron 0.",
        "   2 ██       Ines         I saw heron 1.",
        "   3 ██████▌  Ines         I saw heron 2.",
        "─── topic 1 · attention .81 " + "─" * 72,
        "   4          tool         " + "日本語" * 12 + "…",
        "━━━ topic 2 · session " + "━" * 73 + " a ━━",
    ]
    monkeypatch.setenv("COLUMNS", "60")
    narrow = CliRunner().invoke(app, ["segment", "-", "--use", "attention", "--plot", "-"], input=b"".join(given))
    assert {len(row) for row in narrow.stdout.splitlines() if row[0] in "─━"} == {60}


def test_a_curve_is_coloured_on_a_terminal_only_and_not_with_no_color() -> None:
    one = segmented(rows(1), use="none")[0]
    coloured, plain = (list(Curve(width=50, coloured=coloured).lines(one)) for coloured in (True, False))
    assert [re.sub(r"\x1b\[\d*m", "", row).rstrip() for row in coloured] == plain
    assert "\x1b" in coloured[0] and "\x1b" not in "".join(plain)
    for extra, wanted in (({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False)):
        leader, terminal = pty.openpty()
        try:
            lightmem("segment", "-", "--use", "none", "--plot", "-", feed=rows(1)[0], stdout=terminal,
                     env=extra)  # fmt: skip
            said = os.read(leader, 100_000)
        finally:
            os.close(leader)
            os.close(terminal)
        assert (b"\x1b[1m" in said) == wanted, said


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("sizes", [(1,), (12, 3, 1), (300, 200)], ids=str)
def test_a_picture_has_a_rule_for_every_cut_and_takes_its_place_at_once(
    turning: None, sizes: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    found = segmented(rows(*sizes))
    path = tmp_path / f"curve{suffix}"
    path.write_bytes(b"what was here before")
    picture = Picture(path)
    for one in found:
        picture.take(one)
    figure = picture.figure(title="chat", measured="attention", threshold=None)
    ends = [place for axes in figure.axes for place in _rules_of(axes)]
    assert sorted(ends) == [turn + 0.5 for turn, one in enumerate(found, start=1) if one.last]
    assert figure.axes[0].get_xlim()[0] == 0.5
    drawn = [y for axes in figure.axes for y in axes.lines[0].get_ydata()]
    assert [y for y in drawn if y == y] == [one.gap for one in found if not (one.last and one.cut_by == "session")]
    picture.write(title="chat", measured="attention", threshold=0.32)
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    assert list(tmp_path.iterdir()) == [path]


def _rules_of(axes: Any) -> list[float]:
    return [float(path.vertices[0][0]) for its in axes.collections if isinstance(its, LineCollection)
            for path in its.get_paths()]  # fmt: skip


def test_what_a_picture_is_called_is_not_read_as_a_formula(turning: None, tmp_path: Path) -> None:
    picture = Picture(tmp_path / "curve.png")
    for one in segmented([line(session="$x^{", conversation="日本\n", content="a") for _ in range(9)]):
        picture.take(one)
    with warnings.catch_warnings(record=True) as said:
        picture.write(title="$_{chat}.jsonl", measured="attention", threshold=None)
    assert not said


def test_the_rows_of_a_picture_fill_it_where_nothing_is_cut_in_one(tmp_path: Path) -> None:
    picture = Picture(tmp_path / "curve.png")
    for one in segmented(rows(400), use="none"):
        picture.take(one)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure = picture.figure(title="chat" * 50, measured="none", threshold=None)
        figure.savefig(io.BytesIO())
    assert not said
    inches = [axes.get_position().height * figure.get_figheight() for axes in figure.axes]
    assert len(inches) == 2 and min(inches) > 1
    assert figure.get_suptitle().endswith("…  ·  400 turns, 1 topic, 1 session")
    assert figure.get_supylabel() == "score"


def test_the_lines_come_out_beside_the_picture(tmp_path: Path) -> None:
    chat, path = tmp_path / "chat.jsonl", tmp_path / "curve.PNG"
    chat.write_bytes(b"".join(CHAT))
    run = lightmem("segment", chat, "--plot", path)
    assert (run.returncode, len(rows_of(run.stdout))) == (0, len(CHAT)), run.stderr
    assert run.stderr.decode().splitlines()[-1] == f"10 turns drawn in {path}"
    assert path.read_bytes().startswith(b"\x89PNG")
    path.unlink()
    run = lightmem("segment", "-", "--plot", path, feed=b"".join([*CHAT, b"{broken"]))
    assert (run.returncode, len(rows_of(run.stdout)), path.exists()) == (2, len(CHAT), False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--plot", "curve.gif"], "cannot draw curve.gif: .gif: only .png, .svg and .pdf can be drawn"),
        (["-", "--plot", "curve"], "cannot draw curve: a name without a suffix: only .png, .svg and .pdf can"),
        (["-", "--plot", "nowhere/curve.png"], "cannot write nowhere/curve.png: no folder "),
        (["--plot", "curve.png"], "--plot draws the topics of a FILE, and there is none"),
        (["-", "--plot", "-", "--json"], "--plot - is to be read, not JSON"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_any_work(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["segment", *arguments], input=CHAT[0])
    assert isinstance(result.exception, InputError) and result.exception.hint
    assert result.exception.message.startswith(message)
    assert result.stdout == ""


def test_without_matplotlib_a_picture_names_the_extra_and_the_terminal_still_draws(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = CliRunner().invoke(app, ["segment", "-", "--plot", str(tmp_path / "curve.png")], input=CHAT[0])
    assert isinstance(result.exception, MissingPart)
    assert "pip install 'lightmem-cli[plot]'" in str(result.exception.hint)
    assert result.stdout == ""
    result = CliRunner().invoke(app, ["segment", "-", "--use", "none", "--plot", "-"], input=CHAT[0])
    assert result.exit_code == 0 and "topic 1" in result.stdout


# On a memory --------------------------------------------------------------------------------------------------------


def test_a_hook_leaves_the_topic_open_and_segment_ends_it(home: Path) -> None:
    for rows in (CHAT[:3], CHAT[3:6], CHAT[6:]):
        run = lightmem("ingest", "-", "--keep-open", "--json", feed=b"".join(rows))
        assert json.loads(run.stdout)["topics"] == 0, run.stderr
    assert segments(home) == []
    run = lightmem("segment", "--keep-open", "--json")
    assert (run.returncode, run.stdout) == (0, b"")
    run = lightmem("segment", "--json")
    assert run.returncode == 0, run.stderr
    printed = rows_of(run.stdout)
    assert [row | {"id": ""} for row in printed] == [
        {"id": "", "conversation": "", "session": session, "first": f"{session}0", "last": f"{session}4",
         "messages": 5, "cut_by": "session", "score": 1.0}
        for session in "ab"
    ]  # fmt: skip
    assert len({row["id"] for row in printed}) == 2
    again = lightmem("segment")
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"no topic has ended\n")
    assert segments(home) == [("a0", "a4", "session"), ("b0", "b4", "session")]


def test_a_plain_ingest_ends_its_topics_also_those_that_were_kept_open(home: Path, tmp_path: Path) -> None:
    transcript = tmp_path / "chat.jsonl"
    transcript.write_bytes(b"".join(CHAT))
    assert lightmem("ingest", transcript, "--keep-open").returncode == 0
    assert segments(home) == []
    run = lightmem("ingest", transcript)
    assert "2 topics" in run.stderr.decode()
    assert segments(home) == [("a0", "a4", "session"), ("b0", "b4", "session")]
    assert b"topic" not in lightmem("ingest", transcript).stderr


def test_what_was_only_journalled_is_cut_by_whatever_works_it_off(home: Path) -> None:
    assert lightmem("ingest", "-", "--journal-only", feed=b"".join(CHAT)).returncode == 0
    assert segments(home) == []
    run = lightmem("extract")
    assert "2 topics" in run.stderr.decode()
    assert segments(home) == [("a0", "a4", "session"), ("b0", "b4", "session")]


def test_on_a_memory_segment_says_how_many_and_reads_no_stdin(home: Path) -> None:
    take(home, CHAT, HowToIngest(keep_open=True))
    reader, writer = os.pipe()  # never written to, never closed
    process = start("segment", stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.send_signal(signal.SIGKILL)
        os.close(reader)
        os.close(writer)
    assert (process.returncode, output, errors) == (0, b"", b"2 topics ended\n")


def test_keep_open_is_not_for_the_filter(tmp_path: Path) -> None:
    run = lightmem("segment", "-", "--keep-open", feed=CHAT[0])
    assert (run.returncode, run.stdout) == (2, b"")
    assert "--keep-open" in run.stderr.decode()


def test_with_none_the_memory_has_no_topics(home: Path) -> None:
    none = {"LIGHTMEM_SEGMENT__USE": "none"}
    assert lightmem("ingest", "-", feed=b"".join(CHAT), env=none).returncode == 0
    assert segments(home) == []
    assert json.loads(lightmem("stats", "--json").stdout)["pending"] == {}
    assert lightmem("segment").stderr == b"2 topics ended\n"
