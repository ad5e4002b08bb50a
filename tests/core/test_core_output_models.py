from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
)

from claude_batch_dagster.core.collecting.column_types import sql_type
from claude_batch_dagster.core.collecting.output_schema import BOOKKEEPING, InvalidOutputError, OutputSchema
from claude_batch_dagster.errors import OutputModelError


class Topic(StrEnum):
    """A closed list of texts."""

    WAR = "War"
    PEACE = "Peace and Treaties"


class Level(IntEnum):
    """A closed list of numbers."""

    LOW = 1
    HIGH = 2


class Mixed(Enum):
    """A closed list of anything."""

    TEXT = "a"
    NUMBER = 1


class Place(BaseModel):
    """A nested model."""

    name: str
    topic: Topic | None = None


class Answer(BaseModel):
    """A model with every kind of choice."""

    topic: Topic
    tone: Literal["calm", "ANGRY"] = "calm"
    maybe: Optional[Literal["Yes", "No"]] = None  # noqa: UP045  (people write it so)
    several: list[Topic] = []
    place: Place | None = None


class Node(BaseModel):
    """A model that holds itself."""

    label: str
    children: list["Node"]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, "VARCHAR"),
        (int, "BIGINT"),
        (float, "DOUBLE"),
        (bool, "BOOLEAN"),
        (Decimal, "DECIMAL(38,10)"),
        (date, "DATE"),
        (datetime, "TIMESTAMP WITH TIME ZONE"),
        (time, "TIME"),
        (UUID, "UUID"),
        (Topic, "VARCHAR"),
        (Level, "BIGINT"),
        (Mixed, "JSON"),
        (Literal["a", "b"], "VARCHAR"),
        (Literal[1, 2], "BIGINT"),
        (Literal["a", 1], "JSON"),
        (Literal[None], "JSON"),  # noqa: PYI061  (people write it so)
        (Annotated[int, Field(description="n")], "BIGINT"),
        (str | None, "VARCHAR"),
        (Optional[Annotated[Topic, "x"]], "VARCHAR"),  # noqa: UP045
        (Literal["a"] | Topic, "VARCHAR"),
        (str | int, "JSON"),
        (list[int], ["BIGINT"]),
        (list[list[str | None]], [["VARCHAR"]]),
        (set[str], ["VARCHAR"]),
        (list, "JSON"),
        (dict[str, int], "JSON"),
        (tuple[int, str], "JSON"),
        (Any, "JSON"),
        (bytes, "JSON"),
        (None, "JSON"),
        (Place, {"name": "VARCHAR", "topic": "VARCHAR"}),
        (list[Place] | None, [{"name": "VARCHAR", "topic": "VARCHAR"}]),
        (create_model("Empty"), "JSON"),
    ],
    ids=str,
)
def test_every_annotation_has_a_column_type(annotation: Any, kind: Any) -> None:
    """A field becomes the closest SQL type, and JSON where there is none."""
    assert sql_type(annotation) == kind


def test_columns_follow_the_fields_in_order() -> None:
    """The model's order is the table's; what the model does not dump has no column."""
    model = create_model("M", b=(int, ...), a=(str, ...), hidden=(str, Field(default="", exclude=True)))

    assert list(OutputSchema(model).columns.items()) == [("b", "BIGINT"), ("a", "VARCHAR")]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"text": (str, ...), "label": (Literal["a"], ...)}, "label"),
        ({"text": (str, ...), "label": (Topic, ...), "other": (bool, ...)}, "label"),
        ({"flag": (bool, ...)}, "flag"),
        ({"text": (str, ...), "n": (int, ...), "names": (list[Topic], ...)}, None),
    ],
)
def test_the_first_closed_list_is_the_one_whose_distribution_is_shown(fields: dict[str, Any], name: str | None) -> None:
    """Enums, literals and yes-or-no are closed lists."""
    assert OutputSchema(create_model("M", **fields)).categorical == name


