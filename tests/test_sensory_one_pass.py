"""A model that both cuts and shortens reads each window once, and says the same however a conversation comes in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import empty_home, kept, line, take
from test_segment import talks, topics
from test_sensory import close, well
from tiny_token_models import make_tiny_llmlingua

import lightmem_cli.segment.buffer
from lightmem_cli.engine.ingest import HowToIngest
from lightmem_cli.engine.sensory import Sensory
from lightmem_cli.errors import MissingPart
from lightmem_cli.local_models.token_pass import DEFAULT_MODEL, open_token_pass
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Pieces, Reading, Spoken, TokenReader
from lightmem_cli.records import Message, Role

laws = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
SEGMENTERS = ["attention", "hybrid", "similarity"]


class Windowed:
    """A model that can be computed by hand: a token is a word, and what it says of one depends on all of its window.

    Like the real ones it remembers the last windows. Another context, or a pass too many, shows.
    """

    limit = 48
    remembered = 8

    def __init__(self) -> None:
        self.passes = 0
        self.windows: list[tuple[tuple[Message, ...], Reading]] = []

    def pieces(self, text: str) -> Pieces:
        spans = tuple(word.span() for word in re.finditer(r"\S+", text))
        return Pieces(tuple(crc32(text[a:b].encode()) for a, b in spans), spans, (True,) * len(spans))

    def read(self, messages: Sequence[Message], *, attention: bool = False) -> Reading:
        wanted = tuple(messages)
        for window, reading in reversed(self.windows):
            for first in range(len(window) - len(wanted) + 1):
                known = window[first : first + len(wanted)] == wanted
                if known and not (attention and (reading.attention is None or window != wanted)):
                    return Reading(reading.keep[first : first + len(wanted)], reading.attention)
        reading = self._pass(wanted, attention=attention)
        self.windows = [*self.windows, (wanted, reading)][-self.remembered :]
        return reading

    def _pass(self, messages: tuple[Message, ...], *, attention: bool) -> Reading:
        ids = [self.pieces(message.content).ids for message in messages]
        size = sum(map(len, ids))
        if size > self.limit and len(messages) > 1:
            raise ValueError("longer than a window")
        self.passes += -(-size // self.limit)
        context = sum(map(sum, ids))
        keep = [np.array([(id * 31 + context) % 997 / 997 for id in its], np.float32) for its in ids]
        if not attention:
            return Reading(keep, None)
        tokens = [id for its in ids for id in its]
        weights = np.array([[1 + (a ^ b) % 61 for b in tokens] for a in tokens], np.float32).reshape(size, size)
        return Reading(keep, weights / weights.sum(axis=1, keepdims=True))


@contextmanager
def reading_with(
    open_reader: Callable[[], TokenReader], *, segment: str, compress: str = "llmlingua2", buffer: int = 48
) -> Iterator[list[TokenReader]]:
    """Each memory that is opened has a model of its own, as each process has; those that were opened."""
    all_of_them: list[TokenReader] = []

    def reader(self: Sensory, model: str) -> TokenReader:
        model = model or DEFAULT_MODEL
        if model not in self._readers:
            self._readers[model] = open_reader()
            all_of_them.append(self._readers[model])
        return self._readers[model]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sensory, "_reader", reader)
        patch.setenv("LIGHTMEM_COMPRESS__USE", compress)
        patch.setenv("LIGHTMEM_COMPRESS__MINIMUM", "2")
        patch.setenv("LIGHTMEM_SEGMENT__USE", segment)
        patch.setenv("LIGHTMEM_SEGMENT__BUFFER_TOKENS", str(buffer))
        yield all_of_them


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llmlingua(tmp_path_factory.mktemp("models"), layers=2)


def opener(folder: Path) -> Callable[[], TokenReader]:
    return lambda: open_token_pass(str(folder), device="cpu", precision="fp32", progress=lambda said: None)


def passes(readers: Sequence[TokenReader]) -> int:
    return sum(reader.passes for reader in readers)


@pytest.mark.parametrize("segment", SEGMENTERS)
@laws
@given(data=st.data())
def test_the_same_is_made_of_any_portions(segment: str, data: st.DataObject) -> None:
    rows = data.draw(talks(most=36, sessions=data.draw(st.sampled_from([1, 2]))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)))))
    with reading_with(Windowed, segment=segment), empty_home() as once, empty_home() as grown:
        take(once, rows)
        for begin, end in zip([0, *cuts], cuts, strict=False):
            take(grown, rows[begin:end], HowToIngest(keep_open=True, journal_only=data.draw(st.booleans())))
        take(grown, rows)
        assert topics(grown) == topics(once)
        assert kept(grown) == kept(once)
        assert len(kept(once).shortened) == sum(bool(json.loads(row)["content"].strip()) for row in rows)


def said_in(data: Path, count: int) -> list[bytes]:
    return (data / "locomo" / "conv-30.messages.jsonl").read_bytes().splitlines(keepends=True)[:count]


def short(row: bytes) -> bytes:
    """A row of so few words that many fill a window, all of them of one session without silences."""
    said = json.loads(row)
    return line(id=said["id"], session="s", speaker=said["speaker"], content=said["content"][:40])


@pytest.mark.parametrize("segment", SEGMENTERS)
def test_a_real_talk_turn_by_turn_is_the_whole_at_once(
    segment: str, tiny: Path, lightmem_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTMEM_COMPRESS__MODEL", str(tiny))
    rows = said_in(lightmem_data, 45)
    with reading_with(opener(tiny), segment=segment, buffer=300), empty_home() as once, empty_home() as grown:
        take(once, rows)
        for row in rows:
            take(grown, [row], HowToIngest(keep_open=True))
        close(grown)
        assert topics(grown) == topics(once)
        assert kept(grown) == kept(once)
        assert well(once)
        shares = [share for _, share, _ in kept(once).shortened.values()]
        assert len(shares) == len(rows) and 0.5 < sum(shares) / len(shares) < 0.8
        if segment == "attention":
            sessions = {one.session for one in topics(once)}
            assert len(topics(once)) > 2 * len(sessions), "nothing within a session was cut"


@pytest.mark.parametrize("segment", ["attention", "hybrid"])
def test_to_shorten_what_the_segmenter_has_read_takes_no_pass(
    segment: str, tiny: Path, lightmem_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are more windows than a model remembers."""
    monkeypatch.setattr(lightmem_cli.segment.buffer, "_FEWEST", 1)  # it reads all of them, however few turns they hold
    monkeypatch.setenv("LIGHTMEM_SEGMENT__ALIKE", "1")
    rows = [short(row) for row in said_in(lightmem_data, 220)]
    counted = []
    for compress in ("none", "llmlingua2"):
        reading = reading_with(opener(tiny), segment=segment, compress=compress, buffer=500)
        with reading as readers, empty_home() as home:
            take(home, rows)
            counted.append(passes(readers))
            assert len(readers) == 1
            assert len(kept(home).shortened) == (len(rows) if compress != "none" else 0)
            assert len(topics(home)) > counted[-1] + 8, "hardly a window had two topics"
    assert counted[0] == counted[1] > Windowed.remembered


