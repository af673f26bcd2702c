"""Keeps each memory's settings in a folder of its own, and makes, lists, opens and deletes these folders.

A profile is `HOME/profiles/NAME/`; its profile.toml says how it works, everything else in it belongs to the store.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from lightmem_cli.errors import ProfileError, StoreError
from lightmem_cli.profiles import sources
from lightmem_cli.profiles.settings import Settings

DEFAULT = "default"
TEMPLATE = "embedded"
FILE = "profile.toml"
_AWAITING = ".restored.toml"  # settings of a history that is about to take the place of the one that is there
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no folder on Windows can have these


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One memory: its folder and its settled settings. `created`: opening it made it (only ever `default`)."""

    name: str
    folder: Path
    settings: Settings
    created: bool = False


def home_folder(home: Path | None = None) -> Path:
    """Where all profiles live: `home`, else LIGHTMEM_HOME, else the user's data directory."""
    if chosen := home or os.environ.get("LIGHTMEM_HOME"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("lightmem", appauthor=False))


def open_profile(
    name: str | None = None, *, home: Path | None = None, overrides: Mapping[str, Mapping[str, object]] | None = None
) -> Profile:
    """Open a profile (None: LIGHTMEM_PROFILE, else `default`, which is made on first use).

    `overrides` are typed flags by table and key; None means "not typed".
    """
    name = name or os.environ.get("LIGHTMEM_PROFILE") or DEFAULT
    folder = profile_folder(name, home=home)
    created = name == DEFAULT and not _exists(folder)
    if created:
        _make(folder, template=TEMPLATE)
    require(name, home=home)
    settings = sources.settle(folder / FILE, environment=os.environ, overrides=overrides or {})
    return Profile(name=name, folder=folder, settings=settings, created=created)


def init_profile(name: str, *, template: str = TEMPLATE, home: Path | None = None) -> Profile:
    """Make a new profile from an example profile or from another profile.toml's path."""
    folder = profile_folder(name, home=home)
    if _exists(folder):
        raise ProfileError(f"profile {name!r} already exists in {folder}", hint=f"lightmem profile show {name}")
    _make(folder, template=template)
    return open_profile(name, home=home)


def list_profiles(home: Path | None = None) -> list[str]:
    """The names of all profiles, sorted."""
    try:
        return sorted(path.parent.name for path in _profiles(home).glob(f"*/{FILE}") if _fits(path.parent.name))
    except OSError as error:
        raise _unusable(_profiles(home), error) from error


def delete_profile(name: str, *, home: Path | None = None) -> Path:
    """Delete a profile with all it remembers, and say which folder is gone."""
    folder = require(name, home=home)
    try:
        if folder.is_symlink():
            folder.unlink()
            return folder
        doomed = Path(tempfile.mkdtemp(prefix=".deleted-", dir=folder.parent))
        folder.rename(doomed / name)  # at once: nobody opens half of a profile
        shutil.rmtree(doomed)
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def profile_folder(name: str, *, home: Path | None = None) -> Path:
    """The folder a profile of this name has, whether or not it exists; refuses names that would leave the home."""
    if not _fits(name):
        raise ProfileError(
            f"{name!r} cannot name a profile",
            hint="a name is 1 to 64 letters, digits, '-', '_' and '.', a letter or digit first: lightmem init work",
        )
    return _profiles(home) / name


def require(name: str, *, home: Path | None = None) -> Path:
    """The folder of a profile that exists, however broken its settings are."""
    folder = profile_folder(name, home=home)
    if not _exists(folder):
        near = get_close_matches(name, list_profiles(home), n=1)
        suggestion = f"; did you mean {near[0]!r}?" if near else ""
        raise ProfileError(f"no profile {name!r} in {folder.parent}{suggestion}", hint=f"lightmem init {name}")
    return folder


def template_names() -> list[str]:
    """The names of the example profiles."""
    return sorted(path.stem for path in _examples().glob("*.toml"))


def await_history(folder: Path, uuid: str, text: str) -> None:
    """Keep the settings `text` beside a profile's own until its history is the one named `uuid`: those go together."""
    write_file(folder / _AWAITING, f"{uuid}\n{text}")


def settle_restored(folder: Path, *, last: bool = False) -> None:
    """Put settings that wait for their history in place, once it is there. `last`: otherwise they are of no use."""
    waiting = folder / _AWAITING
    try:
        uuid, _, text = waiting.read_text(encoding="utf-8").partition("\n")
        if uuid == _uuid_of(folder / "history.db"):
            write_file(folder / FILE, text)
        elif not last:
            return
        waiting.unlink(missing_ok=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    except UnicodeDecodeError:  # damaged: no settings
        waiting.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(waiting, error) from error


def _uuid_of(history: Path) -> str | None:
    """The name of the history that lies there now; None where none can be read."""
    import sqlite3  # 5 ms, and only for what a restore left

    try:
        with closing(sqlite3.connect(f"{history.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            row = connection.execute("SELECT value FROM profile WHERE key = 'uuid'").fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def write_file(path: Path, text: str) -> None:
    """Replace a profile's file in one step, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.touch(mode=0o600)
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise _unusable(path, error) from error


def _exists(folder: Path) -> bool:
    settle_restored(folder)
    try:
        (folder / FILE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unusable(folder, error) from error
    return True


def _make(folder: Path, *, template: str) -> None:
    """Write a new profile's file into its folder, making the folders above it where they are missing."""
    text = _template(template)
    try:
        for path in (folder.parents[1], folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error
    write_file(folder / FILE, text)


def _template(name: str) -> str:
    """The text of an example profile, or of another profile.toml by its path."""
    if name in template_names():
        return (_examples() / f"{name}.toml").read_text(encoding="utf-8")
    path = Path(name)
    if not path.is_file():
        raise ProfileError(
            f"no example profile {name!r}: there is {', '.join(template_names())}",
            hint="name one of these, or a profile.toml by its path",
        )
    sources.check_document(sources.read_toml(path), path=path)
    return path.read_text(encoding="utf-8-sig")


def _examples() -> Path:
    """The folder of example profiles: beside this package once installed, at the top of a checkout before."""
    packaged = Path(__file__).parents[1] / "example_profiles"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "profiles"


def _profiles(home: Path | None) -> Path:
    return home_folder(home) / "profiles"


def _fits(name: str) -> bool:
    return (
        re.fullmatch(r"[^\W_][\w.-]{0,63}", name) is not None
        and not name.endswith(".")
        and not _RESERVED.fullmatch(name)
        and len(name.encode()) <= 200
    )


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{error.filename or path}: {error.strerror or error}",
        hint="check its permissions and the free space, or choose another --home",
    )
