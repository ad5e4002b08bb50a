"""How a download that breaks off goes over the wire, by how its end is told."""

import gzip
from typing import Literal

from proof.answers.server import Script, http

CHUNK_BYTES = 1_000

Framing = Literal["length", "chunked", "close", "gzip"]
FRAMINGS: tuple[Framing, ...] = ("length", "chunked", "close", "gzip")
"""A length told before; chunks; the end of the connection; the same, compressed."""


def download(content: bytes, framing: Framing, *, n_missing: int, resets: bool = False) -> Script:
    """Return a download of `content` whose last bytes are missing, in that the connection ends before them."""
    n_left = len(content) - n_missing
    says = {"length": _with_length, "chunked": _chunked, "close": _until_close, "gzip": _compressed}[framing]
    return Script(says(content, n_left), ending="reset" if resets else "close")


def _with_length(content: bytes, n_left: int) -> bytes:
    return http("200", [], content[:n_left], n_missing=len(content) - n_left)


def _chunked(content: bytes, n_left: int) -> bytes:
    chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    n_before, rest = divmod(n_left, CHUNK_BYTES)
    n_framed = sum(len(b"%x\r\n%b\r\n" % (len(chunk), chunk)) for chunk in chunks[:n_before])
    n_open = len(b"%x\r\n" % len(chunks[n_before])) + rest if rest else 0
    return _headed(
        "transfer-encoding: chunked", (body + b"0\r\n\r\n") if n_left == len(content) else body[: n_framed + n_open]
    )


def _until_close(content: bytes, n_left: int) -> bytes:
    return _headed("x-nothing: told", content[:n_left])


def _compressed(content: bytes, n_left: int) -> bytes:
    """Cut the same part off the compressed bytes."""
    packed = gzip.compress(content, mtime=0)
    return _headed("content-encoding: gzip", packed[: len(packed) * n_left // len(content)])


def _headed(header: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{header}\r\nconnection: close\r\n\r\n".encode() + body
