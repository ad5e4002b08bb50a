"""Gold rows: rows whose true answers are known. Where they are kept, and what the table has answered to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_batch_dagster.core.collecting.column_types import Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldSource:
    """Where gold rows are: a table, a query or a file, with the key columns and true values by the fields' names."""

    relation: str
    """SQL that can stand behind FROM."""
    shown_as: str
    """What messages call it."""
    key: Sequence[str]
    fields: Mapping[str, Structure]
    """Output fields of which there may be true values, with their SQL types."""
    weight: str
    """The column that says how many rows of the table each stands for; without it each had the same chance."""
    nullable: frozenset[str] = frozenset()
    """Fields of which no value is a true value too, and not one that nobody has looked for."""
    labeled: frozenset[str] = frozenset()
    """Fields with a closed list of values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldField:
    """One output field: answers beside true values, one of each a gold row that has both."""

    answers: Sequence[Any]
    truths: Sequence[Any]
    partition_keys: Sequence[str | None]
    weights: Sequence[float] | None
    """None where each row had the same chance of being drawn."""

    def __len__(self) -> int:
        return len(self.truths)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShare:
    """Which share of the answered rows truly has a label, 0 to 1: of a partition, or of the whole table."""

    field: str
    partition_key: str | None
    """None for the whole table."""
    label: str | None
    answers: int
    """Rows that were answered with it."""
    answered_share: float
    """Those, of all that were answered: exact, and as wrong as the answers are."""
    share: float
    """The best that is known of how many truly have it."""
    share_low: float
    share_high: float
    """Between these it lies (95 %)."""
    is_corrected: bool
    """Whether answers and gold rows are joined; otherwise the gold rows speak alone."""
    gold_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldAnswers:
    """What the table has answered to its gold rows."""

    fields: Mapping[str, GoldField]
    """Those of which there are true values, in the order of the output model."""
    n_gold: int
    """Gold rows, each key once."""
    n_absent: int = 0
    """Of these, those that are not in the table (yet)."""
    n_unanswered: int = 0
    """Those that are, and have no usable answer."""
    n_ambiguous: int = 0
    """Those whose key several partitions have, so that nobody knows which row is meant."""
    n_contradictory: int = 0
    """True values that differ for one key: none of them counts."""
    n_unreadable: int = 0
    """True values that the type of their field does not hold."""
    n_answered: Mapping[str | None, int] = field(default_factory=dict)
    """Rows of the table with a usable answer, gold or not, by partition."""
    labels: Mapping[str, Mapping[str | None, Mapping[Any, int]]] = field(default_factory=dict)
    """How many rows of each partition were answered with each label, gold or not, by field."""

    @property
    def oddities(self) -> Mapping[str, int]:
        """What speaks against the gold rows, by its name, where there is any of it."""
        counts = {
            "gold_rows_not_in_the_table": self.n_absent,
            "gold_rows_unanswered": self.n_unanswered,
            "gold_rows_ambiguous": self.n_ambiguous,
            "gold_values_contradictory": self.n_contradictory,
            "gold_values_unreadable": self.n_unreadable,
        }
        return {name: n for name, n in counts.items() if n}
