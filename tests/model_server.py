"""Stands in for a language-model server: Ollama's wire and OpenAI's, over HTTP on loopback, with every way to fail.

    with ModelServer() as server:
        server.faults.append("503")              # the next chat request fails so, the one after it does not
        server.reply = lambda asked: "four"      # what is said to `asked.prompt`; else every line becomes a fact
        OllamaModel(Llm(base_url=server.url, ...)), OpenAiModel(Llm(base_url=server.openai_url, ...))

Tokens are characters / 4, rounded up, of what was sent and of what was replied.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Final, Literal, Self

from model_faults import BROKEN, Fault, NamedFault, Said, spoiled
from model_wires import OllamaWire, OpenAiWire, Wire

TALK_LINE: Final = re.compile(r"^(\d+) ([^:]+): (.*)$")
_LONGEST_WAIT: Final = 120  # seconds
SHORT_ANSWER: Final = "The memory does not say."


@dataclass(slots=True)
class Asked:
    """A chat request: its JSON as it came, and what matters of it. Times are of the monotonic clock, in seconds."""

    wire: Literal["ollama", "openai"]
    path: str
    body: dict[str, Any]
    headers: dict[str, str]  # names in small letters
    prefix: str  # what the system says
    prompt: str  # what the user says
    schema: dict[str, Any] | None
    stream: bool
    began: float
    ended: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Ollama's: num_ctx, num_predict, temperature ..."""
        options: dict[str, Any] = self.body.get("options", {})
        return options


def every_line_a_fact(asked: Asked) -> str:
    """Each line of the talk as a fact of its own; a short answer to what shows no talk."""
    if "<talk>" not in asked.prompt:
        return SHORT_ANSWER
    lines = [found.groups() for line in asked.prompt.splitlines() if (found := TALK_LINE.match(line))]
    facts = [{"of": [int(number)], "text": f"{name} said: {text}"[:300]} for number, name, text in lines]
    return json.dumps({"facts": facts}, ensure_ascii=False)


