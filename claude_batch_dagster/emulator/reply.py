"""What goes back over the wire, including the ways a wire can fail."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson


class Connection(StrEnum):
    """What becomes of the connection that carries a reply."""

    KEPT = "kept"
    """The whole reply arrives."""

    REFUSED = "refused"
    """Nothing listens: the request never left the client."""

    BROKEN = "broken"
    """The connection is lost while the request is still being sent."""

    DROPPED = "dropped"
    """The connection is closed after the request arrived, without a reply."""

    STALLED = "stalled"
    """No reply ever comes; the client runs into its timeout."""

    CUT = "cut"
    """The reply stops early; whether the client can tell depends on the framing."""


class Framing(StrEnum):
    """How the end of a body is told."""

    LENGTH = "length"
    """By `content-length`."""

    CHUNKED = "chunked"
    """By a last, empty chunk."""

    CLOSE = "close"
    """By closing the connection: an early end looks like the end."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One HTTP reply, as a value."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    connection: Connection = Connection.KEPT
    framing: Framing = Framing.LENGTH
    n_bytes: int | None = None
    """The announced length of a body that will be cut, or of one given in pieces."""
    pause_seconds: float = 0
    """How long a door waits before each piece of the body."""

    def pieces(self) -> Iterable[bytes]:
        """Return the body piece by piece; a body that is produced lazily can be read once."""
        if isinstance(self.body, bytes):
            return (self.body,) if self.body else ()
        return self.body

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.pieces())

    def json(self) -> Any:
        """Return the body as JSON."""
        return orjson.loads(self.read())


@dataclass(kw_only=True, eq=False)
class ApiError(Exception):
    """A request that the API refuses."""

    status: int
    kind: str
    message: str
    error_code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the error object that the API sends."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        if self.error_code:
            error = {"details": {"error_code": self.error_code}, **error}
        return {"type": "error", "error": error, "request_id": request_id}


def json_reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply whose body is `value` as JSON."""
    return Reply(
        status=status,
        headers={"content-type": "application/json", **(headers or {})},
        body=orjson.dumps(value),
    )


def invalid(message: str, *, status: int = 400) -> ApiError:
    """Return the error of a request that breaks a rule."""
    return ApiError(status=status, kind="invalid_request_error", message=message)


def not_found(message: str) -> ApiError:
    """Return the error of something that is not there."""
    return ApiError(status=404, kind="not_found_error", message=message)


TOO_LARGE = Reply(
    status=413,
    headers={"content-type": "application/json"},
    body=b'{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}',
)
"""The edge's short answer; it never reaches the API, so it carries none of the API's fields."""
