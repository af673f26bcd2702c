"""One pass over a window: what transformers says of the same tokens, once, whoever asks, and never from the network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_token_models import KINDS, LETTERS, WORDS, Kind, make_tiny_llmlingua

from lightmem_cli.errors import MissingPart, ProfileError
from lightmem_cli.local_models import token_model_onnx, token_pieces
from lightmem_cli.local_models.device import maybe_accelerated
from lightmem_cli.local_models.token_graph import write_token_graph
from lightmem_cli.local_models.token_pass import open_token_pass
from lightmem_cli.local_models.token_shape import read_shape
from lightmem_cli.local_models.token_weights import open_weights, weight_files
from lightmem_cli.privacy import cache_folder
from lightmem_cli.protocols import Reading, TokenReader
from lightmem_cli.records import Message, Role

PRECISIONS = ["fp32", "int8"]
TALK = [
    "Caroline went to the support group, on 7 May!",
    "",
    "今日は天気。 That was really-really lovely… Melanie said: “so do I”.",
    "สวัดี you, and thanks to Berlin (the time, the day) 😀",
    "OK",
]


def message(content: str, number: int = 0) -> Message:
    return Message(conversation="", session="s", id=str(number), position=number, role=Role.USER, content=content)


def messages(texts: Sequence[str]) -> list[Message]:
    return [message(text, number) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    return {kind: make_tiny_llmlingua(tmp_path_factory.mktemp("models"), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def shared(folders: dict[Kind, Path]) -> Callable[..., TokenReader]:
    """Readers that tests may share, since none shows what another test has read."""
    opened: dict[tuple[Kind, str], TokenReader] = {}

    def open_once(kind: Kind, precision: str = "int8") -> TokenReader:
        if (kind, precision) not in opened:
            opened[kind, precision] = reader(folders[kind], precision)
        return opened[kind, precision]

    return open_once


def reader(folder: Path | str, precision: str = "int8", **options: Any) -> TokenReader:
    options = {"device": "cpu", "progress": lambda line: None} | options
    return open_token_pass(str(folder), precision=precision, **options)  # type: ignore[arg-type]


def transformers_says(folder: Path, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Of a window, special tokens and all: what to keep, and attention by layer and head."""
    import torch
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_attentions=True)
    keep = torch.softmax(out.logits, dim=-1)[0, :, 1].numpy()
    return keep, np.stack([layer[0].numpy() for layer in out.attentions])


def edges(folder: Path) -> tuple[int, int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer.cls_token_id, tokenizer.sep_token_id


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-5), ("int8", 0.06)])
def test_a_window_is_read_as_transformers_reads_it(
    folders: dict[Kind, Path], kind: Kind, precision: str, near: float
) -> None:
    mine = reader(folders[kind], precision)
    said = messages(TALK)
    found = mine.read(said, attention=True)
    pieces = [mine.pieces(text).ids for text in TALK]
    before, behind = edges(folders[kind])
    keep, by_layer = transformers_says(folders[kind], [before, *(piece for ids in pieces for piece in ids), behind])
    assert [len(one) for one in found.keep] == [len(ids) for ids in pieces]
    np.testing.assert_allclose(np.concatenate(found.keep), keep[1:-1], atol=near)
    assert np.corrcoef(np.concatenate(found.keep), keep[1:-1])[0, 1] > 0.98
    within = by_layer[-2:].mean(axis=(0, 1))[1:-1, 1:-1]  # the last third of four layers is two
    assert found.attention is not None
    np.testing.assert_allclose(found.attention, within / within.sum(axis=1, keepdims=True), atol=near)
    np.testing.assert_allclose(found.attention.sum(axis=1), 1, atol=1e-5)
    assert mine.passes == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_written_graph_is_the_transformers_model(folders: dict[Kind, Path], kind: Kind) -> None:
    import onnxruntime

    shape = read_shape(folders[kind])
    graph = write_token_graph(*open_weights(weight_files(folders[kind]), shape=shape), shape=shape, precision="fp32")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for tokens in (3, 512):
        ids = np.random.default_rng(tokens).integers(5, shape.vocabulary, tokens)
        keep, by_layer = transformers_says(folders[kind], ids.tolist())
        for attentive in (True, False):
            found = session.run(None, {"ids": ids[None], "attentive": np.array(attentive)})
            np.testing.assert_allclose(found[0], keep, atol=1e-5)
            expected = by_layer[-2:].mean(axis=(0, 1)) if attentive else np.empty((0, 0))
            np.testing.assert_allclose(found[1], expected, atol=1e-5)


