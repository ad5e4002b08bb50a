"""Ask the output table what it holds of some partitions."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from claude_batch_dagster.core.reporting.report import Standing
from claude_batch_dagster.core.tables import TableName, listed, quoted

N_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Documents:
    """Columns of the upstream table to be shown beside answers."""

    own_rows: str
    """A query for the upstream rows, each with its `_cb_partition`."""
    key: Sequence[str]
    columns: Sequence[str]


@dataclass
class _Gathered:
    verdicts: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    batch_ids: tuple[str, ...] = ()
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    fingerprint: str = "empty"


def standings(  # noqa: PLR0913  (three of them say what to show)
    connection: duckdb.DuckDBPyConnection,
    target: TableName,
    partition_keys: Sequence[str | None],
    *,
    label: str | None,
    shown: Sequence[str],
    documents: Documents | None = None,
) -> dict[str | None, Standing]:
    """
    Return what the table holds of each partition, those without rows included.

    `label` is the column whose values are counted; `shown` are the columns of the answers, of which the fingerprint
    is made, and those of the sample rows, to which `documents` adds columns of the upstream table.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE _cb_asked AS SELECT unnest(?::VARCHAR[]) AS _cb_partition",
        [list(partition_keys)],
    )
    rows = (
        f"(SELECT t.*, t.rowid AS _cb_row FROM {target.sql} AS t JOIN _cb_asked "
        "ON t.partition_key IS NOT DISTINCT FROM _cb_asked._cb_partition)"
    )
    gathered: dict[str | None, _Gathered] = defaultdict(_Gathered)
    _count(connection, rows, gathered)
    if label is not None:
        query = (
            f"SELECT partition_key, {quoted(label)}::VARCHAR, count(*) FROM {rows} "
            f"WHERE {quoted(label)} IS NOT NULL GROUP BY ALL"
        )
        for partition_key, value, n in connection.execute(query).fetchall():
            gathered[partition_key].labels[value] = n
    everywhere = _labels(connection, target, label) if label is not None else Counter[str]()
    _sample(connection, rows, shown, documents, gathered)
    _fingerprint(connection, rows, shown, gathered)
    return {
        key: Standing(
            verdicts=found.verdicts,
            input_tokens=found.input_tokens,
            output_tokens=found.output_tokens,
            labels=found.labels,
            labels_elsewhere=everywhere - found.labels,
            batch_ids=found.batch_ids,
            samples=found.samples,
            fingerprint=found.fingerprint,
        )
        for key, found in ((key, gathered[key]) for key in partition_keys)
    }


def _labels(connection: duckdb.DuckDBPyConnection, target: TableName, label: str) -> Counter[str]:
    """Count the labels of the whole table."""
    query = (
        f"SELECT {quoted(label)}::VARCHAR, count(*) FROM {target.sql} WHERE {quoted(label)} IS NOT NULL GROUP BY ALL"
    )
    return Counter(dict(connection.execute(query).fetchall()))


def _count(connection: duckdb.DuckDBPyConnection, rows: str, gathered: dict[str | None, _Gathered]) -> None:
    query = (
        "SELECT partition_key, status, count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), "
        f"list(DISTINCT batch_id) FILTER (batch_id IS NOT NULL) FROM {rows} GROUP BY ALL"
    )
    for partition_key, status, n, n_in, n_out, batch_ids in connection.execute(query).fetchall():
        found = gathered[partition_key]
        found.verdicts[status] = n
        found.input_tokens += int(n_in)
        found.output_tokens += int(n_out)
        found.batch_ids = tuple(sorted({*found.batch_ids, *(batch_ids or ())}))


def _sample(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    shown: Sequence[str],
    documents: Documents | None,
    gathered: dict[str | None, _Gathered],
) -> None:
    """Pick rows by a hash, so that the same rows are shown each time."""
    # By number, in one pass over two columns: to sort whole rows takes as much memory as there are.
    first = f"arg_min(_cb_row, hash({quoted(shown[0])}), {N_SAMPLES})"
    numbers = f"SELECT unnest({first}) AS _cb_row FROM {rows} GROUP BY partition_key"
    picked = f"(SELECT * FROM {rows} SEMI JOIN ({numbers}) AS n USING (_cb_row))"
    added, join = "", ""
    if documents is not None:
        added = f", {listed(documents.columns, 'u.')}"
        same_key = " AND ".join(f"u.{quoted(name)} = t.{quoted(name)}" for name in documents.key)
        one_each = f"(SELECT DISTINCT ON (_cb_partition, {listed(documents.key)}) * FROM {documents.own_rows})"
        join = f"LEFT JOIN {one_each} AS u ON {same_key} AND u._cb_partition IS NOT DISTINCT FROM t.partition_key"
    names = (*shown, *(documents.columns if documents else ()))
    query = f"SELECT t.partition_key, {listed(shown, 't.')}{added} FROM {picked} AS t {join}"
    for partition_key, *cells in connection.execute(query).fetchall():
        gathered[partition_key].samples.append(dict(zip(names, cells, strict=True)))


def _fingerprint(
    connection: duckdb.DuckDBPyConnection, rows: str, shown: Sequence[str], gathered: dict[str | None, _Gathered]
) -> None:
    """Add up a digest of each row, in whatever order the rows come: no two rows of a partition are the same."""
    # MD5 of JSON text: DuckDB's own hash may be another one in its next version.
    row = f"to_json(struct_pack({', '.join(f'{quoted(name)} := {quoted(name)}' for name in shown)}))::VARCHAR"
    query = (
        "SELECT partition_key, concat_ws('-', count(*), bit_xor(md5_number_upper(r)), bit_xor(md5_number_lower(r))) "
        f"FROM (SELECT partition_key, {row} AS r FROM {rows}) GROUP BY partition_key"
    )
    for partition_key, fingerprint in connection.execute(query).fetchall():
        gathered[partition_key].fingerprint = fingerprint
