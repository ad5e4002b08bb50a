"""Declarative automation: the condition is Dagster's own, and sees this asset as any other."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pytest

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
PARTIES = dg.StaticPartitionsDefinition(["fed", "rep"])
KINDS = "id VARCHAR, text VARCHAR, party VARCHAR"
ROWS = [("a", "tax", "fed"), ("b", "war", "rep"), ("c", "navy", "whig")]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: conditions look at everything in it."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


class Automation:
    """The automation of two assets, evaluated tick by tick, with its cursor kept as the daemon keeps it."""

    def __init__(self, world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
        self.world, self.asset = world, asset

        @dg.asset(name="documents", partitions_def=asset.partitions_def)
        def documents() -> None:
            pass

        self.documents = documents
        self.cursor: dg.AssetDaemonCursor | None = None

    def tick(self) -> set[str | None]:
        """Return the partitions of `answers` that are requested now."""
        defs = dg.Definitions([self.asset, self.documents], resources={"claude_batch": self.world.resource()})
        told = dg.evaluate_automation_conditions(
            defs, self.world.instance, dg.AssetSelection.assets(self.asset), cursor=self.cursor
        )
        self.cursor = told.cursor
        return set(told.get_requested_partitions(self.asset.key))

    def load(self, partition: str | None = None) -> None:
        """Materialize the documents."""
        dg.materialize([self.documents], instance=self.world.instance, partition_key=partition)

    def answer(self, partition: str | None = None) -> None:
        """Do what was requested."""
        self.world.run(self.asset, beside=[self.documents], partition=partition)


def test_it_is_never_started_unless_told(classification: Declare) -> None:
    """By default there is no condition, since each start may cost money."""
    asset = classification()
    assert asset.automation_conditions_by_key == {}


def test_eager_follows_the_documents(world: "DagsterWorld", classification: Declare) -> None:
    """Requested once for each time that the documents are materialized, and not while nothing changes."""
    eager = dg.AutomationCondition.eager()
    automation = Automation(world, classification(partitions_def=None, partition_expr=None, automation_condition=eager))

    assert automation.tick() == set(), "there are no documents yet"
    automation.load()
    assert automation.tick() == {None}
    automation.answer()
    assert [automation.tick(), automation.tick()] == [set(), set()]
    automation.load()
    assert automation.tick() == {None}
    automation.answer()
    assert automation.tick() == set()
    assert (world.statuses(), world.n_posts) == ({"succeeded": 4}, 1)


def test_eager_asks_for_the_partitions_whose_documents_are_new(world: "DagsterWorld", classification: Declare) -> None:
    """A partition follows its own documents, and no other's."""
    world.write_documents(ROWS, kinds=KINDS)
    eager = dg.AutomationCondition.eager()
    automation = Automation(
        world, classification(partitions_def=PARTIES, partition_expr="party", automation_condition=eager)
    )

    assert automation.tick() == set()
    automation.load("rep")
    assert automation.tick() == {"rep"}
    automation.answer("rep")
    assert automation.tick() == set()
    automation.load("fed")
    automation.load("rep")
    assert automation.tick() == {"fed", "rep"}


def test_eager_keeps_to_the_latest_time_window(
    world: "DagsterWorld", classification: Declare, years: dg.TimeWindowPartitionsDefinition
) -> None:
    """Of years it takes the last one by itself; older ones are left to backfills, as everywhere in Dagster."""
    automation = Automation(world, classification(automation_condition=dg.AutomationCondition.eager()))

    automation.tick()
    automation.load("1791")
    automation.load("1793")

    assert automation.tick() == {"1793"}


def test_missing_partitions_are_asked_for_once(world: "DagsterWorld", classification: Declare) -> None:
    """A partition that is new, and has documents, is requested; one that is answered is not, whatever happens."""
    world.write_documents(ROWS, kinds=KINDS)
    parties = dg.DynamicPartitionsDefinition(name="parties")
    world.instance.add_dynamic_partitions("parties", ["fed"])
    missing = dg.AutomationCondition.on_missing()
    automation = Automation(
        world, classification(partitions_def=parties, partition_expr="party", automation_condition=missing)
    )

    assert automation.tick() == set()
    world.instance.add_dynamic_partitions("parties", ["whig"])
    assert automation.tick() == set(), "its documents are not there yet"
    automation.load("whig")
    assert automation.tick() == {"whig"}
    automation.answer("whig")
    automation.load("whig")
    assert automation.tick() == set()
    assert world.answers("id, partition_key") == [("c", "whig")]


def test_a_run_that_failed_is_not_started_again_and_again(world: "DagsterWorld", classification: Declare) -> None:
    """After a failure eager waits for new documents: a key that is refused does not make a storm of runs."""
    automation = Automation(
        world,
        classification(partitions_def=None, partition_expr=None, automation_condition=dg.AutomationCondition.eager()),
    )
    automation.tick()
    automation.load()
    assert automation.tick() == {None}
    world.emulator.faults.add("401")
    world.run(automation.asset, beside=[automation.documents], raises=False)
    world.emulator.faults.clear()

    assert [automation.tick(), automation.tick()] == [set(), set()]
    automation.load()
    assert automation.tick() == {None}
