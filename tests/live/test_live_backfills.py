"""Backfills, clicked as in the UI and worked off by a real daemon."""

import pytest

from tests.live.documents import PER_YEAR
from tests.live.world import LONG, LiveWorld, WorldOf

pytestmark = pytest.mark.dagster

CHECKS = ["error_rate", "expiry_rate", "complete"]


def prove_all_is_there(world: LiveWorld, backfill: str, years: list[str]) -> None:
    """See that each year has its own materialization, metadata and checks, and was sent once."""
    dev, n = world.dev, len(years)
    assert dev.backfill_counts(backfill)["answers"] == dev.backfill_counts(backfill)["report"] == (n, 0)
    assert (world.n_sent, world.paid_twice) == (PER_YEAR * n, [])
    events = dev.materializations(world.answers)
    assert sorted(event["partition"] for event in events) == years
    for event in events:
        labels = {entry["label"] for entry in event["metadataEntries"]}
        assert {"claude_batch/batch_ids", "dagster/partition_row_count", "claude_batch/cost_usd"} <= labels
    for check in CHECKS:
        judged = {one["partition"]: one["status"] for one in dev.checks(world.answers, check) if one["partition"]}
        assert judged == dict.fromkeys(years, "SUCCEEDED"), check
    assert world.statuses() == {"succeeded": PER_YEAR * n}


def test_a_backfill_of_twelve_years_takes_one_run_and_one_batch(world: WorldOf) -> None:
    """Twelve partitions share one run and one batch; each has its own materialization, metadata and checks."""
    whole, years = world("whole"), [str(year) for year in range(1790, 1802)]
    whole.write(*years)

    backfill = whole.dev.backfill(whole.answers, "whole/report", keys=years)

    assert whole.dev.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    prove_all_is_there(whole, backfill, years)
    [run] = whole.dev.runs_of(whole.answers)
    assert run["assetSelection"] == [{"path": ["whole", "answers"]}]
    assert whole.n_posts == 1


@pytest.mark.soak
def test_a_backfill_of_237_years_ends_well(world: WorldOf) -> None:
    """
    The whole of a partitioned table, upstream and downstream in one backfill, is complete after a few runs.

    Dagster starts a run for years whose documents are there while others are still being recorded.
    """
    everything, years = world("all"), [str(year) for year in range(1780, 2017)]
    dev = everything.dev

    backfill = dev.backfill(*(f"all/{name}" for name in ("documents", "answers", "report")), keys=years)

    assert dev.wait_for_backfill(backfill, seconds=1_200) == "COMPLETED_SUCCESS"
    assert dev.backfill_counts(backfill)["documents"] == (237, 0)
    prove_all_is_there(everything, backfill, years)
    assert everything.n_posts == len(dev.runs_of(everything.answers)) <= 12


@pytest.mark.soak
def test_a_backfill_of_237_years_takes_one_run_where_documents_are_there(world: WorldOf) -> None:
    """Documents that were there before: all years in one run of the asset and in one batch."""
    ready, years = world("ready"), [str(year) for year in range(1780, 2017)]
    ready.write(*years)

    backfill = ready.dev.backfill(ready.answers, "ready/report", keys=years)

    assert ready.dev.wait_for_backfill(backfill, seconds=1_200) == "COMPLETED_SUCCESS"
    prove_all_is_there(ready, backfill, years)
    assert (len(ready.dev.runs_of(ready.answers)), ready.n_posts) == (1, 1)


def test_partitions_that_can_be_materialized_are(world: WorldOf) -> None:
    """The API refuses after eight of twelve rows: those eight partitions and their downstream are there, four fail."""
    partial, years = world("partial"), [str(year) for year in range(1850, 1862)]
    dev = partial.dev
    partial.write(*years, per_year=1)
    partial.hold()
    backfill = dev.backfill(partial.answers, "partial/report", keys=years)
    dev.until(lambda: partial.n_posts == 1, "four rows are sent")
    partial.emulator.advance(seconds=LONG)
    dev.until(lambda: partial.n_posts == 2, "four more rows are sent")
    partial.emulator.faults.add("spend_limit_400", endpoint="create")
    partial.emulator.advance(seconds=LONG)

    assert dev.wait_for_backfill(backfill) == "COMPLETED_FAILED"

    assert dev.backfill_counts(backfill) == {"answers": (8, 4), "report": (8, 4)}
    good = dev.materialized(partial.answers)
    assert (len(good), good) == (8, dev.materialized("partial/report"))
    assert partial.statuses() == {"succeeded": 8}
    [run] = dev.runs_of(partial.answers)
    why = dev.messages(run["runId"])
    assert "8 of 12 partitions are complete. The others are not: HTTP 400" in why
    assert "You have reached your specified API usage limits" in why


@pytest.mark.soak
def test_a_partition_without_its_upstream_does_not_hold_up_the_others(world: WorldOf) -> None:
    """One year of documents cannot be made: its answers fail with it, those of the other years are there."""
    lacking, years = world("lacking"), ["1850", "1851", "1852"]
    dev = lacking.dev

    backfill = dev.backfill(*(f"lacking/{name}" for name in ("documents", "answers", "report")), keys=years)

    assert dev.wait_for_backfill(backfill) == "COMPLETED_FAILED"
    assert dev.backfill_counts(backfill) == {"documents": (2, 1), "answers": (2, 1), "report": (2, 1)}
    assert dev.materialized(lacking.answers) == dev.materialized("lacking/report") == {"1850", "1851"}
    assert (lacking.statuses(), lacking.paid_twice) == ({"succeeded": 4}, [])
