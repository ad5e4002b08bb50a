"""What all requests share is paid for once where that pays: one request writes it to the cache, the others read it."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.caching import Wave
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.planning.forecast import Forecast
from claude_batch_dagster.core.planning.prompt_caching import CacheUse, NoCaching, PromptCaching, caching_of
from claude_batch_dagster.core.pricing import rates_of
from claude_batch_dagster.core.sending.chunks import Limits, OpenRow
from claude_batch_dagster.engine import Pacing
from claude_batch_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.core.world import World

GUIDE = "A label says what a text is about. War is armies, navies and battles; peace is trade and treaties. " * 25
"""Some 600 tokens."""

TEXT = "the army and the navy are at war, and the trade of the country is at a low ebb since the spring; " * 6
"""Some 150 tokens."""

GUIDED: dict[str, Any] = {"base": {"system": GUIDE}, "canary": 0}
N = 600


@pytest.fixture
def world(world: "World") -> "World":
    """Return a world with a table that is worth caching, in batches of 300."""
    world.pacing = Pacing(limits=Limits(max_requests=300))
    world.documents({n: f"{n} {TEXT}" for n in range(N)})
    return world


def input_usd(world: "World") -> float:
    """Return what the emulator has billed for input, in US dollars at batch prices."""
    usd = 0.0
    for model, bill in world.emulator.audit.bill().items():
        rates = rates_of(model)
        assert rates is not None
        plain, _, _, written, read = rates.batch
        usd += bill.input * plain + bill.cache_written_1h * written + bill.cache_read * read
    return usd / 1e15


def sizes(world: "World") -> list[int]:
    """Return how many requests each accepted batch has, in order."""
    return [batch.n_requests for batch in world.emulator.audit.accepted()]


def planned(world: "World", **options: Any) -> Forecast:
    """Return what a run would do."""
    return world.engine(**{**GUIDED, **options}).plan([Partition(key="p")])


def test_one_request_goes_first_and_the_others_read_what_it_wrote(world: "World") -> None:
    """By the emulator's own books the input costs less than half of what it would cost without."""
    without = planned(world)
    report = world.run(**GUIDED)

    assert report.failure is None
    assert sizes(world)[0] == 1
    assert world.n_billed == [1] * N
    bill = next(iter(world.emulator.audit.bill().values()))
    assert bill.cache_read > 0.9 * (bill.cache_read + bill.cache_written_1h)
    plain = sum(rates.batch[0] for model in world.emulator.audit.bill() if (rates := rates_of(model))) / 1e15
    uncached = plain * (bill.input + bill.cache_read + bill.cache_written_1h)
    assert input_usd(world) < 0.4 * uncached
    assert without.estimate is not None
    [(paid,)] = world.sql("SELECT sum(cost_usd) FROM answers")
    assert without.estimate.usd == pytest.approx(paid, rel=0.3)
    assert without.estimate.low_usd < paid < without.estimate.high_usd
    assert isinstance(without.caching, PromptCaching)
    assert without.caching.saved_usd == pytest.approx(uncached - input_usd(world), rel=0.25)


@pytest.mark.verify
def test_a_cache_that_is_warm_needs_no_first_request(world: "World") -> None:
    """More rows within the hour read what the last batch left."""
    world.run(**GUIDED)
    world.documents({n + N: f"{n + N} {TEXT}" for n in range(N)}, part="q")

    world.run("q", **GUIDED)

    assert sizes(world).count(1) == 1
    world.emulator.clock.advance(hours=3)
    world.documents({n + 2 * N: f"{n + 2 * N} {TEXT}" for n in range(N)}, part="r")
    world.run("r", **GUIDED)
    assert sizes(world).count(1) == 2


@pytest.mark.verify
def test_where_reads_stay_away_it_is_switched_off(world: "World") -> None:
    """A cache that nobody reads costs twice as much as none: the next run says so, and marks nothing."""
    world.emulator.cache.reads = 0.0
    world.run(**GUIDED)
    world.documents({n + N: f"{n + N} {TEXT}" for n in range(N)}, part="q")
    before = next(iter(world.emulator.audit.bill().values())).cache_written_1h
    seen: list[Forecast] = []

    world.run("q", on_plan=seen.append, **GUIDED)

    [forecast] = seen
    assert isinstance(forecast.caching, NoCaching)
    assert forecast.caching.reads < 0.05
    assert next(iter(world.emulator.audit.bill().values())).cache_written_1h == before


@pytest.mark.parametrize(
    "options",
    [
        {"caching": "off"},
        {"base": {"system": "Say what it is about."}},
        {"base": {"system": [{"type": "text", "text": GUIDE, "cache_control": {"type": "ephemeral"}}]}},
    ],
    ids=["switched off", "too short", "marks of one's own"],
)
@pytest.mark.verify
def test_nothing_is_marked(world: "World", options: dict[str, Any]) -> None:
    """Where nobody wants it, or it would not pay, requests go as they are, all at once."""
    forecast = planned(world, **options)
    world.engine(**{**GUIDED, **options}).submit([Partition(key="p")])

    assert forecast.caching is None
    assert sizes(world) == [300, 300]
    assert b'"ttl"' not in b"".join(str(params).encode() for params in world.emulator.audit.asked())


