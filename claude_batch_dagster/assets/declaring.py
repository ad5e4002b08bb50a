"""From what was said of an asset, in Python or in YAML, to the asset."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from claude_batch_dagster.assets.ask import Ask
from claude_batch_dagster.assets.cascade import Cascade, cascade_task
from claude_batch_dagster.assets.dagster_options import DagsterOptions
from claude_batch_dagster.assets.gold import Gold, gold_asset, gold_rows
from claude_batch_dagster.assets.registry import TAG, Declaration, declaration_of, remember, tag_of
from claude_batch_dagster.assets.sources import FRAME_INPUT, Source, UpstreamAsset, schema_of, subquery, whole_frame
from claude_batch_dagster.checks import Check
from claude_batch_dagster.checks.usual import Has, checks_of
from claude_batch_dagster.core.asking.code_version import code_version
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.checks import check_specs
from claude_batch_dagster.runs.dagster_internals import previews
from claude_batch_dagster.runs.materialization import Materialization
from claude_batch_dagster.runs.metadata import column_lineage, definition_metadata
from claude_batch_dagster.runs.partitions import PartitionExpr, output_partition_expr, partition_rule
from claude_batch_dagster.runs.run_config import RunConfig

PARTITIONS_PER_RUN = 5000
"""A policy that neighbours do not have, so that a backfill gives this asset one run of its own."""

CODE_REFERENCES = "dagster/code_references"

Execute = Callable[[dg.AssetExecutionContext, Materialization], Iterator[Any]]
"""What a run of the asset does: `materialization.run()`, and what somebody adds to it."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows there are, and where their answers go."""

    source: Source
    key: str | Sequence[str] = "id"
    partition_expr: PartitionExpr | None = None
    sql: str | None = None
    sample_columns: Sequence[str] = ()
    schema: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that tell rows apart."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    def check(self, ask: Ask) -> None:
        """Raise if columns are known to lack, or if it was said twice, and differently, what to read."""
        ask.schema.check(keys=self.keys)
        if self.sql is None:
            self.source.check_columns(ask.builder, (*self.keys, *self.sample_columns))
        elif self.source.ins:
            raise ConfigurationError(
                "sql= and upstream=AssetIn(...) contradict each other: the IO manager's DataFrame would be read, the "
                "query would not. Leave one out."
            )

    def upstream(self, partitions_def: dg.PartitionsDefinition[str] | None) -> Upstream:
        """Return what is read of them."""
        return Upstream(
            relation=f"({subquery(self.sql)})" if self.sql else self.source.table.sql,
            shown_as="query sql=" if self.sql else f"table {self.source.table}",
            key=self.keys,
            rule=partition_rule(partitions_def, self.partition_expr),
            sample_columns=tuple(self.sample_columns),
        )


@dataclass(frozen=True, kw_only=True)
class Op:
    """What runs the asset."""

    execution: Mapping[str, Any] = field(default_factory=dict)
    """What Dagster is to know of it, for the submission asset too: pool, tags, retries."""
    hooks: AbstractSet[dg.HookDefinition] = frozenset()
    backfill_policy: dg.BackfillPolicy | None = None
    name: str | None = None
    description: str | None = None
    execute: Execute = lambda _, materialization: materialization.run()


def described(
    key: dg.AssetKey,
    source: Source,
    ask: Ask,
    options: DagsterOptions,
    partitions_def: dg.PartitionsDefinition[str] | None,
) -> dg.AssetSpec:
    """Return what the user says of an asset, and what its question says."""
    return dg.AssetSpec(
        key,
        deps=[*source.deps, *(options.get("deps") or ())],
        skippable=True,
        code_version=code_version(ask.builder),
        description=options.get("description") or ask.description,
        group_name=options.get("group_name"),
        owners=options.get("owners"),
        tags=options.get("tags"),
        kinds=set(options.get("kinds", ("claude", "duckdb"))),
        partitions_def=partitions_def,
        metadata=options.get("metadata"),
        automation_condition=options.get("automation_condition"),
        freshness_policy=options.get("freshness_policy"),
    )


