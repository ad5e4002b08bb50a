"""What a run reports of its partitions: from the output table, the questions and the ledger, as of one moment."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import duckdb
import pandas as pd

from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import ChunkRecord, Lane, Spend, State
from claude_batch_dagster.core.planning.forecast import Forecast
from claude_batch_dagster.core.ports import Clock, place_of
from claude_batch_dagster.core.reporting.costs import NOT_KNOWN, NOTHING_SPENT, PartitionCost
from claude_batch_dagster.core.reporting.double_payments import NO_DOUBTS, doubts_by_partition, summed
from claude_batch_dagster.core.reporting.report import PartitionReport, Standing
from claude_batch_dagster.core.sending.purse import Purse
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.duckdb import costs
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.statistics import Documents, standings
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Makes the reports of one run."""

    task: Task
    warehouse: Warehouse
    ledger: SqlLedger
    clock: Clock
    account: str
    """Where this run sends: only what was spent there counts as spent."""
    run_id: str
    forecast: Forecast | None = None
    """What this run was expected to do."""

    purse: Purse | None = None
    """The money of this run, if there is a budget."""

    def of(
        self, partitions: Sequence[Partition], asked: Asked, sent: Counter[str | None], frame: pd.DataFrame | None
    ) -> list[PartitionReport]:
        """Report on each partition; `sent` are the requests that this run has sent, by partition."""
        task = self.task
        standing, n_expected = self._standings(partitions, frame)
        place = place_of(self.account)  # what an emulator answered was never paid
        ever = {spend.partition_key: spend for spend in self.ledger.spends(task.pipeline, place=place)}
        now = {spend.partition_key: spend for spend in self.ledger.spends(task.pipeline, run_id=self.run_id)}
        shown = {batch_id for one in standing.values() for batch_id in one.batch_ids}
        chunks = {chunk.batch_id: chunk for chunk in self.ledger.with_batches(shown)}
        doubted = self.ledger.doubts(task.pipeline)
        doubts, table_doubts = doubts_by_partition(doubted), summed(doubted)
        oldest_open_days = self._oldest_open_days()
        allowance = self.purse.allowance if self.purse else None
        committed_usd = self.ledger.committed(allowance) if allowance else 0.0
        planned = self.forecast.partitions if self.forecast else ()
        estimated = {part.partition_key: part.estimate.usd for part in planned if part.estimate and part.n_requests}
        with self.warehouse.connect() as connection:
            spent = costs.by_partition(connection, task.target, place)
        nothing = Spend(
            partition_key=None, n_requests=0, input_tokens=0, output_tokens=0, cost_usd=0.0, live_cost_usd=0.0
        )
        return [
            PartitionReport(
                partition_key=key,
                n_expected=n_expected[key],
                n_asked=sent[key],
                n_shared=asked.n_shared[key],
                standing=standing[key],
                cost_usd=ever.get(key, nothing).cost_usd,
                live_cost_usd=ever.get(key, nothing).live_cost_usd,
                run_cost_usd=now.get(key, nothing).cost_usd,
                estimated_usd=estimated.get(key),
                seconds_to_answer=_duration(
                    [chunks[batch_id] for batch_id in standing[key].batch_ids if batch_id in chunks]
                ),
                doubts=doubts.get(key, NO_DOUBTS),
                table_doubts=table_doubts,
                oldest_open_days=oldest_open_days,
                budget_usd=allowance.usd if allowance else None,
                committed_usd=committed_usd,
                costs=_whole(spent.get(key, NOTHING_SPENT), ever.get(key, nothing)),
            )
            for key in standing
        ]

    def _standings(
        self, partitions: Sequence[Partition], frame: pd.DataFrame | None
    ) -> tuple[dict[str | None, Standing], Counter[str | None]]:
        """Return what the output table holds of each partition, and how many rows it must hold, as of one moment."""
        with suppress(UpstreamError), self.warehouse.connect() as connection:
            connection.begin()
            n_expected = questions.counted(connection, self.task.target)
            return self._held(connection, partitions, self._reader(connection, frame)), n_expected
        with self.warehouse.connect() as connection:  # upstream is gone, and with it the documents beside the samples
            connection.begin()
            n_expected = questions.counted(connection, self.task.target)
            return self._held(connection, partitions, None), n_expected

    def _held(
        self, connection: duckdb.DuckDBPyConnection, partitions: Sequence[Partition], reader: Reader | None
    ) -> dict[str | None, Standing]:
        """Return what the output table holds, with samples of documents if there is a reader."""
        task, upstream = self.task, self.task.upstream
        documents = None
        if reader is not None and upstream.sample_columns:
            documents = Documents(reader.own_rows(partitions), upstream.key, upstream.sample_columns)
        return standings(
            connection,
            task.target,
            [partition.key for partition in partitions],
            label=task.schema.categorical,
            shown=[*upstream.key, *task.schema.columns, "status"],
            documents=documents,
        )

    def _reader(self, connection: duckdb.DuckDBPyConnection, frame: pd.DataFrame | None) -> Reader:
        """Read from the upstream table, or from what an IO manager handed over."""
        return Reader.of(connection, self.task.upstream, target=self.task.target, frame=frame)

    def _oldest_open_days(self) -> float:
        """Return the age of the oldest batch whose results are, or may be, only at the API, in days; 0 if none is."""
        there = [State.ACCEPTED, State.ADOPTED, State.ENDED, State.AMBIGUOUS, State.HELD]
        waiting = self.ledger.chunks(self.task.pipeline, there)
        created = [chunk.batch_created_at or chunk.intended_at for chunk in waiting if chunk.lane is Lane.BATCH]
        return (self.clock.now() - min(created)) / timedelta(days=1) if created else 0.0


def _whole(costs: PartitionCost, ever: Spend) -> PartitionCost:
    """Return where the money has gone, if that is known of all of it: answers of earlier versions left no trace."""
    return costs if costs.n_requests == ever.n_requests else NOT_KNOWN


def _duration(chunks: Sequence[ChunkRecord]) -> float | None:
    ends = [chunk.ended_at for chunk in chunks if chunk.ended_at]
    if not ends:
        return None
    return (max(ends) - min(chunk.intended_at for chunk in chunks)).total_seconds()
