"""The way to the emulator for a client whose server does not wait: it has the whole body, so it accepts."""

from collections.abc import Iterator

import httpx2

from claude_batch_dagster.emulator import Emulator, EmulatorTransport


class EagerTransport(httpx2.BaseTransport):
    """
    Lets the server act on a body as soon as the announced number of bytes is there.

    What the client does after it handed over its last byte comes after that, as it can on a real wire.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._transport = EmulatorTransport(emulator)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        if not isinstance(request.stream, httpx2.SyncByteStream) or "content-length" not in request.headers:
            return self._transport.handle_request(request)
        pieces = iter(request.stream)
        request.stream = _Announced(pieces, int(request.headers["content-length"]))
        response = self._transport.handle_request(request)
        for _ in pieces:
            raise ValueError("the body is longer than was announced")
        return response


class _Announced(httpx2.SyncByteStream):
    """As many bytes as were announced, and no look beyond."""

    def __init__(self, pieces: Iterator[bytes], n_bytes: int) -> None:
        self._pieces, self._n_bytes = pieces, n_bytes

    def __iter__(self) -> Iterator[bytes]:
        n_left = self._n_bytes
        while n_left > 0 and (piece := next(self._pieces, None)) is not None:
            n_left -= len(piece)
            yield piece
