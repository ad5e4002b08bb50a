"""Batches that are canceled, deleted, out of sight or point elsewhere: whole runs against the emulator."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import anthropic
import pytest

from claude_batch_dagster.client import AnthropicBatches, new_client
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.emulator import Emulator, serving
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.answers.server import scripted
from proof.canary import KEY
from tests.core.world import World

pytestmark = pytest.mark.verify

FOUR = {n: f"a text of {'war' if n % 2 else 'peace'}, number {n}" for n in range(4)}
GOOD = dict.fromkeys(FOUR, "succeeded")
HEADERS = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}


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


class Acting:
    """The clock of the world; somebody does something as often as the run pauses."""

    def __init__(self, world: World, act: Callable[[], object]) -> None:
        self.now, self._sleep, self._act = world.clock.now, world.clock.sleep, act

    def sleep(self, seconds: float) -> None:
        """Act, then let `seconds` pass."""
        self._act()
        self._sleep(seconds)


def console(world: World, method: str, path: str = "") -> list[int]:
    """Do to every batch what a person in the Console might; return the API's words on it."""
    url = "/v1/messages/batches/{}" + path
    return [
        world.emulator.handle(method, url.format(batch.id), HEADERS).status for batch in world.emulator.audit.accepted()
    ]


def test_f57_a_batch_canceled_in_the_console_keeps_what_was_finished(world: World) -> None:
    """While it is canceling it is alive: nothing is sent for it; then only the rows that were canceled are."""
    n_posts: list[int] = []

    def cancel_once() -> None:
        if not n_posts:
            world.emulator.clock.advance(seconds=30)  # halfway through the batch
            assert console(world, "POST", "/cancel") == [200]
        n_posts.append(world.n_posts)

    report = world.run(clock=Acting(world, cancel_once))

    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 4)
    assert n_posts[:2] == [1, 1]
    attempts = sorted(attempt for (attempt,) in world.rows("attempt"))
    assert (attempts[0], attempts[-1]) == (1, 2)
    assert world.n_posts == 2


def test_f57_a_batch_that_is_canceling_is_waited_for(world: World) -> None:
    """However often it is looked at, it stays the one batch of its rows until it has ended."""
    seen: set[tuple[str, int]] = set()

    def look() -> None:
        console(world, "POST", "/cancel")
        seen.update(
            (world.api.retrieve(batch.id).processing_status, world.n_posts)
            for batch in world.emulator.audit.accepted()[:1]
        )

    world.run(clock=Acting(world, look), max_attempts=1, poll_seconds=3.0)

    assert ("canceling", 1) in seen
    assert {status for status, n_posts in seen if n_posts == 1} == {"canceling"}


def test_f66_results_deleted_before_they_are_fetched_are_not_paid_again(world: World) -> None:
    """While the API may only have lost sight of them, no row has a verdict; after 29 days they are written off."""
    world.emulator.faults.add("404", endpoint="results")

    def delete() -> None:
        console(world, "DELETE")

    report = world.run(clock=Acting(world, delete))

    assert report.failure is not None
    assert (world.statuses(), world.n_posts, set(report.unfinished)) == ({}, 1, {"p"})
    world.emulator.clock.advance(days=30)
    report = world.run()
    assert (report.failure, set(world.statuses().values()), world.states()) == (None, {"missing"}, [State.LOST])
    assert (world.run().n_sent, world.n_posts) == (0, 1)


@pytest.mark.parametrize(
    ("minutes", "lands"), [pytest.param(25, True, id="F68-passes"), pytest.param(60, False, id="F68-lasts")]
)
def test_results_that_are_404_right_after_the_end_are_waited_for(world: World, minutes: int, lands: bool) -> None:  # noqa: FBT001
    """For half an hour; then the run fails, sends nothing again, and the next one brings them home."""
    world.emulator.faults.add("404_after_end", endpoint="results", seconds=60.0 * minutes)

    report = world.run()

    assert ((report.failure is None), world.n_posts) == (lands, 1)
    assert world.statuses() == (GOOD if lands else {})
    world.emulator.clock.advance(minutes=minutes)
    assert (world.run().failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 4)


def test_f67_the_host_that_results_url_names_is_never_asked(world: World) -> None:
    """Over real sockets: the other server sees no connection, so it sees neither key nor answers."""
    with scripted() as other, serving(world.emulator) as url:
        elsewhere = f"{other.url}/v1/messages/batches/x/results"
        world.emulator.faults.add("foreign_results_url", url=elsewhere)
        client: anthropic.Anthropic = new_client(api_key=KEY, base_url=url)
        world.api = AnthropicBatches(client)

        report = world.run()
        shown = client.messages.batches.list().data[0].results_url
        client.close()

    assert (report.failure, world.statuses(), other.n_connections) == (None, GOOD, 0)
    assert shown == elsewhere


def test_f61_a_batch_that_takes_longer_than_it_may_is_waited_for(world: World) -> None:
    """A batch that is still in progress a day after it should have expired is looked at, not sent again."""
    world.emulator.faults.add("never_ends", times=1)
    began = world.clock.now()

    def lift() -> None:
        if world.clock.now() - began > timedelta(days=2):
            console(world, "POST", "/cancel")

    report = world.run(clock=Acting(world, lift), max_poll_seconds=1_800.0, max_attempts=1)

    assert (report.failure, world.n_accepted, set(world.statuses().values())) == (None, 1, {"canceled"})
    assert world.clock.now() - began > timedelta(days=2)
