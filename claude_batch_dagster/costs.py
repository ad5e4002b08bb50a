"""What answers have cost and what was saved: looked up in the database by a person, without a run."""

from collections.abc import Callable
from datetime import date

from claude_batch_dagster.core.reporting.costs import CostReport
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.pairings import existing_database
from claude_batch_dagster.storage.duckdb import costs
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.stores import Stores

BY = tuple(costs.BY)
"""What costs can be added up by."""


def cost_report(stores: Stores, *, by: str, since: date | None, on_wait: Callable[[str], None]) -> CostReport:
    """Add up what was spent; the file is opened to be read only, and waited for while a run has it."""
    database = existing_database(stores)
    warehouse = Warehouse(
        database,
        {"access_mode": "READ_ONLY"},
        lock_timeout_seconds=stores.lock_timeout_seconds,
        on_wait=on_wait,
    )
    with warehouse.connect() as connection:
        if not costs.is_known(connection):
            raise ConfigurationError(
                f"the DuckDB file {database!r} says nothing of costs: no run has written to it, or only one of an "
                "earlier version. The next materialization adds claude_batch.costs; what was paid before is in the "
                "ledger: claude-batch status"
            )
        return costs.report(connection, by=by, since=since)
