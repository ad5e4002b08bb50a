"""The cases. Each returns the seconds of the part that is measured; run one as `python -m bench.cases NAME ROWS`."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, ParamSpec

import duckdb
import orjson
import pandas as pd
from anthropic import Anthropic
from pydantic import BaseModel

from bench.corpus import BATCH_ID, CannedApi, client, result_line, text
from bench.memory import forget_peak, grown_mb, note_start, peak_mb
from claude_batch_dagster.client import AnthropicBatches, output_format
from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.collecting.collection import Collection
from claude_batch_dagster.core.collecting.downloads import Downloads
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.pricing import rates_of
from claude_batch_dagster.core.sending.chunks import Chunk, Limits, OpenRow, chunked, new_nonce
from claude_batch_dagster.core.sending.submission import Submission
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.waiting import SystemClock
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.asking.asking import Asking
from claude_batch_dagster.storage.duckdb.asking.reading import Reading
from claude_batch_dagster.storage.duckdb.asking.rendering import Rendering
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.outbox import Outbox
from claude_batch_dagster.storage.files.spool import FileSpool
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger

MODEL = "claude-haiku-5-5"
NONCE = "0" * 26
TABLE = TableName("public", "answers")
DOCUMENTS, RESULTS = "documents.duckdb", "results.jsonl"
SYSTEM = "You classify documents. Choose the one label whose description fits best."

P = ParamSpec("P")


class Answer(BaseModel):
    """What each document gets."""

    label: Literal["economy", "war", "law", "health", "other"]


class ReasonedAnswer(Answer):
    """What each document gets when no two answers are the same."""

    reason: str


def apart(work: Callable[P, None], *arguments: P.args, **options: P.kwargs) -> None:
    """Prepare something in a process of its own, so that the case is not charged with its memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(work, *arguments, **options).result()


def written(file: Path, custom_ids: Iterable[str], *, distinct: bool) -> Path:
    """Write the results of these requests to a file, and return it."""
    with file.open("wb") as lines:
        lines.writelines(result_line(name, row, distinct=distinct) for row, name in enumerate(custom_ids))
    return file


def base_params(model: type[Answer] = Answer) -> dict[str, object]:
    """Return what all requests share."""
    return {
        "model": MODEL,
        "max_tokens": 1024,
        "system": SYSTEM,
        "output_config": {"format": output_format(model)},
    }


def submit_plain(n: int, folder: Path) -> float:
    """Submit through the SDK's `messages.batches.create`: no ledger, nothing durable."""
    sdk, params = client(CannedApi(n)), base_params()
    apart(write_documents, n, folder)
    with Warehouse(str(folder / DOCUMENTS)).connect() as connection:
        forget_peak()
        began = time.perf_counter()
        requests = [
            {"custom_id": f"row-{key}", "params": {**params, "messages": [{"role": "user", "content": document}]}}
            for key, document in connection.execute("SELECT id, text FROM documents").fetchall()
        ]
        sdk.messages.batches.create(requests=requests)  # type: ignore[arg-type]
        return time.perf_counter() - began


def submit_ours(n: int, folder: Path) -> float:
    """From what each row asks: render, keep on disk, write intents to the ledger, send by 10,000 through the gate."""
    ledger = SqlLedger(f"sqlite:///{folder / 'ledger.sqlite'}")
    api = AnthropicBatches(client(CannedApi(n)))
    submission = Submission(api=api, ledger=ledger, clock=SystemClock(), pipeline="bench", run_id="run")
    builder = RequestBuilder(prompt=Template.parse("{text}"), base=base_params())
    upstream = Upstream(relation='"main"."documents"', shown_as="documents", key=("id",), rule=PartitionRule(expr=None))
    outbox, partitions = Outbox(folder / "outbox"), [Partition(key=None)]
    apart(write_documents, n, folder)
    with Warehouse(str(folder / DOCUMENTS)).connect() as connection:
        reader = Reader(connection=connection, upstream=upstream, target=TABLE)
        asking = Asking(reader=reader, partitions=partitions, builder=builder, put=outbox.add)
        asking.look()
        Reading(reader=reader, shape=asking.shape, partitions=partitions).read()
        rates_of(MODEL)  # the price list is imported when it is first asked
        forget_peak()
        began = time.perf_counter()
        with outbox:
            Rendering(reader=reader, shape=asking.shape, put=outbox.add, is_renamed=False).render()
        sent = set[str]()
        for rows in chunked(outbox, Limits()):
            chunk = Chunk(new_nonce(datetime.now(UTC), os.urandom(10)), rows)
            submission.submit(chunk, known=sent)
            sent.add(chunk.nonce)
        seconds = time.perf_counter() - began
        outbox.remove()
    return seconds


def write_documents(n: int, folder: Path) -> None:
    """Write a database with a table of documents."""
    frame = pd.DataFrame({"id": range(n), "text": [text(row) for row in range(n)]})
    with duckdb.connect(str(folder / DOCUMENTS)) as connection:
        connection.register("frame", frame)
        connection.execute("CREATE TABLE documents AS SELECT id, text::VARCHAR AS text FROM frame")


