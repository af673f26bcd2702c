"""The sentence-transformers embedder: any model on this machine, and nothing from the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bert import WINDOW, make_tiny_bert

from lightmem_cli.embed.onnx import OnnxEmbedder
from lightmem_cli.embed.sentence_transformer import SentenceTransformerEmbedder
from lightmem_cli.errors import MissingPart


def test_the_space_follows_the_weights_not_the_folder(tmp_path: Path) -> None:
    def revision(folder: str, *, seed: int) -> str:
        model = make_tiny_bert(tmp_path / folder, seed=seed)
        return SentenceTransformerEmbedder(model=str(model), device="cpu", progress=lambda line: None).space.revision

    assert revision("one", seed=1) == revision("copy", seed=1) != revision("other", seed=2)


def test_windows_are_as_long_as_the_model_reads(tmp_path: Path) -> None:
    lines: list[str] = []
    model = make_tiny_bert(tmp_path)
    embedder = SentenceTransformerEmbedder(model=str(model), device="cpu", progress=lines.append)
    text = "abc de f " * 60
    pieces = embedder.windows(text)
    assert all(WINDOW // 2 < len(embedder._tokenizer.encode(piece).ids) <= WINDOW for piece in pieces[:-1])
    assert lines == [f"loading {model} on cpu …"]


def test_the_installed_model_agrees_with_its_onnx_export() -> None:
    texts = ["Caroline went to the support group.", "A much longer sentence about nothing in particular, told twice."]
    reference = SentenceTransformerEmbedder(model=None, device="cpu", progress=lambda line: None).embed(texts)
    export = OnnxEmbedder(model=None, precision="fp32", workers=1, progress=lambda line: None).embed(texts)
    assert abs(reference - export).max() < 1e-5


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("nobody/nothing", "nobody/nothing is not on this machine", "hf download nobody/nothing"),
        ("nothing", "not on this machine", "hf download sentence-transformers/nothing"),
        ("./no/such/folder", "no folder ./no/such/folder", "embed.use onnx"),
    ],
)
def test_a_model_that_is_not_here_names_the_command_that_gets_it(model: str, message: str, hint: str) -> None:
    with pytest.raises(MissingPart, match=message) as raised:
        SentenceTransformerEmbedder(model=model, device="cpu", progress=print).embed(["text"])
    assert hint in (raised.value.hint or "")


def test_a_folder_without_a_model_is_a_missing_part(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match="holds no model"):
        SentenceTransformerEmbedder(model=str(tmp_path), device="cpu", progress=print).embed(["text"])
