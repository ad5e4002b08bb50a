"""One run of one asset: read, ask, land, report. Knows nothing of Dagster."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, partial
from typing import Self

import duckdb
import pandas as pd

from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.collecting.collection import Collection
from claude_batch_dagster.core.collecting.downloads import Downloads
from claude_batch_dagster.core.ledger import CLOSED, OPEN, ChunkRecord, Occasion
from claude_batch_dagster.core.more_memory import with_more_memory
from claude_batch_dagster.core.planning.forecast import Forecast
from claude_batch_dagster.core.planning.lanes import Lanes, lanes_of
from claude_batch_dagster.core.planning.settings import RunSettings
from claude_batch_dagster.core.ports import ClaudeApi, Clock, OpenUpstream, RunPlanner, place_of
from claude_batch_dagster.core.reporting.gold import GoldAnswers, GoldSource, LabelShare
from claude_batch_dagster.core.reporting.progress import Progress, Tempo
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.core.retries import Rules
from claude_batch_dagster.core.running.canceling import Cancellation, cancel
from claude_batch_dagster.core.running.dispatch import Dispatch
from claude_batch_dagster.core.running.following import Following
from claude_batch_dagster.core.running.pipeline import Pipeline
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.core.sending.live import LiveLane
from claude_batch_dagster.core.sending.purse import Purse
from claude_batch_dagster.core.sending.recovery import OnUnconfirmed, Recovery
from claude_batch_dagster.core.sending.submission import Submission
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.core.waiting import Pace, SystemClock
from claude_batch_dagster.errors import ApiError, ClaudeBatchError, HeldChunksError
from claude_batch_dagster.planner import Planner
from claude_batch_dagster.reports import Reports
from claude_batch_dagster.storage.duckdb import label_shares
from claude_batch_dagster.storage.duckdb.asking import reused_answers
from claude_batch_dagster.storage.duckdb.asking.asking import Asking
from claude_batch_dagster.storage.duckdb.asking.partition_fingerprints import Contents
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.output_table import MARKERS, OutputTable
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.duckdb.gold import answers_to_gold
from claude_batch_dagster.storage.duckdb.ledger_pairing import LedgerPairing
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.outbox import Outbox
from claude_batch_dagster.storage.files.spool import FileSpool
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from claude_batch_dagster.stores import Stores, live_lane


def warehouse_of(stores: Stores) -> Warehouse:
    """Return the database, which is opened for each use, and closed again."""
    return Warehouse(stores.database or "", stores.database_config, stores.lock_timeout_seconds, own=stores.connect)


def open_upstream(stores: Stores, upstream: Upstream) -> AbstractContextManager[OpenUpstream]:
    """Open the database once for all that is asked of the upstream table."""
    return Contents.opened(warehouse_of(stores), upstream)


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
    max_live_requests: int = 8
    """Requests that are asked live at the same time."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did."""

    pipeline: str
    """The table."""
    partitions: Sequence[PartitionReport]
    n_sent: int
    """Requests sent by this run."""
    failure: ClaudeBatchError | None = None
    """Why not every row has its verdict yet, if so. What was sent is in the ledger for the next run."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why questions were not sent, each with how many of them."""
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
    left_out: Mapping[str, int]
    """Why questions were not sent, each with how many of them."""
    batch_ids: Sequence[str]
    """The batches that carry rows of these partitions and have not landed."""


