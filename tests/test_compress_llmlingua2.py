"""What LLMLingua-2 keeps: in exact mode the llmlingua package's words, by default so many of each message's tokens."""

from __future__ import annotations

import re
import string
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from lightmem_cli.compress import ALL_KEPT, HowToShorten, Keep, open_compressor
from lightmem_cli.compress.exact import choose_exactly, groups_exactly, special_tokens
from lightmem_cli.compress.llmlingua2 import REVISION, LLMLingua2Compressor
from lightmem_cli.compress.token_words import token_spans
from lightmem_cli.local_models.token_pass import open_token_pass
from lightmem_cli.protocols import Compressor, Pieces, Reading, TokenReader
from lightmem_cli.records import Message, Role
from tests.tiny_token_models import KINDS, WORDS, Kind, make_tiny_llmlingua


@dataclass
class HandReader:
    """Words, marks and single characters of Han and Thai are tokens; a probability depends on the token and its place.

    It remembers the windows it read, as `TokenReader` says.
    """

    limit: int = 40
    whole: bool = True  # all tokens begin words; else those of scripts without spaces continue one
    windows: list[tuple[Message, ...]] = field(default_factory=list)

    @property
    def passes(self) -> int:
        return len(self.windows)

    def pieces(self, text: str) -> Pieces:
        found = list(re.finditer(r"[A-Za-z0-9']+|[ก-๛]{1,3}|[^\sA-Za-z0-9']", text))
        begins = [self.whole or match[0][0] < "\u0e00" for match in found]
        return Pieces(
            tuple(zlib.crc32(match[0].encode("utf-8", "replace")) for match in found),
            tuple(match.span() for match in found),
            tuple(begins),
        )

    def read(self, messages: Sequence[Message], *, attention: bool = False) -> Reading:
        wanted = tuple(messages)
        known = any(window[n : n + len(wanted)] == wanted for window in self.windows for n in range(len(window)))
        ids = [self.pieces(message.content).ids for message in messages]
        if len(wanted) > 1 and sum(map(len, ids)) > self.limit:
            raise ValueError("longer than a window")
        if not known:
            self.windows.append(wanted)
        return Reading(
            [np.array([(one * 31 + n) % 97 / 97 for n, one in enumerate(part)], np.float32) for part in ids], None
        )


def said(*texts: str, role: Role = Role.USER, speaker: str | None = None) -> list[Message]:
    return [
        Message(conversation="", session="s", id=f"m{n}", position=n, role=role, content=text, speaker=speaker)
        for n, text in enumerate(texts)
    ]


HOW = HowToShorten(
    reader=HandReader,
    model="m",
    rate=0.6,
    minimum=0,
    keep=(),
    roles="both",
    surprise="average",
    device="cpu",
    progress=lambda line: None,
)


def opened(reader: TokenReader, **choices: Any) -> Compressor:
    return open_compressor("llmlingua2", replace(HOW, reader=lambda: reader, **choices))


def texts_of(compressor: Compressor, messages: Sequence[Message]) -> list[str]:
    return [short.text for short in compressor.compress(messages)]


# The package's words


class Counted:
    """Stands in for the vocabulary that llmlingua downloads, and counts what both sides count alike."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self.count = count

    def encode(self, text: str) -> list[int]:
        return [0] * self.count(text)


def by_letters(word: str) -> int:
    return 1 + len(bare(word)) // 3


def bare(word: str) -> str:
    return unicodedata.normalize("NFKC", word).replace("▁", "").replace(" ", "")


@dataclass
class Both:
    """The package's compressor and our reader of one folder."""

    kind: Kind
    theirs: Any
    ours: TokenReader

    def labels(self, text: str, rate: float) -> list[tuple[str, bool]]:
        answer = self.theirs.compress_prompt([text], rate=rate, return_word_label=True, force_tokens=[])
        labelled = answer["fn_labeled_original_prompt"].split("\t\t|\t\t")
        return [(bare(word), label == "1") for word, label in (one.rsplit(" ", 1) for one in labelled)]

    def in_tokens(self, word: str) -> int:
        """How many tokens of the model's own a word of the package's has."""
        tokens = len(self.theirs.tokenizer.tokenize(word.removeprefix("▁")))
        return max(1, tokens - (self.kind == "xlmr" and not word.startswith("▁")))


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = make_tiny_llmlingua(tmp_path_factory.mktemp(request.param), request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "")  # the package sets it for whoever comes after
        patch.setattr("tiktoken.encoding_for_model", lambda name: Counted(by_letters))
        from llmlingua import PromptCompressor

        theirs = PromptCompressor(model_name=str(folder), device_map="cpu", use_llmlingua2=True)
        ours = open_token_pass(str(folder), device="cpu", precision="fp32", progress=lambda line: None, exact=True)
        yield Both(request.param, theirs, ours)


