"""
Prompt caching as a bill shows it: a prefix is written by whoever comes first, and read by those who come later.

A batch works on its requests side by side, so that in a cold one all of them write. What a batch has written can be
read when it has ended, for as long as the prefix lives; each use lets it live on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from threading import RLock
from typing import Any

import orjson

from claude_batch_dagster.emulator.ids import chance
from claude_batch_dagster.emulator.lifecycle import Batch, standing
from claude_batch_dagster.emulator.models import find_model
from claude_batch_dagster.emulator.reading import block_text, tokens_of
from claude_batch_dagster.emulator.store import PrefixRow, Store

CONTROL = b'"cache_control"'
"""Stands in the JSON of every request with a breakpoint."""

_HOUR, _FIVE_MINUTES = 3600, 300
# How many blocks before a breakpoint are looked at for something that was written.
_LOOKBACK = 20


@dataclass(frozen=True, kw_only=True)
class CacheUse:
    """Input tokens that a request read from the cache, or wrote to it."""

    n_read: int = 0
    n_written: int = 0
    for_an_hour: bool = False


@dataclass(kw_only=True)
class Cache:
    """The prefixes that were written, by whom and for how long."""

    store: Store
    lock: RLock
    seed: int
    reads: float
    """The share of requests that find what is there: hits are best effort."""

    def live(self, params: Mapping[str, Any], *, workspace: str, at: datetime) -> CacheUse:
        """Answer one call, now: what it writes can be read by the next."""
        visit = Visit(cache=self, workspace=workspace, at=at, number=None)
        use = visit.use(params, salt=orjson.dumps(params["messages"]), position=0)
        with self.lock:
            self.store.add_prefixes(visit.rows())
        return use

    def is_warm(self, digest: bytes, at: datetime) -> bool:
        """Whether somebody has written a prefix, or read it, and it is still there."""
        with self.lock:
            uses = self.store.uses_of_prefix(digest)
        for batch, position, used_at, seconds in uses:
            last = used_at if batch is None else _answered_at(batch, position, at)
            if last is not None and last <= at < last + timedelta(seconds=seconds):
                return True
        return False


@dataclass(kw_only=True)
class Visit:
    """What the requests of one batch, or one call, find in the cache and leave there."""

    cache: Cache
    workspace: str
    at: datetime
    number: int | None
    """Of the batch; None for a call."""
    _warm: dict[bytes, bool] = field(default_factory=dict)
    _left: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Prefixes with the position of the first request that has used each, and how many seconds it lives on."""

    def use(self, params: Mapping[str, Any], *, salt: object, position: int) -> CacheUse:
        """Return how a request uses the cache; `position` is its place in the batch."""
        blocks = list(_blocks_to_last_breakpoint(params, self.workspace))
        model = find_model(params["model"])
        if not blocks or model is None or blocks[-1].n_tokens < model.smallest_prefix:
            return CacheUse()
        long_enough = [block for block in blocks[-_LOOKBACK:] if block.n_tokens >= model.smallest_prefix]
        found = None
        if chance(self.cache.seed, self.number, salt, "cache") < self.cache.reads:
            found = next((block for block in reversed(long_enough) if self._is_warm(block.digest)), None)
        last, n_read = blocks[-1], found.n_tokens if found else 0
        for block in long_enough:
            if block.seconds or block is found:
                self._left.setdefault(block.digest, (position, block.seconds or last.seconds))
        return CacheUse(n_read=n_read, n_written=last.n_tokens - n_read, for_an_hour=last.seconds == _HOUR)

    def rows(self) -> list[PrefixRow]:
        """Return what is left in the cache, ready to be kept."""
        return [(digest, self.number, position, self.at, s) for digest, (position, s) in self._left.items()]

    def _is_warm(self, digest: bytes) -> bool:
        if digest not in self._warm:
            self._warm[digest] = self.cache.is_warm(digest, self.at)
        return self._warm[digest]


