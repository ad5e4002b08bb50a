"""Attributes of Dagster's own in YAML: partitions, where the documents come from, sensors and schedule."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import dagster as dg
from dagster.components.resolved.core_models import (
    DailyPartitionsDefinitionModel,
    HourlyPartitionsDefinitionModel,
    StaticPartitionsDefinitionModel,
    TimeWindowPartitionsDefinitionModel,
    WeeklyPartitionsDefinitionModel,
    resolve_partitions_def,
)
from pydantic import BaseModel, Field

from claude_batch_dagster.assets.sources import UpstreamAsset
from claude_batch_dagster.component.texts import (
    Templated,
    check_kind,
    evaluated,
    filled,
    located,
    number,
    rendered,
    texts,
)
from claude_batch_dagster.errors import ConfigurationError


class MonthlyPartitions(dg.Model):
    """A partition for each month."""

    type: Literal["monthly"] = Field(description="A partition for each month.")
    start_date: str = Field(description="First day of the first month.", examples=["2026-01-01"])
    end_date: str | None = Field(default=None, description="Where they end; default never.")
    timezone: str | None = Field(default=None, description="Zone of the months; default UTC.")
    minute_offset: int = Field(default=0, description="Minutes after the hour at which a month begins.")
    hour_offset: int = Field(default=0, description="Hour at which a month begins.")
    day_offset: int = Field(default=1, description="Day on which a month begins.")


class DynamicPartitions(dg.Model):
    """Partitions that are added at run time; the sensor of new documents adds those that rows name."""

    type: Literal["dynamic"] = Field(description="Partitions that are added at run time.")
    name: str = Field(description="What Dagster calls them.", examples=["customers"])


Dimension = (
    HourlyPartitionsDefinitionModel
    | DailyPartitionsDefinitionModel
    | WeeklyPartitionsDefinitionModel
    | MonthlyPartitions
    | TimeWindowPartitionsDefinitionModel
    | StaticPartitionsDefinitionModel
    | DynamicPartitions
)


class MultiPartitions(dg.Model):
    """Partitions in two dimensions."""

    type: Literal["multi"] = Field(description="Partitions in two dimensions.")
    partitions: dict[str, Annotated[Dimension, Field(discriminator="type")] | Templated] = Field(
        description="The partitions of each dimension, by its name."
    )


def resolve_partitions(context: dg.ResolutionContext, said: Any) -> dg.PartitionsDefinition[str] | None:
    """Return the partitions that YAML describes: Dagster's own, and those of which it has no form."""
    if isinstance(said, str):
        with located(context):
            found = evaluated(context, said)
            check_kind(found, dg.PartitionsDefinition, str(context.path[-1]), "dg.DailyPartitionsDefinition(...)")
        return cast("dg.PartitionsDefinition[str]", found)
    if isinstance(said, BaseModel) and not isinstance(said, MultiPartitions):
        said = type(said)(**filled(context, said.model_dump()))
    match said:
        case MonthlyPartitions():
            return dg.MonthlyPartitionsDefinition(**said.model_dump(exclude={"type"}))
        case DynamicPartitions():
            return dg.DynamicPartitionsDefinition(name=said.name)
        case MultiPartitions():
            within = context.at_path("partitions")
            dimensions = {
                name: resolve_partitions(within.at_path(name), dimension) for name, dimension in said.partitions.items()
            }
            return dg.MultiPartitionsDefinition({name: one for name, one in dimensions.items() if one is not None})
        case dg.PartitionsDefinition():
            return said
        case _:
            return resolve_partitions_def(context, said)


ResolvedPartitions = Annotated[
    dg.PartitionsDefinition[str] | None,
    dg.Resolver(
        resolve_partitions,
        model_field_type=Annotated[Dimension | MultiPartitions, Field(discriminator="type")] | None,
        inject_before_resolve=False,
        description="Partitions of the asset: hourly, daily, weekly, monthly, time_window, static, dynamic or multi.",
        examples=[{"type": "daily", "start_date": "2026-11-01"}, {"type": "dynamic", "name": "customers"}],
    ),
]


