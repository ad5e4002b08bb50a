"""Upgrades of the ledger, one file a step, run by Alembic when a ledger is opened."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.ledger import postgres

_ONE_AT_A_TIME = Lock()
"""Alembic keeps what it works on in a module of its own, so threads take turns."""

UPGRADE_KEY = int.from_bytes(b"claudeup")
"""Under which processes take turns on a Postgres server: two that create a table at once get in each other's way."""


def upgrade(engine: sa.Engine) -> None:
    """Bring a ledger to this version's tables; refuse one that a newer version has written."""
    revisions = _revisions()
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            postgres.schema_of(connection, revisions)  # raises if there are two
        current = MigrationContext.configure(connection).get_current_revision()
    if current == revisions[0]:
        return
    config = _config()
    with _ONE_AT_A_TIME, engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # SQLite takes its lock by itself (BEGIN IMMEDIATE)
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_KEY})
            postgres.settle(connection, revisions)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerError(
                f"the ledger was written by a newer version of claude-batch-dagster (revision {current}). "
                "Upgrade the package; nothing was sent or changed."
            ) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


@cache
def _revisions() -> Sequence[str]:
    """Return the revisions of this version, newest first; to find them, every step of the way is loaded."""
    return [revision.revision for revision in ScriptDirectory.from_config(_config()).walk_revisions()]
