"""Where the documents of a task are, and which of their columns matter."""

from dataclasses import dataclass

from claude_batch_dagster.core.asking.partitions import PartitionRule


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """Where the documents are, and which columns matter."""

    relation: str
    """SQL that can stand behind FROM: a quoted table, or a query in parentheses."""
    shown_as: str
    """What messages call it."""
    key: tuple[str, ...]
    rule: PartitionRule
    only: str | None = None
    """SQL of a table with the key columns and `partition_key`: rows that are not in it are none; None for all rows."""
    sample_columns: tuple[str, ...] = ()
    """Columns to show in sample rows: none, unless documents may be seen in the UI."""