def collect_plain(n: int, folder: Path, model: type[Answer] = Answer) -> float:
    """Collect as the SDK's documentation shows: its iterator, a DataFrame, a DuckDB table."""
    distinct = model is ReasonedAnswer
    names = (f"row-{row}" for row in range(n))
    sdk = client(CannedApi(n, written(folder / RESULTS, names, distinct=distinct)))
    forget_peak()
    began = time.perf_counter()
    keep(folder / "plain.duckdb", answers_of(sdk, BATCH_ID, model))
    return time.perf_counter() - began


def answers_of(sdk: Anthropic, batch_id: str, model: type[Answer]) -> Iterator[dict[str, object]]:
    """Read the results of a batch the plain way: one dict for each answer that fits the model."""
    for line in sdk.messages.batches.results(batch_id):
        if line.result.type == "succeeded":
            block = line.result.message.content[0]
            answer = model.model_validate_json(block.text if block.type == "text" else "")
            tokens = line.result.message.usage.input_tokens
            yield {"id": line.custom_id, **answer.model_dump(), "tokens": tokens}


def keep(database: Path, rows: Iterable[dict[str, object]]) -> None:
    """Keep answers the plain way: a DataFrame, and a table of it."""
    frame = pd.DataFrame(list(rows))
    with duckdb.connect(str(database)) as connection:
        connection.register("frame", frame)
        connection.execute("CREATE TABLE answers AS SELECT * FROM frame")


def collect_distinct_plain(n: int, folder: Path) -> float:
    """Collect answers the plain way, of which no two are the same."""
    return collect_plain(n, folder, ReasonedAnswer)


def collect_ours(n: int, folder: Path, model: type[Answer] = Answer) -> float:
    """Spool, reconcile, validate, price, land in one transaction, and close the books in the ledger."""
    apart(send, n, folder, distinct=model is ReasonedAnswer)
    state = StateDirectory.open(folder / "state")
    ledger, clock = SqlLedger(state.ledger_url), SystemClock()
    api = AnthropicBatches(client(CannedApi(n, folder / RESULTS)))
    warehouse, target = Warehouse(str(folder / "ours.duckdb")), TABLE
    key_types, schema = {"id": "BIGINT"}, OutputSchema(model)
    with warehouse.connect() as connection:
        OutputTable(target=target, key_types=key_types, schema=schema).prepare(connection)
        answers.prepare(connection)
        questions.prepare(connection, target, key_types)
        asked = f"SELECT n, NULL, lpad(n::VARCHAR, 32, '0'), NULL, NULL FROM range({n}) AS r(n)"  # noqa: S608  (a number)
        connection.execute(f"INSERT INTO {questions.questions_of(target).sql} {asked}")
    store = AnswerStore(
        warehouse=warehouse,
        projection=Projection(target=target, key_types=key_types, schema=schema),
        partition_keys=[None],
    )
    rates_of(MODEL)  # the price list is imported when it is first asked
    collection = Collection(
        downloads=Downloads(api=api, spool=FileSpool(state.spool), clock=clock),
        ledger=ledger,
        answers=store,
        clock=clock,
        locks=state,
    )
    forget_peak()
    began = time.perf_counter()
    collection.collect(NONCE, api.retrieve(BATCH_ID))
    return time.perf_counter() - began


def send(n: int, folder: Path, *, distinct: bool) -> None:
    """Submit a batch, and write down the results that it will have."""
    chunk = Chunk(NONCE, [OpenRow(None, str(row), f"{row:032d}", b'{"max_tokens":1}', 1) for row in range(n)])
    results = written(folder / RESULTS, chunk.custom_ids, distinct=distinct)
    ledger, api = SqlLedger(StateDirectory.open(folder / "state").ledger_url), CannedApi(n, results)
    batches = AnthropicBatches(client(api))
    Submission(api=batches, ledger=ledger, clock=SystemClock(), pipeline="bench", run_id="run").submit(chunk)


def collect_distinct_ours(n: int, folder: Path) -> float:
    """Collect answers of which no two are the same."""
    return collect_ours(n, folder, ReasonedAnswer)


CASES: dict[str, Callable[[int, Path], float]] = {
    case.__name__: case
    for case in (
        submit_plain,
        submit_ours,
        collect_plain,
        collect_ours,
        collect_distinct_plain,
        collect_distinct_ours,
    )
}


def main() -> None:
    """Run one case and print its figures as JSON."""
    name, n = sys.argv[1], int(sys.argv[2])
    note_start()
    with tempfile.TemporaryDirectory() as folder:
        seconds = CASES[name](n, Path(folder))
    print(orjson.dumps({"seconds": seconds, "peak_mb": peak_mb(), "grown_mb": grown_mb()}).decode())


if __name__ == "__main__":
    main()
