"""The world of one schedule: an emulator of its own, a clock, documents, and storage that was emptied."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import anthropic
import duckdb
import orjson

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.asking.requests import widened
from claude_batch_dagster.core.ledger import LIVE_PREFIX
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.emulator.requests import identified
from proof.canary import KEY
from proof.simulation.jobs import BASE, Job, text_of
from proof.simulation.storage import SurvivingStorage
from proof.simulation.transport import EagerTransport

MANY_TEXTS = 20
"""More than there are different documents, and times that a row is asked with more room."""

USUAL_SECONDS = 45.0
"""How long a batch takes when nothing is wrong."""


class TableRow(NamedTuple):
    """A row of the output table."""

    partition: str
    key: int
    status: str
    label: str | None
    request_hash: str | None
    custom_id: str | None
    cost_usd: float | None
    content: tuple[Any, ...]
    """All its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """On what occasion a body has left: seen where it leaves, not in the ledger."""

    run_id: str
    body: bytes
    at: datetime
    """By the clock of the machine."""
    budget: Budget | None
    """What had to be kept then."""


@dataclass(kw_only=True)
class SimulatedWorld:
    """Everything around one table that outlives a crash."""

    job: Job
    storage: SurvivingStorage
    emulator: Emulator
    client: anthropic.Anthropic
    documents: dict[tuple[str, int], str] = field(default_factory=dict)
    """What is upstream, by partition and key."""
    foreign: set[str] = field(default_factory=set)
    """Batches that are not ours."""
    deleted: set[str] = field(default_factory=set)
    """Batches whose raw results were deleted here; the API has them for 29 days."""
    sent: dict[str, Sent] = field(default_factory=dict)
    """What has left, whole or not, by the hash of its body."""
    n_runs: int = 0
    troubled: bool = False
    """Whether the API has faults that come and go."""
    ahead: timedelta = timedelta(0)
    """How far the clock of the machine is ahead of the API's."""
    calmed: bool = False
    """Whether troubles have stopped: from then on all rows may go, and at once."""
    careless: bool = False
    """Whether somebody has set rows free without a look: then they can be paid for twice."""

    # --- doing -------------------------------------------------------------------------------------

    def set_documents(self, partition: str, texts: Mapping[int, str]) -> None:
        """Put documents upstream, in place of all of their partition."""
        kept = {place: text for place, text in self.documents.items() if place[0] != partition}
        self.documents = {**kept, **{(partition, key): text for key, text in texts.items()}}
        rows = [list(texts), list(texts.values()), partition]
        self.storage.duckdb.execute("CREATE TABLE IF NOT EXISTS docs (id INTEGER, text VARCHAR, part VARCHAR)")
        self.storage.duckdb.execute("DELETE FROM docs WHERE part = ?", [partition])
        if texts:
            self.storage.duckdb.execute("INSERT INTO docs SELECT unnest(?::INTEGER[]), unnest(?::VARCHAR[]), ?", rows)

    def send_foreign(self, n_requests: int) -> None:
        """Let somebody else send a batch to the same workspace."""
        params = {**BASE, "messages": [{"role": "user", "content": "Label: a text of somebody else"}]}
        requests = [{"custom_id": f"theirs-{number}", "params": params} for number in range(n_requests)]
        batch = self.client.messages.batches.create(requests=requests)  # type: ignore[arg-type]
        self.foreign.add(batch.id)

    def cancel_open_batches(self) -> None:
        """Let somebody cancel, in the Console, every batch of ours; those that have ended refuse."""
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        for batch in self.emulator.audit.accepted():
            if batch.id not in self.foreign:
                self.emulator.handle("POST", f"/v1/messages/batches/{batch.id}/cancel", headers)

    def delete_landed_spools(self) -> None:
        """Let somebody delete raw results of batches that are in the table."""
        for (batch_id,) in self.storage.rows("SELECT batch_id FROM chunks WHERE state = 'applied'"):
            if not batch_id.startswith(LIVE_PREFIX):  # of what was asked live nobody has a second copy
                (self.storage.state.spool / f"{batch_id}.jsonl").unlink(missing_ok=True)
                self.deleted.add(batch_id)

    def lose_database(self) -> None:
        """Let somebody drop all that the package keeps in the database."""
        self.storage.duckdb.execute("DROP TABLE IF EXISTS main.answers")
        self.storage.duckdb.execute("DROP SCHEMA IF EXISTS claude_batch CASCADE")

    def put_facts(self) -> None:
        """Let the API be as the job says."""
        for fact in self.job.facts:
            self.emulator.faults.add(fact.name, **fact.options)

    def calm(self) -> None:
        """End all troubles, and set the clock right; somebody cancels what would never end by itself."""
        self.calmed, self.troubled = True, False
        self.emulator.faults.clear()
        self.ahead = timedelta(0)
        self.emulator.pace.batch_seconds = USUAL_SECONDS
        self.cancel_open_batches()
        self.put_facts()

    def note_sent(self, run_id: str, body: bytes) -> None:
        """Remember by whom a body was sent, and when; or as much of it as has left."""
        sent = Sent(run_id=run_id, body=body, at=self.wall(), budget=self.task.spending.budget)
        self.sent[hashlib.sha256(body).hexdigest()] = sent

    def pass_time(self, seconds: float) -> None:
        """Let time pass while nobody runs."""
        self.emulator.clock.advance(seconds=seconds)

    # --- seeing ------------------------------------------------------------------------------------

    @property
    def partitions(self) -> list[str]:
        """Return every partition that was ever filled."""
        return sorted({*self.job.documents, *(partition for partition, _ in self.documents)})

    @property
    def task(self) -> Task:
        """Return what is asked, and how much it may cost."""
        return self.job.task if self.calmed else replace(self.job.task, spending=self.job.spending)

    def api(self) -> AnthropicBatches:
        """Return the real client, joined to the emulator without a socket."""
        return AnthropicBatches(self.client)

    def now(self) -> datetime:
        """Return the API's time."""
        return self.emulator.clock.now()

    def wall(self) -> datetime:
        """Return what the clock of the machine shows."""
        return self.now() + self.ahead

    def hash_of(self, text: str) -> str:
        """Return the hash of the question about a document."""
        return self.job.task.builder.build({"text": text}).request_hash

    def question_of(self, params_sha256: str) -> str:
        """Return the hash of the question that the server knows by a digest of its params; the digest if it is none."""
        return self._questions.get(params_sha256, params_sha256)

    @cached_property
    def _questions(self) -> dict[str, str]:
        """Questions by the server's digest of their params, also of those that were asked with more room."""
        requests = [self.job.task.builder.build({"text": text_of(number)}) for number in range(MANY_TEXTS)]
        return {
            identified(orjson.loads(widened(request.params, n_truncated=n)))[0].hex(): request.request_hash
            for request in requests
            for n in range(MANY_TEXTS)
        }

    def table(self) -> list[TableRow]:
        """Return the output table; nothing while it does not exist."""
        first = "SELECT partition_key, id, status, label, request_hash, custom_id, cost_usd, t.*"
        query = f"{first} FROM main.answers AS t ORDER BY ALL"
        try:
            rows = self.storage.duckdb.execute(query).fetchall()
        except duckdb.CatalogException:
            return []
        return [TableRow._make((*cells[:7], cells[7:])) for cells in rows]

    def held(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """Return what a table of the database holds, past the code under test; nothing while it does not exist."""
        try:
            return self.storage.duckdb.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()  # noqa: S608
        except duckdb.CatalogException:
            return []

    def fingerprint(self) -> str:
        """Return a hash of everything durable, here and at the API: from equal ones on, all goes the same way."""
        storage, audit = self.storage, self.emulator.audit
        seen = [
            storage.rows("SELECT * FROM chunks ORDER BY chunk_id"),
            storage.rows("SELECT * FROM requests ORDER BY chunk_id"),
            storage.rows("SELECT chunk_id, state, note FROM events ORDER BY event_id"),
            storage.rows("SELECT chunk_id, partition_key, n_requests, cost_usd FROM spend ORDER BY spend_id"),
            sorted((file.name, file.read_bytes()) for file in storage.state.spool.glob("*.jsonl")),
            sorted((file.name, file.read_bytes()) for file in storage.state.spool.glob("*.journal")),
            storage.duckdb.execute("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL").fetchall(),
            self.table(),
            self.held('claude_batch."main.answers"'),
            self.held("claude_batch.answers"),
            self.held("claude_batch.spending"),
            self.held("claude_batch.refreshes"),
            storage.rows("SELECT run_id, n_requests, usd FROM estimates ORDER BY run_id"),
            sorted(self.documents.items()),
            [vars(batch) for batch in audit.accepted()],
            [vars(call) for call in audit.live()],
            audit.n_posts(),
            self.now(),
            self.n_runs,
        ]
        return hashlib.sha256(repr(seen).encode()).hexdigest()


@contextmanager
def new_world(job: Job, storage: SurvivingStorage) -> Iterator[SimulatedWorld]:
    """Set up the world of one schedule."""
    storage.clear()
    emulator = Emulator(batch_seconds=job.batch_seconds)
    http = anthropic.DefaultHttpxClient(transport=EagerTransport(emulator), follow_redirects=False)
    with anthropic.Anthropic(api_key=KEY, http_client=http, max_retries=0) as client:
        world = SimulatedWorld(job=job, storage=storage, emulator=emulator, client=client)
        for partition, texts in job.documents.items():
            world.set_documents(partition, texts)
        for _ in range(job.n_foreign):
            world.send_foreign(job.chunk_size)
        world.put_facts()
        world.pass_time(job.begins)
        yield world
    emulator.close()
