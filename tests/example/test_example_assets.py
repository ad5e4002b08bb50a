from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from example_project.assets import RANGE_END, RANGE_START, documents, themes_by_decade, years
from example_project.warehouse import Share, connected, read_shares
from tests.canary import marked


def write(database: DuckDBResource, instance: dg.DagsterInstance, first: str, last: str) -> dict[str, Any]:
    """Materialize `documents` for a range of years; return the number of rows that each partition reports."""
    result = dg.materialize(
        [documents],
        instance=instance,
        resources={"database": database},
        tags={RANGE_START: first, RANGE_END: last},
    )
    events = result.asset_materializations_for_node("documents")
    return {str(event.partition): event.metadata["dagster/partition_row_count"].value for event in events}


def rows(database: DuckDBResource, table: str) -> list[Any]:
    """Return what is in a table, in a fixed order."""
    with connected(database) as connection:
        return connection.sql(f"FROM public.{table} ORDER BY ALL").fetchall()


def test_years_reach_into_the_current_one() -> None:
    """The year that is not over yet is a partition, and next year is not."""
    assert years.get_first_partition_key() == "1790"
    assert years.get_last_partition_key() == str(date.today().year)  # noqa: DTZ011 - partitions turn over in UTC


def test_documents_of_a_range_with_an_empty_year(database: DuckDBResource, instance: dg.DagsterInstance) -> None:
    """A range is written in one go; a year without a message is materialized with no rows."""
    counts = write(database, instance, "1932", "1934")

    written = rows(database, "documents")
    assert counts == {"1932": 54, "1933": 0, "1934": 32}
    assert len(written) == sum(counts.values())
    assert written[0][2:] == (date(1932, 12, 6), "Herbert Hoover", "Republican")


def test_documents_written_again_replace_their_years_only(
    home: Path, lines: Any, database: DuckDBResource, instance: dg.DagsterInstance
) -> None:
    """What is gone from a year is gone from the table; other years are left alone."""
    old = {"text": "Old.", "published_on": "1862-12-01"}
    lines({"id": "a", **old}, {"id": "b", **old}, {"id": "c", **old, "published_on": "1900-01-01"})
    write(database, instance, "1862", "1900")
    lines({"id": "b", "text": "New.", "published_on": "1862-12-01"})

    assert write(database, instance, "1862", "1862") == {"1862": 1}
    assert [row[:2] for row in rows(database, "documents")] == [("b", marked("New.")), ("c", marked("Old."))]


def test_themes_are_counted_and_drawn(home: Path, database: DuckDBResource, instance: dg.DagsterInstance) -> None:
    """Shares are of the labeled rows of a decade; rows that failed do not count."""
    with connected(database) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        connection.execute(
            "CREATE TABLE public.classified_documents AS FROM (VALUES ('1862', 'other', 'succeeded'), "
            "('1869', 'war and defense', 'succeeded'), ('1870', 'other', 'succeeded'), "
            "('1870', NULL, 'errored')) AS given (partition_key, label, status)"
        )

    result = dg.materialize([themes_by_decade], instance=instance, resources={"database": database})

    metadata = result.asset_materializations_for_node("themes_by_decade")[0].metadata
    assert rows(database, "themes_by_decade") == [
        (1860, "other", 1, 0.5),
        (1860, "war and defense", 1, 0.5),
        (1870, "other", 1, 1.0),
    ]
    assert metadata["paragraphs"].value == 3
    assert (home / "themes_by_decade.svg").read_text(encoding="utf-8").startswith("<svg")


def test_shares_that_gold_rows_correct_are_drawn(
    home: Path, database: DuckDBResource, instance: dg.DagsterInstance
) -> None:
    """Those of the whole table, the largest first; where nothing was measured there is no such drawing."""
    with connected(database) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        connection.execute(
            "CREATE TABLE public.classified_documents AS FROM (VALUES ('1862', 'other', 'succeeded')) "
            "AS given (partition_key, label, status)"
        )
    before = dg.materialize([themes_by_decade], instance=instance, resources={"database": database})
    with connected(database) as connection:
        connection.execute(
            "CREATE VIEW public.classified_documents_shares AS FROM "
            "(VALUES ('1862', 'other', 1::DOUBLE, 0.5::DOUBLE, 0.1::DOUBLE, 0.9::DOUBLE, 30), "
            "(NULL, 'other', 0.4, 0.2, 0.1, 0.3, 60), (NULL, 'war and defense', 0.6, 0.8, 0.7, 0.9, 60)) "
            "AS given (partition_key, label, answered_share, share, share_low, share_high, gold_rows)"
        )
        assert read_shares(connection) == [
            Share("war and defense", answered=0.6, corrected=0.8, low=0.7, high=0.9, gold_rows=60),
            Share("other", answered=0.4, corrected=0.2, low=0.1, high=0.3, gold_rows=60),
        ]

    after = dg.materialize([themes_by_decade], instance=instance, resources={"database": database})

    told = [
        set(result.asset_materializations_for_node("themes_by_decade")[0].metadata) & {"corrected", "corrected_file"}
        for result in (before, after)
    ]
    assert told == [set(), {"corrected", "corrected_file"}]
    assert "by 60 gold rows" in (home / "themes_corrected.svg").read_text(encoding="utf-8")


def test_themes_before_anything_is_classified(
    home: Path, database: DuckDBResource, instance: dg.DagsterInstance
) -> None:
    """The failure says which asset to materialize first."""
    with pytest.raises(dg.Failure, match="Materialize classified_documents first"):
        dg.materialize([themes_by_decade], instance=instance, resources={"database": database})
