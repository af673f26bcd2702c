"""Models that are missing or broken, and messages that are hard: a clear error or a right result, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memories import kept, line, opened
from process import lightmem, start
from tiny_token_models import make_tiny_llmlingua

WORDS = 100_000
SAID = [f"I saw heron {n} by the old mill today, and it was as tall as you." for n in range(12)]
CHAT = b"".join(line(id=f"m{n:02}", session="s", content=text) for n, text in enumerate(SAID))
HARD = ["", "🐦", " \n ", " ".join(["the week you and I went on Monday"] * (WORDS // 8)), "So."]
CUTTING = {"LIGHTMEM_SEGMENT__USE": "attention"}
SHORTENING = {"LIGHTMEM_COMPRESS__USE": "llmlingua2"}
BROKEN = ("no model", "unknown", "no folder", "a file", "other files", "weights", "half weights")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return make_tiny_llmlingua(folder, "mbert")


@pytest.fixture(scope="module")
def broken(folder: Path, model: Path) -> dict[str, str]:
    """What may be named as a model and is none, by what is wrong with it."""
    places = {name: folder / name.replace(" ", "-") for name in BROKEN}
    for name in ("other files", "weights", "half weights"):
        shutil.copytree(model, places[name])
    places["a file"].write_text("not a folder")
    (places["other files"] / "config.json").unlink()
    (places["weights"] / "model.safetensors").write_bytes(b"\xff" * 500)
    weights = places["half weights"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return {name: str(place) for name, place in places.items()} | {"no model": "", "unknown": "nobody/no-such-model"}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine on which no model was ever downloaded."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    yield


def rows_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(row) for row in data.decode("utf-8").split("\n")[:-1]]


def refused(output: bytes, errors: bytes, code: int | None) -> list[str]:
    """What a process said that ended because of a model: the error's line, without its mark, and the hint."""
    said = errors.decode()
    assert (code, output) == (4, b""), said
    assert "Traceback" not in said
    *before, error, hint = said.splitlines()
    assert error.startswith("lightmem: ") and hint.startswith("  hint: ")
    assert not [one for one in before if not one.startswith(("made profile", "loading", "preparing"))], before
    return [error.removeprefix("lightmem: "), hint]


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_is_none_is_one_line_and_what_to_do(
    name: str, broken: dict[str, str], home: Path, tmp_path: Path
) -> None:
    commands = (("compress", "--use", "llmlingua2"), ("segment", "-", "--use", "attention"))
    running = [
        start(*command, "--model", broken[name], "--home", home if n == 0 else tmp_path / "other",
              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for n, command in enumerate(commands)
    ]  # fmt: skip
    for process in running:
        error, hint = refused(*process.communicate(CHAT, timeout=120), process.returncode)
        wanted = broken[name] or "microsoft/llmlingua-2-bert-base-multilingual-cased-meetingbank"
        assert wanted in error
        if name in ("no model", "unknown"):
            assert f"hf download {wanted}" in hint
        assert "lightmem config set" in hint, "what works without it"


@pytest.mark.parametrize("name", ["no model", "unknown", "half weights"])
def test_entropy_refuses_a_model_that_is_none_too(name: str, broken: dict[str, str]) -> None:
    if name == "no model":  # word frequencies
        run = lightmem("compress", "--use", "entropy", "--model", "", feed=CHAT)
        assert (run.returncode, len(rows_of(run.stdout))) == (0, len(SAID)), run.stderr
        return
    run = lightmem("compress", "--use", "entropy", "--model", broken[name], feed=CHAT)
    error, hint = refused(run.stdout, run.stderr, run.returncode)
    assert broken[name] in error and hint


def test_entropy_refuses_damaged_weights_too(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file
    from test_compress_entropy import make_tiny_gpt2

    weights = make_tiny_gpt2(tmp_path / "gpt2") / "model.safetensors"
    tensors = load_file(weights)
    name = "transformer.h.0.mlp.c_fc.weight"
    tensors[name] = tensors[name].copy()
    tensors[name][0, 0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    run = lightmem("compress", "--use", "entropy", "--model", weights.parent, feed=CHAT)
    error, hint = refused(run.stdout, run.stderr, run.returncode)
    assert f"damaged: {name}" in error
    assert "lightmem config set compress.model" in hint


@pytest.mark.parametrize(
    ("settings", "name"), [(CUTTING, "no model"), (SHORTENING, "half weights")], ids=["segment", "compress"]
)
def test_what_was_ingested_without_its_model_is_kept_and_done_once_the_model_is_there(
    settings: dict[str, str], name: str, broken: dict[str, str], model: Path, home: Path, tmp_path: Path
) -> None:
    key = "LIGHTMEM_SEGMENT__MODEL" if settings is CUTTING else "LIGHTMEM_COMPRESS__MODEL"
    run = lightmem("ingest", "-", feed=CHAT, env={**settings, key: broken[name]})
    error, hint = refused(run.stdout, run.stderr, run.returncode)
    assert "kept: 12 new messages" in hint and error
    with opened(home) as memory:
        assert (memory.history.counts.messages(), memory.history.segments.all()) == (12, [])
    found = lightmem("retrieve", "heron 7", "--limit", "1", "--json")
    assert json.loads(found.stdout)["hits"][0]["sources"] == ["m07"], "what is kept is found meanwhile"

    good = {**settings, key: str(model)}
    fresh = tmp_path / "fresh"
    for place in (home, fresh):
        run = lightmem("ingest", "-", "--home", place, feed=CHAT, env=good)
        assert run.returncode == 0, run.stderr
    assert kept(home) == kept(fresh)
    assert kept(home).pending == {}
    segments = []
    for place in (home, fresh):
        with opened(place) as memory:
            segments.append(memory.history.segments.all())
    assert segments[0] == segments[1] != []


@pytest.mark.parametrize("rate", ["0", "2"])
def test_a_rate_that_means_nothing_is_refused_wherever_it_is_set(rate: str, home: Path) -> None:
    for arguments, env in (
        (["compress", "--rate", rate], {}),
        (["ingest", "-"], {"LIGHTMEM_COMPRESS__RATE": rate}),
    ):
        run = lightmem(*arguments, feed=CHAT, env=env)
        said = [row for row in run.stderr.decode().splitlines() if not row.startswith("made profile")]
        assert (run.returncode, run.stdout, len(said)) == (2, b"", 2), said
        assert "rate is" in said[0] and said[1].startswith("  hint: ")
    assert not list(home.rglob("history.db"))


@pytest.mark.parametrize("use", ["entropy", "llmlingua2", "llmlingua2 --exact"])
def test_hard_messages_are_shortened_to_something_of_themselves(use: str, model: Path) -> None:
    hard = HARD if "--exact" not in use else [*HARD[:3], " ".join(HARD[3].split()[:5000]), HARD[4]]
    feed = b"".join(line(id=str(n), session="s", content=text) for n, text in enumerate(hard))
    chosen = ["--use", *use.split(), *(["--model", os.fspath(model)] if use != "entropy" else [])]
    run = lightmem("compress", *chosen, "--rate", "0.5", "--keep", "none", feed=feed)
    assert run.returncode == 0, run.stderr
    printed = rows_of(run.stdout)
    assert [(row["id"], row["content"]) for row in printed] == [(str(n), text) for n, text in enumerate(hard)]
    assert [row["kept"] for row in printed if not row["content"].strip()] == [1, 1]
    assert [row["compressed"] for row in printed if not row["content"].strip()] == ["", HARD[2]]
    long = printed[3]
    assert 0.4 < long["kept"] < 0.6
    assert 0.3 < len(long["compressed"]) / len(long["content"]) < 0.7
    if "--exact" not in use:  # the package drops what its model does not know
        assert printed[1]["compressed"] == "🐦"
        assert printed[4]["compressed"] == "So.", "shorter than compress.minimum"


@pytest.mark.parametrize("use", ["similarity", "attention"])
def test_hard_messages_each_come_out_in_a_topic(use: str, model: Path) -> None:
    feed = b"".join(line(id=str(n), session="s", content=text) for n, text in enumerate([*HARD, *SAID]))
    run = lightmem("segment", "-", "--use", use, *([] if use == "similarity" else ["--model", model]), feed=feed)
    assert run.returncode == 0, run.stderr
    printed = rows_of(run.stdout)
    assert [row["id"] for row in printed] == [str(n) for n in range(len(HARD) + len(SAID))]
    numbers = [row["segment"] for row in printed]
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, numbers[-1] + 1))
    if use != "similarity":
        assert numbers.count(numbers[3]) == 1, "longer than a window, and so a topic of its own"


def test_hard_messages_are_ingested_with_one_model_for_all(model: Path) -> None:
    feed = b"".join(line(id=str(n), session="s", content=text) for n, text in enumerate([*HARD, *SAID]))
    run = lightmem(
        "ingest",
        "-",
        feed=feed,
        env={**SHORTENING, "LIGHTMEM_SEGMENT__USE": "hybrid", "LIGHTMEM_COMPRESS__MODEL": str(model)},
    )
    assert run.returncode == 0, run.stderr
    stats = json.loads(lightmem("stats", "--json").stdout)
    assert (stats["messages"], stats["pending"], stats["quarantined"]) == (len(HARD) + len(SAID), {}, 0)
    assert stats["compressed"]["messages"] > 0 and stats["segments"] > 1
