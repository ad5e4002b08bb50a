"""The output table, made of what each row asks now and what came back for that."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import permutations
from typing import Any, Literal, cast
from uuid import UUID

import duckdb
import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.collecting.output_schema import BOOKKEEPING, OutputSchema
from claude_batch_dagster.core.ledger import Claimed
from claude_batch_dagster.core.ports import AnswerRecord
from claude_batch_dagster.core.retries import Attempt, Came, Rules
from claude_batch_dagster.core.tables import TableName, listed, quoted
from claude_batch_dagster.errors import WarehouseError
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.asking.questions import questions_of
from claude_batch_dagster.storage.duckdb.collecting import answers, projection
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS
from claude_batch_dagster.storage.duckdb.collecting.output_table import MARKERS, OutputTable
from claude_batch_dagster.storage.duckdb.collecting.projection import WINDOW, Projection
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from tests.core.clocks import CrashError
from tests.storage.wide import Wide

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEPT = "this answer is kept from an earlier request; the newer one is "
Run = Callable[[str], Any]
Make = Callable[..., "Table"]


class Label(BaseModel):
    """A small output model."""

    label: Literal["war", "peace"]


class Wider(BaseModel):
    """The model with one more value."""

    label: Literal["war", "peace", "truce"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """An output table, with what its rows ask."""

    warehouse: Warehouse
    projection: Projection
    parts: Sequence[str | None] = ("p", "q", None)
    """The partitions of the run that lands answers."""

    @property
    def store(self) -> AnswerStore:
        """What a run lands answers with."""
        return AnswerStore(warehouse=self.warehouse, projection=self.projection, partition_keys=self.parts)

    def prepare(self) -> None:
        """Make the tables, as a run does before it asks."""
        projection = self.projection
        with self.warehouse.connect() as connection:
            questions.prepare(connection, projection.target, projection.key_types)
            OutputTable(target=projection.target, key_types=projection.key_types, schema=projection.schema).prepare(
                connection
            )
            answers.prepare(connection)

    def ask(self, asked: Mapping[Any, str | None], *, part: str | None = "p", problem: str = "too large") -> None:
        """Let the rows of a partition ask questions, in place of those before; None is a row with a problem."""
        table = questions_of(self.projection.target).sql
        with self.warehouse.connect() as connection:
            connection.execute(f"DELETE FROM {table} WHERE partition_key IS NOT DISTINCT FROM ?", [part])  # noqa: S608
            for key, question in asked.items():
                problems = None if question else problem
                values = [*(key if isinstance(key, tuple) else (key,)), part, question, problems, None]
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608

    def project(self, *parts: str | None) -> None:
        """Bring partitions up to date, as a run does when it begins."""
        with self.warehouse.connect() as connection:
            self.projection.project(connection, parts or ("p",))

    def asks(self, asked: Mapping[Any, str | None], **options: Any) -> None:
        """Let the rows of a partition ask questions, and bring it up to date."""
        self.ask(asked, **options)
        self.project(options.get("part", "p"))

    def land(self, chunk_id: str, *records: AnswerRecord) -> None:
        """Land what came back for a chunk."""
        numbered = [replace(record, chunk_id=chunk_id, ordinal=n) for n, record in enumerate(records)]
        self.store.land(chunk_id, [replace(record, custom_id=f"{chunk_id}-{record.ordinal}") for record in numbered])


@pytest.fixture
def make(warehouse: Warehouse) -> Make:
    """Return a function that makes an output table."""

    def make(
        model: type[BaseModel] = Label,
        key_types: Mapping[str, str] | None = None,
        target: TableName = TableName("main", "answers"),  # noqa: B008  (it cannot change)
    ) -> Table:
        projection = Projection(target=target, key_types=key_types or {"id": "INTEGER"}, schema=OutputSchema(model))
        table = Table(warehouse=warehouse, projection=projection)
        table.prepare()
        return table

    return make


def good(question: str = "a", label: str = "war", **facts: Any) -> AnswerRecord:
    """Return a good answer to a question."""
    return came(question, Came.SUCCEEDED, text=f'{{"label": "{label}"}}', detail="end_turn", **facts)


def bad(question: str = "a", kind: str = "api_error", **facts: Any) -> AnswerRecord:
    """Return an error that came back for a question."""
    return came(question, Came.ERRORED, detail=kind, text="oops", **facts)


def came(question: str, what: Came, **facts: Any) -> AnswerRecord:
    """Return what came back for a question."""
    return AnswerRecord(**{"question": question, "chunk_id": "", "ordinal": 0, "attempt": 1, "came": what, **facts})


OOPS = "errored: api_error: oops (materialize again to ask again)"


# --- landing ---------------------------------------------------------------------------------------


def test_an_answer_lands_with_all_its_columns(make: Make, run: Run) -> None:
    """Key, output fields, then the bookkeeping, as the design names them."""
    table = make()
    table.ask({1: "a"})
    facts: dict[str, Any] = {"batch_id": "msgbatch_1", "model": "claude-haiku-5-5", "attempt": 2, "answered_at": NOON}
    table.land("c1", good(input_tokens=10, output_tokens=2, cost_usd=0.25, sanitized=True, **facts))

    replaced = "parts of the answer were not valid Unicode and were replaced by U+FFFD"
    assert [name for name, *_ in run("DESCRIBE answers")] == ["id", "label", *BOOKKEEPING]
    assert run("FROM answers") == [
        (
            1,
            "war",
            "succeeded",
            replaced,
            "p",
            "msgbatch_1",
            "c1-0",
            "a",
            "claude-haiku-5-5",
            "end_turn",
            10,
            2,
            0.25,
            2,
            NOON,
            "batch",
        )
    ]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("record", "status", "error"),
    [
        (bad(), "errored", OOPS.removeprefix("errored: ")),
        (bad(kind="invalid_request_error"), "errored", "invalid_request_error: oops (mend the row"),
        (came("a", Came.EXPIRED), "expired", "not processed within 24 hours"),
        (came("a", Came.CANCELED), "canceled", "the batch was canceled"),
        (came("a", Came.MISSING), "missing", "the batch ended without a result"),
        (came("a", Came.WITHHELD), "missing", "the API counts a result for this row"),
        (came("a", Came.GONE), "missing", "answered and paid for, but the API no longer has the results"),
        (came("a", Came.GONE, detail="never handed out"), "missing", "the API counted a result for this row, never"),
        (came("a", Came.REJECTED, text="the API refuses it"), "rejected", "the API refuses it"),
        (good(label="truce"), "invalid", "the answer does not fit the output model: field 'label'"),
        (came("a", Came.SUCCEEDED, text="{", detail="max_tokens"), "truncated", "the answer stopped at max_tokens"),
        (
            came("a", Came.SUCCEEDED, detail="refusal", explanation="cyber"),
            "refused",
            "Claude declined to answer (category cyber)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_whatever_came_back_has_its_status_and_its_sentence(
    make: Make, run: Run, record: AnswerRecord, status: str, error: str
) -> None:
    """And no answer; what it cost is told all the same, and why the model stopped, if it was one that did."""
    table = make()
    table.ask({1: "a"})
    table.land("c1", replace(record, cost_usd=0.5))

    [(label, found, sentence, stop_reason, cost_usd)] = run(
        "SELECT label, status, error, stop_reason, cost_usd FROM answers"
    )
    assert (label, found, cost_usd) == (None, status, 0.5)
    assert sentence.startswith(error)
    assert stop_reason == (record.detail if record.came is Came.SUCCEEDED else None)


def test_f85_f97_a_chunk_lands_once(make: Make, run: Run) -> None:
    """A replay after a crash changes nothing, not even what others changed since."""
    table = make()
    table.ask({1: "a", 2: "b", 3: "c"})
    chunk = [good("a", cost_usd=0.5), good("b"), bad("c")]
    table.land("c1", *chunk)
    run("UPDATE answers SET label = 'peace' WHERE label IS NOT NULL")
    before = (run("FROM answers ORDER BY id"), run(f"FROM {ANSWERS.sql} ORDER BY ordinal"))

    table.land("c1", *chunk)

    assert (run("FROM answers ORDER BY id"), run(f"FROM {ANSWERS.sql} ORDER BY ordinal")) == before
    assert table.store.landed() == {"c1": 3}
    assert run(f"SELECT chunk_id, table_name FROM {MARKERS.sql}") == [("c1", "main.answers")]  # noqa: S608


def test_what_comes_later_takes_the_place_of_a_failure_and_never_of_a_message(make: Make, run: Run) -> None:
    """Such as answers whose download had been cut, or a spool that was lost when the API had forgotten."""
    table = make()
    table.ask({1: "a", 2: "b", 3: "c"})
    table.land("c1", good("a"), came("b", Came.WITHHELD), came("c", Came.MISSING))

    table.land("c1", came("a", Came.GONE), good("b", "peace"), came("c", Came.GONE))

    assert run("SELECT id, label, status FROM answers ORDER BY id") == [
        (1, "war", "succeeded"),
        (2, "peace", "succeeded"),
        (3, None, "missing"),
    ]
    came_back = run(f"SELECT ordinal, came FROM {ANSWERS.sql} ORDER BY ordinal")  # noqa: S608
    assert came_back == [(0, "succeeded"), (1, "succeeded"), (2, "gone")]


def test_what_comes_for_some_requests_of_a_chunk_leaves_the_others_as_they_are(make: Make, run: Run) -> None:
    """Such as answers that turn up late: failures of the same chunk stay written down."""
    table = make()
    table.ask({1: "a", 2: "b"})
    table.land("c1", came("a", Came.WITHHELD), bad("b"))

    table.land("c1", good("a"))

    assert run("SELECT id, status FROM answers ORDER BY id") == [(1, "succeeded"), (2, "errored")]
    assert table.store.landed() == {"c1": 2}


@pytest.mark.verify
def test_more_answers_than_a_window_are_all_judged(make: Make, run: Run) -> None:
    """Each different one once, and each row shows its own."""

    class Number(BaseModel):
        number: int

    table = make(Number)
    table.ask({})
    n = WINDOW + 1
    run(
        f"INSERT INTO {questions_of(table.projection.target).sql} "  # noqa: S608
        f"SELECT range, 'p', 'q' || range, NULL, NULL FROM range({n})"
    )

    table.land("c1", *(came(f"q{i}", Came.SUCCEEDED, text=f'{{"number": {i}}}', detail="end_turn") for i in range(n)))

    assert run("SELECT count(*), count(DISTINCT id), bool_and(id = number) FROM answers") == [(n, n, True)]


def test_answers_that_are_alike_are_judged_once_in_however_many_windows(
    make: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight different ones, three of each, five at a time."""

    class Named(BaseModel):
        name: str

    monkeypatch.setattr(projection, "WINDOW", 5)
    judged = list[str]()
    encode = OutputSchema(Named).encode_plain
    assert encode is not None

    def watched(text: str) -> str:
        judged.append(text)
        return encode(text)

    monkeypatch.setattr(OutputSchema, "encode_plain", staticmethod(watched))
    table = make(Named)
    table.ask({key: f"q{key}" for key in range(24)})

    table.land(
        "c1", *(came(f"q{i}", Came.SUCCEEDED, text=f'{{"name": "{i % 8}"}}', detail="end_turn") for i in range(24))
    )

    assert run("SELECT count(*), bool_and((id % 8)::VARCHAR = name) FROM answers") == [(24, True)]
    assert len(judged) == 8