def unmarked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked, apart from caching: a text that a breakpoint has cut in two is one again."""
    plain = {name: value for name, value in params.items() if name != "cache_control"}
    if isinstance(system := params.get("system"), list):
        plain["system"] = _whole(system)
    if isinstance(tools := params.get("tools"), list):
        plain["tools"] = [_without_control(tool) for tool in tools]
    if isinstance(messages := params.get("messages"), list):
        plain["messages"] = [_whole_message(message) for message in messages]
    return plain


def _answered_at(batch: Batch, position: int, now: datetime) -> datetime | None:
    """Return when a batch has ended, if it has, and has answered the request at that position."""
    stands = standing(batch, now)
    return stands.ended_at if position < stands.n_done else None


@dataclass(frozen=True)
class _Block:
    digest: bytes
    """Of all up to its end."""
    n_tokens: int
    """Of all up to its end."""
    seconds: int
    """How long the prefix lives if there is a breakpoint; else 0."""


def _blocks_to_last_breakpoint(params: Mapping[str, Any], workspace: str) -> list[_Block]:
    """Return the blocks that a request wants cached, in the order in which the API puts them."""
    contents = list(_contents(params))
    # A control beside the messages asks for a breakpoint at the end of all of them.
    contents[-1] = (*contents[-1][:2], contents[-1][2] or _seconds(params))
    end = max((n for n, (_, _, seconds) in enumerate(contents, start=1) if seconds), default=0)
    known, n_characters, blocks = blake2b(workspace.encode(), digest_size=16), 0, []
    for content, size, seconds in contents[:end]:
        known.update(blake2b(content, digest_size=16).digest())
        n_characters += size
        blocks.append(_Block(known.digest(), tokens_of(n_characters), seconds))
    return blocks


def _contents(params: Mapping[str, Any]) -> Iterator[tuple[bytes, int, int]]:
    """Yield the content of each block, the characters that count, and how long a breakpoint lets it live."""
    tools, format_ = _blocks(params.get("tools")), (params.get("output_config") or {}).get("format")
    extras = orjson.dumps([[_without_control(tool) for tool in tools], params.get("output_config")])
    head = orjson.dumps([params["model"], [_without_control(tool) for tool in tools], format_])
    yield head, len(extras) if tools or format_ else 0, max(map(_seconds, tools), default=0)
    for block in _blocks(params.get("system")):
        yield _content("system", block)
    for message in params.get("messages") or []:
        for block in _blocks(message.get("content")):
            yield _content(message.get("role"), block)


def _content(role: object, block: Any) -> tuple[bytes, int, int]:
    return orjson.dumps([role, _without_control(block)]), len(block_text(block)), _seconds(block)


def _blocks(content: object) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else []


def _seconds(block: object) -> int:
    control = block.get("cache_control") if isinstance(block, Mapping) else None
    if not isinstance(control, Mapping):
        return 0
    return _HOUR if control.get("ttl") == "1h" else _FIVE_MINUTES


def _without_control(block: Any) -> Any:
    if not isinstance(block, Mapping):
        return block
    return {name: value for name, value in block.items() if name != "cache_control"}


def _whole_message(message: Any) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    return {**message, "content": _whole(content)} if isinstance(content, list) else message


def _whole(blocks: list[Any]) -> Any:
    """Join each text that ends in a breakpoint with the one behind it; nothing but such a text is a plain string."""
    whole: list[Any] = []
    cut, n_cuts = False, 0
    for block in blocks:
        plain = _without_control(block)
        if cut and _is_text(plain):
            whole[-1] = {**whole[-1], "text": whole[-1]["text"] + plain["text"]}
        else:
            whole.append(plain)
        cut = bool(_seconds(block)) and _is_text(plain)
        n_cuts += cut
    return whole[0]["text"] if n_cuts and len(whole) == 1 else whole


def _is_text(block: Any) -> bool:
    return isinstance(block, Mapping) and block.keys() == {"type", "text"} and isinstance(block["text"], str)
