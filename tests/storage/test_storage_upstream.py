from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.tables import quoted
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from tests.storage.test_storage_asking import TARGET, Found, asks

YEAR = Partition(key="2026", start=datetime(2026, 1, 1), end=datetime(2027, 1, 1))  # noqa: DTZ001  (as Dagster's rule)
NEXT_YEAR = Partition(key="2027", start=datetime(2027, 1, 1), end=datetime(2028, 1, 1))  # noqa: DTZ001

DAYS = (
    "(VALUES (1, '2025-12-31'), (2, '2026-01-01'), (3, '2026-12-31'), (4, '2027-01-01'), (5, '2028-01-01'), (6, NULL))"
    " AS t(id, day)"
)

Read = Callable[..., Found]
Run = Callable[[str], Any]


@pytest.fixture
def read(warehouse: Warehouse) -> Read:
    """Return a function that reads upstream rows, to ask about them."""

    def read(*partitions: Partition, expr: str | None = None, timezone: str = "UTC", **options: Any) -> Found:
        with warehouse.connect() as connection:
            return asks(connection, *partitions, rule=PartitionRule(expr=expr, timezone=timezone), **options)

    return read


# --- what must be there ----------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"relation": "nowhere"}, "upstream table docs cannot be read: .*nowhere", id="F1-table"),
        pytest.param({"relation": "(SELECT 1 FROM)"}, "cannot be read: Parser Error", id="F1-sql"),
        pytest.param({"key": ["uid"]}, "key needs column 'uid'.*Its columns are: id, text, tags", id="F1-key"),
        pytest.param({"prompt": "{body}"}, "prompt needs column 'body'.*docs does not have", id="F1-prompt"),
        pytest.param(
            {"key": ["tags"]}, r"key column 'tags' is of type VARCHAR\[\], which cannot be a key", id="F5-list"
        ),
        pytest.param({"expr": "year(nothing)"}, r"partition_expr 'year\(nothing\)' does not work", id="F1-expr"),
        pytest.param({"expr": "1; DROP TABLE docs"}, "does not work on the upstream", id="F119-expr"),
    ],
)
def test_what_is_missing_upstream_is_named_before_anything_is_sent(
    read: Read, run: Run, options: dict[str, Any], message: str
) -> None:
    """Tables, columns, types and expressions that do not work stop the run with the cure."""
    run("CREATE TABLE docs AS SELECT 1 AS id, 'a' AS text, ['x'] AS tags")

    with pytest.raises(UpstreamError, match=message) as caught:
        read(**options)
    assert "Nothing was sent" in str(caught.value)
    assert run("FROM docs") == [(1, "a", ["x"])]


def test_names_of_columns_are_found_in_any_case(read: Read, run: Run) -> None:
    """As DuckDB does; the key keeps the name that the definition gives it."""
    run('CREATE TABLE docs AS SELECT 1 AS "ID", \'a\' AS "Text"')

    found = read(prompt=lambda row: row["Text"])

    assert (found.key_types, found.sent) == ({"id": "INTEGER"}, [(None, "1")])


def test_f119_hostile_names_are_only_names(read: Read, run: Run) -> None:
    """F119: whatever a key column is called, it is quoted."""
    name = 'x"; DROP TABLE docs; --'
    run(f"CREATE TABLE docs AS SELECT 1 AS {quoted(name)}, 'a' AS text")

    assert read(key=[name]).sent == [(None, "1")]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("value", "kind", "key"),
    [
        ("'a'", "VARCHAR", '"a"'),
        ("1::TINYINT", "TINYINT", "1"),
        ("18446744073709551615::UBIGINT", "UBIGINT", '"18446744073709551615"'),
        ("1180591620717411303424::HUGEINT", "HUGEINT", '"1180591620717411303424"'),
        ("'00000000-0000-0000-0000-000000000001'::UUID", "UUID", '"00000000-0000-0000-0000-000000000001"'),
        ("DATE '2026-01-02'", "DATE", '"2026-01-02"'),
        ("TIMESTAMP '2026-01-02 03:04:05.000006'", "TIMESTAMP", '"2026-01-02T03:04:05.000006"'),
        ("TIMESTAMPTZ '2026-01-02 03:04:05+00'", "TIMESTAMP WITH TIME ZONE", '"2026-01-02T03:04:05+00:00"'),
        ("TIME '03:04:05'", "TIME", '"03:04:05"'),
        ("1.50::DECIMAL(9,2)", "DECIMAL(9,2)", '"1.50"'),
        ("0.1::DOUBLE", "DOUBLE", "0.1"),
        ("true", "BOOLEAN", "true"),
        ("'a'::ENUM('a', 'b')", "VARCHAR", '"a"'),
    ],
)
def test_f5_keys_of_any_scalar_type_are_taken(read: Read, run: Run, value: str, kind: str, key: str) -> None:
    """The key keeps its type in the output table; an enum becomes text."""
    run(f"CREATE TABLE docs AS SELECT {value} AS id, 'a' AS text")

    found = read()

    assert (found.key_types, found.sent) == ({"id": kind}, [(None, key)])


