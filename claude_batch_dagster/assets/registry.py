"""What was declared, so that sensors, jobs and submission assets can be made of an asset alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Self
from weakref import WeakKeyDictionary

import dagster as dg

from claude_batch_dagster.assets.ask import Ask
from claude_batch_dagster.assets.sources import Source
from claude_batch_dagster.cascades import CascadeTask
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.gold import GoldRows

TAG = "claude_batch/asset"
"""Tag of an asset: the key that it was declared with, by which jobs and sensors find it whatever it is loaded under."""

TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{1,63}")
"""What Dagster takes for the value of a tag."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One asset of this package."""

    spec: dg.AssetSpec
    ask: Ask
    source: Source
    task: Task
    key: dg.AssetKey
    """The key that it was declared with; it may be loaded under another."""
    keeps_key: bool = False
    """Whether nothing will load it under another."""
    resource_key: str
    backfill_policy: dg.BackfillPolicy
    cascade: CascadeTask | None = None
    """The two models that it asks, if there are two; then `task` is that of the cheap one."""
    gold: GoldRows | None = None
    """The rows whose true answers are known, if there are any."""
    gold_source: Source | None = None
    """The asset that these come from, if it is one."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """What Dagster is to know of the op that runs it: pool, tags, retries."""

    @property
    def name(self) -> str:
        """The asset key as a Python identifier, for the names of what belongs to it."""
        return self.spec.key.to_python_identifier()

    @property
    def selection(self) -> dg.AssetSelection:
        """The asset, under whatever key a code location has loaded it."""
        if self.keeps_key:
            return dg.AssetSelection.assets(self.key)
        if TAG not in self.spec.tags:
            raise ConfigurationError(
                f"the tags of asset {self.spec.key.to_user_string()} were replaced, so nothing can find it by its tag "
                f"{TAG}. Keep that one: tags={{**spec.tags, ...}}."
            )
        return dg.AssetSelection.tag(TAG, tag_of(self.key))

    def of(self, asset: dg.AssetsDefinition) -> Self:
        """Return it for the asset as it was loaded, perhaps with another key, and so its upstream."""
        [spec] = asset.specs
        return replace(self.waiting_for(spec.deps), spec=spec)

    def waiting_for(self, deps: Iterable[dg.AssetDep]) -> Self:
        """Return it with the key, and so the table, that its upstream has among what the loaded asset waits for."""
        keys = [dep.asset_key for dep in deps]
        source = self.source.among(keys)
        known = self.task.upstream.relation == self.source.table.sql  # a query names its tables itself
        upstream = replace(self.task.upstream, relation=source.table.sql, shown_as=f"table {source.table}")
        if not known:
            return replace(self._with_gold_among(keys), source=source)
        cascade = self.cascade and self.cascade.reading(upstream)
        return replace(
            self._with_gold_among(keys), source=source, task=replace(self.task, upstream=upstream), cascade=cascade
        )

    @property
    def pipelines(self) -> Sequence[str]:
        """The names under which the ledger keeps what was sent for it."""
        return (self.task.pipeline,) if self.cascade is None else self.cascade.pipelines

    @property
    def shown(self) -> Task:
        """What is asked, with the table that shows the answers: of a cascade that is not the one of the cheap model."""
        return self.task if self.cascade is None else replace(self.task, target=self.cascade.final)

    def _with_gold_among(self, keys: Sequence[dg.AssetKey]) -> Self:
        """Return it with the table that its gold rows have among what the loaded asset waits for."""
        if self.gold is None or self.gold_source is None:
            return self
        source = self.gold_source.among(keys)
        read = replace(self.gold.source, relation=source.table.sql, shown_as=f"table {source.table}")
        return replace(self, gold_source=source, gold=replace(self.gold, source=read))

    def loaded(self, repository: dg.RepositoryDefinition | None) -> Self:
        """Return it for the asset as this code location has loaded it."""
        for asset in repository.assets_defs_by_key.values() if repository else ():
            found = _declared(asset)
            if found is not None and found.key == self.key:
                return self.of(asset)
        return self


_DECLARED: WeakKeyDictionary[object, Declaration] = WeakKeyDictionary()
"""By what runs it: that stays the same when an asset is given another key, group or metadata."""


def tag_of(key: dg.AssetKey) -> str:
    """Return the value of the tag that names a key: as it is read, or a digest of one that no tag can hold."""
    name = ".".join(key.path)
    return name if TAG_VALUE.fullmatch(name) else sha256(name.encode()).hexdigest()[:32]


def remember(asset: dg.AssetsDefinition, declaration: Declaration) -> dg.AssetsDefinition:
    """Keep the declaration of an asset for as long as what runs it lives."""
    _DECLARED[asset.node_def] = declaration
    return asset


def declaration_of(asset: dg.AssetsDefinition) -> Declaration:
    """Return what was declared; raise `ConfigurationError` for an asset that is not of this package."""
    found = _declared(asset)
    if found is None:
        raise ConfigurationError(
            f"{type(asset).__name__} is not what build_batch_asset or build_classification_asset returned. Give that "
            "object itself."
        )
    return found.of(asset)


def is_declared(asset: Any) -> bool:
    """Whether an asset is of this package."""
    return _declared(asset) is not None


def _declared(asset: Any) -> Declaration | None:
    is_ours = isinstance(asset, dg.AssetsDefinition) and asset.is_executable
    return _DECLARED.get(asset.node_def) if is_ours else None
