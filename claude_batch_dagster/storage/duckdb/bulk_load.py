"""Columns of values, handed to DuckDB at once: many as a frame, whose values cost a tenth of those in a list."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

DTYPES: Mapping[str, str] = {
    "VARCHAR": "string[python]",
    "BIGINT": "Int64",
    "INTEGER": "Int64",
    "DOUBLE": "Float64",
    "BOOLEAN": "boolean",
}
"""How pandas holds values of a SQL type, None among them. Nothing is guessed from the values."""

TEXT = "VARCHAR"
"""How values of all other types are given."""

FEW = 500
"""Rows that are not worth a frame: making one takes four times as long as handing over a few lists."""


def hand_over(
    connection: duckdb.DuckDBPyConnection, name: str, types: Mapping[str, str], values: Mapping[str, Sequence[Any]]
) -> None:
    """
    Make a temporary table of columns of equal length, whose values are None or fit their types.

    `types` are SQL types: those of `DTYPES`, or any other whose values are given as text.
    """
    if len(values[next(iter(types))]) <= FEW:
        _hand_over_lists(connection, name, types, values)
        return
    import pandas as pd  # noqa: PLC0415  (who only looks at a database has a few rows, and need not wait for it)

    array: Any = pd.array  # by the name of a type that stands in a table, which its types cannot follow
    frame = pd.DataFrame(
        {column: array(values[column], dtype=DTYPES.get(kind, DTYPES[TEXT])) for column, kind in types.items()}
    )
    cast = ", ".join(f"CAST({column} AS {kind}) AS {column}" for column, kind in types.items())
    connection.register(f"{name}_given", frame)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {cast} FROM {name}_given")
    connection.unregister(f"{name}_given")


def _hand_over_lists(
    connection: duckdb.DuckDBPyConnection, name: str, types: Mapping[str, str], values: Mapping[str, Sequence[Any]]
) -> None:
    given = {column: kind if kind in DTYPES else TEXT for column, kind in types.items()}
    columns = ", ".join(
        f"CAST(unnest(${column}::{kind}[]) AS {types[column]}) AS {column}" for column, kind in given.items()
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {columns}", {column: list(values[column]) for column in types}
    )
