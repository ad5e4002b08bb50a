"""
What prompt caching costs and saves: arithmetic on the price list, nothing else.

A shared prefix is written to the cache at twice the price of input, for an hour, and read at a tenth of it or less.
Requests of one batch run side by side, so that in a cold batch nearly all of them write: it costs more than no caching
at all. After a first request by itself, which primes the cache, nearly all of them read.
"""

from dataclasses import dataclass

from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.models import DATED
from claude_batch_dagster.core.pricing import FEMTO, cost, rates_of

READS = 0.95
"""The share of requests that read a cache that was primed, expected before anything is known; users see up to 98 %."""

MARGIN = 0.10
"""The share of the input's price that caching must save: what it is worth depends on an estimate of tokens."""

LEAST_SAVED_USD = 0.01
"""For less nobody waits until a first request is answered."""

LARGEST_SMALLEST = 4_096

SMALLEST_PREFIX = {
    **dict.fromkeys(("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-opus-5"), 512),
    **dict.fromkeys(("claude-fable-5", "claude-fable-5-1", "claude-fable-5-2"), 512),
    **dict.fromkeys(("claude-mythos-5", "claude-mythos-5-1", "claude-mythos-5-2"), 512),
    **dict.fromkeys(("claude-opus-4-8", "claude-sonnet-5", "claude-sonnet-4-6", "claude-sonnet-4-5"), 1_024),
    "claude-opus-4-7": 2_048,
    **dict.fromkeys(("claude-opus-4-6", "claude-opus-4-5", "claude-haiku-4-5"), LARGEST_SMALLEST),
}
"""Tokens of the shortest prompt that a model caches (Claude docs, "Prompt caching"); shorter ones are never refused."""


def smallest_prefix(model: str) -> int:
    """Return how many tokens a prefix needs to be cached; for a model that nobody here knows, as many as for any."""
    return SMALLEST_PREFIX.get(DATED.sub("", model), LARGEST_SMALLEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Requests that are sent together and begin with the same tokens."""

    model: str
    n_requests: int
    prefix_tokens: int
    """Tokens that all of them begin with."""
    rest_tokens: int = 0
    """Tokens of input behind these, of one request: they cost the same in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """US dollars for the input of a wave, at batch prices."""

    uncached: float
    """Nothing is marked."""
    cold: float
    """All are marked and sent at once: every one of them writes."""
    primed: float
    """All are marked; one goes first, and of the rest as many read as was said."""
    warm: float
    """All are marked, and somebody has written the prefix within the hour."""


def costs_of(wave: Wave, *, reads: float = READS) -> Costs | None:
    """Price a wave of which a share of the marked requests, `reads`, finds the cache; None if a price is not known."""
    prefix, rest = wave.prefix_tokens, wave.rest_tokens
    usages = (
        Usage(input_tokens=prefix + rest),
        Usage(input_tokens=rest, cache_write_tokens=prefix, cache_write_1h_tokens=prefix),
        Usage(input_tokens=rest, cache_read_tokens=prefix),
    )
    prices = [price.batch_usd for usage in usages if (price := cost(wave.model, usage))]
    if len(prices) < len(usages):
        return None
    plain, written, read = prices
    later = reads * read + (1 - reads) * written
    n, first = wave.n_requests, min(wave.n_requests, 1)
    return Costs(
        uncached=n * plain,
        cold=n * written,
        primed=first * written + (n - first) * later,
        warm=n * later,
    )


def marking_pays(wave: Wave, *, reads: float = READS, margin: float = MARGIN) -> bool:
    """
    Whether requests that are marked cost less than unmarked ones, if so many find a cache that is written already.

    Ask with the share of reads that was measured, and it says whether to go on.
    """
    costs = _costs_if_long_enough(wave, reads)
    return costs is not None and costs.uncached - costs.warm > margin * costs.uncached


def priming_pays(
    wave: Wave, *, reads: float = READS, margin: float = MARGIN, least_usd: float = LEAST_SAVED_USD
) -> bool:
    """Whether one request should go first, by itself, and the rest, marked, when it has been answered."""
    costs = _costs_if_long_enough(wave, reads)
    return costs is not None and costs.uncached - costs.primed > max(margin * costs.uncached, least_usd)


def break_even(model: str) -> float | None:
    """Return the share of marked requests that must read, so that caching costs what no caching does."""
    rates = rates_of(model)
    if rates is None:
        return None
    plain, _, _, written, read = rates.batch
    return (written - plain) / (written - read)


def read_share(usage: Usage) -> float | None:
    """Return which share of the tokens that were marked was read, of the usage of some answers; None without any."""
    marked = usage.cache_read_tokens + usage.cache_write_tokens
    return usage.cache_read_tokens / marked if marked else None


def saved_usd(model: str, usage: Usage) -> float | None:
    """
    Return what caching has saved at batch prices, of the usage of some answers: negative if it cost more than none.

    Exact but for prompts so long that other rates hold for them.
    """
    rates = rates_of(model)
    if rates is None:
        return None
    plain, _, for_minutes, for_an_hour, read = rates.batch
    n_short = usage.cache_write_tokens - usage.cache_write_1h_tokens
    saved = usage.cache_read_tokens * (plain - read)
    added = n_short * (for_minutes - plain) + usage.cache_write_1h_tokens * (for_an_hour - plain)
    return (saved - added) / FEMTO


def _costs_if_long_enough(wave: Wave, reads: float) -> Costs | None:
    return costs_of(wave, reads=reads) if wave.prefix_tokens >= smallest_prefix(wave.model) else None
