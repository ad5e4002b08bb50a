"""What the Dagster UI shows of an asset and of each of its partitions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from claude_batch_dagster.core.collecting.column_types import ddl
from claude_batch_dagster.core.collecting.output_schema import BOOKKEEPING, BOOKKEEPING_MEANING, OutputSchema
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.verdicts import Verdict

N_LABELS = 12
"""Labels in a chart; the UI draws markdown in place only below 1,000 characters."""

BAR_CELLS = 20
USD_DIGITS = 8
"""Digits kept behind the point of an amount in US dollars."""

MAX_CELL = 200
"""Characters of a sample's cell."""


def definition_metadata(
    target: TableName,
    keys: tuple[str, ...],
    schema: OutputSchema,
    *,
    partition_expr: str | Mapping[str, str] | None,
    models: Sequence[str],
) -> dict[str, Any]:
    """
    Describe the table: its name, columns, and how IO managers select its partitions.

    `models` are the one that is asked, and the one that the unsure rows go up to, if there is one.
    """
    columns = [dg.TableColumn(key, "as upstream", "Key of the upstream row.") for key in keys]
    columns += [dg.TableColumn(name, ddl(kind), schema.meaning(name)) for name, kind in schema.columns.items()]
    columns += [dg.TableColumn(name, kind, BOOKKEEPING_MEANING[name]) for name, kind in BOOKKEEPING.items()]
    if len(models) > 1:
        columns.append(dg.TableColumn("decided_by", "VARCHAR", "The model whose answer it is; null for none."))
    metadata: dict[str, Any] = {
        "dagster/table_name": str(target),
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "schema": target.schema,
        **dict(zip(("claude_batch/model", "claude_batch/escalates_to"), models, strict=False)),
    }
    return {**metadata, "partition_expr": partition_expr} if partition_expr else metadata


def column_lineage(
    upstream: dg.AssetKey, keys: tuple[str, ...], named: tuple[str, ...] | None, schema: OutputSchema
) -> dict[str, Any]:
    """
    Say which columns of the upstream table each column is made of: keys of keys, fields of what the prompt names.

    Nothing where that is not known, as of a prompt function.
    """
    if named is None:
        return {}
    read = [dg.TableColumnDep(asset_key=upstream, column_name=name) for name in named]
    made = {key: [dg.TableColumnDep(asset_key=upstream, column_name=key)] for key in keys}
    lineage = dg.TableColumnLineage(deps_by_column={**made, **dict.fromkeys(schema.columns, read)})
    return {"dagster/column_lineage": lineage}


def partition_metadata(report: PartitionReport) -> dict[str, Any]:
    """Describe one partition after a run: first what people look for, figures named so that they plot."""
    standing = report.standing
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": report.n_rows,
        "claude_batch/rows": report.n_rows,
        "claude_batch/succeeded": report.n(Verdict.SUCCEEDED),
    }
    if report.n_expected == 0:
        metadata["claude_batch/note"] = "no upstream rows in this partition: nothing to ask"
    if standing.labels:
        metadata["claude_batch/label_chart"] = dg.MetadataValue.md(bars(standing.labels))
    if standing.verdicts:
        metadata["claude_batch/verdicts"] = _table(
            {"verdict": verdict, "rows": n} for verdict, n in _ranked(standing.verdicts)
        )
    metadata |= {
        "claude_batch/error_rate": report.error_rate,
        "claude_batch/invalid_rate": report.invalid_rate,
        "claude_batch/expiry_rate": report.expiry_rate,
        **_cost(report),
        **{f"claude_batch/{name}": value for name, value in report.costs.figures.items()},
        "claude_batch/input_tokens": standing.input_tokens,
        "claude_batch/output_tokens": standing.output_tokens,
        "claude_batch/rows_asked": report.n_asked,
        "claude_batch/rows_shared": report.n_shared,
        **{f"claude_batch/{name}": value for name, value in report.doubts.figures.items()},
    }
    if report.seconds_to_answer is not None:
        metadata["claude_batch/seconds_to_answer"] = report.seconds_to_answer
    if standing.labels:
        metadata["claude_batch/labels"] = _table({"label": label, "rows": n} for label, n in _ranked(standing.labels))
    if standing.samples:
        metadata["claude_batch/samples"] = _table(_shown(row) for row in standing.samples)
    return {**metadata, "claude_batch/batch_ids": list(standing.batch_ids)}


def bars(counts: Counter[str]) -> str:
    """Draw a distribution as a small markdown table, largest first; short enough to be shown in place."""
    largest, total = max(counts.values()), counts.total()
    lines = [
        f"|{_cell(label)}|{n:,}|{n / total:.0%}|{'█' * max(1, round(BAR_CELLS * n / largest))}|"
        for label, n in _ranked(counts)[:N_LABELS]
    ]
    return "\n".join(["|label|rows|share||", "|--|--:|--:|--|", *lines])


def _cell(label: str) -> str:
    """Return a label that cannot break a markdown table."""
    return " ".join(label.replace("|", "/").split())[:32]


def _cost(report: PartitionReport) -> dict[str, float]:
    """Give dollars, or nothing at all where a price is not known."""
    if report.cost_usd is None or report.live_cost_usd is None:
        return {}
    return {
        "claude_batch/cost_usd": round(report.cost_usd, USD_DIGITS),
        "claude_batch/live_cost_usd": round(report.live_cost_usd, USD_DIGITS),
        "claude_batch/saved_usd": round(report.live_cost_usd - report.cost_usd, USD_DIGITS),
        "claude_batch/run_cost_usd": round(report.run_cost_usd or 0.0, USD_DIGITS),
        **({} if report.estimated_usd is None else {"claude_batch/estimated_usd": report.estimated_usd}),
    }


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _table(rows: Any) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _shown_cell(value) for name, value in row.items()}


def _shown_cell(value: Any) -> Any:
    """Return what JSON can hold of a cell: NaN and infinity would make the whole page unreadable."""
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)[:MAX_CELL]
