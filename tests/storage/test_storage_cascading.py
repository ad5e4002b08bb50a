"""Between the two models of a cascade, in the database: which rows go up, and what the asset's table shows."""

from collections.abc import Iterator
from typing import Any, Literal

import duckdb
import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.reporting.cascade import AgreementRule
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.cascading import Cascading
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable

FIRST, SECOND, VOTE, FINAL = (TableName("main", name) for name in ("first_pass", "escalated", "vote", "answers"))
KEYS = {"id": "VARCHAR"}
ALL = ["a", "b"]
"""Partitions."""


class Label(BaseModel):
    """A label, and how sure it is."""

    label: Literal["war", "peace"]
    confidence: float


SCHEMA = OutputSchema(Label)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a database with the tables of a cascade, all of them empty."""
    with duckdb.connect() as opened:
        for table in (FIRST, SECOND, VOTE):
            OutputTable(target=table, key_types=KEYS, schema=SCHEMA).prepare(opened)
        questions.prepare(opened, FIRST, KEYS)
        yield opened


def cascading(connection: duckdb.DuckDBPyConnection, *, vote: bool = False) -> Cascading:
    """Return the cascade of these tables, prepared."""
    found = Cascading(
        connection=connection,
        first=FIRST,
        second=SECOND,
        vote=VOTE if vote else None,
        final=FINAL,
        rule=AgreementRule(key=("id",), compared=("label",), confidence=None if vote else "confidence"),
    )
    found.prepare()
    return found


def answer(
    connection: duckdb.DuckDBPyConnection,
    table: TableName,
    key: str,
    *,
    label: str | None = "war",
    confidence: float | None = 0.9,
    status: str = "succeeded",
    partition: str = "a",
    error: str | None = None,
) -> None:
    """Write a row of a table; each has cost a dollar."""
    connection.execute(
        f"INSERT INTO {table.sql} (id, partition_key, label, confidence, status, error, cost_usd) "  # noqa: S608  (names of our own)
        "VALUES (?, ?, ?, ?, ?, ?, 1)",
        [key, partition, label, confidence, status, error],
    )


def ask(connection: duckdb.DuckDBPyConnection, key: str, *, partition: str = "a", question: str | None = None) -> None:
    """Let a row ask something, the first model among others."""
    connection.execute(
        f"INSERT INTO {questions.questions_of(FIRST).sql} (id, partition_key, request_hash) VALUES (?, ?, ?)",  # noqa: S608  (names of our own)
        [key, partition, question or f"q{key}{partition}"],
    )


def both(connection: duckdb.DuckDBPyConnection, key: str, **first: Any) -> None:
    """Let a row ask, and the first model answer it."""
    ask(connection, key, partition=first.get("partition", "a"))
    answer(connection, FIRST, key, **first)


def went_up(cascade: Cascading) -> set[tuple[Any, str]]:
    """Return the rows that went up, each with the reason."""
    query = f"SELECT id, _cb_reason FROM {cascade.escalated.sql}"  # noqa: S608  (names of our own)
    return set(cascade.connection.execute(query).fetchall())


def shown(cascade: Cascading, columns: str = "id, label, decided_by") -> list[tuple[Any, ...]]:
    """Return rows of the asset's table."""
    return cascade.connection.execute(f"SELECT {columns} FROM {FINAL.sql} ORDER BY ALL").fetchall()  # noqa: S608  (names of our own)


# --- which rows go up --------------------------------------------------------------------------------


def test_a_threshold_is_the_last_value_that_stays(connection: duckdb.DuckDBPyConnection) -> None:
    """As sure as it, or surer; less, or not sure at all, goes up."""
    cascade = cascading(connection)
    for key, confidence in (("as", 0.7), ("more", 0.71), ("less", 0.69), ("none", None)):
        both(connection, key, confidence=confidence)

    cascade.raise_unsure(ALL, 0.7)

    assert went_up(cascade) == {("less", "unsure"), ("none", "unsure")}


