from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import dagster as dg
import pandas as pd
import pytest
from pydantic import BaseModel, Field, create_model

from claude_batch_dagster.core.collecting.output_schema import BOOKKEEPING
from claude_batch_dagster.errors import OutputModelError

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld, FrameIOManager

Declare = Callable[..., dg.AssetsDefinition]


class Mood(Enum):
    """How a document sounds."""

    GLAD = "glad"
    GRIM = "grim"


class Place(BaseModel):
    """A model within the model."""

    name: str
    inhabitants: int | None


class Everything(BaseModel):
    """One field of each kind."""

    topic: Literal["war", "economy"]
    mood: Mood
    score: float
    count: int
    certain: bool
    said_on: date
    said_at: datetime
    place: Place
    places: list[Place]
    words: list[str]
    remark: str | None = None
    number: int | str
    free: Literal["a", 1]
    reference: UUID
    price: Decimal = Field(description="A price, in dollars.")


KINDS = {
    "topic": "VARCHAR",
    "mood": "VARCHAR",
    "score": "DOUBLE",
    "count": "BIGINT",
    "certain": "BOOLEAN",
    "said_on": "DATE",
    "said_at": "TIMESTAMP WITH TIME ZONE",
    "place": 'STRUCT("name" VARCHAR, inhabitants BIGINT)',
    "places": 'STRUCT("name" VARCHAR, inhabitants BIGINT)[]',
    "words": "VARCHAR[]",
    "remark": "VARCHAR",
    "number": "JSON",
    "free": "JSON",
    "reference": "UUID",
    "price": "DECIMAL(38,10)",
}


def test_every_kind_of_field_has_a_typed_column(world: "DagsterWorld", asking: Declare) -> None:
    """Scalars, dates, enums, lists and nested models land in columns of their types, behind the key."""
    world.write_documents([("a", "war on 1862-12-01 in a place that is grim", None)])

    world.run(asking(output=Everything))

    described = {name: kind for name, kind, *_ in world.read("DESCRIBE public.answers")}
    assert world.statuses() == {"succeeded": 1}, world.errors()
    assert described == {"id": "VARCHAR", **KINDS, **BOOKKEEPING}
    assert list(described) == ["id", *KINDS, *BOOKKEEPING]
    assert world.read("SELECT topic, mood, said_on, places[1].name IS NOT NULL FROM public.answers") == [
        ("war", "grim", date(1862, 12, 1), True)
    ]


def test_the_columns_are_declared_to_dagster(asking: Declare) -> None:
    """The asset's column schema is that of its table, with the descriptions of its fields."""
    asset = asking(output=Everything)

    metadata = asset.metadata_by_key[asset.key]
    columns = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert list(columns) == ["id", *KINDS, *BOOKKEEPING]
    assert columns["price"].description == "A price, in dollars."
    assert all(columns[name].description for name in BOOKKEEPING)
    assert metadata["dagster/table_name"] == "public.answers"


@pytest.mark.verify
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("INTEGER", [1, 2]),
        ("UUID", [UUID(int=1), UUID(int=2**127)]),
        ("DATE", [date(1790, 1, 1), date(1790, 1, 2)]),
        ("HUGEINT", [2**100, 2**100 + 1]),
        ("DECIMAL(9,2)", [Decimal("1.50"), Decimal("2.00")]),
        ("TIMESTAMP", [datetime(1790, 1, 1, 12), datetime(1790, 1, 1, 12, 0, 0, 1)]),  # noqa: DTZ001
        ("ENUM('x', 'y')", ["x", "y"]),
    ],
)
def test_f5_a_key_may_be_of_many_types(
    world: "DagsterWorld", classification: Declare, kind: str, values: list[Any]
) -> None:
    """Keys keep their type and value, and a second run finds them again."""
    world.write(f"CREATE OR REPLACE TYPE kind_of_key AS {kind}")
    world.write_documents(
        [(values[0], "tax", None), (values[1], "army", None)],
        kinds="id kind_of_key, text VARCHAR, published_on DATE",
    )
    asset = classification(partitions_def=None)

    for _ in range(2):
        world.run(asset)

    assert world.answers("id, label") == [(values[0], "economy"), (values[1], "war")]
    assert world.n_posts == 1


