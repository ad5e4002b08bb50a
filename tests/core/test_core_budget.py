"""What is sent can never cost more than its budget; rows beyond it are blocked, and go when there is money again."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import Allowance, Occasion, State
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.ports import place_of
from claude_batch_dagster.core.running.dispatch import MOST_SHORT_ROUNDS
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.engine import Pacing
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.storage.files.spool import FileSpool
from tests.canary import KEY
from tests.core.world import PIPELINE, TEN, TEN_GOOD

if TYPE_CHECKING:
    from tests.core.world import World

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def most(world: "World", n: int = 1, **options: Any) -> float:
    """Return what the first rows of the documents can cost at most."""
    engine = world.engine(**options)
    with engine._outbox() as outbox:  # noqa: SLF001  (what a row is sent as, without sending it)
        engine._ask([Partition(key="p")], None, outbox)  # noqa: SLF001  (as above)
        rows = list(outbox)[:n]
    return sum(row.max_cost_usd for row in rows)


def committed(world: "World") -> float:
    """Return what is spent and reserved by the table."""
    return world.ledger.committed(Allowance(usd=0, place=place_of(world.api.account), pipeline=PIPELINE))


def bill(world: "World") -> float:
    """Return what was paid."""
    return float(world.sql("SELECT coalesce(sum(cost_usd), 0) FROM claude_batch.answers")[0][0])


@pytest.mark.verify
def test_half_the_money_lands_half(world: "World") -> None:
    """As many rows go as there is money for, whole, in order; the others are blocked and say until when."""
    brief = {"base": {"max_tokens": 10}}  # so that what a row can cost at most is not much more than what it does
    forty = {n: f"a text of war, number {n:03d}" for n in range(40)}
    world.documents(forty)
    world.run(**brief)
    whole = bill(world)
    world.documents({n: f"{text}!" for n, text in forty.items()}, part="q")
    budget = Budget(usd=whole + whole / 2)

    report = world.run("q", budget=budget, **brief)

    statuses = world.statuses("q")
    n_good = sum(status == "succeeded" for status in statuses.values())
    assert report.failure is None
    assert 12 <= n_good <= 20
    assert statuses == {n: "succeeded" if n < n_good else "blocked" for n in forty}
    assert bill(world) <= budget.usd
    [error] = {error for (error,) in world.rows("error", "q") if error}
    tomorrow = world.clock.now().date() + timedelta(days=1)
    assert error.startswith(f"not sent, for the budget of this asset of ${budget.usd:.6f} per day does not allow it")
    assert error.endswith(f"a run sends it after {tomorrow:%Y-%m-%d} 00:00 UTC, or once the budget is raised")
    assert report.left_out == {error: 40 - n_good}

    world.emulator.clock.advance(hours=24)
    world.run("q", budget=Budget(usd=10 * whole), **brief)
    assert set(world.statuses("q").values()) == {"succeeded"}
    assert set(world.n_billed) == {1}


def test_no_money_at_all(world: "World") -> None:
    """A budget that not even one request fits in sends nothing, and the run is green."""
    world.documents(TEN)

    report = world.run(budget=Budget(usd=1e-9))

    assert (report.failure, world.n_posts, set(world.statuses().values())) == (None, 0, {"blocked"})


def test_money_is_reserved_until_results_have_landed(world: "World") -> None:
    """While a batch is out, what it can cost at most counts as spent; then what it did cost."""
    world.documents(TEN)
    bound = most(world, 10)

    world.engine().submit([Partition(key="p")])
    assert committed(world) == pytest.approx(bound)

    world.run()
    assert committed(world) == pytest.approx(bill(world))
    assert bill(world) < bound / 2


@pytest.mark.verify
def test_a_run_goes_on_with_money_that_was_not_needed(world: "World") -> None:
    """Batches come to less than they could, and the rest of the rows is sent in the same run."""
    world.documents(TEN)
    budget = Budget(usd=most(world, 4))
    assert budget.usd < most(world, 10) / 2

    report = world.run(budget=budget)

    assert (report.failure, world.statuses()) == (None, TEN_GOOD)


@pytest.mark.verify
def test_a_price_that_turns_out_to_be_unknown_keeps_the_money_reserved(world: "World") -> None:
    """An answer of which nobody can say what it cost counts as much as it can have cost."""
    world.documents(TEN)
    bound = most(world, 10)
    world.engine().submit([Partition(key="p")])
    batch_ids = [batch.id for batch in world.emulator.audit.accepted()]
    world.emulator.clock.advance(minutes=10)
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    for batch_id in batch_ids:
        raw = world.emulator.handle("GET", f"/v1/messages/batches/{batch_id}/results", headers).read()
        dearer = raw.replace(b'"service_tier":"batch"', b'"service_tier":"priority"')
        assert dearer != raw
        FileSpool(world.state.spool).write(batch_id, [dearer])

    world.run()

    assert world.statuses() == TEN_GOOD
    assert committed(world) == pytest.approx(bound)


@pytest.mark.verify
def test_money_for_a_withheld_result_stays_reserved(world: "World") -> None:
    """The API may have billed what it has not handed out."""
    world.documents({n: TEN[n] for n in range(4)})
    bound = most(world, 4)
    world.emulator.faults.add("results_missing_line", rate=1.0)

    world.run()

    n_missing = 4 - list(world.statuses().values()).count("succeeded")
    assert n_missing >= 1
    assert committed(world) == pytest.approx(bill(world) + bound * n_missing / 4, rel=0.02)


@pytest.mark.verify
def test_money_of_another_place_is_other_money(world: "World") -> None:
    """What an emulator, or another workspace, was asked counts there."""
    world.documents(TEN)
    world.run()

    elsewhere = Allowance(usd=0, place="https://gateway.example.com default", pipeline=PIPELINE)

    assert world.ledger.committed(elsewhere) == 0
    assert committed(world) > 0


@pytest.mark.verify
def test_what_was_refused_costs_nothing(world: "World") -> None:
    """A batch that the API has refused releases what was reserved for it."""
    world.documents(TEN)
    world.emulator.faults.add("spend_limit_400", rate=1.0)

    world.run()

    assert (committed(world), bill(world)) == (0, 0)


@pytest.mark.verify
def test_what_is_unconfirmed_counts_as_paid(world: "World") -> None:
    """A batch of which nobody knows whether it was accepted, and which was let go, is counted until it is found."""
    world.documents({n: TEN[n] for n in range(4)})
    bound = most(world, 4)
    world.emulator.faults.add("drop_before_accept", times=1)

    world.run()

    assert world.states() == [State.UNSEEN, State.APPLIED]
    assert committed(world) == pytest.approx(bound + bill(world))


def test_two_runs_share_a_budget(world: "World") -> None:
    """What one run has sent is money that the other does not have."""
    world.documents(TEN, part="p")
    world.documents({n: f"{text}!" for n, text in TEN.items()}, part="q")
    budget = Budget(usd=most(world, 6))
    world.engine(budget=budget).submit([Partition(key="p")])

    world.engine(budget=budget).submit([Partition(key="q")])

    sent = sum(batch.n_requests for batch in world.emulator.audit.accepted())
    assert 5 <= sent <= 6
    assert committed(world) <= budget.usd


@pytest.mark.parametrize(
    ("budget", "options", "goes"),
    [
        (Budget(usd=1e-9, per="run"), {}, False),
        (Budget(usd=1.0, per="run"), {}, True),
        (Budget(usd=1.0, scope="search"), {}, True),
        (Budget(usd=1.0, scope="all", per="month"), {}, True),
        (Budget(usd=1.0, per="backfill"), {"backfill_id": "b"}, True),
    ],
    ids=str,
)
@pytest.mark.verify
def test_each_kind_of_budget(world: "World", budget: Budget, options: dict[str, Any], *, goes: bool) -> None:
    """Whatever it is per, and of, it lets rows go as long as there is money."""
    world.documents(TEN)

    world.run(budget=budget, **options)

    assert (world.statuses() == TEN_GOOD) is goes


def test_a_price_that_nobody_knows_cannot_be_kept(world: "World") -> None:
    """Without a price there is no bound, so nothing is sent."""
    world.documents(TEN)

    with pytest.raises(ConfigurationError, match=r"so no budget can be kept\. Nothing was sent"):
        world.run(budget=Budget(usd=1), base={"model": "claude-unheard-of"})

    assert world.n_posts == 0


@pytest.mark.verify
def test_a_row_that_is_too_dear_holds_up_no_other(world: "World") -> None:
    """It says that it can never be paid for, and the others go."""
    world.documents({0: "word " * 20_000, **{n: f"text {n}" for n in range(1, 10)}})

    world.run(budget=Budget(usd=most(world, 10) * 0.9))

    assert world.statuses() == {0: "blocked", **dict.fromkeys(range(1, 10), "succeeded")}
    [error] = {error for (error,) in world.rows("error") if error}
    assert "which is more than the budget of this asset" in error
    assert "allows at all" in error


@pytest.mark.verify
def test_each_blocked_row_has_its_own_reason(world: "World") -> None:
    """One that can never be paid for does not wait for tomorrow, though others do."""
    world.documents({n: f"text {n:02d}" for n in range(60)})
    budget = Budget(usd=most(world, 1) * 2.5)
    world.documents({**{n: f"text {n:02d}" for n in range(60)}, 99: "word " * 20_000})

    world.run(budget=budget)

    errors = dict(world.rows("id, error"))
    assert "allows at all" in errors[99]
    waiting = {error for key, error in errors.items() if error and key != 99}
    assert len(waiting) == 1
    assert "does not allow it; a run sends it after" in waiting.pop()


@pytest.mark.verify
def test_a_row_without_a_bound_is_blocked_alone(world: "World") -> None:
    """Nobody knows what a picture costs; the other rows go, within the budget."""

    def prompt(row: Any) -> Any:
        if row["id"] < 8:
            return row["text"]
        picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": row["text"]}, picture]}]}

    world.documents(TEN)

    report = world.run(prompt=prompt, budget=Budget(usd=5))

    assert report.failure is None
    assert world.statuses() == {n: "succeeded" if n < 8 else "blocked" for n in TEN}


@pytest.mark.verify
def test_a_narrow_budget_ends_after_some_rounds(world: "World") -> None:
    """A few rows at a time, each waiting for the last, would take days: the rest goes with the next run."""
    brief: dict[str, Any] = {"base": {"max_tokens": 1_024}}
    world.pacing = Pacing(limits=Limits(max_requests=500))
    world.documents({n: f"a text of war, number {n:03d}" for n in range(200)})

    world.run(**brief, budget=Budget(usd=most(world, **brief) * 3))

    assert world.n_accepted <= MOST_SHORT_ROUNDS
    assert set(world.statuses().values()) == {"succeeded", "blocked"}


# --- what counts -----------------------------------------------------------------------------------

HERE = Occasion("main.answers", "https://api default", "run-3", "run-1", "backfill")


@pytest.mark.parametrize(
    ("budget", "counted"),
    [
        (Budget(usd=5), {"pipeline": "main.answers", "since": datetime(2026, 11, 27, tzinfo=UTC)}),
        (Budget(usd=5, per="month"), {"pipeline": "main.answers", "since": datetime(2026, 11, 1, tzinfo=UTC)}),
        (Budget(usd=5, per="run"), {"pipeline": "main.answers", "root_run_id": "run-1"}),
        (Budget(usd=5, per="backfill"), {"pipeline": "main.answers", "backfill_id": "backfill"}),
        (Budget(usd=5, scope="all"), {"since": datetime(2026, 11, 27, tzinfo=UTC)}),
        (Budget(usd=5, scope="team"), {"budget": "team", "since": datetime(2026, 11, 27, tzinfo=UTC)}),
    ],
    ids=str,
)
def test_what_counts(budget: Budget, counted: dict[str, Any]) -> None:
    """Each budget counts the chunks that it is of, since its time began, at one place."""
    assert budget.allowance(NOON, HERE) == Allowance(usd=5, place="https://api default", **counted)


def test_without_a_backfill_it_is_the_run() -> None:
    """A run that is of no backfill is counted alone; one that repeats nothing is its own root."""
    alone = Occasion("main.answers", "here", "run-1")

    assert Budget(usd=5, per="backfill").allowance(NOON, alone).root_run_id == "run-1"


@pytest.mark.parametrize(
    ("per", "now", "until"),
    [
        ("day", NOON, datetime(2026, 11, 28, tzinfo=UTC)),
        ("month", NOON, datetime(2026, 12, 1, tzinfo=UTC)),
        ("month", datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        ("month", datetime(2027, 1, 31, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)),
        ("run", NOON, None),
        ("backfill", NOON, None),
    ],
)
def test_when_there_is_new_money(per: Any, now: datetime, until: datetime | None) -> None:
    """A day and a month end by the clock in UTC; a run and a backfill do not."""
    assert Budget(usd=5, per=per).until(now) == until


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"usd": 0}, "a number of US dollars, more than 0; got usd=0"),
        ({"usd": float("inf")}, "more than 0; got usd=inf"),
        ({"usd": "5"}, "more than 0; got usd='5'"),
        ({"usd": 5, "per": "week"}, "a budget is per run, day, month, backfill; got per='week'"),
        ({"usd": 5, "scope": ""}, "the scope of a budget is a text"),
    ],
)
def test_a_budget_that_cannot_be(options: dict[str, Any], told: str) -> None:
    """A mistake is told where it is made."""
    with pytest.raises(ConfigurationError, match=told):
        Budget(**options)
