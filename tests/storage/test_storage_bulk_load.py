"""Values handed to DuckDB: few and many arrive as the same table."""

import duckdb
import pytest

from claude_batch_dagster.storage.duckdb import bulk_load
from claude_batch_dagster.storage.duckdb.bulk_load import FEW, hand_over

TYPES = {
    "number": "BIGINT",
    "small": "INTEGER",
    "text": "VARCHAR",
    "part": "DOUBLE",
    "flag": "BOOLEAN",
    "moment": "TIMESTAMP WITH TIME ZONE",
}

ROWS = [
    (1 << 62, -7, "", 0.1, True, "2026-01-02T03:04:05.678901+00:00"),
    (None, None, None, None, None, None),
    (-1, 0, "a\x00b 'quoted' \U0001f642", float("inf"), False, "2026-01-02T03:04:05+02:00"),
]


def handed(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[object, ...]]
) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return types and rows of the table that is made of them."""
    given = dict(zip(TYPES, zip(*rows, strict=True) if rows else [()] * len(TYPES), strict=True))
    hand_over(connection, "made", TYPES, given)
    described = connection.execute("DESCRIBE made").fetchall()
    return [kind for _, kind, *_ in described], connection.execute("FROM made").fetchall()


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], [ROWS[1]] * 3, []], ids=["all", "one", "nulls", "none"])
def test_few_values_and_many_arrive_as_the_same(
    rows: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lists or as a frame: types, values and their order."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        few = handed(connection, rows)
        monkeypatch.setattr(bulk_load, "FEW", -1)
        many = handed(connection, rows)

    assert few == many
    assert few[0] == list(TYPES.values())
    assert len(few[1]) == len(rows)


@pytest.mark.parametrize("n", [FEW, FEW + 1])
def test_no_value_is_lost_where_one_way_ends_and_the_other_begins(n: int) -> None:
    """The last of few and the first of many."""
    with duckdb.connect() as connection:
        hand_over(connection, "made", {"number": "BIGINT"}, {"number": range(n)})

        assert connection.execute("SELECT list(number) FROM made").fetchall() == [(list(range(n)),)]
