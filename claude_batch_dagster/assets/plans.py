"""What an asset would send, asked without a run: what `claude-batch plan` shows."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pandas as pd

from claude_batch_dagster.assets.registry import Declaration, declaration_of, is_declared
from claude_batch_dagster.assets.sources import whole_frame
from claude_batch_dagster.core.planning.forecast import Forecast
from claude_batch_dagster.core.planning.settings import RunSettings
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.partitions import all_keys, is_partition, partitions_of_keys


def definitions_in(place: str) -> dg.Definitions:
    """
    Return the definitions of a module, or of a Python file; raise `ConfigurationError` where there are none.

    They are a `Definitions` object, a function of `@definitions`, or else the assets and resources of the module.
    """
    module = _module(place)
    values = [*vars(module).values()]  # a function that is called may import more into its module
    found = [value for value in values if isinstance(value, dg.Definitions)]
    found += [value() for value in values if type(value).__name__ == "LazyDefinitions"]
    if len(found) > 1:
        raise ConfigurationError(f"{place} has {len(found)} Definitions. Name a module that has one.")
    return found[0] if found else dg.load_definitions_from_module(module)


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))  # as `dagster -m` does
        try:
            return import_module(place)
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"there is no module {error.name!r}. Go to the folder of the project.") from error
    spec = spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None or not Path(place).is_file():
        raise ConfigurationError(f"there is no file {place!r}.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asset_in(defs: dg.Definitions, name: str | None) -> dg.AssetsDefinition:
    """Return the asset of this package with a name; the only one, if none is named."""
    assets = [asset for asset in defs.get_repository_def().assets_defs_by_key.values() if is_declared(asset)]
    ours = {asset.key.to_user_string(): asset for asset in assets}
    if name is None and len(ours) == 1:
        return next(iter(ours.values()))
    if name not in ours:
        listed = ", ".join(sorted(ours)) or "none"
        asked = "say which asset" if name is None else f"there is no asset {name!r} that asks Claude"
        raise ConfigurationError(f"{asked}. Those that ask Claude here are: {listed}.")
    return ours[name]


def plan_of(
    defs: dg.Definitions, asset: dg.AssetsDefinition, partition_keys: Sequence[str], settings: RunSettings
) -> Forecast:
    """
    Return what a run of some partitions would send; of all there are, if none is named.

    Nothing is sent, and no table changed. Raises `ConfigurationError` for a partition that there is not, or a resource
    of another kind, and what `Engine.plan` raises.
    """
    declared = declaration_of(asset)
    with opened_instance() as instance:
        keys = all_keys(asset.partitions_def, instance)
        for key in partition_keys:
            if key not in keys:
                raise ConfigurationError(f"{asset.key.to_user_string()} has no partition {key!r}.")
        wanted: Sequence[str | None] = partition_keys or keys
        frame = _frame(defs, declared, wanted, instance) if declared.source.ins else None
        with opened_resource(defs, declared.resource_key, instance) as resource:
            engine = resource.open_engine(declared.task, run_id="plan")
            engine.settings = settings
            engine.is_partition = is_partition(asset.partitions_def, instance, asset.key)
            try:
                forecast = engine.plan(partitions_of_keys(asset.partitions_def, wanted), frame)
                return replace(forecast, notes=(*forecast.notes, *_notes(declared)))
            finally:
                engine.close()


def _notes(declared: Declaration) -> Iterator[str]:
    """Say what a plan leaves out."""
    if declared.cascade is not None:
        strong, n = declared.cascade.models[1], declared.cascade.n_pairs
        yield (
            f"of these rows some go up to {strong}, which is not in this plan: {n:,} of the table to choose the "
            "threshold by, and those that are unsure; a dry run says what it would cost if all of them did"
        )


@contextmanager
def opened_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance of this machine, which knows of dynamic partitions; where there is none, one for now."""
    opened = dg.DagsterInstance.get() if os.environ.get("DAGSTER_HOME") else dg.DagsterInstance.ephemeral()
    with opened as instance:
        yield instance


@contextmanager
def opened_resource(defs: dg.Definitions, key: str, instance: dg.DagsterInstance) -> Iterator[ClaudeBatchResource]:
    """Set the resource up as for a run: variables of the environment are read."""
    resource: Any = (defs.resources or {}).get(key)
    if not isinstance(resource, ClaudeBatchResource):
        raise ConfigurationError(f"the resource {key!r} of these definitions is no ClaudeBatchResource.")
    with dg.build_resources({key: resource}, instance=instance) as opened:
        yield getattr(opened, key)


def _frame(
    defs: dg.Definitions, declared: Declaration, partition_keys: Sequence[str | None], instance: dg.DagsterInstance
) -> pd.DataFrame:
    """Return the documents as the IO manager of the upstream asset hands them over."""
    key = declared.source.key
    upstream = defs.get_repository_def().assets_defs_by_key.get(key)
    if upstream is None or upstream.partitions_def is None:
        return whole_frame(defs.load_asset_value(key, instance=instance))
    known = [one for one in partition_keys if one is not None and upstream.partitions_def.has_partition_key(one)]
    return whole_frame({one: defs.load_asset_value(key, instance=instance, partition_key=one) for one in known})
