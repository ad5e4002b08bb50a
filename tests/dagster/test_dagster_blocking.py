"""What a check that blocks holds back, and what it does not."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster.checks import ErrorRate

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")


def test_a_blocking_check_keeps_downstream_from_running(world: "DagsterWorld", classification: Declare) -> None:
    """The answers land all the same; what stands on them does not run when the check fails."""
    world.emulator.faults.add("invalid_request")

    @dg.asset(deps=["answers"])
    def downstream() -> None:
        pass

    def events(asset: dg.AssetsDefinition) -> set[str]:
        result = world.run(asset, downstream, raises=False)
        return {str(event.step_key) for event in result.get_asset_materialization_events()}

    open_gate = events(classification(name="answers", partitions_def=None))
    blocked = events(classification(name="answers", partitions_def=None, checks=[ErrorRate(blocking=True)]))

    assert (open_gate, blocked) == ({"answers", "downstream"}, {"answers"})


# Dagster warns of the policy of an asset that is not ours.
@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy` of function `asset` is currently in beta")
def test_a_blocking_check_keeps_back_its_own_run_and_no_other(world: "DagsterWorld", classification: Declare) -> None:
    """
    In the run whose check fails nothing downstream runs, for no partition; another run may go on all the same.

    The partitions are recorded as materialized, which is what backfills and automation go by.
    """
    world.write("UPDATE public.documents SET text = NULL WHERE id = 'd'")
    asset = classification(checks=[ErrorRate(blocking=True)])

    @dg.asset(deps=["answers"], partitions_def=asset.partitions_def, backfill_policy=dg.BackfillPolicy.multi_run(5000))
    def downstream() -> None:
        pass

    blocked = world.run(asset, downstream, span=ALL, raises=False)
    later = world.run(downstream, beside=[asset], span=ALL)

    assert (blocked.success, later.success) == (False, True)
    events = blocked.get_asset_materialization_events()
    assert [(event.step_key, event.partition) for event in events] == [
        ("answers", year) for year in ("1790", "1791", "1792", "1793")
    ]


EAGER = dg.AutomationCondition.eager()
GATED = EAGER & dg.AutomationCondition.all_deps_blocking_checks_passed()
PARTIES = dg.StaticPartitionsDefinition(["fed", "rep", "whig"])
EVERY = {"fed", "rep", "whig"}
RANGES = [{"span": ("fed", "whig")}]
SENSOR_RUNS = [{"span": ("rep", "whig")}, {"span": ("fed", "fed")}]
SINGLE_RUNS = [{"partition": "fed"}, {"partition": "rep"}, {"partition": "whig"}]


@pytest.mark.parametrize(
    ("condition", "runs", "bad", "fail", "requested"),
    [
        (EAGER, RANGES, "rep", 0.1, EVERY),
        (GATED, RANGES, None, 0.1, EVERY),
        (GATED, RANGES, "rep", 0.1, {"fed", "whig"}),
        (GATED, RANGES, "rep", 1.0, {"fed", "whig"}),
        (GATED, SENSOR_RUNS, "rep", 0.1, {"fed", "whig"}),
        (GATED, SINGLE_RUNS, "rep", 0.1, {"fed", "whig"}),
    ],
    ids=["eager alone", "all good", "one fails", "one warns", "one fails in the runs of a sensor", "single runs"],
)
def test_automation_waits_for_blocking_checks_where_it_is_told_to(
    world: "DagsterWorld",
    classification: Declare,
    condition: dg.AutomationCondition[dg.AssetKey],
    runs: Sequence[Mapping[str, Any]],
    bad: str | None,
    fail: float,
    requested: set[str],
) -> None:
    """`eager()` alone goes by materializations; Dagster's condition for checks holds back the bad `rep`, no other."""
    texts = {party: None if party == bad else "tax" for party in sorted(EVERY)}
    world.write_documents([(p, text, p) for p, text in texts.items()], kinds="id VARCHAR, text VARCHAR, party VARCHAR")
    asset = classification(
        partitions_def=PARTIES,
        partition_expr="party",
        checks=[ErrorRate(warn=0.02, fail=fail, blocking=True)],
    )

    @dg.asset(deps=["answers"], partitions_def=PARTIES, automation_condition=condition)
    def downstream() -> None:
        pass

    defs = dg.Definitions([asset, downstream], resources={"claude_batch": world.resource()})
    selection = dg.AssetSelection.assets(downstream)
    with dg.DagsterInstance.ephemeral() as own:
        world.instance = own
        before = dg.evaluate_automation_conditions(defs, own, selection)
        for run in runs:
            world.run(asset, raises=False, **run)
        told = dg.evaluate_automation_conditions(defs, own, selection, cursor=before.cursor)

    assert set(told.get_requested_partitions(downstream.key)) == requested
