"""Whatever starts the asset by itself sets a limit, so that a run which hangs does not hold its slot for ever."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from claude_batch_dagster import build_collect_sensor, build_new_documents_sensor, build_submission_asset

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: sensors ask for its runs and materializations."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def collecting(asset: dg.AssetsDefinition) -> dg.SensorDefinition:
    """Return the sensor that collects."""
    return build_collect_sensor(asset)


def noticing(asset: dg.AssetsDefinition) -> dg.SensorDefinition:
    """Return the sensor that notices documents, without a pause."""
    return build_new_documents_sensor(asset, settle_seconds=0.0)


@pytest.mark.verify
@pytest.mark.parametrize("build", [collecting, noticing])
def test_runs_that_sensors_ask_for_do_not_hang_for_ever(
    world: "DagsterWorld", classification: Declare, build: Callable[[dg.AssetsDefinition], dg.SensorDefinition]
) -> None:
    """Each run that a sensor asks for may take 30 hours: a batch takes up to 24, and what expired is asked again."""
    asset = classification()
    world.run(build_submission_asset(asset), partition="1790")
    world.run(build_submission_asset(asset), partition="1793")
    sensor, resources = build(asset), {"claude_batch": world.resource()}
    repository = dg.Definitions(assets=[asset], sensors=[sensor], resources=resources).get_repository_def()

    with dg.build_sensor_context(instance=world.instance, resources=resources, repository_def=repository) as context:
        requests = sensor.evaluate_tick(context).run_requests or []

    assert [request.tags["dagster/max_runtime"] for request in requests] == ["108000", "108000"]
