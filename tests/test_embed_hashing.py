"""The hashing embedder: the same everywhere, whatever the text."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.embed.hashing import HashingEmbedder

texts = st.lists(st.text(max_size=60), max_size=8)


@given(texts, st.randoms())
def test_rows_are_unit_and_depend_on_their_text_alone(texts: list[str], random: object) -> None:
    embedder = HashingEmbedder()
    together = embedder.embed(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert embedder.embed([texts[n] for n in order]).tobytes() == together[order].tobytes()
    for n, text in enumerate(texts):
        assert embedder.embed([text]).tobytes() == together[n].tobytes()


def test_vectors_are_the_same_in_every_process() -> None:
    code = "from lightmem_cli.embed.hashing import HashingEmbedder as H; print(H().embed(['Who won?']).tobytes().hex())"
    run = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert run[0].stdout == run[1].stdout
    assert run[0].stdout.decode().strip() == HashingEmbedder().embed(["Who won?"]).tobytes().hex()


def test_case_and_punctuation_do_not_count_and_shared_letters_do() -> None:
    first, same, near, far = HashingEmbedder().embed(["Painting!", "painting", "painted", "swims"])
    assert first.tobytes() == same.tobytes()
    assert first @ near > 0.3 > first @ far
