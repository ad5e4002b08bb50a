"""Assets that Dagster starts by itself: new rows, and new materializations upstream."""

import pytest

from tests.live.documents import PER_PART, write_parts
from tests.live.world import LiveWorld, WorldOf

pytestmark = pytest.mark.dagster

LATEST = "2016"


def write(world: LiveWorld, part: str) -> None:
    """Write documents of a partition, as somebody may do outside of Dagster."""
    with world.database() as connection:
        write_parts(connection, world.family, [part])


def test_new_rows_start_a_run_of_just_their_partition(world: WorldOf) -> None:
    """The new-documents sensor starts what has documents, then only the year to which rows were added."""
    noticed = world("noticed")
    dev, sensor = noticed.dev, "noticed__answers_new_documents"
    noticed.write("1800", "1801")

    with dev.sensing(sensor):
        dev.until(lambda: dev.materialized(noticed.answers) == {"1800", "1801"}, "the first two years are answered")
        dev.until_skipped(sensor, "No document has changed since the last look.")
        noticed.write("1850", per_year=1)
        dev.until(lambda: "1850" in dev.materialized(noticed.answers), "the new year is answered")
        noticed.write("1801", per_year=3)
        dev.until(lambda: noticed.n_sent == 6, "the new row is sent")

    runs = dev.runs_of(noticed.answers)
    assert [dev.wait(run["runId"]) for run in runs] == ["SUCCESS"] * 3
    ranges = [{tag["value"] for tag in run["tags"] if "partition_range" in tag["key"]} for run in runs]
    assert ranges == [{"1801"}, {"1850"}, {"1800", "1801"}]
    assert noticed.statuses() == {"succeeded": 6}
    assert noticed.paid_twice == []


@pytest.mark.soak
def test_new_keys_upstream_become_partitions_that_are_answered(world: WorldOf) -> None:
    """Documents with a key that Dagster does not know: the sensor adds the partition and starts it, and no other."""
    arriving = world("arriving")
    dev = arriving.dev

    with dev.sensing("arriving__answers_new_documents"):
        write(arriving, "bob")
        dev.until(lambda: dev.materialized(arriving.answers) == {"bob"}, "the first is answered")
        write(arriving, "alice")
        dev.until(lambda: dev.materialized(arriving.answers) == {"bob", "alice"}, "the second is answered")

    assert [dev.wait(run["runId"]) for run in dev.runs_of(arriving.answers)] == ["SUCCESS"] * 2
    assert (arriving.n_sent, arriving.paid_twice) == (2 * PER_PART, [])
    assert arriving.answered("bob", "alice") == 2 * PER_PART


@pytest.mark.soak
def test_an_automation_condition_starts_the_asset(world: WorldOf) -> None:
    """With `AutomationCondition.eager()`, materializing the documents of a year has its answers asked for."""
    eager = world("eager")
    dev = eager.dev

    with dev.sensing("default_automation_condition_sensor"):
        dev.until(lambda: dev.ticks("default_automation_condition_sensor"), "Dagster looks at conditions")
        assert dev.run("eager/documents", LATEST) == "SUCCESS"
        dev.until(lambda: dev.materialized(eager.answers), "the answers are there")

    assert dev.materialized(eager.answers) == {LATEST}
    assert (eager.n_posts, eager.statuses(), eager.paid_twice) == (1, {"succeeded": 2}, [])
