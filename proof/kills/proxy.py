"""
A TCP proxy in front of the API that can hold a call at any byte, so that its caller can be killed right there.

It passes bytes on as they come, and reads no more of HTTP than where a request begins and ends.
"""

import select
import socket
import socketserver
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from urllib.parse import urlsplit

from claude_batch_dagster.emulator.calls import Call
from proof.kills.holds import PATIENCE_SECONDS, Fate, Hold, Part

PIECE = 1 << 16
POLL_SECONDS = 0.01

SMALL_BUFFER, SMALL_SEGMENT = 4096, 536
"""With these a sender that is not read gets rid of some 90 kB, instead of megabytes."""


class Proxy(socketserver.ThreadingTCPServer):
    """Passes calls on to the API, holds those it is told to hold, and counts all."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, api_url: str) -> None:
        parts = urlsplit(api_url)
        self.api = (parts.hostname or "", parts.port or 80)
        self.calls: Counter[str] = Counter()
        """Calls that have begun, by endpoint; by path where there is none."""
        self.posting: set[socket.socket] = set()
        """Callers that have begun to create a batch, and wait for the answer."""
        self._armed: list[Hold] = []
        self._late: list[tuple[int, Hold]] = []
        self._claimed: list[Hold] = []
        self._news = Condition()
        self._open: set[socket.socket] = set()
        self._speaking: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Conversation)

    @property
    def url(self) -> str:
        """The base URL to call instead of the API's."""
        host, port = self.socket.getsockname()
        return f"http://{host}:{port}"

    def server_bind(self) -> None:
        """Make buffers small before anybody connects."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        with suppress(OSError):  # not everywhere; then only larger bodies are cut off half-way
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
        super().server_bind()

    # --- for whoever watches ---------------------------------------------------------------------

    def arm(self, hold: Hold) -> Hold:
        """Hold the call described."""
        with self._news:
            self._armed.append(hold)
        return hold

    def disarm(self) -> None:
        """Hold no call that has not come by now."""
        with self._news:
            self._armed.clear()

    def release_at_listing(self, hold: Hold, n_listings: int) -> None:
        """Let a held call go when batches are listed for the n-th time from now; the listing comes after it."""
        with self._news:
            self._late.append((self.calls["list"] + n_listings, hold))

    def wait_for(self, endpoint: str, n_calls: int) -> None:
        """Wait until an endpoint has been called so often."""
        with self._news:
            if not self._news.wait_for(lambda: self.calls[endpoint] >= n_calls, PATIENCE_SECONDS):
                raise TimeoutError(f"{endpoint} was called {self.calls[endpoint]} times, not {n_calls}")

    def forget_the_dead(self) -> None:
        """Wait until nobody speaks any more but those whose calls are held, and forget who waits for an answer."""
        with self._news:
            if not self._news.wait_for(lambda: not self._speaking, PATIENCE_SECONDS):
                raise TimeoutError("somebody is still there")
            self.posting.clear()

    # --- for the conversations -------------------------------------------------------------------

    def begin(self, call: Call, caller: socket.socket) -> Hold | None:
        """Count a call; return how it is to be held, if it is."""
        with self._news:
            name = call.endpoint or call.path
            self.calls[name] += 1
            if name == "create":
                self.posting.add(caller)
            due = [hold for n_calls, hold in self._late if name == "list" and n_calls <= self.calls["list"]]
            self._late = [(n_calls, hold) for n_calls, hold in self._late if hold not in due]
            self._news.notify_all()
            held = self._claim(name)
        for hold in due:
            hold.release(Fate.PASSED)
            hold.ended.wait(PATIENCE_SECONDS)
        return held

    def answered(self, caller: socket.socket) -> None:
        """Note that the caller waits no longer."""
        with self._news:
            self.posting.discard(caller)

    def opened(self, caller: socket.socket, api: socket.socket) -> None:
        """Note connections that are to be shut when the proxy goes."""
        with self._news:
            self._open |= {caller, api}

    def closed(self, caller: socket.socket, api: socket.socket) -> None:
        """Forget connections."""
        with self._news:
            self._open -= {caller, api}

    def speaks(self, caller: socket.socket, *, still: bool) -> None:
        """Note whether a caller is heard; it is not while its call is held, nor when it has gone."""
        with self._news:
            (self._speaking.add if still else self._speaking.discard)(caller)
            self._news.notify_all()

    def _claim(self, name: str) -> Hold | None:
        for hold in self._armed:
            if hold.endpoint == name:
                hold.nth -= 1
                if hold.nth == 0:
                    self._armed.remove(hold)
                    self._claimed.append(hold)
                    return hold
        return None

    def hang_up(self) -> None:
        """Shut every connection, and let go of every call."""
        with self._news:
            for hold in self._claimed:
                hold.release(Fate.DROPPED)
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class Conversation(socketserver.StreamRequestHandler):
    """One connection of a caller, and ours to the API."""

    server: Proxy
    request: socket.socket
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Pass on call after call, and their answers back."""
        self.server.speaks(self.request, still=True)
        try:
            with suppress(OSError), socket.create_connection(self.server.api) as api:
                self._converse(api)
        finally:
            self.server.speaks(self.request, still=False)

    def _converse(self, api: socket.socket) -> None:
        api.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.opened(self.request, api)
        try:
            while (head := self._head()) and self._exchange(head, api):
                pass
        finally:
            self.server.closed(self.request, api)

    def _head(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()).strip():
            lines.append(line)
        return b"".join([*lines, line]) if line else b""

    def _exchange(self, head: bytes, api: socket.socket) -> bool:
        """Pass on one call; whether the connection can take another."""
        call = _parsed(head)
        hold = self.server.begin(call, self.request)
        try:
            api.sendall(head)
            answer = api.recv(PIECE) if self._upload(call.n_bytes, api, hold) else b""
            if hold and hold.part is Part.ANSWER and self._held(hold) is Fate.DROPPED:
                return False
        finally:
            self.server.answered(self.request)
            if hold:
                hold.ended.set()
        return self._download(answer, api, hold if hold and hold.part is Part.DOWNLOAD else None)

    def _upload(self, n_body: int, api: socket.socket, hold: Hold | None) -> bool:
        """Pass the body on; whether all of it went."""
        n_first = hold.n_passed_on(n_body) if hold else n_body
        whole = self._pass(n_first, api)
        if hold and hold.part in {Part.UPLOAD, Part.TAIL}:
            tail = self.rfile.read(n_body - n_first) if hold.part is Part.TAIL else b""
            if self._held(hold) is Fate.DROPPED:
                return False
            api.sendall(tail)
            whole = self._pass(n_body - n_first - len(tail), api)
        return whole

    def _pass(self, n_bytes: int, api: socket.socket) -> bool:
        while n_bytes:
            if not (piece := self.rfile.read1(min(n_bytes, PIECE))):
                return False
            api.sendall(piece)
            n_bytes -= len(piece)
        return True

    def _held(self, hold: Hold) -> Fate:
        if hold.cuts:
            self.server.answered(self.request)
            self.request.shutdown(socket.SHUT_RDWR)
        self.server.speaks(self.request, still=False)
        fate = hold.reach()
        self.server.speaks(self.request, still=True)
        return fate

    def _download(self, piece: bytes, api: socket.socket, hold: Hold | None) -> bool:
        """Pass the answer back until the caller speaks again; whether it does on this connection."""
        n_left = int(hold.at) if hold else -1
        while piece:
            if hold and len(piece) >= n_left >= 0:
                self.request.sendall(piece[:n_left])
                if self._held(hold) is Fate.DROPPED:
                    return False
                piece, hold = piece[n_left:], None
            self.request.sendall(piece)
            n_left -= len(piece)
            readable, _, _ = select.select([self.request, api], [], [])
            if api not in readable:
                return True
            piece = api.recv(PIECE)
        return False


def _parsed(head: bytes) -> Call:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return Call.parse(method, target, headers)


@contextmanager
def proxied(api_url: str) -> Iterator[Proxy]:
    """Give a proxy in front of an API."""
    with Proxy(api_url) as proxy:
        thread = Thread(target=proxy.serve_forever, args=(POLL_SECONDS,), name="proxy")
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            proxy.hang_up()
            thread.join()
