"""What was declared, so that sensors, jobs and submission assets can be made of an asset alone."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import dagster as dg

from claude_batch_dagster.assets.sources import Source
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One asset of this package."""

    spec: dg.AssetSpec
    source: Source
    task: Task
    resource_key: str
    backfill_policy: dg.BackfillPolicy

    @property
    def name(self) -> str:
        """The asset key as a Python identifier, for the names of what belongs to it."""
        return self.spec.key.to_python_identifier()


_DECLARED: WeakKeyDictionary[dg.AssetsDefinition, Declaration] = WeakKeyDictionary()


def remember(asset: dg.AssetsDefinition, declaration: Declaration) -> dg.AssetsDefinition:
    """Keep the declaration of an asset for as long as the asset lives."""
    _DECLARED[asset] = declaration
    return asset


def declaration_of(asset: dg.AssetsDefinition) -> Declaration:
    """Return what was declared; raise `ConfigurationError` for an asset that is not of this package."""
    found = _DECLARED.get(asset)
    if found is None:
        raise ConfigurationError(
            f"{type(asset).__name__} is not what build_batch_asset or build_classification_asset returned. Give that "
            "object itself, before it is changed by with_attributes and the like."
        )
    return found
