"""Answers of an emulator are never taken for Claude's."""

from collections.abc import Callable, Iterator

import anthropic
import duckdb
import pytest
from pydantic import BaseModel

from claude_batch_dagster.client import AnthropicBatches, new_client, output_format
from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.emulator import Emulator, EmulatorTransport, serving
from claude_batch_dagster.engine import Engine, Pacing
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.canary import KEY, marked


class Note(BaseModel):
    """What is asked for."""

    note: str


TEXTS = [marked(f"paper {n}") for n in range(2)]


@pytest.fixture
def task(warehouse: Warehouse) -> Task:
    """Return a question about two rows."""
    with duckdb.connect(warehouse.database) as connection:
        connection.execute(
            "CREATE TABLE main.documents AS SELECT unnest([0, 1]) AS id, unnest(?::VARCHAR[]) AS text", [TEXTS]
        )
    base = {"model": "claude-haiku-5-5", "max_tokens": 64, "output_config": {"format": output_format(Note)}}
    return Task(
        target=TableName("public", "notes"),
        upstream=Upstream(relation="main.documents", shown_as="documents", key=("id",), rule=PartitionRule(expr=None)),
        builder=RequestBuilder(prompt=Template.parse("{text}"), base=base),
        schema=OutputSchema(Note),
    )


@pytest.fixture
def run(
    emulator: Emulator, clock: Clock, task: Task, warehouse: Warehouse, ledger: SqlLedger, state: StateDirectory
) -> Iterator[Callable[[str], int]]:
    """Return a function that runs the task against a base URL and says how many requests it sent."""
    clients: list[anthropic.Anthropic] = []

    def send(base_url: str) -> int:
        transport = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
        clients.append(anthropic.Anthropic(api_key=KEY, base_url=base_url, http_client=transport))
        engine = Engine(
            task=task,
            api=AnthropicBatches(clients[-1]),
            warehouse=warehouse,
            ledger=ledger,
            state=state,
            pacing=Pacing(),
            run_id=f"run {len(clients)}",
            clock=clock,
        )
        return engine.run([Partition(key=None)]).n_sent

    yield send
    for client in clients:
        client.close()


@pytest.mark.verify
def test_rows_answered_offline_are_asked_again_of_claude(run: Callable[[str], int]) -> None:
    """What the emulator answered is asked again once the base URL is the API's, and then paid for once."""
    offline, online = "http://127.0.0.1:8765", "https://api.anthropic.com"

    assert [run(offline), run(offline), run(online), run(online)] == [2, 0, 2, 0]


@pytest.mark.parametrize(
    ("base_url", "answerer"), [("http://127.0.0.1:8765", "emulator"), ("https://api.anthropic.com", "")]
)
def test_only_an_emulator_on_this_machine_calls_itself_one(emulator: Emulator, base_url: str, answerer: str) -> None:
    """A loopback address is asked whether it is an emulator; another host never is."""
    transport = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key=KEY, base_url=base_url, http_client=transport) as client:
        assert AnthropicBatches(client).answerer == answerer


def test_what_is_meant_for_this_machine_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would see documents on their way to a loopback address."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    with serving(Emulator()) as base_url, new_client(api_key=KEY, base_url=base_url) as client:
        assert client.messages.batches.list().data == []
