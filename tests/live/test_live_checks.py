"""What the checks page shows after runs of a real daemon."""

import pytest

from tests.dagster_dev import RANGE
from tests.live.live_dev import IN_PROCESS
from tests.live.world import LiveWorld, WorldOf

pytestmark = [pytest.mark.dagster, pytest.mark.soak]

WELL, WARNS, FAILS = (True, "SUCCEEDED"), ("WARN", "FAILED"), ("ERROR", "FAILED")


def history(world: LiveWorld, check: str) -> dict[str, list[tuple[str | bool, str]]]:
    """Return what a check has said of each partition, latest first: its severity where it did not pass, its status."""
    found: dict[str, list[tuple[str | bool, str]]] = {}
    for one in world.dev.checks(world.answers, check):
        told = one["evaluation"]
        found.setdefault(one["partition"], []).append((told["success"] or told["severity"], one["status"]))
    return {year: said for year, said in found.items() if year}


def test_a_warning_and_a_failure_stand_for_their_partitions(world: WorldOf) -> None:
    """One row in twenty refused warns for its year, all refused fails theirs; the backfill ends well all the same."""
    judged, years = world("judged"), ["1800", "1801", "1802"]
    dev = judged.dev
    judged.write("1801", per_year=19)
    judged.write("1802")
    assert dev.run(judged.answers, "1801", "1802") == "SUCCESS"
    judged.write("1800")
    judged.write("1801", per_year=20)
    judged.emulator.faults.add("refusal")

    backfill = dev.backfill(judged.answers, "judged/report", keys=years)

    assert dev.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    assert dev.backfill_counts(backfill) == {"answers": (3, 0), "report": (3, 0)}
    assert judged.statuses() == {"succeeded": 21, "refused": 3}
    assert history(judged, "error_rate") == {"1800": [FAILS], "1801": [WARNS, WELL], "1802": [WELL, WELL]}
    assert history(judged, "complete") == {"1800": [FAILS], "1801": [WELL, WELL], "1802": [WELL, WELL]}
    assert history(judged, "expiry_rate") == {"1800": [WELL], "1801": [WELL, WELL], "1802": [WELL, WELL]}
    assert dev.check_statuses(judged.answers, "error_rate") == {
        ("1800", "1801"): "FAILED",
        ("1802", "1802"): "SUCCEEDED",
    }
    assert dev.check_statuses(judged.answers, "expiry_rate") == {("1800", "1802"): "SUCCEEDED"}


def test_a_blocking_check_keeps_back_what_is_downstream_in_its_run(world: WorldOf) -> None:
    """It passes, and the report of the same run is made; it fails, and the run does: answers land, no report."""
    blocked = world("blocked")
    dev = blocked.dev

    def run_both(*years: str) -> str:
        blocked.write(*years)
        tags = dict(zip(RANGE, years, strict=True))
        return dev.wait(dev.launch(blocked.answers, "blocked/report", tags=tags, config=IN_PROCESS))

    assert run_both("1800", "1801") == "SUCCESS"
    blocked.emulator.faults.add("refusal")
    assert run_both("1810", "1811") == "FAILURE"

    assert dev.materialized(blocked.answers) == {"1800", "1801", "1810", "1811"}
    assert dev.materialized("blocked/report") == {"1800", "1801"}
    assert blocked.statuses() == {"succeeded": 4, "refused": 4}
    expected = {"1800": [WELL], "1801": [WELL], "1810": [FAILS], "1811": [FAILS]}
    assert history(blocked, "error_rate") == expected
    assert (blocked.n_posts, blocked.paid_twice) == (2, [])
