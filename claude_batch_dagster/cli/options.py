"""What the options of the program name, and the stores that are there."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.core.waiting import SystemClock

if TYPE_CHECKING:
    from claude_batch_dagster.stores import Stores

HOW_TO_NAME_IT = (
    "Name the one that the runs use with --state-directory (CLAUDE_BATCH_STATE_DIRECTORY), or the DuckDB file that it "
    "lies beside with --database (CLAUDE_BATCH_DATABASE)"
)

LOCK_TIMEOUT_SECONDS = 10.0
"""How long a person waits for a run to let go of the DuckDB file."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the options of the program say."""

    state_directory: str | None = None
    ledger_url: str | None = None
    database: str | None = None
    base_url: str | None = None
    workspace_id: str | None = None
    clock: Clock = field(default_factory=SystemClock)

    @cached_property
    def stores(self) -> "Stores":
        """State directory, ledger and database; where only the database is named, it may know where its ledger is."""
        from claude_batch_dagster.stores import Stores  # noqa: PLC0415  (databases: `--help` need not wait for them)

        stores = Stores(
            database=self.database or None,
            state_directory=self.state_directory,
            ledger_url=self.ledger_url,
            lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            hint=HOW_TO_NAME_IT,
        )
        if stores.has_ledger or self.state_directory or not (stores.database and Path(stores.database).is_file()):
            return stores
        from claude_batch_dagster.pairings import remembered  # noqa: PLC0415  (DuckDB, if it is needed)

        return remembered(stores)
