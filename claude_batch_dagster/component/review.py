"""The review queue in YAML: `review: true`, or `review: {rows: 200, folder: queue}`."""

from collections.abc import Mapping
from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from claude_batch_dagster.component.dagster_fields import UpstreamModel, resolve_upstream, settings_of
from claude_batch_dagster.component.texts import Templated, filled, located, number, texts

NUMBERS = ("rows", "unsure_share")


class ReviewModel(dg.Model):
    """The rows that a person is to read and label."""

    rows: int | Templated = Field(default=200, description="How many rows the queue has.")
    unsure_share: float | Templated | None = Field(
        default=None, description="Share of them that is there for certain; default 0.5 with a confidence or votes."
    )
    confidence: str | None = Field(
        default="confidence", description="The output field that says how sure an answer is; null for none."
    )
    votes: list[str] | None = Field(
        default=None, description="Two output fields that should say the same.", examples=[["label", "second_label"]]
    )
    fields: list[str] | None = Field(
        default=None, description="The output fields that a person fills in; default those with a closed list."
    )
    columns: list[str] | None = Field(
        default=None, description="The upstream columns that a person is shown; default those that the prompt names."
    )
    labelled: str | UpstreamModel | None = Field(
        default=None, description="Key of the asset whose table holds labels already.", examples=["gold"]
    )
    seed: str = Field(default="review", description="Any text; another one draws other rows.")
    show_answers: bool = Field(default=False, description="Whether the files show the answers.")
    folder: str | None = Field(
        default=None, description="Where to write files to be filled in.", examples=["{{ context.project_root }}/queue"]
    )


def resolve_review(context: dg.ResolutionContext, said: Any) -> Mapping[str, Any] | None:
    """Return the settings of a review, or None where there is to be none."""
    if not isinstance(said, ReviewModel):
        return settings_of(context, said)
    given = said.model_dump(exclude_unset=True)
    settings = {name: _setting(context.at_path(name), name, value) for name, value in given.items()}
    if said.labelled is not None:
        settings["labelled"] = resolve_upstream(context.at_path("labelled"), said.labelled)
    return settings


def _setting(context: dg.ResolutionContext, name: str, value: Any) -> Any:
    """Return one setting: what reads as a number is one only where it has to be."""
    if name not in NUMBERS:
        return texts(context, value)
    with located(context):
        return number(filled(context, value), name)


ResolvedReview = Annotated[
    Mapping[str, Any] | None,
    dg.Resolver(
        resolve_review,
        model_field_type=bool | ReviewModel | Templated | None,
        description="Whether there is an asset <name>_review: the rows that a person is to read and label.",
        examples=[True, {"rows": 300, "folder": "{{ context.project_root }}/queue"}],
        inject_before_resolve=False,
    ),
]
