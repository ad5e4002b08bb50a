"""What comes in over the wire: one call, its endpoint, its body."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl, unquote, urlsplit

Body = bytes | bytearray | Iterable[bytes]

ROUTES = (
    ("create", "POST", r"/v1/messages/batches"),
    ("list", "GET", r"/v1/messages/batches"),
    ("retrieve", "GET", r"/v1/messages/batches/([^/]+)"),
    ("delete", "DELETE", r"/v1/messages/batches/([^/]+)"),
    ("cancel", "POST", r"/v1/messages/batches/([^/]+)/cancel"),
    ("results", "GET", r"/v1/messages/batches/([^/]+)/results"),
    ("message", "POST", r"/v1/messages"),
    ("count_tokens", "POST", r"/v1/messages/count_tokens"),
)
"""Name, method and path of every endpoint."""

ENDPOINTS = frozenset(name for name, _, _ in ROUTES)


class BodyTooLargeError(Exception):
    """A body longer than the edge lets through."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One HTTP request, without its body."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = ""
    """Name of the endpoint; empty for a path or a method that does not exist."""
    batch_id: str = ""
    known_path: bool = False
    """Whether the path exists for some other method."""

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str]) -> "Call":
        """Read a call off its request line and headers."""
        parts = urlsplit(target)
        endpoint, batch_id, known = _route(method.upper(), parts.path.rstrip("/"))
        return cls(
            method=method.upper(),
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in headers.items()},
            endpoint=endpoint,
            batch_id=batch_id,
            known_path=known,
        )

    @cached_property
    def key(self) -> str:
        """The API key, from either of the two headers; empty if neither came."""
        # SDKs before 2.0 send the first header, later ones the second.
        if key := self.headers.get("x-api-key", "").strip():
            return key
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @property
    def origin(self) -> str:
        """Scheme and host the caller used; empty if it did not say."""
        host = self.headers.get("host", "")
        return f"{self.headers.get('x-forwarded-proto', 'http')}://{host}" if host else ""

    @property
    def n_retries(self) -> int | None:
        """How often the official SDK says it sent this before."""
        count = self.headers.get("x-stainless-retry-count", "")
        return int(count) if count.isdecimal() else None

    @property
    def n_bytes(self) -> int:
        """Announced length of the body, 0 if unknown."""
        length = self.headers.get("content-length", "")
        return int(length) if length.isdecimal() else 0


def _route(method: str, path: str) -> tuple[str, str, bool]:
    known = False
    for name, wanted, pattern in ROUTES:
        if not (match := re.fullmatch(pattern, path)) or path.endswith("/messages/batches/"):
            continue
        if wanted == method:
            return name, unquote(match[1]) if match.groups() else "", True
        known = True
    return "", "", known


def gather(body: Body, *, max_bytes: int) -> bytes | bytearray:
    """Read a body to its last byte, keeping one copy."""
    if isinstance(body, bytes | bytearray):
        if len(body) > max_bytes:
            raise BodyTooLargeError
        return body
    gathered, n_bytes = bytearray(), 0
    for piece in body:
        n_bytes += len(piece)
        if n_bytes <= max_bytes:
            gathered += piece
        else:
            # The rest is read all the same: a sender that is cut off may never see the refusal.
            gathered.clear()
    if n_bytes > max_bytes:
        raise BodyTooLargeError
    return gathered


def read_half(body: Body, *, n_bytes: int) -> None:
    """Read a body until about half of it is there, then stop for good."""
    seen = 0
    for piece in (body,) if isinstance(body, bytes | bytearray) else body:
        seen += len(piece)
        if seen * 2 >= n_bytes:
            return
