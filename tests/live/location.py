"""
The code location of the live tests: families of assets that have nothing in common but their code.

Each family has a database, a resource and a ledger of its own, so that tests may share one `dagster dev`.
The environment says where: `LIVE_HOME` is the folder of the databases, `LIVE_API` the emulator's URL.
"""

from collections.abc import Iterator
from contextlib import closing

import dagster as dg

from claude_batch_dagster import (
    build_batch_job,
    build_batch_schedule,
    build_classification_asset,
    build_collect_sensor,
    build_new_documents_sensor,
    build_submission_asset,
)
from claude_batch_dagster.checks import ErrorRate
from tests.live import shapes
from tests.live.documents import write_years
from tests.live.families import LABELS, YEARS, Family, told

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
    Family("single", options={"backfill_policy": dg.BackfillPolicy.single_run()}),
    Family("each", options={"backfill_policy": dg.BackfillPolicy.multi_run(1)}),
    Family("scheduled"),
    Family("judged"),
    Family(
        "blocked", options={"checks": [ErrorRate(blocking=True)], "backfill_policy": dg.BackfillPolicy.single_run()}
    ),
    Family("cramped", settings={"max_requests_per_batch": 2, "max_requests_in_flight": 2}),
    Family("seen"),
    Family("slow", settings={"max_requests_per_batch": 1}),
    Family("described", options={"owners": ["team:archive"]}),
    Family("revised", options=told("revised")),
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
        with family.database.get_connection() as connection, closing(connection):
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
        with family.database.get_connection() as connection, closing(connection):
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
        schedules=[build_batch_schedule(answers, "* * * * *")],
        jobs=[build_batch_job(answers)],
        resources={family.name: family.resource()},
    )


defs = dg.Definitions.merge(shapes.defs, *(part for family in FAMILIES for part in build_family(family)))
