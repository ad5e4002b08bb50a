"""The door for programs that share a process with the emulator: no socket, no thread."""

from collections.abc import Iterator

import httpx2

from claude_batch_dagster.emulator.app import Emulator
from claude_batch_dagster.emulator.reply import Connection, Framing, Reply


class EmulatorTransport(httpx2.BaseTransport):
    """
    Carries requests of an `httpx2.Client` to an emulator in the same process.

    What goes wrong on a wire goes wrong here with the same exceptions, and a
    request body is read as a stream, to its last byte.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        headers = {**dict(request.headers), "x-forwarded-proto": request.url.scheme}
        # Streamed, not read: a caller whose body is a generator relies on when it is driven.
        pieces = request.stream if isinstance(request.stream, httpx2.SyncByteStream) else [request.read()]
        reply = self._emulator.handle(request.method, request.url.raw_path.decode(), headers, iter(pieces))
        _raise_for(reply, request)
        return httpx2.Response(reply.status, headers=_headers(reply), stream=_ReplyStream(reply), request=request)


class _ReplyStream(httpx2.SyncByteStream):
    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        yield from self._reply.pieces()
        if self._reply.connection is Connection.CUT and self._reply.framing is not Framing.CLOSE:
            # Without framing the client has no way to know, and gets no exception either.
            raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")


def _raise_for(reply: Reply, request: httpx2.Request) -> None:
    match reply.connection:
        case Connection.REFUSED:
            raise httpx2.ConnectError("[Errno 111] Connection refused", request=request)
        case Connection.BROKEN:
            raise httpx2.WriteError("[Errno 32] Broken pipe", request=request)
        case Connection.DROPPED:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        case Connection.STALLED:
            raise httpx2.ReadTimeout("The read operation timed out", request=request)
        case _:
            return


def _headers(reply: Reply) -> dict[str, str]:
    headers = dict(reply.headers)
    if reply.framing is Framing.CHUNKED:
        return {**headers, "transfer-encoding": "chunked"}
    if isinstance(reply.body, bytes):
        return {**headers, "content-length": str(len(reply.body))}
    return headers if reply.n_bytes is None else {**headers, "content-length": str(reply.n_bytes)}
