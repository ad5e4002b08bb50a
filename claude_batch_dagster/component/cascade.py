"""A cascade in YAML: `escalate_to: claude-opus-5-5`, or with settings."""

from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from claude_batch_dagster.assets.cascade import Cascade
from claude_batch_dagster.component.texts import Templated, filled, located, number, rendered
from claude_batch_dagster.quality.threshold import AGREEMENT, DELTA


class CascadeModel(dg.Model):
    """Which rows a strong model decides: those of which the cheap one says that it is unsure."""

    to: str = Field(description="The strong model.", examples=["claude-opus-5-5"])
    agreement: float | Templated = Field(
        default=AGREEMENT, description="Of all rows, how many shall have the strong model's answer, 0 to 1."
    )
    delta: float | Templated = Field(default=DELTA, description="In how many cases that may be broken, 0 to 1.")
    pairs: int | Templated = Field(
        default=400, description="Rows that go up in any case, to choose by them how sure is sure enough."
    )
    confidence: str = Field(default="confidence", description="The output field that says how sure an answer is.")
    compared: list[str] = Field(
        default=[], description="Output fields in which both have to agree; default one with a closed list."
    )


def resolve_cascade(context: dg.ResolutionContext, said: Any) -> str | Cascade | None:
    """Return the cascade that YAML describes; raise `ResolutionException` for one that cannot be."""
    if said is None:
        return None
    with located(context):
        if isinstance(said, str):
            return rendered(context, said)
        given = filled(context, said.model_dump())
        numbers = {name: number(given[name], name) for name in ("agreement", "delta", "pairs")}
        return Cascade(**{**given, **numbers})


ResolvedCascade = Annotated[
    str | Cascade | None,
    dg.Resolver(
        resolve_cascade,
        model_field_type=str | CascadeModel | None,
        description="A strong model that is asked the rows of which ask's model is unsure; default none.",
        examples=["claude-opus-5-5", {"to": "claude-opus-5-5", "agreement": 0.98}],
        inject_before_resolve=False,
    ),
]