KNOWN = [
    *WORDS,
    "going",
    "a",
    "Melanie's",
    "don't",
    "x1",
    "42",
    "3.5",
    "10:30",
    "2023-05-20",
    "你好",
    "今日は",
    "東京",
    "สวัสดี",
]
STRANGE = [
    "🙂",
    "👩‍👩‍👧",
    "ω",
    "наш",
    "…",
    "[x]",
    "(",
    ")",
    "“",
    "”",
    "-",
    "#",
    "##ing",
    "é",
    "e\u0301",
    "ﬁ",
    "｡",
    "한국어",
]
SPACES = ["", " ", " ", " ", "  ", "\n", "\t"]


@st.composite
def windows_of_text(draw: st.DrawFn, strange: bool = True) -> str:
    pieces = st.sampled_from(KNOWN) | st.sampled_from([*string.punctuation, *string.digits, *string.ascii_letters])
    if strange:
        pieces |= st.sampled_from(STRANGE)
    chosen = draw(st.lists(st.tuples(pieces, st.sampled_from(SPACES)), min_size=1, max_size=60))
    return draw(st.sampled_from(["", " "])) + "".join(piece + space for piece, space in chosen)


RATES = st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 0.6, 0.75, 0.9, 0.99]) | st.floats(0.01, 0.99)
PER_KIND = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PER_KIND
@given(text=windows_of_text(), rate=RATES)
@example(text="the the the the", rate=0.5)
@example(text="Caroline's [SEP] group, at 10:30 🙂 with (you)…", rate=0.6)
def test_exactly_the_words_of_the_package_stay(both: Both, text: str, rate: float) -> None:
    text = text.strip()
    pieces = both.ours.pieces(text)
    groups = groups_exactly(pieces, special=special_tokens(both.ours))
    assume(groups)  # without a word the package fails
    spans = token_spans(text, pieces)
    words = [bare("".join(text[slice(*spans[place])] for place in group)) for group in groups]
    probabilities = both.ours.read(said(text)).keep[0]
    both.theirs.oai_tokenizer = Counted(by_letters)
    counts = dict(zip(groups, map(by_letters, words), strict=True))
    stays = choose_exactly(groups, probabilities, rate=rate, count=lambda group: counts[group])
    assert list(zip(words, stays, strict=True)) == both.labels(text, rate)


@PER_KIND
@given(text=windows_of_text(strange=False), rate=RATES)
def test_the_compressor_sends_the_words_of_the_package(both: Both, text: str, rate: float) -> None:
    both.theirs.oai_tokenizer = Counted(both.in_tokens)
    compressor = opened(both.ours, rate=rate, exact=True, minimum=8, keep=ALL_KEPT)
    expected = "".join(word for word, stays in both.labels(text, rate) if stays)
    assert bare("".join(texts_of(compressor, said(text))[0].split())) == expected


@PER_KIND
@given(text=windows_of_text())
def test_a_rate_of_1_keeps_every_character(both: Both, text: str) -> None:
    for exact in (True, False):
        [short] = opened(both.ours, rate=1.0, exact=exact).compress(said(text))
        assert (short.text, short.kept) == (text, 1.0)


