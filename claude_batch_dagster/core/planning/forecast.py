"""What a run is going to do with each row, and why: counted by partition, with what it costs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from claude_batch_dagster.core.ledger import Lane
from claude_batch_dagster.core.planning.estimate import Estimate
from claude_batch_dagster.core.planning.prompt_caching import NoCaching, PromptCaching


class Reason(StrEnum):
    """Why a row is sent, or why it is not."""

    NEW = "new"
    """It has no answer."""
    DOCUMENT = "document changed"
    """Its answer is to another document; or a prompt function makes another text of it."""
    PROMPT = "prompt changed"
    """Its answer is to another definition: prompt, system prompt, limits, params."""
    MODEL = "model changed"
    OUTPUT = "output changed"
    """Its answer is to another output model, or to other labels."""
    REFRESH = "full refresh"
    """The run was told to ask again what has an answer."""
    RETRY = "retry"
    """What came back so far was no usable answer."""
    ANSWERED = "answered"
    """It has a good answer to this very question."""
    SHARED = "shared"
    """Another row asks the same, once for both."""
    IN_FLIGHT = "in flight"
    """Its question was sent, and not answered yet."""
    FINAL = "final failure"
    """What came back was no usable answer, and asking the same again would not help."""
    REJECTED = "rejected"
    """It can never be asked."""
    LEFT_OUT = "left out"
    """The run was told not to send it."""


SENT = (
    Reason.NEW,
    Reason.DOCUMENT,
    Reason.PROMPT,
    Reason.MODEL,
    Reason.OUTPUT,
    Reason.REFRESH,
    Reason.RETRY,
)
"""Reasons for which a row is sent."""

REPAID = frozenset({Reason.PROMPT, Reason.MODEL, Reason.OUTPUT, Reason.REFRESH})
"""Reasons for which a row is paid for again although neither it nor its answer is at fault."""

PARTS: Mapping[str, Reason] = {"model": Reason.MODEL, "output": Reason.OUTPUT}
"""Parts of a definition that have a reason of their own."""


def reason_of_change(changed: Iterable[str] | None, *, refreshed: bool) -> Reason:
    """Return why rows that have an answer ask something else; `changed` are parts of the definition, None unknown."""
    if refreshed:
        return Reason.REFRESH
    if changed is None:
        return Reason.PROMPT
    parts = sorted(changed)
    known = [PARTS[part] for part in PARTS if part in parts]
    return (known or [Reason.PROMPT])[0] if parts else Reason.DOCUMENT


@dataclass(frozen=True, kw_only=True)
class PartitionForecast:
    """What a run is going to do for one partition."""

    partition_key: str | None
    rows: Counter[Reason] = field(default_factory=Counter)
    """Rows by reason; one that is sent is one request."""
    estimate: Estimate | None = None
    """What its requests cost; None when a price is not known."""

    @property
    def n_requests(self) -> int:
        """Requests that are to be sent."""
        return sum(self.rows[reason] for reason in SENT)

    def usd(self, reason: Reason) -> float | None:
        """Return what the rows of a reason cost; 0 for one for which nothing is sent."""
        if reason not in SENT or not self.rows[reason]:
            return 0.0
        return None if self.estimate is None else self.estimate.usd * self.rows[reason] / self.n_requests


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run is going to do."""

    partitions: Sequence[PartitionForecast]
    estimate: Estimate | None = None
    """What all of it costs; None when a price is not known."""
    lane: Lane = Lane.BATCH
    """By which way all of it is asked."""
    repaid_usd: float | None = 0.0
    """What rows cost that are paid for again; None when a price is not known."""
    n_canary: int = 0
    """Rows that are sent first, to see what they come to."""
    notes: Sequence[str] = ()
    """What else is to be known of it: what is left of the budget, why the run would stop."""
    misses: Sequence[float] = ()
    """How far the last estimates of this table were off, latest first: 0.1 for a request that cost a tenth more."""
    changed: frozenset[str] | None = frozenset()
    """Parts of the definition that have changed; None: nobody knows."""
    caching: PromptCaching | NoCaching | None = None
    """How its requests use the prompt cache; None where that would not pay."""

    @property
    def rows(self) -> Counter[Reason]:
        """Rows of all partitions by reason."""
        return sum((part.rows for part in self.partitions), Counter())

    @property
    def n_requests(self) -> int:
        """Requests that are to be sent."""
        return sum(part.n_requests for part in self.partitions)

    @property
    def n_repaid(self) -> int:
        """Rows that are paid for again although neither they nor their answers are at fault."""
        return sum(self.rows[reason] for reason in REPAID)

    def usd(self, *reasons: Reason) -> float | None:
        """Return what the rows of some reasons cost; None when a price is not known."""
        costs = [part.usd(reason) for part in self.partitions for reason in reasons]
        return None if None in costs else sum(cost for cost in costs if cost is not None)
