"""What answers have cost and what was saved, as it is told: an amount is None where a price is not known."""

from collections.abc import Sequence
from dataclasses import dataclass

from claude_batch_dagster.core.reporting.double_payments import USD_DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionCost:
    """Where the money of one partition has gone."""

    n_requests: int = 0
    """Answers that this is about: those that have landed since it is written down."""
    wasted_usd: float | None = None
    """What answers have cost that were not usable: truncated, refused, invalid."""
    saved_by_caching_usd: float | None = None
    """What caching has spared; negative where its writes cost more than its reads spared."""
    cache_read_share: float | None = None
    """Share of the input tokens that were read from the cache; None where nothing was ever cached."""

    @property
    def figures(self) -> dict[str, float]:
        """What is known of it by name; dollars rounded to what can be billed."""
        known = {"wasted_usd": self.wasted_usd}
        if self.cache_read_share is not None:
            known |= {"saved_by_caching_usd": self.saved_by_caching_usd, "cache_read_share": self.cache_read_share}
        return {name: round(value, USD_DIGITS) for name, value in known.items() if value is not None}


NOT_KNOWN = PartitionCost()
NOTHING_SPENT = PartitionCost(wasted_usd=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """What some requests have cost; the columns of the view `claude_batch.costs`, added up."""

    group: Sequence[str | None]
    """What they have in common; empty for all of them."""
    sent_to: str
    """Base URL and workspace: what an emulator answered was never paid."""
    requests: int
    """Those that were answered and billed."""
    unusable_requests: int
    unpriced_requests: int
    """Those whose price is not known."""
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    answered_rows: int
    """Rows that had a good answer already, counted anew by each run."""
    shared_rows: int
    """Rows that took over the answer of another row."""
    paid_usd: float | None
    live_usd: float | None
    saved_by_batch_usd: float | None
    saved_by_increments_usd: float | None
    """An estimate: `answered_rows` at what a request of the table has cost on average."""
    saved_by_sharing_usd: float | None
    """An estimate, as above: of `shared_rows`."""
    saved_by_caching_usd: float | None
    wasted_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """Costs by what was asked for, with the sum for each place that was sent to."""

    by: Sequence[str]
    """What the groups are."""
    lines: Sequence[CostLine]
    totals: Sequence[CostLine]
    prices: Sequence[str]
    """The price lists by which the dollars were reckoned when the answers landed."""
