"""Runs as somebody has them: other backfill policies, either executor, a schedule."""

from typing import Any

import pytest

from tests.live.documents import write_parts
from tests.live.live_dev import IN_PROCESS, MULTIPROCESS
from tests.live.world import LiveWorld, WorldOf

pytestmark = [pytest.mark.dagster, pytest.mark.soak]

LATEST = "2016"


def backfill_answers(world: LiveWorld, years: list[str]) -> list[set[str]]:
    """Backfill answers and report of years; return which assets each run with answers had, once all is well."""
    world.write(*years)
    dev = world.dev
    backfill = dev.backfill(world.answers, f"{world.family}/report", keys=years)
    assert dev.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    assert dev.backfill_counts(backfill) == {"answers": (len(years), 0), "report": (len(years), 0)}
    assert dev.materialized(world.answers) == set(years)
    n = 2 * len(years)
    assert (world.n_paid, world.n_sent, world.paid_twice, world.answered(*years)) == (n, n, [], n)
    return [{key["path"][-1] for key in run["assetSelection"]} for run in dev.runs_of(world.answers)]


def test_under_single_run_one_run_makes_the_range_with_its_neighbors(world: WorldOf) -> None:
    """With `BackfillPolicy.single_run()` four years share one run and one batch; so does what is downstream."""
    single = world("single")

    runs = backfill_answers(single, ["1800", "1801", "1802", "1803"])

    assert (runs, single.n_posts) == ([{"answers", "report"}], 1)


def test_under_multi_run_of_one_each_partition_has_its_run(world: WorldOf) -> None:
    """With `BackfillPolicy.multi_run(1)` three years are three runs of a batch each, at once on one database."""
    each = world("each")

    runs = backfill_answers(each, ["1800", "1801", "1802"])

    assert (runs, each.n_posts) == ([{"answers"}] * 3, 3)


@pytest.mark.parametrize(
    ("year", "config", "n_processes"),
    [("1850", MULTIPROCESS, 2), ("1851", IN_PROCESS, 1)],
    ids=["multiprocess", "in_process"],
)
def test_a_run_ends_well_under_either_executor(
    world: WorldOf, year: str, config: dict[str, Any], n_processes: int
) -> None:
    """The step in a process of its own, or in that of the run: the answers land, sent once."""
    seen = world("seen")
    seen.write(year)

    run = seen.dev.start(seen.answers, year, config=config)

    assert seen.dev.wait(run) == "SUCCESS"
    assert len(seen.dev.pids(run)) == n_processes
    assert (seen.answered(year), seen.n_posts, seen.paid_twice) == (2, 1, [])


def test_the_schedule_starts_the_latest_partition(world: WorldOf) -> None:
    """Switched on, the schedule starts a run of the latest year, and of no other, when its minute comes."""
    scheduled, schedule = world("scheduled"), "scheduled__answers_schedule"
    dev = scheduled.dev
    scheduled.write("2015", LATEST)

    with dev.scheduling(schedule):
        dev.until(lambda: dev.runs(dagster__schedule_name=schedule), "the schedule starts a run")

    runs = dev.runs(dagster__schedule_name=schedule)
    assert {dev.wait(run["runId"]) for run in runs} == {"SUCCESS"}
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs]
    assert {(tag["dagster/partition"], tag["dagster/max_runtime"]) for tag in tags} == {(LATEST, "108000")}
    assert dev.materialized(scheduled.answers) == {LATEST}
    assert (scheduled.answered(LATEST), scheduled.n_sent, scheduled.paid_twice) == (2, 2, [])


def test_the_schedule_starts_all_parties_of_the_latest_day(world: WorldOf) -> None:
    """In two dimensions a run of the schedule is for each cell of the latest day, and for no other day."""
    ruled, schedule = world("ruled"), "ruled__answers_schedule"
    dev, latest = ruled.dev, {f"2024-02-29|{party}" for party in ("federalist", "republican", "whig")}
    with ruled.database() as connection:
        write_parts(connection, "ruled", ["2024-02-28|whig", *latest])

    with dev.scheduling(schedule):
        dev.until(lambda: dev.runs(dagster__schedule_name=schedule), "the schedule starts a run")

    runs = dev.runs(dagster__schedule_name=schedule)
    assert {dev.wait(run["runId"]) for run in runs} == {"SUCCESS"}
    assert dev.materialized(ruled.answers) == latest
    assert (ruled.answered(*latest), ruled.n_sent, ruled.paid_twice) == (6, 6, [])
