"""What a user writes into a model reaches Claude."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Literal, Optional

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from claude_batch_dagster.client import output_format


class Mood(StrEnum):
    """How somebody feels."""

    GOOD = "in high spirits"
    BAD = "down in the dumps"


class Inner(BaseModel):
    """A part of something."""

    n: int = Field(description="how many there are", ge=11, le=97)
    name: str = Field(description="what it is called", pattern="^[a-z]+$", max_length=53)


class Whole(BaseModel):
    """All of something."""

    mood: Mood = Field(description="the mood of the author")
    other: Mood = Field(description="the mood of the reader")
    part: Inner = Field(description="the first part")
    perhaps: Optional[Inner] = Field(default=None, description="another part, if there is one")  # noqa: UP045
    moods: list[Mood] = Field(description="all moods of all people", max_length=7)
    parts: list[Inner] = Field(description="all parts")
    tone: Literal["calm", "angry"] = Field(description="the tone of voice")
    number: float = Field(description="some number", multiple_of=0.125, gt=-13)


SAID = [
    *("How somebody feels.", "in high spirits", "down in the dumps"),
    *("A part of something.", "how many there are", "11", "97", "what it is called", "^[a-z]+$", "53"),
    *("the mood of the author", "the mood of the reader", "the first part", "another part, if there is one"),
    *("all moods of all people", "7", "all parts", "calm", "angry", "the tone of voice"),
    *("some number", "0.125", "-13", "All of something."),
]


@pytest.mark.parametrize("said", SAID)
def test_every_description_constraint_and_label_is_in_the_request(said: str) -> None:
    """Also of a field that is an enumeration or another model, which a schema only refers to."""
    assert said in orjson.dumps(output_format(Whole)).decode()


def test_a_description_stands_with_its_own_field() -> None:
    """Two fields of one kind are told apart."""
    properties = output_format(Whole)["schema"]["properties"]

    assert properties["mood"]["description"] == "the mood of the author\n\nHow somebody feels."
    assert properties["other"]["description"] == "the mood of the reader\n\nHow somebody feels."
    assert properties["mood"]["enum"] == ["in high spirits", "down in the dumps"]


def test_what_is_said_often_is_not_sent_often() -> None:
    """A part that many fields describe stands in the request once."""
    model: type[BaseModel] = Inner
    for depth in range(8):
        fields: Any = {name: (model, Field(description=f"{name} at {depth}")) for name in ("left", "right")}
        model = create_model(f"M{depth}", **fields)

    assert len(orjson.dumps(output_format(model))) < 6_000


class Node(BaseModel):
    """A model that refers to itself."""

    label: str
    child: Optional["Node"] = Field(default=None, description="what hangs below")


def test_a_model_that_refers_to_itself_comes_to_an_end() -> None:
    """It is refused later, for it has no columns; not by running on for ever."""
    assert "what hangs below" in orjson.dumps(output_format(Node)).decode()


KINDS = st.sampled_from([str, int, Mood, Inner, list[Mood], list[Inner], Literal["x", "y"], bool])


@st.composite
def models(draw: st.DrawFn, depth: int = 2) -> tuple[type[BaseModel], frozenset[str]]:
    """Draw a model, with all that its fields say."""
    said, fields = set[str](), dict[str, Any]()
    for n in range(draw(st.integers(1, 4))):
        words = f"words {draw(st.integers(0, 10**9))} of field {n} at depth {depth}"
        kind: Any = draw(KINDS)
        if depth and draw(st.booleans()):
            kind, inner = draw(models(depth=depth - 1))
            said |= inner
        if draw(st.booleans()):
            kind = list[kind]
        fields[f"f{n}"] = (kind, Field(description=words))
        said.add(words)
    return create_model(f"M{depth}", **fields), frozenset(said)


def described(node: Any) -> Iterator[str]:
    """Yield every description in a schema."""
    if isinstance(node, Mapping):
        if isinstance(node.get("description"), str):
            yield node["description"]
        for part in node.values():
            yield from described(part)
    elif isinstance(node, list):
        for part in node:
            yield from described(part)


@settings(max_examples=60, deadline=None)
@given(drawn=models())
def test_nothing_that_a_model_says_is_lost(drawn: tuple[type[BaseModel], frozenset[str]]) -> None:
    """However deep it stands, and whatever it describes."""
    model, said = drawn

    told = list(described(output_format(model)["schema"]))

    assert [words for words in said if not any(words in one for one in told)] == []
