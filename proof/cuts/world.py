"""The real collection, ledger, spool and table, around an API whose results can be cut anywhere."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from claude_batch_dagster.client import AnthropicBatches, new_client
from claude_batch_dagster.core.collecting.collection import Collection
from claude_batch_dagster.core.collecting.downloads import Downloads
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.ports import Batch, BatchApi, Body, Counts, Page
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow, new_nonce
from claude_batch_dagster.core.sending.submission import requests_of
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ApiError
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.asking.questions import questions_of
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS
from claude_batch_dagster.storage.duckdb.collecting.output_table import MARKERS, OutputTable
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.spool import FileSpool
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.answers.server import ScriptedServer, scripted
from proof.canary import KEY
from proof.cuts.results import N_ROWS, Note, expected, lines

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BATCH_ID = "msgbatch_1"
TARGET = TableName("main", "answers")
KEY_TYPES = {"id": "INTEGER"}
PIECE_BYTES = 1 << 13

Row = tuple[int, str, str | None, str | None]
"""Key, status, label and word of a row of the table."""

EXPECTED: list[Row] = [(number, *expected(number)) for number in range(N_ROWS)]


def _chunk() -> Chunk:
    rows = [OpenRow("p", str(number), f"hash {number}", b"{}", 1) for number in range(N_ROWS)]
    return Chunk(new_nonce(NOW, b"0123456789"), rows)


def _came(status: str) -> str:
    """Return what came back for a row: whatever a Message is worth, it is one."""
    return "succeeded" if status in {"invalid", "truncated", "refused"} else status


CHUNK = _chunk()
"""The same each time."""

WHOLE = b"".join(line + b"\n" for line in lines(CHUNK.custom_ids))
"""The results as the API has them."""


def _ended() -> Batch:
    of = [status for _, status, *_ in EXPECTED]
    counts = Counts(**{name: of.count(name) for name in ("succeeded", "errored", "expired", "canceled")})
    return Batch(id=BATCH_ID, processing_status="ended", counts=counts, created_at=NOW, ended_at=NOW)


ENDED = _ended()
"""What the API says of the batch."""


class Clock:
    """A clock that stands still: silence never lasts, so nothing is given up."""

    def now(self) -> datetime:
        """Return the same time always."""
        return NOW

    def sleep(self, seconds: float) -> None:
        """Never called: bringing a batch home waits for nothing."""
        raise AssertionError(seconds)


@dataclass
class CutApi:
    """An API at its border: a download without a length, which ends in silence wherever it is told to."""

    content: bytes = b""
    """What the next download gives before it ends."""
    n_downloads: int = 0
    account: str = "an account"
    answerer: str = ""
    betas: tuple[str, ...] = ()

    @contextmanager
    def results(self, batch_id: str) -> Iterator[Iterator[bytes]]:  # noqa: ARG002  (there is one batch)
        """Stream what there is, without a word at its end."""
        self.n_downloads += 1
        content = self.content
        yield (content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES))

    def close(self) -> None:
        """Do nothing."""

    def create(self, body: Body) -> Batch:  # noqa: ARG002  (the port names it; so below)
        """Never called."""
        raise AssertionError

    def retrieve(self, batch_id: str) -> Batch:  # noqa: ARG002
        """Never called."""
        raise AssertionError

    def list_batches(self, *, after_id: str | None = None) -> Page:  # noqa: ARG002
        """Never called."""
        raise AssertionError

    def cancel(self, batch_id: str) -> Batch:  # noqa: ARG002
        """Never called."""
        raise AssertionError

    def count_tokens(self, params: bytes) -> int:  # noqa: ARG002
        """Never called."""
        raise AssertionError


@dataclass
class CutWorld:
    """One chunk of 200 rows whose batch has ended: brought home as often as one likes."""

    ledger: SqlLedger
    spool: FileSpool
    collection: Collection
    database: sqlite3.Connection
    """The ledger's file, to set it back."""
    connection: duckdb.DuckDBPyConnection
    """Kept open, so that opening the table again takes no time."""
    troubles: list[ApiError]

    def collect(self) -> bool:
        """Try to bring the chunk home."""
        return self.collection.collect(CHUNK.nonce, ENDED)

    def restore(self) -> ApiError | None:
        """Try to bring all answers back into the table; return what the API did wrong, if it did."""
        try:
            self.collection.recollection.collect(CHUNK.nonce)
        except ApiError as error:
            return error
        return None

    def rows(self) -> list[Row]:
        """Return what the table holds."""
        return self.connection.execute("SELECT id, status, label, word FROM answers ORDER BY id").fetchall()

    def ordinals(self) -> list[int]:
        """Return the requests of which it is written down what came back."""
        query = f"SELECT ordinal FROM {ANSWERS.sql} ORDER BY ordinal"  # noqa: S608  (names of our own)
        return [ordinal for (ordinal,) in self.connection.execute(query).fetchall()]

    def faults_in_vain(self) -> list[str]:
        """Say what is wrong after a download that lacked something; an empty list if nothing is."""
        checks = {
            "results kept": not self.spool.has(BATCH_ID),
            "not waiting for the next download": self.ledger.chunk(CHUNK.nonce).state is State.ENDED,
        }
        return [what for what, holds in checks.items() if not holds]

    def faults_at_home(self) -> list[str]:
        """Say what is wrong after the whole has come home; an empty list if nothing is."""
        outcomes = list(self.ledger.requests(CHUNK.nonce).outcomes)
        checks = {
            "rows differ": self.rows() == EXPECTED,
            "not every request has its record": self.ordinals() == list(range(N_ROWS)),
            "outcomes in the ledger differ": outcomes == [_came(status) for _, status, *_ in EXPECTED],
            "not applied": self.ledger.chunk(CHUNK.nonce).state is State.APPLIED,
        }
        return [what for what, holds in checks.items() if not holds]

    def faults_half_restored(self) -> list[str]:
        """Say what is wrong after a download from which the table could not be filled again."""
        checks = {
            "rows are not those that were lost": set(self.rows()) < set(EXPECTED),
            "outcomes forgotten": None not in self.ledger.requests(CHUNK.nonce).outcomes,
        }
        return [what for what, holds in checks.items() if not holds]

    def lose(self) -> None:
        """Lose table, answers and results, while the ledger remembers."""
        for table in (TARGET, ANSWERS, MARKERS):
            self.connection.execute(f"DELETE FROM {table.sql}")  # noqa: S608  (names of our own)
        self.spool.discard(BATCH_ID)
        self.troubles.clear()

    def set_back(self) -> None:
        """Forget that the chunk has come home: ended at the API, nothing here."""
        with self.database:
            self.database.execute("UPDATE chunks SET state = 'accepted', ended_at = NULL")
            for statement in ("UPDATE requests SET outcomes = NULL", "DELETE FROM spend", "DELETE FROM events"):
                self.database.execute(statement)
        self.lose()
        self.collection.downloads.vain.clear()


