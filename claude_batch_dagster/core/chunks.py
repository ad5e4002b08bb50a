"""Rows that travel together: exactly one batch."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import orjson

from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.ports import Body
from claude_batch_dagster.core.pricing import Size, most
from claude_batch_dagster.core.requests import Request, widened
from claude_batch_dagster.errors import ConfigurationError

OPENING, BETWEEN, CLOSING = b'{"requests":[', b",", b"]}"
ENVELOPE_BYTES = 100
"""Bytes around each request's params, `custom_id` of full length included; rounded up."""

STEP_BYTES = 256
"""To what the size of a request is rounded up when it is priced before it is answered."""

NONCE_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
NONCE_LENGTH = 26
MAX_CUSTOM_ID = 64
"""Length allowed of a custom_id, `[A-Za-z0-9_-]{1,64}` (Claude docs, "Message Batches")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much goes into one batch."""

    max_requests: int = 10_000
    """At most 100,000 (Claude docs, "Message Batches")."""
    max_bytes: int = 64_000_000
    """Bytes of the encoded body; the API takes 256 MB."""
    max_usd: float | None = None
    """US dollars that all of it can cost at most; None for no limit. A request that can cost more travels alone."""

    def allow(self, *, n_requests: int, n_bytes: int, usd: float) -> bool:
        """Whether this much may go into one batch."""
        within = n_requests <= self.max_requests and n_bytes <= self.max_bytes
        return within and (self.max_usd is None or usd <= self.max_usd)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row without a usable answer, and its question: one row stands for all that ask the same."""

    row: RowKey
    request: Request
    n_truncated: int = 0
    """How many answers to it were cut off: it is asked with so much more room."""

    @property
    def question(self) -> str:
        """The hash of its question."""
        return self.request.request_hash

    @property
    def max_cost_usd(self) -> float:
        """What it can cost at most at batch prices; raise `ConfigurationError` if the price is not known."""
        size = _size(widened(self.request.params, n_truncated=self.n_truncated))
        price = most(size)
        if price is None:
            raise ConfigurationError(
                f"the price of the model {size.model!r} is not known, so max_unconfirmed_usd cannot be kept. Leave it "
                "out, and limit batches with max_requests_per_batch."
            )
        return price


@dataclass(frozen=True, slots=True)
class Passenger:
    """A row that goes into a chunk."""

    row: RowKey
    request_hash: str
    """Hash of the request as first asked; a wider `max_tokens` does not change it."""
    params: bytes
    attempt: int


@dataclass(frozen=True)
class Chunk:
    """A batch to be, its nonce in every custom_id: the proof that a batch found at the API is ours."""

    nonce: str
    passengers: Sequence[Passenger]

    @cached_property
    def custom_ids(self) -> tuple[str, ...]:
        """One custom_id for each passenger, unique by construction."""
        return tuple(
            custom_id(self.nonce, ordinal, passenger.row.key) for ordinal, passenger in enumerate(self.passengers)
        )

    @property
    def body(self) -> Body:
        """The create call's body, each request encoded once."""
        return Body(pieces=self._pieces(), n_bytes=self._n_bytes)

    @property
    def max_cost_usd(self) -> float | None:
        """What it can cost at most at batch prices, in US dollars; None when a price is not known."""
        sizes = Counter(_size(passenger.params) for passenger in self.passengers)
        prices = [(most(size), n) for size, n in sizes.items()]
        return None if any(price is None for price, _ in prices) else sum((price or 0) * n for price, n in prices)

    @cached_property
    def _n_bytes(self) -> int:
        return sum(map(len, self._pieces()))

    def _pieces(self) -> Iterator[bytes]:
        between = OPENING
        for name, passenger in zip(self.custom_ids, self.passengers, strict=True):
            yield b'%b{"custom_id":"%b","params":%b}' % (between, name.encode(), passenger.params)
            between = BETWEEN
        yield CLOSING


def _size(params: bytes) -> Size:
    """Say how large a request is, rounded up, so that many of a chunk share one price."""
    body = orjson.loads(params)
    limit = body.get("max_tokens")
    return Size(
        model=str(body.get("model")),
        n_bytes=-(-len(params) // STEP_BYTES) * STEP_BYTES,
        max_tokens=limit if isinstance(limit, int) else 0,
        cached=b'"cache_control"' in params,
    )


def new_nonce(now: datetime, entropy: bytes) -> str:
    """
    Return 26 characters: 48 bits of milliseconds, then 80 bits of `entropy` (10 bytes).

    Nonces sort by time of intent, so of two answers to one row the later question is known.
    """
    number = int(now.timestamp() * 1000) << 80 | int.from_bytes(entropy[:10])
    return "".join(NONCE_ALPHABET[number >> 5 * place & 31] for place in reversed(range(NONCE_LENGTH)))


def custom_id(nonce: str, ordinal: int, key: str) -> str:
    """Return the nonce, the ordinal, and as much of the key as is allowed and fits, for human eyes."""
    value = json.loads(key)
    text = "-".join(str(part) for part in value) if isinstance(value, list) else str(value)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")
    return f"{nonce}-{ordinal:05d}-{slug}"[:MAX_CUSTOM_ID].rstrip("-")


def chunked(candidates: Iterable[Candidate], limits: Limits) -> Iterator[list[Candidate]]:
    """Fill chunks to the limits, in order; the last takes what is left."""
    chunk: list[Candidate] = []
    n_bytes, usd = 0, 0.0
    for candidate in candidates:
        size = len(candidate.request.params) + ENVELOPE_BYTES
        price = 0.0 if limits.max_usd is None else candidate.max_cost_usd
        if chunk and not limits.allow(n_requests=len(chunk) + 1, n_bytes=n_bytes + size, usd=usd + price):
            yield chunk
            chunk, n_bytes, usd = [], 0, 0.0
        chunk.append(candidate)
        n_bytes += size
        usd += price
    if chunk:
        yield chunk