def test_without_a_threshold_all_answers_go_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Where nothing can be promised."""
    cascade = cascading(connection)
    both(connection, "sure", confidence=1.0)

    cascade.raise_unsure(ALL, None)

    assert went_up(cascade) == {("sure", "unsure")}


@pytest.mark.parametrize(
    ("status", "goes"),
    [("invalid", True), ("truncated", True), ("refused", True), ("errored", False), ("expired", False)],
)
def test_what_the_first_model_cannot_answer_goes_up(
    connection: duckdb.DuckDBPyConnection, status: str, *, goes: bool
) -> None:
    """What the service failed at is asked again by itself."""
    cascade = cascading(connection)
    both(connection, "r", status=status, label=None, confidence=None)

    cascade.raise_unsure(ALL, 0.5)

    assert went_up(cascade) == ({("r", "unsure")} if goes else set())


def test_only_rows_of_the_partitions_of_the_run_go_up(connection: duckdb.DuckDBPyConnection) -> None:
    """A row of that key in another partition is another row."""
    cascade = cascading(connection)
    for partition in ALL:
        both(connection, "r", confidence=0.1, partition=partition)

    cascade.raise_unsure(["b"], 0.5)

    [rows] = connection.execute(f"SELECT partition_key FROM {cascade.escalated.sql}").fetchall()  # noqa: S608  (names of our own)
    assert rows == ("b",)


def test_the_sample_is_the_same_each_time_and_one_of_the_whole_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Of rows of all partitions those that come first by their hash; a larger sample has the smaller one in it."""
    cascade = cascading(connection)
    for n in range(20):
        ask(connection, f"r{n}", partition=ALL[n % 2])

    cascade.raise_sample(ALL, 5)
    small = went_up(cascade)
    cascade.raise_sample(ALL, 8)

    assert len(small) == 5
    assert small < went_up(cascade)
    assert len(went_up(cascade)) == 8
    hashes = (
        "SELECT id FROM (SELECT id, md5(concat_ws(chr(31), 'cascade', id, partition_key)) AS h "  # noqa: S608  (names of our own)
        f"FROM {questions.questions_of(FIRST).sql}) ORDER BY h LIMIT 5"
    )
    assert {key for key, _ in small} == {key for (key,) in connection.execute(hashes).fetchall()}


def test_namesakes_have_hashes_of_their_own(connection: duckdb.DuckDBPyConnection) -> None:
    """Of ten keys in two partitions a sample of ten is not the same keys twice."""
    cascade = cascading(connection)
    for n in range(10):
        for partition in ALL:
            ask(connection, f"r{n}", partition=partition)

    cascade.raise_sample(ALL, 10)

    assert len({key for key, _ in went_up(cascade)}) > 5


def test_a_row_that_asks_something_else_begins_anew(connection: duckdb.DuckDBPyConnection) -> None:
    """Whether the first model is sure of that is another question."""
    cascade = cascading(connection)
    both(connection, "r", confidence=0.1)
    cascade.raise_unsure(ALL, 0.5)
    connection.execute(f"UPDATE {questions.questions_of(FIRST).sql} SET request_hash = 'other'")  # noqa: S608  (names of our own)
    answer(connection, SECOND, "r", label="peace")

    cascade.show(ALL, SCHEMA, ("cheap", "strong"))
    assert shown(cascade) == [("r", "war", "cheap")], "the strong answer was to the question of before"

    cascade.raise_sample(ALL, 0)
    assert went_up(cascade) == set()


# --- by what the threshold is chosen -------------------------------------------------------------------


def test_pairs_are_how_sure_the_one_was_and_whether_the_other_agrees(connection: duckdb.DuckDBPyConnection) -> None:
    """An answer that the strong model could not give is no agreement."""
    cascade = cascading(connection)
    for key, confidence in (("same", 0.9), ("other", 0.8), ("refused", 0.7)):
        both(connection, key, confidence=confidence)
    both(connection, "invalid", status="invalid", label=None, confidence=None)
    cascade.raise_sample(ALL, 10)
    for key in ("same", "invalid"):
        answer(connection, SECOND, key)
    answer(connection, SECOND, "other", label="peace")
    answer(connection, SECOND, "refused", label=None, status="refused")

    pairs = cascade.pairs(10)

    found = dict(zip(pairs.confidences, pairs.agrees, strict=True))
    assert found == {0.9: True, 0.8: False, 0.7: False, None: False}
    assert pairs.n_rows == 4


@pytest.mark.parametrize("status", [None, "blocked", "expired", "canceled", "missing"])
def test_a_partition_whose_sample_is_open_tells_nothing_yet(
    connection: duckdb.DuckDBPyConnection, status: str | None
) -> None:
    """Neither its pairs count nor its rows: those that are answered first are no random ones."""
    cascade = cascading(connection)
    for partition in ALL:
        for key in ("r1", "r2"):
            both(connection, key, partition=partition)
    cascade.raise_sample(ALL, 10)
    for key in ("r1", "r2"):
        answer(connection, SECOND, key)
    answer(connection, SECOND, "r1", partition="b")
    if status is not None:
        answer(connection, SECOND, "r2", partition="b", status=status, label=None)

    pairs = cascade.pairs(10)

    assert (len(pairs.agrees), pairs.n_rows) == (2, 2)
    assert cascade.waiting() == ["b"]
    assert cascade.waiting(["a"]) == []


