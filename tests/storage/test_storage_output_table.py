from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.collecting.output_schema import BOOKKEEPING, OutputSchema
from claude_batch_dagster.core.reporting.report import Standing
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import OutputModelError
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.statistics import Documents, standings
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from tests.storage.wide import Wide

Make = Callable[..., None]
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
        target: TableName = TableName("main", "answers"),  # noqa: B008  (it cannot change)
    ) -> None:
        table = OutputTable(target=target, key_types=key_types or {"id": "INTEGER"}, schema=OutputSchema(model))
        with warehouse.connect() as connection:
            table.prepare(connection)

    return make


# --- creation --------------------------------------------------------------------------------------


def test_a_table_has_the_key_then_the_output_fields_then_the_bookkeeping(make: Make, run: Run) -> None:
    """As the design names them, empty, and whatever it is called."""
    make()
    make(target=TableName("other schema", "answers"), key_types={"lang": "VARCHAR", "n": "INTEGER"})

    assert run("SELECT column_name, column_type FROM (DESCRIBE answers)") == [
        ("id", "INTEGER"),
        ("label", "VARCHAR"),
        *BOOKKEEPING.items(),
    ]
    assert [name for name, *_ in run('DESCRIBE "other schema".answers')] == ["lang", "n", "label", *BOOKKEEPING]
    assert run("FROM answers") == []


def test_every_type_of_field_has_its_type_of_column(make: Make, run: Run) -> None:
    """Nested models are structs, lists are lists; JSON is what has no closer match."""
    make(Wide)

    kinds = dict(run("SELECT column_name, column_type FROM (DESCRIBE answers)"))
    assert {name: kinds[name] for name in Wide.model_fields} == {
        "text": "VARCHAR",
        "yes": "BOOLEAN",
        "big": "BIGINT",
        "ratio": "DOUBLE",
        "money": "DECIMAL(38,10)",
        "day": "DATE",
        "moment": "TIMESTAMP WITH TIME ZONE",
        "hour": "TIME",
        "ident": "UUID",
        "inner": 'STRUCT("name" VARCHAR, size DOUBLE)',
        "inners": 'STRUCT("name" VARCHAR, size DOUBLE)[]',
        "names": "VARCHAR[]",
        "anything": "JSON",
        "either": "JSON",
    }


def test_f119_hostile_names_are_only_names(make: Make, run: Run) -> None:
    """A table of any name is made, with columns of any name."""
    target = TableName('s"; DROP', 'a table"')

    make(key_types={'k"1': "INTEGER"}, target=target)

    assert run(f'SELECT "k""1", label FROM {target.sql}') == []  # noqa: S608


def test_rows_of_before_say_how_they_were_asked(make: Make, run: Run) -> None:
    """A table of an earlier version gets the column, and what its rows have in it."""
    make()
    run("ALTER TABLE answers DROP service_tier")
    run("INSERT INTO answers BY NAME SELECT 1 AS id, 'msgbatch_1' AS batch_id UNION ALL BY NAME SELECT 2 AS id")

    make()

    assert run("SELECT id, service_tier FROM answers ORDER BY id") == [(1, "batch"), (2, None)]


# --- changes of the model --------------------------------------------------------------------------


class Longer(Label):
    """The model with one more field."""

    why: list[str] = []


def test_f91_a_new_field_becomes_a_column_and_an_old_one_stays(make: Make, run: Run) -> None:
    """Rows from before have NULL there; a field that is gone keeps what it held."""
    make(Longer)
    run("INSERT INTO answers BY NAME SELECT 1 AS id, ['x'] AS why")
    make(Label)
    run("INSERT INTO answers BY NAME SELECT 2 AS id, 'war' AS label")
    assert run("SELECT id, why FROM answers ORDER BY id") == [(1, ["x"]), (2, None)]
    run("ALTER TABLE answers DROP why")

    make(Longer)

    assert run("SELECT id, why, label FROM answers ORDER BY id") == [(1, None, None), (2, None, "war")]


def test_f91_a_field_of_another_type_is_refused_before_anything_is_sent(make: Make, run: Run) -> None:
    """The message names both types and the cure."""

    class Retyped(BaseModel):
        Label: int

    make()
    run("INSERT INTO answers BY NAME SELECT 1 AS id, 'war' AS label")

    with pytest.raises(OutputModelError, match=r"column 'Label' of main.answers is VARCHAR.* wants BIGINT.*Rename"):
        make(Retyped)
    assert run("SELECT label FROM answers") == [("war",)]


