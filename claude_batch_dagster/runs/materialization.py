"""One run of the asset, as Dagster sees it: progress, materializations, checks, and how it stops."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import dagster as dg
import pandas as pd

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.cascades import CascadeTask
from claude_batch_dagster.checks import Check
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import RunReport
from claude_batch_dagster.errors import CanaryError, RepayError
from claude_batch_dagster.quality.field_quality import TableQuality
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.asking import Asker, AskingRun
from claude_batch_dagster.runs.cascade import CascadeRun
from claude_batch_dagster.runs.check_targets import targets
from claude_batch_dagster.runs.checks import evaluations, nothing_checked, results
from claude_batch_dagster.runs.dagster_internals import DATA_VERSION, INTERNALS
from claude_batch_dagster.runs.gold import GoldRows
from claude_batch_dagster.runs.gold_metadata import partition_figures
from claude_batch_dagster.runs.metadata import partition_metadata
from claude_batch_dagster.runs.partitions import dimension_tags
from claude_batch_dagster.runs.plan import tell_left_out
from claude_batch_dagster.runs.run_config import RunConfig
from claude_batch_dagster.runs.termination import INTERRUPTIONS
from claude_batch_dagster.runs.versions import data_version, version_tags


@dataclass
class Materialization:
    """Runs the engine for the partitions of one Dagster run and tells Dagster what came of it."""

    context: dg.AssetExecutionContext
    resource: ClaudeBatchResource
    task: Task
    checks: Sequence[Check]
    frame: pd.DataFrame | None
    """The documents, if an IO manager has handed them over."""
    config: RunConfig = field(default_factory=RunConfig)
    """What a person has told this run."""
    gold: GoldRows | None = None
    """Rows whose true answers are known."""
    cascade: CascadeTask | None = None
    """The second model, and what goes up to it."""
    quality: TableQuality | None = field(default=None, init=False)
    """What gold rows say of the table, once the run has ended."""

    def run(self) -> Iterator[Any]:
        """Yield what a Dagster asset body yields."""
        asking = self._asking
        try:
            if self.config.dry_run:
                asking.tell_plan()
                yield from nothing_checked(self.context)
                return
            report = asking.run()
        except (RepayError, CanaryError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except INTERRUPTIONS as interruption:
            raise dg.DagsterExecutionInterruptedError from interruption
        tell_left_out(self.context, report.left_out)
        self.quality = asking.quality
        yield from self._events(report)

    @cached_property
    def _asking(self) -> AskingRun | CascadeRun:
        """What asks: one model, or two."""
        asked = Asker(context=self.context, resource=self.resource, config=self.config, gold=self.gold)
        if self.cascade is not None:
            return CascadeRun(asker=asked, cascade=self.cascade)
        return AskingRun(asker=asked, task=self.task, frame=self.frame)

    # --- events ------------------------------------------------------------------------------------

    def _events(self, report: RunReport) -> Iterator[Any]:
        key, context = self.context.asset_key, self.context
        done = [
            part
            for part in report.partitions
            # After a failure books may not balance: rows that share, or are to be restored, wait for the next run.
            if report.failure is None or (part.partition_key not in report.unfinished and part.balanced)
        ]
        ranged = context.assets_def.partitions_def is not None and not context.has_partition_key
        tags = self._tags(done) if ranged or report.failure else None  # asked for while nothing is logged yet
        if report.failure is None:
            yield self._result(done, tags)  # the materializations that Dagster makes of it are logged when this goes on
        else:
            self._log_materializations(done, tags or [{DATA_VERSION: self._version([part]).value} for part in done])
        if ranged:
            self._log_evaluations(done)
        if ranged or done:
            yield from results(key, self.checks, report.partitions, self.quality)
        if report.failure:
            raise self._failure(report, n_done=len(done)) from report.failure

    def _tags(self, parts: Sequence[PartitionReport]) -> Sequence[Mapping[str, str]] | None:
        """Return the tags of each partition's materialization; None if this Dagster has them from elsewhere."""
        if INTERNALS is None:
            return None
        try:
            return version_tags(self.context, [self._version([part]) for part in parts], INTERNALS)
        except Exception as error:  # noqa: BLE001  (nobody knows what a later Dagster raises)
            self.context.log.debug("Partitions of this run share one data version, since Dagster said: %s", error)
            return None

    def _result(
        self, done: Sequence[PartitionReport], tags: Sequence[Mapping[str, str]] | None
    ) -> dg.MaterializeResult[Any]:
        """Return the asset's result, of which Dagster makes the materializations unless there are tags to log them."""
        key = self.context.asset_key
        if INTERNALS is not None and tags is not None:
            self._log_materializations(done, tags)
            return dg.MaterializeResult(asset_key=key, metadata={INTERNALS.silent: True})
        for part in done:
            self._add_metadata(part)
        return dg.MaterializeResult(asset_key=key, data_version=self._version(done))

    def _log_materializations(self, parts: Sequence[PartitionReport], tags: Sequence[Mapping[str, str]]) -> None:
        """Log each materialization with the version of this very partition: a result has one for all of a range."""
        context = self.context
        for part, versions in zip(parts, tags, strict=True):
            dimensions = dimension_tags(context.assets_def.partitions_def, part.partition_key)
            context.log_event(
                dg.AssetMaterialization(
                    context.asset_key,
                    partition=part.partition_key,
                    metadata=self._metadata(part),
                    tags={**versions, **dimensions},
                )
            )

    def _log_evaluations(self, parts: Sequence[PartitionReport]) -> None:
        """Log the checks of each partition once its materialization is logged: a check is of the one it points to."""
        context = self.context
        judged = targets(context, [part.partition_key for part in parts])
        for evaluation in evaluations(context.asset_key, self.checks, parts, judged):
            context.log_event(evaluation)

    def _version(self, parts: Sequence[PartitionReport]) -> dg.DataVersion:
        return data_version(self.context.assets_def.code_versions_by_key[self.context.asset_key], parts)

    def _metadata(self, part: PartitionReport) -> dict[str, Any]:
        key = part.partition_key
        return {**partition_metadata(part), **partition_figures(self.quality, key), **self._asking.metadata(key)}

    def _add_metadata(self, part: PartitionReport) -> None:
        metadata = self._metadata(part)
        if part.partition_key is None:
            self.context.add_asset_metadata(metadata, asset_key=self.context.asset_key)
        else:
            self.context.add_asset_metadata(
                metadata, asset_key=self.context.asset_key, partition_key=part.partition_key
            )

    def _failure(self, report: RunReport, *, n_done: int) -> dg.Failure:
        many = "partitions are complete. The others are not"
        of = counted(len(report.partitions), "partition is complete", many)
        return dg.Failure(f"{n_done} of {of}: {report.failure}", allow_retries=False)