def declare(  # noqa: PLR0913  (a declaration has as many parts as it has)
    spec: dg.AssetSpec,
    ask: Ask,
    rows: Rows,
    *,
    checks: Sequence[Check],
    gold: UpstreamAsset | Path | Gold | None = None,
    escalate_to: str | Ask | Cascade | None = None,
    spending: Spending,
    resource_key: str,
    op: Op,
    keeps_key: bool = False,
) -> dg.AssetsDefinition:
    """
    Make the asset of a spec, and add what its table says.

    `keeps_key` says that nobody will load it under another key, so jobs and sensors need not look for its tag.

    Raises `TemplateError`, `OutputModelError` and `ConfigurationError` for what cannot work.
    """
    rows.check(ask)
    key, gold_source = spec.key, gold_asset(gold)
    if gold_source is not None and gold_source.key not in {dep.asset_key for dep in spec.deps}:
        spec = spec.merge_attributes(deps=gold_source.deps)
    task = Task(
        target=TableName(rows.schema or schema_of(key), key.path[-1]),
        upstream=rows.upstream(spec.partitions_def),
        builder=ask.builder,
        schema=ask.schema,
        max_attempts=ask.max_attempts,
        spending=spending,
    )
    cascade = None if escalate_to is None else cascade_task(escalate_to, ask, task, reads_frames=bool(rows.source.ins))
    table = definition_metadata(
        task.target,
        rows.keys,
        ask.schema,
        partition_expr=output_partition_expr(spec.partitions_def),
        models=(ask.model,) if cascade is None else cascade.models,
    )
    if cascade is not None and spec.description == ask.description:
        spec = spec.replace_attributes(description=f"{cascade.description}\n\n{ask.description}")
    lineage = {} if rows.sql else column_lineage(rows.source.key, rows.keys, ask.builder.columns, ask.schema)
    own = {name: value for name, value in lineage.items() if name not in spec.metadata}
    declaration = Declaration(
        spec=_with_prompt(spec, ask).merge_attributes(metadata={**own, **table}, tags={TAG: tag_of(key)}),
        ask=ask,
        key=key,
        keeps_key=keeps_key,
        source=rows.source,
        task=task if cascade is None else cascade.first,
        resource_key=resource_key,
        backfill_policy=op.backfill_policy or dg.BackfillPolicy.multi_run(PARTITIONS_PER_RUN),
        execution=op.execution,
        gold=None if gold is None else gold_rows(gold, ask.schema, keys=rows.keys, named=ask.builder.columns),
        gold_source=gold_source,
        cascade=cascade,
    )
    has = Has(labels=ask.schema.categorical is not None, budget=spending.budget is not None, gold=gold is not None)
    return _asset(declaration, checks_of(checks, has), op)


def _with_prompt(spec: dg.AssetSpec, ask: Ask) -> dg.AssetSpec:
    """Add where the prompt is written to the code that the UI links to."""
    if ask.code_reference is None:
        return spec
    file, line = ask.code_reference
    known = spec.metadata.get(CODE_REFERENCES)
    others = known.code_references if isinstance(known, dg.CodeReferencesMetadataValue) else []
    with previews():
        prompt = dg.LocalFileCodeReference(file_path=file, line_number=line, label="prompt")
        references = dg.CodeReferencesMetadataValue(code_references=[*others, prompt])
    return spec.merge_attributes(metadata={CODE_REFERENCES: references})


def _asset(declaration: Declaration, checks: Sequence[Check], op: Op) -> dg.AssetsDefinition:
    resource_key, spec = declaration.resource_key, declaration.spec

    def body(context: dg.AssetExecutionContext, config: RunConfig, **frames: Any) -> Iterator[Any]:
        frame = whole_frame(frames[FRAME_INPUT]) if frames else None
        resource, today = getattr(context.resources, resource_key), declaration_of(context.assets_def)
        yield from op.execute(
            context,
            Materialization(
                context, resource, today.task, checks, frame, config, gold=today.gold, cascade=today.cascade
            ),
        )

    with previews():
        asset = dg.multi_asset(
            name=op.name or spec.key.to_python_identifier(),
            description=op.description,
            specs=[spec],
            ins=declaration.source.ins,
            check_specs=check_specs(spec.key, checks, spec.partitions_def),
            required_resource_keys={resource_key},
            backfill_policy=declaration.backfill_policy,
            hooks=op.hooks or None,
            **declaration.execution,
        )(body)
    return remember(asset, declaration)
