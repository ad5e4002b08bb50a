"""What caching costs and saves: by hand, and by the price list."""

from dataclasses import asdict

import genai_prices
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from claude_batch_dagster.client import MODELS
from claude_batch_dagster.core.caching import (
    LARGEST_SMALLEST,
    SMALLEST_PREFIX,
    Wave,
    break_even,
    costs_of,
    marking_pays,
    priming_pays,
    read_share,
    saved_usd,
    smallest_prefix,
)
from claude_batch_dagster.core.collecting.results import Usage

HAIKU, SONNET, FABLE, OLD = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-fable-5-2", "claude-haiku-4-5"

WAVE = Wave(model=SONNET, n_requests=10_000, prefix_tokens=600, rest_tokens=150)
"""A guide of 600 tokens, and documents of 150."""


def listed(model: str, *, plain: int = 0, written: int = 0, read: int = 0) -> float:
    """Return what the price list says of the input of one request in a batch."""
    tokens = genai_prices.Usage(
        input_tokens=plain + written + read,
        output_tokens=0,
        cache_write_tokens=written,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=written,
        cache_read_tokens=read,
    )
    context = {"processing": "batch"}
    price = genai_prices.calc_price(tokens, model_ref=model, provider_id="anthropic", price_context=context)
    return float(price.total_price)


def test_a_wave_costs_what_anybody_can_compute() -> None:
    """Sonnet 5.5 in a batch: a dollar for a million tokens of input, two to write them for an hour, 5 cents to read."""
    costs = costs_of(WAVE, reads=0.98)
    later = (0.98 * 30 + 0.02 * 1_200) / 1e6

    assert costs is not None
    assert asdict(costs) == pytest.approx(
        {
            "uncached": 10_000 * 750 / 1e6,
            "cold": 10_000 * (600 * 2 + 150) / 1e6,
            "primed": 1.50 + 0.0012 + 9_999 * later,
            "warm": 1.50 + 10_000 * later,
        }
    )


@pytest.mark.parametrize("model", [HAIKU, SONNET, "claude-opus-5-5", FABLE])
def test_a_guide_of_600_tokens_costs_at_least_60_percent_less(model: str) -> None:
    """Of the input of documents of 150 tokens, on every model that caches so little; cold it costs more than ever."""
    wave = Wave(model=model, n_requests=10_000, prefix_tokens=600, rest_tokens=150)
    costs = costs_of(wave, reads=0.98)

    assert costs is not None
    assert costs.primed < 0.4 * costs.uncached
    assert costs.cold > 1.7 * costs.uncached


@given(
    model=st.sampled_from([HAIKU, SONNET, FABLE, OLD]),
    n=st.integers(0, 100_000),
    prefix=st.integers(0, 200_000),
    rest=st.integers(0, 200_000),
    n_reads=st.integers(0, 100),
)
def test_a_wave_costs_what_the_price_list_says_of_each_request(
    model: str, n: int, prefix: int, rest: int, n_reads: int
) -> None:
    """Request by request, also above the number of tokens from which on a model costs more."""
    costs = costs_of(Wave(model=model, n_requests=n, prefix_tokens=prefix, rest_tokens=rest), reads=n_reads / 100)
    written, read = listed(model, plain=rest, written=prefix), listed(model, plain=rest, read=prefix)
    mixed = (n_reads * read + (100 - n_reads) * written) / 100

    assert costs is not None
    assert costs.uncached == pytest.approx(n * listed(model, plain=prefix + rest))
    assert costs.cold == pytest.approx(n * written)
    assert costs.warm == pytest.approx(n * mixed)
    assert costs.primed == pytest.approx((written + (n - 1) * mixed) if n else 0)


@given(
    model=st.sampled_from([HAIKU, SONNET, FABLE]),
    prefix=st.integers(512, 50_000),
    rest=st.integers(0, 40_000),
    reads=st.floats(0, 1),
)
def test_marking_pays_only_above_the_break_even(model: str, prefix: int, rest: int, reads: float) -> None:
    """Below that share of reads it never pays, whatever the lengths; what it saves grows with the share."""
    wave, even = Wave(model=model, n_requests=1_000, prefix_tokens=prefix, rest_tokens=rest), break_even(model)
    costs = costs_of(wave, reads=reads)

    assert even is not None
    assert costs is not None
    assume(abs(reads - even) > 1e-6)
    assert (costs.warm < costs.uncached) == (reads > even)
    assert marking_pays(wave, reads=reads, margin=0) == (reads > even)
    assert not (priming_pays(wave, reads=reads) and not marking_pays(wave, reads=reads, margin=0))


@pytest.mark.parametrize(
    ("model", "share"), [(OLD, 1 / 1.9), (SONNET, 1 / 1.95), (FABLE, 1 / 1.975), ("no-model", None)]
)
def test_more_than_half_must_read(model: str, share: float | None) -> None:
    """Writing for an hour costs twice the input, reading a tenth, a twentieth or a fortieth of it."""
    assert break_even(model) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("model", "prefix", "n", "pays"),
    [
        (SONNET, 600, 10_000, True),
        (SONNET, 511, 10_000, False),
        (SONNET, 600, 10, False),
        (SONNET, 600, 1, False),
        (SONNET, 600, 0, False),
        (OLD, 600, 10_000, False),
        (OLD, 4_096, 10_000, True),
        ("claude-of-next-year", 5_000, 10_000, False),
    ],
    ids=["long enough", "too short", "less than a cent", "one", "none", "too short for it", "just so", "no price"],
)
def test_a_cache_is_primed_where_it_pays(model: str, prefix: int, n: int, pays: bool) -> None:  # noqa: FBT001 - a table
    """Long enough to be cached, and worth the time that a first request takes."""
    assert priming_pays(Wave(model=model, n_requests=n, prefix_tokens=prefix, rest_tokens=150)) is pays


def test_what_is_worth_little_is_left() -> None:
    """A guide before a long document saves less than the margin, though it saves something."""
    wave = Wave(model=SONNET, n_requests=10_000, prefix_tokens=600, rest_tokens=9_000)

    assert marking_pays(wave, margin=0)
    assert not marking_pays(wave)
    assert not priming_pays(wave)


def test_every_current_model_has_a_smallest_prefix() -> None:
    """Those that stay; a snapshot is its model, and of a model that nobody here knows the most is expected."""
    staying = {name for name in MODELS.names if name not in MODELS.ends}
    assert {name.removesuffix("-20251001") for name in staying} <= SMALLEST_PREFIX.keys()
    assert smallest_prefix("claude-haiku-4-5-20251001") == smallest_prefix("claude-next") == LARGEST_SMALLEST
    assert smallest_prefix(HAIKU) == 512


def test_dollars_saved_are_those_of_the_price_list() -> None:
    """What was read is cheaper than input, what was written dearer: on the whole it may have cost more."""
    read, written = Usage(cache_read_tokens=1_000_000), Usage(cache_write_tokens=1_000_000)
    for_an_hour = Usage(cache_write_tokens=1_000_000, cache_write_1h_tokens=1_000_000)
    usages = [read, written, for_an_hour, Usage(5, 5, 100_000, 100_000, 900_000)]

    assert [saved_usd(SONNET, usage) for usage in usages] == pytest.approx([0.95, -0.25, -1.00, 0.755])
    assert [read_share(usage) for usage in (*usages, Usage(7))] == [1, 0, 0, 0.9, None]
    assert saved_usd("claude-of-next-year", read) is None
