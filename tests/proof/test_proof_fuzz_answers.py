"""Any answer at all: columns, or an invalid output; and whatever is valid lands in the table."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import duckdb
import pytest
from hypothesis import strategies as st
from pydantic import BaseModel

from claude_batch_dagster.core.collecting.output_schema import InvalidOutputError, OutputSchema
from claude_batch_dagster.core.ports import AnswerRecord
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.asking.questions import questions_of
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.collecting.projection import GOOD as SUCCEEDED
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from tests.proof.fuzzing import SEED, fuzz, n_examples, spoil

pytestmark = pytest.mark.verify

TARGET = TableName("main", "answers")
KEY_TYPES = {"id": "INTEGER"}


class Tone(Enum):
    """A closed list."""

    CALM = "Calm"
    LOUD = 3


class Place(BaseModel):
    """A nested model."""

    name: str
    size: int | None = None
    at: time | None = None


class Wide(BaseModel):
    """A model with a field of every kind."""

    label: Literal["War", "Peace"]
    text: str
    yes: bool
    big: int
    ratio: float
    money: Decimal
    day: date
    moment: datetime
    hour: time
    took: timedelta
    ident: UUID
    tone: Tone
    place: Place | None
    places: list[Place]
    table: list[list[int]]
    names: set[str]
    pair: tuple[int, str]
    counts: dict[str, int]
    dates: dict[date, Decimal]
    anything: Any
    either: int | str | None


GOOD: dict[str, str] = {
    "label": '"War"',
    "text": '"a"',
    "yes": "true",
    "big": "1",
    "ratio": "0.5",
    "money": '"1.50"',
    "day": '"2026-01-02"',
    "moment": '"2026-01-02T03:04:05Z"',
    "hour": '"12:34:56"',
    "took": '"P1D"',
    "ident": '"00000000-0000-0000-0000-000000000001"',
    "tone": '"Calm"',
    "place": '{"name":"a"}',
    "places": "[]",
    "table": "[[1]]",
    "names": '["a"]',
    "pair": '[1,"a"]',
    "counts": '{"a":1}',
    "dates": '{"2026-01-02":"1.5"}',
    "anything": "null",
    "either": "1",
}

ODD = [
    *GOOD.values(),
    *["null", "0", "-1", "-0.0", "1.0", "1.5", "1e308", "1e-400", "1e999", "NaN", "-Infinity", "86399", "1e11", "3"],
    *["9" * n for n in (15, 19, 30, 400, 5_000)],
    *["18446744073709551615", "-9223372036854775809", '"NaN"', '"sNaN"', '"Infinity"', '"1E+30"', '"0E+999999"'],
    *['"1E-32769"', '"1E-999999"', '"1_000"', '" 12 "', '"0x10"', '""', '" "', '"WAR"', '"peace"', '"calm"', '"3"'],
    *['"\\u0000"', '"a\\u0000b"', '"\\u2028"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\U0001f642"', '"gA=="', '"_-8="'],
    *['"0001-01-01"', '"9999-12-31"', '"0000-00-00"', '"10000-01-01"', '"0001-01-01T00:00:00+14:00"'],
    *['"9999-12-31T23:59:59-14:00"', '"2026-01-02T03:04:05.123456789Z"', '"2026-01-02T03:04:05"', '"12:00:00+05:30"'],
    *['"24:00:00"', '"23:59:59.999999"', '"12:00Z"', '"-P999999999D"', '"P1Y"', "{}", "[]", "[null]", "[[]]"],
    *['["a","a"]', "[[1,99999999999999999999]]", '{"a":99999999999999999999}', '{"a":1e999}', '{"":1}'],
    *['{"a\\u0000":1}', '{"a.b":1,"a\\"b":2,"$":3}', '{"name":"x","size":99999999999999999999}'],
    *['{"name":"x","at":"12:00+01:00"}', '[{"name":"x"},{"name":"y","size":1}]', '{"9999-12-31":"1E-999999"}'],
    *["[" * 150 + "]" * 150, '{"a":' * 150 + "1" + "}" * 150],
]
"""Values that some field takes, and that some database does not."""


def written(fields: Mapping[str, str]) -> str:
    """Return an answer as Claude would write it."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"


def nearly_good() -> st.SearchStrategy[str]:
    """Return answers that fit but for a few fields, which are odd."""
    changes = st.dictionaries(st.sampled_from(list(GOOD)), st.sampled_from(ODD), max_size=3)
    return changes.map(lambda odd: written({**GOOD, **odd}))