def test_f5_keys_of_several_columns(world: "DagsterWorld", classification: Declare) -> None:
    """Rows are told apart by all the columns of the key, of whatever types."""
    world.write_documents(
        [(1, "x", "tax"), (1, "y", "army"), (2, "x", "navy")], kinds='book INTEGER, "the page" VARCHAR, text VARCHAR'
    )
    asset = classification(key=["book", "the page"], partitions_def=None)

    world.run(asset)
    world.write("DELETE FROM public.documents WHERE book = 2")
    world.run(asset)

    assert world.answers('book, "the page", label') == [(1, "x", "economy"), (1, "y", "war")]
    assert world.n_posts == 1


@pytest.mark.verify
def test_the_same_key_in_two_partitions(world: "DagsterWorld", classification: Declare) -> None:
    """A key needs to be unique within its partition only."""
    world.write_documents([("a", "tax", "1790-01-01"), ("a", "army", "1791-01-01")])

    world.run(classification(), span=("1790", "1791"))

    assert world.answers("partition_key, id, label") == [("1790", "a", "economy"), ("1791", "a", "war")]


# --- downstream ---------------------------------------------------------------------------------------


def downstream(
    partitions_def: dg.PartitionsDefinition[str] | None, seen: list[pd.DataFrame], *, key: Sequence[str] = ("answers",)
) -> dg.AssetsDefinition:
    """Return an asset that loads the answers through an IO manager and keeps what it saw."""

    @dg.asset(partitions_def=partitions_def, ins={"answers": dg.AssetIn(key, input_manager_key="frames")})
    def counted(answers: pd.DataFrame) -> None:
        seen.append(answers)

    return counted


def test_a_downstream_asset_loads_its_partition(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare, years: dg.TimeWindowPartitionsDefinition
) -> None:
    """dagster-duckdb's IO manager hands the answers of one partition, or of a range, to what comes next."""
    seen: list[pd.DataFrame] = []
    answers = classification()
    counted = downstream(years, seen)
    resources = {"frames": frames}
    world.run(answers, span=("1790", "1793"))

    world.run(counted, beside=[answers], partition="1791", resources=resources)
    world.run(counted, beside=[answers], span=("1790", "1791"), resources=resources)
    world.run(counted, beside=[answers], partition="1792", resources=resources)

    assert [sorted(frame["id"]) for frame in seen] == [["b", "c"], ["a", "b", "c"], []]
    assert [column for column in seen[0].columns if column not in BOOKKEEPING] == ["id", "label"]


@pytest.mark.verify
def test_a_downstream_asset_loads_everything(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare
) -> None:
    """A downstream asset without partitions sees the answers of all of them."""
    seen: list[pd.DataFrame] = []
    answers = classification(key_prefix=["silver"])
    world.run(answers, span=("1790", "1793"))

    world.run(downstream(None, seen, key=answers.key.path), beside=[answers], resources={"frames": frames})

    assert sorted(seen[0]["id"]) == ["a", "b", "c", "d"]


@pytest.mark.verify
@pytest.mark.parametrize(
    ("partitions_def", "key"),
    [
        (dg.DailyPartitionsDefinition("1790-01-01", end_date="1790-02-01", timezone="Europe/Berlin"), "1790-01-05"),
        (dg.MonthlyPartitionsDefinition("1790-01-01", end_date="1790-06-01"), "1790-01-01"),
        (dg.HourlyPartitionsDefinition("1790-01-05-00:00", end_date="1790-01-06-00:00"), "1790-01-05-00:00"),
        (dg.WeeklyPartitionsDefinition("1790-01-01", end_date="1790-02-01"), "1790-01-03"),
    ],
    ids=["daily", "monthly", "hourly", "weekly"],
)
def test_the_partitions_of_any_calendar_can_be_loaded(
    world: "DagsterWorld",
    frames: "FrameIOManager",
    classification: Declare,
    partitions_def: dg.TimeWindowPartitionsDefinition,
    key: str,
) -> None:
    """Whatever the format of the keys, the IO manager selects the rows that the run has landed."""
    seen: list[pd.DataFrame] = []
    answers = classification(partitions_def=partitions_def, partition_expr="published_on")
    world.run(answers, partition=key)

    world.run(downstream(partitions_def, seen), beside=[answers], partition=key, resources={"frames": frames})

    assert list(seen[0]["id"]) == ["a"]


