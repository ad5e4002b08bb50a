from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import duckdb
import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.outputs import BOOKKEEPING, OutputSchema
from claude_batch_dagster.core.ports import Answer
from claude_batch_dagster.core.report import Standing
from claude_batch_dagster.core.survey import Sharing, Survey
from claude_batch_dagster.errors import OutputModelError, WarehouseError
from claude_batch_dagster.storage.names import TableName, listed
from claude_batch_dagster.storage.outputs import OutputTable
from claude_batch_dagster.storage.statistics import Documents, standings
from claude_batch_dagster.storage.warehouse import Warehouse
from tests.core.clocks import CrashError

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
Make = Callable[..., OutputTable]
Run = Callable[[str], Any]


class Label(BaseModel):
    """A small output model."""

    label: Literal["war", "peace"]


@pytest.fixture
def make(warehouse: Warehouse) -> Make:
    """Return a function that prepares an output table."""

    def make(
        model: type[BaseModel] = Label,
        key_types: Mapping[str, str] | None = None,
        target: TableName | None = None,
    ) -> OutputTable:
        table = OutputTable(
            warehouse=warehouse,
            target=target or TableName("main", "answers"),
            key_types=key_types or {"id": "INTEGER"},
            schema=OutputSchema(model),
        )
        table.prepare()
        return table

    return make


@pytest.fixture
def run(warehouse: Warehouse) -> Run:
    """Return a function that runs SQL on the warehouse."""

    def run(sql: str) -> Any:
        with warehouse.transaction() as connection:
            return connection.execute(sql).fetchall()

    return run


def answer(key: str = "1", asked: str | None = "q1", status: str = "succeeded", **fields: Any) -> Answer:
    """Return an answer; `asked` is its custom_id, which grows with the time of the question."""
    values = {"label": "war"} if status == "succeeded" else {}
    return Answer(
        row=RowKey(fields.pop("partition", "p"), key),
        status=status,
        **{"values": values, "custom_id": asked, "request_hash": f"hash of {key}", **fields},
    )


def good(label: str, asked: str) -> Answer:
    """Return a good answer."""
    return answer(asked=asked, values={"label": label})


def bad(asked: str | None, status: str = "errored", error: str | None = "oops") -> Answer:
    """Return a failure."""
    return answer(asked=asked, status=status, error=error)


# --- landing ---------------------------------------------------------------------------------------


def test_an_answer_lands_with_all_its_columns(make: Make, run: Run) -> None:
    """Key, output fields, then the bookkeeping, as the design names them."""
    full = answer(
        error="flagged",
        batch_id="msgbatch_1",
        model="claude-haiku-5-5",
        stop_reason="end_turn",
        input_tokens=10,
        output_tokens=2,
        cost_usd=0.25,
        attempt=2,
        answered_at=NOON,
    )
    make().apply("c1", [full])

    assert [name for name, *_ in run("DESCRIBE answers")] == ["id", "label", *BOOKKEEPING]
    assert run("FROM answers") == [
        (
            1,
            "war",
            "succeeded",
            "flagged",
            "p",
            "msgbatch_1",
            "q1",
            "hash of 1",
            "claude-haiku-5-5",
            "end_turn",
            10,
            2,
            0.25,
            2,
            NOON,
        )
    ]


def test_f85_f97_a_chunk_lands_once(make: Make, run: Run) -> None:
    """A replay after a crash changes nothing, not even what others changed since."""
    table = make()
    assert table.apply("c1", [answer("1"), answer("2")])
    run("UPDATE answers SET label = 'peace'")

    assert not table.apply("c1", [answer("1"), answer("3")])
    assert run("SELECT id, label FROM answers ORDER BY id") == [(1, "peace"), (2, "peace")]


def test_the_same_chunk_id_lands_in_each_table_it_is_meant_for(make: Make, run: Run) -> None:
    """What has landed is remembered by table."""
    other = make(target=TableName("other schema", "answers"))

    assert (make().apply("c1", [answer()]), other.apply("c1", [answer()])) == (True, True)
    assert run('SELECT count(*) FROM "other schema".answers') == [(1,)]


