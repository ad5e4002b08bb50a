"""Prompt caching as a bill shows it: some requests of a batch hit the cache, some write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claude_batch_dagster.emulator.ids import chance
from claude_batch_dagster.emulator.reading import last_user_text, n_tokens, system_text

# Of the newest models; older ones ask for more.
_SMALLEST_TOKENS = 512
# Requests of a batch run side by side, so that some come before the cache is written.
_HIT_RATE = 0.8


@dataclass(frozen=True, kw_only=True)
class CacheUse:
    """Input tokens that a request read from the cache, or wrote to it."""

    n_read: int = 0
    n_written: int = 0
    for_an_hour: bool = False


def read_cache(params: Mapping[str, Any]) -> CacheUse:
    """Return how a request uses the cache for its system prompt; hits are best effort, as in a real batch."""
    control = _control(params)
    n_cached = n_tokens(system_text(params)) if control else 0
    if n_cached < _SMALLEST_TOKENS:
        return CacheUse()
    if chance(last_user_text(params), "cache") < _HIT_RATE:
        return CacheUse(n_read=n_cached)
    return CacheUse(n_written=n_cached, for_an_hour=control.get("ttl") == "1h")


def _control(params: Mapping[str, Any]) -> Mapping[str, Any]:
    blocks = params.get("system")
    candidates = [params, *(blocks if isinstance(blocks, list) else ())]
    controls = [block.get("cache_control") for block in candidates if isinstance(block, Mapping)]
    return next((control for control in controls if isinstance(control, Mapping)), {})
