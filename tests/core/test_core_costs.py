"""What the database says answers have cost is what the emulator has billed, whatever happens in between."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Self

import genai_prices
import orjson
import pytest
from pydantic import model_validator

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.engine import Pacing
from claude_batch_dagster.storage.duckdb.collecting import spending
from claude_batch_dagster.storage.duckdb.collecting.landing import Landing
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.canary import KEY
from tests.core.clocks import CrashError, Waking, die
from tests.core.world import BASE, PIPELINE, TEN, Label, World

HEADERS = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What the emulator has billed, priced without a line of ours."""

    n: int = 0
    paid_usd: float = 0.0
    live_usd: float = 0.0
    wasted_usd: float = 0.0
    input_tokens: int = 0
    cache_read_tokens: int = 0


def is_label(message: Mapping[str, Any]) -> bool:
    """Whether a Message is an answer as the output model of the world has it."""
    texts = [block["text"] for block in message["content"] if block["type"] == "text"]
    with suppress(ValueError):
        answer = orjson.loads("".join(texts))
        return message["stop_reason"] == "end_turn" and answer in ({"label": "war"}, {"label": "peace"})
    return False


def bill_of(world: World) -> Bill:
    """Add up each result that the audit says is billed."""
    billed = {request.custom_id for request in world.emulator.audit.requests() if request.billed}
    bill = Bill()
    for batch in world.emulator.audit.accepted():
        body = world.emulator.handle("GET", f"/v1/messages/batches/{batch.id}/results", HEADERS).read()
        for line in map(orjson.loads, body.splitlines()):
            if line["custom_id"] in billed:
                bill = _with(bill, line["result"]["message"])
    assert bill.n == len(billed)
    return bill


def _with(bill: Bill, message: Mapping[str, Any]) -> Bill:
    usage = message["usage"]
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    tokens = genai_prices.Usage(
        input_tokens=usage["input_tokens"] + read + written,
        output_tokens=usage["output_tokens"],
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
    ask = partial(genai_prices.calc_price, tokens, model_ref=message["model"], provider_id="anthropic")
    batch, live = (float(one.total_price) for one in (ask(price_context={"processing": "batch"}), ask()))
    return Bill(
        n=bill.n + 1,
        paid_usd=bill.paid_usd + batch,
        live_usd=bill.live_usd + live,
        wasted_usd=bill.wasted_usd + (0 if is_label(message) else batch),
        input_tokens=bill.input_tokens + usage["input_tokens"] + read + written,
        cache_read_tokens=bill.cache_read_tokens + read,
    )


def view_of(world: World) -> Bill:
    """Return what the view says."""
    [figures] = world.sql(
        "SELECT sum(requests), sum(paid_usd), sum(live_usd), sum(wasted_usd), sum(input_tokens), "
        "sum(cache_read_tokens) FROM claude_batch.costs"
    )
    return Bill(**dict(zip(Bill.__dataclass_fields__, figures, strict=True)))


def assert_the_same(found: Bill, expected: Bill) -> None:
    """Compare dollars as far as they can be billed."""
    for name in Bill.__dataclass_fields__:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12), name


SHAPES = ("refusal", "max_tokens", "not_json", "misfit", "empty_content")
"""Faults of a row whose answer is billed, and of no use."""

CACHED: Mapping[str, Any] = {
    "system": [{"type": "text", "text": "Wars and peaces. " * 400, "cache_control": {"type": "ephemeral"}}]
}
"""A system prompt that is worth a cache."""

ONE_TRY = {"max_attempts": 1}


@pytest.mark.sampled
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.verify
def test_an_answer_that_is_of_no_use_is_paid_and_wasted(world: World, shape: str) -> None:
    """Also that of the second attempt; what is good is not wasted."""
    world.emulator.faults.add(shape, times=2)
    world.documents(TEN)
    world.run(limits=Limits(max_requests=10))
    world.run()

    bill = bill_of(world)
    assert 0 < bill.wasted_usd < bill.paid_usd
    assert_the_same(view_of(world), bill)
    assert world.sql("SELECT sum(unusable_requests) > 0 FROM claude_batch.costs") == [(True,)]


def test_edits_and_rows_that_share_are_billed_once_each(world: World) -> None:
    """Several runs of two partitions; what nothing was sent for costs nothing."""
    world.documents({**TEN, 10: TEN[0]})
    world.run()
    world.documents({**TEN, 1: "an edited war"})
    world.documents({20: TEN[0], 21: "a war of its own"}, part="q")
    world.run("p", "q")
    world.run("p", "q")

    bill = bill_of(world)
    assert bill.n == 12
    assert_the_same(view_of(world), bill)


