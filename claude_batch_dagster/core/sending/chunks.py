"""Rows that travel together: exactly one batch."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple, Self

import orjson

from claude_batch_dagster.core.asking.requests import widened
from claude_batch_dagster.core.ledger import Lane
from claude_batch_dagster.core.ports import Body
from claude_batch_dagster.core.pricing import Size, most
from claude_batch_dagster.errors import ConfigurationError

OPENING, BETWEEN, CLOSING = b'{"requests":[', b",", b"]}"
BEFORE, AFTER = b'{"custom_id":"%b","params":', b"}"
PIECE_BYTES = 1 << 18
"""Of how many bytes a piece of the body is, about."""

ENVELOPE_BYTES = 100
"""Bytes around each request's params, `custom_id` of full length included; rounded up."""

MESSAGES = b',"messages":'
"""Before it stands, in most params, what all requests share."""

UNBOUNDED = (
    *(b'"type":"%b"' % kind for kind in (b"image", b"document", b"container_upload")),
    b'"mcp_servers":[',
    b'"inference_geo":"',
)
"""Where one of these stands, tokens are more than bytes, or cost more than others. No text has them: it has `\\"`."""

TOOLS, OWN = b'"tools":[', "custom"
"""Tools that the user runs are text; what servers do is not bounded."""

STEP_BYTES = 256
"""To what the size of a request is rounded up when it is priced before it is answered."""

NONCE_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
NONCE_LENGTH = 26

N_SHARES = 8
"""In how many batches requests travel, as long as they fit, and each of the batches is worth its calls."""

SMALLEST_SHARE = 1_000
"""Requests that are worth the calls of a batch of their own."""

AROUND_WORDS = str.maketrans("", "", '"_-')
"""What a key may have beside letters and digits, and be a part of a custom_id as it stands but for its quotes."""