class CutWarehouse(Warehouse):
    """A database whose user dies just before a transaction is through."""

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Do all of it, and die."""
        with super().connect() as connection:
            yield cast("duckdb.DuckDBPyConnection", Uncommitted(connection))


class Uncommitted:
    """A connection whose user dies before a transaction is through."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        """Do what the connection does."""
        return getattr(self._connection, name)

    def commit(self) -> None:
        """Do it not."""
        raise CrashError


class DyingWarehouse(Warehouse):
    """A database whose user dies as soon as a transaction is through."""

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Commit, and die."""
        with super().connect() as connection:
            yield connection
        raise CrashError


def test_f85_a_landing_that_breaks_off_leaves_nothing(make: Make, run: Run, warehouse: Warehouse) -> None:
    """Answers, rows and the mark of their chunk come together or not at all."""
    table = make()
    table.ask({1: "a"})

    with pytest.raises(CrashError):
        replace(table, warehouse=CutWarehouse(warehouse.database)).land("c1", good())
    for name in ("answers", ANSWERS.sql, MARKERS.sql):
        assert run(f"FROM {name}") == []
    table.land("c1", good())
    assert run("SELECT id, label FROM answers") == [(1, "war")]


def test_f97_a_crash_right_after_the_landing_is_a_landing(make: Make, run: Run, warehouse: Warehouse) -> None:
    """All of it is in one transaction: what has landed is known to have landed."""
    table = make()
    table.ask({1: "a"})

    with pytest.raises(CrashError):
        replace(table, warehouse=DyingWarehouse(warehouse.database)).land("c1", good())

    assert (table.store.landed(), run("SELECT id, label FROM answers")) == ({"c1": 1}, [(1, "war")])


