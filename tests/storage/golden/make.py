"""
Write the golden ledger of a revision, before the next migration is released.

    python -m tests.storage.golden.make 0001

It is a ledger as that revision leaves it, as text, with a chunk in every state. Once committed it is never
written again: it stands for the ledgers that people have.
"""

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from claude_batch_dagster.storage import migrations
from tests.storage.golden.contents import LEDGER_ID, START, cells

FOLDER = Path(__file__).parent


def build(path: Path, revision: str) -> None:
    """Make a ledger of this revision and fill it."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        tables = sa.MetaData()
        tables.reflect(connection)
        connection.execute(
            sa.update(tables.tables["identity"]).values(ledger_id=LEDGER_ID, created_at=START.replace(tzinfo=None))
        )
        for name, values in cells():
            table = tables.tables.get(name)
            if table is None:
                continue  # of another revision
            known = {column: value for column, value in values.items() if column in table.columns}
            connection.execute(sa.insert(table).values(**known))
    engine.dispose()


def dump(revision: str) -> str:
    """Return the ledger of a revision as SQL."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        build(path, revision)
        with closing(sqlite3.connect(path)) as connection:
            return "\n".join(connection.iterdump()) + "\n"


if __name__ == "__main__":
    target = FOLDER / f"{sys.argv[1]}.sql"
    if target.exists():
        sys.exit(f"{target.name} is there already: it stands for ledgers that people have, so it is never rewritten.")
    target.write_text(dump(sys.argv[1]), encoding="utf-8")
    sys.stdout.write(f"wrote {target}\n")
