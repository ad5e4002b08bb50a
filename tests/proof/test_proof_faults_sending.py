"""Faults around the sending of a batch that are neither an answer of the API nor a kill."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import UNCONFIRMED, State
from claude_batch_dagster.core.ports import Batch, Body
from claude_batch_dagster.emulator import EmulatorTransport
from claude_batch_dagster.engine import Engine, RunReport
from tests.canary import KEY
from tests.core.clocks import CrashError
from tests.core.world import PIPELINE, World

pytestmark = pytest.mark.verify

FIVE = {n: f"a text of war, number {n}" for n in range(5)}


class Dying(AnthropicBatches):
    """The API, whose caller dies before or after the last byte has left."""

    sends = True

    def create(self, body: Body) -> Batch:
        """Send the body, or only its beginning, and die."""
        if self.sends:
            super().create(body)
        else:
            next(iter(body.pieces))
        raise CrashError


def die_sending(world: World, client: anthropic.Anthropic, *, sends: bool) -> None:
    """Run until death, before or after the last byte of the first batch."""
    api = Dying(client)
    api.sends = sends
    with pytest.raises(CrashError):
        world.run(api=api)


def test_f19_f22_a_body_that_never_left_is_made_anew(world: World, client: anthropic.Anthropic) -> None:
    """New rows and another prompt meanwhile: what is sent is what is asked now, in batches cut anew, once."""
    world.documents(FIVE)
    die_sending(world, client, sends=False)
    world.documents({**FIVE, 9: "a late text of peace"})

    report = world.run(prompt="Another: {text}")

    assert (report.failure, report.n_sent, world.n_billed) == (None, 6, [1] * 6)
    assert sorted(world.states()) == [State.APPLIED, State.APPLIED, State.REFUSED]


def test_f19_f22_a_body_that_may_have_left_is_settled_before_another_is_made(
    world: World, client: anthropic.Anthropic
) -> None:
    """Although nothing asks for its rows any more: it is found, landed under its own question, and paid for once."""
    world.documents(FIVE)
    die_sending(world, client, sends=True)
    sent_while_unsure: list[int] = []

    def look(_: Any) -> None:
        if world.ledger.chunks(PIPELINE, UNCONFIRMED):
            sent_while_unsure.append(world.n_posts)

    report = world.run(prompt="Another: {text}", on_trouble=look)

    assert (report.failure, set(sent_while_unsure), world.states()[0]) == (None, {1}, State.APPLIED)
    assert (world.run().n_sent, world.n_billed) == (1, [1] * 10)


def test_f109_one_run_that_is_started_twice_sends_nothing_twice(world: World) -> None:
    """An orchestrator that starts a run again under the same id while the first still reads: one bill, two reports."""
    world.documents(FIVE)
    reports: list[RunReport] = []
    starts = iter([[Partition(key="p")]])

    def prompt(row: Mapping[str, Any]) -> str:
        if row["id"] == 4:
            reports.extend(second.run(partitions) for partitions in starts)
        return f"Label: {row['text']}"

    second: Engine = world.engine(prompt=prompt)
    first = replace(world.engine(prompt=prompt), run_id=second.run_id)
    reports.append(first.run([Partition(key="p")]))

    assert [(report.failure, report.n_sent) for report in reports] == [(None, 5), (None, 0)]
    assert ([part.balanced for report in reports for part in report.partitions], world.n_billed) == (
        [True] * 2,
        [1] * 5,
    )


def test_f109_one_run_that_is_started_twice_keeps_its_documents_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second start reads other documents than the first is still writing down: neither spoils the other's."""
    monkeypatch.setattr("claude_batch_dagster.storage.duckdb.asking.upstream.WINDOW", 2)
    long = {n: f"war {n} " + "x" * 30_000 for n in range(5)}
    world.documents(long)
    reports: list[RunReport] = []
    second = world.engine()

    def prompt(row: Mapping[str, Any]) -> str:
        if not reports and row["id"] == 4:
            world.documents({n: f"peace {n}" for n in range(5)})
            reports.append(second.run([Partition(key="p")]))
        return f"Label: {row['text']}"

    first = replace(world.engine(prompt=prompt), run_id=second.run_id)
    reports.append(first.run([Partition(key="p")]))

    assert [(report.failure, report.n_sent) for report in reports] == [(None, 5), (None, 5)]
    assert (world.run().n_sent, set(world.rows("label")), world.n_billed) == (0, {("peace",)}, [1] * 10)


class Repointed(AnthropicBatches):
    """The API, where the alias of a model led to another snapshot for some rows."""

    @contextmanager
    def results(self, batch_id: str) -> Iterator[Iterator[bytes]]:
        """Stream results of two models."""
        with super().results(batch_id) as pieces:
            lines = [orjson.loads(line) for line in b"".join(pieces).splitlines()]
        for line in lines:
            if line["custom_id"].endswith("-1"):
                line["result"]["message"]["model"] = "claude-sonnet-5-5"
        yield iter([b"\n".join(map(orjson.dumps, lines))])


def test_f111_each_row_says_which_model_answered(world: World, client: anthropic.Anthropic) -> None:
    """An alias that leads elsewhere from one day to the next is seen in the table, and in what each row cost."""
    world.documents({0: "war", 1: "war as well"})

    world.run(api=Repointed(client))

    models, costs = zip(*world.rows("model, cost_usd"), strict=True)
    assert models == ("claude-haiku-5-5", "claude-sonnet-5-5")
    assert costs[1] > costs[0]


class Recording(EmulatorTransport):
    """The way to the emulator, with a book of what went there."""

    def __init__(self, world: World) -> None:
        super().__init__(world.emulator)
        self.calls: set[tuple[str, str]] = set()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Note method and last part of the path, and answer."""
        self.calls.add((request.method, request.url.path.rpartition("/")[2].partition("_")[0]))
        return super().handle_request(request)


def test_f122_no_batch_is_ever_deleted_at_the_api(world: World) -> None:
    """Sending, waiting, collecting, canceling, restoring: nothing of it takes away what was paid for."""
    transport = Recording(world)
    http = anthropic.DefaultHttpxClient(transport=transport, follow_redirects=False)
    with anthropic.Anthropic(api_key=KEY, http_client=http, max_retries=0) as client:
        api = AnthropicBatches(client)
        world.documents(FIVE)
        world.emulator.faults.add("drop_after_accept", times=1)
        engine = world.engine(api=api)
        engine.on_progress = lambda _: (engine.cancel(is_over=lambda _run_id: True), None)[1]
        engine.run([Partition(key="p")])
        world.sql("DROP TABLE answers")
        for file in world.state.spool.iterdir():
            file.unlink()
        world.run(api=api)

    assert {method for method, _ in transport.calls} == {"GET", "POST"}
    assert {what for method, what in transport.calls if method == "POST"} == {"batches", "cancel"}
