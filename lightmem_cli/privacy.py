"""Turns off what libraries report to their makers, and keeps them off the Hub and out of folders that are not ours.

The package itself turns reports off (`lightmem_cli/__init__.py`): whichever module imports a library first, and
whatever program imports one of ours, the switches stand before. Most are read once, at the library's import; what is
imported before `lightmem_cli` is beyond it. It costs microseconds, and imports nothing.
The rest is for a process that is ours alone, a command: a program that imports `lightmem_cli` may well download models.

Only a plain no to a switch, in the user's own environment, is left as it is: anything else, the empty text and words
that a library might not read as a yes included, becomes "1". A folder that the user chose stands.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# By the library that reads it.
TELEMETRY: Final = (
    # onnxruntime >= 1.29 keeps a device id and events under HOME and TMPDIR, and sends them to
    # mobile.events.data.microsoft.com. Its own disable_telemetry_events() comes too late: by then they are written.
    "ORT_DISABLE_TELEMETRY",
    # huggingface_hub, and with it transformers, sentence-transformers and hf_xet: session, versions and the agent at
    # work in each request's user agent, for which a list of agents is fetched; reports of each transfer.
    "HF_HUB_DISABLE_TELEMETRY",
    # What many others read, as outside backends may.
    "DO_NOT_TRACK",
)
HUB: Final = ("HF_HUB_OFFLINE",)  # huggingface_hub, transformers and sentence-transformers: files of this machine alone
# What else would be written outside, and its place in our cache. (MATPLOTLIBRC still names a style.)
_CACHES: Final = {
    "MPLCONFIGDIR": "matplotlib",  # its list of the fonts there are: else in .config and .cache of HOME
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",  # made, and left empty, when transformers is imported: else in TMPDIR
}
_NO: Final = {"0", "false", "no", "off"}


def turn_off_telemetry() -> None:
    """Have the libraries that this process, and processes it starts, import from here on report nothing."""
    _turn_on(TELEMETRY)


def stay_off_the_hub() -> None:
    """Have the libraries that this process imports from here on ask the Hub nothing."""
    _turn_on(HUB)


def cache_folder() -> Path:
    """`$LIGHTMEM_CACHE`, else the user's cache directory; not created."""
    from pathlib import Path

    if named := os.environ.get("LIGHTMEM_CACHE"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("lightmem", appauthor=False)


def keep_caches_in(folder: Path) -> None:
    """Have libraries keep in `folder` what they would in HOME and TMPDIR; it is made when one of them needs it.

    Where it cannot be made or written they keep to their own places: torch would fail.
    """
    there = next((path for path in (folder, *folder.parents) if os.access(path, os.F_OK)), None)
    if there is not None and os.access(there, os.W_OK | os.X_OK):
        for variable, name in _CACHES.items():
            if not os.environ.get(variable):
                os.environ[variable] = str(folder.absolute() / name)


def _turn_on(switches: tuple[str, ...]) -> None:
    for switch in switches:
        if os.environ.get(switch, "").strip().lower() not in _NO:
            os.environ[switch] = "1"
