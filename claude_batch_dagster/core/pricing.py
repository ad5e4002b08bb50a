"""What answers cost. Prices are data of the genai-prices package, read offline; none are ours."""

from dataclasses import dataclass
from functools import lru_cache

import genai_prices

from claude_batch_dagster.core.results import Usage


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars for one answer."""

    batch_usd: float
    """At batch prices."""
    live_usd: float
    """What the live API would have cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much one request can become."""

    model: str
    n_bytes: int
    max_tokens: int
    cached: bool
    """Whether it asks for prompt caching, whose writes cost more than plain input."""


def most(size: Size) -> float | None:
    """
    Price a request that nobody has answered yet: US dollars at batch prices, at most; None if not known.

    A token is at least one byte of the request, and an answer ends at `max_tokens`. What servers do for a
    request besides (web searches, documents fetched by URL) is not bounded here.
    """
    written = size.n_bytes if size.cached else 0
    usage = Usage(
        input_tokens=size.n_bytes - written,
        output_tokens=size.max_tokens,
        cache_write_tokens=written,
        cache_write_1h_tokens=written,
    )
    price = cost(size.model, usage)
    return price.batch_usd if price else None


@lru_cache(maxsize=65_536)
def cost(model: str, usage: Usage) -> Cost | None:
    """
    Price one answer; None when the model is not in the price list, rather than a wrong figure.

    Answers of the same size share one look-up: a price look-up takes as long as reading ten answers.
    """
    tokens = genai_prices.Usage(
        input_tokens=usage.total_input_tokens,
        output_tokens=usage.output_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_5m_tokens=usage.cache_write_tokens - usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        cache_read_tokens=usage.cache_read_tokens,
    )
    try:
        batch = genai_prices.calc_price(
            tokens, model_ref=model, provider_id="anthropic", price_context={"processing": "batch"}
        )
        live = genai_prices.calc_price(tokens, model_ref=model, provider_id="anthropic")
    except LookupError:
        return None
    return Cost(batch_usd=float(batch.total_price), live_usd=float(live.total_price))
