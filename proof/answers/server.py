"""A server of plain sockets that reads as much of a request as it is told to, and says what it is told to."""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Literal

SEGMENT_BYTES = 536
WINDOW_BYTES = 4096
"""Small, so that few bytes are on their way: what the server does not read, the client cannot have sent."""

PATIENCE_SECONDS = 60.0
"""No test waits longer for a byte."""

NOW = struct.pack("ii", 1, 0)
"""Linger for no time: closing resets the connection."""

Ending = Literal["close", "reset", "hang"]


@dataclass(frozen=True, slots=True)
class Script:
    """What the server does with one request."""

    says: bytes = b""
    """Head and body, as they go over the wire."""
    reads_all: bool = True
    """Whether it reads the whole body first, or no more than one byte of it."""
    ending: Ending = "close"
    """What it does when it has spoken; `hang` waits until `let_go` is called."""
    greets: bool = False
    """Whether it speaks at once and reads nothing, as no HTTP server would."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the server saw of one request."""

    method: str
    target: str
    n_body_bytes: int
    """How many bytes of the body it read."""
    is_whole: bool


@dataclass
class ScriptedServer:
    """One connection at a time, one request a connection, each by the script that stands by then."""

    script: Script = field(default_factory=Script)
    requests: list[Request] = field(default_factory=list)
    n_connections: int = 0
    let_go: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._thread = Thread(target=self._serve, name="scripted-server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Stop listening, and wait until the last connection is done with."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.n_connections += 1
            with connection, suppress(OSError):  # a client may leave whenever it likes
                connection.settimeout(PATIENCE_SECONDS)
                self._converse(connection, self.script)

    def _converse(self, connection: socket.socket, script: Script) -> None:
        if not script.greets:
            self._read(connection, script)
        connection.sendall(script.says)
        if script.ending == "hang":
            self.let_go.wait(PATIENCE_SECONDS)
        if script.ending == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)

    def _read(self, connection: socket.socket, script: Script) -> None:
        head = b"".join(_until_blank_line(connection))
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        n_announced = _content_length(head)
        wanted = n_announced if script.reads_all else min(1, n_announced)
        n_read = sum(len(piece) for piece in _received(connection, wanted))
        self.requests.append(Request(method, target, n_read, is_whole=n_read == n_announced))


def _until_blank_line(connection: socket.socket) -> Iterator[bytes]:
    """Read byte by byte: what follows the head is left where it is."""
    last = b""
    while last != b"\r\n\r\n":
        (piece,) = _received(connection, 1)
        last = (last + piece)[-4:]
        yield piece


def _received(connection: socket.socket, n_bytes: int) -> Iterator[bytes]:
    while n_bytes:
        piece = connection.recv(min(n_bytes, 1 << 16))
        if not piece:
            raise ConnectionAbortedError
        n_bytes -= len(piece)
        yield piece


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


@contextmanager
def scripted() -> Iterator[ScriptedServer]:
    """Serve for as long as the block runs."""
    server = ScriptedServer()
    try:
        yield server
    finally:
        server.close()


def http(status: str, headers: Iterable[tuple[str, str]], body: bytes, *, n_missing: int = 0) -> bytes:
    """Return an answer as it goes over the wire; its length counts bytes that are missing at its end."""
    lines = [f"HTTP/1.1 {status} Some Reason"]
    lines += [f"{name}: {value}" for name, value in headers]
    if status != "204":
        lines.append(f"content-length: {len(body) + n_missing}")
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body
