"""The deadline in YAML: `deadline: {hours: 6}`."""

from datetime import timedelta
from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from claude_batch_dagster.component.texts import Templated, made_of, number


class DeadlineModel(dg.Model):
    """A time from the start of a run."""

    days: float | Templated = Field(default=0.0, description="Days.")
    hours: float | Templated = Field(default=0.0, description="Hours.")
    minutes: float | Templated = Field(default=0.0, description="Minutes.")


def resolve_deadline(context: dg.ResolutionContext, said: Any) -> timedelta | None:
    """Return the deadline that YAML describes; raise `ResolutionException` for one that cannot be."""

    def made(given: dict[str, Any]) -> timedelta:
        return timedelta(**{name: number(value, name) for name, value in given.items()})

    return made_of(context, said, timedelta, made)


ResolvedDeadline = Annotated[
    timedelta | None,
    dg.Resolver(
        resolve_deadline,
        model_field_type=DeadlineModel | Templated | None,
        description="How long after a run has begun its rows are to have answers: what no batch has answered by then "
        "is asked through the Messages API, at its price; default as long as it takes.",
        examples=[{"hours": 6}],
        inject_before_resolve=False,
    ),
]
