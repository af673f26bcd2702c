"""Measures how busy a language model's server is kept while conversations are extracted: calls in flight, on average.

    python scripts/bench_extraction.py                        # the five conversations: about four minutes
    python scripts/bench_extraction.py --delay .2 --concurrency 4 --times 3

The server takes a while for each call and makes a fact of every line. The conversations are taken in first, cut into
topics; then one `lightmem extract` works off what waits. Counted from the first call to the last. The baseline is the
same with one call at a time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from processes import CONVERSATIONS, lightmem, transcript

SETTINGS = {"llm.use": "openai", "llm.model": "stand-in", "extract.use": "llm", "extract.roles": "both"}
TARGET = 3.5  # calls in flight, of 4


class Drained(NamedTuple):
    """One extraction: calls, those in flight on average and at most, and the seconds from the first to the last."""

    calls: int
    average: float
    most: int
    seconds: float


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-extraction-") as folder:
        home = Path(folder) / "home"
        for name in options.conversations:
            # Of another conversation each: what is extracted together is of one.
            lightmem("ingest", transcript(name), "--conversation", name, "--journal-only", home=home)
        lightmem("segment", home=home, settings={**SETTINGS, "llm.base_url": "http://127.0.0.1:9"})
        runs = [
            _drain(home, folder, concurrency=options.concurrency, delay=options.delay) for _ in range(options.times)
        ]
        alone = _drain(home, folder, concurrency=1, delay=options.delay)
    average = statistics.median(run.average for run in runs)
    seconds = statistics.median(run.seconds for run in runs)
    print(f"{runs[0].calls} calls of {options.delay * 1000:.0f} ms, {options.concurrency} at once, {len(runs)} runs")
    print(f"in flight on average {average:.2f} (runs: {', '.join(f'{run.average:.2f}' for run in runs)})")
    print(
        f"drained in {seconds:.1f} s; one at a time {alone.seconds:.1f} s: {alone.seconds / seconds:.2f} times as fast"
    )
    if options.concurrency == 4 and average < TARGET:
        sys.exit(f"less than {TARGET}")


def _drain(home: Path, folder: str, *, concurrency: int, delay: float) -> Drained:
    """Extract what waits in a copy of `home`."""
    from model_server import ModelServer

    copy = Path(folder) / "copy"
    shutil.copytree(home, copy)
    try:
        with ModelServer() as server:
            server.delay = delay
            settings = {**SETTINGS, "llm.base_url": server.openai_url, "llm.concurrency": concurrency}
            lightmem("extract", home=copy, settings=settings)
            ended = max(call.ended or 0.0 for call in server.calls)
            seconds = ended - min(call.began for call in server.calls)
            return Drained(len(server.calls), server.average_at_once(), server.most_at_once, seconds)
    finally:
        shutil.rmtree(copy)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conversations", nargs="+", default=list(CONVERSATIONS), metavar="NAME")
    parser.add_argument("--delay", type=float, default=0.2, metavar="SECONDS", help="of each call")
    parser.add_argument("--concurrency", type=int, default=4, metavar="N")
    parser.add_argument("--times", type=int, default=3, metavar="N")
    return parser.parse_args()


if __name__ == "__main__":
    main()
