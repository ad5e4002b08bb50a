"""One run of one asset: read, ask, land, report. Knows nothing of Dagster."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd

from claude_batch_dagster.core.canceling import Cancellation, cancel
from claude_batch_dagster.core.chunks import Limits
from claude_batch_dagster.core.collection import Collection
from claude_batch_dagster.core.doubts import NO_DOUBTS, doubts_by_partition
from claude_batch_dagster.core.ledger import ChunkRecord, RowKey, Spend, State
from claude_batch_dagster.core.outputs import OutputSchema
from claude_batch_dagster.core.partitions import Partition
from claude_batch_dagster.core.pipeline import Pipeline
from claude_batch_dagster.core.ports import RETENTION, BatchApi, Clock, place_of
from claude_batch_dagster.core.progress import Progress, Tempo
from claude_batch_dagster.core.recovery import OnUnconfirmed, Recovery
from claude_batch_dagster.core.report import PartitionReport, Standing
from claude_batch_dagster.core.requests import RequestBuilder
from claude_batch_dagster.core.submission import Submission
from claude_batch_dagster.core.survey import Sharing, Survey, withdrawals
from claude_batch_dagster.core.waiting import Pace
from claude_batch_dagster.errors import ApiError, ClaudeBatchError, HeldChunksError, UpstreamError
from claude_batch_dagster.storage.kinship import Kinship
from claude_batch_dagster.storage.ledger import SqlLedger
from claude_batch_dagster.storage.names import TableName
from claude_batch_dagster.storage.outbox import Outbox
from claude_batch_dagster.storage.outputs import OutputTable
from claude_batch_dagster.storage.pruning import prune
from claude_batch_dagster.storage.spool import FileSpool
from claude_batch_dagster.storage.state_directory import StateDirectory
from claude_batch_dagster.storage.statistics import Documents, standings
from claude_batch_dagster.storage.upstream import FRAME, Reader, Upstream, encodable
from claude_batch_dagster.storage.warehouse import Warehouse


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        time.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a definition asks of which rows, and where the answers go."""

    target: TableName
    upstream: Upstream
    builder: RequestBuilder
    schema: OutputSchema
    max_attempts: int = 3
    """How often a row is asked in one run, if its failures cost nothing."""

    @property
    def pipeline(self) -> str:
        """The name under which the ledger keeps the chunks of this table."""
        return str(self.target)


@dataclass(frozen=True, kw_only=True)
class Pacing:
    """How much is sent at a time, and how often the API is asked."""

    limits: Limits = field(default_factory=Limits)
    max_requests_in_flight: int = 100_000
    poll_seconds: float = 10.0
    max_poll_seconds: float = 60.0
    poll_growth: float = 1.5
    quiet_period: timedelta = timedelta(minutes=15)
    on_unconfirmed: OnUnconfirmed = "resubmit"


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did."""

    partitions: Sequence[PartitionReport]
    n_sent: int
    """Requests sent by this run."""
    failure: ClaudeBatchError | None = None
    """Why not every row has its verdict yet, if so. What was sent is in the ledger for the next run."""
    unfinished: frozenset[str | None] = frozenset()
    """Keys of the partitions with rows that have no final verdict."""


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What was sent without waiting for answers."""

    partition_keys: Sequence[str | None]
    n_expected: Mapping[str | None, int]
    """Different keys upstream, by partition."""
    n_asked: Mapping[str | None, int]
    """Requests sent by this run, by partition."""
    batch_ids: Sequence[str]
    """The batches that carry rows of these partitions and have not landed."""


