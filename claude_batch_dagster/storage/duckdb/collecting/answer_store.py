"""Answers and the output table of one run, in short transactions: opened, written, closed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from claude_batch_dagster.core.ledger import Claimed
from claude_batch_dagster.core.ports import AnswerRecord
from claude_batch_dagster.core.retries import Came, Plan
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.asking.questions import questions_of
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS
from claude_batch_dagster.storage.duckdb.collecting.landing import Landing
from claude_batch_dagster.storage.duckdb.collecting.projection import GOOD, Projection
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True)
class AnswerStore:
    """What came back for the questions of one output table, as one run of some partitions sees it."""

    warehouse: Warehouse
    projection: Projection
    partition_keys: Sequence[str | None]

    @property
    def target(self) -> TableName:
        """The output table."""
        return self.projection.target

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the database open, so that what lands meanwhile opens it at no cost."""
        with self.warehouse.connect():
            yield

    @contextmanager
    def landing(self) -> Iterator[Landing]:
        """Let chunks land: all of them when the context ends, or none if it ends with an error."""
        with self.warehouse.connect() as connection:
            landing = Landing(connection=connection, projection=self.projection)
            yield landing
            with self.warehouse.writing():
                landing.write()

    def land(self, chunk_id: str, records: Sequence[AnswerRecord]) -> None:
        """Write down what came back for a chunk, and show it in every row that asks for it now."""
        with self.landing() as landing:
            landing.add(chunk_id, records)

    def landed(self) -> Mapping[str, int]:
        """Return of how many requests of each chunk it is written down what came back."""
        with self.warehouse.connect() as connection:
            return answers.landed(connection)

    def without_results(self) -> frozenset[str]:
        """Return the chunks with results to questions of this run that are withheld or gone, and may turn up."""
        query = (
            f"SELECT DISTINCT chunk_id FROM {ANSWERS.sql} SEMI JOIN {self._open} USING (question) "
            f"WHERE came IN ('{Came.WITHHELD}', '{Came.GONE}')"
        )
        with self.warehouse.connect() as connection:
            return frozenset(one for (one,) in connection.execute(query, [list(self.partition_keys)]).fetchall())

    def plan(self, claimed: Claimed, *, run_chunks: Collection[str], max_attempts: int) -> Plan:
        """Return what is to be done for the questions of this run."""
        with self.warehouse.connect() as connection:
            connection.execute(f"CREATE TEMP TABLE _cb_open AS FROM {self._open}", [list(self.partition_keys)])
            found: Any = connection.execute("SELECT question FROM _cb_open").fetchnumpy()
            past = answers.pasts(connection, "_cb_open", run_chunks)
        return Plan.of(
            set(found["question"].tolist()),
            past=past,
            in_flight=claimed.in_flight,
            known=claimed.chunk_ids,
            max_attempts=max_attempts,
        )

    def partitions_of(self, questions: Collection[str]) -> frozenset[str | None]:
        """Return the partitions of this run with a row that asks one of these questions."""
        query = (
            f"SELECT DISTINCT partition_key FROM {questions_of(self.target).sql} "
            "WHERE request_hash IN (SELECT unnest(?::VARCHAR[]))"
        )
        if not questions:
            return frozenset()
        with self.warehouse.connect() as connection:
            found = frozenset(one for (one,) in connection.execute(query, [list(questions)]).fetchall())
        return found.intersection(self.partition_keys)

    @property
    def _open(self) -> str:
        """Return a query of this run's questions to which there is no good answer; it takes the partitions."""
        return (
            f"(SELECT DISTINCT q.request_hash AS question FROM {questions_of(self.target).sql} AS q "
            "JOIN (SELECT unnest(?::VARCHAR[]) AS partition_key) AS p "
            "ON q.partition_key IS NOT DISTINCT FROM p.partition_key "
            f"ANTI JOIN (SELECT request_hash FROM {self.target.sql} WHERE {GOOD}) AS t "
            "ON t.request_hash = q.request_hash WHERE q.request_hash IS NOT NULL)"
        )
