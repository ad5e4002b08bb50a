"""Opening the ledger and the state directory that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import click
import sqlalchemy as sa

from claude_batch_dagster.cli.places import HOW_TO_NAME_IT, Places
from claude_batch_dagster.core.ports import Locks
from claude_batch_dagster.errors import ConfigurationError, LedgerError
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from claude_batch_dagster.storage.ledger.view import LedgerView

PATIENCE_SECONDS = 2.0
"""How long a lock is waited for in silence."""


def ledger_url(places: Places) -> str | sa.URL:
    """Return where the ledger is; raise `ConfigurationError` if it is nowhere."""
    if places.ledger_url:
        return places.ledger_url
    state = StateDirectory(places.existing_folder())
    file = Path(state.ledger_url.database or "")
    if not file.is_file():
        raise ConfigurationError(f"there is no ledger in the state directory {str(state.path)!r}. {HOW_TO_NAME_IT}")
    return state.ledger_url


@contextmanager
def looking(places: Places) -> Iterator[LedgerView]:
    """Open the ledger to look at it only; a run that goes on meanwhile does not notice."""
    view = LedgerView(ledger_url(places))
    try:
        if not view.is_current:
            raise LedgerError(
                f"the ledger was written by an older version of claude-batch-dagster (revision {view.revision}). "
                "The next run upgrades it, and so does `claude-batch reconcile`"
            )
        yield view
    finally:
        view.dispose()


@contextmanager
def working(places: Places) -> Iterator[tuple[SqlLedger, StateDirectory]]:
    """Open the ledger, which must be there, to work on it; and the state directory for its locks."""
    url = ledger_url(places)
    LedgerView(url).dispose()  # opening it to work on it would create what is not there
    state = StateDirectory.open(places.existing_folder())
    ledger = SqlLedger(url)
    try:
        yield ledger, state
    finally:
        ledger.dispose()


@contextmanager
def locked(locks: Locks, pipeline: str) -> Iterator[None]:
    """Hold the lock of a pipeline, the one that runs hold while they send; say so if somebody else has it."""
    notice = Timer(
        PATIENCE_SECONDS, click.echo, [f"Waiting for a run that is sending for {pipeline} ..."], {"err": True}
    )
    notice.daemon = True
    notice.start()
    try:
        with locks.hold(pipeline):
            notice.cancel()
            yield
    finally:
        notice.cancel()