@dataclass(kw_only=True)
class Engine:
    """Everything of one run, opened together."""

    question: Question
    api: BatchApi
    warehouse: Warehouse
    ledger: SqlLedger
    state: StateDirectory
    pacing: Pacing
    run_id: str
    clock: Clock = field(default_factory=SystemClock)
    on_survey: Callable[[Survey], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_trouble: Callable[[ApiError], None] = lambda _: None
    pipeline: Pipeline | None = field(default=None, init=False)
    """Set while, and after, rows are asked."""
    partition_keys: frozenset[str | None] = field(default=frozenset(), init=False)
    """The partitions of the run, once it has begun."""

    def run(self, partitions: Sequence[Partition], frame: pd.DataFrame | None = None) -> RunReport:
        """
        Bring every row of the partitions to its final verdict, and report.

        Trouble with the API after the start is part of the report (`failure`), so that partitions which are
        complete all the same can be told apart. Trouble before anything is sent raises.
        """
        with self._outbox() as outbox:
            survey, table = self._read(partitions, frame, outbox)
            self.on_survey(survey)
            table.settle(survey)  # answers that rows share may be replaced by what lands from now on
            survey.removed = []  # they are; whichever of them comes back, another run may bring in
            pipeline = self.pipeline = self._pipeline(table)
            failure, unfinished = _answer(pipeline, outbox, survey)
            late_failure, waiting = _take_over(pipeline, table.settle(survey))
            self._kinship.mark()
        return RunReport(
            partitions=self._reports(partitions, survey, pipeline.asked, frame),
            n_sent=sum(self.ledger.chunk(chunk_id).n_requests for chunk_id in pipeline.sent),
            failure=failure or late_failure,
            unfinished=unfinished | waiting,
        )

    def submit(self, partitions: Sequence[Partition], frame: pd.DataFrame | None = None) -> Submitted:
        """
        Send what has to be sent for these partitions, and do not wait for the answers.

        It waits only where going on could pay twice: while it is not known whether a batch was accepted, and
        while as many requests are in flight as are allowed. Raises what `run` would report.
        """
        with self._outbox() as outbox:
            survey, table = self._read(partitions, frame, outbox)
            self.on_survey(survey)
            table.settle(survey)
            survey.removed = []
            pipeline = self.pipeline = self._pipeline(table)
            flying = pipeline.send(outbox)
            table.settle(survey)
            self._kinship.mark()
        chunks = [self.ledger.chunk(chunk_id) for chunk_id in sorted(flying)]
        return Submitted(
            partition_keys=[partition.key for partition in partitions],
            n_expected=survey.n_keys,
            n_asked=pipeline.asked,
            batch_ids=[chunk.batch_id for chunk in chunks if chunk.batch_id],
        )

    def tempo(self) -> Tempo | None:
        """Say how long the batches of this table have taken so far; None while there are too few."""
        return Tempo.of(self.ledger.durations(self.question.pipeline, place=place_of(self.api.account)))

    def close(self) -> None:
        """Close what was opened."""
        self.api.close()
        self.ledger.dispose()

    def cancel(self, *, is_over: Callable[[str], bool]) -> Cancellation:
        """Ask the API to stop what nobody but this run has a use for; `is_over` says of a run's id if it has ended."""
        if self.pipeline is None:
            return Cancellation()
        self.ledger.dispose()  # an interruption may have left a transaction open, which would lock this out
        return cancel(self.pipeline, run_id=self.run_id, partition_keys=self.partition_keys, is_over=is_over)

    @contextmanager
    def _outbox(self) -> Iterator[Outbox]:
        # A run that is started twice under one id, as orchestrators may, has two of them.
        outbox = Outbox(self.state.outbox(f"{self.run_id} {self.question.pipeline} {os.urandom(8).hex()}"))
        try:
            yield outbox
        finally:
            outbox.remove()

    def _read(
        self, partitions: Sequence[Partition], frame: pd.DataFrame | None, outbox: Outbox
    ) -> tuple[Survey, OutputTable]:
        self.partition_keys = frozenset(partition.key for partition in partitions)
        question, upstream = self.question, self.question.upstream
        builder = replace(question.builder, asked_of=self.api.answerer)
        awaited = self.ledger.awaited(question.pipeline, self.partition_keys, since=self.clock.now() - RETENTION)
        if frame is not None:
            upstream = replace(upstream, relation=FRAME, frame=frame)
        with self.warehouse.connect() as connection, outbox:
            connection.begin()  # one snapshot for all the queries
            rows = frozenset(record.row for record in awaited)
            reader = Reader(connection=connection, upstream=upstream, target=question.target, awaited=rows)
            survey, key_types = reader.survey(partitions, builder, outbox)
        table = OutputTable(
            warehouse=self.warehouse, target=question.target, key_types=key_types, schema=question.schema
        )
        table.prepare()
        self._kinship.begin()
        self.ledger.withdraw(withdrawals(awaited, survey.wanted))
        return survey, table

    @property
    def _kinship(self) -> Kinship:
        return Kinship(warehouse=self.warehouse, ledger=self.ledger, target=self.question.target)

    def _standings(
        self, partitions: Sequence[Partition], survey: Survey, frame: pd.DataFrame | None
    ) -> tuple[dict[str | None, Standing], Counter[str | None]]:
        """
        Return what the output table holds of each partition, and how many rows it must hold, by one last reading.

        That one takes in what was deleted upstream since the survey, and what other runs have read and landed. What
        has come since, and has no row yet, is for the next run. The survey counts if upstream cannot be read any more.
        """
        with suppress(UpstreamError), self.warehouse.transaction() as connection:
            reader = self._reader(connection, frame)
            # What an IO manager handed over is as old as the run; a later one may have read more, and landed it.
            n_expected = prune(reader, partitions, survey, keep_others=frame is not None)
            return self._held(connection, partitions, reader), n_expected
        with self.warehouse.connect() as connection:
            return self._held(connection, partitions, None), survey.n_keys

    def _held(
        self, connection: duckdb.DuckDBPyConnection, partitions: Sequence[Partition], reader: Reader | None
    ) -> dict[str | None, Standing]:
        """Return what the output table holds, with samples of documents if there is a reader."""
        question, upstream = self.question, self.question.upstream
        documents = None
        if reader is not None and upstream.sample_columns:
            documents = Documents(reader.own_rows(partitions), upstream.key, upstream.sample_columns)
        return standings(
            connection,
            question.target,
            [partition.key for partition in partitions],
            label=question.schema.categorical,
            shown=[*upstream.key, *question.schema.columns, "status"],
            documents=documents,
        )

    def _reader(self, connection: duckdb.DuckDBPyConnection, frame: pd.DataFrame | None) -> Reader:
        """Read from the upstream table, or from what an IO manager handed over."""
        upstream = self.question.upstream
        if frame is not None:
            connection.register(FRAME, encodable(frame, key=upstream.key)[0])
            upstream = replace(upstream, relation=FRAME)
        return Reader(connection=connection, upstream=upstream, target=self.question.target)

    def _pipeline(self, table: OutputTable) -> Pipeline:
        name, pacing = self.question.pipeline, self.pacing
        return Pipeline(
            name=name,
            api=self.api,
            ledger=self.ledger,
            locks=self.ledger.shared_locks(self.state),
            clock=self.clock,
            recovery=Recovery(
                api=self.api,
                ledger=self.ledger,
                clock=self.clock,
                pipeline=name,
                quiet_period=pacing.quiet_period,
                on_unconfirmed=pacing.on_unconfirmed,
            ),
            submission=Submission(
                api=self.api, ledger=self.ledger, clock=self.clock, pipeline=name, run_id=self.run_id
            ),
            collection=Collection(
                api=self.api,
                ledger=self.ledger,
                spool=FileSpool(self.state.spool),
                answers=table,
                schema=self.question.schema,
                clock=self.clock,
                locks=self.ledger.shared_locks(self.state),
                on_trouble=self.on_trouble,
            ),
            entropy=os.urandom,
            limits=pacing.limits,
            max_requests_in_flight=pacing.max_requests_in_flight,
            max_attempts=self.question.max_attempts,
            pace=Pace(
                first_seconds=pacing.poll_seconds,
                longest_seconds=pacing.max_poll_seconds,
                growth=pacing.poll_growth,
            ),
            on_progress=self.on_progress,
            on_trouble=self.on_trouble,
        )

    def _oldest_open_days(self) -> float:
        """Return the age of the oldest batch whose results are, or may be, only at the API, in days; 0 if none is."""
        there = [State.ACCEPTED, State.ADOPTED, State.ENDED, State.AMBIGUOUS, State.HELD]
        waiting = self.ledger.chunks(self.question.pipeline, there)
        created = [chunk.batch_created_at or chunk.intended_at for chunk in waiting]
        return (self.clock.now() - min(created)) / timedelta(days=1) if created else 0.0

    def _reports(
        self, partitions: Sequence[Partition], survey: Survey, asked: Counter[str | None], frame: pd.DataFrame | None
    ) -> list[PartitionReport]:
        question = self.question
        standing, n_expected = self._standings(partitions, survey, frame)
        place = place_of(self.api.account)  # what an emulator answered was never paid
        ever = {spend.partition_key: spend for spend in self.ledger.spends(question.pipeline, place=place)}
        now = {spend.partition_key: spend for spend in self.ledger.spends(question.pipeline, run_id=self.run_id)}
        chunks = {chunk.batch_id: chunk for chunk in self.ledger.chunks(question.pipeline, [State.APPLIED])}
        shared = survey.n_shared
        doubts = doubts_by_partition(self.ledger.doubts(question.pipeline))
        oldest_open_days = self._oldest_open_days()
        nothing = Spend(
            partition_key=None, n_requests=0, input_tokens=0, output_tokens=0, cost_usd=0.0, live_cost_usd=0.0
        )
        return [
            PartitionReport(
                partition_key=key,
                n_expected=n_expected[key],
                n_asked=asked[key],
                n_shared=shared[key],
                standing=standing[key],
                cost_usd=ever.get(key, nothing).cost_usd,
                live_cost_usd=ever.get(key, nothing).live_cost_usd,
                run_cost_usd=now.get(key, nothing).cost_usd,
                seconds_to_answer=_duration(
                    [chunks[batch_id] for batch_id in standing[key].batch_ids if batch_id in chunks]
                ),
                doubts=doubts.get(key, NO_DOUBTS),
                oldest_open_days=oldest_open_days,
            )
            for key in standing
        ]


_Failure = tuple[ClaudeBatchError | None, frozenset[str | None]]
"""What went wrong, if anything did, and the partitions with rows that have no verdict for it."""


def _answer(pipeline: Pipeline, outbox: Outbox, survey: Survey) -> _Failure:
    try:
        pipeline.answer(outbox)
    except (ApiError, HeldChunksError) as error:
        return error, _partitions_of(pipeline.salvage(outbox), survey)
    return None, frozenset()


def _take_over(pipeline: Pipeline, shared: Mapping[RowKey, Sharing]) -> _Failure:
    """Land failures that rows share with others, a chunk at a time: one that cannot be had holds back no other."""
    failure: ClaudeBatchError | None = None
    waiting: set[str | None] = set()
    for chunk_id, rows in pipeline.collection.verdicts_for(pipeline.name, shared).items():
        try:
            pipeline.collection.restore(chunk_id, rows)
        except ApiError as error:
            failure = failure or error
            waiting |= {row.partition_key for row in rows}
    return failure, frozenset(waiting)


def _partitions_of(left: Mapping[RowKey, str], survey: Survey) -> frozenset[str | None]:
    """Return the partitions of rows that are left over, and of those that wait to share their answers."""
    hashes = set(left.values())
    waiting = (row for row, request_hash in survey.shared.items() if request_hash in hashes)
    return frozenset(row.partition_key for row in (*left, *waiting))


def _duration(chunks: Sequence[ChunkRecord]) -> float | None:
    ends = [chunk.ended_at for chunk in chunks if chunk.ended_at]
    if not ends:
        return None
    return (max(ends) - min(chunk.intended_at for chunk in chunks)).total_seconds()
