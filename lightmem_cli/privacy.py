"""Turns off what libraries report to their makers, and the Hub, before any of them is imported.

The package itself calls it (`lightmem_cli/__init__.py`), so that whichever module imports a library first, and whatever
program imports one of ours, the switches stand: most are read once, at the library's import. What is imported before
`lightmem_cli` is beyond it. It costs microseconds, and imports nothing.

Only a plain no to a switch, in the user's own environment, is left as it is: anything else, the empty text and words
that a library might not read as a yes included, becomes "1".
"""

from __future__ import annotations

import os
from typing import Final

# By the library that reads it.
TELEMETRY: Final = (
    # onnxruntime >= 1.29 writes a device id under HOME and events under TMPDIR, and sends them to
    # mobile.events.data.microsoft.com. It takes 1, true, yes and on; not even disable_telemetry_events() is soon enough.
    "ORT_DISABLE_TELEMETRY",
    # huggingface_hub, and with it transformers, sentence-transformers and hf_xet: session, versions and the agent at
    # work in each request's user agent, for which a list of agents is fetched; reports of each transfer.
    "HF_HUB_DISABLE_TELEMETRY",
    # What many others read, as outside backends may.
    "DO_NOT_TRACK",
)
HUB: Final = ("HF_HUB_OFFLINE",)  # huggingface_hub, transformers and sentence-transformers: files of this machine alone
_NO: Final = {"0", "false", "no", "off"}


def turn_off_telemetry() -> None:
    """Have the libraries that this process, and processes it starts, import from here on report nothing."""
    _turn_on(TELEMETRY)


def stay_off_the_hub() -> None:
    """Have the libraries that this process imports from here on ask the Hub nothing.

    For a process that is ours alone: a program that imports `lightmem_cli` may well download models of its own.
    """
    _turn_on(HUB)


def _turn_on(switches: tuple[str, ...]) -> None:
    for switch in switches:
        if os.environ.get(switch, "").strip().lower() not in _NO:
            os.environ[switch] = "1"