def test_exactly_each_message_is_read_alone(both: Both) -> None:
    compressor = opened(both.ours, rate=0.5, exact=True)
    messages = said("you had a great time in Berlin", " going to the group on Monday ", "🙂", "", "Caroline")
    alone = [compressor.compress([message])[0] for message in messages]
    assert compressor.compress(messages) == alone
    assert [compressor.filled(messages), compressor.filled([])] == [1, 0]
    assert [short.text for short in alone[2:]] == ["🙂", "", ""]  # of a single word the package keeps nothing
    assert compressor.name.endswith("exact")


# The default


def no_spaces(text: str) -> str:
    return "".join(text.split())


def is_within(short: str, text: str) -> bool:
    rest = iter(text)
    return all(character in rest for character in short)


MESSAGES = st.lists(
    st.builds(
        lambda content, role, speaker: said(content, role=role, speaker=speaker)[0],
        windows_of_text() | st.sampled_from(["", " \n", "🙂", "the " * 45, "你好今日" * 12]),
        st.sampled_from(Role),
        st.sampled_from([None, "Caroline"]),
    ),
    max_size=9,
).map(lambda drawn: [replace(one, id=f"m{n}", position=n) for n, one in enumerate(drawn)])


@given(MESSAGES, st.integers(1, 80), RATES | st.just(1.0), st.integers(0, 20), st.booleans())
def test_no_message_is_lost_doubled_or_reordered(
    messages: list[Message], limit: int, rate: float, minimum: int, whole: bool
) -> None:
    reader = HandReader(limit, whole)
    shorts = opened(reader, rate=rate, minimum=minimum, keep=ALL_KEPT).compress(messages)
    assert len(shorts) == len(messages)
    for message, short in zip(messages, shorts, strict=True):
        assert is_within(no_spaces(short.text), no_spaces(message.content))
        assert bool(short.text.strip()) == bool(message.content.strip())
        assert 0 < short.kept <= 1
        if message.role not in {Role.USER, Role.ASSISTANT} or rate == 1:
            assert (short.text, short.kept) == (message.content, 1.0)
    assert all(len(window) == 1 or tokens_of(reader, window) <= limit for window in reader.windows)
    read = [message for window in reader.windows for message in window]
    assert read == [message for message in messages if message in read]
    assert {one for one in messages if one.content.strip() and one.role is Role.USER} <= set(read) or rate == 1


def tokens_of(reader: TokenReader, window: Sequence[Message]) -> int:
    return sum(len(reader.pieces(message.content).ids) for message in window)


@given(MESSAGES, st.integers(1, 80))
def test_a_window_is_filled_by_the_messages_that_are_read_together(messages: list[Message], limit: int) -> None:
    reader = HandReader(limit)
    compressor = opened(reader)
    filled = compressor.filled(messages)
    assert opened(reader, exact=True).filled(messages) == min(1, len(messages))
    if filled:
        assert tokens_of(reader, messages[:filled]) <= limit or filled == 1
        assert tokens_of(reader, messages[: filled + 1]) > limit
        assert compressor.filled(messages[:filled]) in {0, filled}  # the next one is what shows it, or a long one alone
        together = compressor.compress(messages)
        assert compressor.compress(messages[:filled]) + compressor.compress(messages[filled:]) == together
    else:
        assert tokens_of(reader, messages) <= limit


LONG = st.lists(
    st.sampled_from(["ab", "c", "Berlin", ",", "你", "好", "สวัส", "ดี", "42", "🙂"]), min_size=50, max_size=120
)


@given(LONG, st.sampled_from(["", " "]), RATES, st.booleans())
def test_so_many_of_a_texts_tokens_stay(pieces: list[str], space: str, rate: float, whole: bool) -> None:
    text = space.join(pieces)
    reader = HandReader(10_000, whole)
    assume(len(reader.pieces(text).ids) >= 50)
    [short] = opened(reader, rate=rate).compress(said(text))
    assert abs(short.kept - rate) <= 0.03
    if not space:  # one stands only where two words would be read as one
        assert not re.search(r"\s", re.sub(r"(?<=[A-Za-z0-9]) (?=[A-Za-z0-9])", "", short.text))
    again = len(reader.pieces(short.text).ids) / len(reader.pieces(text).ids)
    assert not space or again == pytest.approx(short.kept)


