"""The output table in DuckDB: its columns, and how it comes to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import orjson

from claude_batch_dagster.core.collecting.column_types import Structure, ddl
from claude_batch_dagster.core.collecting.output_schema import BOOKKEEPING, OutputSchema
from claude_batch_dagster.core.ledger import LIVE_PREFIX
from claude_batch_dagster.core.tables import TableName, literal, quoted
from claude_batch_dagster.errors import OutputModelError
from claude_batch_dagster.storage.duckdb import costs
from claude_batch_dagster.storage.duckdb.asking import refreshes
from claude_batch_dagster.storage.duckdb.duckdb_errors import without_values

MARKERS = TableName("claude_batch", "landed_chunks")
"""Which chunks are in which table: written in the transaction that lands them."""


@dataclass(frozen=True, kw_only=True)
class OutputTable:
    """The table of answers of one asset."""

    target: TableName
    key_types: Mapping[str, str]
    """SQL types of the key columns, as upstream has them."""
    schema: OutputSchema

    @property
    def columns(self) -> dict[str, Structure]:
        """Every column with its type: the key, the output fields, the bookkeeping."""
        return {**self.key_types, **self.schema.columns, **BOOKKEEPING}

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create the table, or add columns it lacks. Definitions stay out of data transactions."""
        for schema in (self.target.schema, MARKERS.schema):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {MARKERS.sql} "
            "(chunk_id VARCHAR, table_name VARCHAR, landed_at TIMESTAMP WITH TIME ZONE, "
            "PRIMARY KEY (chunk_id, table_name))"
        )
        costs.prepare(connection)
        refreshes.prepare(connection)
        definitions = ", ".join(f"{quoted(name)} {ddl(kind)}" for name, kind in self.columns.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {self.target.sql} ({definitions})")
        self._add_missing_columns(connection)

    def _add_missing_columns(self, connection: duckdb.DuckDBPyConnection) -> None:
        described = connection.execute(f"DESCRIBE {self.target.sql}").fetchall()
        present = {name.lower(): kind for name, kind, *_ in described}
        spelled = self._spelled(connection)
        for name, kind in self.columns.items():
            if name.lower() not in present:
                connection.execute(f"ALTER TABLE {self.target.sql} ADD COLUMN {quoted(name)} {ddl(kind)}")
                if name == "service_tier" and "batch_id" in present:
                    connection.execute(f"UPDATE {self.target.sql} SET service_tier = {service_tier('batch_id')}")
            elif present[name.lower()] == spelled[name]:
                continue
            elif name in self.key_types or present[name.lower()] == "JSON":
                self._change_type(connection, name, kind, is_json=present[name.lower()] == "JSON")
            else:
                raise OutputModelError(
                    f"column {name!r} of {self.target} is {present[name.lower()]}, the output model now wants "
                    f"{ddl(kind)}. Nothing was sent. Rename the field or the old column; or drop the table: the next "
                    "run makes it again of the answers that are kept, at no cost."
                )

    def _change_type(self, connection: duckdb.DuckDBPyConnection, name: str, kind: Structure, *, is_json: bool) -> None:
        """Give a key the type that holds it today as well, and what was kept as JSON its own."""
        column, structure = f"{self.target.sql} ALTER COLUMN {quoted(name)}", literal(orjson.dumps(kind).decode())
        using = f" USING json_transform_strict({quoted(name)}, {structure})" if is_json else ""
        try:
            connection.execute(f"ALTER TABLE {column} SET DATA TYPE {ddl(kind)}{using}")
        except (duckdb.OutOfMemoryException, duckdb.InterruptException):
            raise
        except duckdb.Error as error:
            raise OutputModelError(
                f"column {name!r} of {self.target} cannot become {ddl(kind)}: {without_values(error)}. Nothing was "
                "sent. Drop what depends on the table, or the table itself: the next run makes it again of the answers "
                "that are kept, at no cost."
            ) from None

    def _spelled(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """Return the type of each column as DuckDB spells it."""
        nulls = ", ".join(f"NULL::{ddl(kind)}" for kind in self.columns.values())
        described = connection.execute(f"DESCRIBE SELECT {nulls}").fetchall()
        return {name: kind for name, (_, kind, *_) in zip(self.columns, described, strict=True)}


def service_tier(batch_id: str) -> str:
    """Return the SQL of how a row was asked, by the id of its batch, as the API's usage calls it."""
    return (
        f"CASE WHEN {batch_id} IS NOT NULL THEN if(starts_with({batch_id}, '{LIVE_PREFIX}'), 'standard', 'batch') END"
    )


def mark_landed(connection: duckdb.DuckDBPyConnection, target: TableName, chunk_ids: Sequence[str]) -> None:
    """Remember that chunks are in the table, within the transaction that lands them."""
    connection.execute(
        f"INSERT OR REPLACE INTO {MARKERS.sql} SELECT unnest(?::VARCHAR[]), ?, now()", [list(chunk_ids), str(target)]
    )
