"""Chooses the device that reads a conversation: cuda, else mps, else cpu, or the one a profile names."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Final

from lightmem_cli.errors import MissingPart, ProfileError

# What a driver leaves where it is installed: NVIDIA's on Linux, within WSL, and on Windows; AMD's on Linux.
_DRIVERS: Final = ("/dev/nvidiactl", "/dev/dxg", r"C:\Windows\System32\nvcuda.dll", "/dev/kfd")


def maybe_accelerated(wanted: str = "auto") -> bool:
    """Whether torch must be asked which device `wanted` is; without, it is the processor.

    A look at some files and at torch's version, 2 ms, saves importing torch where there is neither a driver nor a build
    of torch for one.
    """
    if wanted != "auto":
        return wanted != "cpu"
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    from importlib.metadata import PackageNotFoundError, version

    try:
        built_without = version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
    return not built_without and any(Path(driver).exists() for driver in _DRIVERS)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_device(wanted: str = "auto") -> str:
    """A device name torch takes ("cuda", "cuda:1", "mps", "cpu"); importing torch costs 1.1 to 1.6 s.

    Raises ProfileError for a name torch does not know, MissingPart for a device this machine lacks.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    hint = "set device to auto, or to cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ProfileError(f"unknown device {wanted!r}", hint=hint) from None
    match device.type:
        case "cpu":
            there = True
        case "cuda":
            there = torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
        case "mps":
            there = torch.backends.mps.is_available()
        case _:
            raise ProfileError(f"device {wanted!r} is none of cuda, mps, cpu", hint=hint)
    if not there:
        raise MissingPart(f"this machine has no device {wanted!r}", hint=hint)
    return wanted
