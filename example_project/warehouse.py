"""The tables that the example writes itself, in DuckDB."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

import dagster as dg
from dagster_duckdb import DuckDBResource
from duckdb import CatalogException, DuckDBPyConnection

from example_project.corpus import Document
from example_project.settings import Settings

DOCUMENT_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn(
            "id",
            "string",
            description="Year, president, number of the paragraph, such as 1862-lincoln-012.",
            constraints=dg.TableColumnConstraints(nullable=False, unique=True),
        ),
        dg.TableColumn("text", "string", description="The paragraph, with the heading that announces it."),
        dg.TableColumn("published_on", "date", description="The day of the message; its year is the partition."),
        dg.TableColumn("president", "string", description="Full name; empty for documents of your own."),
        dg.TableColumn("party", "string", description="Party of the president; empty for documents of your own."),
    ]
)
THEME_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("decade", "integer", description="First year of the decade."),
        dg.TableColumn("theme", "string", description="The label Claude chose."),
        dg.TableColumn("paragraphs", "integer", description="How many paragraphs of the decade have this theme."),
        dg.TableColumn("share", "float", description="Their part of all labeled paragraphs of the decade."),
    ]
)


class Share(NamedTuple):
    """Which share of all paragraphs has a theme, 0 to 1."""

    theme: str
    answered: float
    """As the answers say."""
    corrected: float
    """As gold rows correct them."""
    low: float
    high: float
    """Between these it lies (95 %)."""
    gold_rows: int
    """Of the whole corpus."""


def duckdb_resource(settings: Settings) -> DuckDBResource:
    """Return the way into the DuckDB file; within one process all must use the same configuration."""
    return DuckDBResource(
        database=str(settings.warehouse),
        # What is not installed is not fetched behind our back.
        connection_config={"autoinstall_known_extensions": "false"},
    )


@contextmanager
def connected(database: DuckDBResource) -> Iterator[DuckDBPyConnection]:
    """Open the warehouse and close it again, after an exception as well, for it shuts out everybody else."""
    with database.get_connection() as connection, closing(connection):
        yield connection


def replace_documents(
    connection: DuckDBPyConnection, first_year: str, last_year: str, documents: Sequence[Document]
) -> None:
    """Make the table `documents` hold exactly these for these years, all at once or not at all."""
    columns = [
        [document.id for document in documents],
        [document.text for document in documents],
        [document.published_on for document in documents],
        [document.president for document in documents],
        [document.party for document in documents],
    ]
    connection.execute("BEGIN")
    connection.execute("CREATE SCHEMA IF NOT EXISTS public")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS public.documents (id VARCHAR NOT NULL, text VARCHAR NOT NULL, "
        "published_on DATE NOT NULL, president VARCHAR, party VARCHAR)"
    )
    connection.execute(
        "DELETE FROM public.documents WHERE year(published_on) BETWEEN ? AND ?",
        [int(first_year), int(last_year)],
    )
    if documents:
        connection.execute(
            "INSERT INTO public.documents SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), "
            "unnest(?::DATE[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
            columns,
        )
    connection.execute("COMMIT")


def replace_themes(connection: DuckDBPyConnection) -> None:
    """Count the labels of `classified_documents` by decade into the table `themes_by_decade`."""
    connection.execute(
        "CREATE OR REPLACE TABLE public.themes_by_decade AS WITH counted AS ("
        "SELECT left(partition_key, 3)::INTEGER * 10 AS decade, label AS theme, count(*) AS paragraphs "
        "FROM public.classified_documents WHERE status = 'succeeded' GROUP BY ALL) "
        "SELECT *, paragraphs / sum(paragraphs) OVER (PARTITION BY decade) AS share FROM counted ORDER BY ALL"
    )


def read_shares(connection: DuckDBPyConnection) -> list[Share]:
    """Return the shares of themes as gold rows correct them, the largest first; none before any was measured."""
    try:
        rows = connection.sql(
            "SELECT label, answered_share, share, share_low, share_high, gold_rows "
            "FROM public.classified_documents_shares WHERE partition_key IS NULL ORDER BY share DESC, label"
        ).fetchall()
    except CatalogException:
        return []
    return [Share(*row) for row in rows]
