"""What can be said of a review, and what cannot."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal

import dagster as dg
import pytest
from pydantic import BaseModel, create_model

from claude_batch_dagster import Ask, build_batch_asset, build_classification_asset, build_review_asset
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.reviewing import Review
from claude_batch_dagster.errors import ConfigurationError

AB = Literal["a", "b"]


class Mood(Enum):
    """How it sounds."""

    GLAD = "glad"
    LEVEL = 3


class Verdict(BaseModel):
    """Several questions at once."""

    spam: bool
    severity: AB
    mood: Mood
    second: AB | None
    reason: str
    score: float


class Odd(BaseModel):
    """Fields whose values are not just listed."""

    several: Literal["a", 1]
    either: AB | int
    some: list[AB]


def review(model: type[BaseModel] = Verdict, *, prompt: Any = "{subject} {text}", **settings: Any) -> Review:
    """Return a review of answers of a model."""
    asset = build_batch_asset(name="answers", upstream="documents", ask=Ask(prompt, model))
    return Review(task=declaration_of(asset).task, **settings)


# --- what is meant where nothing is said -------------------------------------------------------------


def test_fields_with_a_closed_list_are_filled_in() -> None:
    """Not those that may be null, for an empty cell would be no label; nor texts and numbers beside them."""
    assert review().true_fields == ("spam", "severity", "mood")
    assert review(fields=["second"]).true_fields == ("second",)
    assert review(create_model("Texts", summary=(str, ...), score=(float, ...))).true_fields == ("summary", "score")


def test_second_votes_and_confidences_are_not_filled_in() -> None:
    """One true value is enough."""
    model = create_model("Votes", label=(AB, ...), second_label=(AB, ...), confidence=(float, ...))

    assert review(model, votes=("label", "second_label")).true_fields == ("label",)
    assert review(create_model("Score", score=(float, ...), confidence=(float, ...))).true_fields == ("score",)


def test_a_classification_with_confidences_is_reviewed_by_them() -> None:
    """Its second choice is no field to be filled in."""
    asset = build_classification_asset(name="a", upstream="b", labels={"x": "", "y": ""}, confidences=True)
    found = Review(task=declaration_of(asset).task)

    assert (found.doubt, found.true_fields, found.documents) == ("confidence", ("label",), ("text",))
    assert (found.n_certain, found.n_least_sure) == (100, 100)


def test_without_doubt_all_rows_are_drawn_by_chance() -> None:
    """There is nothing by which they could be told apart."""
    assert (review().doubt, review().n_certain) == (None, 0)


@pytest.mark.parametrize(
    ("settings", "n_certain", "n_least_sure"),
    [
        ({"rows": 1}, 0, 0),
        ({"rows": 2}, 1, 1),
        ({"rows": 10, "unsure_share": 0.99}, 9, 9),
        ({"rows": 10, "unsure_share": 0}, 0, 0),
        ({"rows": 10, "votes": ("severity", "second")}, 5, 3),
        ({"rows": 10, "votes": ("severity", "second"), "confidence": None}, 5, 0),
    ],
    ids=str,
)
def test_one_row_at_least_is_left_to_chance(settings: Mapping[str, Any], n_certain: int, n_least_sure: int) -> None:
    """And with votes one half of the others to these."""
    found = review(**{"confidence": "score", **settings})

    assert (found.n_certain, found.n_least_sure) == (n_certain, n_least_sure)


def test_values_of_a_closed_list_are_told_as_columns_show_them() -> None:
    """Null is none of them; what is no closed list has none."""
    schema, odd = OutputSchema(Verdict), OutputSchema(Odd)

    assert schema.choices("spam") == ("true", "false")
    assert schema.choices("mood") == ("glad", "3")
    assert schema.choices("second") == ("a", "b")
    assert schema.choices("score") == ()
    assert odd.choices("several") == ("a", "1")
    assert odd.choices("either") == odd.choices("some") == ()
    assert (schema.categorical, schema.closed) == ("spam", ("spam", "severity", "mood"))


# --- what cannot be ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rows": 0}, "rows is a number of rows to be read, from 1 on; got 0"),
        ({"rows": True}, "got True"),
        ({"rows": "200"}, "got '200'"),
        ({"unsure_share": 1}, "unsure_share is a share from 0 to below 1; got 1"),
        ({"unsure_share": -0.1}, "got -0.1"),
        ({"unsure_share": True}, "got True"),
        ({"unsure_share": 0.5}, "needs something that tells unsure rows"),
        ({"confidence": "certainty"}, "confidence= names 'certainty', which is no field of the output"),
        ({"confidence": "severity"}, "is a field of the output that is no number"),
        ({"votes": ("severity", "vote")}, "votes= names 'vote', which is no field of the output"),
        ({"votes": ("severity", "severity")}, "votes takes two output fields"),
        ({"votes": "severity"}, "votes takes two output fields"),
        ({"fields": ["label"]}, "fields= names 'label', which is no field of the output. Its fields are: spam"),
        ({"fields": []}, "fields= has to name the output fields"),
        ({"columns": []}, "columns= has to say which upstream columns"),
        ({"columns": ["weight"]}, "two columns 'weight': a column of the documents and what says why"),
        ({"columns": ["Answered_Spam"]}, "two columns 'answered_spam': a column of the documents and an answer"),
        ({"fields": ["reason"]}, "two columns 'reason': what says why a row is there and a field to be filled in"),
        ({"columns": ["spam"]}, "two columns 'spam': a column of the documents and a field to be filled in"),
    ],
    ids=str,
)
def test_a_review_that_cannot_be_says_why(settings: dict[str, Any], told: str) -> None:
    """Where it is declared."""
    with pytest.raises(ConfigurationError) as error:
        review(**settings)

    assert told in str(error.value)


def test_a_confidence_that_is_no_number_is_not_overlooked() -> None:
    """Nor is it used by its name alone."""
    model = create_model("Words", label=(AB, ...), confidence=(AB, ...))

    with pytest.raises(ConfigurationError, match="say confidence=None"):
        review(model)
    assert review(model, confidence=None).true_fields == ("label", "confidence")


def test_a_prompt_function_needs_columns() -> None:
    """Nobody knows what it reads."""

    def ask(row: Mapping[str, Any]) -> str:
        return str(row["text"])

    with pytest.raises(ConfigurationError, match="columns= has to say"):
        review(prompt=ask)
    assert review(prompt=ask, columns=["text"]).documents == ("text",)


def test_a_column_that_the_upstream_is_known_not_to_have_is_refused() -> None:
    """Where it says what it has; of a query nobody knows."""
    schema = dg.TableSchema.from_name_type_dict({"id": "VARCHAR", "text": "VARCHAR"})
    upstream = dg.AssetSpec("documents", metadata={"dagster/column_schema": schema})
    asset = build_batch_asset(name="answers", upstream=upstream, ask=Ask("{text}", Verdict))
    query = build_batch_asset(name="joined", upstream=upstream, ask=Ask("{text}", Verdict), sql="FROM documents")

    with pytest.raises(ConfigurationError, match="column 'body' is not among the columns that asset 'documents'"):
        build_review_asset(asset, columns="body")
    build_review_asset(query, columns=["body"])