WRAPS = ["%s", "%s", "[%s]", '{"a":%s}', '{"name":%s}', '{"name":"x","size":%s}', '[%s,"a"]', '[{"name":"x","at":%s}]']


def odd_answers(n: int) -> Iterator[str]:
    """Return answers with up to three odd values, bare or nested; every third is spoilt besides."""
    chosen = random.Random(SEED)  # noqa: S311  (a seed, not a secret)
    for number in range(n):
        names = chosen.sample(list(GOOD), chosen.randint(0, 3))
        text = written({**GOOD, **{name: chosen.choice(WRAPS) % chosen.choice(ODD) for name in names}})
        raw = spoil(text.encode(), chosen) if number % 3 == 0 else text.encode()
        yield raw.decode(errors="replace")


@n_examples(5_000, 500_000)
def test_f82_f83_no_answer_breaks_its_judge(n: int) -> None:
    """Answers that nearly fit, nested oddly, or spoilt: columns, or an invalid output; nothing else."""
    schema = OutputSchema(Wide)
    n_valid = 0
    for text in odd_answers(n):
        try:
            values = schema.validate(text)
        except InvalidOutputError:
            continue
        n_valid += 1
        assert set(values) == set(GOOD)

    assert n // 20 < n_valid < n // 2


@dataclass(frozen=True)
class Table:
    """An output table in an open database, with rows that ask questions of their own."""

    schema: OutputSchema
    store: AnswerStore
    connection: duckdb.DuckDBPyConnection

    def valid(self, texts: Iterable[str]) -> list[str]:
        """Return the answers that fit the model."""
        return [text for text in texts if self._fits(text)]

    def _fits(self, text: str) -> bool:
        try:
            self.schema.validate(text)
        except InvalidOutputError:
            return False
        return True

    def land(self, chunk_id: str, texts: Sequence[str]) -> int:
        """Land answers of one chunk, each to the question of one row; return how many rows show one."""
        asked = [f"{chunk_id} {n}" for n in range(len(texts))]
        self.connection.execute(
            f"INSERT INTO {questions_of(TARGET).sql} BY NAME "  # noqa: S608  (names of our own)
            "SELECT row_number() OVER () AS id, ? AS partition_key, request_hash "
            "FROM (SELECT unnest(?::VARCHAR[]) AS request_hash)",
            [chunk_id, asked],
        )
        records = [
            AnswerRecord(
                question=question,
                chunk_id=chunk_id,
                ordinal=n,
                attempt=1,
                came=Came.SUCCEEDED,
                detail="end_turn",
                text=text,
            )
            for n, (question, text) in enumerate(zip(asked, texts, strict=True))
        ]
        self.store.land(chunk_id, records)
        count = f"SELECT count(*) FROM {TARGET.sql} WHERE partition_key = ? AND {SUCCEEDED}"  # noqa: S608  (names of our own)
        return int(self.connection.execute(count, [chunk_id]).fetchall()[0][0])


@contextmanager
def table_of(model: type[BaseModel], folder: Path) -> Iterator[Table]:
    """Give an output table in an open database."""
    warehouse, schema = Warehouse(str(folder / "warehouse.duckdb"), config={"threads": 1}), OutputSchema(model)
    with warehouse.connect() as connection:
        OutputTable(target=TARGET, key_types=KEY_TYPES, schema=schema).prepare(connection)
        questions.prepare(connection, TARGET, KEY_TYPES)
        answers.prepare(connection)
        projection = Projection(target=TARGET, key_types=KEY_TYPES, schema=schema)
        yield Table(schema, AnswerStore(warehouse=warehouse, projection=projection, partition_keys=[None]), connection)


@n_examples(80, 3_000)
def test_f83_every_answer_that_is_valid_lands(tmp_path: Path, n: int) -> None:
    """One answer that the database does not take would keep a whole batch out of the table."""
    with table_of(Wide, tmp_path) as table:
        landed: list[str] = []

        def land(texts: list[str]) -> None:
            valid = table.valid(texts)
            landed.append(f"chunk {len(landed)}")
            assert table.land(landed[-1], valid) == len(valid)

        fuzz(land, n, texts=st.lists(nearly_good(), max_size=10))


@pytest.mark.parametrize("name", list(GOOD))
def test_f83_every_odd_value_of_a_field_lands_or_is_invalid(tmp_path: Path, name: str) -> None:
    """Each by itself, so that none hides behind another."""
    with table_of(Wide, tmp_path) as table:
        valid = table.valid([written(GOOD), *(written({**GOOD, name: value}) for value in ODD)])

        assert table.land("chunk", valid) == len(valid)
