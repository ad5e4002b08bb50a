"""What the answer table says the plugin does is what a whole run does."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.errors import ApiError
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.answers.cells import BATCH, CUT_OFF, ENVELOPE, HTML, OTHER_COUNT, REFUSED, Cell, cells
from proof.answers.rules import HALVE, HOLD, REPEAT, SEARCH, STOP, WAIT, rule
from tests.core.world import World

pytestmark = pytest.mark.verify

FOUR = {n: f"a text of {'war' if n % 2 else 'peace'}, number {n}" for n in range(4)}
GOOD = dict.fromkeys(FOUR, "succeeded")


@pytest.fixture
def world(
    emulator: Emulator,
    clock: Clock,
    api: AnthropicBatches,
    state: StateDirectory,
    ledger: SqlLedger,
    warehouse: Warehouse,
) -> Iterator[World]:
    """Return everything around one output table, with four documents upstream."""
    world = World(emulator=emulator, clock=clock, api=api, state=state, ledger=ledger, warehouse=warehouse)
    world.keep_open()
    world.documents(FOUR)
    yield world
    world.let_go()


FOLLOWED = [
    pytest.param(Cell("200", BATCH, "", released=True), None, WAIT, [4], id="yes"),
    pytest.param(Cell("429", ENVELOPE, "", released=True), "429", REPEAT, [4], id="F42-429"),
    pytest.param(Cell(REFUSED, "", "", released=False), "connect_error", REPEAT, [4], id="F31-refused"),
    pytest.param(Cell("reset", "", "", released=False), "drop_mid_body", REPEAT, [4], id="F32-reset"),
    pytest.param(Cell("413", ENVELOPE, "", released=True), "413", HALVE, [2, 2], id="F41-413"),
    pytest.param(Cell("reset", "", "", released=True), "drop_after_accept", SEARCH, [4], id="F34-reset"),
    pytest.param(Cell("529", ENVELOPE, "", released=True), "529_after_accept", SEARCH, [4], id="F45-529"),
    pytest.param(Cell("200", HTML, "", released=True), "html_200_after_accept", SEARCH, [4], id="F46-html"),
    pytest.param(Cell("200", OTHER_COUNT, "", released=True), "wrong_count_200", HOLD, [4], id="F48-count"),
]


@pytest.mark.parametrize(("cell", "fault", "action", "n_requests"), FOLLOWED)
def test_a_run_follows_the_table(
    world: World, cell: Cell, fault: str | None, action: str, n_requests: list[int]
) -> None:
    """Whatever it does, every row has its answer in the end, and each was billed once."""
    if fault:
        world.emulator.faults.add(fault, endpoint="create", times=1, seconds=30.0 if fault == "429" else None)
    began = world.clock.now()

    report = world.run(quiet_period=timedelta(hours=5))

    assert rule(cell).action == action
    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 4)
    assert [batch.n_requests for batch in world.emulator.audit.accepted()] == n_requests
    assert world.clock.now() - began < timedelta(hours=5)  # found, not given up


@pytest.mark.parametrize("fault", ["spend_limit_400", "401", "billing_402", "403", "404", "422"])
def test_f36_to_f40_a_run_stops_where_the_table_says_so(world: World, fault: str) -> None:
    """With an error that says why; nothing was accepted, and the next run sends what is free."""
    world.emulator.faults.add(fault, endpoint="create", times=1)

    report = world.run()

    assert rule(Cell(fault[-3:], ENVELOPE, "", released=True)).action == STOP
    assert isinstance(report.failure, ApiError)
    assert (world.n_accepted, world.n_posts) == (0, 1)
    assert (world.run().failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 4)


def test_every_consequence_in_the_table_is_followed_here() -> None:
    """No phrase stands in it that no run was seen to act by."""
    followed = {action for _, _, action, _ in (param.values for param in FOLLOWED)} | {STOP}

    assert {rule(cell).action for cell in cells()} == followed
    assert rule(Cell("200", CUT_OFF, "", released=False)).action == REPEAT
