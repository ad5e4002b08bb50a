"""A small world for one table of documents: upstream, engine, emulator, and what came of it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import anthropic
from pydantic import BaseModel

from claude_batch_dagster.client import AnthropicBatches, output_format
from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.asking.requests import PromptFunction, RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.emulator import Emulator, EmulatorTransport
from claude_batch_dagster.engine import Engine, Pacing, RunReport
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.canary import KEY, marked


class Label(BaseModel):
    """The output model."""

    label: Literal["war", "peace"]


SCHEMA = OutputSchema(Label)
BASE: Mapping[str, Any] = {
    "model": "claude-haiku-5-5",
    "max_tokens": 100,
    "thinking": {"type": "disabled"},
    "output_config": {"format": output_format(Label)},
}
PIPELINE = "main.answers"
SPENDING = {one.name for one in fields(Spending)}
TEN = {n: f"a text of {'war' if n % 2 else 'peace'}, number {n}" for n in range(10)}
TEN_GOOD = dict.fromkeys(TEN, "succeeded")


@dataclass(kw_only=True)
class World:
    """Everything around one output table."""

    emulator: Emulator
    clock: Clock
    api: AnthropicBatches
    state: StateDirectory
    ledger: SqlLedger
    warehouse: Warehouse
    pacing: Pacing = field(default_factory=lambda: Pacing(limits=Limits(max_requests=4)))
    n_runs: int = 0

    _open: ExitStack = field(default_factory=ExitStack)

    def keep_open(self) -> None:
        """Hold the database, so that opening it again within this process takes no time."""
        self._open.enter_context(self.warehouse.connect())

    def with_ledger(self, ledger: SqlLedger, state: StateDirectory) -> "World":
        """Return this world with another ledger, which is closed with it."""
        self._open.callback(ledger.dispose)
        return replace(self, ledger=ledger, state=state)

    def let_go(self) -> None:
        """Close what was kept open."""
        self._open.close()

    # --- doing -------------------------------------------------------------------------------------

    def sql(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run SQL on the warehouse."""
        with self.warehouse.connect() as connection:
            return connection.execute(statement, list(values)).fetchall()

    def documents(self, texts: Mapping[Any, str | None], *, part: str = "p") -> None:
        """Put documents upstream, in place of all of their partition, each with the canary in it."""
        rows = [list(texts), list(map(marked, texts.values())), part]
        with self.warehouse.connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS docs (id INTEGER, text VARCHAR, part VARCHAR)")
            connection.begin()
            connection.execute("DELETE FROM docs WHERE part = ?", [part])
            connection.execute("INSERT INTO docs SELECT unnest(?::INTEGER[]), unnest(?::VARCHAR[]), ?", rows)
            connection.commit()

    def engine(
        self, *, prompt: str | PromptFunction = "Label: {text}", base: Mapping[str, Any] | None = None, **options: Any
    ) -> Engine:
        """Open the engine of a new run."""
        self.n_runs += 1
        template = Template.parse(prompt) if isinstance(prompt, str) else prompt
        task = Task(
            target=TableName("main", "answers"),
            upstream=Upstream(
                relation='"main"."docs"',
                shown_as="table docs",
                key=("id",),
                rule=PartitionRule(expr=options.pop("expr", "part")),
                sample_columns=options.pop("sample_columns", ()),
            ),
            builder=RequestBuilder(prompt=template, base={**BASE, **(base or {})}),
            schema=SCHEMA,
            max_attempts=options.pop("max_attempts", 3),
            spending=Spending(**{name: options.pop(name) for name in SPENDING.intersection(options)}),
        )
        others = {name: options.pop(name) for name in tuple(options) if name in Engine.__dataclass_fields__}
        engine = Engine(
            task=task,
            api=self.api,
            warehouse=self.warehouse,
            ledger=self.ledger,
            state=self.state,
            pacing=replace(self.pacing, **options),
            run_id=f"run-{self.n_runs}",
            clock=self.clock,
        )
        return replace(engine, **others)

    def run(self, *parts: str, **options: Any) -> RunReport:
        """Materialize partitions in a run of its own."""
        return self.engine(**options).run([Partition(key=part) for part in parts or ("p",)])

    def lose_answers(self) -> None:
        """Lose all that the database knows of answers, and what it shows of them."""
        self.sql("DROP TABLE answers")
        self.sql("DELETE FROM claude_batch.answers")

    def delete_all(self) -> None:
        """Delete every batch once it has ended, as a person in the Console might."""
        self.emulator.clock.advance(minutes=10)
        headers = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}
        for batch in self.emulator.audit.accepted():
            assert self.emulator.handle("DELETE", f"/v1/messages/batches/{batch.id}", headers).status == 200

    def api_with(self, key: str, *, workspace_id: str | None = None) -> AnthropicBatches:
        """Return the API as another key sees it, or the same in another workspace."""
        transport = anthropic.DefaultHttpxClient(transport=EmulatorTransport(self.emulator))
        client = anthropic.Anthropic(api_key=key, http_client=transport, max_retries=0)
        return AnthropicBatches(self._open.enter_context(client), workspace_id=workspace_id)

    # --- seeing ------------------------------------------------------------------------------------

    def rows(self, columns: str = "id, label, status", part: str = "p") -> list[Any]:
        """Return what the output table holds of a partition."""
        return self.sql(f"SELECT {columns} FROM answers WHERE partition_key = ? ORDER BY id", [part])  # noqa: S608

    def statuses(self, part: str = "p") -> dict[int, str]:
        """Return the verdict of every row."""
        return dict(self.rows("id, status", part))

    @property
    def n_posts(self) -> int:
        """Attempts to create a batch that reached the API."""
        return self.emulator.audit.n_posts()

    @property
    def n_accepted(self) -> int:
        """Batches that the API accepted, whether or not we heard of it."""
        return len(self.emulator.audit.accepted())

    @property
    def n_billed(self) -> list[int]:
        """How often each different question was billed."""
        return sorted(self.emulator.audit.billed().values())

    def states(self) -> list[State]:
        """Return the states of all chunks, oldest first."""
        return [chunk.state for chunk in self.ledger.chunks(PIPELINE, State)]