@pytest.mark.parametrize(
    ("fields", "keys", "message"),
    [
        pytest.param(["id"], ("id",), "output field 'id' collides with the key", id="F96-key"),
        pytest.param(["ID"], ("id",), "output field 'ID' collides with the key", id="F96-key-by-case"),
        pytest.param(["Label", "label"], ("id",), "'label' collides with the output field", id="F96-field"),
        *[
            pytest.param([name.upper()], ("id",), f"{name}' collides with the output field", id=f"F96-{name}")
            for name in BOOKKEEPING
        ],
        pytest.param(["label"], ("Status",), "'status' collides with the key", id="F96-key-status"),
        pytest.param(["label"], ("a", "A"), "key 'A' collides with the key", id="F96-keys"),
        pytest.param([], ("id",), "has no fields", id="no-fields"),
    ],
)
def test_columns_that_would_collide_are_refused(fields: list[str], keys: tuple[str, ...], message: str) -> None:
    """DuckDB ignores the case of names, so names must differ in more."""
    model = create_model("M", **dict.fromkeys(fields, (str, ...)))  # type: ignore[call-overload]

    with pytest.raises(OutputModelError, match=message):
        OutputSchema(model).check(keys=keys)


class Pair(BaseModel):
    """A model with a tuple in it."""

    size: tuple[int, str]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (dict[str, int], "'field' is a dict"),
        (list[dict[str, str]] | None, "'field' is a dict"),
        (dict, "'field' is a dict"),
        (tuple[int, str], "'field' is a tuple"),
        (list[Pair], "'field' is a tuple"),
        (Any, "'field' does not say what it holds"),
        (list, "'field' does not say what it holds"),
    ],
)
def test_f84_what_a_structured_output_cannot_describe_is_refused(kind: Any, message: str) -> None:
    """The API would be asked for an empty object, or for anything at all, and every answer paid for in vain."""
    with pytest.raises(OutputModelError, match=message):
        OutputSchema(create_model("M", field=(kind, ...))).check(keys=("id",))


def test_a_model_that_fits_is_taken() -> None:
    """Names that differ are no trouble."""
    schema = OutputSchema(Answer)
    schema.check(keys=("id", "part"))

    assert set(schema.columns) == set(Answer.model_fields)


@pytest.mark.parametrize("model", [Node, create_model("Holder", node=(Node, ...)), RootModel[list[str]]])
def test_f84_a_model_that_is_no_row_is_refused(model: type[BaseModel]) -> None:
    """A model that holds itself, or is a bare list, cannot be laid out as columns."""
    with pytest.raises(OutputModelError, match=r"refers to itself|is not an object"):
        OutputSchema(model).check(keys=("id",))


class Patterned(BaseModel):
    """A model with a pattern that takes ages where patterns are tried by going back."""

    code: str = Field(pattern="^(a+)+$")


def test_f84_a_pattern_of_the_model_takes_no_endless_time() -> None:
    """However it is written: it is matched without going back, over an answer of any length."""
    with pytest.raises(InvalidOutputError):
        OutputSchema(Patterned).validate(orjson.dumps({"code": "a" * 50_000 + "!"}).decode())


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        ({"topic": "war"}, {"topic": "War"}),
        ({"topic": "WAR", "tone": "angry"}, {"topic": "War", "tone": "ANGRY"}),
        ({"topic": "peace AND treaties", "maybe": "yes"}, {"topic": "Peace and Treaties", "maybe": "Yes"}),
        ({"topic": "War", "several": ["war", "War"]}, {"topic": "War", "several": ["War", "War"]}),
        (
            {"topic": "War", "place": {"name": "war", "topic": "WAR"}},
            {"topic": "War", "place": {"name": "war", "topic": "War"}},
        ),
    ],
)
def test_capitalization_of_a_choice_is_mended(answer: dict[str, Any], values: dict[str, Any]) -> None:
    """The API does not guarantee it: enums, literals, optional, listed and nested ones are spelled as declared."""
    defaults: dict[str, Any] = {"tone": "calm", "maybe": None, "several": [], "place": None}

    assert OutputSchema(Answer).validate(orjson.dumps(answer).decode()) == {**defaults, **values}