@pytest.mark.verify
def test_the_price_of_what_was_cached_and_what_that_has_saved(world: World) -> None:
    """Read for a tenth, written for a quarter more; all of it is known beside what it would have cost without."""
    world.documents({0: TEN[0]})
    world.run(base=CACHED)  # writes what the others read
    world.documents(TEN)
    world.run(base=CACHED)

    bill = bill_of(world)
    assert bill.cache_read_tokens > 0
    assert_the_same(view_of(world), bill)
    [(saved, n_input, n_read, n_written)] = world.sql(
        "SELECT sum(saved_by_caching_usd), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens) "
        "FROM claude_batch.costs"
    )
    one = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=1_000),
        model_ref=BASE["model"],
        provider_id="anthropic",
        price_context={"processing": "batch"},
    )
    per_token = float(one.total_price) / 1_000
    assert saved == pytest.approx(per_token * (0.9 * n_read - 0.25 * n_written))
    report = world.run(base=CACHED).partitions[0]
    assert report.costs.saved_by_caching_usd == pytest.approx(saved)
    assert report.costs.cache_read_share == pytest.approx(n_read / n_input)


def spend_and_die(*arguments: Any) -> None:
    """Die within the transaction."""
    LAND(*arguments)
    raise CrashError


LAND = spending.land
MOMENTS: Mapping[str, tuple[Any, str, Callable[..., None]]] = {
    "before-it-lands": (Landing, "write", lambda *_: die()),
    "while-it-lands": (spending, "land", spend_and_die),
    "before-the-ledger-knows": (SqlLedger, "close", lambda *_, **__: die()),
}


@pytest.mark.sampled
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.verify
def test_a_run_that_dies_while_answers_land_counts_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Whatever was written by then: the next run lands it once more, or for the first time."""
    world.emulator.faults.add("not_json", times=1)
    world.documents(TEN)
    with monkeypatch.context() as patch:
        patch.setattr(*MOMENTS[moment])
        with pytest.raises(CrashError):
            world.run()
    world.run()
    world.run()

    assert_the_same(view_of(world), bill_of(world))


LOSSES: Mapping[str, Callable[[World], object]] = {
    "table-dropped": lambda world: world.sql("DROP TABLE IF EXISTS answers"),
    "answers-lost": lambda world: world.sql("DROP TABLE IF EXISTS answers; DELETE FROM claude_batch.answers"),
    "some-answers-lost": lambda world: world.sql("DELETE FROM claude_batch.answers WHERE ordinal = 0"),
    "all-dropped": lambda world: world.sql("DROP SCHEMA claude_batch CASCADE; DROP TABLE IF EXISTS answers"),
}


@pytest.mark.sampled
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.verify
def test_what_lands_again_is_counted_once(world: World, loss: Callable[[World], object]) -> None:
    """Answers that are brought back cost nothing, and are known to have cost what they did."""
    world.emulator.faults.add("not_json", times=1)
    world.documents(TEN)
    world.run(**ONE_TRY)

    loss(world)
    world.run(**ONE_TRY)

    assert world.statuses().keys() == TEN.keys()
    assert_the_same(view_of(world), bill_of(world))


@pytest.mark.sampled
@pytest.mark.parametrize("spool", ["kept", "deleted"])
@pytest.mark.verify
def test_an_answer_that_turns_up_later_is_added(world: World, spool: str) -> None:
    """The API counted it and did not hand it out; until then nobody knows what it cost."""
    world.emulator.faults.add("results_missing_line")
    world.documents({1: "war", 2: "peace"})
    world.run()
    assert view_of(world).n == 1
    world.emulator.faults.clear()
    if spool == "deleted":
        for file in world.state.spool.iterdir():
            file.unlink()
    world.run()

    assert_the_same(view_of(world), bill_of(world))


@pytest.mark.verify
def test_an_answer_that_nobody_asks_for_any_more_is_judged_all_the_same(world: World) -> None:
    """Its documents were edited while it was on its way: it was paid for, and is of no use, or of use one day."""
    world.emulator.faults.add("misfit", times=1)
    world.documents(TEN)
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock), limits=Limits(max_requests=10))
    world.emulator.clock.advance(hours=1)
    world.documents({n: f"{text}, edited" for n, text in TEN.items()})
    world.run()

    bill = bill_of(world)
    assert (bill.n, bill.wasted_usd > 0) == (20, True)
    assert_the_same(view_of(world), bill)


class Fussy(Label):
    """An output model that dies of an answer."""

    @model_validator(mode="after")
    def _die(self) -> Self:
        raise KeyError(self.label)


@pytest.mark.verify
def test_a_validator_that_dies_of_an_answer_that_nobody_asks_for_keeps_nothing_from_landing(world: World) -> None:
    """It counts as wasted: today's output model takes it for no answer."""
    world.documents({1: "war"})
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.emulator.clock.advance(hours=1)
    world.documents({})
    engine = world.engine()
    engine.task = replace(engine.task, schema=OutputSchema(Fussy))

    assert engine.run([Partition(key="p")]).failure is None
    bill = view_of(world)
    assert (bill.n, bill.wasted_usd) == (1, bill.paid_usd)