# --- which rows ------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("kind", "expr"),
    [
        ("DATE", "day"),
        ("TIMESTAMP", "day"),
        ("VARCHAR", "day"),
        ("TIMESTAMP_NS", "day"),
        ("DATE", "day + INTERVAL 0 DAY"),
    ],
)
def test_a_time_window_takes_its_first_moment_and_not_its_last(read: Read, run: Run, kind: str, expr: str) -> None:
    """Each row is in exactly one window, whatever type its time has; a row without a time is in none."""
    run(f"CREATE TABLE docs AS SELECT id, 'text ' || id AS text, day::{kind} AS day FROM {DAYS}")  # noqa: S608

    assert read(YEAR, NEXT_YEAR, expr=expr).sent == [("2026", "2"), ("2026", "3"), ("2027", "4")]


def test_a_value_that_is_no_time_is_told_without_repeating_it(read: Read, run: Run) -> None:
    """It may be a document; the message says what to do."""
    run("CREATE TABLE docs AS SELECT 1 AS id, 'a' AS text, 'SECRET' AS day")

    with pytest.raises(UpstreamError, match=r"Conversion Error.*Nothing was sent.*Use try_cast") as caught:
        read(YEAR, expr="day")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(("timezone", "keys"), [("UTC", ["2", "3"]), ("America/New_York", ["1", "2"])])
def test_f117_times_with_a_zone_are_read_in_the_zone_of_the_partitions(
    read: Read, run: Run, timezone: str, keys: list[str]
) -> None:
    """The year begins when it begins where the partitions are."""
    first, last = (datetime(year, 1, 1, tzinfo=ZoneInfo(timezone)).astimezone(UTC) for year in (2026, 2027))
    year = replace(YEAR, instants=(first.replace(tzinfo=None), last.replace(tzinfo=None)))
    run(
        "CREATE TABLE docs AS SELECT id, 'text ' || id AS text, day::TIMESTAMPTZ AS day FROM (VALUES "
        "(1, '2027-01-01 04:59:59+00'), (2, '2026-01-01 05:00:00+00'), (3, '2026-01-01 04:59:59+00')) AS t(id, day)"
    )

    assert sorted(key for _, key in read(year, expr="day", timezone=timezone).sent) == keys


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name", ["a", "", "../x", "a'; DROP TABLE docs; --", 'a"b', "a\nb", "é" * 300, "%", "2026-01-01", "null", "a\x00b"]
)
def test_f118_f119_any_partition_key_is_only_a_value(read: Read, run: Run, warehouse: Warehouse, name: str) -> None:
    """Hostile partition keys select their own rows and nothing else."""
    with warehouse.connect() as connection:
        connection.execute(
            "CREATE TABLE docs AS SELECT unnest([1, 2]) AS id, 't' || id AS text, unnest([?, 'z']) AS part", [name]
        )

    assert read(Partition(key=name), expr="part").sent == [(name, "1")]
    assert len(run("FROM docs")) == 2


def test_a_partition_expression_may_be_of_any_type(read: Read, run: Run) -> None:
    """A number is compared with the partition key as text."""
    run("CREATE TABLE docs AS SELECT range AS id, 't' || range AS text, range % 2 AS part FROM range(4)")

    assert read(Partition(key="1"), expr="part").sent == [("1", "1"), ("1", "3")]


def test_without_partitions_every_row_is_read(read: Read, run: Run) -> None:
    """In the order of the table, across windows."""
    run("CREATE TABLE docs AS SELECT range AS id, 't' || range AS text FROM range(4500)")

    assert read().sent == [(None, str(n)) for n in range(4500)]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("partitions", "rule"),
    [
        pytest.param([Partition(key=None)], PartitionRule(expr=None), id="whole"),
        pytest.param([Partition(key="x"), Partition(key="y")], PartitionRule(expr="part"), id="keys"),
        pytest.param([YEAR], PartitionRule(expr="day"), id="window"),
        pytest.param([YEAR, NEXT_YEAR], PartitionRule(expr="day"), id="windows"),
        pytest.param(
            [Partition(key=f"x|{year.key}", parts=(Partition(key="x"), year)) for year in (YEAR, NEXT_YEAR)],
            PartitionRule(expr=None, parts=(PartitionRule(expr="part"), PartitionRule(expr="day"))),
            id="dimensions",
        ),
    ],
)
def test_rows_shown_beside_answers_are_those_that_were_asked_about(
    warehouse: Warehouse, run: Run, partitions: list[Partition], rule: PartitionRule
) -> None:
    """Whoever reads the documents again, for samples, finds each in the very partition that asked about it."""
    run(
        "CREATE TABLE docs AS SELECT id, 'text ' || id AS text, day::DATE AS day, "  # noqa: S608
        f"CASE WHEN id < 4 THEN 'x' ELSE 'y' END AS part FROM {DAYS}"
    )
    upstream = Upstream(relation="docs", shown_as="table docs", key=("id",), rule=rule)

    with warehouse.connect() as connection:
        found = asks(connection, *partitions, rule=rule)
        own = Reader(connection=connection, upstream=upstream, target=TARGET).own_rows(partitions)
        again = connection.execute(f"SELECT id, _cb_partition FROM {own} ORDER BY ALL").fetchall()  # noqa: S608

    assert again == [row[:2] for row in found.rows]
    assert again


