"""Turn one line of the results stream into the one thing that happened."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MAX_TOKENS = 10**12
"""No message has more tokens; a larger number is a fault of the answer."""

SEARCHES, FREE_TOOLS = "web_search_requests", frozenset({"web_fetch_requests"})
"""What usage calls the searches that are paid for one by one, and the tools that cost nothing but their tokens."""

USUAL: Mapping[str, tuple[str, ...]] = {
    "speed": ("standard",),
    "inference_geo": ("global", "not_available"),
    "service_tier": ("batch", "standard"),
}
"""What usage says where a token costs what the price list says; anything else may cost more."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the API counts them."""

    input_tokens: int = 0
    """After the last cache breakpoint only."""
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that was written for an hour."""
    cache_read_tokens: int = 0
    web_searches: int = 0
    is_whole: bool = True
    """Whether these figures are all that it takes to price it; else there was something that nobody here can price."""

    @property
    def total_input_tokens(self) -> int:
        """All tokens of the request."""
        return self.input_tokens + self.cache_write_tokens + self.cache_read_tokens


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A Message came back. Whether it is an answer, its `stop_reason` tells."""

    custom_id: str
    model: str
    stop_reason: str | None
    text: str
    """The text blocks, joined; thinking left out. Empty for a refusal."""
    usage: Usage
    stop_explanation: str | None = None
    sanitized: bool = False
    """Whether the line held half characters (lone surrogates), which were replaced by U+FFFD."""


@dataclass(frozen=True, slots=True)
class Errored:
    """The API reports an error for this request."""

    custom_id: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Canceled:
    """The batch was canceled before this request was processed."""

    custom_id: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The 24 hours passed before this request was processed."""

    custom_id: str


@dataclass(frozen=True, slots=True)
class Unheard:
    """It was asked live, and the answer was lost on the way; a line of ours, which the API does not write."""

    custom_id: str


Result = Succeeded | Errored | Canceled | Expired | Unheard


class UnreadableLineError(Exception):
    """The line is no result of any request."""


def decode(line: bytes) -> Result:
    """
    Read one line of the results.

    Raises `UnreadableLineError` for what is not JSON, has no custom_id, or has a result of no known type.
    """
    parsed, sanitized = _parse(line)
    match parsed:
        case {"custom_id": str(custom_id), "result": {"type": "succeeded", "message": dict(message)}}:
            return _succeeded(custom_id, message, sanitized=sanitized)
        case {"custom_id": str(custom_id), "result": {"type": "errored", "error": error}}:
            return _errored(custom_id, error)
        case {"custom_id": str(custom_id), "result": {"type": "canceled"}}:
            return Canceled(custom_id)
        case {"custom_id": str(custom_id), "result": {"type": "expired"}}:
            return Expired(custom_id)
        case {"custom_id": str(custom_id), "result": {"type": "unheard"}}:
            return Unheard(custom_id)
        case _:
            raise UnreadableLineError("not a result: no custom_id, or a result of an unknown type")


def _parse(line: bytes) -> tuple[Any, bool]:
    try:
        return orjson.loads(line), False
    except orjson.JSONDecodeError:
        return _parse_leniently(line)


def _parse_leniently(line: bytes) -> tuple[Any, bool]:
    """Read a line that only breaks rules of Unicode: it was paid for."""
    try:
        text = json.dumps(json.loads(line.decode(errors="replace")), ensure_ascii=False)
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return json.loads(whole), True
    except (ValueError, RecursionError) as error:
        raise UnreadableLineError(f"not JSON ({type(error).__name__})") from None


def _succeeded(custom_id: str, message: Mapping[str, Any], *, sanitized: bool) -> Succeeded:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    details = message.get("stop_details")
    return Succeeded(
        custom_id,
        model=_text(message.get("model")) or "",
        stop_reason=_text(message.get("stop_reason")),
        text="".join(_text_of(block) for block in blocks),
        usage=_usage(message.get("usage")),
        stop_explanation=_text(details.get("category")) if isinstance(details, dict) else None,
        sanitized=sanitized,
    )


def _text_of(block: Any) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "tool_use", "input": dict(arguments)}:
            return orjson.dumps(arguments).decode()
        case _:
            return ""


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    detail = usage.get("cache_creation")
    cache_write_tokens = _count(usage.get("cache_creation_input_tokens"))
    cache_write_1h_tokens = _count(detail.get("ephemeral_1h_input_tokens")) if isinstance(detail, dict) else 0
    return Usage(
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cache_write_tokens=cache_write_tokens,
        cache_write_1h_tokens=min(cache_write_1h_tokens, cache_write_tokens),
        cache_read_tokens=_count(usage.get("cache_read_input_tokens")),
        web_searches=_count(_tools(usage).get(SEARCHES)),
        is_whole=_is_whole(usage),
    )


def _tools(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    used = usage.get("server_tool_use")
    return used if isinstance(used, dict) else {}


def _is_whole(usage: Mapping[str, Any]) -> bool:
    others = any(n for name, n in _tools(usage).items() if name != SEARCHES and name not in FREE_TOOLS)
    return not others and all(usage.get(name) in (None, *values) for name, values in USUAL.items())


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int:
    """Take a number of tokens for what it says, and anything else for none: the books must add up."""
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0


def _errored(custom_id: str, error: Any) -> Errored:
    match error:
        case {"error": {"type": str(kind), "message": str(message)}}:
            return Errored(custom_id, kind, message)
        case _:
            return Errored(custom_id, "unknown_error", "the API gave no reason")
