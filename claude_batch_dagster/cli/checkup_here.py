"""Check-up of this machine: state directory, ledger, DuckDB file and versions."""

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from claude_batch_dagster.cli.checkup import Finding, ok, problem, warning
from claude_batch_dagster.cli.places import HOW_TO_NAME_IT, Places
from claude_batch_dagster.cli.surroundings import ledger_url
from claude_batch_dagster.core.ledger import OPEN, UNCONFIRMED, State
from claude_batch_dagster.errors import ConfigurationError, LedgerError, WarehouseError, WarehouseLockedError
from claude_batch_dagster.plural import counted
from claude_batch_dagster.storage.duckdb.ledger_pairing import filled_tables
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import OTHERS_CAN_WRITE
from claude_batch_dagster.storage.ledger.view import LedgerView

PACKAGES = ("claude-batch-dagster", "anthropic", "dagster", "duckdb", "SQLAlchemy")

LITTLE_SPACE = 1_000_000_000
NO_SPACE = 100_000_000
"""Bytes: a batch of 10,000 requests needs some 100 MB for requests and results."""

OTHERS = 0o077
"""Permissions of group and others."""


COPY = "If this is the right one from now on: claude-batch reconcile --accept-new-ledger"

STRANGE = (
    "Name or bring back the ledger that belongs to it. If that is gone: claude-batch reconcile --accept-new-ledger"
)


def state_directory(places: Places) -> Iterator[Finding]:
    """Look at the folder: whose it is, who may read it, how much fits in."""
    subject, folder = "state directory", places.folder
    if not folder.is_dir():
        yield warning(subject, f"none at {str(folder)!r}", f"The first run creates it. Else: {HOW_TO_NAME_IT}.")
        return
    found, user = folder.stat(), os.geteuid()
    mode = f"{found.st_mode & 0o777:03o}"
    if user not in {found.st_uid, 0}:
        advice = f"Run as its owner, or as its owner give it away: chown -R {user} {folder}"
        yield problem(subject, f"{folder} belongs to user {found.st_uid}, this is user {user}", advice)
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield problem(subject, f"{folder} cannot be written (mode {mode})", f"Let its owner in: chmod u+rwx {folder}")
    elif found.st_mode & OTHERS:
        level = problem if found.st_mode & OTHERS_CAN_WRITE else warning
        yield level(subject, f"{folder} is open to others (mode {mode})", f"Close it: chmod -R go= {folder}")
    else:
        yield ok(subject, f"{folder}, open to its owner only")
    yield _space(folder)


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB free"
    if free >= LITTLE_SPACE:
        return ok("disk", text)
    return (warning if free >= NO_SPACE else problem)("disk", text, f"Make room where {folder} is.")


def ledger(places: Places) -> Iterator[Finding]:
    """Look at the ledger: whether it can be read, its version, and what is open in it."""
    if not places.ledger_url and not (places.folder / "ledger.sqlite").is_file():
        yield warning("ledger", f"none in {str(places.folder)!r}", f"The first run creates it. Else: {HOW_TO_NAME_IT}.")
        return
    try:
        view = LedgerView(ledger_url(places))
    except LedgerError as error:
        yield problem("ledger", str(error), "Never delete it: it is the memory of what was paid for.")
        return
    try:
        yield from _ledger(view)
    except LedgerError as error:
        yield problem("ledger", str(error), "Never delete it: it is the memory of what was paid for.")
    finally:
        view.dispose()


def _ledger(view: LedgerView) -> Iterator[Finding]:
    identity = f"revision {view.revision}, id {view.ledger_id}"
    if not view.is_current:
        yield warning(
            "ledger", f"{identity}: of an older version", "The next run, or `claude-batch reconcile`, upgrades it."
        )
        return
    if damage := view.damage():
        yield problem("ledger", f"{identity}: damaged ({damage})", "Bring back a copy; never delete it.")
        return
    if original := view.original():
        yield problem("ledger", f"{identity}: a copy of {original}", f"Use the original. {COPY}")
        return
    states = [one.chunk.state for one in view.sightings(())]
    yield ok("ledger", f"{identity}, {counted(sum(state in OPEN for state in states), 'open chunk')}")
    if n := sum(state in UNCONFIRMED for state in states):
        yield warning("chunks", f"{n} unconfirmed", "The next run finds out, or `claude-batch reconcile`.")
    if n := states.count(State.HELD):
        yield warning(
            "chunks", f"{n} held for a person to decide", "See `claude-batch status`, then `claude-batch resolve`."
        )


def database(places: Places) -> Iterator[Finding]:
    """Look at the DuckDB file: whether it opens, or who has it."""
    if not places.database:
        yield ok("DuckDB file", "not named, so not looked at", "Name it with --database (CLAUDE_BATCH_DATABASE).")
        return
    if not Path(places.database).is_file():
        yield warning(
            "DuckDB file", f"none at {places.database!r}", "Check --database, or materialize what is upstream."
        )
        return
    try:
        tables = filled_tables(Warehouse(places.database, {"access_mode": "READ_ONLY"}, lock_timeout_seconds=0))
        yield ok("DuckDB file", f"{places.database} opens")
        yield from _pairing(tables, places)
    except WarehouseLockedError as error:
        yield warning("DuckDB file", f"{places.database} is {error.reason}", "Runs wait for it: lock_timeout_seconds.")
    except (WarehouseError, ConfigurationError) as error:
        yield problem("DuckDB file", str(error), "Move it away or bring back a copy.")


def _pairing(tables: Mapping[str, str], places: Places) -> Iterator[Finding]:
    """Compare the ledgers that filled the tables with the one that is here."""
    try:
        view = LedgerView(ledger_url(places))
    except (ConfigurationError, LedgerError):
        return  # told by the check-up of the ledger
    ours = view.ledger_id
    view.dispose()
    for table, ledger_id in tables.items():
        if ledger_id == ours:
            yield ok("table", f"{table} was filled by this ledger")
        else:
            yield problem("table", f"{table} was filled by ledger {ledger_id}, not by this one", STRANGE)


def versions(_: Places) -> Iterator[Finding]:
    """Tell what is installed."""
    told = [f"{name} {version(name)}" for name in PACKAGES]
    yield ok("versions", ", ".join([*told, f"Python {platform.python_version()}"]))
