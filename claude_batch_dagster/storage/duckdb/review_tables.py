"""What a draw of rows to be reviewed needs to be there, and what it must not write over."""

from collections.abc import Collection, Mapping, Sequence

import duckdb

from claude_batch_dagster.core.reviewing import REASON, WEIGHT, Labelled, Review
from claude_batch_dagster.core.tables import quoted
from claude_batch_dagster.errors import ConfigurationError, UpstreamError
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.duckdb_errors import without_values
from claude_batch_dagster.storage.duckdb.warehouse import exists


def check_tables(connection: duckdb.DuckDBPyConnection, review: Review, reader: Reader) -> None:
    """
    Raise `UpstreamError` if answers or documents are not there.

    Raises `ConfigurationError` if the queue of before holds labels that a person gave, or is another table.
    """
    task = review.task
    if not exists(connection, task.target):
        raise UpstreamError(f"there is no table {task.target} of answers yet: materialize its asset first.")
    _check_columns(_kinds(connection, task.target.sql), (*task.schema.columns,), f"the table {task.target}")
    _check_columns(reader.types(), review.documents, f"the upstream {task.upstream.shown_as}")
    if exists(connection, review.target):
        _check_queue(connection, review)


def labelled_columns(connection: duckdb.DuckDBPyConnection, review: Review, labelled: Labelled) -> Sequence[str]:
    """Return the columns of the table of labels; raise `UpstreamError` if it is not there, or lacks the key."""
    try:
        kinds = _kinds(connection, labelled.relation)
    except duckdb.Error as error:
        raise UpstreamError(
            f"the labelled {labelled.shown_as} cannot be read: {without_values(error)}. Materialize it first, or leave "
            "labelled= out while nothing is labelled."
        ) from error
    _check_columns(kinds, review.task.upstream.key, f"the labelled {labelled.shown_as}")
    return tuple(kinds)


def _check_queue(connection: duckdb.DuckDBPyConnection, review: Review) -> None:
    target, there = review.target, {name.lower() for name in _kinds(connection, review.target.sql)}
    if not {REASON, WEIGHT} <= there:
        raise ConfigurationError(
            f"there is a table {target} that is no review queue, and the queue would take its place. Rename it."
        )
    values = [name for name in review.true_fields if name.lower() in there]
    filled = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in values) or "false"
    if connection.execute(f"SELECT 1 FROM {target.sql} WHERE {filled} LIMIT 1").fetchone() is not None:
        raise ConfigurationError(
            f"the table {target} holds labels, and the next queue would take its place. Copy them into a table of "
            f"their own and name that with labelled=; then drop {target}."
        )


def _check_columns(there: Mapping[str, str], needed: Collection[str], shown_as: str) -> None:
    folded = {name.lower() for name in there}
    for name in needed:
        if name.lower() not in folded:
            raise UpstreamError(
                f"the review needs column {name!r}, which {shown_as} does not have. Its columns are: "
                f"{', '.join(there)}."
            )


def _kinds(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Return the columns of a table with their SQL types."""
    return {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
