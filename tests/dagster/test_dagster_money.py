"""Money, from the first row to the bill: rows that were edited, edits for the worse, rows that are left over."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import Budget

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]

pytestmark = pytest.mark.verify
"""Tables of some size, on every push."""


def write(world: "DagsterWorld", n: int) -> None:
    """Put so many different documents upstream."""
    world.write(
        "CREATE OR REPLACE TABLE public.documents AS SELECT 'd' || n AS id, "  # noqa: S608  (a number)
        "CASE n % 2 WHEN 0 THEN 'the army and the navy at war, ' ELSE 'tax and tariff on trade, ' END || n AS text, "
        f"DATE '1790-01-01' AS published_on FROM range({n}) AS r(n)"
    )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Return why a run has failed."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    return error.message if error else ""


def test_three_of_five_hundred(world: "DagsterWorld", classification: Declare) -> None:
    """Three rows that were edited are three requests; a prompt that was edited is 500, and waits for a word."""
    write(world, 500)
    asset = classification(partitions_def=None)
    world.run(asset)
    assert len(world.sent) == 500
    world.write("UPDATE public.documents SET text = text || ', once more' WHERE id IN ('d1', 'd2', 'd3')")

    world.run(asset)

    assert len(world.sent) == 503
    edited = classification(partitions_def=None, system="Say what it is about.", confirm_repay_usd=0.001)
    stopped = world.run(edited, raises=False)
    assert "500 rows with an answer would be asked again for about $0.0" in failure_of(stopped)
    assert len(world.sent) == 503
    assert world.run(edited, config={"confirm_repay": True}).success
    assert (len(world.sent), world.paid_twice) == (1_003, [])


def test_a_bad_prompt_on_twenty_thousand_rows(own_world: "DagsterWorld", classification: Declare) -> None:
    """Twenty are sent, and the run says what came back; mended, all the others are."""
    world = own_world
    write(world, 20_000)
    world.emulator.faults.add("misfit", rate=1.0)
    asset = classification(partitions_def=None)

    failed = world.run(asset, raises=False)

    assert "the first 20 rows came back, and the other 19,980 were not sent: 20 invalid" in failure_of(failed)
    assert len(world.sent) <= 20
    world.emulator.faults.clear()
    assert world.run(classification(partitions_def=None, system="Say what it is about.")).success
    assert world.statuses() == {"succeeded": 20_000}
    assert len(world.sent) == 20_020


def test_half_the_money(own_world: "DagsterWorld", classification: Declare) -> None:
    """Half lands, the run is green and warns, the rest is blocked; with a new budget it goes, and nothing twice."""
    world = own_world
    write(world, 200)
    brief: dict[str, Any] = {"partitions_def": None, "max_tokens": 20}
    whole = world.run(classification(name="others", **brief, system="Say it once."))
    assert whole.success
    [(usd,)] = world.read("SELECT sum(cost_usd) FROM public.others")

    half = world.run(classification(**brief, system="Say it more.", budget=Budget(usd=usd / 2, per="run")))

    assert half.success
    statuses = world.statuses()
    assert 50 <= statuses["succeeded"] <= 100
    assert statuses["blocked"] == 200 - statuses["succeeded"]
    [(spent,)] = world.read("SELECT sum(cost_usd) FROM public.answers")
    assert spent <= usd / 2
    [check] = [one for one in half.get_asset_check_evaluations() if one.check_name == "budget"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    figures: dict[str, Any] = {name: value.value for name, value in check.metadata.items()}
    assert figures["claude_batch/budget_usd"] == usd / 2
    assert 0.8 < figures["claude_batch/budget_used"] <= 1
    assert world.run(classification(**brief, system="Say it more.", budget=Budget(usd=10, per="day"))).success
    assert (world.statuses(), world.paid_twice) == ({"succeeded": 200}, [])