def test_f85_a_landing_that_breaks_off_leaves_nothing(make: Make, run: Run) -> None:
    """Rows and the mark of their chunk come together or not at all."""
    table = make()

    def broken() -> Iterable[Answer]:
        yield answer("1")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        table.apply("c1", broken())
    assert run("SELECT count(*) FROM answers") == [(0,)]
    assert table.apply("c1", [answer("1")])


class DyingWarehouse(Warehouse):
    """A database whose user dies as soon as a transaction is through."""

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Commit, and die."""
        with super().transaction() as connection:
            yield connection
        raise CrashError


def test_f97_a_crash_right_after_the_landing_is_a_landing(make: Make, run: Run, warehouse: Warehouse) -> None:
    """Rows and the mark of their chunk are in one transaction: what has landed is known to have landed."""
    table = make()
    with pytest.raises(CrashError):
        replace(table, warehouse=DyingWarehouse(warehouse.database)).apply("c1", [answer("1")])
    run("UPDATE answers SET label = 'peace'")

    assert not table.apply("c1", [answer("1")])
    assert run("SELECT id, label FROM answers") == [(1, "peace")]


FIRST, SECOND = "q1", "q2"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("answers", "stands"),
    [
        pytest.param([bad(FIRST), good("war", SECOND)], ("war", "succeeded"), id="good-after-bad"),
        pytest.param([good("war", FIRST), bad(SECOND)], ("war", "succeeded"), id="bad-after-good"),
        pytest.param([bad(FIRST), bad(SECOND, "refused"), good("war", "q3")], ("war", "succeeded"), id="three"),
    ],
)
def test_f93_of_two_answers_to_a_row_the_better_stands_in_either_order_of_landing(
    make: Make, run: Run, answers: list[Answer], stands: tuple[str | None, str]
) -> None:
    """A good answer is never replaced by a failure."""
    for order, ordered in enumerate(permutations(answers)):
        table = make(target=TableName("main", f"answers{order}"))
        for n, one in enumerate(ordered):
            table.apply(f"c{n}", [one])

        assert run(f"SELECT label, status FROM answers{order}") == [stands]  # noqa: S608


def test_an_answer_that_stays_in_spite_of_a_failure_says_so(make: Make, run: Run) -> None:
    """People see that the table is behind what was last asked."""
    table = make()
    table.apply("c1", [good("war", FIRST)])
    table.apply("c2", [bad(SECOND)])

    kept = "this answer is kept from an earlier request; the newer one is errored: oops"
    assert run("SELECT label, status, error FROM answers") == [("war", "succeeded", kept)]


def test_of_two_good_answers_to_a_row_the_one_that_lands_last_stands(make: Make, run: Run) -> None:
    """Whatever their ids: the clock may have gone back between the two questions. What is out of date never comes."""
    table = make()
    table.apply("c2", [good("peace", SECOND)])
    table.apply("c1", [good("war", FIRST)])

    assert run("SELECT label, status FROM answers") == [("war", "succeeded")]


def test_a_new_good_answer_takes_the_word_of_an_earlier_failure_away(make: Make, run: Run) -> None:
    """The error of a row is about what stands there."""
    table = make()
    for n, one in enumerate([good("war", "q1"), bad("q2"), good("peace", "q3")]):
        table.apply(f"c{n}", [one])

    assert run("SELECT label, error FROM answers") == [("peace", None)]


def test_partitions_do_not_touch_each_other(make: Make, run: Run) -> None:
    """The same key in another partition, or in none, is another row."""
    table = make()
    table.apply("c1", [answer(partition=part) for part in ("p", "q", None)])
    table.apply("c2", [answer(partition=None, asked="q2", values={"label": "peace"})])

    assert run("SELECT partition_key, label FROM answers ORDER BY ALL") == [("p", "war"), ("q", "war"), (None, "peace")]


def test_restoring_lands_good_answers_in_place_of_anything_and_failures_of_no_good_ones(make: Make, run: Run) -> None:
    """An answer that was paid for comes back whatever chunk has landed since; a failure harms none."""
    table = make()
    table.apply("c2", [good("peace", SECOND), answer("2", status="errored")])

    table.restore([good("war", FIRST), answer("2", "q1", "refused"), answer("3", "q1")])
    table.restore([bad(FIRST)])

    found = run("SELECT id, label, status FROM answers ORDER BY id")
    assert found == [(1, "war", "succeeded"), (2, None, "refused"), (3, "war", "succeeded")]


# --- settling --------------------------------------------------------------------------------------


def survey(**facts: Any) -> Survey:
    """Return a survey of what needs no sending."""
    return Survey(**facts)


def test_rejected_rows_land_with_their_reason_and_replace_no_good_answer(make: Make, run: Run) -> None:
    """A row that cannot be asked any more keeps the answer it has, and says so."""
    table = make()
    table.apply("c1", [answer("1"), answer("2", status="errored")])

    rejected = {RowKey("p", key): "column 'text' is NULL" for key in ("1", "2", "3")}
    table.settle(survey(rejected=rejected))
    table.settle(survey(rejected=rejected))

    kept = "this answer is kept from an earlier request; the newer one is rejected: column 'text' is NULL"
    assert run("SELECT id, status, error FROM answers ORDER BY id") == [
        (1, "succeeded", kept),
        (2, "rejected", "column 'text' is NULL"),
        (3, "rejected", "column 'text' is NULL"),
    ]


def test_rows_that_ask_the_same_get_the_answer_at_no_cost(make: Make, run: Run) -> None:
    """Everything is copied but the key, the partition and the bill."""
    table = make()
    paid: dict[str, Any] = {
        "batch_id": "b",
        "model": "m",
        "input_tokens": 9,
        "output_tokens": 3,
        "cost_usd": 0.5,
        "answered_at": NOON,
    }
    table.apply("c1", [answer("1", **paid)])

    table.settle(survey(shared={RowKey(None, "2"): "hash of 1", RowKey("p", "3"): "nobody asked"}))

    columns = "id, partition_key, label, status, batch_id, custom_id, input_tokens, output_tokens, cost_usd"
    assert run(f"SELECT {columns} FROM answers ORDER BY id") == [  # noqa: S608
        (1, "p", "war", "succeeded", "b", "q1", 9, 3, 0.5),
        (2, None, "war", "succeeded", "b", "q1", 0, 0, 0.0),
    ]


def test_a_shared_answer_of_unknown_price_stays_of_unknown_price(make: Make, run: Run) -> None:
    """NULL is not zero."""
    table = make()
    table.apply("c1", [answer("1", cost_usd=None)])

    table.settle(survey(shared={RowKey("p", "2"): "hash of 1"}))

    assert run("SELECT cost_usd FROM answers") == [(None,), (None,)]


def test_rows_that_share_a_failure_are_told_with_what_they_show_of_it(make: Make, run: Run) -> None:
    """Which of several failures counts is for the ledger to say."""
    table = make()
    failures = [answer("1", status="refused", error="no"), answer("2", "q9", "expired", request_hash="hash of 1")]
    table.apply("c1", [*failures, answer("3")])
    rows = [RowKey("p", key) for key in ("2", "3", "4")]

    left = table.settle(survey(shared=dict.fromkeys(rows, "hash of 1")))

    shown = dict(zip(rows, ("q9", None, None), strict=True))
    assert left == {row: Sharing("hash of 1", custom_id) for row, custom_id in shown.items()}
    assert run("SELECT id, status FROM answers ORDER BY id") == [(1, "refused"), (2, "expired"), (3, "succeeded")]


def test_of_several_answers_to_a_question_the_good_one_is_shared(make: Make, run: Run) -> None:
    """Whatever else was tried."""
    table = make()
    table.apply("c1", [answer("1", request_hash="h"), answer("2", "q9", "errored", request_hash="h")])

    table.settle(survey(shared={RowKey("p", "3"): "h"}))

    assert run("SELECT status, custom_id FROM answers WHERE id = 3") == [("succeeded", "q1")]


def test_two_rows_can_exchange_their_answers(make: Make, run: Run) -> None:
    """Answers are copied from the table as it was before."""
    table = make()
    table.apply("c1", [answer("1"), answer("2", values={"label": "peace"})])

    table.settle(survey(shared={RowKey("p", "1"): "hash of 2", RowKey("p", "2"): "hash of 1"}))

    assert run("SELECT id, label FROM answers ORDER BY id") == [(1, "peace"), (2, "war")]


def test_f95_rows_that_are_gone_upstream_are_deleted_and_nothing_else(make: Make, run: Run) -> None:
    """By key and partition; a shared answer is copied before its source goes."""
    table = make()
    table.apply("c1", [answer("1"), answer("1", partition="q"), answer("2"), answer("null", status="rejected")])

    table.settle(survey(removed=[RowKey("p", "1"), RowKey("p", "null")], shared={RowKey("p", "9"): "hash of 1"}))

    found = run("SELECT id, partition_key FROM answers ORDER BY ALL")
    assert found == [(1, "q"), (2, "p"), (9, "p")]


def test_nothing_to_settle_does_not_open_the_database(make: Make, warehouse: Warehouse) -> None:
    """A run with nothing new needs no lock."""
    table = make()
    table = OutputTable(
        warehouse=Warehouse("/no/such/folder/w.duckdb"), target=table.target, key_types={}, schema=table.schema
    )

    table.settle(survey())

    assert not Path(table.warehouse.database).exists()


# --- types -----------------------------------------------------------------------------------------


class Inner(BaseModel):
    """A nested model."""

    name: str
    size: float | None = None


class Wide(BaseModel):
    """A model with a field of every type."""

    text: str
    yes: bool
    big: int
    ratio: float
    money: Decimal
    day: date
    moment: datetime
    hour: time
    ident: UUID
    inner: Inner
    inners: list[Inner]
    names: list[str | None]
    anything: dict[str, Any] | None
    either: int | str


def test_every_type_of_field_comes_back_from_the_table(make: Make, run: Run) -> None:
    """Nested, listed and JSON fields, dates, decimals, and texts with NUL and emoji."""
    raw = (
        '{"text": "a\\u0000\U0001f642 \\"\'", "yes": true, "big": 9223372036854775807, "ratio": 1e308, '
        '"money": "1234567890123456789.0123456789", "day": "2026-02-28", "moment": "2026-02-28T23:00:00-02:00", '
        '"hour": "12:34:56", "ident": "00000000-0000-0000-0000-000000000001", "inner": {"name": "n"}, '
        '"inners": [{"name": "m", "size": 1.5}], "names": ["x", null], "anything": {"a": [1, {"b": null}]}, '
        '"either": "x"}'
    )
    table = make(Wide)
    table.apply("c1", [answer(values=table.schema.validate(raw)), answer("2", status="errored")])

    names = listed(Wide.model_fields)
    assert run(f"SELECT {names} FROM answers WHERE id = 1") == [  # noqa: S608
        (
            "a\x00\U0001f642 \"'",
            True,
            2**63 - 1,
            1e308,
            Decimal("1234567890123456789.0123456789"),
            date(2026, 2, 28),
            datetime(2026, 3, 1, 1, tzinfo=UTC),
            time(12, 34, 56),
            UUID(int=1),
            {"name": "n", "size": None},
            [{"name": "m", "size": 1.5}],
            ["x", None],
            '{"a":[1,{"b":null}]}',
            '"x"',
        )
    ]
    assert run(f"SELECT {names} FROM answers WHERE id = 2") == [(None,) * len(Wide.model_fields)]  # noqa: S608


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("VARCHAR", '"1"', "1"),
        ("VARCHAR", '"e\u0301 \\"\\u0000"', 'e\u0301 "\x00'),
        ("HUGEINT", '"1180591620717411303424"', 2**70),
        ("UBIGINT", '"18446744073709551615"', 2**64 - 1),
        ("BIGINT", "-9223372036854775808", -(2**63)),
        ("UUID", '"00000000-0000-0000-0000-000000000001"', UUID(int=1)),
        ("DATE", '"2026-01-02"', date(2026, 1, 2)),
        ("TIMESTAMP", '"2026-01-02T03:04:05.000006"', datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001
        ("TIMESTAMP WITH TIME ZONE", '"2026-01-02T03:04:05+00:00"', datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("TIME", '"03:04:05"', time(3, 4, 5)),
        ("DECIMAL(9,2)", '"1.50"', Decimal("1.50")),
        ("DOUBLE", "0.1", 0.1),
        ("BOOLEAN", "true", True),
    ],
)
def test_f5_f6_keys_of_any_type_land_as_themselves(make: Make, run: Run, kind: str, key: str, value: Any) -> None:
    """And the second answer finds the row of the first."""
    table = make(key_types={"id": kind})
    for n in range(2):
        table.apply(f"c{n}", [answer(key, f"q{n}")])

    assert run("SELECT id, custom_id FROM answers") == [(value, "q1")]


def test_f5_composite_keys_land_in_their_columns(make: Make, run: Run) -> None:
    """Also the one row of all keys that are NULL."""
    table = make(key_types={"lang": "VARCHAR", "n": "INTEGER"})
    table.apply("c1", [answer('["de",1]'), answer('["1","2"]'), answer("null", status="rejected")])
    table.apply("c2", [answer("null", "q2", "rejected")])

    found = run("SELECT lang, n, status FROM answers ORDER BY ALL")
    assert found == [("1", 2, "succeeded"), ("de", 1, "succeeded"), (None, None, "rejected")]


def test_f119_hostile_names_of_tables_and_columns_are_only_names(make: Make, run: Run) -> None:
    """A table of any name is made, filled and settled."""
    target = TableName('s"; DROP', 'a table"')
    table = make(key_types={'k"1': "INTEGER"}, target=target)

    table.apply("c1", [answer("1"), answer("2")])
    table.settle(survey(shared={RowKey("p", "3"): "hash of 1"}, removed=[RowKey("p", "2")]))

    assert run(f'SELECT "k""1" FROM {target.sql} ORDER BY 1') == [(1,), (3,)]  # noqa: S608


def test_more_rows_than_a_window_land_in_order(make: Make, run: Run) -> None:
    """Nothing is lost where one window ends and the next begins."""
    table = make()

    table.apply("c1", (answer(str(n)) for n in range(20_001)))

    assert run("SELECT count(*), count(DISTINCT id), max(id) FROM answers") == [(20_001, 20_001, 20_000)]


# --- changes of the model --------------------------------------------------------------------------


class Longer(Label):
    """The model with one more field."""

    why: list[str] = []


def test_f91_a_new_field_becomes_a_column_and_an_old_one_stays(make: Make, run: Run) -> None:
    """Rows from before have NULL there; a field that is gone keeps what it held."""
    make(Longer).apply("c1", [answer("1", values={"label": "war", "why": ["x"]})])
    make(Label).apply("c2", [answer("2")])
    run("ALTER TABLE answers DROP why")
    make(Longer).apply("c3", [answer("3", values={"label": "war", "why": []})])

    assert run("SELECT id, why FROM answers ORDER BY id") == [(1, None), (2, None), (3, [])]


def test_f91_a_field_of_another_type_is_refused_before_anything_is_sent(make: Make, run: Run) -> None:
    """The message names both types and the cure."""

    class Retyped(BaseModel):
        Label: int

    make().apply("c1", [answer()])

    with pytest.raises(OutputModelError, match=r"column 'Label' of main.answers is VARCHAR.* wants BIGINT.*Rename"):
        make(Retyped)
    assert run("SELECT label FROM answers") == [("war",)]


def test_preparing_twice_changes_nothing(make: Make, run: Run) -> None:
    """Whatever types the model has, DuckDB's spelling of them is known."""
    make(Wide, key_types={"a": "DECIMAL(9,2)", "b": "TIMESTAMP WITH TIME ZONE"})
    before = run("DESCRIBE answers")
    make(Wide, key_types={"a": "DECIMAL(9,2)", "b": "TIMESTAMP WITH TIME ZONE"})

    assert run("DESCRIBE answers") == before


