"""Writes constraints.txt anew: every package of an installation for development, at the version pip chooses today.

Nothing is installed: pip only says what it would take, for the Python that runs this. What is given on the command
line, as NAME==VERSION, is taken at that version.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Every package that the tests run with, at the version they run with: `make demo`, `make test`, `make check` and
# .ci/run install these. Made by `make lock`, from pyproject.toml and the Makefile's TORCH, and not to be edited.
#
# Resolved for Python {python} on {system}. What only another system needs (CUDA's packages for PyPI's torch, colorama,
# tzdata on Windows) is not named here, and free.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pins", nargs="*", metavar="NAME==VERSION", help="what is pinned by hand")
    pins = parser.parse_args().pins
    python = ".".join(platform.python_version_tuple()[:2])
    header = HEADER.format(python=python, system=f"{platform.system()} {platform.machine()}")
    versions = resolved(pins)
    lines = [f"{name}=={versions[name]}\n" for name in sorted(versions)]
    (ROOT / "constraints.txt").write_text(header + "".join(lines), encoding="utf-8")
    print(f"constraints.txt: {len(lines)} packages for Python {python}")


def resolved(pins: list[str]) -> dict[str, str]:
    """What pip would install, but for the package itself: each version by its canonical name.

    A version with a local part (2.13.0+cpu) is one build of a release; the release is what is pinned.
    """
    wanted = ["--editable", f"{ROOT}[dev]", *pins]
    asks = ["install", "--dry-run", "--ignore-installed", "--quiet", "--disable-pip-version-check", "--report", "-"]
    done = subprocess.run([sys.executable, "-m", "pip", *asks, *wanted], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # pip has said why
    steps = (step for step in json.loads(done.stdout)["install"] if "dir_info" not in step["download_info"])
    about = [step["metadata"] for step in steps]
    return {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"].partition("+")[0] for one in about}


if __name__ == "__main__":
    main()