class ModelServer:
    """A server for one test. What may be set at any time stands in `__init__`, with what it does."""

    def __init__(self) -> None:
        self.reply: Callable[[Asked], str] = every_line_a_fact
        self.calls: list[Asked] = []  # chat requests, as they came; each has `ended` once it is answered
        self.requests: list[str] = []  # all requests: "POST /api/show"
        self.faults: deque[NamedFault | Fault] = deque()  # one for each chat request to come; then `always`
        self.delay = 0.0  # seconds that every chat request takes, at least
        self.answers = Event()  # while it is cleared, chat requests wait for their answers
        self.answers.set()
        self.between: Callable[[], None] = lambda: None  # called between the pieces of a streamed reply
        self.headers: dict[str, str] = {}  # sent with every reply to a chat request, as rate limits are
        self.retry_after: str | None = "0"  # the header of a 429
        self.most_at_once = 0  # chat requests that were in flight at one time
        self.context = 131_072  # tokens the model has: longer prompts are cut (Ollama) or refused (OpenAI)
        self.characters_a_token = 4.0  # as the server counts
        self.models: list[str] | None = None  # the ones there are; None: whatever is asked for
        self.thinks = False  # Ollama's wire: whether the model can think; "thoughts-only" needs it
        self.older = False  # Ollama's wire: cut prompts keep all of num_ctx, as they once did
        self.cached_tokens: int | None = None  # OpenAI's wire: of each prompt, as many were read before
        self.key: str | None = None  # OpenAI's wire: the only key that is let in; None: any, or none
        self.says_key = False  # every refusal shows the key that came with the request, as a careless proxy's does
        self.structured: set[str] = {"json_schema", "json_object", "text"}  # OpenAI's wire: response formats
        self.tells_context = False  # OpenAI's wire: /v1/models says max_model_len, as vLLM does
        self.closing = Event()
        self._lock = Lock()
        self._always: NamedFault | Fault | None = None
        self._at_once = 0
        self._port = 0
        self._listening: _Listening | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def always(self, fault: NamedFault | Fault | None) -> None:
        """Fail so whenever `faults` is empty; None: no more."""
        self._always = fault

    def average_at_once(self) -> float:
        """Chat requests in flight, averaged over the time from the first to the last."""
        ended = [(call.began, call.ended) for call in self.calls if call.ended is not None]
        if not ended:
            return 0.0
        span = max(end for _, end in ended) - min(began for began, _ in ended)
        return sum(end - began for began, end in ended) / span if span else float(len(ended))

    def start(self) -> None:
        """Listen: at first on any free port, later on the same one."""
        self.closing.clear()
        self._listening = _Listening(self, port=self._port)
        self._port = self._listening.server_address[1]
        Thread(target=self._listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Be down: whoever connects is refused, and what is under way is cut off."""
        self.closing.set()
        if self._listening is not None:
            self._listening.shutdown()
            self._listening.server_close()
            self._listening.cut_connections()
            self._listening = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def tokens(self, text: str) -> int:
        return -int(-len(text) // self.characters_a_token)

    def limited(self, said: Said, *, most: int | None) -> Said:
        """A reply of at most `most` tokens."""
        if most is None or self.tokens(said.text) <= most:
            return said
        return Said(said.text[: int(most * self.characters_a_token)], whole=False)

    def note(self, request: str) -> None:
        with self._lock:
            self.requests.append(request)

    def begin(self, asked: Asked) -> Fault | None:
        """Take note of a chat request; the fault it is to meet."""
        with self._lock:
            self.calls.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            fault = self.faults.popleft() if self.faults else self._always
        return Fault(fault) if isinstance(fault, str) else fault

    def end(self, asked: Asked) -> None:
        with self._lock:
            self._at_once -= 1
            asked.ended = time.monotonic()


class _Listening(ThreadingHTTPServer):
    """The socket of a ModelServer, from start to stop."""

    daemon_threads = True
    block_on_close = False  # a connection that is kept alive is nothing to wait for
    request_queue_size = 128

    def __init__(self, owner: ModelServer, *, port: int) -> None:
        self.owner = owner
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Connection)

    def cut_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what tests are about."""


class _Connection(BaseHTTPRequestHandler):
    """One client's connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listening

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        owner = self.server.owner
        owner.note(f"GET {self.path}")
        wire = self._wire()
        if isinstance(wire, OpenAiWire) and not wire.lets_in(self._headers()):
            self._send_json(401, {"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}})
            return
        self._send_json(*wire.get(self.path))

    def do_POST(self) -> None:
        owner = self.server.owner
        owner.note(f"POST {self.path}")
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        wire = self._wire()
        if self.path != wire.chat_path:
            self._send_json(*wire.post(self.path, body))
            return
        asked = Asked(
            wire=wire.name,
            path=self.path,
            body=body,
            headers=self._headers(),
            prefix=_said(body, by=("system", "developer")),
            prompt=_said(body, by=("user",)),
            schema=wire.schema(body),
            stream=wire.streams(body),
            began=time.monotonic(),
        )
        fault = owner.begin(asked)
        try:
            self._answer(wire, asked, fault)
        except OSError:
            self.close_connection = True
        finally:
            owner.end(asked)

    def _answer(self, wire: Wire, asked: Asked, fault: Fault | None) -> None:
        owner = self.server.owner
        if owner.delay and owner.closing.wait(owner.delay):
            return
        owner.answers.wait(_LONGEST_WAIT)
        if fault is not None and fault.name == "hang":
            self._hang(fault)
            return
        refused = wire.refused(asked, fault)
        if refused is not None:
            body = _with_key(refused.body, asked) if owner.says_key else refused.body
            self._send_json(refused.status, body, {**owner.headers, **refused.headers})
            return
        if fault is not None and fault.name == "html":
            self._send(200, b"<html><body>Welcome to the proxy</body></html>", {"content-type": "text/html"})
            return
        read = wire.read(asked)
        said = spoiled(fault, Said(owner.reply(asked)), schema=asked.schema)
        if fault is None:
            said = owner.limited(said, most=wire.most(asked.body))
        if asked.stream:
            self._stream(list(wire.pieces(asked, said, read=read, fault=fault)), kind=wire.stream_type, fault=fault)
        else:
            whole = _bytes(json.dumps(wire.whole(asked, said, read=read, fault=fault), ensure_ascii=False))
            headers = {**owner.headers, "content-type": "application/json"}
            self._send(500 if fault is not None and fault.name == "error-mid-stream" else 200, whole, headers, fault)

    def _send_json(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault is not None and fault.name in ("cut", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self._break_off(fault)
        else:
            self.wfile.write(body)

    def _stream(self, pieces: list[str], *, kind: str, fault: Fault | None) -> None:
        self.send_response(200)
        for name, value in {**self.server.owner.headers, "content-type": kind, "transfer-encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        breaks = fault is not None and fault.name in ("cut", "stall")
        for at, piece in enumerate(pieces[: (len(pieces) + 1) // 2] if breaks else pieces):
            if at:
                self.server.owner.between()
            data = _bytes(piece)
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if breaks and fault is not None:
            self._break_off(fault)
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _break_off(self, fault: Fault) -> None:
        if fault.name == "stall":
            self._hang(fault)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _hang(self, fault: Fault) -> None:
        """Say nothing more until the client hangs up, the server closes, or the fault is over."""
        self.close_connection = True
        ends = time.monotonic() + fault.seconds
        while time.monotonic() < ends and not self.server.owner.closing.wait(0.02):
            ready, _, _ = select.select([self.connection], [], [], 0)
            if ready and not self.connection.recv(1, socket.MSG_PEEK):
                return

    def _wire(self) -> Wire:
        owner = self.server.owner
        return OpenAiWire(owner) if self.path.startswith("/v1/") else OllamaWire(owner)

    def _headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}


def _said(body: dict[str, Any], *, by: tuple[str, ...]) -> str:
    return "\n".join(message.get("content") or "" for message in body.get("messages", []) if message["role"] in by)


def _with_key(body: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The body of a refusal whose words end with the key, as it came."""
    error, key = body["error"], asked.headers.get("authorization", "no key")
    if isinstance(error, str):
        return {**body, "error": f"{error} ({key})"}
    return {**body, "error": {**error, "message": f"{error['message']} ({key})"}}


def _bytes(text: str) -> bytes:
    return text.encode().replace(BROKEN.encode(), b"\xff\xfe")