def test_two_votes_are_sure_where_they_are_the_same(connection: duckdb.DuckDBPyConnection) -> None:
    """1 where both say the same, 0 where they differ, or the second is none."""
    cascade = cascading(connection, vote=True)
    for key in ("same", "other", "none"):
        both(connection, key)
    answer(connection, VOTE, "same")
    answer(connection, VOTE, "other", label="peace")

    cascade.raise_unsure(ALL, 1.0)

    assert {key for key, _ in went_up(cascade)} == {"other", "none"}


# --- what the asset shows ------------------------------------------------------------------------------


def test_the_strong_answer_is_shown_where_there_is_one(connection: duckdb.DuckDBPyConnection) -> None:
    """With what all answers to the row have cost; and who has decided, if anybody has."""
    cascade = cascading(connection)
    both(connection, "sure")
    both(connection, "unsure", confidence=0.1)
    both(connection, "waits", confidence=0.1)
    both(connection, "failed", status="errored", label=None, error="it broke")
    cascade.raise_unsure(ALL, 0.5)
    answer(connection, SECOND, "unsure", label="peace")
    answer(connection, SECOND, "waits", label=None, status="blocked", error="no money")

    decided = cascade.show(ALL, SCHEMA, ("cheap", "strong"))

    assert shown(cascade, "id, label, decided_by, cost_usd, error") == [
        ("failed", None, None, 1.0, "it broke"),
        ("sure", "war", "cheap", 1.0, None),
        ("unsure", "peace", "strong", 2.0, None),
        ("waits", "war", "cheap", 2.0, "unsure, and strong has no usable answer: no money"),
    ]
    assert (decided.n_escalated, decided.n_waiting, decided.by_partition) == (2, 1, {"a": 2})


def test_a_second_vote_is_a_part_of_what_a_row_has_cost(connection: duckdb.DuckDBPyConnection) -> None:
    """Of three answers a dollar each."""
    cascade = cascading(connection, vote=True)
    both(connection, "r")
    answer(connection, VOTE, "r", label="peace")
    cascade.raise_unsure(ALL, 1.0)
    answer(connection, SECOND, "r")

    cascade.show(ALL, SCHEMA, ("cheap", "strong"))

    assert shown(cascade, "cost_usd") == [(3.0,)]


def test_rows_of_other_partitions_stay_and_those_that_are_none_go(connection: duckdb.DuckDBPyConnection) -> None:
    """Whoever becomes a cascade shows what was there until the cascade comes to it."""
    OutputTable(target=FINAL, key_types=KEYS, schema=SCHEMA).prepare(connection)
    for partition in ("a", "b", "gone"):
        answer(connection, FINAL, "old", partition=partition)
    cascade = cascading(connection)
    both(connection, "new")

    assert set(cascade.partitions()) == {"a", "b", "gone"}
    cascade.show(["a"], SCHEMA, ("cheap", "strong"), gone=["gone"])

    assert shown(cascade, "id, partition_key") == [("new", "a"), ("old", "b")]


def test_a_wider_key_keeps_what_went_up(connection: duckdb.DuckDBPyConnection) -> None:
    """A type that holds the keys is taken over; one that does not begins anew."""
    connection.execute(f"ALTER TABLE {FIRST.sql} ALTER COLUMN id SET DATA TYPE INTEGER")
    connection.execute(f"ALTER TABLE {questions.questions_of(FIRST).sql} ALTER COLUMN id SET DATA TYPE INTEGER")
    cascade = cascading(connection)
    both(connection, "7", confidence=0.1)
    cascade.raise_unsure(ALL, 0.5)

    connection.execute(f"ALTER TABLE {FIRST.sql} ALTER COLUMN id SET DATA TYPE BIGINT")
    cascade.prepare()
    assert went_up(cascade) == {(7, "unsure")}

    connection.execute(f"ALTER TABLE {FIRST.sql} ALTER COLUMN id SET DATA TYPE DATE USING DATE '2026-01-01'")
    cascade.prepare()
    assert went_up(cascade) == set()