@PER_KIND
@given(text=st.lists(st.sampled_from(KNOWN), min_size=50, max_size=90).map(" ".join), rate=RATES)
def test_so_many_of_a_models_tokens_stay(both: Both, text: str, rate: float) -> None:
    assume(len(both.ours.pieces(text).ids) <= both.ours.limit)
    [short] = opened(both.ours, rate=rate).compress(said(text))
    assert abs(short.kept - rate) <= 0.03


@pytest.mark.parametrize(
    ("keep", "text", "stays"),
    [
        ("digits", "we had around 42 of these in the old house there", "42"),
        ("negations", "we had not seen any of these in the old house", "not"),
        ("names", "we had seen that Caroline was in the old house", "Caroline"),
        ("quotes", 'we had read "the old house" there in the week', '"the old house"'),
        ("urls", "we had read http://a.org/b?c=d there in the week", "http://a.org/b?c=d"),
        ("code", "we had run `rm -rf x` there in the old house", "`rm -rf x`"),
        ("dates", "we had seen these last Monday in the old house", "Monday"),
    ],
)
def test_what_is_to_be_kept_stays(keep: Keep, text: str, stays: str) -> None:
    assert stays in texts_of(opened(HandReader(), rate=0.05, keep=(keep,)), said(text))[0]
    assert stays not in texts_of(opened(HandReader(), rate=0.05), said(text))[0]


class Spiteful(HandReader):
    """Would have nothing of a text stay but what is in no name."""

    def pieces(self, text: str) -> Pieces:
        found = list(re.finditer(r"\w+|[^\w\s]", text))  # O'Brien is three words, as in BERT's vocabularies
        return Pieces(tuple(range(len(found))), tuple(match.span() for match in found), (True,) * len(found))

    def read(self, messages: Sequence[Message], *, attention: bool = False) -> Reading:
        return Reading(
            [
                np.array([0.0 if text[begin].isupper() or begin > 3 else 1.0 for begin, _ in self.pieces(text).spans])
                for text in (message.content for message in messages)
            ],
            None,
        )


@pytest.mark.parametrize("name", ["Mr. O'Brien", "O’Brien", "Jean-Luc", "Mary-Kate O'Neil", "d'Artagnan"])
def test_a_name_stays_whole_against_any_scores(name: str) -> None:
    text = f"we had around the old house there {name} in the week and so on"
    [short] = opened(Spiteful(), rate=0.05, keep=("names",)).compress(said(text))
    assert name in short.text
    assert len(short.text.split()) < len(text.split()) / 2


def test_what_a_negation_turns_round_stays() -> None:
    [short] = opened(HandReader(), rate=0.05, keep=("negations",)).compress(
        said("昨天在家里的时候我真的不喜欢这些东西啊")
    )
    assert "不喜欢" in short.text


def test_one_pass_for_each_window_and_none_for_what_stays_as_it_is() -> None:
    reader = HandReader(limit=10)
    compressor = opened(reader, roles="user", minimum=1)
    compressor.compress(said(*["one two three four"] * 7))
    assert [len(window) for window in reader.windows] == [2, 2, 2, 1]
    compressor.compress([*said("", "  ", "🙂", role=Role.ASSISTANT), *said("\n")])
    opened(reader, rate=1.0).compress(said("one two three"))
    assert reader.passes == 4


def test_what_a_segmenter_read_is_not_read_again(both: Both) -> None:
    messages = [*said("you had a great time"), *said("", "in Berlin", role=Role.SYSTEM), *said("going to the group")]
    messages = [replace(one, id=f"n{n}", position=n) for n, one in enumerate(messages)]
    both.ours.read([*messages, *said("and more")], attention=True)
    passes = both.ours.passes
    shorts = opened(both.ours, rate=0.5).compress(messages)
    assert both.ours.passes == passes
    assert [short.kept == 1 for short in shorts] == [False, True, True, False]


