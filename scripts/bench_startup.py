"""Measures what a cold start costs: help against Typer alone, and a query against sentence-transformers.

    python scripts/bench_startup.py

Both sides of each ratio are whole processes of the same machine and run, one after the other in turn.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from processes import LIGHTMEM, environment, lightmem, run, transcript

from lightmem_cli.local_models.minilm import model_folder

QUESTION = "When did Gina lose her job?"
HEAVY = ["torch", "transformers", "sentence_transformers", "llmlingua", "faiss", "onnxruntime", "numpy", "pydantic"]
ENCODE = (
    "from sentence_transformers import SentenceTransformer; "
    f"SentenceTransformer({str(model_folder())!r}, device='cpu').encode([{QUESTION!r}])"
)
# Runs the command line inside a Python that afterwards says which of the heavy modules it imported.
TELL = f"""
import json, sys
from lightmem_cli.cli import run
try:
    run()
finally:
    print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)
"""


def main() -> None:
    help_, typer = _in_turn([*LIGHTMEM, "--help"], [sys.executable, "-c", "import typer"], env=environment(), times=7)
    print(f"lightmem --help                      {help_:6.3f} s, of 7 the median")
    print(f"python -c 'import typer'             {typer:6.3f} s")
    print(f"ratio                                {help_ / typer:6.2f}   (at most 2)")
    print(f"heavy imports of --help: {_heavy('--help', env=environment()) or 'none'}\n")
    with tempfile.TemporaryDirectory(prefix="bench-startup-") as folder:
        home = Path(folder)
        lightmem("ingest", transcript("conv-30"), home=home)
        env = environment(home)
        query, encode = _in_turn(
            [*LIGHTMEM, "retrieve", QUESTION], [sys.executable, "-c", ENCODE], env=_offline(env), times=5
        )
        print(f"lightmem retrieve, conv-30, cold     {query:6.3f} s, of 5 the median")
        print(f"sentence-transformers, one query     {encode:6.3f} s  (the same model, fp32)")
        print(f"ratio                                1 / {encode / query:.1f}   (at most 1 / 6)")
        heavy = _heavy("retrieve", QUESTION, env=env)
        print(f"heavy imports of retrieve: {', '.join(heavy) or 'none'}")
    failed = [
        help_ > 2 * typer,
        query > encode / 6,
        bool({"torch", "transformers", "sentence_transformers", "llmlingua"} & set(heavy)),
    ]
    sys.exit(1 if any(failed) else 0)


def _in_turn(
    ours: Sequence[str], baseline: Sequence[str], *, env: Mapping[str, str], times: int
) -> tuple[float, float]:
    """The median seconds of both, run in turn so that other load meets both; the first pair is not counted."""
    pairs = [(run(ours, env=env).seconds, run(baseline, env=env).seconds) for _ in range(times + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _heavy(*arguments: str, env: Mapping[str, str]) -> list[str]:
    """Which of the heavy modules a command imports."""
    done = run([sys.executable, "-c", TELL, *arguments], env=env)
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def _offline(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


if __name__ == "__main__":
    main()
