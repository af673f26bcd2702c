"""Every embedder keeps one contract, and opens by name."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_bert import make_tiny_bert

from lightmem_cli.embed import BACKENDS, open_embedder
from lightmem_cli.errors import MissingPart
from lightmem_cli.protocols import Embedder

SENTENCES = [
    "Caroline went to the support group.",
    "She loved it!",
    "Melanie painted a lake at sunrise last year, and gave it to her sister.",
    "ok",
    "",
    "Ναι, 那是 сегодня — 안녕하세요 🙂",
    "half a \ud83d pair",
    "Caroline went to the support group.",
    "x" * 300,
    *(f"Number {n} is followed by {'many ' * (n % 7)}words." for n in range(40)),
]
LONG = " ".join(f"word{n} and more of it," for n in range(400))


@pytest.fixture(scope="module", params=["onnx int8", "onnx fp32", "sentence-transformers", "hashing"])
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    use, _, precision = request.param.partition(" ")
    tiny = use == "sentence-transformers"
    yield open_embedder(
        use,
        model=str(make_tiny_bert(tmp_path_factory.mktemp("tiny"))) if tiny else None,
        device="cpu",
        precision="fp32" if precision == "fp32" else "int8",
        workers=3,
        progress=lambda line: None,
    )


def test_vectors_are_float32_unit_rows(embedder: Embedder) -> None:
    vectors = embedder.embed(SENTENCES)
    assert vectors.shape == (len(SENTENCES), embedder.space.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.space.dimension)


def test_a_vector_is_a_function_of_its_text_alone_bit_for_bit(embedder: Embedder) -> None:
    together = embedder.embed(SENTENCES)
    for sentence, vector in zip(SENTENCES, together, strict=True):
        assert embedder.embed([sentence]).tobytes() == vector.tobytes(), sentence
    for seed in range(3):
        order = random.Random(seed).sample(range(len(SENTENCES)), k=len(SENTENCES) - 5 * seed)
        assert embedder.embed([SENTENCES[n] for n in order]).tobytes() == together[order].tobytes()


def test_the_same_words_are_nearer_than_others(embedder: Embedder) -> None:
    base, near, far = embedder.embed(["the red house on the hill", "a red house on a hill", "0% vim, 99 $ + tax?"])
    assert base @ near > base @ far


def test_a_short_text_is_its_own_window_and_a_blank_one_has_none(embedder: Embedder) -> None:
    assert embedder.windows("I went home.") == ["I went home."]
    assert embedder.windows(" padded ") == [" padded "]
    assert [embedder.windows(blank) for blank in ("", " \n\t ", "\u3000")] == [[], [], []]


def test_windows_cover_a_long_text_and_share_words(embedder: Embedder) -> None:
    pieces = embedder.windows(LONG)
    end = 0
    for piece in pieces:
        begin = LONG.index(piece)
        assert begin == 0 if end == 0 else begin < end
        end = begin + len(piece)
    assert end == len(LONG)


def test_windows_of_unusual_text_cover_it(embedder: Embedder) -> None:
    for text in ("안녕하세요" * 300, "\u200b" * 900, "🙂" * 700, "a" * 2000, "x \ud83d y " * 200, "ﷺ" * 300):
        pieces = embedder.windows(text)
        assert "".join(pieces)[:1] == text[0]
        assert sum(map(len, pieces)) >= len(text)
        assert all(piece in text for piece in pieces)
        assert embedder.embed(pieces).shape[0] == len(pieces)


def test_the_space_says_what_made_the_vectors() -> None:
    def space(use: str, **options: str) -> object:
        return open_embedder(use, progress=lambda line: None, **options).space  # type: ignore[arg-type]

    assert space("onnx") == space("onnx", model="all-MiniLM-L6-v2")
    assert len({space("onnx"), space("onnx", precision="fp32"), space("hashing")}) == 3


def outside_package(folder: Path, *, code: str, module: str = "acme_embed") -> None:
    """Lay out an installed distribution `acme-embed` with the embedder `words` in its module."""
    (folder / f"{module}.py").write_text(code)
    info = folder / "acme_embed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-embed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lightmem.embed]\nwords = {module}:Words\n")


def test_an_outside_embedder_is_imported_only_when_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside_package(tmp_path, code="class Words:\n    def __init__(self, **options):\n        self.options = options\n")
    monkeypatch.syspath_prepend(tmp_path)
    open_embedder("hashing", progress=print)
    assert "acme_embed" not in sys.modules
    opened = open_embedder("acme-embed:words", model="big", workers=2, progress=print)
    expected = {"model": "big", "device": "auto", "precision": "int8", "workers": 2, "progress": print}
    assert opened.options == expected  # type: ignore[attr-defined]


def test_an_outside_embedder_that_cannot_be_imported_is_a_missing_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside_package(tmp_path, code="raise RuntimeError('no licence')", module="acme_unlicensed")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPart, match="acme-embed:words cannot be imported: no licence"):
        open_embedder("acme-embed:words", progress=print)


def test_an_unknown_embedder_names_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside_package(tmp_path, code="")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPart) as raised:
        open_embedder("acme-embed:sentences", progress=print)
    assert raised.value.hint is not None
    assert all(name in raised.value.hint for name in [*BACKENDS, "acme-embed:words"])
