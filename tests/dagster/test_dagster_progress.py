"""What a run says while it works, as Dagster shows it."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import build_submission_asset
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.runs import log as run_log
from tests.core.world import Label

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")


def lines(world: "DagsterWorld", result: dg.ExecuteInProcessResult, level: int = logging.INFO) -> list[str]:
    """Return what the run log says at one level."""
    return [entry.message for entry in world.instance.all_logs(result.run_id) if entry.level == level]


def observations(world: "DagsterWorld", result: dg.ExecuteInProcessResult) -> list[dg.AssetObservation]:
    """Return what was observed of assets in a run."""
    records = world.instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION).records
    return [record.event_log_entry.get_dagster_event().asset_observation_data.asset_observation for record in records]


def test_the_run_log_tells_how_far_it_is(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log counts rows found, then requests sent, ended and landed; never silent for minutes."""
    monkeypatch.setattr(run_log, "QUIET_SECONDS", 0.0)

    log = lines(world, world.run(classification(), span=ALL))

    found = "0 answered already, 4 without a usable answer, 0 share another row's answer, 0 can never be asked"
    assert f"4 upstream rows: {found}" in log
    assert "4 requests sent, 0 ended, 0 landed; 1 batch open" in log
    assert "4 requests sent, 4 ended, 4 landed; 0 batches open" in log


def test_the_run_log_says_who_answers_if_it_is_not_claude(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of an emulator in the place of Claude's should surprise nobody; of Claude nothing is said."""
    asset = classification()

    def warned(of: dg.AssetsDefinition, year: str) -> bool:
        told = lines(world, world.run(of, partition=year), logging.WARNING)
        return any("The emulator answers, not Claude." in line for line in told)

    assert warned(asset, "1790")
    assert warned(build_submission_asset(asset), "1791")
    monkeypatch.setattr(AnthropicBatches, "answerer", "")  # nothing on this machine passes for Claude otherwise
    assert not warned(asset, "1792")


def test_a_run_that_sends_batch_after_batch_does_not_flood_its_log(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four batches sent within a second the log tells the first, and the end; of all if seconds were nothing."""

    def told(partition: str) -> list[str]:
        result = world.run(classification(), partition=partition, max_requests_per_batch=1)
        return [line for line in lines(world, result) if " sent, " in line]

    world.emulator.pace.batch_seconds = 1
    world.write("UPDATE public.documents SET published_on = '1790-01-01' WHERE id <> 'd'")
    few = told("1790")
    monkeypatch.setattr(run_log, "BUSY_SECONDS", 0.0)
    world.write("UPDATE public.documents SET published_on = '1793-01-01', text = text || '!'")
    many = told("1793")

    assert few == [few[0], "3 requests sent, 3 ended, 3 landed; 0 batches open"]
    assert few[0] == "1 request sent, 0 ended, 0 landed; 1 batch open"
    assert len(many) > len(few)


def test_progress_is_observed_once_a_minute(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One observation in a run of seconds; on every change if a minute were nothing."""
    quick = observations(world, world.run(classification(), partition="1790"))
    monkeypatch.setattr(run_log, "OBSERVE_SECONDS", 0.0)
    every = observations(world, world.run(classification(), partition="1791"))

    assert [observation.partition for observation in quick] == ["1790"]
    figures: list[Any] = [observation.metadata["claude_batch/progress"].value for observation in every]
    assert (figures[0], figures[-1], figures == sorted(figures)) == (0.0, 1.0, True)
    assert len(set(figures)) == len(figures) == 2


def test_an_asset_without_partitions_is_observed_as_a_whole(world: "DagsterWorld", classification: Declare) -> None:
    """Also in a run that has a partition for the sake of a neighbor."""
    asset = classification(partitions_def=None, partition_expr=None)

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["x", "y"]), deps=[asset.key])
    def neighbor() -> None:
        pass

    result = world.run(asset, neighbor, partition="x")

    assert {observation.partition for observation in observations(world, result)} == {None}


def test_a_run_carries_the_ids_of_its_batches(world: "DagsterWorld", classification: Declare) -> None:
    """They stand in the run's tags, where they can be copied."""
    result = world.run(classification(), span=ALL)

    run = world.instance.get_run_by_id(result.run_id)
    assert run is not None
    [batch] = {batch for (batch,) in world.answers("batch_id")}
    assert run.tags["claude_batch/batches"] == batch


def test_a_run_says_when_it_is_expected_to_end(world: "DagsterWorld", asking: Declare) -> None:
    """Once a handful of this table's batches have ended, the log tells from them."""
    for n in range(5):
        world.run(asking(output=Label, prompt=f"Take {n}: {{text}}"))

    log = lines(world, world.run(asking(output=Label, prompt="And now: {text}")))

    assert any("Expected to end about" in line and "usually take 0 min" in line for line in log)
