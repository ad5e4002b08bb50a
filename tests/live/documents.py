"""The documents of the live tests: so many in each year."""

import duckdb

from tests.canary import marked

PER_YEAR = 2
"""Documents that the upstream asset writes in each year."""


def write_years(connection: duckdb.DuckDBPyConnection, schema: str, years: list[str], per_year: int = PER_YEAR) -> None:
    """Write the documents of these years over what they had."""
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    connection.execute(f'CREATE TABLE IF NOT EXISTS "{schema}".documents (id VARCHAR, text VARCHAR, published_on DATE)')
    topics = ("tax and tariff on trade", "the army and the navy at war")
    for year in years:
        connection.execute(f'DELETE FROM "{schema}".documents WHERE year(published_on) = ?', [int(year)])  # noqa: S608  (names of our own)
        rows = [(f"{year}-{n}", marked(f"{topics[n % 2]}, {n} of {year}"), f"{year}-05-01") for n in range(per_year)]
        connection.executemany(f'INSERT INTO "{schema}".documents VALUES (?, ?, ?)', rows)  # noqa: S608  (as above)