def test_two_threads_make_one_row_of_two_answers(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would insert the row, for neither sees what the other has not committed."""
    table = make()
    table.ask({1: "a"})
    both, replacing = threading.Barrier(2), Projection._replace

    def replace_at_once(self: Projection, connection: duckdb.DuckDBPyConnection) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(1)
        replacing(self, connection)

    monkeypatch.setattr(Projection, "_replace", replace_at_once)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda name: table.land(name, good(cost_usd=0.5)), ["c1", "c2"]))

    assert run("SELECT id, label, cost_usd FROM answers") == [(1, "war", 0.5)]


def test_a_table_that_was_dropped_under_way_is_told(make: Make, run: Run) -> None:
    """The landing fails as a whole."""
    table = make()
    table.ask({1: "a"})
    run("DROP TABLE answers")

    with pytest.raises(WarehouseError, match="answers does not exist"):
        table.land("c1", good())
    assert table.store.landed() == {}


# --- which answer is shown -------------------------------------------------------------------------

FIRST, SECOND, THIRD = "c1", "c2", "c3"
WAR, PEACE, ERROR = good(label="war"), good(label="peace"), bad()
REFUSAL = came("a", Came.SUCCEEDED, detail="refusal")


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("landings", "stands"),
    [
        pytest.param([(FIRST, ERROR), (SECOND, WAR)], ("war", "succeeded"), id="good-after-bad"),
        pytest.param([(FIRST, WAR), (SECOND, ERROR)], ("war", "succeeded"), id="bad-after-good"),
        pytest.param([(FIRST, ERROR), (SECOND, REFUSAL), (THIRD, WAR)], ("war", "succeeded"), id="three"),
        pytest.param([(FIRST, ERROR), (SECOND, REFUSAL)], (None, "refused"), id="the-latest-of-two-failures"),
    ],
)
def test_f93_of_two_answers_to_a_row_the_better_stands_in_either_order_of_landing(
    make: Make, run: Run, landings: list[tuple[str, AnswerRecord]], stands: tuple[str | None, str]
) -> None:
    """A good answer is never replaced by a failure, nor a failure by one to an earlier request."""
    for order, ordered in enumerate(permutations(landings)):
        table = make(target=TableName("main", f"answers{order}"))
        table.ask({1: f"a{order}"})
        for chunk_id, record in ordered:
            table.land(f"{chunk_id}-{order}", replace(record, question=f"a{order}"))

        assert run(f"SELECT label, status, error IS NULL FROM answers{order}") == [(*stands, stands[0] is not None)]  # noqa: S608


def test_of_several_good_answers_the_one_that_is_shown_stays(make: Make, run: Run) -> None:
    """A row that has none yet is shown the first of them."""
    table = make()
    table.ask({1: "a"})
    table.land(SECOND, PEACE)
    table.land(FIRST, WAR)
    table.land(THIRD, PEACE)

    table.asks({1: "a", 2: "a"})

    assert run("SELECT id, label FROM answers ORDER BY id") == [(1, "peace"), (2, "war")]


@pytest.mark.verify
def test_an_answer_that_stays_though_the_row_asks_something_else_says_so(make: Make, run: Run) -> None:
    """People see that the table is behind what is asked; each step has its sentence, and a good answer ends it."""
    table = make()
    table.asks({1: "a"})
    table.land("c1", good("a"))

    def seen() -> Any:
        return run("SELECT label, status, error, request_hash FROM answers")[0]

    table.asks({1: "b"})
    assert seen() == ("war", "succeeded", f"{KEPT}not answered yet", "a")
    table.land("c2", bad("b"))
    assert seen() == ("war", "succeeded", f"{KEPT}{OOPS}", "a")
    table.land("c3", came("b", Came.EXPIRED))
    assert seen()[2].startswith(f"{KEPT}expired: not processed within 24 hours")
    table.asks({1: None})
    assert seen() == ("war", "succeeded", f"{KEPT}rejected: too large", "a")
    table.asks({1: "b"})
    table.land("c4", good("b", "peace"))
    assert seen() == ("peace", "succeeded", None, "b")


def test_a_row_whose_question_goes_back_shows_its_answer_as_if_nothing_had_been(make: Make, run: Run) -> None:
    """The sentence beside it goes away, whatever came back for the other question."""
    table = make()
    table.asks({1: "a"})
    table.land("c1", good("a", cost_usd=0.5))
    before = run("FROM answers")
    table.asks({1: "b"})
    table.land("c2", bad("b"))

    table.asks({1: "a"})

    assert run("FROM answers") == before


def test_an_answer_from_before_answers_were_kept_stays_and_loses_its_sentence_too(make: Make, run: Run) -> None:
    """A table that an earlier version has filled has rows whose answers are written down nowhere else."""
    table = make()
    table.asks({1: "a"})
    table.land("c1", good("a"))
    run(f"DELETE FROM {ANSWERS.sql}")  # noqa: S608

    table.asks({1: "b"})
    assert run("SELECT label, error FROM answers") == [("war", f"{KEPT}not answered yet")]
    table.asks({1: "a"})
    assert run("SELECT label, error FROM answers") == [("war", None)]


def test_an_answer_from_before_answers_were_kept_is_shared(make: Make, run: Run, warehouse: Warehouse) -> None:
    """The table that shows it is taken at its word, once: its question counts as answered, so nobody would ask it."""
    table = make()
    table.asks({1: "a"})
    table.land("c1", good("a", cost_usd=0.5))
    run(f"DELETE FROM {ANSWERS.sql}")  # noqa: S608

    with warehouse.connect() as connection:
        answers.take_over(connection, TableName("main", "answers"), ["label"])
    table.asks({1: "a", 2: "a"})

    assert run("SELECT id, label, cost_usd FROM answers ORDER BY id") == [(1, "war", 0.5), (2, "war", 0.0)]


def test_a_failure_is_shown_until_there_is_something_newer(make: Make, run: Run) -> None:
    """The row of a question that was not answered yet tells of the one before."""
    table = make()
    table.asks({1: "a"})
    table.land("c1", bad("a"))
    table.asks({1: "b"})
    assert run("SELECT status, request_hash FROM answers") == [("errored", "a")]
    table.asks({1: None})
    assert run("SELECT status, error, request_hash, custom_id FROM answers") == [("rejected", "too large", None, None)]
    table.asks({1: "a"})
    assert run("SELECT status, request_hash FROM answers") == [("errored", "a")]


def test_a_row_that_was_never_answered_is_not_there(make: Make, run: Run) -> None:
    """What is on its way is no row yet."""
    table = make()

    table.asks({1: "a", 2: None})

    assert run("SELECT id, status FROM answers") == [(2, "rejected")]


def test_an_answer_to_what_nobody_asks_any_more_stays_out(make: Make, run: Run) -> None:
    """It is kept, and shown to whoever asks for it later."""
    table = make()
    table.asks({1: "b"})
    table.land("c1", good("a"))
    assert run("FROM answers") == []

    table.asks({2: "a"})

    assert run("SELECT id, label FROM answers") == [(2, "war")]


def test_two_rows_can_exchange_their_answers(make: Make, run: Run) -> None:
    """An answer belongs to whoever asks its question now."""
    table = make()
    table.asks({1: "a", 2: "b"})
    table.land("c1", good("a", "war"), good("b", "peace"))

    table.asks({1: "b", 2: "a"})

    assert run("SELECT id, label, error, custom_id FROM answers ORDER BY id") == [
        (1, "peace", None, "c1-1"),
        (2, "war", None, "c1-0"),
    ]


def test_an_answer_that_did_not_fit_is_judged_again_when_the_model_has_changed(make: Make, run: Run) -> None:
    """It was paid for; what fits today is good today."""
    make().asks({1: "a"})
    make().land("c1", good("a", "truce"))
    assert run("SELECT label, status FROM answers") == [(None, "invalid")]

    make(Wider).project("p")

    assert run("SELECT label, status, error FROM answers") == [("truce", "succeeded", None)]


def test_a_good_answer_stays_though_the_model_of_today_would_not_take_it(make: Make, run: Run) -> None:
    """It is the answer to what the row asks."""
    make(Wider).asks({1: "a"})
    make(Wider).land("c1", good("a", "truce"))

    make().project("p")

    assert run("SELECT label, status, error FROM answers") == [("truce", "succeeded", None)]


# --- which rows ------------------------------------------------------------------------------------


def test_an_answer_is_shown_by_every_row_that_asks_for_it_of_whatever_partition(make: Make, run: Run) -> None:
    """Also by rows that no run was about; the same key in another partition, or in none, is another row."""
    table = replace(make(), parts=["p"])
    table.ask({1: "a", 2: "b"}, part="p")
    table.ask({1: "a", 3: "c"}, part="q")
    table.ask({1: "a"}, part=None)

    table.land("c1", good("a"), good("b", "peace"))

    assert run("SELECT id, partition_key, label FROM answers ORDER BY ALL") == [
        (1, "p", "war"),
        (1, "q", "war"),
        (1, None, "war"),
        (2, "p", "peace"),
    ]


def test_f95_rows_leave_with_their_question(make: Make, run: Run) -> None:
    """Those of the partitions that are brought up to date, and no others, that without a key included."""
    table = make()
    for part in ("p", "q", None):
        table.asks({1: "a", 2: "b", None: None}, part=part)
    table.land("c1", good("a"), bad("b"))
    assert len(run("FROM answers")) == 9
    for part in ("p", "q", None):
        table.ask({1: "a"}, part=part)

    table.project("p", None)

    rest = run("SELECT id, partition_key FROM answers WHERE partition_key IS DISTINCT FROM 'q' ORDER BY ALL")
    assert rest == [(1, "p"), (1, None)]
    assert run("SELECT id FROM answers WHERE partition_key = 'q' ORDER BY id") == [(1,), (2,), (None,)]
    table.asks({}, part="q")
    assert run("SELECT id FROM answers WHERE partition_key = 'q'") == []


def test_an_answer_outlives_the_row_that_has_asked_for_it(make: Make, run: Run) -> None:
    """The row comes back, or another with its question: nothing is paid for twice."""
    table = make()
    table.asks({1: "a"})
    table.land("c1", good("a", cost_usd=0.5))
    table.asks({})
    assert run("FROM answers") == []

    table.asks({2: "a"}, part="q")

    assert run("SELECT id, partition_key, label, cost_usd FROM answers") == [(2, "q", "war", 0.5)]


@pytest.mark.sampled
@pytest.mark.parametrize("parts", [["p"], ["q"], ["p", "q", None]], ids=str)
def test_making_it_again_changes_nothing(make: Make, run: Run, parts: list[str | None]) -> None:
    """Whichever partition is brought up to date, and however often: good, kept, failed, shared and rejected rows."""
    table = make()
    priced: dict[str, Any] = {"cost_usd": 0.5, "input_tokens": 9, "output_tokens": 3}
    asked = {1: "a", 2: "b", 3: "c", 4: "d", 5: "d", 6: None, None: None}
    for part in ("p", "q", None):
        table.asks({**asked, 7: "earlier", 8: "a"}, part=part)
    table.land("c0", good("earlier", **priced))
    for part in ("p", "q", None):
        table.asks({**asked, 7: "f", 8: "a"}, part=part)
    table.land(
        "c1",
        good("a", **priced),
        good("b", sanitized=True, **priced),
        came("c", Came.EXPIRED),
        good("d", "truce", **priced),
        good("f", "truce", **priced),
    )
    before = run("FROM answers ORDER BY ALL")

    for _ in range(2):
        table.project(*parts)
        assert run("FROM answers ORDER BY ALL") == before


# --- what it cost ----------------------------------------------------------------------------------


def test_an_answer_that_several_rows_show_is_paid_for_by_one(make: Make, run: Run) -> None:
    """Everything is the same but the key, the partition and the bill."""
    table = make()
    paid: dict[str, Any] = {"batch_id": "b", "model": "m", "input_tokens": 9, "output_tokens": 3, "answered_at": NOON}
    table.ask({2: "a", 1: "a"})
    table.ask({1: "a"}, part="q")
    table.land("c1", good("a", cost_usd=0.5, **paid))
    table.asks({4: "a"}, part=None)

    columns = "id, partition_key, label, status, batch_id, custom_id, input_tokens, output_tokens, cost_usd"
    assert run(f"SELECT {columns} FROM answers ORDER BY partition_key NULLS LAST, id") == [  # noqa: S608
        (1, "p", "war", "succeeded", "b", "c1-0", 9, 3, 0.5),
        (2, "p", "war", "succeeded", "b", "c1-0", 0, 0, 0.0),
        (1, "q", "war", "succeeded", "b", "c1-0", 0, 0, 0.0),
        (4, None, "war", "succeeded", "b", "c1-0", 0, 0, 0.0),
    ]


def test_an_answer_of_unknown_price_is_of_unknown_price_wherever_it_is_shown(make: Make, run: Run) -> None:
    """NULL is not zero."""
    table = make()
    table.ask({1: "a", 2: "a"})

    table.land("c1", good("a", input_tokens=9))

    assert run("SELECT input_tokens, cost_usd FROM answers ORDER BY id") == [(9, None), (0, None)]


@pytest.mark.sampled
@pytest.mark.parametrize("record", [good("a", "truce"), good("a", sanitized=True)], ids=["failed", "mended"])
@pytest.mark.parametrize("part", ["p", "q"])
def test_what_an_answer_cost_stays_in_the_table_when_one_of_its_partitions_is_made_again(
    make: Make, run: Run, record: AnswerRecord, part: str
) -> None:
    """An answer that two partitions show was paid for once, not never."""
    table = make()
    table.ask({1: "a"}, part="p")
    table.ask({1: "a"}, part="q")
    table.land("c1", replace(record, cost_usd=0.5))
    assert run("SELECT sum(cost_usd) FROM answers") == [(0.5,)]

    table.project(part)

    assert run("SELECT sum(cost_usd) FROM answers") == [(0.5,)]


def test_what_an_answer_cost_stays_in_the_table_when_a_question_goes_there_and_back(make: Make, run: Run) -> None:
    """Of two rows that show it, the one that paid has asked something else for a while."""
    table = make()
    table.asks({1: "a", 2: "a"})
    table.land("c1", good("a", cost_usd=0.5))

    table.asks({1: "b", 2: "a"})
    table.asks({1: "a", 2: "a"})

    assert run("SELECT id, cost_usd, error FROM answers ORDER BY id") == [(1, 0.5, None), (2, 0.0, None)]


# --- types -----------------------------------------------------------------------------------------


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
    table.ask({1: "a", 2: "b"})

    table.land("c1", came("a", Came.SUCCEEDED, text=raw, detail="end_turn"), bad("b"))

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
    ("kind", "value"),
    [
        ("VARCHAR", "1"),
        ("VARCHAR", 'e\u0301 "\x00'),
        ("HUGEINT", 2**70),
        ("UBIGINT", 2**64 - 1),
        ("BIGINT", -(2**63)),
        ("UUID", UUID(int=1)),
        ("DATE", date(2026, 1, 2)),
        ("TIMESTAMP", datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001
        ("TIMESTAMP WITH TIME ZONE", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("TIME", time(3, 4, 5)),
        ("DECIMAL(9,2)", Decimal("1.50")),
        ("DOUBLE", 0.1),
        ("BOOLEAN", True),
    ],
    ids=str,
)
def test_f5_f6_keys_of_any_type_land_as_themselves(make: Make, run: Run, kind: str, value: Any) -> None:
    """And the second answer finds the row of the first."""
    table = make(key_types={"id": kind})
    table.ask({value: "a"})
    for n in range(2):
        table.land(f"c{n}", bad("a"))

    assert run("SELECT id, custom_id FROM answers") == [(value, "c1-0")]


def test_f5_composite_keys_land_in_their_columns(make: Make, run: Run) -> None:
    """Also the one row of all keys that are NULL."""
    table = make(key_types={"lang": "VARCHAR", "n": "INTEGER"})
    for _ in range(2):
        table.asks({("de", 1): "a", ("1", 2): "b", (None, None): None})
    table.land("c1", good("a"), good("b"))

    found = run("SELECT lang, n, status FROM answers ORDER BY ALL")
    assert found == [("1", 2, "succeeded"), ("de", 1, "succeeded"), (None, None, "rejected")]


def test_f119_hostile_names_of_tables_and_columns_are_only_names(make: Make, run: Run) -> None:
    """A table of any name is made, filled and brought up to date."""
    target = TableName('s"; DROP', 'a table"')

    class Hostile(BaseModel):
        label: str
        chunk_id: str = "x"
        answer: str = "y"
        came: str = "z"

    table = make(Hostile, key_types={'k"1': "INTEGER"}, target=target)
    table.asks({1: "a", 2: "b"})
    table.land("c1", good("a"), good("b"))
    table.asks({1: "b", 3: "a"})

    assert run(f'SELECT "k""1", custom_id, chunk_id, answer, came FROM {target.sql} ORDER BY 1') == [  # noqa: S608
        (1, "c1-1", "x", "y", "z"),
        (3, "c1-0", "x", "y", "z"),
    ]


def test_tables_with_long_names_have_questions_of_their_own() -> None:
    """Where the name of an output table leaves no room for its schema before it."""
    names = [TableName("s", "t" * 250 + end) for end in ("", "aaaaa", "aaaab")] + [TableName("s", "t")]

    assert len({questions_of(name) for name in names}) == len(names)
    assert questions_of(names[-1]).table == "s.t"
    assert all(quoted(questions_of(name).table) for name in names)


# --- what is to be done ----------------------------------------------------------------------------


def test_a_run_plans_for_its_open_questions_with_what_came_back_for_them(make: Make) -> None:
    """Of its own partitions, and of any chunk; what has a good answer, or no question, is done."""
    table = replace(make(), parts=["p", None])
    table.asks({1: "good", 2: "new", 3: "failed", 4: None, 5: "cut", 6: "refused"})
    table.asks({1: "whole"}, part=None)
    table.asks({1: "elsewhere"}, part="q")
    cut = came("cut", Came.SUCCEEDED, text="{", detail="max_tokens")
    refused = came("refused", Came.SUCCEEDED, detail="refusal")
    table.land("c1", good("good"), bad("failed"), cut, refused)
    table.land("c2", came("failed", Came.EXPIRED, attempt=2), came("refused", Came.MISSING))

    plan = table.store.plan(Claimed({"new": "c3"}, frozenset({"c1", "c3"})), run_chunks=["c2"], rules=Rules())

    assert plan.new == {"whole"}
    assert plan.again == {"failed": Attempt(3, n_truncated=0), "cut": Attempt(2, n_truncated=1)}
    assert (dict(plan.in_flight), set(plan.followed), plan.known) == ({"new": "c3"}, {"c3"}, {"c1", "c3"})


def test_what_came_back_in_this_run_is_counted_apart(make: Make) -> None:
    """A failure that cost nothing is repeated three times a run."""
    table = make()
    table.asks({1: "expired"})
    for n in range(3):
        table.land(f"c{n}", came("expired", Came.EXPIRED, attempt=n + 1))

    def again(run_chunks: list[str]) -> dict[str, Attempt]:
        return table.store.plan(Claimed({}, frozenset()), run_chunks=run_chunks, rules=Rules()).again

    assert again(["c0", "c1"]) == {"expired": Attempt(4, n_truncated=0)}
    assert again(["c0", "c1", "c2"]) == {}


def test_a_question_whose_answer_is_only_kept_is_open(make: Make) -> None:
    """What stands in the row answers something else."""
    table = make()
    table.asks({1: "a"})
    table.land("c1", good("a"))
    table.asks({1: "b"})

    assert table.store.plan(Claimed({}, frozenset()), run_chunks=[], rules=Rules()).due == {"b"}


def test_chunks_without_results_that_may_turn_up_are_known(make: Make) -> None:
    """As long as somebody asks for them, and has no other answer."""
    table = make()
    table.asks({1: "a", 2: "b", 3: "c"})
    table.land("c1", came("a", Came.WITHHELD))
    table.land("c2", came("b", Came.MISSING))
    table.land("c3", came("nobody asks", Came.WITHHELD))
    table.land("c4", came("c", Came.GONE))
    assert table.store.without_results() == {"c1", "c4"}
    assert replace(table, parts=["q"]).store.without_results() == frozenset()

    table.land("c5", good("a"))

    assert table.store.without_results() == {"c4"}


def test_the_partitions_of_questions_are_those_of_the_run(make: Make) -> None:
    """Others may ask the same; they are no concern of the run."""
    table = replace(make(), parts=["p", None])
    for part in ("p", "q", None):
        table.ask({1: "a"}, part=part)
    table.ask({2: "b"}, part="q")

    assert table.store.partitions_of(["a", "b"]) == {"p", None}
    assert (table.store.partitions_of(["b"]), table.store.partitions_of([])) == (frozenset(), frozenset())
