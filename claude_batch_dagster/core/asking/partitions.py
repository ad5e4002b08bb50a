"""What the core knows of partitions: a key, and which rows of the upstream table are its own."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition of the upstream table."""

    key: str | None
    """Dagster's partition key; None for the whole of an asset without partitions."""
    start: datetime | None = None
    """For a time window: its first moment, without zone, in the zone of the partitions definition."""
    end: datetime | None = None
    """For a time window: the first moment after it."""
    instants: tuple[datetime, datetime] | None = None
    """For a time window: both in UTC, without zone: on a clock that is set back two hours look alike."""
    parts: tuple["Partition", ...] = ()
    """In several dimensions: the partition in each of them; a row is of this one if it is of all of them."""

    @property
    def dimensions(self) -> tuple["Partition", ...]:
        """The partition in each dimension: itself, if there is one only."""
        return self.parts or (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRule:
    """How a row of the upstream table names its partition."""

    expr: str | None
    """SQL over the upstream columns: a time for time windows, else the partition key; None without
    partitions, and in several dimensions, where each part has its own."""
    timezone: str = "UTC"
    """Zone of the partitions definition, in which columns without a zone are read."""
    parts: tuple["PartitionRule", ...] = ()
    """In several dimensions: the rule of each, in the order of the partitions' own parts."""

    @property
    def dimensions(self) -> tuple["PartitionRule", ...]:
        """The rule of each dimension: itself, if there is one only."""
        return self.parts or (self,)

    @property
    def exprs(self) -> tuple[str, ...]:
        """The expressions of all dimensions; none without partitions."""
        return tuple(rule.expr for rule in self.dimensions if rule.expr is not None)
