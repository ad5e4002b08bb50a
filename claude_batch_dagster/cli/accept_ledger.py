"""Accepting a ledger in place of one that is lost."""

from collections.abc import Sequence
from typing import Protocol

import click

from claude_batch_dagster.core.ledger import Ledger
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ConfigurationError, StrangeLedgerError


class Pairing(Protocol):
    """Between one table and the ledger that is here."""

    @property
    def target(self) -> TableName:
        """The table."""

    @property
    def ledger(self) -> Ledger:
        """The ledger."""

    def check(self) -> None:
        """Raise `StrangeLedgerError` if a run would refuse to send."""

    def accept(self) -> None:
        """Take the ledger for the right one of the table from now on."""


def accept(pairings: Sequence[Pairing], table: str | None, *, ask: bool) -> None:
    """Take the ledger for the right one of each table that it is a stranger to, or of one table."""
    names = [str(one.target) for one in pairings]
    if table and table not in names:
        raise ConfigurationError(
            f"no ledger ever filled table {table!r} here. Filled were: {', '.join(names) or 'none'}"
        )
    chosen = [one for one in pairings if table in {None, str(one.target)}]
    strange = [(one, reason) for one in chosen if (reason := _strangeness(one))]
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
        click.echo(f"Table {one.target} belongs to ledger {one.ledger.ledger_id} now.")


def _strangeness(pairing: Pairing) -> str | None:
    """Return why a run would refuse to send, if it would."""
    try:
        pairing.check()
    except StrangeLedgerError as error:
        return error.reason
    return None