def test_capitalization_is_mended_as_json_is_read() -> None:
    """A strict model, and a number beside the choice that JSON has no room for, change nothing of that."""

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        topic: Topic
        on: date
        n: float

    values = OutputSchema(Strict).validate('{"topic": "WAR", "on": "2026-01-02", "n": 1e400}')

    assert values == {"topic": "War", "on": "2026-01-02", "n": float("inf")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("SECRET", "not JSON", id="F82-prose"),
        pytest.param("```json\n{}\n```", "not JSON", id="F82-fenced"),
        pytest.param('{"topic": "War"} SECRET', "not JSON", id="F82-trailing"),
        pytest.param('{"topic": "War"', "not JSON", id="F82-cut"),
        pytest.param('{"topic": "\\ud83d"}', "not JSON", id="F81-surrogate"),
        pytest.param("[" * 5_000, "not JSON", id="F76-deep"),
        pytest.param('["SECRET"]', "Input should be an object", id="F83-list"),
        pytest.param('{"topic": "SECRET"}', "field 'topic': Input should be 'War' or", id="F83-enum"),
        pytest.param('{"topic": "SECRET", "n": NaN}', "field 'topic': Input should be", id="F83-nan"),
        pytest.param('{"tone": "calm"}', "field 'topic': Field required", id="F83-missing"),
        pytest.param('{"topic": "War", "maybe": "SECRET"}', "field 'maybe'", id="F83-literal"),
        pytest.param('{"topic": "War", "place": {"name": ["SECRET"]}}', "field 'place.name': ", id="F83-nested"),
        pytest.param('{"topic": "War", "several": ["War", "SECRET"]}', "field 'several.1': ", id="F83-list-item"),
        pytest.param('{"topic": "war", "place": {"name": 3}}', "field 'place.name': ", id="F83-recased"),
    ],
)
def test_an_answer_that_does_not_fit_is_invalid_and_not_repeated(text: str, message: str) -> None:
    """The message says where and how an answer is wrong, and never what it says."""
    with pytest.raises(InvalidOutputError, match=message) as caught:
        OutputSchema(Answer).validate(text)

    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


class Cat(BaseModel):
    """One of two shapes."""

    kind: Literal["cat"]


class Dog(BaseModel):
    """The other."""

    kind: Literal["dog"]


class Closed(BaseModel):
    """A model that takes nothing else."""

    model_config = ConfigDict(extra="forbid")
    label: str = ""
    counts: dict[str, int] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


@pytest.mark.parametrize(
    "answer",
    [
        {"SECRET": 1},
        {"label": "a", "SECRET field": {"SECRET": 2}},
        {"counts": {"SECRET": "x"}},
        {"pet": {"kind": "SECRET"}},
        {"pet": {"kind": "cat", "SECRET": 1}, "label": 3},
    ],
)
def test_names_that_the_answer_made_up_are_not_repeated_either(answer: dict[str, Any]) -> None:
    """A field name or a tag of the answer is as much its content as a value."""
    with pytest.raises(InvalidOutputError) as caught:
        OutputSchema(Closed).validate(orjson.dumps(answer).decode())

    assert "SECRET" not in str(caught.value)


def test_only_the_fields_of_the_model_come_out_of_an_answer() -> None:
    """An answer cannot write into the key or the bookkeeping, and aliases do not reach the table."""

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow", serialize_by_alias=True)
        label: str = Field(alias="Label-Name")

        @computed_field  # type: ignore[prop-decorator]
        @property
        def n(self) -> int:
            return 1

    values = OutputSchema(Open).validate('{"Label-Name": "a", "id": "other", "status": "succeeded"}')

    assert values == {"label": "a"}


@pytest.mark.parametrize(
    ("annotation", "fits", "too_large"),
    [
        (int, 2**63 - 1, 2**63),
        (int, -(2**63), 10**30),
        (list[int], [2**63 - 1], [1, 2**63]),
        (dict[str, int], {"a": 2**63}, {"a": 2**64}),
        (create_model("N", n=(int | None, ...)), {"n": None}, {"n": 2**63}),
        (Decimal, "9999999999999999999999999999", "10000000000000000000000000000"),
        (Decimal | None, None, "NaN"),
        (Annotated[Decimal, Field(allow_inf_nan=True)], "1.5", "Infinity"),
    ],
)
def test_f83_a_number_that_no_column_can_hold_is_invalid(annotation: Any, fits: Any, too_large: Any) -> None:
    """One boundless number must not keep the answers of a whole batch out of the table."""
    schema = OutputSchema(create_model("M", n=(annotation, ...)))
    assert schema.validate(_json({"n": fits})) == {"n": fits}

    with pytest.raises(InvalidOutputError, match=r"field 'n'"):
        schema.validate(_json({"n": too_large}))


def _json(value: Any) -> str:
    import json  # noqa: PLC0415  (orjson writes no number beyond 64 bits)

    return json.dumps(value)


