"""What DuckDB says, in words that quote no document."""

import re

import duckdb

READ_ONLY = re.compile(
    r'Invalid Input Error: Cannot execute statement of type "\w+" on database "[^"]*" '
    r"which is attached in read-only mode!"
)
"""An error of the same kind as those that quote values, but without one."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text: the rest of DuckDB's repeats the statement."""
    return str(error).split("\n", 1)[0].strip()


def without_values(error: duckdb.Error) -> str:
    """Return what went wrong with a query. Errors about values quote them, and a value may be a document."""
    if READ_ONLY.fullmatch(first_line(error)):
        return first_line(error)
    if isinstance(error, (duckdb.DataError, duckdb.InvalidInputException)):
        kind = first_line(error).partition(":")[0]
        return f"{kind} (the value is not shown here; run the query in DuckDB to see it)"
    return first_line(error)
