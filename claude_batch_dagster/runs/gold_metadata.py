"""What the Dagster UI shows of gold rows."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from claude_batch_dagster.checks.gold import DIGITS, Accuracy, GoldCheck
from claude_batch_dagster.quality.accuracy import Accuracy as Measured
from claude_batch_dagster.quality.field_quality import FieldQuality, LabelsQuality, TableQuality
from claude_batch_dagster.quality.intervals import Interval, percent
from claude_batch_dagster.runs.gold import label_shares
from claude_batch_dagster.runs.pictures import confusion_picture, shares_picture


def check_metadata(check: GoldCheck, quality: TableQuality) -> dict[str, Any]:
    """Return what a check shows beside its figure: accuracy by field and partition, or what became of each label."""
    if not quality.fields:
        return {}
    return _accuracy(quality) if isinstance(check, Accuracy) else _labels(quality)


def partition_figures(quality: TableQuality | None, partition_key: str | None) -> dict[str, Any]:
    """Return the accuracy of a partition, named so that it plots, of its worst field; nothing of few gold rows."""
    found = [
        (own, one)
        for one in (quality.fields if quality else ())
        if (own := one.accuracy if partition_key is None else one.partitions.get(partition_key)) is not None
    ]
    if not found:
        return {}
    own, _ = min(found, key=lambda pair: pair[0].share.low)
    return {**_figures(own), "claude_batch/gold_rows": own.n}


def _accuracy(quality: TableQuality) -> dict[str, Any]:
    worst = min(quality.fields, key=lambda one: one.accuracy.share.low)
    metadata: dict[str, Any] = {**_figures(worst.accuracy), "claude_batch/what_this_cannot_tell": worst.resolution}
    metadata["claude_batch/fields"] = _table(_of_field(one) for one in quality.fields)
    parts = [
        {"partition": str(key), "field": one.name, **_of_rows(own)}
        for one in quality.fields
        for key, own in sorted(one.partitions.items(), key=lambda item: str(item[0]))
    ]
    return {**metadata, "claude_batch/partitions": _table(parts)} if parts else metadata


def _figures(measured: Measured) -> dict[str, float]:
    share = measured.share
    return {
        "claude_batch/accuracy": round(share.estimate, DIGITS),
        "claude_batch/accuracy_low": round(share.low, DIGITS),
        "claude_batch/accuracy_high": round(share.high, DIGITS),
    }


def _of_rows(measured: Measured) -> dict[str, Any]:
    return {"gold rows": measured.n, "accuracy": str(measured.share)}


def _of_field(one: FieldQuality) -> dict[str, Any]:
    kappa = one.labels.kappa if one.labels else None
    told = "" if kappa is None else f"{kappa.estimate:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"
    return {"field": one.name, **_of_rows(one.accuracy), "Cohen's kappa": told}


def _shares(one: FieldQuality, suffix: str) -> dict[str, Any]:
    """Return the shares of labels in the whole table, as rows and as a picture."""
    shares = [share for share in label_shares([one]) if share.partition_key is None]
    if not shares:
        return {}
    rows = [
        {
            "label": _name(share.label),
            "answers": share.answers,
            "as answered": percent(share.answered_share),
            "share": str(Interval(share.share_low, share.share, share.share_high)),
            "corrected": share.is_corrected,
        }
        for share in shares
    ]
    return {
        f"claude_batch/shares{suffix}": _table(rows),
        f"claude_batch/shares_picture{suffix}": dg.MetadataValue.md(shares_picture(shares)),
    }


def _name(label: object) -> str:
    return "no answer" if label is None else str(label)


def _labels(quality: TableQuality) -> dict[str, Any]:
    """Return a table of labels and a picture for each field that has labels."""
    metadata: dict[str, Any] = {}
    labeled = [(one, one.labels) for one in quality.fields if one.labels is not None]
    for one, labels in labeled:
        suffix = f"_{one.name}" if len(labeled) > 1 else ""
        metadata[f"claude_batch/labels{suffix}"] = _table(_of_labels(labels))
        metadata[f"claude_batch/confusion{suffix}"] = dg.MetadataValue.md(confusion_picture(labels.confusion))
        metadata |= _shares(one, suffix)
    return metadata


def _of_labels(labels: LabelsQuality) -> list[Mapping[str, Any]]:
    return [
        {
            "label": _name(one.label),
            "gold rows": one.n_true,
            "answers": one.n_predicted,
            "precision": _told(one.precision),
            "recall": _told(one.recall),
            "F1": _told(one.f1),
        }
        for one in labels.by_label
    ]


def _told(interval: Interval | None) -> str:
    """Return an interval in whole percents, so that three of them fit into a line of the UI."""
    if interval is None:
        return ""
    low, estimate, high = (f"{100 * share:.0f}" for share in (interval.low, interval.estimate, interval.high))
    return f"{estimate} % ({low} to {high})"


def _table(rows: Any) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
