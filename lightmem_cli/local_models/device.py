"""Chooses the device that reads a conversation: cuda, else mps, else cpu, or the one a profile names."""

from __future__ import annotations

from lightmem_cli.errors import MissingPart, ProfileError


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