def test_a_model_of_other_sizes_is_read_too(tmp_path: Path) -> None:
    folder = make_tiny_llmlingua(tmp_path, "xlmr", layers=1, width=24, heads=2, positions=40)
    single = messages(["Thanks, Melanie."])
    one, other = (reader(folder, precision).read(single, attention=True) for precision in PRECISIONS)
    assert reader(folder).limit == 38
    np.testing.assert_allclose(one.keep[0], other.keep[0], atol=0.06)
    assert one.attention is not None and other.attention is not None
    np.testing.assert_allclose(one.attention, other.attention, atol=0.06)


# What stands for which characters.

texts = st.text(max_size=60) | st.text(LETTERS + "  \n", max_size=80) | st.lists(st.sampled_from(WORDS)).map(" ".join)


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts | st.text(st.characters(categories=["Cs", "Mn", "Zs", "So", "Lo"]), max_size=20))
def test_a_character_belongs_to_one_token_at_most_and_tokens_go_forward(
    shared: Callable[..., TokenReader], kind: Kind, text: str
) -> None:
    pieces = shared(kind).pieces(text)
    assert len(pieces.ids) == len(pieces.spans) == len(pieces.begins)
    bounds = [bound for span in pieces.spans for bound in span]
    assert bounds == sorted(bounds)
    assert not bounds or 0 <= bounds[0] <= bounds[-1] <= len(text)
    assert pieces.begins[:1] in {(), (True,)}


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(LETTERS + "  \n", max_size=80))
def test_no_letter_is_left_out(shared: Callable[..., TokenReader], kind: Kind, text: str) -> None:
    spans = shared(kind).pieces(text).spans
    assert "".join(text[begin:end] for begin, end in spans).split() == "".join(text.split()).split()


@pytest.fixture(scope="module")
def transformers_tokenizers(folders: dict[Kind, Path]) -> dict[Kind, Any]:
    from transformers import AutoTokenizer

    return {kind: AutoTokenizer.from_pretrained(folders[kind]) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=60) | st.text(LETTERS + "  \n", max_size=80))
def test_tokens_and_words_begin_as_the_llmlingua_package_has_them(
    shared: Callable[..., TokenReader], transformers_tokenizers: dict[Kind, Any], kind: Kind, text: str
) -> None:
    from llmlingua.utils import is_begin_of_new_word

    tokenizer = transformers_tokenizers[kind]
    well_formed = text.encode("utf-8", "replace").decode()
    pieces = shared(kind).pieces(text)
    assert list(pieces.ids) == tokenizer(well_formed, add_special_tokens=False).input_ids
    name = tokenizer.name_or_path
    tokens = tokenizer.convert_ids_to_tokens(list(pieces.ids))
    assert list(pieces.begins[1:]) == [is_begin_of_new_word(token, name, [], {}) for token in tokens[1:]]


def test_what_was_said_is_text_and_no_special_token_but_for_the_package(folders: dict[Kind, Path]) -> None:
    as_said, exact = (reader(folders["mbert"], exact=exact) for exact in (False, True))
    assert edges(folders["mbert"])[1] not in as_said.pieces("so [SEP] so").ids
    assert len(as_said.pieces("[SEP]").ids) == len("[SEP]")
    assert exact.pieces("so [SEP] so").ids[1] == edges(folders["mbert"])[1]


def test_the_package_gives_xlmr_windows_unknown_edges(folders: dict[Kind, Path]) -> None:
    """It looks for [CLS] and [SEP] in either vocabulary."""
    mine = reader(folders["xlmr"], "fp32", exact=True)
    said = message("We had a lovely time.")
    keep, _ = transformers_says(folders["xlmr"], [3, *mine.pieces(said.content).ids, 3])
    np.testing.assert_allclose(mine.read([said]).keep[0], keep[1:-1], atol=1e-6)


# What is remembered, and what is too long.


