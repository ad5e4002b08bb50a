"""
A server that takes batches and answers them at once, in a process of its own: its work is not what is measured.

`python -m bench.server` prints its URL and serves until its standard input ends.
"""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any

import orjson

from bench.corpus import batch, result_line

NAMED = re.compile(rb'"custom_id": ?"([^"]+)"')
PATH = "/v1/messages/batches"
FIRST_BATCH = "/first_batch"
"""Where it says when the first batch came: seconds since the epoch, or nothing if none has come."""

PIECE_LINES = 500


class Batches(BaseHTTPRequestHandler):
    """Batches by id, each as the names of its requests."""

    protocol_version = "HTTP/1.1"
    held: Mapping[str, list[str]] = {}
    numbers = count(1)
    first_at: float | None = None

    def do_POST(self) -> None:
        """Take a batch."""
        type(self).first_at = self.first_at or time.time()
        body = self.rfile.read(int(self.headers["content-length"]))
        names = [name.decode() for name in NAMED.findall(body)]
        batch_id = f"msgbatch_01bench{next(self.numbers):016d}"
        type(self).held = {**self.held, batch_id: names}
        self._say(self._batch(batch_id, ended=False))

    def do_GET(self) -> None:
        """Say that a batch has ended, hand out its results, or list what there is."""
        rest = self.path.removeprefix(PATH).strip("/")
        batch_id, _, part = rest.partition("/")
        if self.path == FIRST_BATCH:
            self._say(self.first_at)
        elif not self.path.startswith(PATH):
            self._say({"type": "error", "error": {"type": "not_found_error", "message": "not here"}}, status=404)
        elif part == "results":
            self._stream(self.held[batch_id])
        elif batch_id in self.held:
            self._say(self._batch(batch_id))
        else:
            known = [self._batch(name) for name in self.held]
            self._say({"data": known[::-1], "has_more": False, "first_id": None, "last_id": None})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _batch(self, batch_id: str, *, ended: bool = True) -> dict[str, object]:
        base_url = f"http://{self.headers['host']}"
        return batch(batch_id, len(self.held[batch_id]), ended=ended, base_url=base_url)

    def _say(self, content: Any, status: int = 200) -> None:
        body = orjson.dumps(content)
        self._begin(status, "application/json", len(body))
        self.wfile.write(body)

    def _stream(self, names: list[str]) -> None:
        self._begin(200, "application/x-jsonl", sum(map(len, _pieces(names))))
        for piece in _pieces(names):
            self.wfile.write(piece)

    def _begin(self, status: int, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(length))
        self.send_header("date", datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.end_headers()


def _pieces(names: list[str]) -> Iterator[bytes]:
    """Write the results in pieces: of their own for each request, the same each time."""
    for start in range(0, len(names), PIECE_LINES):
        part = names[start : start + PIECE_LINES]
        yield b"".join(result_line(name, start + place, distinct=True) for place, name in enumerate(part))


def main() -> None:
    """Serve on a free port of this machine until nobody listens any more."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Batches)
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