@contextmanager
def cut_world(folder: Path, api: BatchApi) -> Iterator[CutWorld]:
    """Set everything up in a folder."""
    with ExitStack() as stack:
        state = StateDirectory.open(folder / "state")
        ledger = SqlLedger(state.ledger_url)
        stack.callback(ledger.dispose)
        warehouse = Warehouse(str(folder / "warehouse.duckdb"), config={"threads": 1})
        connection = stack.enter_context(warehouse.connect())
        schema = OutputSchema(Note)
        _ask(connection, schema)
        troubles: list[ApiError] = []
        spool = FileSpool(state.spool)
        collection = Collection(
            downloads=Downloads(api=api, spool=spool, clock=Clock(), on_trouble=troubles.append),
            ledger=ledger,
            answers=AnswerStore(
                warehouse=warehouse,
                projection=Projection(target=TARGET, key_types=KEY_TYPES, schema=schema),
                partition_keys=["p"],
            ),
            clock=Clock(),
            locks=state,
        )
        database = sqlite3.connect(state.path / "ledger.sqlite")
        stack.callback(database.close)
        _write_down(ledger, api.account)
        yield CutWorld(ledger, spool, collection, database, connection, troubles)


@contextmanager
def served_cut_world(folder: Path) -> Iterator[tuple[CutWorld, ScriptedServer]]:
    """Set everything up in a folder, with the real client, and with a server of ours in place of the API."""
    with (
        scripted() as server,
        new_client(api_key=KEY, base_url=server.url) as client,
        cut_world(folder, AnthropicBatches(client)) as world,
    ):
        yield world, server


def _ask(connection: duckdb.DuckDBPyConnection, schema: OutputSchema) -> None:
    """Let each row of the table ask what a request of the chunk asks."""
    OutputTable(target=TARGET, key_types=KEY_TYPES, schema=schema).prepare(connection)
    questions.prepare(connection, TARGET, KEY_TYPES)
    answers.prepare(connection)
    connection.execute(
        f"INSERT INTO {questions_of(TARGET).sql} BY NAME "  # noqa: S608  (names of our own)
        "SELECT n AS id, 'p' AS partition_key, 'hash ' || n AS request_hash FROM range(?) AS t(n)",
        [N_ROWS],
    )


def _write_down(ledger: SqlLedger, account: str) -> None:
    """Write the chunk into the ledger, as the API accepted it."""
    record = ChunkRecord(
        chunk_id=CHUNK.nonce,
        pipeline="main.answers",
        run_id="run",
        account=account,
        state=State.SENDING,
        n_requests=N_ROWS,
        n_bytes=CHUNK.body.n_bytes,
        intended_at=NOW,
    )
    ledger.intend(record, requests_of(CHUNK))
    ledger.move(CHUNK.nonce, to=State.RELEASED, released_at=NOW)
    ledger.move(CHUNK.nonce, to=State.ACCEPTED, batch_id=BATCH_ID, batch_created_at=NOW)
