"""Answers and the output table of one run, in short transactions: opened, written, closed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from claude_batch_dagster.core.ledger import Claimed
from claude_batch_dagster.core.ports import AnswerRecord
from claude_batch_dagster.core.retries import Came, Plan, Rules
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.asking.planning import Planning, open_questions
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS
from claude_batch_dagster.storage.duckdb.collecting.landing import Landing
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
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
            f"SELECT DISTINCT chunk_id FROM {ANSWERS.sql} SEMI JOIN {open_questions(self.target)} USING (question) "
            f"WHERE came IN ('{Came.WITHHELD}', '{Came.GONE}')"
        )
        with self.warehouse.connect() as connection:
            return frozenset(one for (one,) in connection.execute(query, [list(self.partition_keys)]).fetchall())

    def plan(self, claimed: Claimed, *, run_chunks: Collection[str], rules: Rules) -> Plan:
        """Return what is to be done for the questions of this run."""
        with self.warehouse.connect() as connection:
            return self.planning(connection).plan(claimed, run_chunks=run_chunks, rules=rules)

    def planning(self, connection: duckdb.DuckDBPyConnection) -> Planning:
        """Return what plans for this run, with an open connection."""
        return Planning(
            connection=connection,
            target=self.target,
            key=list(self.projection.key_types),
            partition_keys=self.partition_keys,
        )

    @contextmanager
    def planned(self) -> Iterator[Planning]:
        """Open what plans for this run."""
        with self.warehouse.connect() as connection:
            yield self.planning(connection)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Let the rows of this run that ask these questions, and have no good answer, say why they were not sent."""
        with self.warehouse.connect() as connection, self.warehouse.writing():
            connection.begin()
            questions.leave_out(connection, self.target, self.partition_keys, reasons)
            self.projection.project(connection, self.partition_keys)
            connection.commit()

    def partitions_of(self, asked: Collection[str]) -> frozenset[str | None]:
        """Return the partitions of this run with a row that asks one of these questions."""
        query = (
            f"SELECT DISTINCT partition_key FROM {questions.questions_of(self.target).sql} "
            "WHERE request_hash IN (SELECT unnest(?::VARCHAR[]))"
        )
        if not asked:
            return frozenset()
        with self.warehouse.connect() as connection:
            found = frozenset(one for (one,) in connection.execute(query, [list(asked)]).fetchall())
        return found.intersection(self.partition_keys)
