"""Columns of values, handed to DuckDB at once: a list as a parameter costs ten times as much."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pandas as pd

DTYPES: Mapping[str, str] = {
    "VARCHAR": "string[python]",
    "BIGINT": "Int64",
    "INTEGER": "Int64",
    "DOUBLE": "Float64",
    "BOOLEAN": "boolean",
}
"""How pandas holds values of a SQL type, None among them. Nothing is guessed from the values."""


def hand_over(
    connection: duckdb.DuckDBPyConnection, name: str, types: Mapping[str, str], values: Mapping[str, Sequence[Any]]
) -> None:
    """
    Make a temporary table of columns of equal length, whose values are None or fit their types.

    `types` are SQL types: those of `DTYPES`, or any other whose values are given as text.
    """
    array: Any = pd.array  # by the name of a type that stands in a table, which its types cannot follow
    frame = pd.DataFrame(
        {column: array(values[column], dtype=DTYPES.get(kind, "string[python]")) for column, kind in types.items()}
    )
    cast = ", ".join(f"CAST({column} AS {kind}) AS {column}" for column, kind in types.items())
    connection.register(f"{name}_given", frame)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {cast} FROM {name}_given")
    connection.unregister(f"{name}_given")
