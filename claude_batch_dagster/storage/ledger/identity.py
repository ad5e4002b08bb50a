"""Who a ledger is: its id, and the place where it lives, by which a copy is known."""

import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.ledger.schema import identity, marks


def ledger_id(connection: sa.Connection) -> str:
    """Return the id that the ledger was given when it was created."""
    return str(connection.execute(sa.select(identity.c.ledger_id)).scalar_one())


def home_of(engine: sa.Engine) -> str:
    """Return where a person finds the ledger: its path, or its server's URL without user and password."""
    url = engine.url
    server = sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return _path(url) or server.render_as_string()


def original_of(connection: sa.Connection) -> str | None:
    """
    Return the path of the ledger that this one was copied from, if that is still there.

    A ledger that was moved takes note of its new place; so does one that is opened for the first time.
    """
    here, home = _path(connection.engine.url), connection.execute(sa.select(identity.c.home)).scalar()
    if here is None or home == here:
        return None
    if home is not None and not _same_file(home, here) and _id_in(home) == ledger_id(connection):
        return str(home)
    connection.execute(sa.update(identity).values(home=here))
    return None


def settle_down(connection: sa.Connection) -> None:
    """Make this place the ledger's home; a copy becomes a ledger of its own."""
    if original_of(connection):
        connection.execute(sa.update(identity).values(home=_path(connection.engine.url), ledger_id=str(uuid.uuid4())))


def new_mark(connection: sa.Connection) -> str:
    """Write down a mark, for others to remember: a ledger that lacks it is older than they are."""
    mark = str(uuid.uuid4())
    connection.execute(sa.insert(marks).values(mark=mark, at=datetime.now(UTC)))
    return mark


def has_mark(connection: sa.Connection, mark: str) -> bool:
    """Whether the ledger has written down this mark."""
    return connection.execute(sa.select(marks.c.mark).where(marks.c.mark == mark)).first() is not None


def _path(url: sa.URL) -> str | None:
    """Return where a SQLite ledger is; None for a server's."""
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        return None
    return str(Path(str(url.database)).resolve())


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _id_in(path: str) -> str | None:
    """Read the id of another ledger; None if there is none. Raise if it is there and others hold it."""
    try:
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
            return str(connection.execute("SELECT ledger_id FROM identity").fetchone()[0])
    except (sqlite3.Error, TypeError) as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if primary == sqlite3.SQLITE_BUSY:  # it is there: taken for gone, a copy would pass for the ledger itself
            raise LedgerError(f"the ledger that this one may be a copy of ({path}) is held; try again.") from None
        return None
