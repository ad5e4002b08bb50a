"""One run of Dagster: the table of documents, and the answers to it, on real files."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import Budget, ClaudeBatchResource, build_classification_asset
from claude_batch_dagster.core.planning.budget import Period
from proof.kills.gate import wait_at
from proof.kills.paths import JobPaths

LABELS = {"economy": "tax tariff trade money", "war": "army navy war battle"}
WORDS = {"economy": "a tax and a tariff on trade", "war": "the army and the navy at war"}
"""What the documents say that belong to each label."""

PER_BATCH = 2
"""Documents in a batch: few, so that a run sends several."""

YEARS = ("1790", "1791", "1792", "1793")
"""The partitions, where there are any."""

QUIET_SECONDS = 1.0
"""Longer than the API takes to accept so few."""

API_KEY = "ANTHROPIC_API_KEY"
"""The variable of the environment that holds the key."""

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process is to materialize."""

    folder: str
    url: str
    partition: str | None = None
    span: tuple[str, str] | None = None
    """First and last of a range of partitions."""
    gate: tuple[str, int] | None = None
    """Where to ask, all set up, for leave to begin."""
    per_batch: int = PER_BATCH
    quiet_seconds: float = QUIET_SECONDS
    budget: tuple[float, Period] | None = None
    """US dollars, and per what; None for no budget."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How documents are asked about, where it is not as usual."""

    def perform(self, home: Path) -> bool:
        """Materialize, with the Dagster instance of a home; whether that went well."""
        paths = JobPaths(folder=Path(self.folder))
        with _instance(home) as instance:
            if self.gate:
                wait_at(self.gate)
            result = dg.materialize(
                self._assets(paths),
                instance=instance,
                resources={"claude_batch": self._resource(paths)},
                partition_key=self.partition,
                run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
                tags=dict(zip(RANGE, self.span, strict=True)) if self.span else None,
                raise_on_error=False,
            )
        _write_report(paths, result)
        return result.success

    def _assets(self, paths: JobPaths) -> list[dg.AssetsDefinition]:
        if self.partition or self.span:
            years = dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *")
            return [self._answers(upstream="documents", partitions_def=years, partition_expr="day")]

        @dg.asset
        def documents() -> None:
            paths.load()

        return [documents, self._answers(upstream=documents)]

    def _answers(self, **options: Any) -> dg.AssetsDefinition:
        budget = Budget(usd=self.budget[0], per=self.budget[1]) if self.budget else None
        return build_classification_asset(name="answers", labels=LABELS, budget=budget, **self.options, **options)

    def _resource(self, paths: JobPaths) -> ClaudeBatchResource:
        return ClaudeBatchResource(
            api_key=dg.EnvVar(API_KEY),
            base_url=self.url,
            database=DuckDBResource(database=paths.database),
            state_directory=str(paths.state),
            poll_interval_seconds=0.03,
            max_poll_interval_seconds=0.06,
            max_requests_per_batch=self.per_batch,
            quiet_period_seconds=self.quiet_seconds,
        )


def _write_report(paths: JobPaths, result: dg.ExecuteInProcessResult) -> None:
    """Write down what the run told of its answers, added up over partitions."""
    figures: Counter[str] = Counter()
    for told in result.asset_materializations_for_node("answers"):
        figures.update({name: value.value for name, value in told.metadata.items() if isinstance(value.value, int)})
    paths.report.write_text(json.dumps(figures))


def _instance(home: Path) -> dg.DagsterInstance:
    """Return a Dagster instance whose events are in one file: one for each run would take a fifth of its time."""
    events = {
        "module": "dagster.core.storage.event_log",
        "class": "ConsolidatedSqliteEventLogStorage",
        "config": {"base_dir": str(home)},
    }
    return dg.DagsterInstance.local_temp(str(home), overrides={"event_log_storage": events})