@pytest.mark.parametrize(
    ("compress", "segment", "shared"),
    [
        ({"use": "llmlingua2"}, {"use": "attention"}, True),
        ({"use": "llmlingua2"}, {"use": "hybrid", "model": DEFAULT_MODEL}, True),
        ({"use": "llmlingua2", "model": "a"}, {"use": "attention"}, True),
        ({"use": "llmlingua2", "model": "a"}, {"use": "attention", "model": "b"}, False),
        ({"use": "llmlingua2", "model": "a"}, {"use": "attention", "model": DEFAULT_MODEL}, False),
        ({"use": "llmlingua2"}, {"use": "similarity"}, False),
        ({"use": "entropy", "model": "a"}, {"use": "attention", "model": "a"}, False),
        ({"use": "none"}, {"use": "attention"}, False),
    ],
)
def test_a_model_is_shared_where_both_name_it(compress: dict[str, str], segment: dict[str, str], shared: bool) -> None:
    chosen = Settings.model_validate({"compress": compress, "segment": segment})
    assert Sensory(chosen, notice=lambda said: None).is_shared is shared


SHORTEN, CUT = "compress.use entropy", "segment.use similarity"


@pytest.mark.parametrize(
    ("compress", "segment", "hints"),
    [
        ({"use": "llmlingua2", "model": "/no"}, {"use": "attention"}, [f"{SHORTEN}, and {CUT}"] * 2),
        ({"use": "llmlingua2", "model": "/no"}, {"use": "similarity"}, [SHORTEN]),
        ({"use": "none"}, {"use": "hybrid", "model": "/no"}, [CUT]),
        ({"use": "llmlingua2", "model": "/no"}, {"use": "attention", "model": "/nor"}, [SHORTEN, CUT]),
    ],
)
def test_a_model_that_is_not_here_says_what_works_without_it(
    compress: dict[str, str], segment: dict[str, str], hints: list[str]
) -> None:
    chosen = Settings.model_validate({"compress": compress, "segment": segment})
    said = Message(conversation="", session="s", id="a", position=0, role=Role.USER, content="So it is.")
    sensory = Sensory(chosen, notice=lambda said: None)
    found = []
    if sensory.compressor is not None:
        with pytest.raises(MissingPart) as lacking:
            sensory.compressor.filled([said])
        found.append(lacking.value.hint)
    if sensory.segmenter is not None and segment["use"] != "similarity":
        with pytest.raises(MissingPart) as lacking:
            sensory.segmenter.gaps([Spoken(said, None)] * 2, start=0, ended=True)
        found.append(lacking.value.hint)
    assert found == [f"without it: lightmem config set {hint}" for hint in hints]


def test_what_the_segmenter_had_no_need_to_read_takes_one_pass() -> None:
    """That is, buffers of fewer than five turns, and turns that fill one alone. What has no words nobody reads."""
    few = [line(id=f"m{n}", session="s", content=f"One word more, {n}.") for n in range(4)]
    long = [line(id="long", session="t", content="word " * 100)]
    blank = [line(id="blank", session="u", content=" ")]
    for rows, expected in ((few, 1), (long, 3), (blank, 0)):
        with reading_with(Windowed, segment="attention") as readers, empty_home() as home:
            take(home, rows)
            assert passes(readers) == expected
            assert len(kept(home).shortened) == (0 if rows is blank else len(rows))


def test_two_models_read_for_themselves(tiny: Path, lightmem_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_SEGMENT__MODEL", "another")
    rows = said_in(lightmem_data, 40)
    with reading_with(opener(tiny), segment="attention", buffer=500) as readers, empty_home() as home:
        take(home, rows)
        assert len(readers) == 2
        assert all(reader.passes > 2 for reader in readers)