@pytest.mark.verify
@given(text=st.text() | st.recursive(st.integers() | st.text() | st.none(), st.lists).map(repr))
def test_f82_any_text_is_an_answer_or_invalid(text: str) -> None:
    """No text makes the judge of answers fail in any other way."""
    try:
        values = OutputSchema(Answer).validate(text)
    except InvalidOutputError:
        return
    assert set(values) == set(Answer.model_fields)


def test_a_rule_of_the_user_is_named_in_the_message() -> None:
    """What a validator says about an answer helps to mend the prompt."""

    class Ruled(BaseModel):
        label: str

        @field_validator("label")
        @classmethod
        def short(cls, _: str) -> str:
            raise ValueError("at most 3 letters")

    with pytest.raises(InvalidOutputError, match="field 'label': Value error, at most 3 letters"):
        OutputSchema(Ruled).validate('{"label": "SECRET"}')


def test_allof_and_const_choices_are_mended_too() -> None:
    """However a schema writes a choice down, its spelling counts."""

    class One(BaseModel):
        label: Annotated[Topic, Field(description="the topic")]
        only: Literal["Only"]
        table: dict[str, Literal["Yes"]] = {}
        pair: tuple[Literal["Yes"], int] = ("Yes", 1)

    answer = {"label": "war", "only": "only", "table": {"a": "yes"}, "pair": ["yes", 2]}

    assert OutputSchema(One).validate(orjson.dumps(answer).decode()) == {
        "label": "War",
        "only": "Only",
        "table": {"a": "Yes"},
        "pair": ["Yes", 2],
    }


def test_a_field_says_what_it_holds() -> None:
    """What its description says, and its values if their list is closed and the description lacks one."""
    fields: dict[str, Any] = {
        "label": (Literal["a", 1], ...),
        "mood": (Literal["dour", "merry"], Field(description="The mood.")),
        "pace": (Literal["slow", "fast"], Field(description="One of:\n- slow: it drags\n- fast: it runs")),
        "why": (str, Field(description="The reason.")),
        "n": (int, 0),
    }
    schema = OutputSchema(create_model("M", **fields))

    assert [schema.meaning(name) for name in fields] == [
        "One of: a, 1.",
        "The mood. One of: dour, merry.",
        "One of:\n- slow: it drags\n- fast: it runs",
        "The reason.",
        None,
    ]


class Inner(BaseModel):
    """A part of an answer."""

    n: int = 1


class Computed(BaseModel):
    """A model whose JSON has more than its fields."""

    label: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def loud(self) -> str:
        """Return the label in capitals."""
        return self.label.upper()


class Serialized(BaseModel):
    """A model that writes a field in its own way."""

    label: str

    @field_serializer("label")
    def quietly(self, label: str) -> str:
        """Return the label in small letters."""
        return label.lower()


class Wide(BaseModel):
    """A model that lets anything more pass."""

    model_config = ConfigDict(extra="allow")

    label: str


class Numbers(BaseModel):
    """A model with numbers, an alias, and a part."""

    n: int = Field(alias="N")
    price: Decimal
    inner: Inner
    label: str | None = None


class Simple(BaseModel):
    """A model for which nothing but its own JSON is needed."""

    label: Literal["war", "peace"]
    good: bool
    share: float
    on: date | None = None
    word: str = Field("x", alias="Word")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Simple, '{"label": "war", "good": true, "share": 0.5, "on": "2026-01-02", "Word": "\\u00e9"}'),
        (Simple, '{"label": "WAR", "good": false, "share": 1e400}'),
        (Computed, '{"label": "war"}'),
        (Serialized, '{"label": "WAR"}'),
        (Wide, '{"label": "war", "more": 1}'),
        (Numbers, '{"N": 3, "price": "1.50", "inner": {"n": 2}}'),
    ],
)
def test_an_answer_is_encoded_as_what_it_holds(model: type[BaseModel], text: str) -> None:
    """The short way of most models gives what the long way gives: the columns, and nothing else."""
    schema = OutputSchema(model)

    assert orjson.loads(schema.encoded(text)) == orjson.loads(orjson.dumps(schema.validate(text)))
    assert orjson.loads(schema.encoded(text)).keys() == schema.columns.keys()


def test_a_number_that_is_too_large_for_its_column_is_told_on_either_way() -> None:
    """It would fail the whole statement."""
    with pytest.raises(InvalidOutputError, match="does not fit"):
        OutputSchema(Inner).encoded('{"n": 99999999999999999999}')
