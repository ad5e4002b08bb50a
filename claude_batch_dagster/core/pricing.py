"""
What answers cost. Prices are data of the genai-prices package, read offline; none are ours.

`rates_of` gives them as whole numbers, with which the database itself prices ordinary results: see
`storage.duckdb.collecting.matching`.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from operator import mul

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import PriceCalculation, TieredPrices

from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.ledger import Lane

FEMTO = 10**15
"""Parts of a US dollar in which rates are whole numbers."""

AS_OF = re.compile(r"\bas of (\d{4}-\d\d-\d\d)\b")
"""How the price list says of what date Anthropic's batch prices are: it has no field for it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars for one answer."""

    batch_usd: float
    """At batch prices."""
    live_usd: float
    """At the prices of the live API."""

    def at(self, lane: Lane) -> float:
        """Return what is paid where it was asked in this way."""
        return self.live_usd if lane is Lane.LIVE else self.batch_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much one request can become."""

    model: str
    n_bytes: int
    max_tokens: int
    cached: bool
    """Whether it asks for prompt caching, whose writes cost more than plain input."""
    lane: Lane = Lane.BATCH
    is_bounded: bool = True
    """Whether its bytes bound its tokens: not those of pictures, PDF files, and what servers fetch or search for it."""


def most(size: Size) -> float | None:
    """
    Price a request that nobody has answered yet: US dollars at most; None if not known.

    A token of text is at least one byte of the request, and an answer ends at `max_tokens`.
    """
    if not size.is_bounded:
        return None
    written = size.n_bytes if size.cached else 0
    usage = Usage(
        input_tokens=size.n_bytes - written,
        output_tokens=size.max_tokens,
        cache_write_tokens=written,
        cache_write_1h_tokens=written,
    )
    price = cost(size.model, usage)
    return price.at(size.lane) if price else None


def cost(model: str, usage: Usage) -> Cost | None:
    """Price one answer; None when the price list does not know the model or what it used, rather than too little."""
    rates = rates_of(model)
    if rates is None or not usage.is_whole:
        return None
    if usage.web_searches or (rates.below is not None and usage.total_input_tokens >= rates.below):
        return _listed(model, usage)
    tokens = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_write_tokens - usage.cache_write_1h_tokens,
        usage.cache_write_1h_tokens,
        usage.cache_read_tokens,
    )
    batch, live = (sum(map(mul, tokens, side)) / FEMTO for side in (rates.batch, rates.live))
    return Cost(batch_usd=batch, live_usd=live)


def uncached(usage: Usage) -> Usage:
    """Return what the same answer would have used if nothing were ever cached."""
    plain = usage.total_input_tokens
    return replace(usage, input_tokens=plain, cache_write_tokens=0, cache_write_1h_tokens=0, cache_read_tokens=0)


@lru_cache(maxsize=1)
def price_list() -> str:
    """Name the price list, with the date of its batch prices if it tells."""
    anthropic = next((one for one in get_snapshot().providers if one.id == "anthropic"), None)
    dated = AS_OF.search((anthropic and anthropic.price_comments) or "")
    return f"genai-prices {genai_prices.__version__}" + (f" of {dated[1]}" if dated else "")


@dataclass(frozen=True, slots=True)
class Rates:
    """What one token of each kind costs, in 10^-15 US dollars: whole numbers, so that sums are exact."""

    batch: tuple[int, ...]
    live: tuple[int, ...]
    below: int | None
    """Input tokens of a request from which on other rates hold, of which the price list is asked; None for never."""


@lru_cache(maxsize=256)
def rates_of(model: str) -> Rates | None:
    """Read a model's rates off the price list, which takes as long for one price as reading ten answers takes."""
    kinds = (
        Usage(input_tokens=1),
        Usage(output_tokens=1),
        Usage(cache_write_tokens=1),
        Usage(cache_write_tokens=1, cache_write_1h_tokens=1),
        Usage(cache_read_tokens=1),
    )
    try:
        batch, live = zip(*(_asked(model, usage) for usage in kinds), strict=True)
    except LookupError:
        return None
    prices = [rate for one in (batch[0], live[0]) for rate in vars(one.model_price).values()]
    steps = [tier.start for rate in prices if isinstance(rate, TieredPrices) for tier in rate.tiers]
    exact = [[one.total_price * FEMTO for one in side] for side in (batch, live)]
    if any(rate != int(rate) for side in exact for rate in side):
        steps.append(0)  # no whole numbers: each price is asked for
    in_batch, at_once = (tuple(map(int, side)) for side in exact)
    return Rates(in_batch, at_once, below=min(steps, default=None))


def _listed(model: str, usage: Usage) -> Cost | None:
    try:
        batch, live = _asked(model, usage)
    except LookupError:
        return None
    return Cost(batch_usd=float(batch.total_price), live_usd=float(live.total_price))


def _asked(model: str, usage: Usage) -> tuple[PriceCalculation, PriceCalculation]:
    """Ask the price list, for a batch and live; raise `LookupError` for a model that it does not have."""
    tokens = genai_prices.Usage(
        input_tokens=usage.total_input_tokens,
        output_tokens=usage.output_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_5m_tokens=usage.cache_write_tokens - usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        **({"web_searches": usage.web_searches} if usage.web_searches else {}),
    )
    ask = partial(genai_prices.calc_price, tokens, model_ref=model, provider_id="anthropic")
    batch, live = ask(price_context={"processing": "batch"}), ask()
    if usage.web_searches and "web_searches_kcount" not in vars(batch.model_price):
        raise LookupError(f"the price list does not say what a search of {model!r} costs")
    return batch, live