@pytest.mark.verify
@pytest.mark.parametrize("key", ["2026-10-25-02:00+0100", "2026-10-25-01:00"])
def test_hours_can_be_loaded_after_the_clocks_were_set_back(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare, key: str
) -> None:
    """A key with an offset behind it keeps nobody from loading any partition."""
    seen: list[pd.DataFrame] = []
    hours = dg.HourlyPartitionsDefinition("2026-10-25-01:00", end_date="2026-10-25-04:00", timezone="Europe/Berlin")
    world.write_documents(
        [("a", "tax", "2026-10-24 23:30:00+00"), ("b", "war", "2026-10-25 01:30:00+00")],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMPTZ',
    )
    answers = classification(partitions_def=hours, partition_expr="at")
    world.run(answers, span=("2026-10-25-01:00", "2026-10-25-03:00"))

    world.run(downstream(hours, seen), beside=[answers], partition=key, resources={"frames": frames})

    assert list(seen[0]["id"]) == ["a" if key.endswith("01:00") else "b"]


@pytest.mark.verify
def test_static_partitions_can_be_loaded(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare
) -> None:
    """Partitions that are no times are selected by their key."""
    seen: list[pd.DataFrame] = []
    world.write_documents(canary=False)  # here a text is the key of a partition, and that is no secret
    texts = dg.StaticPartitionsDefinition(["tax and tariff on trade", "O'Brien"])
    answers = classification(partitions_def=texts, partition_expr="text")
    world.run(answers, partition="tax and tariff on trade")

    for key in texts.get_partition_keys():
        world.run(downstream(texts, seen), beside=[answers], partition=key, resources={"frames": frames})

    assert [list(frame["id"]) for frame in seen] == [["a"], []]


# --- a table that changes -----------------------------------------------------------------------------


def output(**fields: Any) -> type[BaseModel]:
    """Return an output model with these fields."""
    return create_model("Answer", **fields)


@pytest.mark.verify
def test_f91_a_new_field_becomes_a_column(world: "DagsterWorld", asking: Declare) -> None:
    """A field added to the output model is added to the table; the rows are asked anew."""
    world.run(asking(output=output(topic=(Literal["war", "economy"], ...))))

    world.run(asking(output=output(topic=(Literal["war", "economy"], ...), score=(float, ...))))

    assert world.read("SELECT count(score), count(*) FROM public.answers") == [(4, 4)]
    assert world.n_posts == 2


@pytest.mark.verify
def test_f91_a_field_that_is_gone_leaves_its_column(world: "DagsterWorld", asking: Declare) -> None:
    """A field taken out of the model keeps its column, which new answers leave empty."""
    world.run(asking(output=output(topic=(Literal["war", "economy"], ...), score=(float, ...))))

    world.run(asking(output=output(topic=(Literal["war", "economy"], ...))))

    assert world.read("SELECT count(score), count(*) FROM public.answers") == [(0, 4)]


def test_f91_a_field_of_another_type_sends_nothing(world: "DagsterWorld", asking: Declare) -> None:
    """A column that is of another type already is told, with what to rename, before anything is sent."""
    world.run(asking(output=output(score=(float, ...))))

    with pytest.raises(OutputModelError, match=r"column 'score' of public.answers is DOUBLE.*Nothing was sent. Rename"):
        world.run(asking(output=output(score=(str, ...))))

    assert world.n_posts == 1
    assert world.statuses() == {"succeeded": 4}
