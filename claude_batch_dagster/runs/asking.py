"""What a run asks, of one model: by an engine that is opened, and closed or stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
import pandas as pd

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine, RunReport
from claude_batch_dagster.quality.field_quality import TableQuality
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.gold import GoldRows, measure
from claude_batch_dagster.runs.opening import open_engine
from claude_batch_dagster.runs.partitions import partitions_of
from claude_batch_dagster.runs.plan import tell_plan
from claude_batch_dagster.runs.run_config import RunConfig
from claude_batch_dagster.runs.termination import INTERRUPTIONS, stop


@dataclass(kw_only=True)
class Asker:
    """Opens engines for one Dagster run, and stops what they have sent when a person stops it."""

    context: dg.AssetExecutionContext
    resource: ClaudeBatchResource
    config: RunConfig
    gold: GoldRows | None = None
    n_sent: int = field(default=0, init=False)
    """Requests that engines of this run have sent by now."""

    @property
    def partitions(self) -> list[Partition]:
        """The partitions of the run."""
        return partitions_of(self.context)

    @contextmanager
    def engine(self, task: Task) -> Iterator[Engine]:
        """Open an engine."""
        engine = open_engine(self.context, self.resource, task, self.config)
        try:
            yield engine
        except INTERRUPTIONS:
            stop(self.context, engine, on_terminate=self.resource.on_terminate)
            raise
        finally:
            engine.close()

    def limit(self, engine: Engine) -> None:
        """Let an engine send what is left of the limit: it is one of the run, and not of each model."""
        if self.config.limit is not None:
            engine.settings = replace(engine.settings, limit=max(0, self.config.limit - self.n_sent))

    def measured(self, engine: Engine, table: TableName) -> TableQuality | None:
        """Return how right a table is; None without gold rows."""
        return None if self.gold is None else measure(engine, self.gold, table)


@dataclass(kw_only=True)
class AskingRun:
    """Asks one model."""

    asker: Asker
    task: Task
    frame: pd.DataFrame | None = None
    quality: TableQuality | None = field(default=None, init=False)
    """How right the table is, once it has run."""

    def run(self) -> RunReport:
        """Bring every row of the run to its verdict."""
        with self.asker.engine(self.task) as engine:
            report = engine.run(self.asker.partitions, self.frame)
            self.quality = self.asker.measured(engine, self.task.target)
        return report

    def metadata(self, partition_key: str | None) -> dict[str, Any]:
        """Return what a partition shows beside what all assets show: nothing."""
        del partition_key
        return {}

    def tell_plan(self) -> None:
        """Say what it would do, and do nothing of it."""
        with self.asker.engine(self.task) as engine:
            tell_plan(self.asker.context, engine.plan(self.asker.partitions, self.frame))
