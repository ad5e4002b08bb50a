"""Gold rows at the end of a run: read beside the answers that are there anyway, and judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claude_batch_dagster.core.reporting.gold import GoldAnswers, GoldSource, LabelShare
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.engine import Engine
from claude_batch_dagster.errors import ConfigurationError, GoldError
from claude_batch_dagster.quality.field_quality import WHOLE, FieldQuality, TableQuality, field_quality
from claude_batch_dagster.quality.matching import Rule


@dataclass(frozen=True, kw_only=True)
class GoldRows:
    """The rows of an asset whose true answers are known."""

    source: GoldSource
    rules: Mapping[str, Rule]
    """By output field, when an answer is the true value."""


def measure(engine: Engine, gold: GoldRows, table: TableName) -> TableQuality:
    """Say how right the table is. What is the matter with gold rows is a part of that: answers are not concerned."""
    try:
        found = engine.answers_to(gold.source, table)
        fields = tuple(quality for name in found.fields if (quality := _judged(name, found, gold)))
    except (GoldError, ConfigurationError) as error:
        return TableQuality(problem=str(error))
    if found.labels:
        engine.keep_shares(label_shares(fields), table)
    return TableQuality(fields=fields, n_gold=found.n_gold, oddities=found.oddities)


def label_shares(fields: Sequence[FieldQuality]) -> list[LabelShare]:
    """Return the shares of labels as they are kept."""
    return [
        LabelShare(
            field=one.name,
            partition_key=None if partition is WHOLE else str(partition),
            label=None if share.label is None else str(share.label),
            answers=share.n_answers,
            answered_share=share.naive,
            share=share.share.estimate,
            share_low=share.share.low,
            share_high=share.share.high,
            is_corrected=share.is_corrected,
            gold_rows=share.n_gold,
        )
        for one in fields
        for partition, shares in one.shares.items()
        for share in shares
    ]


def _judged(name: str, found: GoldAnswers, gold: GoldRows) -> FieldQuality | None:
    """Judge one field; None where no gold row has both an answer and a true value."""
    rows = found.fields[name]
    return field_quality(
        name,
        rows.answers,
        rows.truths,
        gold.rules[name],
        closed=name in gold.source.labeled,
        weights=rows.weights,
        partitions=rows.partition_keys,
        n_rows=found.n_answered,
        counts=found.labels.get(name),
    )
