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


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRule:
    """How a row of the upstream table names its partition."""

    expr: str | None
    """SQL over the upstream columns: a time for time windows, else the partition key; None without partitions."""
    timezone: str = "UTC"
    """Zone of the partitions definition, for columns that hold times with a zone."""
