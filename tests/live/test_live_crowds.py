"""Many runs at once."""

from pathlib import Path

import pytest

from claude_batch_dagster.emulator import Emulator
from tests.canary import in_files
from tests.live.live_instance import running_dev
from tests.live.world import LiveWorld, WorldOf

pytestmark = [pytest.mark.dagster, pytest.mark.soak]


def prove_all_landed(crowd: LiveWorld, years: list[str], runs: list[str]) -> None:
    """Wait for runs of a year each, and see that each brought its answers home, without a word about locks."""
    dev = crowd.dev
    assert [dev.wait(run, seconds=900) for run in runs] == ["SUCCESS"] * len(years)
    assert dev.materialized(crowd.answers) == set(years)
    assert crowd.answered(*years) == 2 * len(years)
    assert (crowd.n_posts, crowd.paid_twice) == (len(years), [])
    assert "Could not set lock" not in "\n".join(dev.messages(run) for run in runs)


def test_ten_runs_with_room_for_two_end(tmp_path: Path, emulator: Emulator, live_api: str) -> None:
    """With `max_concurrent_runs: 2` ten runs of one partition each do not wait for each other for ever."""
    years = [str(year) for year in range(1800, 1810)]
    with running_dev(tmp_path, live_api, most=2) as dev:
        crowd = LiveWorld(family="crowd", home=tmp_path, emulator=emulator, dev=dev)
        crowd.write(*years)
        emulator.pace.batch_seconds = 3
        prove_all_landed(crowd, years, [dev.start(crowd.answers, year) for year in years])
    assert list(in_files(tmp_path)) == []


def test_twenty_runs_at_once_on_one_database_all_land(world: WorldOf) -> None:
    """Twenty runs that wait together and land together share one DuckDB file: none fails for its lock."""
    crowd, years = world("crowd"), [str(year) for year in range(1820, 1840)]
    crowd.write(*years)
    crowd.hold()
    runs = [crowd.dev.start(crowd.answers, year) for year in years]
    crowd.dev.until(lambda: crowd.n_posts == len(years), "all have sent", seconds=900)

    crowd.release()

    prove_all_landed(crowd, years, runs)


def test_f108_a_backfill_and_a_run_that_meet_share_a_batch(world: WorldOf) -> None:
    """A run of a year whose backfill waits for its answers, as a sensor starts it, sends nothing; both end well."""
    crowd, years = world("crowd"), ["1850", "1851", "1852"]
    crowd.write(*years)
    crowd.hold()
    dev = crowd.dev
    backfill = dev.backfill(crowd.answers, keys=years)
    [first] = dev.until(lambda: dev.runs(dagster__backfill=backfill), "the backfill starts its run")
    dev.until_waiting(first["runId"])

    second = dev.start(crowd.answers, "1851")
    dev.until_waiting(second)
    crowd.release()

    assert dev.wait(second) == "SUCCESS"
    assert dev.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    assert dev.materialized(crowd.answers) >= set(years)
    assert crowd.answered(*years) == 6
    assert (crowd.n_posts, crowd.paid_twice) == (1, [])