class UpstreamModel(dg.Model):
    """The asset that the rows come from, and how they are had of it."""

    key: str = Field(description="Key of the asset.", examples=["silver/tickets"])
    io_manager: bool = Field(
        default=False, description="Whether its IO manager hands over a DataFrame, in place of its table in DuckDB."
    )
    partition_mapping: Templated | None = Field(
        default=None,
        description="What Dagster waits for: a template variable that is a PartitionMapping.",
        examples=["{{ last_seven_days }}"],
    )


def resolve_upstream(context: dg.ResolutionContext, said: str | UpstreamModel) -> UpstreamAsset:
    """Return what names the upstream asset, as the factories take it."""
    if isinstance(said, str):
        return dg.AssetKey.from_user_string(rendered(context, said))
    key = dg.AssetKey.from_user_string(rendered(context.at_path("key"), said.key))
    mapping = filled(context.at_path("partition_mapping"), said.partition_mapping)
    with located(context, "partition_mapping"):
        check_kind(mapping, dg.PartitionMapping, "partition_mapping", "last_seven_days")
    if said.io_manager:
        return dg.AssetIn(key, partition_mapping=mapping)
    return dg.AssetDep(key, partition_mapping=mapping)


ResolvedUpstream = Annotated[
    UpstreamAsset,
    dg.Resolver(
        resolve_upstream,
        model_field_type=str | UpstreamModel,
        description="Key of the asset that the rows come from. Its table in DuckDB is read, named as dagster-duckdb "
        "names it: the key's last part, in the schema of its prefix or `public`.",
        examples=["tickets", "silver/tickets"],
        inject_before_resolve=False,
    ),
]


FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
"""What a flag out of the environment may say."""


class CollectSensor(dg.Model):
    """The sensor that starts the asset when its batches have ended."""

    minimum_interval_seconds: int = Field(default=60, ge=1, description="Between two ticks at least, in seconds.")


class NewDocumentsSensor(dg.Model):
    """The sensor that starts the asset where documents are new, changed or gone."""

    settle_seconds: float = Field(
        default=60, ge=0, description="For how long documents must not have changed, in seconds."
    )
    max_partitions_per_tick: int = Field(default=100, ge=1, description="Partitions started in one tick at most.")
    minimum_interval_seconds: int = Field(default=60, ge=1, description="Between two ticks at least, in seconds.")


class Schedule(dg.Model):
    """The schedule that materializes what is current of the asset."""

    cron_schedule: str = Field(description="When, as cron says it.", examples=["0 6 * * *"])
    timezone: str | None = Field(default=None, description="Zone of it; default UTC.", examples=["Europe/Berlin"])


def settings_of(context: dg.ResolutionContext, said: Any) -> Mapping[str, Any] | None:
    """Return the settings of a sensor that is switched on, or None."""
    with located(context):
        value = evaluated(context, said) if isinstance(said, str) else said
        if isinstance(value, str) and value.lower() in FLAGS:
            value = FLAGS[value.lower()]
        if not isinstance(value, bool | Mapping | dg.Model | None):
            raise ConfigurationError(f"{context.path[-1]} is {value!r}: write true, false, or its settings.")
    if isinstance(value, dg.Model):
        return _settings(context, value)
    return value if isinstance(value, Mapping) else {} if value else None


def schedule_of(context: dg.ResolutionContext, said: Any) -> Mapping[str, Any] | None:
    """Return the settings of a schedule: cron's words, or these with a zone."""
    if isinstance(said, dg.Model):
        return _settings(context, said)
    return None if said is None else {"cron_schedule": texts(context, said)}


def _settings(context: dg.ResolutionContext, said: dg.Model) -> dict[str, Any]:
    found: dict[str, Any] = filled(context, said.model_dump())
    with located(context):
        words = {"cron_schedule", "timezone"}
        return {name: value if name in words else number(value, name) for name, value in found.items()}
