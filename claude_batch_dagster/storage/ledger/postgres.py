"""What is particular to a ledger on Postgres: a schema of its own, drivers, poolers, and servers that restart."""

import importlib.util
import time
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import InterfaceError, OperationalError

from claude_batch_dagster.errors import LedgerError

SCHEMA = "claude_batch"
"""Of our own, so that the ledger can share a database: with Dagster, say, whose upgrades have tables of our names."""

VERSIONS = "alembic_version"
"""The table that holds the revision of the others."""

TABLES = frozenset({VERSIONS, "chunks", "events", "identity", "marks", "requests", "rows", "spend"})
"""All tables of the ledger in any revision."""

SIGNATURE = {
    "identity": {"ledger_id", "home"},
    "chunks": {"chunk_id", "pipeline", "account", "n_requests", "intended_at"},
    "spend": {"chunk_id"},
}
"""Tables and columns by which a ledger is known, in any revision that Postgres may hold."""

PAUSE_SECONDS = 0.25

SHORTEST_CONNECT_SECONDS = 2
"""libpq's own bound: it takes a shorter time for no limit at all."""


def with_driver(url: sa.URL) -> sa.URL:
    """Name the driver where the URL does not: what SQLAlchemy takes for granted changes with its version."""
    if url.drivername != "postgresql":
        return url
    driver = "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"
    return url.set(drivername=f"postgresql+{driver}")


def setting(name: str, value: str) -> sa.Function[str]:
    """Return the SQL that sets something to the end of a transaction."""
    return sa.func.set_config(name, value, sa.true())


def prepare(engine: sa.Engine, *, limit_seconds: float | None = None, schema: str = SCHEMA) -> None:
    """
    Let every transaction of the engine be in the ledger's schema, also through a pooler that keeps nothing else.

    With a limit, no statement takes longer, nor does a host that is silent (whole seconds, two at least).
    """
    settings = {"search_path": schema}
    connect: dict[str, Any] = {}
    if engine.dialect.driver == "psycopg":
        connect["prepare_threshold"] = None  # a statement is prepared on one server connection, and run on another
    if limit_seconds is not None:
        settings["statement_timeout"] = f"{limit_seconds * 1_000:.0f}"
        connect["connect_timeout"] = max(SHORTEST_CONNECT_SECONDS, round(limit_seconds))
    chosen = sa.select(*(setting(name, value) for name, value in settings.items()))
    sa.event.listen(engine, "begin", lambda connection: connection.execute(chosen))
    sa.event.listen(engine, "do_connect", lambda *given: given[-1].update({**connect, **given[-1]}))


def begun(engine: sa.Engine, patience_seconds: float) -> sa.Connection:
    """Return a connection with a transaction begun; wait for a server that restarts, but no longer than that."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return _begun(engine)
        except (OperationalError, InterfaceError):
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def _begun(engine: sa.Engine) -> sa.Connection:
    connection = engine.connect()
    try:
        connection.begin()
    except BaseException:
        connection.close()
        raise
    return connection


def schema_of(connection: sa.Connection, revisions: Collection[str]) -> str | None:
    """Return the schema in which a ledger is: ours, or where earlier versions put it; None if there is none."""
    usual = _usual_schema(connection)
    earlier = usual if usual != SCHEMA and _has_ledger(connection, usual, revisions) else None
    if not sa.inspect(connection).has_table(VERSIONS, schema=SCHEMA):
        return earlier
    if earlier and _ledger_id(connection, earlier) != _ledger_id(connection, SCHEMA):
        raise LedgerError(
            f"the database holds two ledgers: one in the schema {SCHEMA}, and one of an earlier version in {earlier}. "
            "Nothing was sent. A database holds one ledger: let one of the two have another database"
        )
    return SCHEMA


def settle(connection: sa.Connection, revisions: Collection[str]) -> None:
    """Make the schema, and move a ledger there that an earlier version has put among other tables."""
    found = schema_of(connection, revisions)
    if found == SCHEMA:
        return
    _create(connection)
    if found is not None:
        for name in sorted(TABLES & set(sa.inspect(connection).get_table_names(schema=found))):
            connection.exec_driver_sql(f'ALTER TABLE "{found}"."{name}" SET SCHEMA {SCHEMA}')


def _usual_schema(connection: sa.Connection) -> str:
    """Return the schema in which this user's tables are when nobody says otherwise."""
    now = connection.exec_driver_sql("SHOW search_path").scalar_one()
    reset = "SELECT set_config('search_path', reset_val, true) FROM pg_settings WHERE name = 'search_path'"
    connection.exec_driver_sql(reset)
    usual = connection.exec_driver_sql("SELECT current_schema()").scalar_one_or_none()
    connection.execute(sa.select(setting("search_path", now)))
    return str(usual or SCHEMA)


def _has_ledger(connection: sa.Connection, schema: str, revisions: Collection[str]) -> bool:
    """Whether the tables in a schema are a ledger's: others have tables, and revisions, called like these."""
    inspector = sa.inspect(connection)
    if not all(inspector.has_table(name, schema=schema) for name in (VERSIONS, *SIGNATURE)):
        return False
    for name, columns in SIGNATURE.items():
        if not columns <= {column["name"] for column in inspector.get_columns(name, schema=schema)}:
            return False
    versions = sa.table(VERSIONS, sa.column("version_num"), schema=schema)
    return connection.execute(sa.select(versions.c.version_num)).scalar() in revisions


def _ledger_id(connection: sa.Connection, schema: str) -> str | None:
    identity = sa.table("identity", sa.column("ledger_id"), schema=schema)
    return connection.execute(sa.select(identity.c.ledger_id)).scalar()


def _create(connection: sa.Connection) -> None:
    if sa.inspect(connection).has_schema(SCHEMA):
        return
    may = connection.exec_driver_sql("SELECT has_database_privilege(current_database(), 'CREATE')").scalar_one()
    if not may:
        user = connection.exec_driver_sql("SELECT current_user").scalar_one()
        raise LedgerError(
            f"the ledger needs a schema of its own, and the user {user} may not create one. Nothing was sent. Let "
            f"somebody who may say: CREATE SCHEMA {SCHEMA} AUTHORIZATION {user}"
        )
    connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