@dataclass(kw_only=True)
class Engine:
    """Everything of one run, opened together."""

    task: Task
    api: ClaudeApi
    warehouse: Warehouse
    ledger: SqlLedger
    state: StateDirectory
    pacing: Pacing
    run_id: str
    root_run_id: str | None = None
    """The first of the runs that repeat each other."""
    backfill_id: str | None = None
    clock: Clock = field(default_factory=SystemClock)
    on_asked: Callable[[Asked], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_trouble: Callable[[ApiError], None] = lambda _: None
    on_wait: Callable[[str], None] = lambda _: None
    on_give_up: Callable[[ChunkRecord], None] = lambda _: None
    on_plan: Callable[[Forecast], None] = lambda _: None
    settings: RunSettings = field(default_factory=RunSettings)
    is_partition: Callable[[str | None], bool] = lambda _: True
    """Whether there is a partition of this key today; rows of one that is gone leave the table."""
    pipeline: Pipeline | None = field(default=None, init=False)
    """Set while, and after, rows are asked."""
    forecast: Forecast | None = field(default=None, init=False)
    """What the run is going to do, once that is known."""
    partition_keys: frozenset[str | None] = field(default=frozenset(), init=False)
    """The partitions of the run, once it has begun."""

    def __post_init__(self) -> None:
        """Let the database say for whom it is waited."""
        self.warehouse = replace(self.warehouse, on_wait=self._waits)

    @classmethod
    def opened(
        cls, stores: Stores, task: Task, *, open_api: Callable[[], ClaudeApi], pacing: Pacing, run_id: str
    ) -> Self:
        """Open everything that one run needs; raise before money is spent if something of it cannot work."""
        warehouse = warehouse_of(stores)
        warehouse.check_schemas(task.target.schema, MARKERS.schema)
        state = stores.open_state_directory()
        return cls(
            task=task,
            api=open_api(),
            warehouse=warehouse,
            ledger=stores.open_ledger(state),
            state=state,
            pacing=pacing,
            run_id=run_id,
        )

    def run(self, partitions: Sequence[Partition], frame: pd.DataFrame | None = None) -> RunReport:
        """
        Bring every row of the partitions to its final verdict, and report.

        Trouble with the API after the start is part of the report (`failure`), so that partitions which are
        complete all the same can be told apart. Trouble before anything is sent raises.
        """
        with self._outbox() as outbox:
            asked, store = self._ask(partitions, frame, outbox)
            self.on_asked(asked)
            pipeline = self.pipeline = self._pipeline(store, self._planner(asked, store, outbox))
            failure: ClaudeBatchError | None = None
            try:
                pipeline.answer(outbox)
            except (ApiError, HeldChunksError) as error:
                failure = error
        return RunReport(
            pipeline=self.task.pipeline,
            partitions=self._end(partitions, asked, pipeline.dispatch.n_sent, frame),
            n_sent=sum(self.ledger.chunk(chunk_id).n_requests for chunk_id in pipeline.following.sent),
            failure=failure,
            left_out=Counter(pipeline.dispatch.left_out.values()),
            unfinished=pipeline.unfinished() if failure is not None else frozenset(),
        )

    def submit(self, partitions: Sequence[Partition], frame: pd.DataFrame | None = None) -> Submitted:
        """
        Send what has to be sent for these partitions, and do not wait for the answers.

        It waits only where going on could pay twice: while it is not known whether a batch was accepted, and
        while as many requests are in flight as are allowed. Raises what `run` would report.
        """
        with self._outbox() as outbox:
            asked, store = self._ask(partitions, frame, outbox)
            self.on_asked(asked)
            pipeline = self.pipeline = self._pipeline(store, self._planner(asked, store, outbox))
            flying = pipeline.send(outbox)
            self._pairing.mark()
        chunks = [self.ledger.chunk(chunk_id) for chunk_id in sorted(flying)]
        return Submitted(
            partition_keys=[partition.key for partition in partitions],
            n_expected=asked.n_keys,
            n_asked=pipeline.dispatch.n_sent,
            left_out=Counter(pipeline.dispatch.left_out.values()),
            batch_ids=[chunk.batch_id for chunk in chunks if chunk.batch_id],
        )

    def plan(self, partitions: Sequence[Partition], frame: pd.DataFrame | None = None) -> Forecast:
        """
        Say what `run` would do, and do nothing of it: nothing is sent, and no table is changed.

        What has ended at the API is not collected either, so it counts as in flight.
        """
        with self._outbox() as outbox:
            return self._plan(partitions, frame, outbox)

    def answers_to(self, gold: GoldSource, table: TableName) -> GoldAnswers:
        """Return what a table has answered to its gold rows; raise `GoldError` where these cannot be used."""
        with self.warehouse.connect() as connection:
            return answers_to_gold(connection, table, gold)

    def on_the_way_to(self, pipeline: str) -> int:
        """Return how many requests with this very definition are on their way for another table."""
        flying = self.ledger.chunks(pipeline, OPEN)
        return sum(chunk.n_requests for chunk in flying if chunk.definition == self._builder.definition)

    def keep_shares(self, shares: Sequence[LabelShare], table: TableName) -> None:
        """Write down how many rows of a table truly have each label, for charts."""
        with self.warehouse.connect() as connection, self.warehouse.writing():
            label_shares.keep(connection, table, shares, now=self.clock.now())

    def tempo(self) -> Tempo | None:
        """Say how long the batches of this table have taken so far; None while there are too few."""
        return Tempo.of(self.ledger.durations(self.task.pipeline, place=place_of(self.api.account)))

    def close(self) -> None:
        """Close what was opened."""
        self.api.close()
        self.ledger.dispose()

    def _waits(self, told: str) -> None:
        self.on_wait(told)  # whoever listens by then

    def cancel(self, *, is_over: Callable[[str], bool]) -> Cancellation:
        """Ask the API to stop what nobody but this run has a use for; `is_over` says of a run's id if it has ended."""
        if self.pipeline is None:
            return Cancellation()
        self.ledger.dispose()  # an interruption may have left a transaction open, which would lock this out
        return cancel(self.pipeline.following, run_id=self.run_id, partition_keys=self.partition_keys, is_over=is_over)

    @contextmanager
    def _outbox(self) -> Iterator[Outbox]:
        # A run that is started twice under one id, as orchestrators may, has two of them.
        outbox = Outbox(self.state.outbox(f"{self.run_id} {self.task.pipeline} {os.urandom(8).hex()}"))
        try:
            yield outbox
        finally:
            outbox.remove()

    @with_more_memory
    def _end(
        self, partitions: Sequence[Partition], asked: Asked, sent: Counter[str | None], frame: pd.DataFrame | None
    ) -> list[PartitionReport]:
        """Leave the mark of this run, and report, in one opening of the database."""
        with self.warehouse.connect() as connection:
            self._pairing.mark()
            with self.warehouse.writing():
                reused_answers.note(
                    connection,
                    run_id=self.run_id,
                    target=self.task.target,
                    sent_to=place_of(self.api.account),
                    asked=asked,
                    now=self.clock.now(),
                )
            return Reports(
                task=self.task,
                warehouse=self.warehouse,
                ledger=self.ledger,
                clock=self.clock,
                account=self.api.account,
                run_id=self.run_id,
                forecast=self.forecast,
                purse=self.purse,
            ).of(partitions, asked, sent, frame)

    @with_more_memory
    def _ask(
        self, partitions: Sequence[Partition], frame: pd.DataFrame | None, outbox: Outbox
    ) -> tuple[Asked, AnswerStore]:
        """Write down what the rows ask, and show what is answered already, in one opening of the database."""
        self.partition_keys = frozenset(partition.key for partition in partitions)
        with self.warehouse.connect() as connection, self.warehouse.writing(), outbox:
            asking = self._asking(connection, partitions, frame, outbox)
            asked, store = self._asked(asking)
            connection.commit()
            self._pairing.begin()
        return asked, store

    @with_more_memory
    def _plan(self, partitions: Sequence[Partition], frame: pd.DataFrame | None, outbox: Outbox) -> Forecast:
        """Say what would be done, in a transaction that comes to nothing."""
        with self.warehouse.connect() as connection, self.warehouse.writing(), outbox:
            connection.begin()
            try:
                asking = replace(self._asking(connection, partitions, frame, outbox), is_dry_run=True)
                asked, store = self._asked(asking)
                planning = store.planning(connection)
                planner = replace(
                    self._planner(asked, store, outbox), planning=lambda: nullcontext(planning), counts_tokens=True
                )
                landed, sizes = answers.landed(connection), self.ledger.sizes(self.task.pipeline, CLOSED)
                lacking = [chunk_id for chunk_id, n in sizes.items() if landed.get(chunk_id, 0) < n]
                claimed = self.ledger.claimed(self.task.pipeline, lacking=lacking)
                plan = planning.plan(claimed, run_chunks=(), rules=self._rules)
                plan.leave_out(planner.leave_out(plan))
                return planner.forecast(plan)
            finally:
                connection.rollback()

    def _asking(
        self,
        connection: duckdb.DuckDBPyConnection,
        partitions: Sequence[Partition],
        frame: pd.DataFrame | None,
        outbox: Outbox,
    ) -> Asking:
        """Return what evaluates upstream."""
        task = self.task
        return Asking(
            reader=Reader.of(connection, task.upstream, target=task.target, frame=frame),
            partitions=partitions,
            builder=self._builder,
            put=outbox.add,
            rename=partial(self.ledger.rename, task.pipeline) if self.ledger.has_earlier_names(task.pipeline) else None,
            refresh=self.settings.refresh,
            is_partition=self.is_partition,
        )

    def _asked(self, asking: Asking) -> tuple[Asked, AnswerStore]:
        """Write down what the rows ask, and show what is answered already; the transaction is left open."""
        task, connection = self.task, asking.reader.connection
        key_types = asking.look()
        OutputTable(target=task.target, key_types=key_types, schema=task.schema).prepare(connection)
        projection = Projection(target=task.target, key_types=key_types, schema=task.schema)
        asked = asking.ask()
        if asking.is_new:
            answers.take_over(connection, task.target, task.schema.columns)
        keys = [partition.key for partition in asking.partitions]
        projection.project(connection, [*keys, *asked.n_gone])
        kept, n_had = projection.kept(connection, self._on_their_way)
        asked.n_again.update({key: n for key, n, _ in kept})
        asked = replace(asked, n_had=n_had, again_usd=sum(usd for *_, usd in kept))
        asking.answered_by_today([key for key in keys if not asked.n_again[key]])
        return asked, AnswerStore(warehouse=self.warehouse, projection=projection, partition_keys=keys)

    @cached_property
    def _builder(self) -> RequestBuilder:
        """What makes requests of rows, and knows who answers."""
        return replace(self.task.builder, asked_of=" ".join([self.api.answerer, *self.api.betas]).strip())

    @property
    def purse(self) -> Purse | None:
        """The money of this run; None for no budget."""
        budget = self.task.spending.budget
        if budget is None:
            return None
        return Purse(
            budget=budget,
            ledger=self.ledger,
            clock=self.clock,
            occasion=Occasion(
                self.task.pipeline, place_of(self.api.account), self.run_id, self.root_run_id, self.backfill_id
            ),
        )

    @property
    def _rules(self) -> Rules:
        return Rules(
            max_attempts=self.task.max_attempts,
            retry_final=self.settings.retry_final,
            holds_unheard=self.pacing.on_unconfirmed == "hold",
        )

    @cached_property
    def _lanes(self) -> Lanes:
        """What says which questions do not wait for a batch."""
        told = self.ledger.gives_up_at(self.task.pipeline, self.root_run_id or self.run_id)
        return lanes_of(self.task.spending, self.clock, told=told)

    @property
    def _live(self) -> LiveLane:
        """What asks live."""
        lane = live_lane(self.state, self.api, self.ledger, self.clock)
        return replace(lane, n_at_once=self.pacing.max_live_requests)

    def _planner(self, asked: Asked, store: AnswerStore, outbox: Outbox) -> Planner:
        return Planner(
            task=self.task,
            builder=self._builder,
            clock=self.clock,
            api=self.api,
            ledger=self.ledger,
            settings=self.settings,
            purse=self.purse,
            run_id=self.run_id,
            asked=asked,
            outbox=outbox,
            planning=store.planned,
            on_plan=self._planned,
            lanes=self._lanes,
        )

    def _planned(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.on_plan(forecast)

    def _on_their_way(self) -> AbstractSet[str]:
        """Return the questions that were sent and not answered."""
        return self.ledger.claimed(self.task.pipeline).in_flight.keys()

    @property
    def _pairing(self) -> LedgerPairing:
        return LedgerPairing(warehouse=self.warehouse, ledger=self.ledger, target=self.task.target)

    def _pipeline(self, store: AnswerStore, planner: RunPlanner) -> Pipeline:
        following = self._following(store)
        return Pipeline(
            following=following,
            planner=planner,
            dispatch=Dispatch(
                following=following,
                submission=Submission(
                    api=self.api,
                    ledger=self.ledger,
                    clock=self.clock,
                    pipeline=self.task.pipeline,
                    run_id=self.run_id,
                    definition=self._builder.definition,
                    root_run_id=self.root_run_id,
                    backfill_id=self.backfill_id,
                    purse=self.purse,
                    live=self._live,
                    give_up_at=self._lanes.give_up_at,
                ),
                answers=store,
                lanes=self._lanes,
                entropy=os.urandom,
                limits=self.pacing.limits,
                max_requests_in_flight=self.pacing.max_requests_in_flight,
                rules=self._rules,
            ),
            answers=store,
        )

    def _following(self, store: AnswerStore) -> Following:
        name, pacing, locks = self.task.pipeline, self.pacing, self.ledger.shared_locks(self.state)
        return Following(
            name=name,
            api=self.api,
            ledger=self.ledger,
            locks=locks,
            clock=self.clock,
            recovery=Recovery(
                api=self.api,
                ledger=self.ledger,
                clock=self.clock,
                pipeline=name,
                quiet_period=pacing.quiet_period,
                on_unconfirmed=pacing.on_unconfirmed,
                live=self._live,
            ),
            give_up_at=self._lanes.give_up_at,
            collection=Collection(
                downloads=Downloads(
                    api=self.api, spool=FileSpool(self.state.spool), clock=self.clock, on_trouble=self.on_trouble
                ),
                ledger=self.ledger,
                answers=store,
                clock=self.clock,
                locks=locks,
            ),
            pace=Pace(
                first_seconds=pacing.poll_seconds,
                longest_seconds=pacing.max_poll_seconds,
                growth=pacing.poll_growth,
            ),
            on_progress=self.on_progress,
            on_trouble=self.on_trouble,
            on_give_up=self.on_give_up,
        )
