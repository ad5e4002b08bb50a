"""What a model declares is what its columns hold, or it is refused when it is declared."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Literal, NewType, NotRequired
from uuid import UUID

import duckdb
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    AwareDatetime,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    FutureDate,
    HttpUrl,
    NaiveDatetime,
    PlainSerializer,
    PositiveInt,
    RootModel,
    SecretBytes,
    SecretStr,
    WrapSerializer,
    create_model,
    field_serializer,
    model_serializer,
)
from pydantic import Field as PydanticField
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypeAliasType, TypedDict

from claude_batch_dagster.client import output_format
from claude_batch_dagster.core.collecting.column_types import holds, sql_type
from claude_batch_dagster.core.collecting.output_schema import InvalidOutputError, OutputSchema
from claude_batch_dagster.emulator.schemas import schema_complaint
from claude_batch_dagster.errors import OutputModelError
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from tests.core.world import World


class Point(TypedDict):
    """A place on a map."""

    x: float
    name: str


@dataclasses.dataclass
class Part:
    """A part of something."""

    n: int
    names: list[str]


Euros = NewType("Euros", Decimal)
Names = TypeAliasType("Names", "list[str]")


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Euros, "DECIMAL(38,10)"),
        (list[Euros] | None, ["DECIMAL(38,10)"]),
        (TypeAliasType("Amount", int), "BIGINT"),
        (AwareDatetime, "TIMESTAMP WITH TIME ZONE"),
        (NaiveDatetime, "TIMESTAMP WITH TIME ZONE"),
        (FutureDate, "DATE"),
        (Sequence[int], ["BIGINT"]),
        (Iterable[str], ["VARCHAR"]),
        (deque[str], ["VARCHAR"]),
        (tuple[int, ...], ["BIGINT"]),
        (Point, {"x": "DOUBLE", "name": "VARCHAR"}),
        (list[Point], [{"x": "DOUBLE", "name": "VARCHAR"}]),
        (Part, {"n": "BIGINT", "names": ["VARCHAR"]}),
        (HttpUrl, "VARCHAR"),
        (AnyUrl | None, "VARCHAR"),
        (Path, "VARCHAR"),
        (PurePosixPath, "VARCHAR"),
        (ByteSize, "BIGINT"),
        (PositiveInt, "BIGINT"),
    ],
    ids=str,
)
def test_what_has_a_column_is_not_kept_as_json(annotation: Any, kind: Any) -> None:
    """Another name for a type, and what pydantic adds to one."""
    assert sql_type(annotation) == kind


class Span(TypedDict):
    """A part of a text, which may say what it is."""

    start: int
    kind: NotRequired[str]


class Words(RootModel[list[str]]):
    """A list with a name."""


class Priced(RootModel[float]):
    """A number that is written as a text."""

    @field_serializer("root")
    def in_words(self, root: float) -> str:
        """Return the number with its currency."""
        return f"{root} EUR"


@pydantic_dataclass
class Hiding:
    """A part with more than it shows."""

    shared: ClassVar[int] = 1
    n: int
    secret: str = PydanticField(default="", exclude=True)


@pydantic_dataclass
class Own:
    """A part that writes itself in a way of its own."""

    day: date

    @field_serializer("day")
    def in_words(self, day: date) -> str:
        """Return the day in words."""
        return f"the day {day}"


@pytest.mark.parametrize(
    ("kind", "column", "value", "kept"),
    [
        (list[Span], [{"start": "BIGINT", "kind": "VARCHAR"}], [{"start": 1}], [{"start": 1, "kind": None}]),
        (Words, ["VARCHAR"], ["a"], ["a"]),
        (Priced, "VARCHAR", 1.5, "1.5 EUR"),
        (Hiding, {"n": "BIGINT"}, {"n": 1}, {"n": 1}),
        (Own, "JSON", {"day": "2026-11-26"}, {"day": "the day 2026-11-26"}),
    ],
)
def test_a_part_that_is_left_out_is_null(kind: Any, column: Any, value: Any, kept: Any) -> None:
    """It keeps no other answer from landing."""
    schema = OutputSchema(create_model("M", a=(kind, ...), b=(str, Field(default="", exclude_if=lambda b: not b))))

    assert schema.columns == {"a": column, "b": "VARCHAR"}
    values = orjson.loads(schema.encoded(orjson.dumps({"a": value}).decode()))
    assert values == {"a": kept, "b": None}
    with duckdb.connect() as connection:
        structure = orjson.dumps(schema.columns).decode()
        connection.execute("SELECT json_transform_strict(?, ?)", [orjson.dumps(values).decode(), structure])


@pytest.mark.parametrize(
    "model",
    [
        create_model("M", b=(str, Field(default="", exclude_if=lambda b: not b))),
        create_model("M", b=(datetime, ...), __config__=ConfigDict(ser_json_temporal="seconds")),
    ],
    ids=["a field may be left out", "times as numbers"],
)
def test_a_model_that_does_not_write_all_of_its_columns_takes_the_careful_way(model: type[BaseModel]) -> None:
    """Else one such answer would keep all others from landing."""
    assert OutputSchema(model).encode_plain is None


class Hinted(BaseModel):
    """A model whose serializers say what they return, each in its way."""

    a: date
    b: date
    c: Annotated[int, PlainSerializer(str)]
    d: Annotated[str, len]

    @field_serializer("a", return_type=str)
    def one(self, day: date):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Return the day in words."""
        return f"the day {day}"

    @field_serializer("b")
    def other(self, day: date, info: "Unheard") -> str:  # type: ignore[name-defined]  # noqa: F821, ARG002
        """Return the day in words."""
        return f"the day {day}"


