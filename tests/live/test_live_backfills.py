"""Backfills, clicked as in the UI and worked off by a real daemon."""

from collections.abc import Callable

import pytest

from tests.live.documents import PER_YEAR
from tests.live.scene import LONG, LiveScene

Scene = Callable[[str], LiveScene]

pytestmark = pytest.mark.dagster

CHECKS = ["error_rate", "expiry_rate", "complete", "invalid_rate", "label_drift"]


def prove_a_whole_backfill(scene: LiveScene, years: list[str], *, seconds: float) -> None:
    """Backfill documents, answers and report over the years, and look at everything that is promised of it."""
    dev, family = scene.dev, scene.family
    assets = [f"{family}/{name}" for name in ("documents", "answers", "report")]
    backfill = dev.backfill(*assets, years=years)

    assert dev.wait_for_backfill(backfill, seconds=seconds) == "COMPLETED_SUCCESS"

    n = len(years)
    assert dev.backfill_counts(backfill) == {"documents": (n, 0), "answers": (n, 0), "report": (n, 0)}
    [run] = dev.runs_of(scene.answers)
    assert run["assetSelection"] == [{"path": [family, "answers"]}]
    assert (scene.n_posts, scene.n_sent, scene.paid_twice) == (1, PER_YEAR * n, [])
    events = dev.materializations(scene.answers)
    assert sorted(event["partition"] for event in events) == years
    for event in events:
        labels = {entry["label"] for entry in event["metadataEntries"]}
        assert {"claude_batch/batch_ids", "dagster/partition_row_count", "claude_batch/cost_usd"} <= labels
    for check in CHECKS:
        judged = {one["partition"]: one["status"] for one in dev.checks(scene.answers, check) if one["partition"]}
        assert judged == dict.fromkeys(years, "SUCCEEDED"), check
    assert scene.statuses() == {"succeeded": PER_YEAR * n}


def test_a_backfill_of_twelve_years_takes_one_run_and_one_batch(scene: Scene) -> None:
    """Twelve partitions share one run and one batch; each has its own materialization, metadata and checks."""
    prove_a_whole_backfill(scene("whole"), [str(year) for year in range(1790, 1802)], seconds=180)


@pytest.mark.soak
def test_a_backfill_of_237_years_ends_well(scene: Scene) -> None:
    """The whole of a partitioned table in one backfill: one run of the asset, one batch, downstream included."""
    prove_a_whole_backfill(scene("all"), [str(year) for year in range(1780, 2017)], seconds=1_200)


def test_partitions_that_can_be_materialized_are(scene: Scene) -> None:
    """The API refuses after eight of twelve rows: those eight partitions and their downstream are there, four fail."""
    partial, years = scene("partial"), [str(year) for year in range(1850, 1862)]
    dev = partial.dev
    partial.write(*years, per_year=1)
    partial.hold()
    backfill = dev.backfill(partial.answers, "partial/report", years=years)
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


def test_a_partition_without_its_upstream_does_not_hold_up_the_others(scene: Scene) -> None:
    """One year of documents cannot be made: its answers fail with it, those of the other years are there."""
    lacking, years = scene("lacking"), ["1850", "1851", "1852"]
    dev = lacking.dev

    backfill = dev.backfill(*(f"lacking/{name}" for name in ("documents", "answers", "report")), years=years)

    assert dev.wait_for_backfill(backfill) == "COMPLETED_FAILED"
    assert dev.backfill_counts(backfill) == {"documents": (2, 1), "answers": (2, 1), "report": (2, 1)}
    assert dev.materialized(lacking.answers) == dev.materialized("lacking/report") == {"1850", "1851"}
    assert (lacking.statuses(), lacking.paid_twice) == ({"succeeded": 4}, [])
