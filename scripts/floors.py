"""Prints the lowest version that pyproject.toml allows of each package it names, as constraints for pip.

`make lowest` installs these. Packages named on the command line are left out, as torch is, whose version the Makefile
has.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LOWEST = (">=", "==", "~=")  # the operators that name a lowest version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("without", nargs="*", help="packages to leave out")
    without = {canonicalize_name(name) for name in parser.parse_args().without}
    with PYPROJECT.open("rb") as file:
        lowest = floors(tomllib.load(file))
    print(*(f"{name}=={version}" for name, version in sorted(lowest.items()) if name not in without), sep="\n")


def floors(pyproject: dict[str, Any]) -> dict[str, Version]:
    """The lowest version of each package that is needed here, by its canonical name; the higher one of two."""
    found: dict[str, Version] = {}
    own = canonicalize_name(pyproject["project"]["name"])
    for line in declared(pyproject):
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name == own or (requirement.marker is not None and not requirement.marker.evaluate()):
            continue
        lowest = [Version(one.version) for one in requirement.specifier if one.operator in LOWEST]
        if not lowest:
            sys.exit(f"{PYPROJECT.name} names no lowest version of {requirement.name}")
        found[name] = max([*lowest, *([found[name]] if name in found else [])])
    return found


def declared(pyproject: dict[str, Any]) -> Iterator[str]:
    """Every requirement: of the build, of the package, and of each extra."""
    yield from pyproject["build-system"]["requires"]
    yield from pyproject["project"]["dependencies"]
    for extra in pyproject["project"]["optional-dependencies"].values():
        yield from extra


if __name__ == "__main__":
    main()
