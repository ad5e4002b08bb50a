"""
The code location of the live tests: families of assets that have nothing in common but their code.

Each family has a database, a resource and a ledger of its own, so that tests may share one `dagster dev`.
The environment says where: `LIVE_HOME` is the folder of the databases, `LIVE_API` the emulator's URL.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import (
    ClaudeBatchResource,
    build_batch_job,
    build_classification_asset,
    build_collect_sensor,
    build_new_documents_sensor,
    build_submission_asset,
)
from tests.live.documents import write_years

LABELS = {"economy": "tax tariff trade money", "war": "army navy war battle", "other": "anything else"}

YEARS = dg.TimeWindowPartitionsDefinition(start="1780", end="2017", fmt="%Y", cron_schedule="0 0 1 1 *")
"""237 of them."""


@dataclass(frozen=True)
class Family:
    """One pipeline: documents, answers, and what is made of them."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the resource."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the asset."""
    lost_year: str = ""
    """The documents of this year cannot be made."""

    @property
    def database(self) -> str:
        """Path of the family's database."""
        return str(Path(os.environ["LIVE_HOME"]) / f"{self.name}_warehouse.duckdb")

    def resource(self) -> ClaudeBatchResource:
        """Return the resource, quick to poll."""
        given: dict[str, Any] = {
            "api_key": dg.EnvVar("CLAUDE_TEST_KEY"),
            "base_url": os.environ["LIVE_API"],
            "database": DuckDBResource(database=self.database),
            "state_directory": str(Path(os.environ["LIVE_HOME"]) / f"{self.name}_state"),
            "poll_interval_seconds": 0.2,
            "max_poll_interval_seconds": 0.5,
            "quiet_period_seconds": 1.0,
        }
        return ClaudeBatchResource(**{**given, **self.settings})


FAMILIES = [
    Family("whole"),
    Family("all"),
    Family("ready"),
    Family("lacking", lost_year="1852"),
    Family("partial", settings={"max_requests_per_batch": 4, "max_requests_in_flight": 4}),
    Family("stopped"),
    Family("left", settings={"on_terminate": "leave"}),
    Family("again"),
    Family("deferred"),
    Family("outage"),
    Family("failing"),
    Family("locked", settings={"lock_timeout_seconds": 0.5}),
    Family("noticed"),
    Family("eager", options={"automation_condition": dg.AutomationCondition.eager()}),
    Family("crowd"),
]


def build_documents(family: Family) -> dg.AssetsDefinition:
    """Declare the asset upstream."""

    @dg.asset(
        name="documents",
        key_prefix=family.name,
        partitions_def=YEARS,
        backfill_policy=dg.BackfillPolicy.multi_run(2) if family.lost_year else dg.BackfillPolicy.single_run(),
    )
    def documents(context: dg.AssetExecutionContext) -> None:
        if family.lost_year in context.partition_keys:
            raise dg.Failure(f"There is nothing of {family.lost_year}.", allow_retries=False)
        with DuckDBResource(database=family.database).get_connection() as connection, closing(connection):
            write_years(connection, family.name, list(context.partition_keys))

    return documents


def build_report(family: Family) -> dg.AssetsDefinition:
    """Declare the asset downstream: it counts the usable answers of each year."""

    @dg.asset(
        name="report",
        key_prefix=family.name,
        deps=[dg.AssetKey([family.name, "answers"])],
        partitions_def=YEARS,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def report(context: dg.AssetExecutionContext) -> None:
        with DuckDBResource(database=family.database).get_connection() as connection, closing(connection):
            rows = connection.execute(
                f"SELECT partition_key, count(*) FROM \"{family.name}\".answers WHERE status = 'succeeded' GROUP BY ALL"  # noqa: S608  (names of our own)
            ).fetchall()
        counts = dict(rows)
        for year in context.partition_keys:
            context.add_asset_metadata({"n_answers": counts.get(year, 0)}, partition_key=year)

    return report


def build_family(family: Family) -> Iterator[dg.Definitions]:
    """Declare everything of a family."""
    documents = build_documents(family)
    answers = build_classification_asset(
        name="answers",
        key_prefix=family.name,
        upstream=documents,
        labels=LABELS,
        partitions_def=YEARS,
        partition_expr="published_on",
        resource_key=family.name,
        **family.options,
    )
    yield dg.Definitions(
        assets=[documents, answers, build_report(family), build_submission_asset(answers)],
        sensors=[
            build_collect_sensor(answers, minimum_interval_seconds=1),
            build_new_documents_sensor(answers, settle_seconds=0.5, minimum_interval_seconds=1),
        ],
        jobs=[build_batch_job(answers)],
        resources={family.name: family.resource()},
    )


defs = dg.Definitions.merge(*(part for family in FAMILIES for part in build_family(family)))
