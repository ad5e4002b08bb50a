"""What a question is: hashes that no version of any library changes, and what does change them."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import numpy as np
import pytest
from annotated_types import Len, MaxLen
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    RootModel,
    StringConstraints,
    create_model,
)

from claude_batch_dagster.assets.labels import classification, label_model
from claude_batch_dagster.core.asking.code_version import code_version
from claude_batch_dagster.core.asking.output_identity import meaning
from claude_batch_dagster.core.asking.question_hash import LENGTH, VERSION, canonical, digest, question_hash
from claude_batch_dagster.core.asking.requests import PromptFunction, RequestBuilder
from claude_batch_dagster.core.asking.templates import Template

BASE = {"model": "claude-haiku-5-5", "max_tokens": 100}


class Tone(StrEnum):
    """How it sounds."""

    KIND = "kind"
    HARSH = "harsh"


class Level(Enum):
    """How much."""

    LOW = 1
    HIGH = 2


class Place(BaseModel):
    """Somewhere."""

    model_config = ConfigDict(title="A place", json_schema_extra={"examples": [{"name": "Rome"}]})

    name: str = Field(max_length=80, pattern="^[A-Z]")
    people: PositiveInt | None = None


class Everything(BaseModel):
    """One of each kind of field."""

    label: Literal["war", "peace"] = Field(description="What it is about.")
    tone: Tone
    level: Level = Level.LOW
    score: float = Field(ge=0, le=1)
    price: Decimal = Decimal("1.50")
    day: date | None = None
    number: UUID
    tags: list[Annotated[str, MaxLen(10)]] = Field(default_factory=list, max_length=5)
    places: dict[str, Place] = {}
    code: Annotated[str, StringConstraints(min_length=2, to_upper=True)]
    checked: Annotated[int, AfterValidator(abs), Field(gt=0, title="Checked")]
    renamed: str = Field(alias="re-named", examples=["a"])


class Tree(BaseModel):
    """A model within itself."""

    name: str
    parts: list["Tree"] = []


def hashed(model: type[BaseModel]) -> str:
    """Return a digest of what a model asks for."""
    return digest(canonical(meaning(model)))[:16]


def asked(row: Mapping[str, Any], source: str | PromptFunction = "Read: {text}", **given: Any) -> str:
    """Return the hash of a question."""
    prompt = Template.parse(source) if isinstance(source, str) else source
    return RequestBuilder(prompt=prompt, **{"base": BASE, **given}).build(row).request_hash


# --- hashes for good -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (label_model({"billing": "invoices", "other": "all else"}), "f84112c36b526fb6"),
        (label_model({"billing": "invoices", "other": "all else"}, confidences=True), "a7e4deb0617875a3"),
        (Place, "18e9e14fe77d9f2f"),
        (Everything, "8e17d0b6e04d26d8"),
        (Tree, "6556a53671922382"),
        (RootModel[list[int]], "565f913fed29c3c9"),
        (create_model("Empty"), "44136fa355b3678a"),
    ],
    ids=["labels", "confidences", "Place", "Everything", "Tree", "root", "empty"],
)
def test_what_a_model_asks_for_has_one_hash_for_good(model: type[BaseModel], known: str) -> None:
    """Under each version of pydantic, of the SDK and of Python: another hash would pay for everything again."""
    assert hashed(model) == known


def test_a_classification_is_one_question_for_good() -> None:
    """The definition in every hash, and the code version: confidences that nobody asked for are in neither."""
    labels = {"billing": "invoices", "other": "all else"}

    for ask in (classification(labels, "text"), classification(labels, "text", confidences=False)):
        assert ask.builder.definition == "8e3ace754b856c38c283655b31c12e0d1a9576f69ffc1f68c34517bf1a03444a"
        assert code_version(ask.builder) == "bac28b9dbaa89b3e"
    assert code_version(classification(labels, "text", confidences=True).builder) == "db3c3d06cc289a8f"


@pytest.mark.parametrize(
    ("row", "prompt", "given", "known"),
    [
        ({"text": "hello"}, "Read: {text}", {}, "q1aaa68676477b5364cfaa3aa78ac3e6"),
        ({"text": "hello"}, "Read: {text}", {"asked_of": "emulator"}, "q1470808d0a85a557a2a8a6f3775d096"),
        ({"text": "é\u2028😀\x00"}, "{text}", {}, "q16f95df9f3bc3b8d784c652733983de"),
        (
            {"a": "1", "b": ""},
            "{b}{a}{b}",
            {"asked": {"model": "m", "effort": None, "output": ["x", 1.5, None]}},
            "q1c80f3f81491c3ce2d45366c5b53667",
        ),
        ({"text": "hello"}, lambda row: f"Read: {row['text']}", {}, "q1ef87ad0212a8ff17c11642699855c1"),
        (
            {},
            lambda _: {"messages": [{"content": "é", "role": "user"}], "max_tokens": np.int64(7)},
            {},
            "q1229ce4675c582381b44b6517b57f13",
        ),
    ],
    ids=["template", "of-the-emulator", "unicode", "columns", "function", "params"],
)
def test_a_question_has_one_hash_for_good(
    row: Mapping[str, Any], prompt: str | PromptFunction, given: Mapping[str, Any], known: str
) -> None:
    """Under each version of the libraries that encode it: another hash would pay for everything again."""
    assert asked(row, prompt, **given) == known


# --- what makes another question -------------------------------------------------------------------


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_other_values_are_another_question(one: list[str], other: list[str]) -> None:
    """Wherever one value ends and the next begins."""
    assert (question_hash("d", one) == question_hash("d", other)) == (one == other)


@given(st.lists(st.text()))
def test_a_hash_fits_its_column_and_says_its_version(values: list[str]) -> None:
    """So that hashes of earlier versions can be told from it."""
    name = question_hash("d", values)

    assert (len(name), name.startswith(VERSION)) == (LENGTH, True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"label": (str, ...)}, {"label": (int, ...)}, id="type"),
        pytest.param({"label": (str, ...)}, {"name": (str, ...)}, id="name"),
        pytest.param({"label": (str, ...)}, {"label": (str | None, ...)}, id="nullable"),
        pytest.param({"label": (str, ...)}, {"label": (str, "x")}, id="default"),
        pytest.param({"label": (str, ...)}, {"label": (str, Field(description="x"))}, id="description"),
        pytest.param({"label": (str, ...)}, {"label": (str, Field(max_length=3))}, id="constraint"),
        pytest.param({"label": (str, Field(max_length=3))}, {"label": (str, Field(max_length=4))}, id="limit"),
        pytest.param({"label": (list[str], ...)}, {"label": (list[int], ...)}, id="items"),
        pytest.param({"label": (Literal["a", "b"], ...)}, {"label": (Literal["a"], ...)}, id="labels"),
        pytest.param({"label": (Literal[1], ...)}, {"label": (Literal["1"], ...)}, id="kind-of-label"),
        pytest.param({"label": (Tone, ...)}, {"label": (Level, ...)}, id="enum"),
        pytest.param({"label": (Place, ...)}, {"label": (Tree, ...)}, id="model"),
        pytest.param({"a": (str, ...), "b": (str, ...)}, {"b": (str, ...), "a": (str, ...)}, id="order"),
    ],
)
def test_another_output_is_another_question(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Whatever an answer's author gets to know of it."""
    assert hashed(create_model("Output", **one)) != hashed(create_model("Output", **other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param((Optional[str], ...), (str | None, ...), id="optional"),  # noqa: UP045  (what is tested)
        pytest.param((str, Field(max_length=3)), (Annotated[str, MaxLen(3)], ...), id="annotated"),
        pytest.param(
            (str, Field(max_length=3)), (Annotated[str, StringConstraints(max_length=3)], ...), id="constraints"
        ),
        pytest.param((str, Field(max_length=3)), (Annotated[str, Len(0, 3)], ...), id="no-lower-limit"),
        pytest.param((int, ...), (Annotated[int, AfterValidator(abs)], ...), id="validator"),
        pytest.param((str, Field(description="x")), (Annotated[str, Field(description="x")], ...), id="described"),
    ],
)
def test_the_same_output_in_other_words_is_the_same_question(one: Any, other: Any) -> None:
    """How Python code says it does not count, nor what is only judged by; nor the name of the class."""
    assert hashed(create_model("Output", label=one)) == hashed(create_model("Answer", label=other))


def test_what_was_not_said_makes_no_other_question() -> None:
    """A setting of a later version, which nobody has used yet, leaves all hashes as they are."""
    said = {"model": "m"}

    assert asked({"text": "a"}, asked=said) == asked({"text": "a"}, asked={**said, "effort": None})
    assert asked({"text": "a"}, asked=said) != asked({"text": "a"}, asked={**said, "effort": "low"})


def test_the_wire_form_makes_no_other_question() -> None:
    """How the SDK writes a schema changes with its version; what it says does not."""
    forms = ({**BASE, "output_config": {"format": form}} for form in ("a", "b"))

    assert len({asked({"text": "hello"}, base=base, asked={"model": "m"}) for base in forms}) == 1
