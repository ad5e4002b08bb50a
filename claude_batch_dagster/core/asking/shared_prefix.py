"""What all requests of a table begin with, and how it is marked so that it is paid for once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

MARK: Mapping[str, str] = {"type": "ephemeral", "ttl": "1h"}
"""The `cache_control` of a breakpoint: batches outlast the default of five minutes (Claude docs, "Prompt caching")."""

MARKED = b'"cache_control"'
"""Stands in every request that has a breakpoint, and in no text: there it is `\\"cache_control\\"`."""

SMALLEST_SPLIT_BYTES = 256
"""Bytes of instructions from which on they are worth a content block of their own, behind a system prompt."""

BYTES_PER_TOKEN, SCHEMA_BYTES_PER_TOKEN = 4, 8
"""
For estimates. English text has 3 to 4.5 bytes a token, other scripts fewer. How many tokens a schema has is not
documented, so it is counted for half.
"""

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
"""A string of JSON, whole."""


@dataclass(frozen=True, kw_only=True)
class SharedPrefix:
    """The part of each request that comes before the first column."""

    base: Mapping[str, Any]
    """Params of every request, without `messages`."""
    before: bytes
    """What stands before the message, as it is sent unmarked."""
    after: bytes
    literal: str | None
    """With what each message begins; None if a function makes the messages, so that nobody knows."""

    def marked(self, params: bytes) -> bytes:
        """
        Put a breakpoint at the end of what is shared: after the system prompt, and after the first instructions.

        A request that does not begin as the others do, or has breakpoints of its own, stays as it is. What is asked
        is the same, so it remains the same question.
        """
        if self._marked_before is None or MARKED in params:
            return params
        if not (params.startswith(self.before) and params.endswith(self.after)):
            return params
        plain, marked, closing = self._cut if params.startswith(self._cut[0]) else self._uncut
        rest = memoryview(params)[len(plain) : -len(self.after)]
        # Of params that a function made, anything may follow the message, tools of the row's own among it.
        if self.literal is None and not _TEXT.fullmatch(rest):
            return params
        return b"".join((marked, rest, closing, self.after))

    @property
    def n_text_bytes(self) -> int:
        """Bytes of instructions and tools that a mark covers; 0 if nothing can be marked."""
        if self._marked_before is None:
            return 0
        literal = self.literal if self._is_split and self.literal else ""
        tools = orjson.dumps(self.base["tools"]) if self.base.get("tools") else b""
        return sum(map(len, (*_texts(self.base.get("system")), literal.encode(), tools)))

    @property
    def n_schema_bytes(self) -> int:
        """Bytes of the output's schema, which the API puts before all else."""
        schema = (self.base.get("output_config") or {}).get("format")
        return len(orjson.dumps(schema)) if schema and self._marked_before is not None else 0

    @property
    def n_tokens(self) -> int:
        """
        Tokens that a mark covers, estimated from bytes; 0 if nothing can be marked.

        The first answer to a marked request says exactly: what it read from the cache and wrote to it.
        """
        return self.n_text_bytes // BYTES_PER_TOKEN + self.n_schema_bytes // SCHEMA_BYTES_PER_TOKEN

    @cached_property
    def _marked_before(self) -> bytes | None:
        """What stands before the message of a marked request; None where nothing can be marked."""
        if MARKED in self.before or not (self._marked_system or self._is_split):
            return None
        system = {"system": self._marked_system} if self._marked_system else {}
        shared = {**self.base, **system, "messages": [{"role": "user", "content": 0}]}
        return orjson.dumps(shared).rpartition(b"0")[0]

    @cached_property
    def _marked_system(self) -> list[Any] | None:
        match self.base.get("system"):
            case str(text) if text.strip():  # blank ones are refused as blocks
                return [{"type": "text", "text": text, "cache_control": MARK}]
            case [*others, dict(last)]:
                return [*others, {**last, "cache_control": MARK}]
        return None

    @cached_property
    def _is_split(self) -> bool:
        """Whether the first instructions become a block of their own."""
        literal = self.literal or ""
        smallest = SMALLEST_SPLIT_BYTES if self._marked_system else 1
        return bool(literal.strip()) and len(literal.encode()) >= smallest

    @cached_property
    def _uncut(self) -> tuple[bytes, bytes, bytes]:
        """With what a request begins, what it becomes, and what closes it, where the message stays whole."""
        return self.before, self._marked_before or self.before, b""

    @cached_property
    def _cut(self) -> tuple[bytes, bytes, bytes]:
        """The same where the message is cut behind the first instructions. The rest is not blank: such is not asked."""
        if not self._is_split:
            return self._uncut
        before, marked, _ = self._uncut
        block = orjson.dumps({"type": "text", "text": self.literal, "cache_control": MARK})
        return before + orjson.dumps(self.literal)[:-1], b'%b[%b,{"type":"text","text":"' % (marked, block), b"}]"


def _texts(system: object) -> Sequence[bytes]:
    """Return the texts of a system prompt."""
    if isinstance(system, str):
        return [system.encode()]
    blocks = system if isinstance(system, list) else []
    return [str(block.get("text", "")).encode() for block in blocks if isinstance(block, dict)]
