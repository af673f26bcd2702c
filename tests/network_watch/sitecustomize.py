"""Notes in $NETWORK_LOG where this process turns to, and refuses all but $NETWORK_ALLOWED ("HOST:PORT").

Python imports it by its name, at the start, from a folder on PYTHONPATH. What native code does is for network_watch.c.
"""

from __future__ import annotations

import os
import sys

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    match event, arguments:
        case "socket.connect" | "socket.sendto" | "socket.sendmsg", (_, (host, port, *_)):
            pass
        case "socket.bind", (_, (host, port, *_)) if host not in _LOOPBACK:
            pass
        case "socket.getaddrinfo", (host, port, *_):
            pass
        case "socket.gethostbyname" | "socket.gethostbyaddr", (host,):
            port = ""
        case _:
            return
    place = f"{host}:{port}"
    with open(os.environ["NETWORK_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123  # pathlib takes 10 ms to import
        log.write(f"{place}\n")
    if place != os.environ.get("NETWORK_ALLOWED"):
        raise ConnectionRefusedError(f"the network is closed: {place}")


sys.addaudithook(_watch)
