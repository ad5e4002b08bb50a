"""Thresholds in YAML: `error_rate: {warn: 0.01, fail: 0.05, blocking: true}`."""

from collections.abc import Sequence
from typing import Annotated, Any, cast

import dagster as dg
from pydantic import Field, create_model

from claude_batch_dagster.checks import Check
from claude_batch_dagster.checks.usual import USUAL
from claude_batch_dagster.component.texts import Templated, check_kind, evaluated, filled, located, number


class ThresholdsModel(dg.Model):
    """Where a check begins to warn, and where it fails: the last values that still pass."""

    warn: float | Templated | None = Field(
        default=None, description="Beyond it the check warns; default the usual one."
    )
    fail: float | Templated | None = Field(
        default=None, description="Beyond it the check fails; default the usual one."
    )
    blocking: bool = Field(
        default=False, description="Whether the run fails when the check fails, so that nothing downstream is started."
    )


def _field(kind: Any) -> Any:
    usual = kind()
    return (
        ThresholdsModel | None,
        Field(
            default=None, description=usual.description, examples=[{"warn": usual.warn, "fail": min(usual.fail, 100)}]
        ),
    )


ChecksModel = create_model(
    "ChecksModel",
    __base__=dg.Model,
    __doc__="Thresholds other than the usual ones.",
    **cast("dict[str, Any]", {kind.name: _field(kind) for kind in USUAL}),
)


def resolve_checks(context: dg.ResolutionContext, said: Any) -> Sequence[Check]:
    """Return the checks that YAML names, with their thresholds; raise `ResolutionException` for wrong ones."""
    if isinstance(said, str):
        with located(context):
            given_checks = evaluated(context, said)
            check_kind(given_checks, list, "checks", "our_checks")
        return cast("Sequence[Check]", given_checks)
    if said is None:
        return ()
    found: list[Check] = []
    for kind, make in USUAL.items():
        thresholds: ThresholdsModel | None = getattr(said, kind.name)
        if thresholds is not None:
            given = filled(context.at_path(kind.name), thresholds.model_dump(exclude_none=True))
            with located(context, kind.name):
                for limit in given.keys() & {"warn", "fail"}:
                    given[limit] = number(given[limit], limit)
                found.append(cast("Any", make)(**given))
    return found


ResolvedChecks = Annotated[
    Sequence[Check],
    dg.Resolver(
        resolve_checks,
        model_field_type=ChecksModel | None,
        description="Thresholds of checks other than the usual ones, by the name of the check.",
        examples=[{"error_rate": {"warn": 0.01, "fail": 0.05, "blocking": True}}],
        inject_before_resolve=False,
    ),
]
