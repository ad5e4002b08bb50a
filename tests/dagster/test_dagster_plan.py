"""What a run is going to do is shown before it does it; and what a person tells one run."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import Budget, build_submission_asset
from claude_batch_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]


def told(world: "DagsterWorld", result: dg.ExecuteInProcessResult) -> str:
    """Return what a run says of its plan."""
    lines = [entry.user_message for entry in world.instance.all_logs(result.run_id) if entry.level == logging.INFO]
    return next(line for line in lines if "Plan: " in line)


def observed(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return the metadata of the plan."""
    [event] = [
        event.event_specific_data.asset_observation  # type: ignore[union-attr]
        for event in result.all_events
        if event.event_type_value == "ASSET_OBSERVATION"
        and (event.event_specific_data.asset_observation.description or "").startswith("Plan")  # type: ignore[union-attr]
    ]
    return {key.removeprefix("claude_batch/"): value.value for key, value in event.metadata.items()}


def test_a_dry_run_shows_the_plan_and_does_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """It ends green without a materialization, sends nothing and makes no table."""
    asset = classification()

    result = world.run(asset, span=("1790", "1793"), config={"dry_run": True})

    assert result.success
    assert (world.n_posts, result.asset_materializations_for_node("answers")) == (0, [])
    assert result.get_asset_check_evaluations() == []
    assert world.read("SELECT table_name FROM duckdb_tables()") == [("documents",)]
    text = told(world, result)
    head = "DRY RUN: nothing is sent, and no table is changed. A run would do this.\nPlan: 4 requests, about $0.0000"
    assert text.startswith(head)
    assert "to be sent: 4 new" in text
    metadata = observed(result)
    assert metadata["planned_requests"] == 4
    assert metadata["estimated_usd_low"] < metadata["estimated_usd"] < metadata["estimated_usd_high"]
    [row] = metadata["plan"].records
    assert (row.data["reason"], row.data["rows"], row.data["sent"]) == ("new", 4, "yes")
    assert {one.data["partition"]: one.data["requests"] for one in metadata["plan_by_partition"].records} == {
        "1790": 1,
        "1791": 2,
        "1793": 1,
    }


def test_a_run_shows_its_plan_before_it_sends(world: "DagsterWorld", classification: Declare) -> None:
    """Plan and estimate are in the log before the first batch, and the estimate stands beside what it cost."""
    asset = classification(partitions_def=None)

    result = world.run(asset)

    lines = [entry.user_message for entry in world.instance.all_logs(result.run_id)]
    plan, sent = ([n for n, text in enumerate(lines) if text.startswith(said)] for said in ("Plan:", "4 requests sent"))
    assert plan[0] < sent[0]
    [materialized] = result.asset_materializations_for_node("answers")
    assert materialized.metadata["claude_batch/estimated_usd"].value == observed(result)["estimated_usd"]
    assert told(world, world.run(asset)) == "Plan: nothing to send\n  not to be sent: 4 have their answer"


def test_an_edit_says_what_it_pays_again_and_stops(world: "DagsterWorld", classification: Declare) -> None:
    """Above `confirm_repay_usd` nothing is sent, and the run says what to do; a person's word lets it go."""
    world.run(classification(partitions_def=None))
    edited = classification(partitions_def=None, system="Be brief.", confirm_repay_usd=0)

    failed = world.run(edited, raises=False)

    [failure] = [event for event in failed.all_events if event.is_step_failure]
    text = str(failure.step_failure_data.error.message if failure.step_failure_data.error else "")
    assert "4 rows with an answer would be asked again for about $0.0" in text
    assert "these parts of the definition have changed: system" in text
    assert "say confirm_repay: true" in text
    assert world.n_posts == 1

    assert world.run(edited, config={"confirm_repay": True}).success
    assert (world.n_posts, world.statuses()) == (2, {"succeeded": 4})


@pytest.mark.verify
def test_a_few_rows_first(world: "DagsterWorld", classification: Declare) -> None:
    """With a limit the first rows are answered, and the others are blocked until the next run."""
    asset = classification(partitions_def=None)

    first = world.run(asset, config={"limit": 1})

    assert first.success
    assert world.statuses() == {"succeeded": 1, "blocked": 3}
    [materialized] = first.asset_materializations_for_node("answers")
    assert materialized.metadata["claude_batch/succeeded"].value == 1
    world.run(asset, config={"only_keys": ["d"]})
    assert world.statuses() == {"succeeded": 2, "blocked": 2}
    world.run(asset)
    assert world.statuses() == {"succeeded": 4}
    assert world.paid_twice == []


@pytest.mark.verify
def test_a_full_refresh(world: "DagsterWorld", classification: Declare) -> None:
    """All answers are asked for again; the materializations after it cost nothing."""
    asset = classification(partitions_def=None)
    world.run(asset)

    result = world.run(asset, config={"full_refresh": True})

    assert "4 again for a full refresh" in told(world, result)
    assert (world.n_posts, len(world.paid_twice)) == (2, 4)
    world.run(asset)
    assert world.n_posts == 2


@pytest.mark.verify
def test_a_failure_that_is_final_is_asked_once_more(world: "DagsterWorld", classification: Declare) -> None:
    """Where a person says so, and not by itself; how many rows a run has left out, and why, is in its log."""
    asset = classification(partitions_def=None)
    world.emulator.faults.add("refusal", rate=1.0)
    world.run(asset)
    world.emulator.faults.clear()
    world.run(asset)
    assert world.statuses() == {"refused": 4}

    result = world.run(asset, config={"retry_final": True, "limit": 3})

    assert world.statuses() == {"succeeded": 3, "blocked": 1}
    logged = world.instance.all_logs(result.run_id)
    warnings = [entry.user_message for entry in logged if entry.level == logging.WARNING]
    assert "1 request was left out of the last run, which had a limit of 3 requests (limit)" in warnings


@pytest.mark.verify
def test_a_submission_shows_its_plan_too(world: "DagsterWorld", classification: Declare) -> None:
    """Its dry run ends green and sends nothing; it takes no limit, for the asset would send the rest."""
    asset = classification(partitions_def=None)
    submission = build_submission_asset(asset)

    result = world.run(submission, beside=[asset], config={"dry_run": True})

    assert result.success
    assert (world.n_posts, observed(result)["planned_requests"]) == (0, 4)
    with pytest.raises(dg.DagsterInvalidConfigError, match="limit"):
        world.run(submission, beside=[asset], config={"limit": 1})


@pytest.mark.parametrize("per", ["run", "backfill"])
def test_a_submission_keeps_no_budget_of_a_run(classification: Declare, per: Any) -> None:
    """The run that collects is another one, and would have money of its own."""
    with pytest.raises(ConfigurationError, match=f"a budget per {per} cannot be kept with a submission"):
        build_submission_asset(classification(budget=Budget(usd=5, per=per)))


@pytest.mark.parametrize("amount", [-1, "5", True, float("nan")])
def test_an_amount_that_is_none(classification: Declare, amount: Any) -> None:
    """What cannot be an amount is refused when it is declared."""
    with pytest.raises(ConfigurationError, match="confirm_repay_usd is a number of US dollars"):
        classification(confirm_repay_usd=amount)
