"""Families whose partitions are no years: static, dynamic, in two dimensions, other than those of the documents."""

from contextlib import closing
from dataclasses import dataclass

import dagster as dg

from claude_batch_dagster import build_batch_schedule, build_classification_asset, build_new_documents_sensor
from claude_batch_dagster.runs.partitions import PartitionExpr
from tests.live.documents import write_parts
from tests.live.families import LABELS, Family

PARTIES = dg.StaticPartitionsDefinition(["federalist", "republican", "whig"])
READERS = dg.DynamicPartitionsDefinition(name="readers")
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-03-01")
"""60 of them."""
MONTHS = dg.MonthlyPartitionsDefinition("2024-01-01", end_date="2024-03-01")
TOWNS = dg.StaticPartitionsDefinition(["berlin", "munich", "paris"])
COUNTRIES = dg.StaticPartitionsDefinition(["france", "germany"])
GRID = dg.MultiPartitionsDefinition({"day": DAYS, "party": PARTIES})
BY_DAY_AND_PARTY = {"day": "split_part(part, '|', 1)::DATE", "party": "split_part(part, '|', 2)"}


@dataclass(frozen=True, kw_only=True)
class Shape(Family):
    """A family with partitions of its own."""

    partitions_def: dg.PartitionsDefinition[str]
    expr: PartitionExpr = "part"
    """The partition of a row, by the partition that its document was written in."""
    of_documents: dg.PartitionsDefinition[str] | None = None
    """Where that is another."""
    mapping: dg.PartitionMapping | None = None


SHAPES = [
    Shape(name="static", partitions_def=PARTIES),
    Shape(name="dynamic", partitions_def=READERS),
    Shape(name="arriving", partitions_def=dg.DynamicPartitionsDefinition(name="arrivals")),
    Shape(name="grid", partitions_def=GRID, expr=BY_DAY_AND_PARTY),
    Shape(name="ruled", partitions_def=GRID, expr=BY_DAY_AND_PARTY),
    Shape(name="monthly", partitions_def=MONTHS, expr="part::DATE", of_documents=DAYS),
    Shape(
        name="mapped",
        partitions_def=COUNTRIES,
        expr="CASE part WHEN 'paris' THEN 'france' ELSE 'germany' END",
        of_documents=TOWNS,
        mapping=dg.StaticPartitionMapping({"berlin": "germany", "munich": "germany", "paris": "france"}),
    ),
]


def build_documents(shape: Shape) -> dg.AssetsDefinition:
    """Declare the asset upstream."""

    @dg.asset(
        name="documents",
        key_prefix=shape.name,
        partitions_def=shape.of_documents or shape.partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def documents(context: dg.AssetExecutionContext) -> None:
        with shape.database.get_connection() as connection, closing(connection):
            write_parts(connection, shape.name, list(context.partition_keys))

    return documents


def build_shape(shape: Shape) -> dg.Definitions:
    """Declare the documents and answers of a family, what starts them, and an asset downstream."""
    documents = build_documents(shape)
    answers = build_classification_asset(
        name="answers",
        key_prefix=shape.name,
        upstream=dg.AssetDep(documents, partition_mapping=shape.mapping),
        labels=LABELS,
        partitions_def=shape.partitions_def,
        partition_expr=shape.expr,
        resource_key=shape.name,
        **shape.options,
    )

    @dg.asset(
        name="report",
        key_prefix=shape.name,
        deps=[answers],
        partitions_def=shape.partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def report() -> None:
        pass

    return dg.Definitions(
        assets=[documents, answers, report],
        sensors=[build_new_documents_sensor(answers, settle_seconds=0.5, minimum_interval_seconds=1)],
        schedules=[build_batch_schedule(answers, "* * * * *")],
        resources={shape.name: shape.resource()},
    )


defs = dg.Definitions.merge(*map(build_shape, SHAPES))
