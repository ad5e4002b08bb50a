"""The table held against upstream at the end of a run: what goes, what stays, and what is lacking."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.partitions import Partition, PartitionRule
from claude_batch_dagster.core.survey import Survey
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.names import TableName
from claude_batch_dagster.storage.pruning import prune
from claude_batch_dagster.storage.upstream import Reader, Upstream
from claude_batch_dagster.storage.warehouse import Warehouse

Run = Callable[[str], Any]


@pytest.fixture
def run(warehouse: Warehouse) -> Run:
    """Return a function that runs SQL on the warehouse."""

    def run(sql: str) -> Any:
        with warehouse.transaction() as connection:
            return connection.execute(sql).fetchall()

    return run


def pruned(
    warehouse: Warehouse,
    *parts: str | None,
    key: tuple[str, ...] = ("id",),
    expr: str | None = None,
    read: Sequence[RowKey] = (),
    keep_others: bool = False,
) -> Counter[str | None]:
    """Prune the table of answers, after a survey that has read these rows."""
    survey = Survey()
    for row in read:
        survey.count(row)
    upstream = Upstream(relation="docs", shown_as="table docs", key=key, rule=PartitionRule(expr=expr))
    with warehouse.transaction() as connection:
        reader = Reader(connection=connection, upstream=upstream, target=TableName("main", "answers"))
        return prune(reader, [Partition(key=part) for part in parts], survey, keep_others=keep_others)


def test_f95_what_is_gone_goes_and_what_has_come_is_not_expected(warehouse: Warehouse, run: Run) -> None:
    """Of the partitions asked for, and of no other; a key that is there twice is one."""
    run("CREATE TABLE docs AS FROM (VALUES (1, 'p'), (1, 'p'), (2, 'p'), (3, 'q'), (4, 'r')) AS t(id, part)")
    run("CREATE TABLE answers AS FROM (VALUES (1, 'p'), (9, 'p'), (1, 'q'), (9, 'r')) AS t(id, partition_key)")

    expected = pruned(warehouse, "p", "q", "s", expr="part", read=[RowKey("p", "1"), RowKey("p", "2")])

    assert expected == Counter({"p": 2})  # the 3 of q has come since, and has no row yet
    assert run("FROM answers ORDER BY ALL") == [(1, "p"), (9, "r")]


def test_what_others_have_landed_stays_where_what_is_read_is_old(warehouse: Warehouse, run: Run) -> None:
    """Such as a frame from the beginning of the run: rows that it lacks count, and none is deleted."""
    run("CREATE TABLE docs AS SELECT 1 AS id")
    run("CREATE TABLE answers AS SELECT unnest([1, 2]) AS id, NULL::VARCHAR AS partition_key")

    assert pruned(warehouse, None, read=[RowKey(None, "1")], keep_others=True) == Counter({None: 2})
    assert run("SELECT id FROM answers ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("kind", "value"), [("INTEGER", "NULL"), ("DOUBLE", "'nan'::DOUBLE"), ("FLOAT", "'inf'::FLOAT"), ("DOUBLE", "NULL")]
)
def test_f5_rows_without_a_key_are_one_row(warehouse: Warehouse, run: Run, kind: str, value: str) -> None:
    """A number that is none is no key either; the row of the table has NULL for it."""
    run(f"CREATE TABLE docs AS SELECT unnest([{value}, {value}, NULL, 1])::{kind} AS id")
    run(f"CREATE TABLE answers AS SELECT unnest([NULL, 1, 2])::{kind} AS id, NULL::VARCHAR AS partition_key")

    assert pruned(warehouse, None) == Counter({None: 2})
    assert run("SELECT id FROM answers ORDER BY ALL") == [(1,), (None,)]


def test_f5_one_part_of_a_key_is_none(warehouse: Warehouse, run: Run) -> None:
    """A row that lacks a part of its key lacks all of it."""
    run("CREATE TABLE docs AS FROM (VALUES (1, 'a'), (NULL, 'a'), (2, NULL)) AS t(n, lang)")
    run("CREATE TABLE answers AS SELECT 1 AS n, 'b' AS lang, NULL::VARCHAR AS partition_key")

    read = [RowKey(None, '[1,"a"]'), RowKey(None, "null")]

    assert pruned(warehouse, None, key=("n", "lang"), read=read) == Counter({None: 2})
    assert run("FROM answers") == []


def test_f1_nothing_goes_where_upstream_cannot_be_read(warehouse: Warehouse, run: Run) -> None:
    """It was dropped, or lacks its key."""
    run("CREATE TABLE answers AS SELECT 1 AS id, NULL::VARCHAR AS partition_key")

    with pytest.raises(UpstreamError, match="table docs cannot be read"):
        pruned(warehouse, None)

    run("CREATE TABLE docs AS SELECT 1 AS uid")
    with pytest.raises(UpstreamError, match="table docs cannot be read"):
        pruned(warehouse, None)
    assert run("SELECT id FROM answers") == [(1,)]