def test_what_a_serializer_says_is_heard_in_whatever_way_it_says_it() -> None:
    """By a parameter, beside names that are known to a type checker alone, or by being a type itself."""
    assert OutputSchema(Hinted).columns == dict.fromkeys("abcd", "VARCHAR")


def shown(value: object) -> str:
    """Return a value in words."""
    return f"it is {value}"


def written(value: object):  # type: ignore[no-untyped-def]  # noqa: ANN201  (that is what the test is about)
    """Return a value in words, without saying so."""
    return f"it is {value}"


class Renamed(BaseModel):
    """A model whose answers have other fields than it has."""

    label: str

    @model_serializer
    def as_a_whole(self) -> dict[str, str]:
        """Return the label under another name."""
        return {"name": self.label}


class Quiet(BaseModel):
    """A model with a serializer that does not say what it returns."""

    day: date

    @field_serializer("day")
    def in_words(self, day: date):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Return the day in words."""
        return f"the day {day}"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (create_model("M", key=(SecretStr, ...)), "the field 'key' of M cannot be a column: a SecretStr is written"),
        (create_model("M", key=(list[SecretBytes], ...)), "the field 'key' of M .* a SecretBytes is written"),
        (Renamed, "the output model Renamed writes itself in a way of its own"),
        (create_model("M", inner=(Renamed, ...)), "the field 'inner' of M .* Renamed writes itself"),
        (Quiet, "the field 'day' of Quiet .* does not say what it returns"),
        (create_model("M", n=(Annotated[int, PlainSerializer(written)], ...)), "the field 'n' .* does not say"),
    ],
    ids=["secret", "secrets", "whole model", "nested model", "method", "annotation"],
)
def test_what_cannot_be_a_column_is_refused_when_it_is_declared(model: type[BaseModel], message: str) -> None:
    """By the field's name: hours later each answer would have been paid for in vain."""
    with pytest.raises(OutputModelError, match=message):
        OutputSchema(model).check(keys=("id",))


class Told(BaseModel):
    """A model whose serializers say what they return."""

    day: date
    n: Annotated[int, PlainSerializer(shown)]
    m: Annotated[int, WrapSerializer(lambda value, _: [value], return_type=list[int])]

    @field_serializer("day")
    def in_words(self, day: date) -> str:
        """Return the day in words."""
        return f"the day {day}"


def test_a_column_is_of_what_a_field_is_written_as() -> None:
    """A serializer that says what it returns is taken at its word."""
    schema = OutputSchema(Told)

    assert schema.columns == {"day": "VARCHAR", "n": "VARCHAR", "m": ["BIGINT"]}
    values = schema.validate('{"day": "2026-11-26", "n": 5, "m": 7}')
    assert values == {"day": "the day 2026-11-26", "n": "it is 5", "m": [7]}


def lied(value: int) -> int:
    """Return a text, and say that it is a number."""
    return f"about {value}"  # type: ignore[return-value]  # that is what the test is about


@pytest.mark.parametrize("kind", [Annotated[int, PlainSerializer(lied)], Annotated[int | None, PlainSerializer(lied)]])
def test_one_value_that_is_not_what_was_said_spoils_no_other(world: World, kind: Any) -> None:
    """Its row is invalid, by the field's name; it was paid for, and the batch lands."""
    schema = OutputSchema(create_model("M", n=(kind, ...)))

    with pytest.raises(InvalidOutputError, match="field 'n': what it is written as does not fit the column BIGINT"):
        schema.validate('{"n": 1}')
    assert schema.encode_plain is None
    assert world.n_posts == 0


class Whole(BaseModel):
    """A model with a part that is defined below."""

    part: "Below"
    label: Literal["a"]


class Below(BaseModel):
    """The part."""

    n: int