AROUND_SLUG = '"-'

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

    def shared_by(self, n_requests: int) -> Self:
        """
        Return the limits of batches that share this many requests.

        Several batches answer sooner than one, of which nothing can be had before its last request is answered; but
        each batch takes calls of its own, so there are few of them, and none has less than a thousand.
        """
        n_batches = min(N_SHARES, max(1, n_requests // SMALLEST_SHARE))
        share = max(SMALLEST_SHARE, -(-n_requests // n_batches))
        return replace(self, max_requests=min(self.max_requests, share))


class OpenRow(NamedTuple):
    """A row, and the question that it asks: it stands for all that ask the same."""

    partition_key: str | None
    """Dagster's partition key; None for an asset without partitions."""
    key: str
    """The row's key as canonical JSON: `"a"` and `1` and `["a",1]` stay apart."""
    question: str
    """Hash of what is asked; a wider `max_tokens` does not change it."""
    params: bytes
    """The request, as it will be sent."""
    attempt: int = 1
    n_truncated: int = 0
    """How many answers to it were cut off: it is to be asked with so much more room."""

    @property
    def max_cost_usd(self) -> float:
        """What it can cost at most at batch prices; raise `ConfigurationError` if the price is not known."""
        return self.most_usd(Lane.BATCH)

    def most_usd(self, lane: Lane) -> float:
        """Return what it can cost at most, asked in this way; raise `ConfigurationError` if the price is not known."""
        [measured] = _measured([widened(self.params, n_truncated=self.n_truncated)])
        size = _size(measured, lane)
        price = most(size)
        if price is None:
            raise ConfigurationError(
                f"what a request to the model {size.model!r} can cost at most is not known (its price is not listed, "
                "or the request has pictures, files or tools of the server), so max_unconfirmed_usd cannot be kept. "
                "Leave it out, and limit batches with max_requests_per_batch."
            )
        return price


def rows_of(
    partition_keys: Iterable[str | None], keys: Iterable[str], questions: Iterable[str], params: Sequence[bytes]
) -> Iterator[OpenRow]:
    """Make rows of columns; a named tuple that is made by name costs ten times as much."""
    n = len(params)
    columns = zip(partition_keys, keys, questions, params, repeat(1, n), repeat(0, n), strict=True)
    return map(tuple.__new__, repeat(OpenRow), columns)


@dataclass(frozen=True)
class Chunk:
    """A batch to be, its nonce in every custom_id: the proof that a batch found at the API is ours."""

    nonce: str
    rows: Sequence[OpenRow]
    lane: Lane = Lane.BATCH

    @cached_property
    def custom_ids(self) -> tuple[str, ...]:
        """One custom_id for each row, unique by construction."""
        keys = [row.key for row in self.rows]
        name = _named if _is_plain("".join(keys)) else custom_id
        return tuple([name(self.nonce, ordinal, key) for ordinal, key in enumerate(keys)])

    @property
    def body(self) -> Body:
        """The create call's body, each request encoded once."""
        return Body(pieces=self._pieces(), n_bytes=self._n_bytes)

    @property
    def max_cost_usd(self) -> float | None:
        """What it can cost at most, in US dollars; None when a price is not known."""
        sizes = _measured([row.params for row in self.rows])
        prices = [(most(_size(measured, self.lane)), n) for measured, n in sizes.items()]
        return None if any(price is None for price, _ in prices) else sum((price or 0) * n for price, n in prices)

    @cached_property
    def _n_bytes(self) -> int:
        n = len(self.rows)
        envelopes = len(OPENING) + len(CLOSING) + n * len(BEFORE % b"" + AFTER) + max(0, n - 1) * len(BETWEEN)
        params = sum(len(row.params) for row in self.rows)
        return envelopes + params + sum(map(len, self.custom_ids))

    def _pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces that are worth a system call each."""
        between, waiting, n_waiting = OPENING, list[bytes](), 0
        for name, row in zip(self.custom_ids, self.rows, strict=True):
            if n_waiting > PIECE_BYTES:
                yield b"".join(waiting)
                waiting, n_waiting = [], 0
            waiting += (between, BEFORE % name.encode(), row.params, AFTER)
            n_waiting += len(row.params)
            between = BETWEEN
        yield b"".join([*waiting, CLOSING])


_Measured = tuple[tuple[str, int], int, bool, bool]
"""All that the price of a request depends on: model and limit, size in steps, whether it is cached and bounded."""


def _measured(requests: Sequence[bytes]) -> Counter[_Measured]:
    """Count requests by what their price depends on; their sizes are rounded up, so that many have the same."""
    found: Counter[_Measured] = Counter()
    start = 0
    while start < len(requests):
        before, settings = _settings_before_messages(requests[start])
        end = start + 1
        while before is not None and end < len(requests) and requests[end].startswith(before):
            end += 1
        alike = requests[start:end]
        steps = [-(-len(params) // STEP_BYTES) for params in alike]
        cached = [b'"cache_control"' in params for params in alike]
        bounded = map(_is_bounded, alike)
        for (n_steps, is_cached, is_bounded), n in Counter(zip(steps, cached, bounded, strict=True)).items():
            found[settings, n_steps, is_cached, is_bounded] += n
        start = end
    return found


def _size(one: _Measured, lane: Lane) -> Size:
    (model, max_tokens), n_steps, cached, is_bounded = one
    size = n_steps * STEP_BYTES
    return Size(model=model, n_bytes=size, max_tokens=max_tokens, cached=cached, lane=lane, is_bounded=is_bounded)


def _is_bounded(params: bytes) -> bool:
    """Whether the bytes of a request bound its tokens, and a token costs what the price list says."""
    if any(mark in params for mark in UNBOUNDED):
        return False
    return TOOLS not in params or all(tool.get("type", OWN) == OWN for tool in orjson.loads(params).get("tools", ()))


def _settings_before_messages(params: bytes) -> tuple[bytes | None, tuple[str, int]]:
    """
    Read model and limit off a request.

    Also returns what other requests with the same settings begin with, messages and all; None if the settings stand
    behind the messages.
    """
    shared, messages, _ = params.partition(MESSAGES)
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(shared + b"}")
        if {"model", "max_tokens"} <= found.keys():
            return shared + messages, _settings(found)
    return None, _settings(orjson.loads(params))


def _settings(params: Mapping[str, Any]) -> tuple[str, int]:
    limit = params.get("max_tokens")
    return str(params.get("model")), limit if isinstance(limit, int) else 0


def new_nonce(now: datetime, entropy: bytes) -> str:
    """
    Return 26 characters: 48 bits of milliseconds, then 80 bits of `entropy` (10 bytes).

    Nonces sort by time of intent, so of two answers to one row the later question is known.
    """
    number = int(now.timestamp() * 1000) << 80 | int.from_bytes(entropy[:10])
    return "".join(NONCE_ALPHABET[number >> 5 * place & 31] for place in reversed(range(NONCE_LENGTH)))


def custom_id(nonce: str, ordinal: int, key: str) -> str:
    """Return the nonce, the ordinal, and as much of the key as is allowed and fits, for human eyes."""
    return _named(nonce, ordinal, _slug(key))


def _named(nonce: str, ordinal: int, slug: str) -> str:
    return f"{nonce}-{ordinal:05d}-{slug.strip(AROUND_SLUG)}"[:MAX_CUSTOM_ID].rstrip("-")


def _slug(key: str) -> str:
    """Return what a custom_id can say of a key."""
    if _is_plain(key):
        return key
    value = json.loads(key)
    text = "-".join(str(part) for part in value) if isinstance(value, list) else str(value)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)


def _is_plain(keys: str) -> bool:
    """Whether keys are words and numbers, of which nothing but the quotes has to go."""
    letters = keys.translate(AROUND_WORDS)
    return letters.isascii() and letters.isalnum()


def chunked(rows: Iterable[OpenRow], limits: Limits, lane: Lane = Lane.BATCH) -> Iterator[list[OpenRow]]:
    """Fill chunks to the limits, in order, at the prices of a way to ask; the last takes what is left."""
    chunk: list[OpenRow] = []
    n_bytes, usd = 0, 0.0
    for row in rows:
        size = len(row.params) + ENVELOPE_BYTES
        price = 0.0 if limits.max_usd is None else row.most_usd(lane)
        n_bytes, usd = n_bytes + size, usd + price
        if chunk and not limits.allow(n_requests=len(chunk) + 1, n_bytes=n_bytes, usd=usd):
            yield chunk
            chunk, n_bytes, usd = [], size, price
        chunk.append(row)
    if chunk:
        yield chunk