def test_f117_an_hour_that_comes_twice_shows_no_row_twice(warehouse: Warehouse, run: Run) -> None:
    """Of two windows that begin alike by the clock, one is empty for times without a zone."""
    run("CREATE TABLE docs AS SELECT 1 AS id, 'a' AS text, TIMESTAMP '2026-10-25 02:30' AS at")
    two = datetime(2026, 10, 25, 2)  # noqa: DTZ001  (as Dagster's rule)
    hours = [Partition(key="summer", start=two, end=two), Partition(key="winter", start=two, end=two.replace(hour=3))]
    hours.append(Partition(key="next", start=two.replace(hour=3), end=two.replace(hour=4)))
    upstream = Upstream(relation="docs", shown_as="docs", key=("id",), rule=PartitionRule(expr='"at"'))

    with warehouse.connect() as connection:
        own = Reader(connection=connection, upstream=upstream, target=TARGET).own_rows(hours)
        assert connection.execute(f"SELECT _cb_partition FROM {own}").fetchall() == [("winter",)]  # noqa: S608


# --- from a DataFrame ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [object, "str", "string"])
def test_a_frame_is_read_as_a_table_is(read: Read, dtype: Any) -> None:
    """NaN and None are NULL; numbers and texts keep their type."""
    frame = pd.DataFrame({"id": [1, 2, 3, 4], "text": pd.Series(["a", None, np.nan, "é🙂"], dtype=dtype)})

    found = read(frame=frame)

    assert (found.sent, found.key_types) == ([(None, "1"), (None, "4")], {"id": "BIGINT"})
    assert list(found.problems) == [2, 3]


ODD_COLUMNS = {
    "period": pd.period_range("2026-11", periods=2, freq="M"),
    "interval": pd.interval_range(0, 2),
    "sparse": pd.arrays.SparseArray([1.0, np.nan]),
    "sparse whole": pd.arrays.SparseArray([0, 1]),
    "category": pd.Categorical(["a", None]),
    "zone": pd.date_range("2026-11-26", periods=2, tz="Europe/Berlin"),
    "span": pd.timedelta_range("1h", periods=2),
    "complex": np.array([1 + 2j, 0]),
}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ODD_COLUMNS)
def test_a_column_that_nobody_uses_keeps_no_frame_from_being_read(read: Read, kind: str) -> None:
    """Whatever pandas holds in it; one that DuckDB does not know is read as text."""
    frame = pd.DataFrame({"id": [1, 2], "text": ["a", "b"], "odd": ODD_COLUMNS[kind]})

    assert read(frame=frame).sent == [(None, "1"), (None, "2")]


def test_f10_a_lone_surrogate_in_a_frame_rejects_its_row_alone(read: Read) -> None:
    """DuckDB refuses the whole frame for it; the plugin does not."""
    texts = pd.Series(["ok", "half \ud83d", None, np.nan, b"bytes", "\U0001f642"], dtype=object)

    found = read(frame=pd.DataFrame({"id": range(6), "text": texts, "other": pd.Series(["\ude00"] * 6, dtype=object)}))

    assert found.sent == [(None, "0"), (None, "4"), (None, "5")]
    assert found.problems == {
        1: "the text cannot be encoded as UTF-8 JSON (str is not valid UTF-8: surrogates not allowed)",
        2: "column 'text' is NULL",
        3: "column 'text' is NULL",
    }


def test_f10_a_lone_surrogate_in_a_key_rejects_its_row_alone(read: Read) -> None:
    """The row has no usable key, the others have."""
    frame = pd.DataFrame({"id": pd.Series(["a", "\ud83d"], dtype=object), "text": ["x", "y"]})

    found = read(frame=frame)

    assert (found.sent, list(found.problems)) == ([(None, '"a"')], [None])
    assert found.key_types == {"id": "VARCHAR"}


def test_a_frame_is_not_changed_by_reading_it(read: Read) -> None:
    """It belongs to the user."""
    frame = pd.DataFrame({"id": [1], "text": pd.Series(["\ud83d"], dtype=object), 3: ["number for a name"]})
    before = frame.copy()

    read(frame=frame)

    pd.testing.assert_frame_equal(frame, before)
