"""Keeps every test out of the user's own memory and off the network, and finds the evaluation data."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import lightmem_cli  # noqa: F401  # first of all: it turns off what libraries that tests import would report

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / os.environ.get("LIGHTMEM_DATA", "../shared/data")

# A busy machine is not a broken law; and one commit has one verdict. `pytest --hypothesis-profile hunt` looks further.
settings.register_profile("lightmem", deadline=None, derandomize=True)
settings.register_profile("hunt", deadline=None)
settings.load_profile("lightmem")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before any fixture, of whatever scope, can start a process or open a profile."""
    for variable in [name for name in os.environ if name.startswith("LIGHTMEM_") and name != "LIGHTMEM_DATA"]:
        del os.environ[variable]
    assert config.cache is not None
    os.environ["LIGHTMEM_CACHE"] = str(config.cache.mkdir("lightmem"))  # the model is exported once, not per test
    os.environ["LIGHTMEM_HOME"] = "/nonexistent/tests-open-no-profile-of-the-user"
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LIGHTMEM_HOME for each test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LIGHTMEM_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse connections beyond this machine."""
    with pytest.MonkeyPatch.context() as patch:
        connect = socket.socket.connect

        def guarded(self: socket.socket, address: object) -> None:
            if self.family != socket.AF_UNIX and not _is_local(address):
                raise ConnectionRefusedError(f"tests do not use the network: {address}")
            connect(self, address)  # type: ignore[arg-type]

        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(scope="session")
def lightmem_data() -> Path:
    """The folder of evaluation data; skips where there is none."""
    if not DATA.is_dir():
        pytest.skip(f"no evaluation data at {DATA.resolve()}: set LIGHTMEM_DATA (README says where to get it)")
    return DATA.resolve()


def _is_local(address: object) -> bool:
    host = address[0] if isinstance(address, tuple) else ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
