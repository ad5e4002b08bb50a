"""What the tests of the way of a row share: a small world."""

from collections.abc import Iterator

import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.storage.ledger import SqlLedger
from claude_batch_dagster.storage.state_directory import StateDirectory
from claude_batch_dagster.storage.warehouse import Warehouse
from tests.core.world import World


@pytest.fixture
def world(
    emulator: Emulator,
    clock: Clock,
    api: AnthropicBatches,
    state: StateDirectory,
    ledger: SqlLedger,
    warehouse: Warehouse,
) -> Iterator[World]:
    """Return everything around one output table, with nothing in it."""
    world = World(emulator=emulator, clock=clock, api=api, state=state, ledger=ledger, warehouse=warehouse)
    world.keep_open()
    yield world
    world.let_go()
