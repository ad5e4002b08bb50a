"""The door for HTTP: an ASGI application, and the raw socket below it where a reply must break."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic

import anyio.from_thread
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from claude_batch_dagster.emulator.app import Emulator
from claude_batch_dagster.emulator.reply import Connection, Framing, Reply

_TRANSPORTS: dict[tuple[object, object], asyncio.Transport] = {}
"""Open connections by the addresses of both ends; ASGI itself does not let an application hang up."""


class Wire(H11Protocol):
    """uvicorn's connection, which an application can also break."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection."""
        super().connection_made(transport)
        _TRANSPORTS[self.client, self.server] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        _TRANSPORTS.pop((self.client, self.server), None)


class Application:
    """An ASGI application that answers with an emulator; serve it with `Wire`."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.last_call = monotonic()
        """When the last call began or ended."""
        self.n_open = 0
        """How many calls are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        self.n_open += 1
        self.last_call = monotonic()
        try:
            await self._answer(Request(scope, receive), scope, receive, send)
        finally:
            self.n_open -= 1
            self.last_call = monotonic()

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        try:
            reply = await run_in_threadpool(
                self._emulator.handle, request.method, target, dict(request.headers), _body(request)
            )
        # Nobody is left to answer, and what was not received to its end was not accepted.
        except ClientDisconnect:
            return
        if reply.connection is Connection.KEPT:
            await _response(reply)(scope, receive, send)
        else:
            await _break(reply, _TRANSPORTS[scope["client"], scope["server"]], receive)


def _body(request: Request) -> Iterator[bytes]:
    """Yield a body as it arrives; runs in a worker thread, so that a large body does not stop the others."""
    pieces = aiter(request.stream())
    while (piece := anyio.from_thread.run(_next_piece, pieces)) is not None:
        yield piece


async def _next_piece(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


def _response(reply: Reply) -> Response:
    headers = dict(reply.headers)
    if isinstance(reply.body, bytes):
        return Response(reply.body, reply.status, headers)
    return StreamingResponse(_paced(reply), reply.status, headers)


async def _paced(reply: Reply) -> AsyncIterator[bytes]:
    async for piece in iterate_in_threadpool(reply.pieces()):
        if reply.pause_seconds:
            await asyncio.sleep(reply.pause_seconds)
        yield piece


async def _break(reply: Reply, transport: asyncio.Transport, receive: Receive) -> None:
    """Send what the reply has, if anything, and hang up; uvicorn never learns that there was a response."""
    if reply.connection is Connection.CUT:
        head = [f"HTTP/1.1 {reply.status} OK", *(f"{name}: {value}" for name, value in reply.headers.items())]
        extra, frame = _FRAMES[reply.framing]
        head += [extra.format(n_bytes=reply.n_bytes), "", ""]
        transport.write("\r\n".join(head).encode("latin-1"))
        for piece in await run_in_threadpool(list, reply.pieces()):
            transport.write(frame(piece))
    # `close` sends what is still buffered first, then ends the connection.
    if reply.connection is not Connection.STALLED:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def _chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


_FRAMES: dict[Framing, tuple[str, Callable[[bytes], bytes]]] = {
    Framing.LENGTH: ("content-length: {n_bytes}", bytes),
    Framing.CHUNKED: ("transfer-encoding: chunked", _chunk),
    Framing.CLOSE: ("connection: close", bytes),
}