def test_a_model_that_is_completed_later_has_its_columns() -> None:
    """Parts that are defined below, as with annotations that are texts."""
    assert OutputSchema(Whole).columns == {"part": {"n": "BIGINT"}, "label": "VARCHAR"}


def test_a_model_that_nobody_can_complete_is_refused() -> None:
    """With the name that is missing."""
    parts: dict[str, Any] = {"part": ("Nowhere", ...)}
    model = create_model("Unknown", **parts)

    with pytest.raises(OutputModelError, match=r"Unknown .* Nowhere"):
        OutputSchema(model).check(keys=("id",))


def fields(n: int, kind: Any, default: Any = ...) -> type[BaseModel]:
    """Return a model with so many fields of one kind."""
    definitions: dict[str, Any] = {f"f{place}": (kind, default) for place in range(n)}
    return create_model("Many", **definitions)


@pytest.mark.parametrize(
    ("model", "n"),
    [
        (fields(25, str, ""), "25 fields with a default"),
        (fields(17, str | None), "17 fields of several types"),
        (create_model("M", a=(fields(13, int, 0), ...), b=(fields(12, int, 0), ...)), "25 fields with a default"),
    ],
)
def test_more_than_the_api_compiles_is_refused_when_it_is_declared(model: type[BaseModel], n: str) -> None:
    """Each row would be refused, hours later; so does the emulator."""
    with pytest.raises(OutputModelError, match=f"has {n}.* divide the model between two assets"):
        OutputSchema(model).check(keys=("id",))
    assert schema_complaint(orjson.dumps(output_format(model)["schema"])) == "Schema is too complex for compilation."


@pytest.mark.parametrize("name", ["properties", "items", "anyOf", "description", "required", "type"])
def test_a_field_may_be_called_what_a_schema_calls_its_own(name: str) -> None:
    """Whatever it holds, and whatever examples say."""
    definitions: dict[str, Any] = {
        name: (list[str], Field(description="words", examples=[{"properties": {"a": 1}}])),
        "other": (Below, Field(description="a part")),
    }

    schema = OutputSchema(create_model("M", **definitions))
    schema.check(keys=("id",))

    assert schema.columns == {name: ["VARCHAR"], "other": {"n": "BIGINT"}}


@pytest.mark.parametrize("model", [fields(24, str, ""), fields(16, str | None)])
def test_as_much_as_the_api_compiles_is_taken(model: type[BaseModel]) -> None:
    """To the last field, here and there."""
    OutputSchema(model).check(keys=("id",))
    assert schema_complaint(orjson.dumps(output_format(model)["schema"])) == ""


LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text(st.characters(exclude_categories=["Cs"]))),
    (int, st.integers(-(2**63), 2**63 - 1)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (date, st.dates().map(date.isoformat)),
    (time, st.times().map(time.isoformat)),
    (datetime, st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(datetime.isoformat)),  # noqa: DTZ001  (naive)
    (UUID, st.uuids().map(str)),
    (Decimal, st.decimals(-(10**20), 10**20, allow_nan=False, places=4).map(str)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (HttpUrl, st.just("https://example.com/a")),
    (Euros, st.just("1.50")),
]


@st.composite
def typed_values(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """Draw an annotation, and a JSON value that fits it."""
    shape = draw(st.sampled_from(["leaf", "optional", "list", "model", "described"])) if depth else "leaf"
    if shape == "leaf":
        leaf, values = draw(st.sampled_from(LEAVES))
        return leaf, draw(values)
    kind, value = draw(typed_values(depth=depth - 1))
    shapes: dict[str, tuple[Any, Any]] = {
        "optional": (kind | None, draw(st.sampled_from([None, value]))),
        "list": (GenericAlias(list, kind), draw(st.lists(st.just(value), max_size=3))),
        "model": (create_model("Inner", a=(kind, ...)), {"a": value}),
        "described": (Annotated[kind, Field(description="something")], value),
    }
    return shapes[shape]


@pytest.mark.verify
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.lists(typed_values(), min_size=1, max_size=4))
def test_any_answer_that_fits_the_model_fits_its_columns(warehouse: Warehouse, fields: list[tuple[Any, Any]]) -> None:
    """Whatever is nested in what: DuckDB reads it as the columns that were declared."""
    definitions: Any = {f"f{n}": (kind, ...) for n, (kind, _) in enumerate(fields)}
    schema = OutputSchema(create_model("M", **definitions))
    text = orjson.dumps({f"f{n}": value for n, (_, value) in enumerate(fields)}).decode()

    encoded = schema.encoded(text)

    assert all(holds(schema.columns[name], value) for name, value in orjson.loads(encoded).items())
    structure = orjson.dumps(schema.columns).decode()
    with warehouse.connect() as connection:
        connection.execute("SELECT json_transform_strict(?, ?)", [encoded, structure])
