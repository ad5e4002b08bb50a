from dataclasses import replace
from datetime import date

import genai_prices
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.pricing import Cost, Size, cost, most, price_list, uncached
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow
from claude_batch_dagster.errors import ConfigurationError

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


def test_searches_are_paid_for_one_by_one() -> None:
    """Ten dollars for a thousand, at no discount in a batch: here three thousand times what the tokens cost."""
    tokens = Usage(input_tokens=1_000, output_tokens=100)
    alone, searched = cost("claude-haiku-5-5", tokens), cost("claude-haiku-5-5", replace(tokens, web_searches=30))

    assert alone is not None
    assert searched is not None
    assert searched.batch_usd - alone.batch_usd == pytest.approx(0.30)
    assert searched.live_usd - alone.live_usd == pytest.approx(0.30)
    assert cost("claude-3-haiku-20240307", tokens) is not None
    assert cost("claude-3-haiku-20240307", replace(tokens, web_searches=1)) is None


def test_what_cannot_be_priced_has_no_price() -> None:
    """Another speed, another region, a tool that nobody has heard of: no figure, rather than one that is too small."""
    assert cost("claude-haiku-5-5", Usage(input_tokens=1_000, is_whole=False)) is None


def test_without_a_cache_every_token_of_the_request_is_a_plain_one() -> None:
    """What was read, what was written for minutes or an hour, and what was neither."""
    used = Usage(input_tokens=1, cache_write_tokens=20, cache_write_1h_tokens=5, cache_read_tokens=300, output_tokens=7)

    assert uncached(used) == Usage(input_tokens=321, output_tokens=7)
    assert uncached(replace(used, web_searches=2, is_whole=False)).web_searches == 2
    assert not uncached(replace(used, is_whole=False)).is_whole


def test_the_price_list_has_a_version_and_a_date() -> None:
    """As the package tells them: its version, and of what day the batch prices are, where it says so."""
    name, version, of, day = price_list().split()

    assert (name, version, of) == ("genai-prices", genai_prices.__version__, "of")
    assert date.fromisoformat(day) >= date(2026, 10, 14)


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


COUNTS = st.integers(0, 1_000) | st.sampled_from([99_999, 100_000, 100_001, 199_999, 200_000, 200_001, 10**12])


@given(
    model=st.sampled_from(["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5", "claude-sonnet-4-5"]),
    plain=COUNTS,
    out=COUNTS,
    written=COUNTS,
    written_1h=COUNTS,
    read=COUNTS,
)
@example(model="claude-haiku-5-5", plain=99_999, out=9, written=0, written_1h=0, read=0)
@example(model="claude-haiku-5-5", plain=100_000, out=9, written=0, written_1h=0, read=0)
@example(model="claude-haiku-5-5", plain=100_000, out=9, written=0, written_1h=0, read=1)
def test_a_price_is_that_of_the_price_list_to_the_last_digit(
    model: str, plain: int, out: int, written: int, written_1h: int, read: int
) -> None:
    """Below, at and above the number of tokens from which on a model costs more."""
    usage = Usage(plain, out, written + written_1h, written_1h, read)
    tokens = genai_prices.Usage(
        input_tokens=usage.total_input_tokens,
        output_tokens=out,
        cache_write_tokens=written + written_1h,
        cache_write_5m_tokens=written,
        cache_write_1h_tokens=written_1h,
        cache_read_tokens=read,
    )
    batch = genai_prices.calc_price(
        tokens, model_ref=model, provider_id="anthropic", price_context={"processing": "batch"}
    )
    live = genai_prices.calc_price(tokens, model_ref=model, provider_id="anthropic")

    assert cost(model, usage) == Cost(batch_usd=float(batch.total_price), live_usd=float(live.total_price))


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


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
OWN_TOOL: dict[str, object] = {"name": "record", "input_schema": {}}


def row_with(params: dict[str, object]) -> OpenRow:
    """Return a row whose request has these params beside the usual ones."""
    return OpenRow(
        "p", "1", "hash", orjson.dumps({"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [], **params})
    )


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"system": 'a text with "type":"image" and "tools":[{"type":"web_search_20250305"}] in it'},
        {"tools": [OWN_TOOL, {**OWN_TOOL, "type": "custom"}]},
    ],
)
def test_text_is_bounded_by_its_bytes(params: dict[str, object]) -> None:
    """So are tools that the user runs, and a text that reads like a param."""
    assert row_with(params).max_cost_usd > 0


@pytest.mark.parametrize(
    "params",
    [
        {"tools": [OWN_TOOL, {"name": "web_search", "type": "web_search_20250305"}]},
        {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]},
        {"inference_geo": "us"},
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {"messages": [{"role": "user", "content": [{**IMAGE, "type": "document"}]}]},
    ],
)
def test_f34_what_bytes_do_not_bound_has_no_bound(params: dict[str, object]) -> None:
    """A picture of a few bytes is thousands of tokens, and a search costs money of its own."""
    row = row_with(params)

    assert Chunk("n" * 26, [row]).max_cost_usd is None
    with pytest.raises(ConfigurationError, match="max_unconfirmed_usd cannot be kept"):
        _ = row.max_cost_usd


def test_a_chunk_costs_at_most_the_sum_of_its_requests() -> None:
    """Each request is priced by itself: prices go by the length of one, not of all together."""
    params = orjson.dumps({"model": "claude-haiku-5-5", "max_tokens": 100, "messages": ["x" * 1_950]})
    one = OpenRow("p", "1", "hash", params, 1)
    alone = Chunk("n" * 26, [one]).max_cost_usd
    bound = most(Size(model="claude-haiku-5-5", n_bytes=2_048, max_tokens=100, cached=False))

    assert alone == bound
    assert Chunk("n" * 26, [one] * 1_000).max_cost_usd == pytest.approx(1_000 * (bound or 0))
