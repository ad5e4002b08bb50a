"""Accepting a ledger in place of one that is lost."""

import click

from claude_batch_dagster.cli.places import Places
from claude_batch_dagster.errors import ConfigurationError, StrangeLedgerError
from claude_batch_dagster.storage.duckdb.ledger_pairing import LedgerPairing, filled_tables
from claude_batch_dagster.storage.duckdb.names import TableName
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger

LOCK_TIMEOUT_SECONDS = 10.0
"""How long a person waits for a run to let go of the DuckDB file."""


def accept(places: Places, ledger: SqlLedger, table: str | None, *, ask: bool) -> None:
    """Take the ledger for the right one of each table that it is a stranger to, or of one table."""
    warehouse = Warehouse(places.existing_database(), lock_timeout_seconds=LOCK_TIMEOUT_SECONDS)
    names = list(filled_tables(warehouse))
    if table and table not in names:
        raise ConfigurationError(
            f"no ledger ever filled table {table!r} here. Filled were: {', '.join(names) or 'none'}"
        )
    pairings = [_pairing(warehouse, ledger, name) for name in names if table in {None, name}]
    strange = [(one, reason) for one in pairings if (reason := _strangeness(one))]
    if not strange:
        click.echo("This ledger is the right one. Nothing to do.")
        return
    for one, reason in strange:
        click.echo(f"Table {one.target}: {reason}.")
    click.echo(
        "Rows that were on their way by a ledger that is lost are not known to this one: they are paid for twice."
    )
    if ask:
        click.confirm("Take this ledger for the right one from now on?", abort=True)
    for one, _ in strange:
        one.accept()
        click.echo(f"Table {one.target} belongs to ledger {ledger.ledger_id} now.")


def _pairing(warehouse: Warehouse, ledger: SqlLedger, name: str) -> LedgerPairing:
    return LedgerPairing(warehouse=warehouse, ledger=ledger, target=TableName(*name.split(".", 1)))


def _strangeness(pairing: LedgerPairing) -> str | None:
    """Return why a run would refuse to send, if it would."""
    try:
        pairing.check()
    except StrangeLedgerError as error:
        return error.reason
    return None
