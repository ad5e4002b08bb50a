"""The asset factories: a table of documents in, a table of typed answers out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

import dagster as dg

from claude_batch_dagster.assets.ask import Ask, AskOptions
from claude_batch_dagster.assets.cascade import Cascade
from claude_batch_dagster.assets.dagster_options import MOVED, DagsterOptions, execution_of, prefix_of, refusing
from claude_batch_dagster.assets.declaring import Op, Rows, declare, described
from claude_batch_dagster.assets.gold import Gold
from claude_batch_dagster.assets.labels import CLASSIFICATION_SYSTEM, classification
from claude_batch_dagster.assets.sources import Source, UpstreamAsset
from claude_batch_dagster.assets.spending import SpendingOptions, spending_of
from claude_batch_dagster.checks import Check
from claude_batch_dagster.runs.partitions import PartitionExpr


class RowOptions(TypedDict, total=False):
    """Options of `build_batch_asset` that say which rows there are and where they go."""

    key: str | Sequence[str]
    partitions_def: dg.PartitionsDefinition[str] | None
    partition_expr: PartitionExpr | None
    sql: str | None
    checks: Sequence[Check]
    gold: UpstreamAsset | Path | Gold | None
    escalate_to: str | Ask | Cascade | None
    sample_columns: Sequence[str]
    schema: str | None
    resource_key: str


class BatchOptions(SpendingOptions, DagsterOptions, total=False):
    """What `build_batch_asset` takes beside its parameters."""


class ClassificationOptions(RowOptions, AskOptions, BatchOptions, total=False):
    """What the classification takes beside its labels."""


OF_ITS_OWN = "A classification has its own: for another, build_batch_asset(ask=Ask(prompt, output))."


@refusing(
    ClassificationOptions.__annotations__,
    {**MOVED, **dict.fromkeys(("ask", "prompt", "output"), OF_ITS_OWN)},
)
def build_classification_asset(  # noqa: PLR0913  (a declaration has as many parts as it has)
    *,
    name: str,
    upstream: UpstreamAsset,
    labels: Mapping[str, str],
    text_column: str = "text",
    system: str = CLASSIFICATION_SYSTEM,
    confidences: bool = False,
    **options: Unpack[ClassificationOptions],
) -> dg.AssetsDefinition:
    """
    Declare an asset that gives each document one of a closed list of labels.

    The output table has a column `label` beside the key and the bookkeeping columns.

    Args:
        name: Name of the asset and of its table; `key_prefix` sets the schema.
        upstream: The asset whose table holds the documents.
        labels: Each label with a description of what belongs to it.
        text_column: The upstream column with the text.
        system: System prompt.
        confidences: Whether Claude also says how sure it is: columns `confidence` (0 to 1), `runner_up` (another label,
            or null) and `runner_up_confidence` (0 to 1) behind `label`. Default False. It takes about 30 output
            tokens a row. The API gives no probabilities of its own, so this is what the model says of itself: not
            calibrated until it was held against rows whose labels are known.
        **options: Those of `build_batch_asset` but `ask`, and those of `Ask` but `prompt` and `output`.

    Raises:
        ConfigurationError: Labels are fewer than two, or differ in case only.

    """
    asked = {name: value for name, value in options.items() if name in AskOptions.__annotations__}
    rest: Any = {name: value for name, value in options.items() if name not in asked}
    ask = classification(labels, text_column, system, confidences=confidences, **cast("AskOptions", asked))
    return build_batch_asset(name=name, upstream=upstream, ask=ask, **rest)


@refusing(BatchOptions.__annotations__, MOVED)
def build_batch_asset(  # noqa: PLR0913  (a declaration has as many parts as it has)
    *,
    name: str,
    upstream: UpstreamAsset,
    ask: Ask,
    key: str | Sequence[str] = "id",
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    partition_expr: PartitionExpr | None = None,
    sql: str | None = None,
    checks: Sequence[Check] = (),
    gold: UpstreamAsset | Path | Gold | None = None,
    escalate_to: str | Ask | Cascade | None = None,
    sample_columns: Sequence[str] = (),
    schema: str | None = None,
    resource_key: str = "claude_batch",
    **options: Unpack[BatchOptions],
) -> dg.AssetsDefinition:
    """
    Declare an asset that asks Claude one question about each row of a table, in Message Batches.

    Materializing it sends only rows that have no usable answer to this very question, waits for the batches,
    and lands one row per upstream key in DuckDB, with the fields of the answer as typed columns and a
    `status`. It carries asset checks with a history for each partition.

    Args:
        name: Name of the asset and of its table.
        upstream: The asset that the rows come from. Its table is read from DuckDB, named as
            dagster-duckdb's IO managers name it: the key's last part, in the schema of its prefix or
            `public`. As a `dagster.AssetIn`, its IO manager is asked for a pandas DataFrame instead. As a
            `dagster.AssetDep` or `AssetIn` it can have a partition mapping, which says what Dagster waits for; rows
            are of the partition that `partition_expr` says all the same.
        ask: What is asked of each row: prompt, type of the answer, model.
        key: Upstream column, or columns, that tell rows apart within a partition.
        partitions_def: Partitions: time windows, static or dynamic, or two of these (`MultiPartitionsDefinition`);
            None for none.
        partition_expr: SQL over upstream columns that says which partition a row is of: a time for time
            windows (`"published_on"`), else the partition key (`"region"`). Needed with partitions. In two
            dimensions one for each, by name: `{"date": "published_on", "region": "region"}`.
        sql: A query to read instead of the upstream table, such as a join; it needs the columns that `key`,
            the prompt and `partition_expr` name.
        checks: Thresholds other than the usual ones, of `claude_batch_dagster.checks`: `[ErrorRate(warn=0.01,
            fail=0.05, blocking=True)]`. Checks that are not named are there with their own.
        gold: Rows whose true answers are known: the asset, or the file (`.csv`, `.parquet`), with the key columns and
            true values by the names of output fields; or a `Gold`, which says more of them. From answers that are
            there anyway: the checks `accuracy` and `label_recall`, and what the UI shows of them.
        escalate_to: A strong model that is asked the rows of which `ask`'s model is unsure; or a `Cascade`, which says
            more. The output needs a field that says how sure an answer is (`confidences=True` of a classification).
        sample_columns: Upstream columns to show beside the answers of sample rows in the Dagster UI; none by
            default, so that no document is seen there.
        schema: Schema of the output table; default: by the key prefix, else `public`.
        resource_key: Key of the `ClaudeBatchResource`.
        **options: How much may be spent: `confirm_repay_usd` (see `SpendingOptions`). And what `dagster.asset` takes,
            by the same names: `key_prefix`, `group_name`, `description`, `owners`, `tags`, `kinds`, `metadata`,
            `deps`, `automation_condition`, `freshness_policy`, `backfill_policy`, `retry_policy`, `pool`, `op_tags`,
            `hooks` (see `DagsterOptions`).

    Raises:
        TemplateError: The prompt names a column that the upstream asset is known not to have.
        OutputModelError: Output fields collide with the key or with bookkeeping columns.
        ConfigurationError: Another setting cannot work; the message says which.

    """
    key_of_asset = dg.AssetKey([*prefix_of(options.get("key_prefix")), name])
    rows = Rows(
        source=Source.of(upstream),
        key=key,
        partition_expr=partition_expr,
        sql=sql,
        sample_columns=sample_columns,
        schema=schema,
    )
    op = Op(
        execution=execution_of(options),
        hooks=frozenset(options.get("hooks") or ()),
        backfill_policy=options.get("backfill_policy"),
    )
    spec = described(key_of_asset, rows.source, ask, options, partitions_def)
    return declare(
        spec,
        ask,
        rows,
        checks=checks,
        gold=gold,
        escalate_to=escalate_to,
        spending=spending_of(options),
        resource_key=resource_key,
        op=op,
    )
