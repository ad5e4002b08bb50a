"""The output table in DuckDB: one row for each upstream key, landed in short transactions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

import duckdb
import orjson

from claude_batch_dagster.core.keys import canonical_key, key_values
from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.outputs import BOOKKEEPING, OutputSchema, Structure
from claude_batch_dagster.core.ports import Answer
from claude_batch_dagster.core.survey import Sharing, Survey
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.errors import OutputModelError
from claude_batch_dagster.storage.names import TableName, listed, quoted
from claude_batch_dagster.storage.warehouse import Warehouse, first_line

WINDOW = 20_000
"""Rows handed to DuckDB at a time."""

MARKERS = TableName("claude_batch", "landed_chunks")
"""Which chunks are in which table: written in the transaction that lands them."""

GOOD = f"status = '{Verdict.SUCCEEDED}'"

NEWER = "(t.request_hash IS DISTINCT FROM s.request_hash OR coalesce(s.custom_id, '') >= coalesce(t.custom_id, ''))"
"""Of two attempts at one question the later one counts; to another question, the row has come by an edit."""

UNLESS_WORSE = f"s.{GOOD} OR (NOT t.{GOOD} AND {NEWER})"
"""When a staged row takes the place of the table's: any good answer does; a failure only that of an older failure."""


@dataclass(frozen=True, kw_only=True)
class OutputTable:
    """The table of answers of one asset."""

    warehouse: Warehouse
    target: TableName
    key_types: Mapping[str, str]
    """SQL types of the key columns, as upstream has them."""
    schema: OutputSchema

    @property
    def columns(self) -> dict[str, Structure]:
        """Every column with its type: the key, the output fields, the bookkeeping."""
        return {**self.key_types, **self.schema.columns, **BOOKKEEPING}

    def prepare(self) -> None:
        """Create the table, or add columns it lacks. Definitions stay out of data transactions."""
        with self.warehouse.connect() as connection:
            for schema in (self.target.schema, MARKERS.schema):
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {MARKERS.sql} "
                "(chunk_id VARCHAR, table_name VARCHAR, landed_at TIMESTAMP WITH TIME ZONE, "
                "PRIMARY KEY (chunk_id, table_name))"
            )
            definitions = ", ".join(f"{quoted(name)} {ddl(kind)}" for name, kind in self.columns.items())
            connection.execute(f"CREATE TABLE IF NOT EXISTS {self.target.sql} ({definitions})")
            self._add_missing_columns(connection)

    def apply(self, chunk_id: str, answers: Iterable[Answer]) -> bool:
        """
        Land the answers of a chunk, once: `False` if it has been landed before.

        A good answer is never replaced by a failure. Answers that nobody asks for any more do not come here.
        """
        with self.warehouse.transaction() as connection:
            marker = [chunk_id, str(self.target)]
            known = f"SELECT 1 FROM {MARKERS.sql} WHERE chunk_id = ? AND table_name = ?"
            if connection.execute(known, marker).fetchone():
                return False
            self._stage(connection, answers)
            self._replace(connection, where=UNLESS_WORSE)
            connection.execute(f"INSERT INTO {MARKERS.sql} VALUES (?, ?, now())", marker)
        return True

    def restore(self, answers: Iterable[Answer], *, only_gaps: bool = False) -> None:
        """Land answers paid for earlier: a good one in place of whatever stands there, or only where nothing does."""
        with self.warehouse.transaction() as connection:
            self._stage(connection, answers)
            if only_gaps:
                self._fill_gaps(connection)
            else:
                self._replace(connection, where=UNLESS_WORSE)

    def settle(self, survey: Survey) -> dict[RowKey, Sharing]:
        """
        Bring in what needs no sending: rejected rows, good answers shared between rows, rows gone upstream.

        Returns the rows that share a question to which the table holds no good answer: it is still to come; or it
        was a failure, and only the ledger knows which of several counts.
        """
        if not (survey.rejected or survey.shared or survey.removed):
            return {}
        with self.warehouse.transaction() as connection:
            self._stage(connection, (_rejected(row, error) for row, error in survey.rejected.items()))
            self._replace(connection, where=f"NOT t.{GOOD}")
            left = self._share(connection, survey.shared)
            self._stage(connection, (_rejected(row, "") for row in survey.removed))
            connection.execute(f"DELETE FROM {self.target.sql} AS t USING _cb_staged AS s WHERE {self._same_row}")
        return left

    # --- statements --------------------------------------------------------------------------------

    def _stage(self, connection: duckdb.DuckDBPyConnection, answers: Iterable[Answer]) -> None:
        """Put answers into a temporary table of the target's shape."""
        structure = orjson.dumps(self.columns).decode()
        definitions = ", ".join(f"{quoted(name)} {ddl(kind)}" for name, kind in self.columns.items())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE _cb_staged ({definitions})")
        encoded = (self._encoded(answer) for answer in answers)
        while window := list(islice(encoded, WINDOW)):
            connection.execute(
                "INSERT INTO _cb_staged SELECT unnest(json_transform_strict(value, $structure)) "
                "FROM (SELECT unnest($rows::VARCHAR[]) AS value)",
                {"structure": structure, "rows": window},
            )

    def _replace(self, connection: duckdb.DuckDBPyConnection, *, where: str) -> None:
        """
        Let staged rows take the place of the table's rows where they may, and of none where there is none.

        A good row that stays in spite of a failure says so.
        """
        target, same_row = self.target.sql, self._same_row
        connection.execute(f"DELETE FROM {target} AS t USING _cb_staged AS s WHERE {same_row} AND ({where})")
        connection.execute(
            f"UPDATE {target} AS t SET error = 'this answer is kept from an earlier request; the newer one is ' "
            f"|| s.status || coalesce(': ' || s.error, '') FROM _cb_staged AS s "
            f"WHERE {same_row} AND t.{GOOD} AND NOT s.{GOOD} AND {NEWER}"
        )
        self._fill_gaps(connection)

    def _fill_gaps(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let staged rows in where the table has none."""
        target = self.target.sql
        connection.execute(
            f"INSERT INTO {target} BY NAME SELECT s.* FROM _cb_staged AS s ANTI JOIN {target} AS t ON {self._same_row}"
        )

    def _share(self, connection: duckdb.DuckDBPyConnection, shared: Mapping[RowKey, str]) -> dict[RowKey, Sharing]:
        """
        Give rows that ask the same thing the same answer; it was paid for once, so it costs nothing more.

        Returns the rows for which there is none.
        """
        if not shared:
            return {}
        self._stage(connection, (_sharing(row, request_hash) for row, request_hash in shared.items()))
        copied = [name for name in self.columns if name not in {*self.key_types, "partition_key"}]
        free = {
            "cost_usd": "CASE WHEN l.cost_usd IS NULL THEN NULL ELSE 0 END",
            "input_tokens": "0",
            "output_tokens": "0",
        }
        values = ", ".join(f"{free.get(name, 'l.' + quoted(name))} AS {quoted(name)}" for name in copied)
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_shared AS "
            f"SELECT {listed(self.key_types, 's.')}, s.partition_key, {values} FROM _cb_staged AS s "
            f"JOIN (SELECT * FROM {self.target.sql} WHERE {GOOD} "
            "QUALIFY row_number() OVER (PARTITION BY request_hash ORDER BY custom_id DESC) = 1) AS l "
            "ON l.request_hash = s.request_hash"
        )
        connection.execute("DELETE FROM _cb_staged")
        connection.execute("INSERT INTO _cb_staged BY NAME SELECT * FROM _cb_shared")
        known = {asked for (asked,) in connection.execute("SELECT DISTINCT request_hash FROM _cb_staged").fetchall()}
        self._replace(connection, where=UNLESS_WORSE)
        return self._left(connection, {row: asked for row, asked in shared.items() if asked not in known})

    def _left(self, connection: duckdb.DuckDBPyConnection, shared: Mapping[RowKey, str]) -> dict[RowKey, Sharing]:
        """Add to rows without a good answer which failure of their question the table shows for them."""
        query = (
            f"SELECT custom_id, request_hash, partition_key, {listed(self.key_types)} FROM {self.target.sql} "
            "WHERE request_hash IN (SELECT unnest(?::VARCHAR[]))"
        )
        found = connection.execute(query, [list(set(shared.values()))]).fetchall() if shared else []
        shown = {(RowKey(part, canonical_key(key) or ""), asked): custom_id for custom_id, asked, part, *key in found}
        return {row: Sharing(asked, shown.get((row, asked))) for row, asked in shared.items()}

    @property
    def _same_row(self) -> str:
        names = [*self.key_types, "partition_key"]
        return " AND ".join(f"t.{quoted(name)} IS NOT DISTINCT FROM s.{quoted(name)}" for name in names)

    def _encoded(self, answer: Answer) -> str:
        keys = zip(self.key_types, key_values(answer.row.key, len(self.key_types)), strict=True)
        bookkeeping = {name: getattr(answer, name) for name in BOOKKEEPING if name != "partition_key"}
        empty = dict.fromkeys(self.schema.columns)
        row = {
            **dict(keys),
            **empty,
            **answer.values,
            "partition_key": answer.row.partition_key,
            **bookkeeping,
        }
        return orjson.dumps(row).decode()

    def _add_missing_columns(self, connection: duckdb.DuckDBPyConnection) -> None:
        described = connection.execute(f"DESCRIBE {self.target.sql}").fetchall()
        present = {name.lower(): kind for name, kind, *_ in described}
        for name, kind in self.columns.items():
            if name.lower() not in present:
                connection.execute(f"ALTER TABLE {self.target.sql} ADD COLUMN {quoted(name)} {ddl(kind)}")
            elif not self._castable(connection, present[name.lower()], ddl(kind)):
                raise OutputModelError(
                    f"column {name!r} of {self.target} is {present[name.lower()]}, the output model now wants "
                    f"{ddl(kind)}. Nothing was sent. Rename the field, or rename or drop the old column."
                )

    def _castable(self, connection: duckdb.DuckDBPyConnection, present: str, wanted: str) -> bool:
        """Whether the column still is what it was created as, however DuckDB spells the type."""
        try:
            spelled = connection.execute(f"DESCRIBE SELECT NULL::{wanted}").fetchall()[0][1]
        except duckdb.Error as error:  # pragma: no cover  (a type of ours that DuckDB does not know)
            raise OutputModelError(f"the type {wanted} cannot be a column: {first_line(error)}") from error
        return bool(spelled == present)


def ddl(kind: Structure) -> str:
    """Write a type as DuckDB's column definitions do: `["BIGINT"]` is `BIGINT[]`."""
    match kind:
        case str():
            return kind
        case [item]:
            return f"{ddl(item)}[]"
        case dict():
            return f"STRUCT({', '.join(f'{quoted(name)} {ddl(field)}' for name, field in kind.items())})"
        case _:  # pragma: no cover  (no other structure is made)
            raise OutputModelError(f"{kind!r} is not a column type")


def _rejected(row: RowKey, error: str) -> Answer:
    return Answer(row=row, status=Verdict.REJECTED, error=error)


def _sharing(row: RowKey, request_hash: str) -> Answer:
    return Answer(row=row, status=Verdict.MISSING, request_hash=request_hash)
