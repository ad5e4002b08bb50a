"""What is known of a cascade: a cheap model asks all rows, and a strong one those that it is unsure of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from claude_batch_dagster.core.reporting.costs import PartitionCost
from claude_batch_dagster.core.reporting.double_payments import Doubts
from claude_batch_dagster.core.reporting.report import PartitionReport


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRule:
    """When two answers to a row are the same, and how sure the first model is of its own."""

    key: Sequence[str]
    """Columns by which rows are told apart within a partition."""
    compared: Sequence[str]
    """Output fields in which both have to agree."""
    confidence: str | None
    """The output field that says how sure the first is; None where another vote says it, by being the same or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Rows that went up to choose the threshold by, drawn at random: one place a row."""

    confidences: Sequence[float | None]
    agrees: Sequence[bool]
    n_rows: int
    """Rows of the first model, of which these were drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """How many rows of some partitions were decided by whom."""

    n_escalated: int = 0
    """Rows that went up: to choose the threshold, or because the first model was unsure."""
    n_waiting: int = 0
    """Those of them that have no usable answer of the strong model (yet), and show that of the first."""
    by_partition: Mapping[str | None, int] = field(default_factory=dict)
    """Rows that went up, by partition."""


def joined(first: PartitionReport, second: PartitionReport | None) -> PartitionReport:
    """Return what two models have done for a partition, with the rows of the first."""
    if second is None:
        return first
    return replace(
        first,
        n_asked=first.n_asked + second.n_asked,
        n_shared=first.n_shared + second.n_shared,
        cost_usd=_sum(first.cost_usd, second.cost_usd),
        live_cost_usd=_sum(first.live_cost_usd, second.live_cost_usd),
        run_cost_usd=_sum(first.run_cost_usd, second.run_cost_usd),
        estimated_usd=_either(first.estimated_usd, second.estimated_usd),
        seconds_to_answer=_either(first.seconds_to_answer, second.seconds_to_answer),
        doubts=_doubts(first.doubts, second.doubts),
        table_doubts=_doubts(first.table_doubts, second.table_doubts),
        committed_usd=second.committed_usd,  # the later one: reservations of before are settled by then
        oldest_open_days=max(first.oldest_open_days, second.oldest_open_days),
        costs=_costs(first.costs, second.costs),
    )


def _sum(one: float | None, other: float | None) -> float | None:
    """Add up what is known of both."""
    return None if one is None or other is None else one + other


def _either(one: float | None, other: float | None) -> float | None:
    """Add up what is known of either: where one of both had nothing to do."""
    known = [value for value in (one, other) if value is not None]
    return sum(known) if known else None


def _doubts(one: Doubts, other: Doubts) -> Doubts:
    return Doubts(
        n_unconfirmed=one.n_unconfirmed + other.n_unconfirmed,
        n_held=one.n_held + other.n_held,
        n_adopted=one.n_adopted + other.n_adopted,
        n_possible_duplicates=one.n_possible_duplicates + other.n_possible_duplicates,
        possible_duplicate_usd=_sum(one.possible_duplicate_usd, other.possible_duplicate_usd),
    )


def _costs(one: PartitionCost, other: PartitionCost) -> PartitionCost:
    """Add up dollars; shares of the cache are each model's own."""
    return PartitionCost(
        n_requests=one.n_requests + other.n_requests,
        wasted_usd=_sum(one.wasted_usd, other.wasted_usd),
    )