class Loose(BaseModel):
    """A model of which the columns are JSON."""

    n: int | str
    names: Any


class Tight(BaseModel):
    """The same, with types."""

    n: int
    names: list[str]


def test_a_column_of_json_takes_the_type_that_it_has_today(make: Make, run: Run) -> None:
    """Its values stay what they are."""
    make(Loose)
    run("""INSERT INTO answers BY NAME SELECT 1 AS id, '5'::JSON AS n, '["a"]'::JSON AS names""")
    run("INSERT INTO answers BY NAME SELECT 2 AS id")

    make(Tight)

    assert run("SELECT id, n, names FROM answers ORDER BY id") == [(1, 5, ["a"]), (2, None, None)]


def test_a_column_of_json_that_holds_something_else_is_left_as_it_is(make: Make, run: Run) -> None:
    """Nothing becomes NULL that was paid for."""
    make(Loose)
    run("""INSERT INTO answers BY NAME SELECT 1 AS id, '"twelve"'::JSON AS n""")

    with pytest.raises(OutputModelError, match=r"column 'n' of main.answers cannot become BIGINT.*Nothing was sent"):
        make(Tight)

    assert run("SELECT n FROM answers") == [('"twelve"',)]


def test_preparing_twice_changes_nothing(make: Make, run: Run) -> None:
    """Whatever types the model has, DuckDB's spelling of them is known."""
    make(Wide, key_types={"a": "DECIMAL(9,2)", "b": "TIMESTAMP WITH TIME ZONE"})
    before = run("DESCRIBE answers")
    make(Wide, key_types={"a": "DECIMAL(9,2)", "b": "TIMESTAMP WITH TIME ZONE"})

    assert run("DESCRIBE answers") == before


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


def test_a_partition_is_counted_by_verdict_and_label(make: Make, warehouse: Warehouse, run: Run) -> None:
    """Each partition apart, those without rows included, and none that was not asked for."""
    make()
    run(
        "INSERT INTO answers (partition_key, id, status, label, batch_id, input_tokens, output_tokens) VALUES "
        "('p', 1, 'succeeded', 'war', 'b2', 5, 1), ('p', 2, 'succeeded', 'peace', 'b1', 5, 1), "
        "('p', 3, 'refused', NULL, 'b1', 2, 0), ('p', 4, 'rejected', NULL, NULL, NULL, NULL), "
        "(NULL, 1, 'succeeded', 'war', NULL, NULL, NULL), ('q', 1, 'succeeded', 'war', NULL, NULL, NULL)"
    )

    found = stand(warehouse, ["p", "empty", None])

    assert list(found) == ["p", "empty", None]
    p = found["p"]
    assert dict(p.verdicts) == {"succeeded": 2, "refused": 1, "rejected": 1}
    assert (dict(p.labels), p.input_tokens, p.output_tokens) == ({"war": 1, "peace": 1}, 12, 2)
    assert (p.batch_ids, found[None].verdicts.total()) == (("b1", "b2"), 1)
    assert dict(p.labels_elsewhere) == {"war": 2}
    assert found["empty"] == Standing(samples=[], labels_elsewhere=Counter({"war": 3, "peace": 1}), fingerprint="empty")


WAR = "INSERT INTO answers (partition_key, id, status, label) SELECT 'p', range, 'succeeded', 'war' FROM range"


def test_a_few_rows_are_shown_the_same_each_time(make: Make, warehouse: Warehouse, run: Run) -> None:
    """Key, output fields, status; no documents unless they are asked for."""
    make()
    run(f"{WAR}(20)")

    first, again = stand(warehouse, ["p"], label=None)["p"], stand(warehouse, ["p"], label=None)["p"]

    assert (len(first.samples), dict(first.labels)) == (5, {})
    assert sorted(first.samples, key=repr) == sorted(again.samples, key=repr)
    assert first.samples[0] == {"id": first.samples[0]["id"], "label": "war", "status": "succeeded"}


def test_documents_are_shown_beside_answers_where_they_may(make: Make, warehouse: Warehouse, run: Run) -> None:
    """A row that is gone upstream is shown without."""
    make()
    run(f"{WAR}(1, 3)")
    run("CREATE TABLE docs AS SELECT 'p' AS _cb_partition, 1 AS id, 'a document' AS text")

    found = stand(warehouse, ["p"], documents=Documents("docs", ["id"], ["text"]))["p"]

    texts = sorted((row["id"], row["text"]) for row in found.samples)
    assert texts == [(1, "a document"), (2, None)]
