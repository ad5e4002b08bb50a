import pytest

from claude_batch_dagster.core.pricing import cost
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
