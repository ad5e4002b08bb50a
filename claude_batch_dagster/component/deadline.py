"""The deadline in YAML: `deadline: {hours: 6}`."""

from datetime import timedelta
from typing import Annotated, Any, cast

import dagster as dg
from pydantic import Field

from claude_batch_dagster.component.texts import Templated, check_kind, evaluated, filled, located, number


class DeadlineModel(dg.Model):
    """A time from the start of a run."""

    days: float | Templated = Field(default=0.0, description="Days.")
    hours: float | Templated = Field(default=0.0, description="Hours.")
    minutes: float | Templated = Field(default=0.0, description="Minutes.")


def resolve_deadline(context: dg.ResolutionContext, said: Any) -> timedelta | None:
    """Return the deadline that YAML describes; raise `ResolutionException` for one that cannot be."""
    if said is None:
        return None
    with located(context):
        if isinstance(said, str):
            found = evaluated(context, said)
            check_kind(found, timedelta, "deadline", "our_deadline")
            return cast("timedelta", found)
        given = filled(context, said.model_dump())
        return timedelta(**{name: number(value, name) for name, value in given.items()})


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
