"""What the rows of some partitions ask."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the rows of some partitions ask, counted by partition."""

    n_rows: Counter[str | None] = field(default_factory=Counter)
    """Rows upstream."""
    n_keys: Counter[str | None] = field(default_factory=Counter)
    """Different keys upstream."""
    n_answered: Counter[str | None] = field(default_factory=Counter)
    """Keys that have a good answer to what they ask."""
    n_shared: Counter[str | None] = field(default_factory=Counter)
    """Keys without one whose question another row asks as well, and for them."""
    n_to_ask: Counter[str | None] = field(default_factory=Counter)
    """Questions without a good answer: to be sent, unless the ledger knows better."""
    n_rejected: Counter[str | None] = field(default_factory=Counter)
    """Keys that can never be asked about."""
    n_again: Counter[str | None] = field(default_factory=Counter)
    """Keys of which the good answer in the table is to another question, and there is none to today's."""
    n_had: int = 0
    """Keys that have a good answer, to whatever question."""
    again_usd: float = 0.0
    """What those answers have cost, as far as that is known."""
    changed: Collection[str] | None = ()
    """The parts of the definition that are others than when these partitions were answered last; None: nobody knows."""
    n_gone: Counter[str | None] = field(default_factory=Counter)
    """Rows that have left the output table, by the partition that the definition no longer has."""
    n_homeless: int = 0
    """Rows whose partition expression is NULL: no partition ever asks them."""
