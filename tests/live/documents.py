"""The documents of the live tests: so many in each year, or in each partition of another kind."""

import duckdb

from tests.canary import marked

PER_YEAR = 2
"""Documents that the upstream asset writes in each year."""

PER_PART = 2
"""Documents in each partition of another kind."""

TOPICS = ("tax and tariff on trade", "the army and the navy at war")


def write_years(connection: duckdb.DuckDBPyConnection, schema: str, years: list[str], per_year: int = PER_YEAR) -> None:
    """Write the documents of these years over what they had."""
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    connection.execute(f'CREATE TABLE IF NOT EXISTS "{schema}".documents (id VARCHAR, text VARCHAR, published_on DATE)')
    for year in years:
        connection.execute(f'DELETE FROM "{schema}".documents WHERE year(published_on) = ?', [int(year)])  # noqa: S608  (names of our own)
        rows = [(f"{year}-{n}", marked(f"{TOPICS[n % 2]}, {n} of {year}"), f"{year}-05-01") for n in range(per_year)]
        connection.executemany(f'INSERT INTO "{schema}".documents VALUES (?, ?, ?)', rows)  # noqa: S608  (as above)


def write_parts(connection: duckdb.DuckDBPyConnection, schema: str, parts: list[str]) -> None:
    """Write the documents of these partitions over what they had; the column `part` holds the partition."""
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    connection.execute(f'CREATE TABLE IF NOT EXISTS "{schema}".documents (id VARCHAR, text VARCHAR, part VARCHAR)')
    connection.execute(f'DELETE FROM "{schema}".documents WHERE list_contains(?, part)', [parts])  # noqa: S608  (names of our own)
    rows = [(f"{part}-{n}", marked(f"{TOPICS[n % 2]}, {n} of {part}"), part) for part in parts for n in range(PER_PART)]
    connection.executemany(f'INSERT INTO "{schema}".documents VALUES (?, ?, ?)', rows)  # noqa: S608  (as above)