def test_no_request_is_marked_that_could_not_be_paid_for_then(world: "World") -> None:
    """To write the cache can cost more than a budget allows at all, where the request alone can be paid for."""
    builder = world.engine(**GUIDED).task.builder
    params = builder.build({"text": f"{N} {TEXT}"}).params
    plain, marked = (OpenRow("p", "1", "", sent).max_cost_usd for sent in (params, builder.marked(params)))
    narrow, wide = Budget(usd=0.9 * marked), Budget(usd=1.5 * marked)
    assert plain < narrow.usd

    assert isinstance(planned(world, budget=wide).caching, PromptCaching)
    assert planned(world, budget=narrow).caching is None
    world.engine(**GUIDED, budget=narrow).submit([Partition(key="p")])
    assert sizes(world) == [1]


@pytest.mark.verify
def test_a_canary_writes_the_cache(world: "World") -> None:
    """Where the first rows go alone anyway, nobody waits a second time."""
    world.run(**{**GUIDED, "canary": 5, "canary_from": 100})

    assert sizes(world) == [5, 300, 295]
    bill = next(iter(world.emulator.audit.bill().values()))
    assert bill.cache_read > 0.9 * (bill.cache_read + bill.cache_written_1h)


@pytest.mark.verify
def test_a_batch_that_was_not_marked_primes_nothing(world: "World") -> None:
    """Something small on its way is no first request: one goes all the same."""
    world.documents({n + 10_000: f"{n} {TEXT}" for n in range(2)}, part="small")
    world.engine(**GUIDED).submit([Partition(key="small")])

    world.run("p", **GUIDED)

    bill = next(iter(world.emulator.audit.bill().values()))
    assert bill.cache_read > 0.9 * (bill.cache_read + bill.cache_written_1h)


@pytest.mark.verify
def test_where_the_first_request_expires_nothing_is_marked(world: "World") -> None:
    """There is nothing to read, and all would pay for writing it."""
    world.emulator.faults.add("expired", times=1)

    world.run(**GUIDED)

    bill = next(iter(world.emulator.audit.bill().values()))
    assert (bill.cache_read, bill.cache_written_1h) == (0, 0)


@pytest.mark.verify
def test_rows_that_are_asked_again_are_not_marked(world: "World") -> None:
    """Hours later the cache is cold, and a few rows would pay for writing it."""
    world.emulator.faults.add("expired", rate=1.0, text="7 ", times=1)
    world.run(**GUIDED)

    requests = [params for params in world.emulator.audit.asked() if "7 the army" in str(params["messages"])]
    assert len(requests) >= 1
    assert sum(world.n_billed) == N


@pytest.mark.parametrize("caching", [True, "on"])
def test_caching_is_one_of_two(world: "World", caching: Any) -> None:
    """Another word is a mistake."""
    with pytest.raises(ConfigurationError, match="caching is 'auto' or 'off'"):
        world.engine(caching=caching)


# --- the decision ----------------------------------------------------------------------------------

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
WAVE = Wave(model="claude-haiku-5-5", n_requests=10_000, prefix_tokens=600, rest_tokens=150)


def test_cold_warm_and_measured() -> None:
    """A cold cache is primed, a warm one is not; few tokens say nothing of the share of reads."""
    cold = caching_of(WAVE, CacheUse(), NOW)
    warm = caching_of(WAVE, CacheUse(last_ended_at=NOW - timedelta(minutes=44)), NOW)
    cool = caching_of(WAVE, CacheUse(last_ended_at=NOW - timedelta(minutes=45)), NOW)

    assert isinstance(cold, PromptCaching)
    assert isinstance(warm, PromptCaching)
    assert (cold.is_primed, warm.is_primed, cool) == (True, False, cold)
    assert warm.saved_usd > cold.saved_usd > 0
    assert caching_of(WAVE, CacheUse(written_tokens=19_999), NOW) == cold
    assert caching_of(WAVE, CacheUse(written_tokens=20_000), NOW) == NoCaching(reads=0.0)
    seen = caching_of(WAVE, CacheUse(read_tokens=70_000, written_tokens=30_000), NOW)
    assert isinstance(seen, PromptCaching)
    assert seen.saved_usd < cold.saved_usd


def test_what_would_not_pay_anyway_was_not_switched_off() -> None:
    """A prefix that is too short is no news, whatever was measured once."""
    short = Wave(model="claude-haiku-5-5", n_requests=10_000, prefix_tokens=100)

    assert caching_of(short, CacheUse(written_tokens=50_000), NOW) is None
