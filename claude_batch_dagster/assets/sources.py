"""What an asset reads: which asset, which table or query of it, or a DataFrame of its IO manager."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import dagster as dg
import pandas as pd

from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ConfigurationError, TemplateError

UpstreamAsset = str | Sequence[str] | dg.AssetKey | dg.AssetSpec | dg.AssetsDefinition | dg.AssetDep | dg.AssetIn
"""What names the asset that the documents come from."""

FRAME_INPUT = "upstream"
"""Name of the input by which an IO manager hands over its DataFrame."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the upstream argument says."""

    key: dg.AssetKey
    deps: Sequence[dg.AssetDep]
    ins: Mapping[str, dg.AssetIn]
    columns: frozenset[str] | None
    """Its columns, if the asset declares them."""
    declared_schema: str | None = None
    """Schema of its table, if the asset declares one."""

    @classmethod
    def of(cls, upstream: Any) -> Self:
        """Read what the user wrote: an asset in any of Dagster's forms, or an input."""
        if isinstance(upstream, dg.AssetIn):
            if upstream.key is None:
                raise ConfigurationError("upstream=AssetIn(...) needs the key of the asset: AssetIn('documents').")
            if upstream.metadata:
                raise ConfigurationError(
                    "upstream=AssetIn(..., metadata=...) is not supported: Dagster would not hand the metadata to "
                    "the IO manager. Leave it out; what the prompt does not name is not sent."
                )
            # Dagster wants the mapping said once, on the dependency.
            dep = dg.AssetDep(upstream.key, partition_mapping=upstream.partition_mapping)
            ins = {FRAME_INPUT: dg.AssetIn(upstream.key, input_manager_key=upstream.input_manager_key)}
            return cls(key=upstream.key, deps=(dep,), ins=ins, columns=None)
        dep = upstream if isinstance(upstream, dg.AssetDep) else dg.AssetDep(upstream)
        metadata = _declared_metadata(upstream, dep.asset_key)
        columns, schema = _declared_columns(metadata), metadata.get("schema")
        return cls(key=dep.asset_key, deps=(dep,), ins={}, columns=columns, declared_schema=schema)

    def among(self, keys: Sequence[dg.AssetKey]) -> Self:
        """Return it with the key that its asset has among those loaded, perhaps with a prefix before it."""
        path = self.key.path
        found = [key for key in keys if key.path[-len(path) :] == path]
        return self if self.key in keys or not found else replace(self, key=min(found, key=lambda key: len(key.path)))

    @property
    def table(self) -> TableName:
        """The table of the asset, named as dagster-duckdb's IO managers name it."""
        return TableName(self.declared_schema or schema_of(self.key), self.key.path[-1])

    def check_columns(self, builder: RequestBuilder, named: Sequence[str]) -> None:
        """Raise `ConfigurationError` at definition time if the asset declares its columns and one is missing."""
        self._check(named, ConfigurationError)
        self._check(builder.columns or (), TemplateError)

    def _check(self, names: Sequence[str], kind: type[ConfigurationError]) -> None:
        for column in names:
            if self.columns is not None and column.lower() not in self.columns:
                raise kind(
                    f"column {column!r} is not among the columns that asset {self.key.to_user_string()!r} declares: "
                    f"{', '.join(sorted(self.columns))}."
                )


def _declared_metadata(upstream: Any, key: dg.AssetKey) -> Mapping[str, Any]:
    if isinstance(upstream, dg.AssetsDefinition):
        return upstream.metadata_by_key.get(key, {})
    return upstream.metadata if isinstance(upstream, dg.AssetSpec) else {}


def _declared_columns(metadata: Mapping[str, Any]) -> frozenset[str] | None:
    declared = metadata.get("dagster/column_schema")
    schema = declared.value if isinstance(declared, dg.TableSchemaMetadataValue) else declared
    return frozenset(column.name.lower() for column in schema.columns) if isinstance(schema, dg.TableSchema) else None


def subquery(sql: str) -> str:
    """Return a query as it can stand in parentheses: without a semicolon, and a last comment ends before them."""
    return f"{sql.strip().removesuffix(';')}\n"


def schema_of(key: dg.AssetKey) -> str:
    """Return the schema of an asset's table: the last part of its prefix, else `public`."""
    return key.path[-2] if len(key.path) > 1 else "public"


def whole_frame(handed: Any) -> pd.DataFrame:
    """Return one DataFrame of what an IO manager handed over: a frame, or one for each partition."""
    frames = list(handed.values()) if isinstance(handed, Mapping) else [handed]
    for frame in frames:
        if not isinstance(frame, pd.DataFrame):
            raise ConfigurationError(
                f"the upstream's IO manager handed over a {type(frame).__name__}; a pandas DataFrame is needed."
            )
    if not any(len(frame.columns) for frame in frames):
        raise ConfigurationError(
            "the upstream's IO manager handed over a DataFrame without columns. Where there are no rows, let it "
            "hand over an empty one that has its columns."
        )
    whole: pd.DataFrame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    return whole