def test_a_table_that_was_dropped_under_way_is_told(make: Make, run: Run) -> None:
    """The landing fails as a whole."""
    table = make()
    run("DROP TABLE answers")

    with pytest.raises(WarehouseError, match="answers does not exist"):
        table.apply("c1", [answer()])


# --- statistics ------------------------------------------------------------------------------------


def stand(warehouse: Warehouse, keys: list[str | None], **options: Any) -> dict[str | None, Standing]:
    """Ask what the table holds."""
    with warehouse.connect() as connection:
        return standings(
            connection,
            TableName("main", "answers"),
            keys,
            **{"label": "label", "shown": ["id", "label", "status"], **options},
        )


def test_a_partition_is_counted_by_verdict_and_label(make: Make, warehouse: Warehouse) -> None:
    """Each partition apart, those without rows included, and none that was not asked for."""
    table = make()
    table.apply(
        "c1",
        [
            answer("1", batch_id="b2", input_tokens=5, output_tokens=1),
            answer("2", batch_id="b1", input_tokens=5, output_tokens=1, values={"label": "peace"}),
            answer("3", status="refused", batch_id="b1", input_tokens=2, output_tokens=0),
            answer("4", status="rejected"),
            answer("1", partition=None),
            answer("1", partition="q"),
        ],
    )

    found = stand(warehouse, ["p", "empty", None])

    assert list(found) == ["p", "empty", None]
    p = found["p"]
    assert dict(p.verdicts) == {"succeeded": 2, "refused": 1, "rejected": 1}
    assert (dict(p.labels), p.input_tokens, p.output_tokens) == ({"war": 1, "peace": 1}, 12, 2)
    assert (p.batch_ids, found[None].verdicts.total()) == (("b1", "b2"), 1)
    assert dict(p.labels_elsewhere) == {"war": 2}
    assert found["empty"] == Standing(samples=[], labels_elsewhere=Counter({"war": 3, "peace": 1}), fingerprint="empty")


def test_a_few_rows_are_shown_the_same_each_time(make: Make, warehouse: Warehouse) -> None:
    """Key, output fields, status; no documents unless they are asked for."""
    make().apply("c1", [answer(str(n)) for n in range(20)])

    first, again = stand(warehouse, ["p"], label=None)["p"], stand(warehouse, ["p"], label=None)["p"]

    assert (len(first.samples), dict(first.labels)) == (5, {})
    assert sorted(first.samples, key=repr) == sorted(again.samples, key=repr)
    assert first.samples[0] == {"id": first.samples[0]["id"], "label": "war", "status": "succeeded"}


def test_documents_are_shown_beside_answers_where_they_may(make: Make, warehouse: Warehouse, run: Run) -> None:
    """A row that is gone upstream is shown without."""
    make().apply("c1", [answer("1"), answer("2")])
    run("CREATE TABLE docs AS SELECT 'p' AS _cb_partition, 1 AS id, 'a document' AS text")

    found = stand(warehouse, ["p"], documents=Documents("docs", ["id"], ["text"]))["p"]

    texts = sorted((row["id"], row["text"]) for row in found.samples)
    assert texts == [(1, "a document"), (2, None)]
