"""Tables and the ledger that filled them: looked at, and settled by a person, without a run."""

from dataclasses import replace
from pathlib import Path

from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.storage.duckdb import ledger_pairing
from claude_batch_dagster.storage.duckdb.ledger_pairing import LedgerPairing
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import LEDGER
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from claude_batch_dagster.stores import Stores


def filled_tables(stores: Stores) -> dict[str, str]:
    """Return each table that was ever filled, with the id of its ledger; changes nothing, and waits for nobody."""
    return ledger_pairing.filled_tables(
        Warehouse(existing_database(stores), {"access_mode": "READ_ONLY"}, lock_timeout_seconds=0)
    )


def remembered(stores: Stores) -> Stores:
    """Return the stores with the ledger that the database remembers, if that is one, and is there still."""
    wait = stores.lock_timeout_seconds
    warehouse = Warehouse(existing_database(stores), {"access_mode": "READ_ONLY"}, lock_timeout_seconds=wait)
    homes = [Path(home) for home in ledger_pairing.homes(warehouse)]
    if len(homes) != 1 or not homes[0].is_file():
        return stores
    if homes[0].name == LEDGER:
        return replace(stores, state_directory=str(homes[0].parent))
    return replace(stores, ledger_url=f"sqlite:///{homes[0]}")


def pairings(stores: Stores, ledger: SqlLedger) -> list[LedgerPairing]:
    """Return how the ledger and each table that was ever filled go together."""
    warehouse = Warehouse(existing_database(stores), lock_timeout_seconds=stores.lock_timeout_seconds)
    return [
        LedgerPairing(warehouse=warehouse, ledger=ledger, target=TableName(*name.split(".", 1)))
        for name in ledger_pairing.filled_tables(warehouse)
    ]


def existing_database(stores: Stores) -> str:
    """Return the path of the DuckDB file; raise unless it is named and there."""
    if not stores.database:
        raise ConfigurationError("name the DuckDB file with --database (CLAUDE_BATCH_DATABASE)")
    if not Path(stores.database).is_file():
        raise ConfigurationError(f"there is no DuckDB file at {stores.database!r}; looking creates none")
    return stores.database
