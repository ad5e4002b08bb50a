"""Check-up of this machine: state directory, ledger, DuckDB file and versions."""

import os
import platform
import shutil
import stat
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.cli.doctor.findings import Finding, ok, problem, warning
from claude_batch_dagster.cli.options import HOW_TO_NAME_IT, Options
from claude_batch_dagster.core.ledger import OPEN, UNCONFIRMED, Condition, State
from claude_batch_dagster.errors import ConfigurationError, LedgerError, WarehouseError, WarehouseLockedError
from claude_batch_dagster.pairings import filled_tables

PACKAGES = ("claude-batch-dagster", "anthropic", "dagster", "duckdb", "SQLAlchemy")

LITTLE_SPACE = 1_000_000_000
NO_SPACE = 100_000_000
"""Bytes: a batch of 10,000 requests needs some 100 MB for requests and results."""

OTHERS = stat.S_IRWXG | stat.S_IRWXO


COPY = "If this is the right one from now on: claude-batch --database FILE reconcile --accept-new-ledger"

STRANGE = (
    "Name or bring back the ledger that belongs to it. If that is gone: "
    "claude-batch --database FILE reconcile --accept-new-ledger"
)


def state_directory(options: Options) -> Iterator[Finding]:
    """Look at the folder: whose it is, who may read it, how much fits in."""
    subject, folder = "state directory", options.stores.folder
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
        level = problem if options.stores.others_can_write(found.st_mode) else warning
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


def ledger(options: Options) -> Iterator[Finding]:
    """Look at the ledger: whether it can be read, its version, and what is open in it."""
    folder = options.stores.folder
    if not options.stores.has_ledger:
        yield warning("ledger", f"none in {str(folder)!r}", f"The first run creates it. Else: {HOW_TO_NAME_IT}.")
        return
    try:
        condition = options.stores.condition()
    except LedgerError as error:
        yield problem("ledger", str(error), "Never delete it: it is the memory of what was paid for.")
    else:
        yield from _ledger(condition)


def _ledger(condition: Condition) -> Iterator[Finding]:
    identity = f"revision {condition.revision}, id {condition.ledger_id}"
    if not condition.is_current:
        yield warning(
            "ledger", f"{identity}: of an older version", "The next run, or `claude-batch reconcile`, upgrades it."
        )
        return
    if condition.damage:
        yield problem("ledger", f"{identity}: damaged ({condition.damage})", "Bring back a copy; never delete it.")
        return
    if condition.original:
        yield problem("ledger", f"{identity}: a copy of {condition.original}", f"Use the original. {COPY}")
        return
    states = condition.states
    yield ok("ledger", f"{identity}, {counted(sum(state in OPEN for state in states), 'open chunk')}")
    if n := sum(state in UNCONFIRMED for state in states):
        yield warning("chunks", f"{n} unconfirmed", "The next run finds out, or `claude-batch reconcile`.")
    if n := sum(state is State.HELD for state in states):
        yield warning(
            "chunks", f"{n} held for a person to decide", "See `claude-batch status`, then `claude-batch resolve`."
        )


def database(options: Options) -> Iterator[Finding]:
    """Look at the DuckDB file: whether it opens, or who has it."""
    if not options.database:
        yield ok("DuckDB file", "not named, so not looked at", "Name it with --database (CLAUDE_BATCH_DATABASE).")
        return
    if not Path(options.database).is_file():
        yield warning(
            "DuckDB file", f"none at {options.database!r}", "Check --database, or materialize what is upstream."
        )
        return
    try:
        tables = filled_tables(options.stores)
        yield ok("DuckDB file", f"{options.database} opens")
        yield from _pairing(tables, options)
    except WarehouseLockedError as error:
        yield warning("DuckDB file", f"{options.database} is {error.reason}", "Runs wait for it: lock_timeout_seconds.")
    except (WarehouseError, ConfigurationError) as error:
        yield problem("DuckDB file", str(error), "Move it away or bring back a copy.")


def _pairing(tables: Mapping[str, str], options: Options) -> Iterator[Finding]:
    """Compare the ledgers that filled the tables with the one that is here."""
    try:
        ours = options.stores.ledger_id()
    except (ConfigurationError, LedgerError):
        return  # told by the check-up of the ledger
    for table, ledger_id in tables.items():
        if ledger_id == ours:
            yield ok("table", f"{table} was filled by this ledger")
        else:
            yield problem("table", f"{table} was filled by ledger {ledger_id}, not by this one", STRANGE)


def versions(_: Options) -> Iterator[Finding]:
    """Tell what is installed."""
    told = [f"{name} {version(name)}" for name in PACKAGES]
    yield ok("versions", ", ".join([*told, f"Python {platform.python_version()}"]))
