"""Gold rows in YAML: `gold: labelled_tickets`, or `gold: {path: gold.csv, tolerance: {amount: 0.01}}`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from claude_batch_dagster.assets.gold import Gold
from claude_batch_dagster.assets.sources import UpstreamAsset
from claude_batch_dagster.component.deadline import DeadlineModel
from claude_batch_dagster.component.texts import (
    Templated,
    TextFile,
    filled,
    function_at,
    located,
    number,
    path_of,
    rendered,
)
from claude_batch_dagster.errors import ConfigurationError


class GoldModel(dg.Model):
    """Rows whose true answers are known: an asset, a file or a query, and how answers are held against them."""

    asset: str | None = Field(default=None, description="Key of the asset whose table has them.")
    path: str | None = Field(
        default=None, description="Path of a file of them, from this YAML file on: .csv or .parquet."
    )
    sql: str | None = Field(default=None, description="A query for them.")
    weight: str = Field(
        default="weight", description="Column that says how many rows of the table each stands for, if there is one."
    )
    tolerance: dict[str, float | Templated | DeadlineModel] = Field(
        default={},
        description="By output field, how far an answer may be off: a number, or a time for dates.",
        examples=[{"amount": 0.01, "due_on": {"days": 1}}],
    )
    same: dict[str, str] = Field(
        default={},
        description="By output field, the dotted path of a function of answer and true value that says if it is right.",
        examples=[{"summary": "my_project.quality.says_the_same"}],
    )
    nullable: list[str] = Field(default=[], description="Output fields of which null is a true value.")


def resolve_gold(context: dg.ResolutionContext, said: Any) -> UpstreamAsset | Gold | None:
    """Return the gold rows that YAML names; raise `ResolutionException` for what cannot be."""
    if said is None:
        return None
    with located(context):
        if isinstance(said, str):
            return dg.AssetKey.from_user_string(rendered(context, said))
        given = filled(context, said.model_dump(exclude={"asset", "path", "same", "tolerance"}))
        sources = [source for source in (_asset(context, said), _file(context, said)) if source is not None]
        if len(sources) > 1:
            raise ConfigurationError("gold rows come from an asset, from a file, or from sql: name one of them.")
        return Gold(
            source=sources[0] if sources else None,
            same={name: function_at(context, path) for name, path in said.same.items()},
            tolerance={name: _tolerance(context, name, far) for name, far in said.tolerance.items()},
            **given,
        )


def _asset(context: dg.ResolutionContext, said: GoldModel) -> dg.AssetKey | None:
    return None if said.asset is None else dg.AssetKey.from_user_string(rendered(context.at_path("asset"), said.asset))


def _file(context: dg.ResolutionContext, said: GoldModel) -> Path | None:
    return None if said.path is None else path_of(context, TextFile(path=said.path))


def _tolerance(context: dg.ResolutionContext, name: str, far: Any) -> float | timedelta:
    """Return how far an answer may be off: a number, or a time."""
    if isinstance(far, DeadlineModel):
        given = filled(context, far.model_dump())
        return timedelta(**{unit: number(value, unit) for unit, value in given.items()})
    told: float = number(filled(context, far), f"the tolerance of {name}")
    return told


ResolvedGold = Annotated[
    UpstreamAsset | Gold | None,
    dg.Resolver(
        resolve_gold,
        model_field_type=str | GoldModel | None,
        description="Rows whose true answers are known: key of their asset, or where else they are. Its table has the "
        "key columns, and true values by the names of output fields. Default none.",
        examples=["labelled_tickets", {"path": "gold.csv"}],
        inject_before_resolve=False,
    ),
]
