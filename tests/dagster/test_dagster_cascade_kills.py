"""A cascade whose process is killed, at whatever call: both models are paid once, and the table is whole."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock
from tests.dagster.test_dagster_cascade import N, decided, declare, n_billed, texts, write

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

PROCESS = """
import sys
import dagster as dg
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource
from tests.dagster.test_dagster_cascade import declare

url, folder = sys.argv[1:]
resource = ClaudeBatchResource(
    api_key=dg.EnvVar("CLAUDE_TEST_KEY"), base_url=url, database=DuckDBResource(database=f"{folder}/warehouse.duckdb"),
    state_directory=f"{folder}/state", poll_interval_seconds=0.02, max_poll_interval_seconds=0.05,
    quiet_period_seconds=0.2, max_requests_per_batch=100,
)
dg.materialize([declare()], resources={"claude_batch": resource})
"""
LONGEST_SECONDS = 240
"""Nothing waits for it: a run that takes so long is broken."""


def killed_at(world: "DagsterWorld", n_posts: int) -> None:
    """Run the asset in a process of its own, and kill that as soon as the API has seen so many batches."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, world.url, str(world.folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    began = time.monotonic()
    while world.emulator.audit.n_posts() < n_posts and process.poll() is None:
        assert time.monotonic() - began < LONGEST_SECONDS
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("n_posts", [1, 4, 6, 8, 10])
def test_f100_a_kill_between_the_models_loses_and_doubles_nothing(
    other_world: Callable[[Emulator], "DagsterWorld"], n_posts: int
) -> None:
    """Five batches go to the cheap model, four to the strong one as its sample, one more with what is unsure."""
    world = other_world(Emulator(clock=SystemClock(), batch_seconds=0, unlike_models=True))
    write(world, texts())

    killed_at(world, n_posts)
    world.run(declare())

    by = decided(world)
    assert sum(by.values()) == N
    assert world.statuses() == {"succeeded": N}
    assert world.paid_twice == []
    [(n_up,)] = world.read("SELECT count(*) FROM public.answers_escalated WHERE status = 'succeeded'")
    assert n_billed(world) == N + n_up