@pytest.mark.parametrize(
    ("roles", "shortened"), [("user", [1, 0, 1, 0, 0]), ("assistant", [0, 1, 1, 0, 0]), ("both", [1, 1, 1, 0, 0])]
)
def test_whose_messages_are_shortened(roles: str, shortened: list[int]) -> None:
    text = "one two three four five"
    speakers = [
        (Role.USER, None),
        (Role.ASSISTANT, None),
        (Role.ASSISTANT, "Melanie"),
        (Role.SYSTEM, None),
        (Role.TOOL, None),
    ]
    messages = [said(text, role=role, speaker=speaker)[0] for role, speaker in speakers]
    shorts = opened(HandReader(), roles=roles).compress(messages)
    assert [short.kept < 1 for short in shorts] == [bool(one) for one in shortened]


def test_each_message_keeps_its_minimum() -> None:
    shorts = opened(HandReader(), rate=0.1, minimum=5).compress(said("a b c d e", "a b c d e f g h", "a"))
    assert [len(short.text.split()) for short in shorts] == [5, 5, 1]
    assert [short.kept for short in shorts] == [1.0, 5 / 8, 1.0]


def test_where_nothing_needs_to_go_the_text_is_as_it_was_said() -> None:
    text = "# The day \n\n - so: \n"  # six tokens, of which three are marks
    for minimum in (5, 6, 12):
        [short] = opened(Spiteful(), rate=0.1, minimum=minimum).compress(said(text))
        assert (short.text, short.kept) == (text, 1.0)


def test_scripts_without_spaces_are_shortened_within_a_clause() -> None:
    """As XLM-R has it: the whole clause is one word of the package's."""
    reader = HandReader(100, whole=False)
    text = "今日は東京でเพื่อนรักกันมากๆ。Berlin好天気" * 2
    [short] = opened(reader, rate=0.5).compress(said(text))
    assert abs(short.kept - 0.5) <= 0.03
    assert is_within(short.text, text)
    for mark in (character for character in short.text if unicodedata.category(character).startswith("M")):
        assert not short.text.startswith(mark)


@pytest.mark.parametrize("text", ["", " \n\t", "🙂", "👩‍👩‍👧", "\u200b", "\ud83d", "…", "a"])
@pytest.mark.parametrize("exact", [True, False])
def test_messages_of_next_to_nothing(both: Both, text: str, exact: bool) -> None:
    [short] = opened(both.ours, rate=0.5, exact=exact).compress(said(text))
    assert short.text == (text if not exact or text not in {"…", "a", "\ud83d"} else "")


def test_a_message_of_a_hundred_thousand_words() -> None:
    text = "we had a great time with the group this week \n" * 10_000
    messages = said("the day", text, "and the week")
    compressor = opened(HandReader(510), rate=0.6)
    shorts = compressor.compress(messages)
    assert [compressor.filled(messages), compressor.filled(messages[1:])] == [1, 1]
    assert shorts[1].kept == pytest.approx(0.6, abs=1e-4)
    assert len(shorts[1].text.split()) == 60_000


def test_the_name_says_what_the_text_depends_on() -> None:
    how: dict[str, list[Any]] = {
        "model": ["a", "b", ""],
        "rate": [0.6, 0.61, 1.0],
        "minimum": [0, 8],
        "keep": [(), ("digits",), ALL_KEPT],
        "roles": ["user", "assistant", "both"],
        "precision": ["int8", "fp32"],
        "exact": [True, False],
    }
    for choice, values in how.items():
        names = {opened(HandReader(), **{choice: value}).name for value in values}
        assert len(names) == len(values), choice
    reordered = opened(HandReader(), keep=tuple(reversed(ALL_KEPT))).name
    assert reordered == opened(HandReader(), keep=ALL_KEPT).name


def test_opening_reads_no_model() -> None:
    def fails() -> TokenReader:
        raise AssertionError("opened too early")

    compressor = LLMLingua2Compressor(replace(HOW, reader=fails))
    assert compressor.name.startswith(f"llmlingua2-{REVISION} ")
    with pytest.raises(AssertionError, match="too early"):
        compressor.compress(said("a"))