class Counted:
    """A tokenizer that counts the texts it splits."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.texts: list[str] = []

    def encode(self, text: str, **options: Any) -> Any:
        self.texts.append(text)
        return self.tokenizer.encode(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def test_a_text_is_split_once_while_there_is_room_for_it(
    folders: dict[Kind, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    splitter = token_pieces.Splitter(folders["mbert"], shape=read_shape(folders["mbert"]), exact=False)
    counted = Counted(splitter._tokenizer)
    splitter._tokenizer = counted  # type: ignore[assignment]
    huge = "the day " * 5000
    assert splitter.pieces(huge) is splitter.pieces(huge)
    assert counted.texts == [huge], "however long"

    monkeypatch.setattr(token_pieces, "_MOST_CHARACTERS", 100)
    counted.texts.clear()
    for text in ("a" * 40, "b" * 40, "a" * 40, "c" * 40, "a" * 40):
        splitter.pieces(text)
    assert [text[0] for text in counted.texts] == ["a", "b", "c"]
    splitter.pieces("b" * 40)
    assert len(counted.texts) == 4, "the one asked for longest ago has made room"
    assert splitter.pieces("d" * 101) is not splitter.pieces("d" * 101)
    splitter.pieces("b" * 40)
    assert len(counted.texts) == 6, "what is not remembered takes no room"

    monkeypatch.setattr(token_pieces, "_REMEMBERED", 3)
    for number in (1, 2, 3, 4, 1):
        splitter.pieces(str(number))
    assert counted.texts[6:] == ["1", "2", "3", "4", "1"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_was_read_lately_side_by_side_takes_no_pass(folders: dict[Kind, Path], precision: str) -> None:
    mine = reader(folders["mbert"], precision)
    said = messages(TALK)
    whole = mine.read(said, attention=True)
    for first in range(len(said)):
        for last in range(first, len(said) + 1):
            part = mine.read(said[first:last])
            assert [one.tobytes() for one in part.keep] == [one.tobytes() for one in whole.keep[first:last]]
            assert part.attention is None
    assert mine.passes == 1
    assert mine.read(said, attention=True).attention is whole.attention
    assert mine.passes == 1
    mine.read([said[0], said[2]])  # not side by side
    assert mine.passes == 2
    mine.read([message(TALK[0], number=9)])  # another message with the same words
    assert mine.passes == 3


def test_attention_is_that_of_the_window_that_was_asked_for(folders: dict[Kind, Path]) -> None:
    """Another process, which has not read the longer window, comes to the same."""
    said = messages(TALK)
    fresh, used = reader(folders["mbert"]), reader(folders["mbert"])
    used.read(said, attention=True)
    used.read(said[2:])
    assert used.passes == 1
    same(used.read(said[2:], attention=True), fresh.read(said[2:], attention=True))
    assert used.passes == 2


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_reading_does_not_depend_on_what_was_read_before(folders: dict[Kind, Path], precision: str) -> None:
    fresh, used = reader(folders["xlmr"], precision), reader(folders["xlmr"], precision)
    for number, text in enumerate(TALK):
        used.read([message(text, number=50 + number)], attention=number % 2 == 0)
    same(used.read(messages(TALK), attention=True), fresh.read(messages(TALK), attention=True))


def test_only_so_many_windows_are_remembered(folders: dict[Kind, Path]) -> None:
    mine = reader(folders["mbert"])
    said = [message(f"day {number}", number) for number in range(9)]
    for one in said:
        mine.read([one])
    for one in said[1:]:
        mine.read([one])
    assert mine.passes == 9
    mine.read(said[:1])
    assert mine.passes == 10


def test_nobody_changes_what_is_remembered(folders: dict[Kind, Path]) -> None:
    found = reader(folders["mbert"]).read(messages(TALK), attention=True)
    assert found.attention is not None
    for array in (found.keep[0], found.attention):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_long_message_is_read_in_parts_that_end_with_sentences(folders: dict[Kind, Path], precision: str) -> None:
    mine = reader(folders["mbert"], precision)
    sentences = [f"{word} like {'very ' * 30}time." for word in WORDS[:40]]
    long = message(" ".join(sentences))
    ids = mine.pieces(long.content).ids
    assert len(ids) > 2 * mine.limit
    found = mine.read([long], attention=True)
    assert found.attention is None
    assert [len(one) for one in found.keep] == [len(ids)]
    fits = mine.limit // len(mine.pieces(sentences[0]).ids)
    alone = mine.read([message(" ".join(sentences[:fits]))]).keep[0]
    assert found.keep[0][: len(alone)].tobytes() == alone.tobytes()
    before = mine.passes
    assert mine.read([long], attention=True).keep[0] is found.keep[0]
    assert mine.passes == before
    with pytest.raises(ValueError, match="2 messages of"):
        mine.read([long, message("OK", 1)])


def test_a_text_with_no_end_of_a_sentence_is_cut_where_the_window_ends(folders: dict[Kind, Path]) -> None:
    mine = reader(folders["mbert"])
    assert len(mine.read([message("day " * (2 * mine.limit + 1))]).keep[0]) == 2 * mine.limit + 1
    assert mine.passes == 3
    mine.read([message("day " * mine.limit)])
    assert mine.passes == 4


def test_nothing_said_takes_no_pass(shared: Callable[..., TokenReader]) -> None:
    mine = shared("mbert")
    before = mine.passes
    assert mine.read([]) == Reading([], None)
    for said in ([], [message("")], [message(" \n"), message("", 1)]):
        found = mine.read(said, attention=True)
        assert [one.shape for one in found.keep] == [(0,)] * len(said)
        assert found.attention is not None and found.attention.shape == (0, 0)
    assert mine.passes == before


@pytest.mark.parametrize("precision", PRECISIONS)
def test_threads_may_share_a_reader(folders: dict[Kind, Path], precision: str) -> None:
    alone, together = reader(folders["mbert"], precision), reader(folders["mbert"], precision)
    said = [message(f"{word} to {TALK[2]}", number) for number, word in enumerate(WORDS)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda one: together.read([one], attention=True), said))
    assert together.passes == len(said)
    for one, reading in zip(said, found, strict=True):
        same(reading, alone.read([one], attention=True))


@settings(max_examples=30)
@given(contents=st.lists(texts, max_size=6))
def test_every_token_of_every_message_has_a_probability(
    shared: Callable[..., TokenReader], contents: list[str]
) -> None:
    mine = shared("xlmr")
    found = mine.read(messages(contents), attention=True)
    assert [len(one) for one in found.keep] == [len(mine.pieces(text).ids) for text in contents]
    assert all(((one >= 0) & (one <= 1)).all() for one in found.keep)
    assert found.attention is not None
    np.testing.assert_allclose(found.attention.sum(axis=1), 1, atol=1e-5)


def same(one: Reading, other: Reading) -> None:
    assert [keep.tobytes() for keep in one.keep] == [keep.tobytes() for keep in other.keep]
    assert one.attention is not None and other.attention is not None
    assert one.attention.tobytes() == other.attention.tobytes()


# The int8 form.


def test_int8_imports_neither_torch_nor_transformers(folders: dict[Kind, Path]) -> None:
    reader(folders["mbert"]).read(messages(TALK))  # so that the export is there
    device = "cpu" if maybe_accelerated() else "auto"
    code = (
        "import sys; from lightmem_cli.local_models.token_pass import open_token_pass; "
        "from lightmem_cli.records import Message, Role; "
        f"mine = open_token_pass({str(folders['mbert'])!r}, device={device!r}, precision='int8', progress=print); "
        "said = Message(conversation='', session='', id='', position=0, role=Role.USER, content='the day'); "
        "assert len(mine.read([said], attention=True).keep[0]) == 2; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert "onnxruntime" in loaded
    assert {"torch", "transformers", "onnx", "safetensors", "huggingface_hub", "filelock"}.isdisjoint(loaded)


def exports() -> set[Path]:
    return set((cache_folder() / "models").glob("tokens-int8-*/model.onnx"))


def test_the_same_weights_are_prepared_once_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: dict[Kind, Path]
) -> None:
    monkeypatch.setenv("LIGHTMEM_CACHE", str(tmp_path / "cache"))
    lines: list[str] = []
    folder = Path(shutil.copytree(folders["mbert"], tmp_path / "model"))
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for each in (folder, folder, copy):
        reader(each, progress=lines.append).read(messages(TALK))
    assert lines == [f"preparing {folder} (int8), once …"]
    assert len(exports()) == 1

    other = make_tiny_llmlingua(tmp_path / "other", seed=1) / "model.safetensors"
    shutil.copy(other, folder / "model.safetensors")
    changed = reader(folder).read(messages(TALK)).keep[0]
    assert len(exports()) == 2
    assert changed.tobytes() != reader(copy).read(messages(TALK)).keep[0].tobytes()

    (exported,) = {
        path for path in exports() if path.stat().st_mtime_ns == max(p.stat().st_mtime_ns for p in exports())
    }
    exported.write_bytes(exported.read_bytes()[:-1])
    reader(folder, progress=lines.append).read(messages(TALK))
    assert lines[1:] == [f"the cached copy is damaged: preparing {folder} (int8), once …"]


@pytest.mark.parametrize("damage", [None, "[]", "{", '{"model": 1}'])
def test_weights_are_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: dict[Kind, Path], damage: str | None
) -> None:
    """Those of a large model take a second, which a short command would spend on little else."""
    monkeypatch.setenv("LIGHTMEM_CACHE", str(tmp_path / "cache"))
    hashed: list[str] = []
    digest = token_model_onnx.file_digest

    def counted(file: Any, kind: str) -> Any:
        hashed.append(file.name)
        return digest(file, kind)

    monkeypatch.setattr(token_model_onnx, "file_digest", counted)
    for _ in range(2):
        for kind in KINDS:
            reader(folders[kind]).read(messages(TALK))
    assert len(hashed) == 2
    if damage is not None:
        (cache_folder() / "models" / "weights.json").write_text(damage)
        reader(folders["mbert"]).read(messages(TALK))
        assert len(hashed) == 3


def test_weights_in_several_files_or_in_half_precision_are_read(tmp_path: Path, folders: dict[Kind, Path]) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folders["mbert"] / "model.safetensors")
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    folder = Path(shutil.copytree(folders["mbert"], tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    names = sorted(halves)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: halves[name] for name in held}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    expected = np.concatenate(reader(folders["mbert"]).read(messages(TALK)).keep)
    for precision in PRECISIONS:
        found = np.concatenate(reader(folder, precision).read(messages(TALK)).keep)
        np.testing.assert_allclose(found, expected, atol=0.06)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingPart, match=r"has no model-00002-of-00002\.safetensors"):
        reader(folder)


def test_what_onnxruntime_fails_of_is_raised_as_torch_does(folders: dict[Kind, Path]) -> None:
    folder = folders["mbert"]
    model = token_model_onnx.OnnxTokenModel(folder, name="", shape=read_shape(folder), progress=lambda line: None)
    with pytest.raises(RuntimeError, match=r"onnxruntime: .*indices element out of data bounds"):
        model.run([10**6], attention=False)


# Models that are not there, or are none.


def test_a_model_of_the_hubs_cache_is_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: dict[Kind, Path]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    shutil.copytree(folders["mbert"], repository / "snapshots" / ("a" * 40))
    assert len(reader("somebody/tiny").read(messages(TALK)).keep) == len(TALK)
    weights = repository / "snapshots" / ("a" * 40) / "model.safetensors"
    for data in (weights.read_bytes()[:-1], None):
        weights.write_bytes(data) if data else weights.unlink()
        for precision in PRECISIONS:
            with pytest.raises(MissingPart) as raised:
                reader("somebody/tiny", precision).read(messages(TALK))
            assert (raised.value.hint or "").startswith("hf download --force-download somebody/tiny ")


@pytest.mark.parametrize(
    ("model", "says", "hint"),
    [
        ("nobody/nothing", "the model nobody/nothing is not on this machine", "hf download nobody/nothing "),
        ("nothing", "the model nothing is not on this machine", "hf download nothing "),
        ("./no/such/folder", "no folder ./no/such/folder", "compress.use entropy"),
        (__file__, "is a file, not the folder of a model", "compress.use entropy"),
    ],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_that_is_not_here_names_the_command_that_gets_it(
    model: str, says: str, hint: str, precision: str
) -> None:
    with pytest.raises(MissingPart, match=says) as raised:
        reader(model, precision)
    assert hint in (raised.value.hint or "")
    assert "segment.use similarity" in (raised.value.hint or "")


def config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return write


def shortened(name: str, *, by: int) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-by])

    return cut


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        changed = change(tensors.pop(name))
        save_file(tensors | ({} if changed is None else {name: changed}), folder / "model.safetensors")

    return alter


def spoiled(weight: np.ndarray, value: float) -> np.ndarray:
    """`weight` with one number replaced."""
    weight = weight.copy()
    weight[3, 5] = value
    return weight


LAYER = "bert.encoder.layer.1.output.dense.weight"
BROKEN = {
    "no config": (without("config.json"), "holds no model: it has no config.json"),
    "a config that is no JSON": (written("config.json", b"{"), "cannot read .*config.json"),
    "a config that is no object": (written("config.json", b"[]"), "config.json: it is not an object"),
    "another task": (config(architectures=["BertModel"]), "holds BertModel, not a token classifier with 2 labels"),
    "no task": (config(architectures=None), "holds a bert model, not a token classifier"),
    "other labels": (
        config(id2label={str(n): f"L{n}" for n in range(9)}),
        "holds a BertForTokenClassification with 9 labels, not a token classifier with 2 labels",
    ),
    "another kind": (
        config(model_type="gpt2", architectures=["GPT2ForTokenClassification"]),
        r"holds a gpt2 model \(GPT2ForTokenClassification\), not one of BERT's or XLM-RoBERTa's kind",
    ),
    "no sizes": (config(hidden_size=None), "does not give the model's sizes: 'hidden_size'"),
    "impossible sizes": (config(num_attention_heads=5), "sizes that no model can have"),
    "relative positions": (config(position_embedding_type="relative_key"), "relative positions"),
    "no tokenizer": (without("tokenizer.json"), "has no fast tokenizer: there is no tokenizer.json"),
    "a broken tokenizer": (shortened("tokenizer.json", by=20), "cannot read .*tokenizer.json"),
    "a tokenizer with more tokens": (config(vocab_size=100), "tokens, its weights 100"),
    "no weights": (without("model.safetensors"), "has no weights|cannot be read"),
    "cut weights": (shortened("model.safetensors", by=1000), "weights in .* cannot be read"),
    "weights that are none": (written("model.safetensors", b"weights"), "weights in .* cannot be read"),
    "a tensor lost": (tensor(LAYER, lambda weight: None), f"weights in .* lack {LAYER}"),
    "a tensor of another shape": (
        tensor(LAYER, lambda weight: weight[:, :-2]),
        rf"{LAYER} has the shape \(32, 62\), not",
    ),
    "a tensor with what is no number": (tensor(LAYER, lambda weight: spoiled(weight, np.nan)), f"damaged: {LAYER}"),
    "an infinite tensor": (tensor(LAYER, lambda weight: spoiled(weight, np.inf)), f"damaged: {LAYER}"),
    "a tensor of too large numbers": (
        tensor(LAYER, lambda weight: spoiled(weight.astype(np.float64), 1e300)),
        f"damaged: {LAYER}",
    ),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_folder_without_such_a_model_says_what_is_wrong(
    tmp_path: Path, folders: dict[Kind, Path], broken: str, precision: str
) -> None:
    spoil, says = BROKEN[broken]
    folder = Path(shutil.copytree(folders["mbert"], tmp_path / "model"))
    spoil(folder)
    with warnings.catch_warnings(), pytest.raises(MissingPart, match=says) as raised:
        warnings.simplefilter("error", RuntimeWarning)
        reader(folder, precision).read(messages(TALK))
    assert "\n" not in raised.value.message
    assert "lightmem config set" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (config(hidden_act="relu"), "int8 is made of models with gelu, not with relu"),
        (tensor(LAYER, lambda weight: weight.astype(np.int32)), "int8 is not made of weights kept as I32"),
    ],
)
def test_what_int8_is_not_made_of_is_read_in_float32(
    tmp_path: Path, folders: dict[Kind, Path], spoil: Callable[[Path], None], says: str
) -> None:
    folder = Path(shutil.copytree(folders["mbert"], tmp_path / "model"))
    spoil(folder)
    with pytest.raises(MissingPart, match=says) as raised:
        reader(folder).read(messages(TALK))
    assert (raised.value.hint or "").startswith("lightmem config set compress.precision fp32")
    assert len(reader(folder, "fp32").read(messages(TALK)).keep) == len(TALK)


def test_weights_of_the_old_kind_are_read_in_float32(tmp_path: Path, folders: dict[Kind, Path]) -> None:
    import torch
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(folders["mbert"], tmp_path / "model"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingPart, match=r"has only a \.bin") as raised:
        reader(folder)
    assert "compress.precision fp32" in (raised.value.hint or "")
    expected = reader(folders["mbert"], "fp32").read(messages(TALK))
    assert [keep.tobytes() for keep in reader(folder, "fp32").read(messages(TALK)).keep] == [
        keep.tobytes() for keep in expected.keep
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_device_is_refused_by_name(folders: dict[Kind, Path], precision: str) -> None:
    with pytest.raises(ProfileError, match="unknown device 'gpu'"):
        reader(folders["mbert"], precision, device="gpu")
    with pytest.raises(MissingPart, match="no device 'cuda:99'"):
        reader(folders["mbert"], precision, device="cuda:99")
