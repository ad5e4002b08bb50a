from dataclasses import replace

import orjson
import pytest

from claude_batch_dagster.core.chunks import Chunk, Passenger
from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.pricing import Size, cost, most
from claude_batch_dagster.core.results import Usage

MILLION = 1_000_000


def test_a_batch_costs_half_of_live() -> None:
    """The promise of the Batch API: every token at half the price."""
    price = cost("claude-haiku-5-5", Usage(input_tokens=MILLION, output_tokens=MILLION))

    assert price is not None
    assert price.batch_usd > 0
    assert price.batch_usd == pytest.approx(price.live_usd / 2)


def test_a_model_without_a_known_price_has_none() -> None:
    """No figure is better than a wrong one."""
    assert cost("claude-of-next-year", Usage(input_tokens=5)) is None


@pytest.mark.parametrize("model", ["", "\x00", "gpt-4o", "é" * 500])
def test_any_name_of_a_model_can_be_looked_up(model: str) -> None:
    """What is not a model of Anthropic's has no price here."""
    assert cost(model, Usage(input_tokens=5)) is None


def test_reading_the_cache_is_cheaper_and_writing_it_for_longer_is_dearer() -> None:
    """The tokens of the cache are priced apart."""
    kinds = {
        "read": Usage(cache_read_tokens=MILLION),
        "plain": Usage(input_tokens=MILLION),
        "5 minutes": Usage(cache_write_tokens=MILLION),
        "1 hour": Usage(cache_write_tokens=MILLION, cache_write_1h_tokens=MILLION),
    }
    prices = {name: price.batch_usd for name, usage in kinds.items() if (price := cost("claude-haiku-5-5", usage))}

    assert sorted(prices, key=lambda name: prices[name]) == list(kinds)


def test_costs_add_up() -> None:
    """The price of a whole is the sum of its parts."""
    whole = cost("claude-haiku-5-5", Usage(1000, 2000, 300, 100, 400))
    parts = [
        cost("claude-haiku-5-5", usage)
        for usage in (Usage(1000), Usage(0, 2000), Usage(0, 0, 200), Usage(0, 0, 100, 100), Usage(0, 0, 0, 0, 400))
    ]

    assert whole is not None
    assert whole.batch_usd == pytest.approx(sum(part.batch_usd for part in parts if part))


def test_a_request_costs_at_most_what_its_bytes_and_its_limit_allow() -> None:
    """A token is at least a byte; what was cached for an hour costs the most."""
    size = Size(model="claude-haiku-5-5", n_bytes=1_000, max_tokens=100, cached=False)
    real = cost("claude-haiku-5-5", Usage(input_tokens=250, output_tokens=20))

    plain, cached = most(size), most(replace(size, cached=True))

    assert real is not None
    assert plain is not None
    assert cached is not None
    assert real.batch_usd < plain < cached
    assert most(replace(size, model="a-model-without-a-price")) is None


def test_a_chunk_costs_at_most_the_sum_of_its_requests() -> None:
    """Each request is priced by itself: prices go by the length of one, not of all together."""
    params = orjson.dumps({"model": "claude-haiku-5-5", "max_tokens": 100, "messages": ["x" * 1_950]})
    one = Passenger(RowKey("p", "1"), "hash", params, 1)
    alone = Chunk("n" * 26, [one]).max_cost_usd
    bound = most(Size(model="claude-haiku-5-5", n_bytes=2_048, max_tokens=100, cached=False))

    assert alone == bound
    assert Chunk("n" * 26, [one] * 1_000).max_cost_usd == pytest.approx(1_000 * (bound or 0))