@pytest.mark.verify
def test_what_was_not_asked_is_estimated_at_what_a_request_has_cost(world: World) -> None:
    """Rows that had their answer, and rows that share one, by run; nothing is added by a run that says it again."""
    world.documents({**TEN, 10: TEN[0], 11: TEN[0]})
    world.run()
    world.run()
    mean = bill_of(world).paid_usd / 10

    found = world.sql(
        "SELECT run_id, sum(answered_rows), sum(shared_rows), sum(saved_by_increments_usd), "
        "sum(saved_by_sharing_usd), sum(requests) FROM claude_batch.costs GROUP BY run_id ORDER BY run_id"
    )

    assert found == [
        ("run-1", 0, 2, 0, pytest.approx(2 * mean), 10),
        ("run-2", 12, 0, pytest.approx(12 * mean), 0, 0),
    ]


@pytest.mark.verify
def test_a_run_that_tries_again_has_saved_nothing_of_what_it_paid(world: World) -> None:
    """Dagster starts it a second time under its id: what it found the first time stands."""
    world.documents(TEN)
    world.run()
    world.documents({**TEN, 99: "another war"})
    for _ in range(2):
        world.run(run_id="the-same")

    counted = "SELECT n_answered FROM claude_batch.reused_answers WHERE run_id = 'the-same'"
    assert world.sql(counted) == [(10,)]


@pytest.mark.verify
def test_costs_are_of_the_day_in_utc_of_the_run_and_of_the_place(world: World) -> None:
    """Whatever time zone the one who asks is in: a chunk belongs to the day on which it was sent."""
    world.documents({1: "war"})
    midnight = world.clock.now().replace(hour=23, minute=59)
    world.clock.sleep((midnight - world.clock.now()).total_seconds())
    world.run()

    told = "SELECT day, table_name, partition_key, run_id, sent_to, model FROM claude_batch.costs"
    with world.warehouse.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        [(day, *others, sent_to, model)] = connection.execute(told).fetchall()
    assert (day, others) == (midnight.date(), [PIPELINE, "p", "run-1"])
    assert sent_to == world.api.account.rsplit(" ", 1)[0]
    assert model.startswith(BASE["model"])


@pytest.mark.verify
def test_a_database_of_an_earlier_version_gets_the_view_and_begins_with_nothing(world: World) -> None:
    """What was paid before stands in the ledger alone; the next answers are counted."""
    world.documents({1: "war", 2: "peace"})
    world.run()
    world.sql("DROP VIEW claude_batch.costs; DROP TABLE claude_batch.spending; DROP TABLE claude_batch.reused_answers")

    world.run()
    assert world.sql("SELECT requests, answered_rows, saved_by_increments_usd FROM claude_batch.costs") == [
        (0, 2, None)
    ]
    world.documents({1: "war", 2: "peace", 3: "a third"})
    world.run()

    assert world.sql("SELECT sum(requests) FROM claude_batch.costs") == [(1,)]


@pytest.mark.verify
def test_a_table_of_savings_that_is_dropped_while_a_run_waits_fails_nothing(world: World) -> None:
    """The answers are what counts."""
    world.documents({1: "war"})
    world.run()
    world.documents({1: "war", 2: "peace"})
    drop = partial(world.sql, "DROP TABLE claude_batch.reused_answers")

    assert world.run(clock=Waking(world.clock, drop)).failure is None


def test_the_page_says_what_each_column_is(world: World) -> None:
    """Every column of the view, and no other."""
    world.documents({1: "war"})
    world.run()
    page = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)

    columns = {name for (name, *_) in world.sql("DESCRIBE claude_batch.costs")}
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == columns


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(12))
def test_the_view_is_the_bill_in_any_life(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Edits, shared rows, answers of no use, crashes, losses and withheld lines, in an order drawn by a seed."""
    random = Random(seed)  # noqa: S311  (no secret)
    print("seed", seed)  # noqa: T201  (shown where it fails)
    world.pacing = Pacing(limits=Limits(max_requests=3))
    texts = [f"a {kind} of {year}" for kind in ("war", "peace") for year in range(1800, 1806)]
    for turn in range(8):
        for part in "pq":
            world.documents({n: random.choice(texts) for n in range(random.randint(0, 8))}, part=part)
        for shape in random.sample(SHAPES, random.randint(0, 2)):
            world.emulator.faults.add(shape, times=random.randint(1, 2))
        if random.random() < 0.3:
            world.emulator.faults.add("results_missing_line", times=1)
        if turn and random.random() < 0.3:
            random.choice(list(LOSSES.values()))(world)
        with monkeypatch.context() as patch, suppress(CrashError):
            if random.random() < 0.4:
                place, name = random.choice([(Landing, "write"), (SqlLedger, "close")])
                patch.setattr(place, name, lambda *_, **__: die())
            world.run("p", "q", base=random.choice([{}, CACHED]))
    world.emulator.faults.clear()
    for _ in range(2):
        world.emulator.clock.advance(hours=1)
        world.run("p", "q")

    assert_the_same(view_of(world), bill_of(world))
